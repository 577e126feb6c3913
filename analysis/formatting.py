"""Numbers as words, and text and tables for a terminal.

Every number that a sentence or a table shows is written by a function of this module: sizes with units, differences
of log loss as percentages or factors, shares, and losses. Text that came from outside is made `printable` first.
"""

import io
import math
import textwrap
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from rich.console import Console, RenderableType
from rich.constrain import Constrain
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

LONGEST_MESSAGE = 4_000  # characters
UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
LARGE_FACTOR = 1.5
LARGEST_METRIC = 1e16  # from here on a power of ten reads better than thousands of T
WIDTH, WIDEST = 98, 10_000  # columns of text, and of a table whose values need more
INDENT = GAP = 2  # columns before a block, and between the columns of a table
LONGEST_HEADER = 24
LABEL = 20  # columns of the labels of `facts`

# Numbers


def metric(value: float) -> str:
    """Such as 3.58k, 1.25M, 70B; plain below a thousand."""
    for unit, name in UNITS:
        if value >= 0.9995 * unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def amount(value: float) -> str:
    """Parameters or tokens, such as 1.25M or 2.00e17; infinity is an amount that is never enough."""
    return scientific(value) if value >= LARGEST_METRIC else metric(value)


def scientific(value: float) -> str:
    """FLOP, such as 1.30e19; infinity is `never`."""
    if np.isinf(value):
        return "never"
    return f"{value:.3g}" if abs(value) < 1e4 else f"{value:.2e}".replace("e+", "e")


def times(value: float) -> str:
    """A factor, such as 1.79 or 2.5k; infinity is `never`."""
    return "never" if np.isinf(value) else metric(value)


def nats(value: float) -> str:
    """A loss or a difference of losses in nats/token, with four decimals where these are digits enough."""
    return f"{value:.4f}" if 0.01 <= abs(value) < 1e4 or value == 0 else f"{value:.2g}"


def share(value: float, digits: int | None = 1) -> str:
    """A share as a percentage, such as 14.1 %; with `digits` None as short as it can be, such as 25 %."""
    if np.isinf(value):
        return "unbounded"
    return f"{100 * value:g} %" if digits is None else f"{100 * value:.{digits}f} %"


def signed_percent(share: float, digits: int = 2) -> str:
    """A relative difference as a percentage with its sign, such as +1.25 %."""
    return f"{100 * share:+.{digits}f} %"


def percent(log_error: float) -> str:
    """A difference in log loss as a percentage, or as a factor where it is a large one."""
    factor = float(np.exp(log_error))
    return f"a factor of {factor:.2f}" if factor >= LARGE_FACTOR else f"{100 * (factor - 1):.2g} %"


def count(number: int, noun: str) -> str:
    """Such as `1 run` or `30 runs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def from_to(low: float, high: float, form: Callable[[float], str]) -> str:
    """A range in words, both ends written by `form`: such as `0.48 to 0.55`."""
    return f"{form(low)} to {form(high)}"


# Text


def printable(text: str) -> str:
    """The text with escapes in place of what is no letter, such as a terminal's commands; line ends stay."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def one_line(message: object) -> str:
    """A message that quotes foreign text, as one line of bearable length."""
    text = str(message)
    cut = f" ... ({len(text):,} characters)" if len(text) > LONGEST_MESSAGE else ""
    return printable(" ".join(text[:LONGEST_MESSAGE].split())) + cut


# Blocks of text and tables within WIDTH columns. Strings become `Text`, so that rich reads no markup in them.


def blocks(*parts: Iterable[RenderableType]) -> str:
    """Each part is a list of titles (strings) and of what is made below; an empty line parts the parts.

    Returns lines of at most `WIDTH` columns, but for titles and for tables whose values need more. There is neither
    colour nor markup in them.
    """
    console = Console(
        file=io.StringIO(),
        width=WIDEST,  # each item has its own width, and nothing is ever cropped
        color_system=None,
        force_terminal=False,
        force_jupyter=False,
        legacy_windows=False,
    )
    for at, part in enumerate(parts):
        if at:
            console.print()
        for item in part:
            if isinstance(item, str):
                console.print(Text(printable(item)), soft_wrap=True)  # a title, such as the name of a file, stays whole
            else:
                console.print(item)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def prose(text: str) -> RenderableType:
    """A paragraph, wrapped and indented by two columns."""
    # textwrap does not break at a non-breaking space, so each % stays beside its number; rich does.
    lines = textwrap.wrap(printable(text).replace(" %", "\xa0%"), WIDTH - INDENT)
    return _indented(Text("\n".join(lines).replace("\xa0", " ")))


def facts(rows: Iterable[tuple[str, str]]) -> RenderableType:
    """Labels and what they stand for, one a line, indented by two columns."""
    table = Table.grid(padding=(0, GAP, 0, 0))
    table.add_column(width=LABEL)
    table.add_column()
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return _indented(table)


def columns(header: Sequence[str], rows: Iterable[Sequence[str]]) -> RenderableType:
    """A table without rules, the first column to the left, indented by two columns. Cells may have several lines.

    Values are neither broken nor cropped: where they need more than `WIDTH` columns the table is wider. Long headers
    are broken.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="")
    for at, title in enumerate(header):
        widest = max([LONGEST_HEADER, *(len(line) for row in rows for line in row[at].splitlines())])
        lines = [part for line in printable(title).splitlines() for part in textwrap.wrap(line, widest)]
        table.add_column(Text("\n".join(lines)), justify="right" if at else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    return _indented(table, WIDEST)


def _indented(block: RenderableType, width: int = WIDTH) -> RenderableType:
    return Constrain(Padding(block, (0, 0, 0, INDENT), expand=False), width)


def finite(value: object) -> object:
    """The same structure with plain Python types, and null for every number that is not finite."""
    if type(value) is float:  # of most values, and so asked first
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [finite(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
