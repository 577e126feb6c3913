"""The parametric law of each resample: fitted again, or to first order where a table is too large for that.

Small tables are fitted again. Beyond `MANY_POINTS` rows the refits are linear in the weights, and a few of them are
fitted again to see whether that is good enough. Where it is not, fewer resamples are fitted again. Either is said.
"""

from collections.abc import Callable

import numpy as np

from vsweep.analysis.approaches import parametric
from vsweep.analysis.data.points import Points
from vsweep.analysis.fitting.fit import MANY_POINTS
from vsweep.analysis.uncertainty import bootstrap

CHECKED = 6  # resamples that are also fitted again
# Of the standard deviation over resamples: independent errors of this size widen an interval by 6 %.
LARGEST_ERROR = 0.35
EXACT_VALUES, FEWEST_EXACT = 4_000_000, 40  # resamples x points that are fitted again otherwise

RefitsOf = Callable[[str], parametric.Refits]  # by the kind of resample, as `bootstrap` names them


def law_refits(points: Points, whole: parametric.ParametricFit, count: int) -> tuple[RefitsOf, str]:
    """What fits the law to `count` resamples of a kind, and a sentence on how where that is not by fitting again."""
    if len(points.table) <= MANY_POINTS:
        return lambda kind: exact(points, whole, kind, count), ""
    linear = _linear(points, whole, bootstrap.CELLS, count)
    error = _error(linear, exact(points, whole, bootstrap.CELLS, min(CHECKED, count)))
    if error <= LARGEST_ERROR:
        note = (
            f"with {len(points.table):,} points the {count} resamples of the parametric law are computed to first "
            f"order about the fit. {min(CHECKED, count)} of them were also fitted in full: their exponents differ by "
            f"{error:.2f} standard deviations of the resamples (root mean square)."
        )
        return lambda kind: _linear(points, whole, kind, count), note
    fewer = min(count, max(FEWEST_EXACT, EXACT_VALUES // len(points.table)))
    how = f"only {fewer} of the {count}" if fewer < count else f"each of the {count}"
    note = (
        f"with {len(points.table):,} points the parametric law is fitted in full to {how} resamples, because a "
        "computation to first order about the fit is not good enough here."
    )
    return lambda kind: exact(points, whole, kind, fewer), note


def exact(points: Points, whole: parametric.ParametricFit, kind: str, count: int) -> parametric.Refits:
    """The law fitted again to each of `count` resamples."""
    return parametric.refit(*points.law_columns, points.weights * bootstrap.weights(points, kind, count), whole)


def _linear(points: Points, whole: parametric.ParametricFit, kind: str, count: int) -> parametric.Refits:
    def sums(values: np.ndarray) -> np.ndarray:
        return bootstrap.sums(points, kind, count, values)

    return parametric.refit_linearly(*points.law_columns, points.weights, whole, sums)


def _error(linear: parametric.Refits, fitted: parametric.Refits) -> float:
    """Error of linear refits' exponents in standard deviations (root mean square); infinite where one is no law."""
    both = np.intersect1d(linear.rows, fitted.rows)
    if len(both) < len(fitted.rows) + fitted.failed:
        return np.inf
    errors = []
    for name in ("alpha", "beta"):
        first, second = (getattr(refits.law, name)[np.isin(refits.rows, both)] for refits in (linear, fitted))
        errors.append((first - second) / max(float(np.std(getattr(linear.law, name))), np.finfo(float).tiny))
    return float(np.sqrt(np.mean(np.square(errors))))
