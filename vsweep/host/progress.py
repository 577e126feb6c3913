"""How far a sweep is: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

PLAIN_LINE_EVERY_S = 30.0
DRAWN_EVERY_S = 0.1  # a bar
PLAIN_WIDTH = 132  # columns of lines that go to a file or a pipe
DRAWING = "drawing the report"


class SilentProgress:
    """Shows nothing; what run_sweep uses unless it is given something else, and the methods every display has."""

    def say(self, text: str) -> None:
        """A message of one line."""

    def compiling(self, stack: str) -> None:
        """The programs of a stack are waited for."""

    def drawing(self) -> None:
        """A report is drawn, which may take minutes."""

    def measured(self, stack: str, *, step: int, steps: int, batch_size: int, news: Mapping[str, Mapping]) -> None:
        """After a chunk, before `update`: the stack is at `step` of `steps`; a step takes `batch_size` examples.

        `news`: run_id -> its newest evaluation, or `diverged_at_step`, of the runs that were evaluated.
        """

    def update(self, stack: str, *, done: float, runs: str, tokens_per_s: float, eta_s: float) -> None:
        """After a chunk. `done`: share of the sweep, 0 to 1; `runs`: how many have ended, `3 of 12`; `eta_s`: left."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None: ...


class PlainProgress(SilentProgress):
    """Lines for logs and notebooks: one a message, and one every half minute; silent once they cannot be written."""

    def __init__(self, console: Console):
        self.console = console
        self._last = time.monotonic()
        self._silent = False

    def say(self, text: str) -> None:
        self._show(lambda: self.console.print(text, highlight=False, markup=False, soft_wrap=True))

    def _show(self, show: Callable[[], None]) -> None:
        """Training goes on whoever looks."""
        if self._silent:
            return
        try:
            show()
        except OSError:
            self._silent = True
        except SystemExit:  # of rich, which ends a program whose reader is gone
            self._silent = self.console.quiet
            if not self._silent:
                raise
        except ValueError:
            self._silent = self.console.file.closed
            if not self._silent:
                raise

    def compiling(self, stack: str) -> None:
        self.say(f"{stack}: compiling")

    def drawing(self) -> None:
        self.say(DRAWING)

    def update(self, stack: str, *, done: float, runs: str, tokens_per_s: float, eta_s: float) -> None:
        """At most one line every `PLAIN_LINE_EVERY_S` seconds; `done` is a share of the whole sweep."""
        if time.monotonic() - self._last >= PLAIN_LINE_EVERY_S:
            self._last = time.monotonic()
            self.say(f"{stack}: {done:.0%} of the sweep, {_status(runs, tokens_per_s, eta_s)}")


class TerminalProgress(PlainProgress):
    """One bar, redrawn in place; messages scroll above it."""

    def __init__(self, console: Console):
        super().__init__(console)
        columns = (TextColumn("{task.description:>12}"), BarColumn(), TextColumn("{task.fields[status]}"))
        # Drawn by the training itself, not by a thread of rich, whose errors nobody could catch.
        self._bar = Progress(*columns, console=console, transient=True, auto_refresh=False)
        self._task = self._bar.add_task("", total=1.0, status="")
        self._started = False

    def __enter__(self) -> Self:
        self._show(self._bar.live.start)  # and no first picture, an error in which would leave it half started
        self._started = not self._silent
        return self

    def __exit__(self, *_) -> None:
        self._silent = not self._started  # it may have fallen silent since, but it has standard output to give back
        self._show(self._bar.stop)

    def compiling(self, stack: str) -> None:
        self._show(lambda: self._bar.update(self._task, description=stack, status="compiling", refresh=True))

    def drawing(self) -> None:
        self._show(lambda: self._bar.update(self._task, status=DRAWING, refresh=True))

    def update(self, stack: str, *, done: float, runs: str, tokens_per_s: float, eta_s: float) -> None:
        """Moves the bar to `done`, a share of the whole sweep; drawn at most every `DRAWN_EVERY_S` seconds."""
        fields = {"description": stack, "completed": done, "status": _status(runs, tokens_per_s, eta_s)}
        drawn = time.monotonic() - self._last >= DRAWN_EVERY_S
        self._last = time.monotonic() if drawn else self._last
        self._show(lambda: self._bar.update(self._task, **fields, refresh=drawn))


def standard_console() -> Console:
    """Standard output; its lines are as long as a terminal is wide, or `PLAIN_WIDTH` away from one."""
    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def for_console(console: Console) -> SilentProgress:
    """A bar on a terminal, lines of text in a file or a pipe."""
    return TerminalProgress(console) if console.is_terminal else PlainProgress(console)


def duration_text(seconds: float) -> str:
    """`45 s`, `12 min` or `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def size_text(count: float) -> str:
    """Bytes in powers of 1000: `1.2 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _status(runs: str, tokens_per_s: float, eta_s: float) -> str:
    return f"{runs} runs done, {tokens_per_s:,.0f} tokens/s, {duration_text(eta_s)} to go"
