"""All three approaches on one loss convention, side by side, each with its ranges or the reason why it was refused."""

from dataclasses import dataclass

import pandas as pd
from vsweep.analysis.approaches import compute_frontier, envelope, isoflop, parametric
from vsweep.analysis.approaches.compute_frontier import ComputeLine
from vsweep.analysis.approaches.optimal_path import PathFit
from vsweep.analysis.data.cells import cells, seed_noise_log
from vsweep.analysis.data.design_checks import DesignProblem, design_problems
from vsweep.analysis.data.points import Convention, Points, Refusal, Source, select
from vsweep.analysis.sections.forecast import LEARNING_CURVE, Forecast, forecast, learning_curve
from vsweep.analysis.sections.lines import Lines, fit_lines
from vsweep.analysis.uncertainty import approach_intervals, intervals
from vsweep.analysis.uncertainty.estimates import largest_flops, quantities
from vsweep.analysis.uncertainty.intervals import Uncertainty

METHODS = (envelope.METHOD, isoflop.PARABOLA, isoflop.AKIMA, parametric.METHOD)


@dataclass(frozen=True)
class Approach:
    """One approach to the law: its fit (or the refusal), what it says in numbers (see `quantities`), and their ranges.

    `resamples` holds the parametric law of each resample of the cells.
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
        return self.quantities.get("a")

    @property
    def b(self) -> float | None:
        return self.quantities.get("b")


@dataclass(frozen=True)
class LossStudy:
    """Everything that was fitted to one loss. `cells` are rows of `cells.cells`; `noise_log` is of single runs."""

    points: Points
    cells: pd.DataFrame
    noise_log: float | None
    approaches: tuple[Approach, ...]
    forecast: Forecast | Refusal
    lines: Lines
    compute_line: ComputeLine | Refusal
    learning_curve: pd.DataFrame | Refusal
    design: tuple[DesignProblem, ...] = ()

    @property
    def convention(self) -> Convention:
        return self.points.convention

    def approach(self, method: str) -> Approach:
        return next(approach for approach in self.approaches if approach.method == method)

    @property
    def law(self) -> parametric.Law | None:
        result = self.approach(parametric.METHOD).result
        return None if isinstance(result, Refusal) else result.law

    @property
    def refusals(self) -> list[Refusal]:
        found = [approach.result for approach in self.approaches if approach.refused]
        others = [self.forecast, self.compute_line]
        return found + [other for other in others if isinstance(other, Refusal)] + list(self.lines.refused)


def study_loss(source: Source, convention: Convention, *, bootstrap: int, learning: bool = False) -> LossStudy:
    """Fits all approaches to one loss of `source`.

    Args:
      bootstrap: resamples of each approach; 0 for none.
      learning: whether to draw the learning curve of the forecast, which takes as long as all else.
    """
    points = select(source, convention)
    table = cells(points)
    curve = learning_curve(points) if learning else Refusal(LEARNING_CURVE, "not asked for")
    return LossStudy(
        points=points,
        cells=table,
        noise_log=seed_noise_log(table),
        approaches=fit_approaches(points, bootstrap=bootstrap),
        forecast=forecast(points, bootstrap=bootstrap, rivals=bool(bootstrap)),
        lines=fit_lines(points),
        compute_line=compute_frontier.of_curves(
            points, floor=convention.given_floor or 0.0, annealed_only=bool(convention.annealed_only)
        ),
        learning_curve=curve,
        design=tuple(design_problems(points.table, has_curves=points.curves is not None)),
    )


def fit_approaches(points: Points, *, bootstrap: int) -> tuple[Approach, ...]:
    """All approaches; the parametric law is fitted first, for its residuals stand in where there are no repeats."""
    if points.table.empty:
        return tuple(Approach(method, Refusal(method, "no points"), {}) for method in METHODS)
    law = fit_parametric(points)
    return tuple(_approach(points, method, law, bootstrap=bootstrap) for method in METHODS)


def _approach(points: Points, method: str, law: parametric.ParametricFit | Refusal, *, bootstrap: int) -> Approach:
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


def fit(points: Points, method: str) -> PathFit | parametric.ParametricFit | Refusal:
    """One approach on every run of `points`."""
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
    fits = [(points.of_seed(seed), fit(points.of_seed(seed), method)) for seed in points.seeds]
    return [None if isinstance(found, Refusal) else quantities(one, found, at) for one, found in fits]
