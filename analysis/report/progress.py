"""How far an analysis is: one line on a terminal, redrawn in place, and nothing anywhere else."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

Say = Callable[[str], None]


def silent(_: str) -> None:
    """Shows nothing."""


@contextmanager
def shown(console: Console | None = None) -> Iterator[Say]:
    """What takes the name of each step, and shows it on standard error until the next one or the end."""
    console = Console(stderr=True) if console is None else console
    if not console.is_terminal:
        yield silent
        return
    with console.status("reading") as line:
        yield lambda text: line.update(text, spinner_style="status.spinner")
