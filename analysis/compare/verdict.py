"""The verdict of a comparison: the exponent moves, only the constant moves, no difference, or these runs cannot tell.

"No effect" is claimed from a narrow interval only: the 90 % interval must lie within a margin, which is two one-sided
tests at 5 % (Schuirmann 1987, J. Pharmacokinet. Biopharm. 15, 657).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from vsweep.analysis.compare.paired_bootstrap import RELATIVE, SLOPE
from vsweep.analysis.uncertainty.intervals import Range

MOVES, CONSTANT = "the exponent moves", "only the constant moves"
NO_DIFFERENCE, CANNOT_TELL = "no difference is seen", "these runs cannot tell"
# A tenth of the exponent lets the multiplier drift by 1.26 over a tenfold of compute and by two over three decades. The
# choice of fit alone does more: Hoffmann's .154 became .178 from the same points (Besiroglu et al. 2024).
MARGIN = 0.1
NARROW = float(np.log(1.25))  # of log multiplier: .8 to 1.25, the rule by which bioequivalence is judged


@dataclass(frozen=True)
class Verdict:
    """One of the four outcomes, and for `CANNOT_TELL` what is open and how much more data would about settle it.

    `open` is the number whose range is too wide (`relative`, `slope` or `multiplier`), `more` the factor on the number
    of cells (None where no number can be named), `seed_share` the share of the variance due to single seeds.
    """

    outcome: str
    open: str | None = None
    more: float | None = None
    seed_share: float | None = None


def judge(
    whole: pd.Series, ranges: dict[str, Range], middle: str, margin: float, seed_share: pd.Series | None
) -> Verdict:
    """What the ranges of a comparison allow to say.

    Args:
      whole: the numbers of the two fits to all runs, by the columns of `compared_numbers`.
      ranges: the range of each of these columns over resamples.
      middle: the column of the log multiplier by which the constant is judged.
      margin: the relative difference of two exponents up to which they count as equal.
      seed_share: by column, the share of the variance due to single seeds; None where it is not known.
    """
    wide = [name for name in (RELATIVE, SLOPE) if not _within(ranges[name], margin)]
    if wide and wide[0] == RELATIVE and not _holds_zero(ranges[RELATIVE]):
        return Verdict(MOVES)
    if not wide and not _holds_zero(ranges[middle]):
        return Verdict(CONSTANT)
    if not wide and _within(ranges[middle], NARROW):
        return Verdict(NO_DIFFERENCE)
    column, allowed = (wide[0], margin) if wide else (middle, NARROW)
    return Verdict(
        CANNOT_TELL,
        open="multiplier" if column == middle else column,
        more=_more(float(whole[column]), ranges[column], allowed),
        seed_share=None if seed_share is None else float(seed_share[column]),
    )


def _within(range_: Range, margin: float) -> bool:
    return -margin < range_.low and range_.high < margin


def _holds_zero(range_: Range) -> bool:
    return range_.low <= 0 <= range_.high


def _more(value: float, range_: Range, margin: float) -> float | None:
    """By how many times more data the range would exclude zero or lie within the margin, whichever comes first.

    If the estimate is right. Each arm of a range shortens as one over the square root of the data.
    """
    arm = max(value - range_.low, range_.high - value)
    needed = max(abs(value), margin - abs(value))
    return (arm / needed) ** 2 if np.isfinite(value) and np.isfinite(arm) else None
