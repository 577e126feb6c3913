"""A small sweep on a disk that fails at its N-th call, N = 1, 2, ... until it gets through; after each, on a good one.

    python -m tests.slow.on_bad_disk EXPECTED FOLDER ERROR LASTS FIRST STRIDE

in an environment of `bad_disk.py`. One process imports everything; children of it do the work, so that each starts
anew and the imports are paid once. Prints a line for each N: `N STATUS what was said`, and last `through N`.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from tests.slow import bad_disk
from tests.vsweep import killing, small
from vsweep import records, trainer

VALUES = small.config(sweep={"budget": [700], "seed": [0]})
THROUGH, DIFFERENT = 100, 101


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
        except records.CannotWrite as error:
            status = error.STATUS
            print(error, flush=True)
        finally:
            sys.excepthook(*sys.exc_info()) if status == 1 else None
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def train(workdir: Path) -> None:
    assert list(trainer.run_sweep(VALUES, workdir))[-1].kind == "finished"


def train_badly(workdir: Path, call: int, error: int, lasts: bool) -> int:
    bad_disk.arm(workdir, call, error, lasts=lasts)
    train(workdir)
    return THROUGH if bad_disk.calls() < call else 0


def train_on(workdir: Path, expected: Path) -> int:
    """On a good disk; before that, what the tables report must be there."""
    killing.check_reports(workdir)
    train(workdir)
    return 0 if killing.same_sweep(workdir, expected) else DIFFERENT


def main() -> None:
    expected, folder = Path(sys.argv[1]), Path(sys.argv[2])
    error, lasts, first, stride = map(int, sys.argv[3:])
    in_a_child(lambda: train(expected) or 0, folder / "told")
    status, call = None, first
    while status != THROUGH:
        workdir, told = folder / f"work-{call}", folder / "told"
        status = in_a_child(lambda: train_badly(workdir, call, error, bool(lasts)), told)  # noqa: B023
        print(call, status, told.read_text().strip().replace("\n", " | "), flush=True)
        after = in_a_child(lambda: train_on(workdir, expected), told)  # noqa: B023
        if after:
            print(call, f"after: {after}", told.read_text(), flush=True)
        call += stride
    print("through", call - stride, flush=True)


if __name__ == "__main__":
    main()
