"""Intervals of every quantity of an approach, from resamples of the runs (see `uncertainty` for what they mean)."""

from collections.abc import Callable

import numpy as np

from vsweep.analysis.approaches import envelope, isoflop, optimal_path, parametric
from vsweep.analysis.approaches.optimal_path import PathFit
from vsweep.analysis.data.points import Points, Refusal
from vsweep.analysis.uncertainty import bootstrap, intervals
from vsweep.analysis.uncertainty.estimates import largest_flops, law_quantities, path_quantities
from vsweep.analysis.uncertainty.intervals import Quantities, Uncertainty


def of_law(
    points: Points, whole: parametric.ParametricFit, found: dict[str, float], count: int
) -> tuple[Uncertainty, parametric.Law]:
    """The interval of every quantity of the law, and the law of each resample of the cells."""

    def resample(kind: str) -> tuple[Quantities, parametric.Refits]:
        weights = points.weights * bootstrap.weights(points, kind, count)
        refits = parametric.refit(*points.law_columns, weights, whole)
        found = law_quantities(refits.law, points, largest_flops(points), whole.floor_free)
        return _finite(found), refits

    drawn, refits = resample(bootstrap.CELLS)
    kind = intervals.CELLS if points.seeds else intervals.POINTS
    widening, share = {}, {}
    if bootstrap.mostly_repeated(points):
        kind = intervals.CELLS_AND_SEEDS
        widening, share = _parts(points, drawn, lambda kind: resample(kind)[0])
    enough = int(bootstrap.cell_of_row(points).max()) + 1 >= intervals.MIN_CELLS_FOR_INTERVAL
    summary = intervals.interval(
        kind,
        found,
        drawn,
        failed=count - len(drawn["a"]),
        level=intervals.LEVEL if enough else 1.0,
        widening=widening,
        seed_share=share,
    )
    return summary, refits.law


def _finite(drawn: Quantities) -> Quantities:
    """Without the resamples whose optimum lies nowhere near the runs."""
    good = np.all([np.isfinite(values) for values in drawn.values()], axis=0)
    return {name: np.broadcast_to(values, good.shape)[good] for name, values in drawn.items()}


def _parts(
    points: Points, drawn: Quantities, resample: Callable[[str], Quantities]
) -> tuple[dict[str, float], dict[str, float]]:
    """By quantity: the widening that shared seeds ask for, and the share of the variance that single seeds make."""
    by_seed, by_run, within = (resample(kind) for kind in (bootstrap.SEEDS, bootstrap.RUNS, bootstrap.WITHIN))
    widening, share = {}, {}
    for name, values in drawn.items():
        if min(len(kind[name]) for kind in (drawn, by_seed, by_run, within)) < 2:
            continue
        variance = intervals.scatter(name, values)
        of_seeds = intervals.scatter(name, by_seed[name]) * bootstrap.unbiased(points, bootstrap.SEEDS)
        excess = intervals.seed_excess(of_seeds, intervals.scatter(name, by_run[name]), len(points.seeds))
        own = intervals.scatter(name, within[name]) * bootstrap.unbiased(points, bootstrap.WITHIN)
        total = variance + excess
        widening[name] = float(np.sqrt(total / variance)) if variance else 1.0
        share[name] = min(1.0, float((own + excess) / total)) if total else 1.0
    return widening, share


def of_path(
    points: Points, whole: PathFit, found: dict[str, float], law: parametric.ParametricFit | Refusal, count: int
) -> Uncertainty | None:
    """The interval of an envelope or of IsoFLOP minima; None where nothing is known about the scatter.

    A missing cell would tear a hole into a valley, so no cell is dropped: the loss of each moves by as much as its
    seeds scatter, or, where there are no repeats, by residuals of the parametric `law`.
    """

    def with_seeds(kind: str) -> tuple[Quantities, int]:
        return _numbers(points, _refit_seeds(points, whole.method, bootstrap.weights(points, kind, count), kind))

    if not bootstrap.mostly_repeated(points):
        if isinstance(law, Refusal):
            return None
        drawn, failed = _numbers(points, _refit_shifted(points, whole.method, _residual_shifts(points, law, count)))
        return intervals.interval(intervals.RESIDUALS, found, drawn, failed=failed)
    (drawn, failed), (by_seed, _) = with_seeds(bootstrap.WITHIN), with_seeds(bootstrap.SEEDS)
    widening = {
        name: _widening(intervals.scatter(name, values), intervals.scatter(name, by_seed[name]), points)
        for name, values in drawn.items()
        if min(len(values), len(by_seed[name])) > 1
    }
    return intervals.interval(intervals.SEED_SCATTER, found, drawn, failed=failed, widening=widening)


def _numbers(points: Points, refits: optimal_path.PathRefits) -> tuple[Quantities, int]:
    return path_quantities(refits, largest_flops(points)), refits.failed


def _refit_seeds(points: Points, method: str, weight: np.ndarray, kind: str) -> optimal_path.PathRefits:
    """Refits to seeds drawn anew; curves are drawn whole, for what a seed does at the end it need not do before."""
    stretch = float(np.sqrt(bootstrap.unbiased(points, kind)))
    if method == envelope.METHOD and points.curves is not None:
        annealed_only = points.convention.annealed_only
        return envelope.refit_runs(points, weight, stretch=stretch, annealed_only=annealed_only)
    shifts = stretch * bootstrap.shifts(points, weight)
    return _refit_shifted(
        points, method, shifts[:, bootstrap.cell_of_row(points)] if optimal_path.is_labelled(points) else shifts
    )


def _refit_shifted(points: Points, method: str, shifts: np.ndarray) -> optimal_path.PathRefits:
    if method == envelope.METHOD:
        return envelope.refit(points, shifts, annealed_only=points.convention.annealed_only)
    return isoflop.refit(points, shifts, method)


def _residual_shifts(points: Points, law: parametric.ParametricFit, count: int) -> np.ndarray:
    """[count, units of the path] residuals of the parametric law, drawn anew for each unit."""
    params, tokens, loss = points.law_columns
    residual = np.log(loss / law.law.loss(params, tokens))
    freedom = len(residual) / max(1, len(residual) - parametric.parameter_count(law.floor_free))
    draws = np.random.default_rng(0).choice(residual - residual.mean(), size=(count, len(optimal_path.units(points))))
    return np.sqrt(freedom) * draws


def _widening(variance: float, of_seeds: float, points: Points) -> float:
    excess = intervals.seed_excess(of_seeds, variance, len(points.seeds))
    return float(np.sqrt((variance + excess) / variance)) if variance else 1.0
