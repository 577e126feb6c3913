"""Real process groups in a real shell: readers that die, streams that are closed or full, terminals that hang up.

Each is done while a sweep trains. It must leave with 75, or train to its end where nothing asks it to stop, and the
same command must end it bit for bit as one that nobody disturbed.
"""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.slow.harness import longer
from tests.slow.test_leaving import ROOT
from tests.vsweep import small
from vsweep.host.interruption import EXIT_STATUS

pytestmark = pytest.mark.slow

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def command(workdir: Path) -> list[str]:
    return [sys.executable, str(ROOT / "launch.py"), f"--config={longer.__file__}", f"--workdir={workdir}"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("undisturbed")
    small.train(longer.get_config(), workdir)
    return workdir


def train_in_a_shell(text: str, workdir: Path, send: int | None) -> int:
    """The status of the first program of a pipeline, whose whole group gets a signal once it trains.

    The shell survives the signal, so that it can tell.
    """
    shell = f"trap : INT TERM HUP; {text}; exit ${{PIPESTATUS[0]}}"
    process = subprocess.Popen(["bash", "-c", shell], cwd=workdir.parent, env=ENVIRONMENT, start_new_session=True)
    if send is not None:
        wait_for_training(workdir)
        os.killpg(process.pid, send)
    return process.wait(timeout=300)


def wait_for_training(workdir: Path) -> None:
    for _ in range(6000):
        if list(workdir.glob("stacks/*/checkpoints/*.manifest.json")):
            return
        time.sleep(0.02)
    pytest.fail("no checkpoint in two minutes")


def assert_it_goes_on(workdir: Path, expected: Path, *, stopped: bool) -> None:
    """And where the lock is, there is its owner and no message."""
    assert len((workdir / "lock").read_bytes().splitlines()) == 1
    last = max(workdir.glob("stacks/*/checkpoints/*.manifest.json"))
    if stopped:
        assert last.name != max(expected.glob("stacks/*/checkpoints/*.manifest.json")).name
    small.train(longer.get_config(), workdir)
    assert small.differing(workdir, expected) == []


@pytest.mark.parametrize(
    ("text", "send"),
    [
        ("{} 2>&1 | tee log", signal.SIGINT),
        ("{} | tee log", signal.SIGTERM),
        ("{} 2>&1 | head -1", signal.SIGINT),
        ("{} >&-", signal.SIGTERM),
        ("{} 2>&-", signal.SIGTERM),
        ("{} <&- >&- 2>&-", signal.SIGINT),
        ("{} > /dev/full 2>&1", signal.SIGTERM),
        ("{} > log 2>&1", signal.SIGHUP),
        ("{} 2>&1 | tee log", signal.SIGHUP),
        ("nohup {} > log 2>&1", signal.SIGTERM),
    ],
)
def test_whatever_became_of_its_streams_a_signal_saves_and_leaves_with_75(text, send, uninterrupted, tmp_path):
    workdir = tmp_path / "sweep"
    assert train_in_a_shell(text.format(shlex.join(command(workdir))), workdir, send) == EXIT_STATUS
    assert_it_goes_on(workdir, uninterrupted, stopped=True)


@pytest.mark.parametrize(
    ("text", "send"),
    [
        ("{} 2>&1 | head -1", None),
        ("{} 2>&1 | true", None),
        ("{} >&- 2>&-", None),
        ("{} > /dev/full 2> /dev/full", None),
        ("nohup {} > log 2>&1", signal.SIGHUP),
    ],
)
def test_where_nothing_asks_it_to_stop_it_trains_to_its_end(text, send, uninterrupted, tmp_path):
    workdir = tmp_path / "sweep"
    assert train_in_a_shell(text.format(shlex.join(command(workdir))), workdir, send) == 0
    assert_it_goes_on(workdir, uninterrupted, stopped=False)


ON_A_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # the terminal that this session belongs to
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_terminal_that_is_closed_saves_and_leaves_with_75(uninterrupted, tmp_path):
    """Its bar cannot be drawn any more, and the kernel sends a SIGHUP."""
    workdir = tmp_path / "sweep"
    ours, its = os.openpty()
    program = [sys.executable, "-c", ON_A_TERMINAL, *command(workdir)]
    process = subprocess.Popen(program, env=ENVIRONMENT, stdin=its, stdout=its, stderr=its, start_new_session=True)
    os.close(its)
    drawn = b""
    while not list(workdir.glob("stacks/*/checkpoints/*.manifest.json")):
        drawn += os.read(ours, 65536)
    os.close(ours)
    assert b"compiling" in drawn
    assert process.wait(timeout=300) == EXIT_STATUS
    assert_it_goes_on(workdir, uninterrupted, stopped=True)
