"""How far a number may move: intervals from resamples, widened by what the runs of one seed share.

The distribution over resampled cells gives an interval its form. Where seeds are known, variances are compared
(Cameron, Gelbach and Miller 2011, section 2.2, for two-way clusters): resampled seeds vary more than resampled runs if,
and only if, what a seed does to one run it does to others too, and that excess is added. Three seeds measure it badly,
so it counts only beyond one standard deviation of its own. With few cells the range of the resamples is given, and
called a spread.
"""

from dataclasses import dataclass, field

import numpy as np

MIN_CELLS_FOR_INTERVAL = 20
MIN_GOOD_SHARE = 0.5  # of resamples: where more are refused, those that are left are no fair sample
SEED_FITS = "fits to single seeds"
CELLS, CELLS_AND_SEEDS, POINTS = "resampled cells", "resampled cells and seeds", "resampled points"
SEED_SCATTER, RESIDUALS = "draws of the scatter between seeds", "draws of the residuals of the law"

LINEAR = ("E", "a", "b")  # quantities that may be zero or negative; all others are compared by their logarithms
TRIMMED = (0.01, 0.99)

Quantities = dict[str, np.ndarray]  # by name, one value a resample [r]


@dataclass(frozen=True)
class Range:
    """`low` and `high` of one quantity."""

    low: float
    high: float


@dataclass(frozen=True)
class Uncertainty:
    """Ranges by quantity.

    `form` is `min..max`, `no interval`, or such as `90 % interval`; `failed` counts resamples whose fit was refused;
    `seed_share` is the share of each quantity's variance that single seeds make, the rest being the law that does not
    fit the grid. `note` is a sentence on resamples that were made in another way than those of small tables.
    """

    kind: str
    form: str
    ranges: dict[str, Range]
    fits: int
    failed: int = 0
    seed_share: dict[str, float] = field(default_factory=dict)
    note: str = ""


def spread(kind: str, fits: list[dict[str, float] | None]) -> Uncertainty | None:
    """Lowest and highest of some fits; None where fewer than two were made."""
    good = [fit for fit in fits if fit is not None]
    if len(good) < 2:
        return None
    values = {name: np.array([fit[name] for fit in good]) for name in good[0]}
    ranges = {name: Range(float(column.min()), float(column.max())) for name, column in values.items()}
    return Uncertainty(kind, "min..max", ranges, len(good), len(fits) - len(good))


def interval(
    kind: str,
    estimate: dict[str, float],
    resampled: Quantities,
    *,
    failed: int,
    level: float,
    widening: dict[str, float] | None = None,
    seed_share: dict[str, float] | None = None,
    note: str = "",
) -> Uncertainty:
    """Quantiles over resamples, stretched about the estimate by the factor `widening` of each quantity (1 by default).

    Quantities that are always positive are stretched in logs. There is no interval, and the form says so, where fewer
    than half of the resamples could be fitted.
    """
    count = len(next(iter(resampled.values()), []))
    if count < max(2, MIN_GOOD_SHARE * (count + failed)):
        return Uncertainty(kind, "no interval", {}, count, failed, note=note)
    ranges = {}
    for name, values in resampled.items():
        low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
        stretch = 1.0 if widening is None else widening.get(name, 1.0)
        ranges[name] = Range(*_stretched(name, estimate[name], float(low), float(high), stretch))
    form = "min..max" if level == 1 else f"{in_percent(level)} interval"
    return Uncertainty(kind, form, ranges, count, failed, seed_share or {}, note)


def _stretched(name: str, middle: float, low: float, high: float, factor: float) -> tuple[float, float]:
    if name in LINEAR:
        stretched = middle + factor * (low - middle), middle + factor * (high - middle)
        return (max(0.0, stretched[0]), stretched[1]) if name == "E" else stretched
    return middle * (low / middle) ** factor, middle * (high / middle) ** factor


def resamples_needed(level: float) -> int:
    """How many resamples put one beyond each end of an interval that covers the share `level`."""
    return int(np.ceil(2 / (1 - level) - 1e-9))


def in_percent(level: float) -> str:
    """Such as `90 %`."""
    return f"{100 * level:g} %"


def scatter(name: str, values: np.ndarray) -> float:
    """Variance of one quantity over resamples [r], without its wildest values; in logs unless it may be zero."""
    values = values if name in LINEAR else np.log(values)
    return float(np.var(np.clip(values, *np.quantile(values, TRIMMED))))


def seed_excess(seeds: float, runs: float, count: int) -> float:
    """The variance that seeds add because their runs share randomness, from the variances over both resamplings.

    `seeds` has `count` - 1 degrees of freedom. Only what exceeds `runs` by more than one standard deviation counts.
    """
    return max(0.0, seeds - runs * (1 + np.sqrt(2 / (count - 1))))
