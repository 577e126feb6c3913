"""Named places of a sweep at which a test stops it: a function there is wrapped, and asks for the stop first."""

import os
import shutil
import signal
from pathlib import Path

from tests.vsweep import small
from vsweep.host import interruption
from vsweep.storage import checkpoint
from vsweep.train import compiling, sweep
from vsweep.train.dispatcher import Dispatcher
from vsweep.train.events import Finished, Interrupted

PLACES = {
    "compile": (compiling, "compile_stack"),
    "step": (Dispatcher, "train_chunk"),
    "evaluation": (Dispatcher, "evaluate"),
    "save": (checkpoint.CheckpointFolder, "save"),
    "resume": (checkpoint.CheckpointFolder, "restore"),
}


class Listening(interruption.Interruption):
    """Remembers itself, so that its wall limit can be over at a named place."""

    def __init__(self, hours: float):
        super().__init__(hours)
        Listening.last = self


def stop_at(place: str, cause: str, monkeypatch) -> list:
    """The next sweep is asked to stop when it comes to `place`; gives a list, an item for each chunk from then on."""
    monkeypatch.setattr(sweep, "Interruption", Listening)
    asked, chunks = [], []

    def ask():
        asked.append(place)
        if cause == "max_wall_hours":
            Listening.last.deadline = 0.0
        else:
            os.kill(os.getpid(), signal.Signals[cause])

    def count():
        if asked:
            chunks.append(1)

    _before(monkeypatch, *PLACES["step"], count)
    _before(monkeypatch, *PLACES[place], lambda: asked or ask())
    return chunks


def leaves_and_goes_on(place: str, cause: str, begun: Path, workdir: Path, expected: Path, monkeypatch) -> None:
    """Stopped at `place` it trains at most the chunk under way, and run again it ends as `expected` did.

    `begun` is a work directory to go on from, where the place is one of a resume.
    """
    if place == "resume":
        shutil.copytree(begun, workdir)
    with monkeypatch.context() as patched:
        chunks = stop_at(place, cause, patched)
        events = small.train(small.config(), workdir)
    assert isinstance(events[-1], Interrupted)
    assert cause in events[-1].reason
    assert len(chunks) <= 1
    assert isinstance(small.train(small.config(), workdir)[-1], Finished)
    assert small.differing(workdir, expected) == []


def _before(monkeypatch, owner, name: str, do) -> None:
    whole = getattr(owner, name)

    def wrapped(*arguments, **keywords):
        do()
        return whole(*arguments, **keywords)

    monkeypatch.setattr(owner, name, wrapped)
