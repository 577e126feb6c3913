"""One approach to the law with everything known about it: the fit or its refusal, its numbers, and their ranges."""

from dataclasses import dataclass

from vsweep.analysis.approaches import envelope, isoflop, parametric
from vsweep.analysis.approaches.optimal_path import PathFit
from vsweep.analysis.data.points import Points
from vsweep.analysis.data.source import Refusal
from vsweep.analysis.formatting import metric
from vsweep.analysis.uncertainty import approach_intervals, intervals
from vsweep.analysis.uncertainty.estimates import largest_flops, quantities
from vsweep.analysis.uncertainty.intervals import Uncertainty

METHODS = (envelope.METHOD, isoflop.PARABOLA, isoflop.AKIMA, parametric.METHOD)
NAMES = {
    envelope.METHOD: "the lower envelope",
    isoflop.PARABOLA: "IsoFLOP (parabola)",
    isoflop.AKIMA: "IsoFLOP (Akima)",
    parametric.METHOD: "the parametric law",
}
Fit = PathFit | parametric.ParametricFit | Refusal


@dataclass(frozen=True)
class Approach:
    """One approach: its fit (or the refusal), what it says in numbers (see `estimates.quantities`), and their ranges.

    `uncertainty` holds the spread over seeds first and the interval last, where they are known. `resamples` holds the
    parametric law of each resample of the cells.
    """

    method: str
    result: PathFit | parametric.ParametricFit | Refusal
    quantities: dict[str, float]
    uncertainty: tuple[Uncertainty, ...] = ()
    resamples: parametric.Law | None = None

    @property
    def refused(self) -> bool:
        return isinstance(self.result, Refusal)

    @property
    def a(self) -> float | None:
        """Exponent of N_opt ~ C^a."""
        return self.quantities.get("a")

    @property
    def b(self) -> float | None:
        """Exponent of D_opt ~ C^b."""
        return self.quantities.get("b")

    @property
    def name(self) -> str:
        """As sentences call it."""
        return NAMES[self.method]

    @property
    def label(self) -> str:
        """As tables call it."""
        return self.name.removeprefix("the ")

    @property
    def refusals(self) -> list[Refusal]:
        return [self.result] if isinstance(self.result, Refusal) else []


def assess(points: Points, method: str, law: Fit, *, bootstrap: int) -> Approach:
    """One approach on every run of `points`, with its ranges.

    Args:
      law: the parametric fit of the same points. Its residuals stand in for noise where no cell has two seeds.
      bootstrap: number of resamples; 0 for none (the spread over seeds is still given).
    """
    result = law if method == parametric.METHOD else fit(points, method)
    if isinstance(result, Refusal):
        return Approach(method, result, {})
    found = quantities(points, result)
    ranges, resamples = [intervals.spread(intervals.SEED_FITS, _single_seeds(points, method))], None
    if bootstrap and isinstance(result, PathFit):
        ranges.append(approach_intervals.of_path(points, result, found, law, bootstrap))
    elif bootstrap:
        law_range, resamples = approach_intervals.of_law(points, result, found, bootstrap)
        ranges.append(law_range)
    return Approach(method, result, found, tuple(entry for entry in ranges if entry is not None), resamples)


def fit(points: Points, method: str) -> Fit:
    """One approach on every run of `points`, without ranges; a Refusal where there are no points."""
    if points.table.empty:
        return Refusal(method, "no points")
    if method == envelope.METHOD:
        return envelope.fit(points, points.convention.annealed_only)
    return fit_parametric(points) if method == parametric.METHOD else isoflop.fit(points, method)


def fit_parametric(points: Points) -> parametric.ParametricFit | Refusal:
    """Approach 3 on every run of `points`."""
    convention = points.convention
    return parametric.fit(
        *points.law_columns, floor=convention.floor_value, objective=convention.objective, weight=points.weights
    )


def _single_seeds(points: Points, method: str) -> list[dict[str, float] | None]:
    """The quantities of the fit to each seed alone; none for a single seed."""
    if len(points.seeds) < 2:
        return []
    at = largest_flops(points)
    fits = [(one, fit(one, method)) for one in points.by_seed.values()]
    return [None if isinstance(found, Refusal) else quantities(one, found, at) for one, found in fits]


# Ranges in words


def assessed(approach: Approach, name: str) -> list[Uncertainty]:
    """What is known about the range of one quantity: the spread over seeds first, the interval last."""
    return [entry for entry in approach.uncertainty if name in entry.ranges]


def describe_range(uncertainty: Uncertainty, name: str) -> str:
    """Such as `.48 to .55 (90 % interval, 400 resampled cells and seeds)`."""
    failed = f", {uncertainty.failed} more refused" if uncertainty.failed else ""
    return f"{numbers(uncertainty, name)} ({uncertainty.form}, {uncertainty.fits} {uncertainty.kind}{failed})"


def numbers(uncertainty: Uncertainty, name: str) -> str:
    """Such as `.48 to .55`."""
    found = uncertainty.ranges[name]
    return f"{quantity(name, found.low)} to {quantity(name, found.high)}"


def best_range(approach: Approach, name: str) -> str:
    """The widest thing known about a quantity, in brackets after its value; empty where nothing is."""
    known = assessed(approach, name)
    return f" ({numbers(known[-1], name)})" if known else ""


def quantity(name: str, value: float) -> str:
    """A number as its quantity is usually written: sizes with units, exponents with three digits."""
    if name in ("N_opt", "D_opt", "tokens_per_param"):
        return metric(value)
    return f"{value:.3f}" if name in ("a", "b", "alpha", "beta", "x", "y", "z") else f"{value:.4g}"
