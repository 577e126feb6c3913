"""Signals and the wall clock, turned into one question: should_stop().

The first SIGTERM or SIGINT asks for a stop at the next chunk, with a committed checkpoint; a second one leaves at once.
Where there is nothing to commit (before training, in an analysis) `leaving` turns the first one into an exception.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

EXIT_STATUS = 75  # EX_TEMPFAIL: nothing is wrong, run the same command again
SIGNALS = (signal.SIGTERM, signal.SIGINT)
AGAIN_S = 0.01


class Leave(BaseException):
    """A signal came where nothing needs to be saved; not an error, so nothing but the program's end handles it."""


@contextlib.contextmanager
def leaving() -> Iterator[None]:
    """Inside, the first SIGTERM or SIGINT raises Leave, and a second one leaves at once; in the main thread only."""

    def leave(number: int, frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        raise Leave(f"{signal.Signals(number).name} received")

    previous = {number: signal.signal(number, leave) for number in SIGNALS}
    try:
        with _raised_again_where_python_drops_it():
            yield
    finally:
        _set_handlers(previous)


@contextlib.contextmanager
def _raised_again_where_python_drops_it() -> Iterator[None]:
    """A callback of the garbage collector, or a __del__, cannot raise: a Leave from there is raised anew soon after."""

    def alarm(message: str) -> None:
        def leave(number: int, frame: FrameType | None) -> None:
            raise Leave(message)

        signal.signal(signal.SIGALRM, leave)
        signal.setitimer(signal.ITIMER_REAL, AGAIN_S)

    def dropped(unraisable) -> None:
        if isinstance(unraisable.exc_value, Leave):
            alarm(str(unraisable.exc_value))
        else:
            hook(unraisable)

    hook, previous = sys.unraisablehook, {signal.SIGALRM: signal.getsignal(signal.SIGALRM)}
    sys.unraisablehook = dropped
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = hook
        _set_handlers(previous)


def _set_handlers(handlers: dict[int, object]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


class Interruption:
    """A context manager that listens while it is open; outside the main thread only the wall clock counts."""

    def __init__(self, max_wall_hours: float = 0.0):
        self.deadline = time.monotonic() + 3600 * max_wall_hours if max_wall_hours else None
        self.received: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_) -> None:
        _set_handlers(self._previous)

    def should_stop(self) -> str | None:
        """Why to stop at the next chunk, or None."""
        if self.received is not None:
            return f"{signal.Signals(self.received).name} received"
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return "max_wall_hours reached"
        return None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.received = number
        os.write(2, b"stopping at the next chunk, with everything saved; once more to leave at once\n")
