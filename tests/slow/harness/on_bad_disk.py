"""A sweep, or a save, on a disk that fails at its N-th call, until it gets through; after each, on a good disk.

    python -m tests.slow.harness.on_bad_disk sweep|text|save FOLDER ERROR LASTS FIRST STRIDE

for N = FIRST, FIRST + STRIDE, ..., in an environment of `bad_disk.py`. One process imports everything; children of it
do the work, so that each starts anew and the imports are paid once. Prints for each N `N STATUS what was said`, and a
line `N lost ...` where anything was not as it should be afterwards.
"""

import functools
import itertools
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.slow.harness import bad_disk
from tests.vsweep import killing, small
from vsweep import atomic
from vsweep.storage.checkpoint import CheckpointFolder
from vsweep.train.events import Finished
from vsweep.train.sweep import run_sweep

VALUES = small.config(sweep={"budget": [700], "seed": [0]})
ARRAYS = {"params": np.arange(60_000, dtype=np.float32).reshape(200, 300), "step": np.arange(4)}
THROUGH, LOST = 100, 101


class Sweep:
    """Trains a small sweep in a folder of its own."""

    def __init__(self, folder: Path):
        self.expected, self.values = folder / "expected", VALUES

    def prepare(self) -> int:
        self.work(self.expected)
        return 0

    def work(self, folder: Path) -> None:
        assert isinstance(list(run_sweep(self.values, folder))[-1], Finished)

    def go_on(self, folder: Path) -> int:
        """On a good disk; before that, what the tables report must be there."""
        killing.check_reports(folder)
        self.work(folder)
        return 0 if killing.same_sweep(folder, self.expected) else LOST


class Text(Sweep):
    """A small sweep of text, whose corpus is on a good disk."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.values = small.text_config(folder / "texts")
        os.environ["VSWEEP_CACHE"] = str(folder / "cache")

    def go_on(self, folder: Path) -> int:
        status = super().go_on(folder)
        return status if (folder / "task.json").read_bytes() == (self.expected / "task.json").read_bytes() else LOST


class Save:
    """Saves step 20 beside step 10."""

    def __init__(self, folder: Path):
        self.before = folder / "before"

    def prepare(self) -> int:
        CheckpointFolder(self.before).save(10, ARRAYS, {})
        return 0

    def work(self, folder: Path) -> None:
        CheckpointFolder(folder).save(20, ARRAYS, {"step": 20})

    def go_on(self, folder: Path) -> int:
        place = CheckpointFolder(folder)
        whole = place.problems(10) == [] and place.latest() in (10, 20) and place.latest() == max(place.steps())
        self.work(folder)
        return 0 if whole and place.latest() == 20 and small.same_bits(place.restore(20), ARRAYS) else LOST


def in_a_child(work: Callable[[], int], told: Path) -> int:
    """The exit status of a child that does `work`, negative for a signal; what it says stands in `told`."""
    child = os.fork()
    if child == 0:
        output = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        status = 1
        try:
            status = work()
        except atomic.CannotWrite as error:
            status = error.STATUS
            print(error, flush=True)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fail(job: Sweep | Save, folder: Path, call: int, error: int, lasts: bool) -> int:
    bad_disk.arm(folder, call, error, lasts=lasts)
    job.work(folder)
    return THROUGH if bad_disk.calls() < call else 0


def main() -> None:
    job, told = {"sweep": Sweep, "text": Text, "save": Save}[sys.argv[1]](Path(sys.argv[2])), Path(sys.argv[2]) / "told"
    error, lasts, first, stride = map(int, sys.argv[3:])
    assert in_a_child(job.prepare, told) == 0, told.read_text()
    for call in itertools.count(first, stride):
        folder = Path(sys.argv[2]) / f"work-{call}"
        if sys.argv[1] == "save":
            shutil.copytree(job.before, folder)
        status = in_a_child(functools.partial(fail, job, folder, call, error, bool(lasts)), told)
        print(call, status, told.read_text().strip().replace("\n", " | "), flush=True)
        after = in_a_child(functools.partial(job.go_on, folder), told)
        if after:
            print(call, "lost", after, told.read_text(), flush=True)
        if status == THROUGH:
            return
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
