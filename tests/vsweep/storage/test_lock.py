import contextlib
import errno
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.vsweep import small
from vsweep.atomic import CannotWrite
from vsweep.config.problems import ConfigError
from vsweep.storage import lock
from vsweep.storage.lock import locked
from vsweep.train.events import Finished

ROOT = Path(__file__).parents[3]

HOLD_THE_LOCK = """
import errno, fcntl, os, sys
from pathlib import Path
from vsweep.storage import lock
def unsupported(*arguments):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
if sys.argv[2] == "lease":
    fcntl.flock, lock.BEAT_S = unsupported, 0.05
with lock.locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def process_holding(path: Path, kind: str):
    """A live process that holds the lock of `path`, or its lease."""
    program = [sys.executable, "-c", HOLD_THE_LOCK, str(path), kind]
    with subprocess.Popen(program, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def without_locks(monkeypatch):
    """A file system that has no locks, and leases that are given up after half a second."""

    def unsupported(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(lock.fcntl, "flock", unsupported)
    monkeypatch.setattr(lock, "BEAT_S", 0.05)
    monkeypatch.setattr(lock, "GONE_AFTER_S", 0.5)


@pytest.fixture(params=["lock", "lease"])
def kind(request):
    if request.param == "lease":
        request.getfixturevalue("without_locks")
    return request.param


def test_a_second_process_is_refused_with_pid_host_and_time_of_the_first_and_a_killed_one_holds_nothing(tmp_path, kind):
    with process_holding(tmp_path / "work", kind) as process:
        owner = rf"process {process.pid} on {socket.gethostname()} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d"
        with pytest.raises(ConfigError, match=rf"workdir: .*work is in use by {owner}$"), locked(tmp_path / "work"):
            pytest.fail("two processes in one work directory")
        process.kill()
        process.wait()
        with locked(tmp_path / "work"):
            assert f"process {os.getpid()} on " in (tmp_path / "work" / kind).read_text()


def test_it_is_free_again_after_an_error_inside(tmp_path, kind):
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        _ = 1 / 0
    with locked(tmp_path):
        pass


def test_two_in_one_process_are_two(tmp_path, kind):
    with locked(tmp_path), pytest.raises(ConfigError, match="in use by process"), locked(tmp_path):
        pytest.fail("two sweeps in one work directory")


def test_the_weaker_guard_is_said_and_a_lock_says_nothing(tmp_path, kind):
    with locked(tmp_path) as held:
        held.confirm()
        assert ("no locks" in held.note) == (kind == "lease")


def test_a_lease_of_another_machine_is_watched_and_taken_over_when_nobody_renews_it(tmp_path, without_locks):
    (tmp_path / "lease").write_text("process 1 on another-machine since 2026-01-01 00:00:00 0f 12\n")
    started = time.monotonic()
    told = []
    with locked(tmp_path, told.append) as held:
        assert time.monotonic() - started >= lock.GONE_AFTER_S
        assert told[0].endswith("process 1 on another-machine since 2026-01-01 00:00:00 still trains here")
        time.sleep(4 * lock.BEAT_S)
        held.confirm()
    assert not (tmp_path / "lease").exists()


def test_a_lease_that_was_taken_over_is_not_renewed_and_stops_the_next_commit(tmp_path, without_locks):
    with locked(tmp_path) as held:
        held.confirm()
        other = "process 1 on another-machine since 2026-01-01 00:00:00 0f 12\n"
        (tmp_path / "lease").write_text(other)
        time.sleep(4 * lock.BEAT_S)
        with pytest.raises(CannotWrite, match="taken over by process 1 on another-machine since 2026-01-01 00:00:00"):
            held.confirm()
    assert (tmp_path / "lease").read_text() == other


@pytest.mark.parametrize("space", ["another boot", "another container"])
def test_a_number_of_another_process_space_says_nothing(tmp_path, without_locks, space):
    """Nobody here has that number, and its owner may be alive all the same."""
    owner = f"process {2**22 - 1} on {socket.gethostname()} since 2026-01-01 00:00:00 {space.replace(' ', '-')} 0f 1\n"
    (tmp_path / "lease").write_text(owner)
    started = time.monotonic()
    with locked(tmp_path):
        assert time.monotonic() - started >= lock.GONE_AFTER_S


@pytest.mark.parametrize("lasting", [True, False])
def test_a_lease_that_cannot_be_read_is_not_taken_for_none(tmp_path, without_locks, monkeypatch, lasting):
    """A mounted drive that is away: for a moment it does not matter, and longer it is an error of its own."""
    real, failures = Path.read_text, iter([True] if not lasting else iter(lambda: True, False))

    def read_text(path, *arguments, **keywords):
        if path.name == "lease" and next(failures, False):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return real(path, *arguments, **keywords)

    with locked(tmp_path) as held:
        with monkeypatch.context() as patched:
            patched.setattr(Path, "read_text", read_text)
            if lasting:
                with pytest.raises(CannotWrite, match="Stale file handle"):
                    held.confirm()
                with pytest.raises(CannotWrite, match="Stale file handle"), locked(tmp_path):
                    pytest.fail("taken, though somebody holds it")
                time.sleep(3 * lock.BEAT_S)
            else:
                held.confirm()
        before = (tmp_path / "lease").read_text()
        time.sleep(6 * lock.BEAT_S)
        assert (tmp_path / "lease").read_text() != before, "it is renewed no more"


def test_a_sweep_trains_where_there_are_no_locks_and_says_once_what_is_weaker(finished_sweep, tmp_path, without_locks):
    class Told(small.SilentProgress):
        lines = ()

        def say(self, text):
            self.lines += (text,)

    progress = Told()
    assert isinstance(small.train(small.config(), tmp_path, progress=progress)[-1], Finished)
    assert small.differing(tmp_path, finished_sweep) == []
    assert [line for line in progress.lines if "lease" in line] == [lock.WEAKER]


def test_any_other_error_of_a_lock_is_an_error_of_the_disk(tmp_path, monkeypatch):
    def broken(*arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(lock.fcntl, "flock", broken)
    with pytest.raises(CannotWrite, match="Input/output error"), locked(tmp_path):
        pytest.fail("no lock is held")


def test_what_is_called_lock_and_is_none_of_ours_is_not_written_to(tmp_path):
    """A link, a second name of a file of the user's, a folder, a pipe, and a file with something else in it."""
    (tmp_path / "target").write_text("process")

    def hard_link(path):
        path.hardlink_to(tmp_path / "target")

    def symbolic_link(path):
        path.symlink_to(tmp_path / "target")

    for number, make in enumerate([hard_link, symbolic_link, Path.mkdir, os.mkfifo, lambda p: p.write_text("mine")]):
        folder = tmp_path / str(number)
        folder.mkdir()
        make(folder / "lock")
        with pytest.raises(ConfigError, match="not a lock of vsweep"), locked(folder):
            pytest.fail("it was taken")
    assert (tmp_path / "target").read_text() == "process"
    assert (tmp_path / "4" / "lock").read_text() == "mine"
