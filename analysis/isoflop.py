"""Approach 2: IsoFLOP valleys (Hoffmann et al. 2022, section 3.2), read off a grid of finished runs.

Every run has annealed to its own budget, so the loss of a size at a compute between two budgets is interpolated over
its finished runs, never read off the curve of a longer run. A minimum at the smallest or largest size is no minimum.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import interpolate

from analysis import path
from analysis.cells import cells
from analysis.points import Points, Refusal

PARABOLA, AKIMA = "isoflop_parabola", "isoflop_akima"
MIN_SIZES = 4
LEVELS = 12
WINDOW = np.log(3.0)  # the parabola sees the sizes within a factor of three of the lowest, and two each side at least


@dataclass(frozen=True)
class Valley:
    """Loss against size at one compute: `params`, `tokens`, `loss` [s], sorted by size."""

    flops: float
    params: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray


@dataclass(frozen=True)
class Minimum:
    """The lowest point of a valley; `params` and `loss` are those of the lowest size unless it is interior."""

    status: str
    params: float
    loss: float


@dataclass(frozen=True)
class _Size:
    """The finished runs of one size, sorted by compute: `log_c`, `log_loss` [budgets]; FLOPs a token are constant."""

    params: float
    log_c: np.ndarray
    log_loss: np.ndarray
    flops_per_token: float


def valleys(points: Points, levels: int = LEVELS) -> list[Valley]:
    """Valleys at log-spaced compute where at least four sizes have runs on both sides; no extrapolation."""
    sizes = [size for size in _sizes(cells(points)) if len(size.log_c) > 1]
    range_ = _common_range(sizes)
    if range_ is None:
        return []
    log_c = np.linspace(*range_, levels)
    log_loss = np.stack([_interpolate(size, log_c) for size in sizes])  # [sizes, levels], NaN where absent
    found = []
    for level in range(levels):
        present = np.flatnonzero(np.isfinite(log_loss[:, level]))
        if len(present) >= MIN_SIZES:
            flops = float(np.exp(log_c[level]))
            params = np.array([sizes[i].params for i in present])
            tokens = flops / np.array([sizes[i].flops_per_token for i in present])
            found.append(Valley(flops, params, tokens, np.exp(log_loss[present, level])))
    return found


def _sizes(table: pd.DataFrame) -> list[_Size]:
    size, flops, tokens, loss = (table[name].to_numpy() for name in ("size", "flops", "tokens", "loss"))
    found = []
    for params in np.unique(size):
        of_size = size == params
        # Budgets that give the same compute, up to rounding, are one point of the interpolation.
        log_c, group = np.unique(np.log(flops[of_size]).round(9), return_inverse=True)
        log_loss = np.bincount(group, np.log(loss[of_size])) / np.bincount(group)
        found.append(_Size(float(params), log_c, log_loss, float((flops[of_size] / tokens[of_size]).mean())))
    return found


def _common_range(sizes: list[_Size]) -> np.ndarray | None:
    """[2] first and last log compute at which at least four sizes are present; None if there is none."""
    if len(sizes) < MIN_SIZES:
        return None
    low, high = np.array([size.log_c[[0, -1]] for size in sizes]).T
    ends = np.sort(np.concatenate([low, high]))
    count = ((low[:, None] <= ends) & (ends <= high[:, None])).sum(axis=0)
    enough = ends[count >= MIN_SIZES]
    return np.array([enough[0], enough[-1]]) if len(enough) > 1 and np.ptp(enough) > 1e-6 else None


def _interpolate(size: _Size, log_c: np.ndarray) -> np.ndarray:
    """log loss at `log_c` [levels]: PCHIP, so no overshoot at a break; NaN outside the size's own runs."""
    return interpolate.PchipInterpolator(size.log_c, size.log_loss, extrapolate=False)(log_c)


def _lowest(valley: Valley) -> Minimum:
    at = int(valley.loss.argmin())
    status = {0: path.EDGE_SMALL, len(valley.loss) - 1: path.EDGE_LARGE}.get(at, path.INTERIOR)
    return Minimum(status, float(valley.params[at]), float(valley.loss[at]))


def parabola_minimum(valley: Valley) -> Minimum:
    """Vertex of the parabola of log loss in log N through the lowest sizes, if it lies among them."""
    lowest = _lowest(valley)
    if lowest.status != path.INTERIOR:
        return lowest
    x, y = np.log(valley.params), np.log(valley.loss)
    at = int(y.argmin())
    near = (np.abs(x - x[at]) <= WINDOW) | (np.abs(np.arange(len(x)) - at) <= 2)
    curvature, slope, level = np.polyfit(x[near] - x[at], y[near], 2)
    vertex = -slope / (2 * curvature) if curvature > 0 else np.inf
    if not x[near][0] <= x[at] + vertex <= x[near][-1]:
        return Minimum(path.NO_MINIMUM, lowest.params, lowest.loss)
    return Minimum(path.INTERIOR, float(np.exp(x[at] + vertex)), float(np.exp(level + slope * vertex / 2)))


def akima_minimum(valley: Valley) -> Minimum:
    """Minimum of the Akima interpolant of log loss in log N: no assumption about the valley's form."""
    lowest = _lowest(valley)
    if lowest.status != path.INTERIOR:
        return lowest
    x = np.log(valley.params)
    grid = np.linspace(x[0], x[-1], 600)
    y = interpolate.Akima1DInterpolator(x, np.log(valley.loss))(grid)
    return Minimum(path.INTERIOR, float(np.exp(grid[y.argmin()])), float(np.exp(y.min())))


MINIMA = {PARABOLA: parabola_minimum, AKIMA: akima_minimum}


def optima(found: list[Valley], method: str) -> pd.DataFrame:
    """One row a valley: flops, params, tokens, loss, status (see `path`)."""
    rows = []
    for valley in found:
        minimum = MINIMA[method](valley)
        log_tokens = np.interp(np.log(minimum.params), np.log(valley.params), np.log(valley.tokens))
        rows.append((valley.flops, minimum.params, float(np.exp(log_tokens)), minimum.loss, minimum.status))
    return pd.DataFrame(rows, columns=["flops", "params", "tokens", "loss", "status"])


def fit(points: Points, method: str = PARABOLA, levels: int = LEVELS) -> path.PathFit | Refusal:
    """N_opt and D_opt against C through the interior minima; `method` is `isoflop_parabola` or `isoflop_akima`."""
    found = valleys(points, levels)
    if not found:
        return Refusal(method, f"no compute level at which {MIN_SIZES} sizes have finished runs on both sides")
    return path.fit_path(method, optima(found, method), note=f"{len(found)} compute levels")
