"""An analysis, as a process, on a disk that fails or under a kill: one line, and the next analysis is as any other."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.analysis.planted import Planted, write_planted
from tests.analysis.test_analyse import digest
from tests.slow.harness import bad_disk

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STRIDE = 7  # one call of the disk in so many is harmed


def analysed(workdir: Path, environment: dict) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "analysis", str(workdir), "--bootstrap", "0"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("harm", ["ENOSPC", "EROFS", "EIO", "killed"])
def test_an_analysis_harmed_at_any_call_of_the_disk_leaves_nothing_that_the_next_one_keeps(harm, tmp_path):
    error = bad_disk.KILL if harm == "killed" else getattr(errno, harm)
    library = bad_disk.compiled(tmp_path)
    workdir = write_planted(tmp_path / "sweep", Planted(widths=(4,), budgets=(125_000, 250_000)))
    assert analysed(workdir, dict(os.environ)).returncode == 0
    undisturbed, harmed = digest(workdir), 0
    for call in range(1, 10_000, STRIDE):
        # For good: a disk that is full stays full, and one call that fails can be the removal of a leftover.
        done = analysed(workdir, bad_disk.environment(library, workdir, call, error, lasts=harm != "killed"))
        if done.returncode == 0:
            break
        harmed += 1
        assert done.returncode == (-9 if harm == "killed" else 74), done.stderr
        assert done.stderr.count("\n") == (0 if harm == "killed" else 1)
        assert {name: found for name, found in digest(workdir).items() if "unfinished" not in name} == undisturbed
    assert harmed > 5
    for path in workdir.rglob("*.unfinished"):
        os.utime(path, (0, 0))
    assert analysed(workdir, dict(os.environ)).returncode == 0
    assert digest(workdir) == undisturbed
    print(f"{harm}: {harmed} calls")
