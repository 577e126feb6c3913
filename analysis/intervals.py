"""Intervals of every quantity of an approach, from resamples of the runs (see `uncertainty` for what they mean)."""

from collections.abc import Callable

import numpy as np

from analysis import envelope, isoflop, parametric, path, resampling, uncertainty
from analysis.path import PathFit
from analysis.points import Points, Refusal
from analysis.quantities import largest_flops, law_quantities, path_quantities
from analysis.uncertainty import Quantities, Uncertainty


def of_law(
    points: Points, whole: parametric.ParametricFit, found: dict[str, float], count: int
) -> tuple[Uncertainty, parametric.Law]:
    """The interval of every quantity of the law, and the law of each resample of the cells."""

    def resample(kind: str) -> tuple[Quantities, parametric.Refits]:
        weights = points.weights * resampling.weights(points, kind, count)
        refits = parametric.refit(*points.law_columns, weights, whole)
        found = law_quantities(refits.law, points, largest_flops(points), whole.floor_free)
        return _finite(found), refits

    drawn, refits = resample(resampling.CELLS)
    kind = uncertainty.CELLS if points.seeds else uncertainty.POINTS
    widening, share = {}, {}
    if resampling.mostly_repeated(points):
        kind = uncertainty.CELLS_AND_SEEDS
        widening, share = _parts(points, drawn, lambda kind: resample(kind)[0])
    enough = int(resampling.cell_of_row(points).max()) + 1 >= uncertainty.MIN_CELLS_FOR_INTERVAL
    summary = uncertainty.interval(
        kind,
        found,
        drawn,
        failed=count - len(drawn["a"]),
        level=uncertainty.LEVEL if enough else 1.0,
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
    by_seed, by_run, within = (resample(kind) for kind in (resampling.SEEDS, resampling.RUNS, resampling.WITHIN))
    widening, share = {}, {}
    for name, values in drawn.items():
        if min(len(kind[name]) for kind in (drawn, by_seed, by_run, within)) < 2:
            continue
        variance = uncertainty.scatter(name, values)
        of_seeds = uncertainty.scatter(name, by_seed[name]) * resampling.unbiased(points, resampling.SEEDS)
        excess = uncertainty.seed_excess(of_seeds, uncertainty.scatter(name, by_run[name]), len(points.seeds))
        own = uncertainty.scatter(name, within[name]) * resampling.unbiased(points, resampling.WITHIN)
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
        return _numbers(points, _refit_seeds(points, whole.method, resampling.weights(points, kind, count), kind))

    if not resampling.mostly_repeated(points):
        if isinstance(law, Refusal):
            return None
        drawn, failed = _numbers(points, _refit_shifted(points, whole.method, _residual_shifts(points, law, count)))
        return uncertainty.interval(uncertainty.RESIDUALS, found, drawn, failed=failed)
    (drawn, failed), (by_seed, _) = with_seeds(resampling.WITHIN), with_seeds(resampling.SEEDS)
    widening = {
        name: _widening(uncertainty.scatter(name, values), uncertainty.scatter(name, by_seed[name]), points)
        for name, values in drawn.items()
        if min(len(values), len(by_seed[name])) > 1
    }
    return uncertainty.interval(uncertainty.SEED_SCATTER, found, drawn, failed=failed, widening=widening)


def _numbers(points: Points, refits: path.PathRefits) -> tuple[Quantities, int]:
    return path_quantities(refits, largest_flops(points)), refits.failed


def _refit_seeds(points: Points, method: str, weight: np.ndarray, kind: str) -> path.PathRefits:
    """Refits to seeds drawn anew; curves are drawn whole, for what a seed does at the end it need not do before."""
    stretch = float(np.sqrt(resampling.unbiased(points, kind)))
    if method == envelope.METHOD and points.curves is not None:
        annealed_only = points.convention.annealed_only
        return envelope.refit_runs(points, weight, stretch=stretch, annealed_only=annealed_only)
    shifts = stretch * resampling.shifts(points, weight)
    return _refit_shifted(
        points, method, shifts[:, resampling.cell_of_row(points)] if path.is_labelled(points) else shifts
    )


def _refit_shifted(points: Points, method: str, shifts: np.ndarray) -> path.PathRefits:
    if method == envelope.METHOD:
        return envelope.refit(points, shifts, annealed_only=points.convention.annealed_only)
    return isoflop.refit(points, shifts, method)


def _residual_shifts(points: Points, law: parametric.ParametricFit, count: int) -> np.ndarray:
    """[count, units of the path] residuals of the parametric law, drawn anew for each unit."""
    params, tokens, loss = points.law_columns
    residual = np.log(loss / law.law.loss(params, tokens))
    freedom = len(residual) / max(1, len(residual) - parametric.parameter_count(law.floor_free))
    draws = np.random.default_rng(0).choice(residual - residual.mean(), size=(count, len(path.units(points))))
    return np.sqrt(freedom) * draws


def _widening(variance: float, of_seeds: float, points: Points) -> float:
    excess = uncertainty.seed_excess(of_seeds, variance, len(points.seeds))
    return float(np.sqrt((variance + excess) / variance)) if variance else 1.0
