"""launch.py in a process that kills itself at a named point, and keeps a log of its steps:

    python -m tests.vsweep.kill_at LOG POINT CALL --config=... --workdir=...

A function of the real code is wrapped, and its CALL-th call is the end: SIGKILL, of which no program ever hears.
Two more points kill nothing: NOWHERE, and UNDRAWN, with which no report is drawn either.
"""

import dataclasses
import os
import runpy
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from vsweep.analysis import pipeline
from vsweep.cli import train
from vsweep.storage import background, checkpoint
from vsweep.train import compiling, timing
from vsweep.train.dispatcher import Dispatcher
from vsweep.train.recorder import SweepRecorder

BEFORE, DURING, AFTER = "before", "during", "after"
NOWHERE, UNDRAWN = "nowhere", "nowhere, and no report"
DURING_S = 0.02  # after which a call that is to be killed `during` its work is killed


@dataclasses.dataclass(frozen=True)
class Point:
    """Calls of `owner.name` for which `counts` holds."""

    owner: object
    name: str
    when: str
    counts: Callable[..., bool] = lambda *arguments, **keywords: True


def renaming(name: str) -> Callable[..., bool]:
    """Whether os.replace is about to put a file of that name into its place."""
    return lambda source, target, **keywords: Path(target).name.endswith(name)


def in_checkpoints(folder, *arguments) -> bool:
    return Path(getattr(folder, "folder", folder)).name == "checkpoints"


def in_finished(folder, *arguments) -> bool:
    return folder.folder.name == "finished"


POINTS = {
    "writing config.json": Point(os, "replace", BEFORE, renaming("config.json")),
    "writing plan.json": Point(os, "replace", BEFORE, renaming("plan.json")),
    "compiling": Point(compiling, "compile_stack", DURING),
    "in the middle of a chunk": Point(Dispatcher, "train_chunk", DURING),
    "evaluating": Point(Dispatcher, "evaluate", DURING),
    "writing the parameters of finished runs": Point(checkpoint.CheckpointFolder, "_write", DURING, in_finished),
    "writing a checkpoint in the background": Point(checkpoint.CheckpointFolder, "_write", DURING, in_checkpoints),
    "waiting for a checkpoint": Point(
        background.BackgroundWriter, "collect", BEFORE, lambda self, *, wait: wait and self.is_busy
    ),
    "between Orbax's rename and the manifest": Point(
        checkpoint, "sync_tree", BEFORE, lambda folder: in_checkpoints(folder.parent)
    ),
    "writing a manifest": Point(os, "replace", BEFORE, renaming(checkpoint.MANIFEST)),
    "after a manifest": Point(checkpoint, "write_json_atomically", AFTER),
    "between a checkpoint and its rows": Point(SweepRecorder, "committed", BEFORE),
    "writing runs.csv": Point(os, "replace", BEFORE, renaming("runs.csv")),
    "writing curves.csv": Point(os, "replace", BEFORE, renaming("curves.csv")),
    "pruning": Point(shutil, "rmtree", AFTER, lambda path, *rest, **keywords: in_checkpoints(Path(path).parent)),
    "analysing": Point(pipeline, "study_loss", DURING),
    "writing fits.json": Point(os, "replace", BEFORE, renaming("fits.json")),
    "writing the report": Point(os, "replace", BEFORE, renaming("report.html")),
}

COPYING = {  # with --resume_from
    "copying another directory": Point(shutil, "copyfile", AFTER),
    "putting the copied config into its place": Point(os, "replace", BEFORE, renaming("config.json")),
    "removing the mark of the copy": Point(Path, "rmdir", BEFORE, lambda path: path.name.startswith(".copying")),
}


OF_TEXT = {"writing samples.json": Point(os, "replace", BEFORE, renaming("samples.json"))}


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at(point: Point, call: int) -> None:
    """Wraps the function, so that its `call`-th call ends this process."""
    original, seen = getattr(point.owner, point.name), []

    def wrapped(*arguments, **keywords):
        if point.counts(*arguments, **keywords):
            seen.append(None)
            if len(seen) == call and point.when == BEFORE:
                kill()
            if len(seen) == call and point.when == DURING:
                threading.Timer(DURING_S, kill).start()
        result = original(*arguments, **keywords)
        if len(seen) == call:
            kill()
        return result

    setattr(point.owner, point.name, wrapped)


def log_steps(path: Path) -> None:
    """Appends `begin STACK STEP` when a stack starts or goes on, and `at STACK STEP` after each chunk."""
    begin, advance = Dispatcher.begin, timing.SweepClock.advance

    def log(*words) -> None:
        with open(path, "a", encoding="utf-8") as file:
            file.write(" ".join(map(str, words)) + "\n")

    def logged_begin(self, step, *folders):
        log("begin", self.stack.name, step or 0)
        return begin(self, step, *folders)

    def logged_advance(self, step, trained_s):
        log("at", self.stack_plan.name, step)
        return advance(self, step, trained_s)

    Dispatcher.begin = logged_begin
    timing.SweepClock.advance = logged_advance


def main() -> None:
    log, point, call, *arguments = sys.argv[1:]
    log_steps(Path(log))
    if point == UNDRAWN:
        train.report = lambda *arguments, **keywords: 0
    elif point != NOWHERE:
        kill_at({**POINTS, **COPYING, **OF_TEXT}[point], int(call))
    launcher = Path(__file__).parents[2] / "launch.py"
    sys.argv = [str(launcher), *arguments]
    runpy.run_path(str(launcher), run_name="__main__")


if __name__ == "__main__":
    main()
