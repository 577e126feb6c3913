"""live.json in a work directory: how far the training is between two boundaries, for whoever looks.

The training process writes it at most every two seconds, and removes it when it ends. No result depends on it: a disk
that refuses it is not worth a sweep, and what is in it stands in the tables after the next checkpoint.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from vsweep.host.progress import SilentProgress
from vsweep.schema import LIVE_FILE
from vsweep.serve.state import files

EVERY_S = 2.0
REST = 50  # the next write waits so many times what the last one took: a slow disk slows training by 2 % at most
POINTS_KEPT = 8  # of a run's newest evaluations; all others are in curves.csv after the next checkpoint
MEASURES = ("train_loss", "val_loss", "excess_loss", "answer_loss")
SILENT_S = 600.0  # without a sign of life from another machine: a long compilation, or it is gone
KINDS = {
    "pid": int,
    "time": (int, float),
    "host": str,
    "doing": str,
    "stack": str,
    "points": dict,
    "diverged": dict,
}
TEMPORARY = f".{LIVE_FILE}.training.unfinished"


class LiveProgress(SilentProgress):
    """Hands everything on to another display, and keeps live.json once `begin` has said where."""

    def __init__(self, display: SilentProgress):
        self.display = display
        self._path: Path | None = None
        self._due_at = 0.0
        self._written = False
        self._state: dict = {"pid": os.getpid(), "host": socket.gethostname(), "points": {}, "diverged": {}}

    def begin(self, workdir: Path) -> None:
        """From here on there is a live.json in `workdir`, as soon as there is something to say."""
        self._path = Path(workdir) / LIVE_FILE

    def say(self, text: str) -> None:
        self.display.say(text)

    def compiling(self, stack: str) -> None:
        self.display.compiling(stack)
        self._state |= {"doing": "compiling", "stack": stack, "step": None, "points": {}}
        self._write(now=True)

    def drawing(self) -> None:
        self.display.drawing()
        if "stack" in self._state:
            self._state["doing"] = "drawing"
            self._write(now=True)

    def measured(self, stack: str, *, step: int, steps: int, batch_size: int, news: Mapping[str, Mapping]) -> None:
        self.display.measured(stack, step=step, steps=steps, batch_size=batch_size, news=news)
        self._state |= {"doing": "training", "stack": stack, "step": step, "steps": steps, "batch_size": batch_size}
        for run_id, point in news.items():
            if "diverged_at_step" in point:
                self._state["diverged"][run_id] = point["diverged_at_step"]
                continue
            kept = [*self._state["points"].get(run_id, ()), [point["steps"], *(point[name] for name in MEASURES)]]
            self._state["points"][run_id] = kept[-POINTS_KEPT:]

    def update(self, stack: str, *, done: float, runs: str, tokens_per_s: float, eta_s: float) -> None:
        self.display.update(stack, done=done, runs=runs, tokens_per_s=tokens_per_s, eta_s=eta_s)
        self._state |= {"done": done, "runs": runs, "tokens_per_s": tokens_per_s, "eta_s": eta_s}
        self._write()

    def __enter__(self) -> Self:
        self.display.__enter__()
        return self

    def __exit__(self, *reason) -> None:
        self.display.__exit__(*reason)
        if self._written:  # else it is that of another process, which holds the work directory
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _write(self, *, now: bool = False) -> None:
        started = time.monotonic()
        if self._path is None or (started < self._due_at and not now):
            return
        self._state["time"] = time.time()
        with contextlib.suppress(OSError):
            self._replace(json.dumps(self._state).encode())
            self._written = True
        ended = time.monotonic()
        self._due_at = ended + max(EVERY_S, REST * (ended - started))

    def _replace(self, content: bytes) -> None:
        """In one step, without fsync: after a power cut nobody is interested. Follows no link."""
        temporary = self._path.parent / TEMPORARY
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with os.fdopen(os.open(temporary, flags, 0o644), "wb") as file:
            file.write(content)
        os.replace(temporary, self._path)


def read(workdir: Path) -> dict:
    """live.json, or nothing where no training is under way. Raises ValueError for what no training has written."""
    try:
        values = json.loads(files.read(workdir, LIVE_FILE))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        raise ValueError(f"{LIVE_FILE}: damaged") from None
    if not isinstance(values, dict) or not all(isinstance(values.get(name), kind) for name, kind in KINDS.items()):
        raise ValueError(f"{LIVE_FILE}: damaged")
    return values


def is_alive(live: Mapping) -> bool:
    """Whether the training that wrote `live` still is: by its process if it is on this machine, else by its age."""
    if not live:
        return False
    if live["host"] != socket.gethostname():
        return time.time() - live["time"] < SILENT_S
    try:
        os.kill(live["pid"], 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's process
        return True
    return True
