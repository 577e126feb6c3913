"""`vsweep serve` and `train --serve` from outside."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.vsweep.serve import planted
from vsweep.config.problems import ConfigError
from vsweep.serve import child, command, link

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
LINK = re.compile(r"http://127\.0\.0\.1:\d+/[\w-]{43}/")


def opens(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=20) as answer:
            return answer.status == 200
    except OSError:  # refused, or cut off in the middle
        return False


@pytest.fixture
def interruptible():
    """As on a terminal: what a shell starts in the background ignores SIGINT, and so do its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_the_printed_link_opens_the_page(workdir):
    program = [sys.executable, "-m", "vsweep", "serve", str(workdir)]
    with subprocess.Popen(program, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = LINK.search(process.stdout.readline())[0]
            assert opens(address)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_the_page_ends_with_the_training_or_stays(tmp_path):
    workdir = planted.write(tmp_path / "sweep")
    for keep in (False, True):
        said = []
        with child.page(workdir, port=0, keep=keep, say=said.append):
            address = LINK.search(said[0])[0]
            assert opens(address)
        assert opens(address) is keep
    os.kill(int(re.search(r"kill (\d+)", said[1])[1]), signal.SIGTERM)


def test_the_page_ends_with_a_training_that_was_killed(workdir):
    program = f"""
import sys, time
from pathlib import Path
from vsweep.serve import child
with child.page(Path({str(workdir)!r}), port=0, keep=False, say=lambda text: print(text, flush=True)):
    time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    ) as process:
        address = LINK.search(process.stdout.readline())[0]
        assert opens(address)
        process.kill()
    until = time.monotonic() + 20
    while opens(address):
        assert time.monotonic() < until
        time.sleep(0.1)


def test_killing_the_page_leaves_training_alone(workdir):
    with child.page(workdir, port=0, keep=False, say=lambda text: None) as process:
        os.kill(process, signal.SIGKILL)


def test_a_port_in_use_is_said_before_training(tmp_path):
    with socket.socket() as taken:
        taken.bind((link.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigError, match=f"--serve_port: cannot be listened on .* - got {port}"),
            child.page(tmp_path, port=port, keep=False, say=print),
        ):
            raise AssertionError("it trains")


def test_what_cannot_be_served_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="there is none in runs/"):
        command.find([])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="not a work directory - got empty"):
        command.find([Path("empty")])


def test_the_newest_work_directory_is_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for at, name in enumerate(("old", "new")):
        planted.write(tmp_path / "runs" / name)
        for path in (tmp_path / "runs" / name).iterdir():
            os.utime(path, (100 + at, 100 + at))
    assert command.find([]) == [Path("runs/new")]
