"""Slope or intercept: does a change move the exponent of the loss, or only its constant?

Each of two sets of runs gets the parametric law. Along its compute-optimal path the loss is L = E + K C^-gamma with
gamma = alpha beta / (alpha + beta) (Hoffmann et al. 2022, equation 4 put into equation 2). Hestness et al. 2017 saw
better models move K and leave the exponent; whether that is so here is what the interval of gamma's difference says.
The same in the currency of a study is the compute multiplier: how much compute the second set needs for the loss that
the first one reaches. If it is the same at every C, only the constant moves.

`paired_bootstrap` resamples the runs, `held_exponents` gives a second view, and `verdict` draws the conclusion.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from vsweep.analysis.approaches.parametric import Law
from vsweep.analysis.compare.held_exponents import Held, hold_exponents
from vsweep.analysis.compare.paired_bootstrap import (
    RELATIVE,
    SLOPE,
    Pair,
    compared_numbers,
    difference,
    level,
    resampled_laws,
)
from vsweep.analysis.compare.verdict import MARGIN, Verdict, judge
from vsweep.analysis.data.points import Points
from vsweep.analysis.data.source import LEVEL, Refusal
from vsweep.analysis.uncertainty import intervals
from vsweep.analysis.uncertainty.approach import fit_parametric
from vsweep.analysis.uncertainty.bootstrap import CELLS, RUNS, SEEDS, WITHIN, unbiased
from vsweep.analysis.uncertainty.intervals import Range

METHOD = "compare"
LEVELS, MIN_RESAMPLES = 9, 40


@dataclass(frozen=True)
class Quantity:
    """One number of both laws and its difference, second minus first, each with its range over resamples."""

    name: str
    first: float
    first_range: Range
    second: float
    second_range: Range
    difference: float
    difference_range: Range


@dataclass(frozen=True)
class Multiplier:
    """Compute that the second set needs over what the first one needs, for the loss of the first at `flops` [m].

    Infinite where the second one never gets there. `slope` is that of log multiplier against log C, from end to end.
    """

    flops: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    slope: float
    slope_range: Range

    @property
    def middle(self) -> int:
        """The level in the middle of the common range of compute, where both laws are known best."""
        return len(self.flops) // 2


@dataclass(frozen=True)
class Comparison:
    """Two sets of runs side by side. `relative` is gamma of the second over that of the first, less one.

    `form` is `90 % interval`, or `min..max` of the resamples where the cells are few.
    """

    names: tuple[str, str]
    points: tuple[Points, Points]
    laws: tuple[Law, Law]
    pairing: str
    form: str
    resamples: int
    failed: int
    quantities: tuple[Quantity, ...]
    relative: float
    relative_range: Range
    multiplier: Multiplier
    held: Held
    margin: float
    verdict: Verdict

    def quantity(self, name: str) -> Quantity:
        """The quantity of that name: E (where it is fitted), alpha, beta, a or gamma."""
        return next(quantity for quantity in self.quantities if quantity.name == name)


def compare(
    first: Points,
    second: Points,
    *,
    bootstrap: int = 400,
    names: tuple[str, str] = ("A", "B"),
    margin: float = MARGIN,
) -> Comparison | Refusal:
    """Whether `second` differs from `first` in the exponent of the loss at the compute-optimum, or in the constant.

    Args:
      bootstrap: resamples of the cells, 40 at least.
      margin: the relative difference of two exponents up to which they count as equal, between 0 and 1.

    Returns a `Refusal` where the two do not follow one convention or one floor, share no compute, or have no law.

    Raises:
      ValueError: `bootstrap` or `margin` is out of range.
    """
    if bootstrap < MIN_RESAMPLES:
        raise ValueError(f"bootstrap: an interval needs resamples - got {bootstrap}; allowed {MIN_RESAMPLES} or more")
    if not 0 < margin < 1:
        raise ValueError(f"margin: a relative difference of exponents - got {margin}; allowed above 0 and below 1")
    reason = _why_incomparable(first, second)
    if reason:
        return Refusal(METHOD, reason)
    fits = (fit_parametric(first), fit_parametric(second))
    for name, fit in zip(names, fits, strict=True):
        if isinstance(fit, Refusal):
            return Refusal(METHOD, f"no law of {name}: {fit.reason}")
    pair = Pair.of((first, second), fits, _common_flops(first, second))
    return _compared(pair, names, bootstrap, margin)


def _why_incomparable(first: Points, second: Points) -> str | None:
    both = (first, second)
    for points, name in zip(both, ("first", "second"), strict=True):
        if points.table.empty:
            return f"the {name} set has no finished run with a usable {points.convention.loss}"
    for name in ("loss", "size", "flops", "given_floor", "objective"):
        values = [getattr(points.convention, name) for points in both]
        if values[0] != values[1]:
            return f"the conventions differ: {name} is {values[0]} in the first set and {values[1]} in the second"
    units = [points.loss_unit for points in both]
    if units[0] != units[1]:
        return f"the units differ: the loss is in {units[0]} in the first set and in {units[1]} in the second"
    floors = [points.table["floor"].median() for points in both if "floor" in points.table]
    if len(floors) == 2 and not np.isclose(*floors, rtol=1e-6):
        return (
            f"the floors differ: no loss of the first set can be below {floors[0]:.6g} {units[0]}, none of the second "
            f"below {floors[1]:.6g}, so these are losses of different tasks"
        )
    if _common_flops(first, second) is None:
        ranges = [f"{points.column('flops').min():.3g} to {points.column('flops').max():.3g}" for points in both]
        return f"no compute in common: {ranges[0]} FLOP in the first set, {ranges[1]} in the second"
    return None


def _common_flops(first: Points, second: Points) -> np.ndarray | None:
    low = max(points.column("flops").min() for points in (first, second))
    high = min(points.column("flops").max() for points in (first, second))
    return np.geomspace(low, high, LEVELS) if low < high else None


def _compared(pair: Pair, names: tuple[str, str], count: int, margin: float) -> Comparison | Refusal:
    """The comparison from `count` resamples of the cells, or why their laws cannot be compared."""
    laws = resampled_laws(pair, CELLS, count)
    whole, drawn = compared_numbers(pair, pair.laws()).iloc[0], compared_numbers(pair, laws)
    if len(drawn) < intervals.MIN_GOOD_SHARE * count:
        return Refusal(METHOD, f"only {len(drawn)} of {count} resamples have a law in both sets: no interval")
    apart = drawn[difference("E")] if pair.floor_free else np.zeros(1)
    if (apart > 0).all() or (apart < 0).all():
        return Refusal(METHOD, _why_floors(whole, pair.points[0].loss_unit))
    stretch, seed_share = _seed_parts(pair, drawn, count)
    enough = pair.cells >= intervals.MIN_CELLS_FOR_INTERVAL
    ranges = _ranges(whole, drawn, stretch, LEVEL if enough else 1.0)
    multiplier = _multiplier(pair, whole, ranges)
    return Comparison(
        names=names,
        points=pair.points,
        laws=tuple(fit.law for fit in pair.fits),
        pairing=_pairing(pair),
        form=f"{intervals.in_percent(LEVEL)} interval" if enough else "min..max",
        resamples=len(drawn),
        failed=count - len(drawn),
        quantities=tuple(_quantity(name, whole, ranges) for name in pair.compared),
        relative=float(whole[RELATIVE]),
        relative_range=ranges[RELATIVE],
        multiplier=multiplier,
        held=hold_exponents(pair, laws, stretch),
        margin=margin,
        verdict=judge(whole, ranges, level(multiplier.middle), margin, seed_share),
    )


def _why_floors(whole: pd.Series, unit: str) -> str:
    return (
        f"the fitted floors differ: E = {whole['first E']:.4g} and {whole['second E']:.4g} {unit}, and so in every "
        "resample. Exponents of what lies above different floors cannot be compared; if both sets were evaluated on "
        "the same data, hold E at one number"
    )


def _pairing(pair: Pair) -> str:
    if pair.by is None:
        return "drawn separately, because most cells are in one set only"
    seeds = ", the same seeds" if pair.same_seeds else ""
    return f"the same cells {pair.by} drawn in both sets{seeds}"


# Ranges


def _seed_parts(pair: Pair, drawn: pd.DataFrame, count: int) -> tuple[pd.Series, pd.Series | None]:
    """By column: the factor on its range for what runs of one seed share, and the share of variance that seeds make.

    As `uncertainty` does it for one set. Without two seeds in both sets, ones and None.
    """
    if pair.seeds < 2:
        return pd.Series(1.0, index=drawn.columns), None
    variance = _variance(drawn)
    by_seed, by_run, within = (
        _variance(compared_numbers(pair, resampled_laws(pair, kind, count))) for kind in (SEEDS, RUNS, WITHIN)
    )
    seeds, own = (
        scatter * np.mean([unbiased(points, kind) for points in pair.points])
        for scatter, kind in ((by_seed, SEEDS), (within, WITHIN))
    )
    excess = pd.Series({name: intervals.seed_excess(seeds[name], by_run[name], pair.seeds) for name in drawn})
    total = variance + excess
    return np.sqrt(total / variance).fillna(1.0), ((own + excess) / total).clip(upper=1.0)


def _variance(drawn: pd.DataFrame) -> pd.Series:
    """Of each column, without its wildest values; NaN where even these are infinite."""
    if len(drawn) < 2:
        return pd.Series(np.nan, index=drawn.columns)
    low, high = np.quantile(drawn, intervals.TRIMMED, axis=0, method="nearest")
    with np.errstate(invalid="ignore"):
        return pd.Series(np.var(np.clip(drawn.to_numpy(), low, high), axis=0), index=drawn.columns)


def _ranges(whole: pd.Series, drawn: pd.DataFrame, stretch: pd.Series, confidence: float) -> dict[str, Range]:
    # Between infinite values nothing can be interpolated, so a range ends at a resample.
    tail = (1 - confidence) / 2
    low = np.quantile(drawn, tail, axis=0, method="lower")
    high = np.quantile(drawn, 1 - tail, axis=0, method="higher")
    ends = [_stretched(whole.to_numpy(), end, stretch.to_numpy()) for end in (low, high)]
    return {name: Range(float(low), float(high)) for name, low, high in zip(drawn.columns, *ends, strict=True)}


def _stretched(middle: np.ndarray, end: np.ndarray, factor: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(end), middle + factor * (end - middle), end)


def _quantity(name: str, whole: pd.Series, ranges: dict[str, Range]) -> Quantity:
    columns = (f"first {name}", f"second {name}", difference(name))
    return Quantity(name, *(part for column in columns for part in (float(whole[column]), ranges[column])))


def _multiplier(pair: Pair, whole: pd.Series, ranges: dict[str, Range]) -> Multiplier:
    columns = [level(at) for at in range(len(pair.flops))]
    return Multiplier(
        flops=pair.flops,
        value=np.exp(whole[columns].to_numpy(float)),
        low=np.exp([ranges[column].low for column in columns]),
        high=np.exp([ranges[column].high for column in columns]),
        slope=float(whole[SLOPE]),
        slope_range=ranges[SLOPE],
    )
