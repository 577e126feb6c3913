"""Numbers as words: sizes with units, differences of log loss as percentages or factors."""

import numpy as np

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
