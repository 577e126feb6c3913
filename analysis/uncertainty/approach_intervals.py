"""Intervals of every quantity of an approach, from refits to resamples of the runs.

The parts: `bootstrap` draws the resamples, an approach refits them, `estimates` turns refits into numbers by name, and
`intervals` turns these into ranges. `estimate` is always the numbers of the fit to all runs, by name.

Runs of one seed share initial weights and the order of the data. What that adds to a variance is measured, not assumed
(see `intervals`): the interval is widened about the estimate by sqrt((variance + excess) / variance).
"""

import numpy as np

from vsweep.analysis.approaches import envelope, isoflop, optimal_path, parametric
from vsweep.analysis.approaches.optimal_path import PathFit, PathRefits
from vsweep.analysis.data.points import Points
from vsweep.analysis.data.source import Refusal
from vsweep.analysis.uncertainty import bootstrap, intervals
from vsweep.analysis.uncertainty.estimates import largest_flops, law_quantities, path_quantities
from vsweep.analysis.uncertainty.intervals import Quantities, Uncertainty
from vsweep.analysis.uncertainty.law_refits import law_refits

# The parametric law


def of_law(
    points: Points, whole: parametric.ParametricFit, estimate: dict[str, float], count: int, at: float | None = None
) -> tuple[Uncertainty, parametric.Law]:
    """The interval of every quantity of the law, and the law of each resample of the cells.

    1. The law is fitted to `count` resamples of the cells. Their quantiles are the interval; with few cells their
       lowest and highest values are given instead, because quantiles of few cells cover too little.
    2. Where nearly all cells have several seeds, the law is also fitted to resamples of seeds, of runs, and of the
       seeds within each cell. From their variances follow the widening for shared seeds, and the share of the variance
       that is due to single seeds.

    Args:
      whole: the fit to all runs, where every refit starts.
      at: the compute in FLOP of the optimum in `estimate` (default: the largest of the runs).

    Returns the ranges by quantity, and a law whose fields are arrays [k], one entry for each of the k resamples that
    have a law.
    """

    refits_of, note = law_refits(points, whole, count)

    def refit(kind: str) -> tuple[parametric.Refits, Quantities]:
        refits = refits_of(kind)
        numbers = law_quantities(refits.law, points, at or largest_flops(points), whole.floor_free)
        # Without the resamples whose optimum lies nowhere near the runs.
        good = np.all([np.isfinite(values) for values in numbers.values()], axis=0)
        return refits, {name: np.broadcast_to(values, good.shape)[good] for name, values in numbers.items()}

    refits, by_cell = refit(bootstrap.CELLS)
    kind = intervals.CELLS if points.seeds else intervals.POINTS
    widening, seed_share = {}, {}
    if bootstrap.mostly_repeated(points):
        kind = intervals.CELLS_AND_SEEDS
        by_seed, by_run, within = (refit(kind)[1] for kind in (bootstrap.SEEDS, bootstrap.RUNS, bootstrap.WITHIN))
        widening, seed_share = _seed_parts(points, by_cell, by_seed, by_run, within)
    cells = int(bootstrap.cell_of_row(points).max()) + 1
    uncertainty = intervals.interval(
        kind,
        estimate,
        by_cell,
        failed=refits.failed + len(refits.rows) - len(by_cell["a"]),
        level=points.convention.level if cells >= intervals.MIN_CELLS_FOR_INTERVAL else 1.0,
        widening=widening,
        seed_share=seed_share,
        note=note,
    )
    return uncertainty, refits.law


def _seed_parts(
    points: Points, by_cell: Quantities, by_seed: Quantities, by_run: Quantities, within: Quantities
) -> tuple[dict[str, float], dict[str, float]]:
    """By quantity: the widening for shared seeds, and the share of the variance that is due to single seeds.

    Each argument holds the quantities of the refits to one kind of resample, [r] each. A quantity that fewer than two
    of them have is left out.
    """
    widening, seed_share = {}, {}
    for name in by_cell:
        kinds = (by_cell, by_seed, by_run, within)
        if min(len(kind[name]) for kind in kinds) < 2:
            continue
        of_cells, of_seeds, of_runs, own = (intervals.scatter(name, kind[name]) for kind in kinds)
        of_seeds *= bootstrap.unbiased(points, bootstrap.SEEDS)
        own *= bootstrap.unbiased(points, bootstrap.WITHIN)
        excess = intervals.seed_excess(of_seeds, of_runs, len(points.seeds))
        total = of_cells + excess
        widening[name] = float(np.sqrt(total / of_cells)) if of_cells else 1.0
        seed_share[name] = min(1.0, float((own + excess) / total)) if total else 1.0
    return widening, seed_share


# The envelope and the IsoFLOP minima


def of_path(
    points: Points,
    whole: PathFit,
    estimate: dict[str, float],
    law: parametric.ParametricFit | Refusal,
    count: int,
    at: float | None = None,
) -> Uncertainty | None:
    """The interval of an envelope or of IsoFLOP minima; None where nothing is known about the scatter.

    A missing cell would tear a hole into a valley, so no cell is dropped. Instead the loss of each cell moves: by as
    much as its seeds scatter, or, where there are no repeats, by residuals of the parametric `law`. `at` is the compute
    in FLOP of the optimum in `estimate` (default: the largest of the runs).
    """
    at = at or largest_flops(points)
    if not bootstrap.mostly_repeated(points):
        if isinstance(law, Refusal):
            return None
        refits = _refit_shifted(points, whole.method, _residual_shifts(points, law, count))
        drawn = path_quantities(refits, at)
        return intervals.interval(
            intervals.RESIDUALS, estimate, drawn, failed=refits.failed, level=points.convention.level
        )
    own = envelope.RunCurves.of(points) if _draws_curves(points, whole.method) else None
    refits = _refit_seeds(points, whole.method, bootstrap.WITHIN, count, own)
    within = path_quantities(refits, at)
    by_seed = path_quantities(_refit_seeds(points, whole.method, bootstrap.SEEDS, count, own), at)
    widening = {}
    for name in within:
        if min(len(within[name]), len(by_seed[name])) < 2:
            continue
        variance = intervals.scatter(name, within[name])
        excess = intervals.seed_excess(intervals.scatter(name, by_seed[name]), variance, len(points.seeds))
        widening[name] = float(np.sqrt((variance + excess) / variance)) if variance else 1.0
    return intervals.interval(
        intervals.SEED_SCATTER,
        estimate,
        within,
        failed=refits.failed,
        level=points.convention.level,
        widening=widening,
    )


def _draws_curves(points: Points, method: str) -> bool:
    """Whether whole curves are drawn: how a seed differs at the end of a run says little about how it did before."""
    return method == envelope.METHOD and points.curves is not None


def _refit_seeds(points: Points, method: str, kind: str, count: int, own: envelope.RunCurves | None) -> PathRefits:
    """Refits with seeds drawn again, within each cell or for all cells alike; `own` are the curves of the runs."""
    stretch = float(np.sqrt(bootstrap.unbiased(points, kind)))
    if own is not None:
        annealed_only = points.convention.annealed_only
        weight = bootstrap.weights(points, kind, count)
        return envelope.refit_runs(points, weight, stretch=stretch, annealed_only=annealed_only, own=own)
    shifts = stretch * bootstrap.drawn_shifts(points, kind, count)
    if optimal_path.is_labelled(points):  # a row of such a table is a unit of its own, and moves with its cell
        shifts = shifts[:, bootstrap.cell_of_row(points)]
    return _refit_shifted(points, method, shifts)


def _refit_shifted(points: Points, method: str, shifts: np.ndarray) -> PathRefits:
    """Refits with `shifts` [r, units] added to the log loss of each unit of the path."""
    if method == envelope.METHOD:
        return envelope.refit(points, shifts, annealed_only=points.convention.annealed_only)
    return isoflop.refit(points, shifts, method)


def _residual_shifts(points: Points, law: parametric.ParametricFit, count: int) -> np.ndarray:
    """[count, units of the path] residuals of the parametric law, drawn for each unit.

    Divided by the degrees of freedom, because a fit takes its parameters out of the residuals.
    """
    params, tokens, loss = points.law_columns
    residual = np.log(loss / law.law.loss(params, tokens))
    freedom = len(residual) / max(1, len(residual) - parametric.parameter_count(law.floor_free))
    draws = np.random.default_rng(0).choice(residual - residual.mean(), size=(count, len(optimal_path.units(points))))
    return np.sqrt(freedom) * draws
