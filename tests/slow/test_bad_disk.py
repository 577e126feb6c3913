"""A disk that is full or broken, below everything: at the N-th call of a small sweep, and a real one that is small."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slow.harness import bad_disk, on_bad_disk
from tests.vsweep.killing import ROOT, check_reports, command, finish, same_sweep
from vsweep.atomic import CannotWrite

pytestmark = pytest.mark.slow

FIRST_SIZE_KB, GROWTH = 100, 1.4


HARMS = {  # (error, whether it lasts)
    "full": (errno.ENOSPC, True),
    "full for a moment": (errno.ENOSPC, False),
    "broken": (errno.EIO, True),
    "broken for a moment": (errno.EIO, False),
    "killed": (bad_disk.KILL, False),
}


def harmed(job: str, folder: Path, harm: str, first: int, stride: int) -> int:
    """How many calls of the disk failed, one a try; each must have been told, and nothing lost."""
    error, lasts = HARMS[harm]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.slow.harness.on_bad_disk",
            *map(str, (job, folder, error, int(lasts), first, stride)),
        ],
        cwd=ROOT,
        env=bad_disk.environment(bad_disk.compiled(folder), folder / "nothing"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *lines, through = (line.split(" ", 2) for line in done.stdout.splitlines())
    assert through[1] == str(on_bad_disk.THROUGH), done.stdout
    for call, status, told in lines:
        if error == bad_disk.KILL:
            assert status == "-9", (call, told)
        elif status != "0":  # 0: a call that was not needed, such as making a folder that is there
            assert status == str(CannotWrite.STATUS), (call, told)
            assert told.startswith("cannot write "), (call, told)
            assert "Traceback" not in told, (call, told)
            assert "Nothing that was saved before is lost" in told
    print(f"{job}, {harm}: {len(lines)} calls failed, each alone; {sum(line[1] == '0' for line in lines)} not needed")
    return len(lines)


@pytest.mark.parametrize("harm", HARMS)
def test_at_every_call_of_a_save_it_is_an_error_at_once_and_the_save_before_stays(harm, tmp_path):
    assert harmed("save", tmp_path, harm, first=1, stride=1) > 40


@pytest.mark.parametrize(("first", "harm"), list(enumerate(HARMS, start=1)))
def test_at_calls_of_a_whole_sweep_it_is_an_error_at_once_and_the_same_sweep_goes_on_later(first, harm, tmp_path):
    """Each call fails in one of the ways, for trying all of them in all ways takes two hours."""
    assert harmed("sweep", tmp_path, harm, first, stride=len(HARMS)) > 20


@pytest.fixture
def small_disk(tmp_path):
    """(folder, a function that gives it a size in kB) of a real file system in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size_kb: int, *more: str) -> int:
        words = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size_kb}k", *more]), "small_disk", str(folder)]
        return subprocess.run(words, check=False, capture_output=True).returncode

    try:
        permitted = mount(FIRST_SIZE_KB) == 0
    except FileNotFoundError:
        permitted = False
    if not permitted:
        pytest.skip("may not mount a file system")
    yield folder, lambda size_kb: mount(size_kb, "remount")
    subprocess.run(["umount", str(folder)], check=True)


def check_told(status: int, told: str) -> None:
    """Before it begins, by the plan's estimate of the room that is needed; or where a write has failed."""
    if status == 2:
        assert "workdir: too little disk - got " in told
    else:
        assert status == CannotWrite.STATUS, told
        # The sweep itself, or the analysis of a sweep that has finished.
        assert told.startswith("analysis: cannot write ") or "vsweep has stopped: cannot write " in told
        assert "No space left on device" in told
        assert "MB needed" in told
    assert "Traceback" not in told


def test_a_full_disk_that_gets_a_little_more_room_each_time_is_told_each_time_and_gone_on_with(small_disk, tmp_path):
    folder, resize = small_disk
    finish(tmp_path / "uninterrupted")
    size_kb, statuses, status = FIRST_SIZE_KB, [], None
    while status != 0:
        ended = subprocess.run(command(folder / "work"), capture_output=True, text=True, check=False)
        status, told = ended.returncode, ended.stderr
        check_reports(folder / "work")
        if status != 0:
            check_told(status, told)
            statuses.append(status)
            size_kb = int(size_kb * GROWTH)
            assert resize(size_kb) == 0
    assert statuses.count(CannotWrite.STATUS) > 2
    assert same_sweep(folder / "work", tmp_path / "uninterrupted")
    print(f"{len(statuses)} times full, at last {size_kb} kB")
