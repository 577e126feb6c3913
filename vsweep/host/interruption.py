"""Signals and the wall clock, turned into one question: should_stop().

The first SIGTERM, SIGINT or SIGHUP asks for a stop at the next chunk, with a committed checkpoint; a second one leaves
at once. Where there is nothing to commit (before training, in an analysis) `leaving` turns the first one into an
exception. A SIGHUP never hurries: a terminal that closes sends several, and some systems a SIGTERM with it. One that is
ignored at the start (`nohup`) stays ignored.
"""

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

EXIT_STATUS = 75  # EX_TEMPFAIL: nothing is wrong, run the same command again
HURRYING = (signal.SIGTERM, signal.SIGINT)
AGAIN_S = 0.01


class Leave(BaseException):
    """A signal came where nothing needs to be saved; not an error, so nothing but the program's end handles it."""


@contextlib.contextmanager
def leaving() -> Iterator[None]:
    """Inside, the first signal raises Leave, and a second one leaves at once; in the main thread only."""

    def leave(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if number in HURRYING:
            _set_handlers(dict.fromkeys(HURRYING, signal.SIG_DFL))
        raise Leave(f"{signal.Signals(number).name} received")

    previous = {number: signal.signal(number, leave) for number in _heeded()}
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


def _heeded() -> list[signal.Signals]:
    """The signals that ask for a stop."""
    hung_up = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    return [*HURRYING, *hung_up]


def _set_handlers(handlers: dict[int, object]) -> None:
    for number, handler in handlers.items():
        if handler is not None:  # None: it was not set from Python, and cannot be
            signal.signal(number, handler)


def _tell(text: str) -> None:
    """From a signal's handler: straight to the descriptor, for the stream's buffer may be in use.

    Whoever read it may be dead, or behind; then it is not told. Where standard error was closed at the start, its
    descriptor may be any file.
    """
    with contextlib.suppress(OSError):
        if sys.__stderr__ is not None and select.select([], [2], [], 0)[1]:
            os.write(2, f"{text}\n".encode())


class Interruption:
    """A context manager that listens while it is open; outside the main thread only the wall clock counts."""

    def __init__(self, max_wall_hours: float = 0.0):
        self.deadline = time.monotonic() + 3600 * max_wall_hours if max_wall_hours else None
        self.received: int | None = None
        self._save_s: Callable[[], float] | None = None  # None: there is nothing to save
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in _heeded():
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_) -> None:
        if threading.current_thread() is threading.main_thread():  # a dropped generator may be closed in any
            _set_handlers(self._previous)

    def should_stop(self) -> str | None:
        """Why to stop at the next chunk, or None."""
        if self.received is not None:
            return f"{signal.Signals(self.received).name} received"
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return "max_wall_hours reached"
        return None

    @contextlib.contextmanager
    def saving(self, save_s: Callable[[], float]) -> Iterator[None]:
        """Inside there is something to save; `save_s` tells in how many seconds it will be, if asked to stop now."""
        self._save_s = save_s
        try:
            yield
        finally:
            self._save_s = None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number not in HURRYING and self.received is not None:
            return
        if self.received in HURRYING:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.received = number
        _tell(f"{signal.Signals(number).name} received: {self._outlook()}; once more to leave at once")

    def _outlook(self) -> str:
        if self._save_s is None:
            return "all that was trained is saved, leaving when the work under way (such as a compile) has ended"
        return f"stopping, everything will be saved in about {max(1.0, self._save_s()):.0f} s"
