"""Slope or intercept: does a change move the exponent of the loss, or only its constant?

Each of two sets of runs gets the parametric law. Along its compute-optimal path the loss is L = E + K C^-gamma with
gamma = alpha beta / (alpha + beta) (Hoffmann et al. 2022, equation 4 put into equation 2). Hestness et al. 2017 saw
better models move K and leave the exponent; whether that is so here is what the interval of gamma's difference says.
The same in the currency of a study is the compute multiplier: how much compute the second set needs for the loss that
the first one reaches. If it is the same at every C, only the constant moves.

"No effect" is claimed from a narrow interval only: the 90 % interval must lie within a margin, which is two one-sided
tests at 5 % (Schuirmann 1987). How the runs are resampled stands in `paired`.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from vsweep.analysis.approaches.parametric import Law, ParametricFit
from vsweep.analysis.compare import paired_bootstrap
from vsweep.analysis.compare.paired_bootstrap import RELATIVE, SLOPE, Pair, difference, level
from vsweep.analysis.data.points import Points, Refusal
from vsweep.analysis.fitting.batched_bfgs import minimise_together
from vsweep.analysis.fitting.chinchilla import Chinchilla, Data, Pullback
from vsweep.analysis.fitting.fit import FACTORS, Problem
from vsweep.analysis.fitting.objective import HUBER, SQUARED
from vsweep.analysis.uncertainty import intervals
from vsweep.analysis.uncertainty.approach import fit_parametric
from vsweep.analysis.uncertainty.bootstrap import CELLS, RUNS, SEEDS, WITHIN, unbiased
from vsweep.analysis.uncertainty.intervals import Range

METHOD = "compare"
MOVES, CONSTANT = "the exponent moves", "only the constant moves"
NO_DIFFERENCE, CANNOT_TELL = "no difference is seen", "these runs cannot tell"
# A tenth of the exponent lets the multiplier drift by 1.26 over a tenfold of compute and by two over three decades. The
# choice of fit alone does more: Hoffmann's .154 became .178 from the same points (Besiroglu et al. 2024).
MARGIN = 0.1
NARROW = float(np.log(1.25))  # of log multiplier: .8 to 1.25, the rule by which bioequivalence is judged
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
class Held:
    """What it costs the second set to keep the exponents of the first, with only A, B (and E) fitted anew.

    `rise` is the relative rise of the objective; `by_chance` the share of rises at least as large where both sets have
    the same exponents and only err as their resamples do.
    """

    rise: float
    by_chance: float


@dataclass(frozen=True)
class Verdict:
    """One of the four outcomes, and for `CANNOT_TELL` what is open and how much more data would about settle it.

    `open` is the number whose range is too wide (`relative`, `slope` or `multiplier`), `more` the factor on the number
    of cells (None where no number can be named), `seed_share` the share of the variance that single seeds make.
    """

    outcome: str
    open: str | None = None
    more: float | None = None
    seed_share: float | None = None


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
    floors = [points.table["floor"].median() for points in both if "floor" in points.table]
    if len(floors) == 2 and not np.isclose(*floors, rtol=1e-6):
        return (
            f"the floors differ: no loss of the first set can be below {floors[0]:.6g} nats/token, none of the second "
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
    laws = paired_bootstrap.resampled_laws(pair, CELLS, count)
    whole, drawn = paired_bootstrap.numbers(pair, pair.laws()).iloc[0], paired_bootstrap.numbers(pair, laws)
    if len(drawn) < intervals.MIN_GOOD_SHARE * count:
        return Refusal(METHOD, f"only {len(drawn)} of {count} resamples have a law in both sets: no interval")
    apart = drawn[difference("E")] if pair.floor_free else np.zeros(1)
    if (apart > 0).all() or (apart < 0).all():
        return Refusal(METHOD, _why_floors(whole))
    stretch, seed_share = _seed_parts(pair, drawn, count)
    enough = pair.cells >= intervals.MIN_CELLS_FOR_INTERVAL
    ranges = _ranges(whole, drawn, stretch, intervals.LEVEL if enough else 1.0)
    multiplier = _multiplier(pair, whole, ranges)
    return Comparison(
        names=names,
        points=pair.points,
        laws=tuple(fit.law for fit in pair.fits),
        pairing=_pairing(pair),
        form=f"{100 * intervals.LEVEL:g} % interval" if enough else "min..max",
        resamples=len(drawn),
        failed=count - len(drawn),
        quantities=tuple(_quantity(name, whole, ranges) for name in pair.compared),
        relative=float(whole[RELATIVE]),
        relative_range=ranges[RELATIVE],
        multiplier=multiplier,
        held=_held(pair, laws, stretch),
        margin=margin,
        verdict=_judge(whole, ranges, level(multiplier.middle), margin, seed_share),
    )


def _why_floors(whole: pd.Series) -> str:
    return (
        f"the fitted floors differ: E = {whole['first E']:.4g} and {whole['second E']:.4g} nats/token, and so in every "
        "resample. Exponents of what lies above different floors cannot be compared; if both sets were evaluated on "
        "the same data, hold E at one number"
    )


def _pairing(pair: Pair) -> str:
    if pair.by is None:
        return "drawn apart, for most cells are in one set only"
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
        _variance(paired_bootstrap.numbers(pair, paired_bootstrap.resampled_laws(pair, kind, count)))
        for kind in (SEEDS, RUNS, WITHIN)
    )
    seeds, own = (
        found * np.mean([unbiased(points, kind) for points in pair.points])
        for found, kind in ((by_seed, SEEDS), (within, WITHIN))
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


# The exponents of the other set


@dataclass(frozen=True)
class _HeldExponents(Chinchilla):
    """The law with alpha and beta where they are: they have no gradient, so that no descent moves them."""

    def core(self, theta: np.ndarray, data: Data) -> tuple[np.ndarray, Pullback]:
        value, pullback = super().core(theta, data)
        moves = np.array([1.0, 1.0, 0.0, 0.0])
        return value, lambda cotangent: pullback(cotangent) * moves


def _held(pair: Pair, laws: tuple[Law, Law], stretch: pd.Series) -> Held:
    """The runs of the second set under the exponents of the first, and under its own as they err by chance."""
    first, second = (np.array([fit.law.alpha, fit.law.beta]) for fit in pair.fits)
    drawn = np.stack([laws[1].alpha - laws[0].alpha, laws[1].beta - laws[0].beta], axis=1)
    factor = stretch[[difference("alpha"), difference("beta")]].to_numpy()
    by_chance = second + factor * (drawn - (second - first))
    exponents = np.vstack([second, first, by_chance])
    values = _values_held(pair.points[1], pair.fits[1], exponents)
    rise = (values[1:] - values[0]) / max(values[0], np.finfo(float).tiny)
    return Held(float(rise[0]), float((rise[1:] >= rise[0]).mean()))


def _values_held(points: Points, fit: ParametricFit, exponents: np.ndarray) -> np.ndarray:
    """The lowest objectives [r] with (alpha, beta) [r, 2] held and A, B (and E) free."""
    params, tokens, loss = points.law_columns
    problem = Problem(_HeldExponents(), Data.of(params, tokens), loss, points.weights, fit.floor, fit.objective)
    theta = np.tile(fit.theta, (len(exponents), 1))
    theta[:, 2:4] = exponents
    # As in `fitting`: a larger threshold first rounds off the kinks that a descent gets stuck in.
    for factor in FACTORS if fit.objective.penalty != SQUARED else (1.0,):
        penalty = SQUARED if fit.objective.penalty == SQUARED else HUBER
        smooth = replace(fit.objective, penalty=penalty, delta=factor * fit.objective.delta)
        step = replace(problem, objective=smooth)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # a step of a line search may go anywhere
            theta, _ = minimise_together(lambda theta, _, step=step: step.value_and_gradient(theta), theta)
    return problem.values(theta)


# The verdict


def _judge(
    whole: pd.Series, ranges: dict[str, Range], middle: str, margin: float, seed_share: pd.Series | None
) -> Verdict:
    """`middle` is the column of the log multiplier by which the constant is judged."""
    wide = [name for name in (RELATIVE, SLOPE) if not _within(ranges[name], margin)]
    if wide and wide[0] == RELATIVE and not _holds_zero(ranges[RELATIVE]):
        return Verdict(MOVES)
    if not wide and not _holds_zero(ranges[middle]):
        return Verdict(CONSTANT)
    if not wide and _within(ranges[middle], NARROW):
        return Verdict(NO_DIFFERENCE)
    column, allowed = (wide[0], margin) if wide else (middle, NARROW)
    share = None if seed_share is None else float(seed_share[column])
    return Verdict(
        CANNOT_TELL, "multiplier" if column == middle else column, _more(whole, ranges, column, allowed), share
    )


def _within(range_: Range, margin: float) -> bool:
    return -margin < range_.low and range_.high < margin


def _holds_zero(range_: Range) -> bool:
    return range_.low <= 0 <= range_.high


def _more(whole: pd.Series, ranges: dict[str, Range], column: str, margin: float) -> float | None:
    """By how many times more data the range would exclude zero or lie within the margin, whichever comes first.

    If the estimate is right. Each arm of a range shortens as one over the square root of the data.
    """
    value = float(whole[column])
    arm = max(value - ranges[column].low, ranges[column].high - value)
    needed = max(abs(value), margin - abs(value))
    return (arm / needed) ** 2 if np.isfinite(value) and np.isfinite(arm) else None
