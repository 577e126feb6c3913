"""Numbers as words: sizes with units, differences of log loss as percentages or factors. Text fit for a terminal."""

import numpy as np

LONGEST_MESSAGE = 4_000  # characters
UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
LARGE_FACTOR = 1.5


def metric(value: float) -> str:
    """Such as 3.58k, 1.25M, 70B; plain below a thousand."""
    for unit, name in UNITS:
        if value >= 0.9995 * unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def percent(log_error: float) -> str:
    """A difference in log loss as a percentage, or as a factor where it is a large one."""
    factor = float(np.exp(log_error))
    return f"a factor of {factor:.2f}" if factor >= LARGE_FACTOR else f"{100 * (factor - 1):.2g} %"


def signed_percent(share: float) -> str:
    return f"{100 * share:+.2f} %"


def count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


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
