"""Approach 2: IsoFLOP valleys (Hoffmann et al. 2022, section 3.2), read off a grid of finished runs.

Every run has annealed to its own budget, so the loss of a size at a compute between two budgets is interpolated over
its finished runs, never read off the curve of a longer run. A minimum at the smallest or largest size is no minimum,
and neither is a vertex far below every run, as one diverged run makes it.
A table that labels its IsoFLOP groups (column `isoflop`) is read as it is: each group is a valley.

Along C the default is PCHIP (Fritsch and Carlson 1980), a cubic spline that cannot overshoot where a loss breaks. On
smooth laws it is as good as Akima's spline (Akima 1970); both errors are far below the noise between seeds. Over sizes
there are two methods: the classic parabola, quiet but biased where the valley is lopsided (arXiv:2603.22339), and
Akima, which assumes no form. PCHIP is not offered over sizes: it is flat at its lowest node, so its minimum is always
one of the sizes.

The parabola sees the sizes within `ISOFLOP_WINDOW`, a factor of three, of the lowest one, and two on each side at
least; `Convention.isoflop_window` is another factor. All minima count alike, unless `Convention.isoflop_weights` asks
for weights from their standard errors.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import interpolate

from vsweep.analysis.approaches import optimal_path
from vsweep.analysis.approaches.parametric import Law
from vsweep.analysis.data.points import Points
from vsweep.analysis.data.source import ISOFLOP_WINDOW, Refusal

PARABOLA, AKIMA = "isoflop_parabola", "isoflop_akima"
MIN_SIZES = 4
LEVELS = 12
WINDOW = np.log(ISOFLOP_WINDOW)
SLACK, SLACK_LOG = 2.0, 0.02  # how far a vertex may lie below the chords, in rises and in log loss
ALONG_COMPUTE = {"pchip": interpolate.PchipInterpolator, "akima": interpolate.Akima1DInterpolator}


@dataclass(frozen=True)
class Valley:
    """Loss against size at one compute: `params`, `tokens`, `loss` [s], sorted by size."""

    flops: float
    params: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray


@dataclass(frozen=True)
class Minima:
    """The lowest points of r valleys over the same sizes, each [r]; `status` indexes `path.STATUSES`.

    `log_params` and `log_loss` are those of the lowest size unless the minimum is interior.
    """

    status: np.ndarray
    log_params: np.ndarray
    log_loss: np.ndarray


@dataclass(frozen=True)
class _Level:
    """One compute and r valleys at it: `log_params`, `log_tokens` [s], sorted by size; `log_loss` [r, s]."""

    flops: float
    log_params: np.ndarray
    log_tokens: np.ndarray
    log_loss: np.ndarray


@dataclass(frozen=True)
class _Size:
    """The finished runs of one size, sorted by compute: `log_c` [n], `log_loss` [r, n]."""

    params: float
    log_c: np.ndarray
    log_loss: np.ndarray
    flops_per_token: float


def valleys(points: Points, levels: int = LEVELS, along_compute: str = "pchip") -> list[Valley]:
    """The valleys: those that the table labels, or else at log-spaced compute where four sizes have runs on both sides.

    Nothing is extrapolated. `along_compute` is how the loss of a size is interpolated in log C: `pchip` or `akima`.
    """
    at_levels = _levels(optimal_path.units(points), np.zeros((1, 1)), levels, along_compute)
    return [
        Valley(level.flops, np.exp(level.log_params), np.exp(level.log_tokens), np.exp(level.log_loss[0]))
        for level in at_levels
    ]


def _levels(table: pd.DataFrame, shifts: np.ndarray, levels: int, along_compute: str) -> list[_Level]:
    """Valleys of the rows of `path.units`, their log loss changed by `shifts` [r, rows]."""
    log_loss = np.log(table["loss"].to_numpy(float)) + shifts
    if "isoflop" in table and table["isoflop"].notna().any():
        return _labelled(table, log_loss)
    return _interpolated(table, log_loss, levels, along_compute)


def _labelled(table: pd.DataFrame, log_loss: np.ndarray) -> list[_Level]:
    label, size = table["isoflop"].to_numpy(float), table["size"].to_numpy(float)
    log_tokens = np.log(table["tokens"].to_numpy(float))
    levels = []
    for flops in np.unique(label[np.isfinite(label)]):
        rows = np.flatnonzero(label == flops)
        sizes, group = np.unique(size[rows], return_inverse=True)
        if len(sizes) >= MIN_SIZES:
            tokens = _group_means(log_tokens[None, rows], group)[0]
            levels.append(_Level(float(flops), np.log(sizes), tokens, _group_means(log_loss[:, rows], group)))
    return levels


def _interpolated(table: pd.DataFrame, log_loss: np.ndarray, levels: int, along_compute: str) -> list[_Level]:
    sizes = [size for size in _sizes(table, log_loss) if len(size.log_c) > 1]
    range_ = _common_range(sizes)
    if range_ is None:
        return []
    log_c = np.linspace(*range_, levels)
    interpolator = ALONG_COMPUTE[along_compute]
    values = [interpolator(size.log_c, size.log_loss, axis=1, extrapolate=False)(log_c) for size in sizes]
    present = np.isfinite([value[0] for value in values])  # [sizes, levels]; a shift moves no run in compute
    log_params = np.log([size.params for size in sizes])
    log_per_token = np.log([size.flops_per_token for size in sizes])
    at_levels = []
    for level in range(levels):
        at = np.flatnonzero(present[:, level])
        if len(at) >= MIN_SIZES:
            valley = np.stack([values[i][:, level] for i in at], axis=1)
            at_levels.append(
                _Level(float(np.exp(log_c[level])), log_params[at], log_c[level] - log_per_token[at], valley)
            )
    return at_levels


def _sizes(table: pd.DataFrame, log_loss: np.ndarray) -> list[_Size]:
    size, flops, tokens = (table[name].to_numpy(float) for name in ("size", "flops", "tokens"))
    sizes = []
    for params in np.unique(size):
        rows = np.flatnonzero(size == params)
        # Budgets that give the same compute, up to rounding, are one point of the interpolation.
        log_c, group = np.unique(np.log(flops[rows]).round(9), return_inverse=True)
        per_token = float((flops[rows] / tokens[rows]).mean())
        sizes.append(_Size(float(params), log_c, _group_means(log_loss[:, rows], group), per_token))
    return sizes


def _group_means(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Means [r, groups] of `values` [r, n] by `group` [n], whose numbers start at 0 and leave none out."""
    if len(group) == group.max() + 1:  # each its own group, in any order
        return values[:, np.argsort(group)]
    return np.stack([values[:, group == number].mean(axis=1) for number in range(group.max() + 1)], axis=1)


def _common_range(sizes: list[_Size]) -> np.ndarray | None:
    """[2] first and last log compute at which at least four sizes are present; None if there is none."""
    if len(sizes) < MIN_SIZES:
        return None
    low, high = np.array([size.log_c[[0, -1]] for size in sizes]).T
    ends = np.sort(np.concatenate([low, high]))
    count = ((low[:, None] <= ends) & (ends <= high[:, None])).sum(axis=0)
    enough = ends[count >= MIN_SIZES]
    return np.array([enough[0], enough[-1]]) if len(enough) > 1 and np.ptp(enough) > 1e-6 else None


def _lowest(x: np.ndarray, y: np.ndarray) -> Minima:
    """The lowest nodes of `y` [r, s] at `x` [s]."""
    at = y.argmin(axis=1)
    edges = [optimal_path.CODES[optimal_path.EDGE_SMALL], optimal_path.CODES[optimal_path.EDGE_LARGE]]
    status = np.select([at == 0, at == len(x) - 1], edges, optimal_path.CODES[optimal_path.INTERIOR])
    return Minima(status, x[at], y[np.arange(len(y)), at])


@dataclass(frozen=True)
class _Parabolas:
    """Least-squares parabolas of r valleys, each [r, 1] but `near`: level + slope u + curvature q about `middle`.

    u and q are orthogonal over the sizes taken, `near` [r, s], with the mean squares `spread` and `of_q`.
    """

    near: np.ndarray
    middle: np.ndarray
    level: np.ndarray
    skew: np.ndarray
    spread: np.ndarray
    of_q: np.ndarray
    slope: np.ndarray
    curvature: np.ndarray

    @property
    def error(self) -> np.ndarray:
        """[r] standard error of the vertices in log N, for a scatter of 1 in log loss; infinite without a vertex.

        The vertex is middle + (skew - slope / curvature) / 2, and slope and curvature have the variances 1 / sum u^2
        and 1 / sum q^2: the error to first order.
        """
        count = self.near.sum(axis=1, keepdims=True)
        with np.errstate(all="ignore"):
            shape = 1 / (count * self.spread) + (self.slope / self.curvature) ** 2 / (count * self.of_q)
            error = np.sqrt(shape) / (2 * self.curvature)
        return np.where((self.curvature > 0) & np.isfinite(error), error, np.inf)[:, 0]


def _parabolas(x: np.ndarray, y: np.ndarray, window: float) -> _Parabolas:
    """Of log loss `y` [r, s] in log N `x` [s], over the sizes within `window` of the lowest, two each side at least."""
    at, place = y.argmin(axis=1)[:, None], np.arange(len(x))
    near = (np.abs(x - x[at]) <= window) | (np.abs(place - at) <= 2)  # [r, s]
    count = near.sum(axis=1, keepdims=True)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.where(near, values, 0.0).sum(axis=1, keepdims=True) / count

    # Polynomials 1, u, q that are orthogonal over the sizes taken, so that the three coefficients are three quotients.
    middle, level = mean(np.broadcast_to(x, y.shape)), mean(y)
    u = x - middle
    spread, skew = mean(u**2), mean(u**3) / mean(u**2)
    q = u**2 - skew * u - spread
    of_q = mean(q**2)
    slope, curvature = mean(u * (y - level)) / spread, mean(q * (y - level)) / of_q
    return _Parabolas(near, middle, level, skew, spread, of_q, slope, curvature)


def parabola_minima(x: np.ndarray, y: np.ndarray, window: float = WINDOW) -> Minima:
    """Vertices of the least-squares parabolas of log loss `y` [r, s] in log N `x` [s] through the lowest sizes.

    Taken are the sizes within `window` (in log N) of the lowest one and at least two on each side; a vertex must lie
    among them.
    """
    of = _parabolas(x, y, window)
    near, middle, level, skew, spread = of.near, of.middle, of.level, of.skew, of.spread
    slope, curvature = of.slope, of.curvature
    with np.errstate(all="ignore"):  # without a curvature there is no vertex, and the next lines say so
        vertex = (skew - slope / curvature) / 2
        bottom = level + slope * vertex + curvature * (vertex**2 - skew * vertex - spread)
    first, last = np.min(np.where(near, x, np.inf), axis=1), np.max(np.where(near, x, -np.inf), axis=1)
    inside = (curvature > 0) & (first[:, None] <= middle + vertex) & (middle + vertex <= last[:, None])
    return _placed(x, y, inside[:, 0], (middle + vertex)[:, 0], bottom[:, 0])


def akima_minima(x: np.ndarray, y: np.ndarray, window: float = WINDOW) -> Minima:
    """Minima of the Akima interpolants of log loss `y` [r, s] in log N `x` [s]: no assumption about a valley's form.

    A spline goes through all sizes, so that `window` changes nothing.
    """
    lowest = _lowest(x, y)
    cubic, square, slope, start = interpolate.Akima1DInterpolator(x, y, axis=1).c  # each [s - 1, r]
    width = np.diff(x)[:, None]
    with np.errstate(all="ignore"):  # pieces without such a root are dropped by the comparison
        # The root of the derivative at which the second one is positive, in the form that loses no digits.
        step = -slope / (square + np.sqrt(square**2 - 3 * cubic * slope))
        bottom = np.where((step > 0) & (step < width), start + step * (slope + step * (square + step * cubic)), np.inf)
    piece, row = bottom.argmin(axis=0), np.arange(len(y))
    inside = bottom[piece, row] < lowest.log_loss
    log_params = np.where(inside, x[piece] + step[piece, row], lowest.log_params)
    log_loss = np.where(inside, bottom[piece, row], lowest.log_loss)
    return _placed(x, y, np.ones(len(y), bool), log_params, log_loss)


def _placed(x: np.ndarray, y: np.ndarray, inside: np.ndarray, log_params: np.ndarray, log_loss: np.ndarray) -> Minima:
    """The minima [r] where the lowest size is interior, the vertex lies `inside`, and it is not far below every run."""
    lowest = _lowest(x, y)
    interior = lowest.status == optimal_path.CODES[optimal_path.INTERIOR]
    deep = inside & _far_below(x, y, np.where(inside, log_params, x[0]), log_loss)
    bad = [interior & ~inside, interior & deep]
    codes = [optimal_path.CODES[status] for status in (optimal_path.NO_MINIMUM, optimal_path.BELOW_RUNS)]
    taken = interior & inside & ~deep
    log_params = np.where(taken, log_params, lowest.log_params)
    return Minima(np.select(bad, codes, lowest.status), log_params, np.where(taken, log_loss, lowest.log_loss))


def _far_below(x: np.ndarray, y: np.ndarray, at: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """[r] whether the vertices `bottom` at log N `at` [r] are deeper than valleys through the losses `y` [r, s] can be.

    A convex curve stays above its chords continued. As losses scatter, a vertex may lie below the chords of its
    neighbours and below every run by 2 %, or by twice what the third lowest loss lies above the lowest.
    """
    rows, last = np.arange(len(y)), len(x) - 1
    left = np.clip(np.searchsorted(x, at, side="right") - 1, 0, last - 1)

    def chord(first: np.ndarray) -> np.ndarray:
        start = np.clip(first, 0, last - 1)
        slope = (y[rows, start + 1] - y[rows, start]) / (x[start + 1] - x[start])
        return np.where(start == first, y[rows, start] + slope * (at - x[start]), -np.inf)

    lowest, _, third = np.partition(y, 2, axis=1)[:, :3].T
    bound = np.minimum(np.maximum(chord(left - 1), chord(left + 1)), lowest)
    return bottom < bound - np.maximum(SLACK * (third - lowest), SLACK_LOG)


MINIMA: dict[str, Callable[[np.ndarray, np.ndarray, float], Minima]] = {PARABOLA: parabola_minima, AKIMA: akima_minima}


def optima(valleys: list[Valley], method: str, window: float = ISOFLOP_WINDOW) -> pd.DataFrame:
    """One row a valley: flops, params, tokens, loss, status (see `path`); `window` is a factor of sizes."""
    logs = [[np.log(values) for values in (valley.params, valley.tokens, valley.loss[None])] for valley in valleys]
    levels = [_Level(valley.flops, *values) for valley, values in zip(valleys, logs, strict=True)]
    return _optima(levels, method, window).table()


def _optima(levels: list[_Level], method: str, window: float, weighted: bool = False) -> optimal_path.Optima:
    """The minima of all valleys; with their standard errors where the line is `weighted`."""
    log_window = np.log(window)
    minima = [MINIMA[method](level.log_params, level.log_loss, log_window) for level in levels]
    log_tokens = [
        np.interp(minimum.log_params, level.log_params, level.log_tokens)
        for minimum, level in zip(minima, levels, strict=True)
    ]
    params, loss = ([np.exp(getattr(minimum, name)) for minimum in minima] for name in ("log_params", "log_loss"))
    status = np.stack([minimum.status for minimum in minima], axis=1)
    flops = np.array([level.flops for level in levels])
    columns = (np.stack(values, axis=1) for values in (params, np.exp(log_tokens), loss))
    # Minima lie between the sizes, so each one that counts is a size of its own.
    return optimal_path.Optima(
        flops,
        *columns,
        status,
        sizes=(status == optimal_path.CODES[optimal_path.INTERIOR]).sum(axis=1),
        errors=_errors(levels, log_window) if weighted else None,
    )


def _errors(levels: list[_Level], log_window: float) -> np.ndarray:
    """[r, m] standard errors in log N of all minima, in units of the scatter of log loss.

    A flat valley leaves its minimum open. Losses are taken to scatter alike everywhere, so only ratios matter. Akima's
    minima have those of the parabolas too: a spline has no residuals to tell its own by.
    """
    errors = [_parabolas(level.log_params, level.log_loss, log_window).error for level in levels]
    return np.stack(errors, axis=1)


def fit(
    points: Points, method: str = PARABOLA, levels: int = LEVELS, along_compute: str = "pchip"
) -> optimal_path.PathFit | Refusal:
    """N_opt and D_opt against C through the interior minima; `method` is `isoflop_parabola` or `isoflop_akima`."""
    at_levels = _levels(optimal_path.units(points), np.zeros((1, 1)), levels, along_compute)
    if not at_levels:
        return Refusal(method, _why_no_valley(points))
    convention = points.convention
    optima = _optima(at_levels, method, convention.isoflop_window, convention.isoflop_weights)
    weighted = ["each minimum weighted by 1 / (standard error)^2"] if convention.isoflop_weights else []
    groups = "IsoFLOP groups of the table" if optimal_path.is_labelled(points) else "compute levels"
    return optimal_path.fit_path(
        method, optima, note=optimal_path.note_of([f"{len(at_levels)} {groups}", *weighted], optima.table())
    )


def _why_no_valley(points: Points) -> str:
    if optimal_path.is_labelled(points):
        return f"no IsoFLOP group of the table has {MIN_SIZES} sizes"
    return f"no compute level at which {MIN_SIZES} sizes have finished runs on both sides"


def refit(
    points: Points,
    shifts: np.ndarray,
    method: str = PARABOLA,
    levels: int = LEVELS,
    along_compute: str = "pchip",
) -> optimal_path.PathRefits:
    """Fits r resamples at once, each as `fit` does; a shift of zero gives what `fit` gives.

    Args:
      shifts: [r, rows of `path.units(points)`] what is added to each row's log loss: a row is a cell of
        `cells.cells`, or a row of the table where it labels its IsoFLOP groups.

    Raises:
      ValueError: `shifts` has another shape or is not finite.
    """
    table = optimal_path.units(points)
    shifts = optimal_path.check_shifts(shifts, len(table))
    at_levels = _levels(table, shifts, levels, along_compute)
    if not at_levels:
        return optimal_path.no_refits(method, len(shifts))
    convention = points.convention
    optima = _optima(at_levels, method, convention.isoflop_window, convention.isoflop_weights)
    return optimal_path.refit_path(method, optima)


def parabola_bias(law: Law, params: np.ndarray, flops: np.ndarray, window: float = WINDOW) -> np.ndarray:
    """log(N_parabola / N_opt) [m]: what the parabola alone does at `flops` [m], C = 6ND, on noise-free losses of `law`.

    The bias that arXiv:2603.22339 describes, for these sizes: a shift that stays the same at every C leaves the
    exponent alone and moves the constant. NaN where the parabola finds no interior minimum.

    Args:
      params: the sizes [s] of the grid.
      window: as in `parabola_minima`; infinity takes all sizes, the classic form.
    """
    params, flops = np.sort(np.asarray(params, float)), np.atleast_1d(np.asarray(flops, float))
    log_loss = np.log(law.loss(params, flops[:, None] / (6 * params)))
    minima = parabola_minima(np.log(params), log_loss, window)
    bias = minima.log_params - np.log(law.params_opt(flops))
    return np.where(minima.status == optimal_path.CODES[optimal_path.INTERIOR], bias, np.nan)
