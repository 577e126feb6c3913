"""The compute-optimal path: optima at several amounts of compute, and the power laws in C through them.

Optima come r resamples at once, and a fit is the case r = 1: what a resample shows is what the fit would have shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vsweep.analysis.data.cells import cells
from vsweep.analysis.data.points import Points
from vsweep.analysis.data.source import Refusal
from vsweep.analysis.formatting import metric

INTERIOR, EDGE_SMALL, EDGE_LARGE = "interior", "edge: smallest size", "edge: largest size"
NO_MINIMUM = "no minimum"
NOT_ANNEALED = "winner not annealed"
BEFORE_BUDGETS = "winner below the smallest budget"
BELOW_RUNS = "vertex far below every run"
STATUSES = (INTERIOR, EDGE_SMALL, EDGE_LARGE, NO_MINIMUM, NOT_ANNEALED, BEFORE_BUDGETS, BELOW_RUNS)
CODES = {status: code for code, status in enumerate(STATUSES)}
ABSENT = -1  # no optimum at this compute, not even one that is left out
EDGES = (EDGE_SMALL, EDGE_LARGE, NO_MINIMUM, BELOW_RUNS)
MIN_OPTIMA = 3
MIN_SPAN = 1.5  # as a factor in compute
NAMED = 8  # so many left out are named in full


@dataclass(frozen=True)
class Optima:
    """Optima of r resamples at m amounts of compute: `flops` [m]; `params`, `tokens`, `loss`, `status` [r, m].

    `status` holds indices into `STATUSES`, or `ABSENT`. `sizes` [r] counts the distinct sizes that are ever the best.
    `annealed` [r, m] says whether the winner had annealed, where that is a question; `errors` [r, m] are standard
    errors of log N, up to one common factor, where the lines are to be weighted by them.
    """

    flops: np.ndarray
    params: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray
    status: np.ndarray
    sizes: np.ndarray
    annealed: np.ndarray | None = None
    errors: np.ndarray | None = None

    @property
    def used(self) -> np.ndarray:
        """[r, m] where a fit counts the optimum."""
        return self.status == CODES[INTERIOR]

    def table(self) -> pd.DataFrame:
        """The first resample, one row a compute that has an optimum: flops, params, tokens, loss, status."""
        present = self.status[0] != ABSENT
        columns = {"flops": self.flops, "params": self.params[0], "tokens": self.tokens[0], "loss": self.loss[0]}
        columns["status"] = np.array(STATUSES, object)[self.status[0]]
        if self.annealed is not None:
            columns["annealed"] = self.annealed[0]
        return pd.DataFrame(columns)[present].reset_index(drop=True)


@dataclass(frozen=True)
class PathFit:
    """N_opt = k C^a, D_opt = k_tokens C^b and loss = k_loss C^-c: least squares in logs through the interior optima.

    `optima` has the columns flops, params, tokens, loss, status; rows that are not `interior` are shown, never fitted.
    """

    method: str
    k: float
    a: float
    k_tokens: float
    b: float
    k_loss: float
    c: float
    optima: pd.DataFrame
    note: str = ""

    @property
    def used(self) -> pd.DataFrame:
        """The rows of `optima` that were fitted."""
        return self.optima[self.optima["status"] == INTERIOR]

    @property
    def edges(self) -> tuple[str, ...]:
        """The optima that are no minima, by name."""
        return named_edges(self.optima)

    def params_opt(self, flops: np.ndarray) -> np.ndarray:
        """N_opt [m] at `flops` [m]."""
        return self.k * np.power(flops, self.a)

    def tokens_opt(self, flops: np.ndarray) -> np.ndarray:
        """D_opt [m] at `flops` [m]."""
        return self.k_tokens * np.power(flops, self.b)

    def loss_opt(self, flops: np.ndarray) -> np.ndarray:
        """The loss at the optimum. A power law: beyond the optima it holds only for a loss without a floor."""
        return self.k_loss * np.power(flops, -self.c)


@dataclass(frozen=True)
class PathRefits:
    """The three lines of a `PathFit` for r resamples, each [r]; NaN where the fit was refused."""

    method: str
    log_k: np.ndarray
    a: np.ndarray
    log_k_tokens: np.ndarray
    b: np.ndarray
    log_k_loss: np.ndarray
    c: np.ndarray

    @property
    def failed(self) -> int:
        """How many resamples were refused."""
        return int(np.isnan(self.a).sum())

    def params_opt(self, flops: np.ndarray) -> np.ndarray:
        """N_opt [r, m] at `flops` [m]."""
        return _power(self.log_k, self.a, flops)

    def tokens_opt(self, flops: np.ndarray) -> np.ndarray:
        """D_opt [r, m] at `flops` [m]."""
        return _power(self.log_k_tokens, self.b, flops)

    def loss_opt(self, flops: np.ndarray) -> np.ndarray:
        """Loss at the optimum [r, m] at `flops` [m]."""
        return _power(self.log_k_loss, -self.c, flops)


def no_refits(method: str, resamples: int) -> PathRefits:
    """What `refit` returns where nothing can be fitted, whatever the resample."""
    return PathRefits(method, *np.full((6, resamples), np.nan))


def _power(log_k: np.ndarray, exponent: np.ndarray, flops: np.ndarray) -> np.ndarray:
    return np.exp(log_k[:, None] + exponent[:, None] * np.log(flops))


def units(points: Points) -> pd.DataFrame:
    """What a resample perturbs, a row each: the rows of `cells`, or those of a table that labels its IsoFLOP groups.

    Such a table is read as it is, so that each of its rows is a point of its own.
    """
    return points.table.reset_index(drop=True) if is_labelled(points) else cells(points)


def unit_of_row(points: Points) -> np.ndarray:
    """[rows] to which row of `units` each row of the table belongs."""
    if is_labelled(points):
        return np.arange(len(points.table))
    return points.table.groupby(["size", "budget"]).ngroup().to_numpy()


def is_labelled(points: Points) -> bool:
    """Whether this is a table, without curves, that itself says which rows make up an IsoFLOP group."""
    return points.curves is None and "isoflop" in points.table and bool(points.table["isoflop"].notna().any())


def check_shifts(shifts: np.ndarray, count: int) -> np.ndarray:
    """`shifts` [r, count] as floats.

    Raises:
      ValueError: another shape, or a value that is not finite.
    """
    shifts = np.asarray(shifts, float)
    if shifts.ndim != 2 or shifts.shape[1] != count:
        raise ValueError(f"shifts: shape {shifts.shape}, must be [resamples, {count}]: one column a row of path.units")
    if not np.isfinite(shifts).all():
        raise ValueError(
            f"shifts: {np.sum(~np.isfinite(shifts))} values are not finite; a shift is a change of log loss"
        )
    return shifts


def fit_path(
    method: str, optima: Optima, *, min_sizes: int = 1, noise: float | None = None, note: str = ""
) -> PathFit | Refusal:
    """Fits the lines to the first of `optima` (Hoffmann et al. 2022, sections 3.1 and 3.2), or says why not.

    Args:
      min_sizes: how many sizes must be the best somewhere.
      noise: the loss must fall by more than this, in log loss, over the optima that count; None: it need not.
    """
    reason = _why_refused(optima, min_sizes)
    if reason:
        return Refusal(method, reason)
    lines = refit_path(method, optima, min_sizes=min_sizes)
    log_k, a, log_k_tokens, b, log_k_loss, c = (
        float(getattr(lines, name)[0]) for name in ("log_k", "a", "log_k_tokens", "b", "log_k_loss", "c")
    )
    if noise is not None and c * _span(optima)[0] <= noise:
        return Refusal(
            method,
            f"flat: log loss falls by {c * _span(optima)[0]:.2g} over the compute counted, the noise is {noise:.2g}",
        )
    exp = [float(np.exp(value)) for value in (log_k, log_k_tokens, log_k_loss)]
    return PathFit(method, exp[0], a, exp[1], b, exp[2], c, optima.table(), note)


def refit_path(method: str, optima: Optima, *, min_sizes: int = 1, noise: float | None = None) -> PathRefits:
    """The same lines for each of the resamples, by the same rules."""
    span = _span(optima)
    enough = optima.used.sum(axis=1) >= MIN_OPTIMA
    accepted = enough & (optima.sizes >= min_sizes) & (span >= np.log(MIN_SPAN))
    lines = np.full((3, 2, len(span)), np.nan)
    used, log_c = _weights(optima, accepted), np.log(optima.flops)
    for line, values in zip(lines, (optima.params, optima.tokens, optima.loss), strict=True):
        line[:, accepted] = _line(log_c, values[accepted], used)
    if noise is not None:
        lines[..., ~(-lines[2, 0] * span > noise)] = np.nan
    (a, log_k), (b, log_k_tokens), (minus_c, log_k_loss) = lines
    return PathRefits(method, log_k, a, log_k_tokens, b, log_k_loss, -minus_c)


def _weights(optima: Optima, rows: np.ndarray) -> np.ndarray:
    """[rows, m] what each optimum counts in a line: all that are used alike, or by 1 / error^2 with a mean of one.

    An error that is not known counts as the largest of its resample.
    """
    used = optima.used[rows]
    if optima.errors is None:
        return used
    errors = np.where(used & np.isfinite(optima.errors[rows]), optima.errors[rows], 0.0)
    largest = errors.max(axis=1, keepdims=True, initial=0.0)
    largest = np.where(largest > 0, largest, 1.0)
    weight = used * (largest / np.where(errors > 0, errors, largest)) ** 2
    return weight * used.sum(axis=1, keepdims=True) / weight.sum(axis=1, keepdims=True)


def _span(optima: Optima) -> np.ndarray:
    """[r] width of the counted range in log compute; -inf where nothing counts."""
    log_c = np.log(optima.flops)
    high = np.max(np.where(optima.used, log_c, -np.inf), axis=1, initial=-np.inf)
    return high - np.min(np.where(optima.used, log_c, np.inf), axis=1, initial=np.inf)


def _line(log_c: np.ndarray, values: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes and intercepts [r] of log `values` [r, m] against `log_c` [m] by least squares over `used` [r, m].

    `used` is true where an optimum counts, or what it counts as a number.
    """
    weight, used = used.astype(float), used > 0
    count = weight.sum(axis=1)
    x = np.where(used, log_c, 0.0)
    y = np.log(np.where(used, values, 1.0))
    x_mean, y_mean = (weight * x).sum(axis=1) / count, (weight * y).sum(axis=1) / count
    x = np.where(used, log_c - x_mean[:, None], 0.0)
    slope = (weight * x * y).sum(axis=1) / (weight * x * x).sum(axis=1)
    return slope, y_mean - slope * x_mean


def _why_refused(optima: Optima, min_sizes: int) -> str | None:
    """Why the first of `optima` allows no line, or None."""
    count, span = int(optima.used[0].sum()), _span(optima)[0]
    if count < MIN_OPTIMA:
        table = optima.table()
        counts = table["status"].value_counts()
        what = ", ".join(f"{number} {status}" for status, number in counts.items()) or "none"
        return note_of([f"{count} interior minima, {MIN_OPTIMA} needed (compute levels: {what})"], table)
    if optima.sizes[0] < min_sizes:
        return f"only {optima.sizes[0]} distinct interior sizes are ever the best, {min_sizes} needed"
    if span < np.log(MIN_SPAN):
        return f"the interior minima span a factor of {np.exp(span):.2f} in compute only"
    return None


def named_edges(optima: pd.DataFrame) -> tuple[str, ...]:
    """Each optimum that is no minimum, as "edge: smallest size (N = 1k) at C = 1e+10"; equal neighbours are one."""
    status, params, flops = (optima[name].to_numpy() for name in ("status", "params", "flops"))
    starts = np.flatnonzero(np.r_[True, (status[1:] != status[:-1]) | (params[1:] != params[:-1])][: len(status)])
    names = []
    for first, after in zip(starts, [*starts[1:], len(status)], strict=True):
        if status[first] in EDGES:
            to = f" to {flops[after - 1]:.3g}" if after - first > 1 else ""
            names.append(f"{status[first]} (N = {metric(params[first])}) at C = {flops[first]:.3g}{to}")
    return tuple(names)


def _shortened(names: Sequence[str]) -> tuple[str, ...]:
    more = (f"and {len(names) - NAMED} more",) if len(names) > NAMED else ()
    return (*names[:NAMED], *more)


def note_of(parts: Sequence[str], optima: pd.DataFrame) -> str:
    """`parts` and the names of what was left out at an edge, as one line."""
    edges = "; ".join(_shortened(named_edges(optima)))
    return "; ".join([*parts, f"left out: {edges}"] if edges else parts)


def thinned(optima: pd.DataFrame, at_most: int = 60) -> pd.DataFrame:
    """At most 60 rows, evenly taken: an envelope alone has more than a figure or a file needs."""
    return optima.iloc[np.unique(np.linspace(0, len(optima) - 1, at_most).astype(int))]
