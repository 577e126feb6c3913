"""How far a sweep is, for a caller in a notebook: one bar, redrawn in place.

`rich` would draw it by ipywidgets, which is not always there, and would have to be told where the sweep ends. A bar of
HTML needs neither.
"""

import html
import time

from rich.console import Console

from vsweep.host.progress import DRAWN_EVERY_S, SilentProgress, duration_text


def progress_here() -> SilentProgress:
    """A bar where this process is the kernel of a notebook; elsewhere a caller of `run_sweep` sees its events only."""
    return NotebookProgress() if Console().is_jupyter else SilentProgress()


class NotebookProgress(SilentProgress):
    """One bar below the cell that trains, and the messages above it."""

    def __init__(self):
        from IPython.display import HTML, display  # it is there, because this is a notebook

        self._html = HTML
        self._bar = display(HTML(""), display_id=True)
        self._done = 0.0
        self._drawn = time.monotonic()

    def say(self, text: str) -> None:
        print(text)

    def compiling(self, stack: str) -> None:
        self._show(f"{stack}: compiling")

    def update(self, stack: str, *, done: float, runs: str, tokens_per_s: float, eta_s: float) -> None:
        self._done = done
        if done >= 1 or time.monotonic() - self._drawn >= DRAWN_EVERY_S:
            left = f"{runs} runs done, {tokens_per_s:,.0f} tokens/s, {duration_text(eta_s)} to go"
            self._show(f"{stack}: {left}")

    def _show(self, text: str) -> None:
        self._drawn = time.monotonic()
        bar = f'<progress value="{self._done:.4f}" max="1" style="width: 20em"></progress>'
        self._bar.update(self._html(f"{bar} {self._done:.0%} {html.escape(text)}"))
