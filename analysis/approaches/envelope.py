"""Approach 1: the lower envelope of the loss curves (Hoffmann et al. 2022, section 3.1).

At 1,500 log-spaced FLOP values the lowest curve names N_opt. All curves compete, but a point counts only where the
winner is in the last 15 % of its run: before that it has not annealed. Where too few sizes ever win so, because longer
runs at a high learning rate are lower than shorter annealed ones, the points of runs under way count too, from the
smallest budget on, and the fit says so. In no case does a point count where the winner is the smallest or the largest
of the sizes that reach this compute: the best one may lie beyond. (Small sizes end early. Past their last run the
smallest one left always wins, and an envelope that counts it finds a = 1 whatever the law.) A table without curves has
finished points only; the vertices of their lower hull in log-log take the place of the envelope.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from vsweep.analysis.approaches import optimal_path
from vsweep.analysis.approaches.curves.contest import ROUNDING, Contest
from vsweep.analysis.approaches.curves.means import mean_curves, smooth, smoothed_runs
from vsweep.analysis.approaches.lower_hull import convex_hull, falling
from vsweep.analysis.approaches.optimal_path import BEFORE_BUDGETS, NOT_ANNEALED
from vsweep.analysis.data.cells import membership, seed_noise_log
from vsweep.analysis.data.points import Points
from vsweep.analysis.data.source import Refusal

METHOD = "envelope"
GRID_POINTS = 1500
ANNEALED_FROM = 0.85
MIN_SIZES = 3
MIN_SHARE = 0.01  # of the values counted: a size that wins less of them does not count towards MIN_SIZES


@dataclass(frozen=True)
class _Curves:
    """k smoothed mean curves on one grid of g amounts of compute, and what is the same in every resample.

    `log_loss` [g, k] is infinite where a curve is absent. `unit` [k] is the row of `path.units` that a curve belongs
    to; `size`, `log_end`, `log_per_token` [k] are its size, last compute and FLOPs per token. `smallest` and `largest`
    [g] are the sizes present at each compute; `first_budget` is the tokens of the shortest run.
    """

    log_c: np.ndarray
    log_loss: np.ndarray
    unit: np.ndarray
    size: np.ndarray
    log_end: np.ndarray
    log_per_token: np.ndarray
    smallest: np.ndarray
    largest: np.ndarray
    first_budget: float


def _on_grid(points: Points, table: pd.DataFrame) -> _Curves | None:
    """The curves of `points`, whose cells are the rows of `table`; None where no curve has two evaluations."""
    runs = smoothed_runs(points)
    if not runs:
        return None
    log_flops = [np.log(run.flops) for run in runs]
    log_c = np.linspace(min(x[0] for x in log_flops), max(x[-1] for x in log_flops), GRID_POINTS)
    columns = [
        np.interp(log_c, x, run.log_loss, left=np.inf, right=np.inf) for x, run in zip(log_flops, runs, strict=True)
    ]
    log_loss = np.stack(columns, axis=1)
    reached = np.isfinite(log_loss).any(axis=1)
    log_c, log_loss = log_c[reached], log_loss[reached]
    size = np.array([run.size for run in runs])
    smallest, largest = _ends(size, np.isfinite(log_loss), axis=1)
    row_of = {key: row for row, key in enumerate(zip(table["size"], table["budget"], strict=True))}
    return _Curves(
        log_c=log_c,
        log_loss=log_loss,
        unit=np.array([row_of[run.size, run.budget] for run in runs]),
        size=size,
        log_end=np.array([x[-1] for x in log_flops]),
        log_per_token=np.log([run.flops[-1] / run.tokens[-1] for run in runs]),
        smallest=smallest,
        largest=largest,
        first_budget=min(run.tokens[-1] for run in runs),
    )


def _ends(size: np.ndarray, present: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest `size` that is `present` at each compute; `axis` runs over the sizes."""
    low, high = np.where(present, size, np.inf), np.where(present, size, -np.inf)
    return low.min(axis=axis), high.max(axis=axis)


def _shifted(curves: _Curves, shifts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The winners [r, g] where each curve moves as a whole, by the `shifts` [r, units] of its unit."""
    shifts = shifts[:, curves.unit]
    contest = Contest.between(curves.log_loss + shifts.min(axis=0), curves.log_loss + shifts.max(axis=0))
    log_loss = np.take_along_axis(curves.log_loss, contest.curve, axis=1)
    return contest.winners(log_loss + shift[contest.curve] for shift in shifts)


@dataclass(frozen=True)
class RunCurves:
    """The curves of cells and of their single runs, to draw again which runs a cell has.

    `log_loss` [rows, g] is each run's own smoothed curve on the grid of the mean curves, `members` [k, s] are the rows
    of the runs of each curve, -1 beyond them, and `unit` [rows] is the unit of each row.
    """

    table: pd.DataFrame
    unit: np.ndarray
    curves: _Curves | None
    log_loss: np.ndarray
    members: np.ndarray

    @classmethod
    def of(cls, points: Points) -> "RunCurves":
        """Without curves where no run has two evaluations."""
        table, unit = optimal_path.units(points), optimal_path.unit_of_row(points)
        curves = None if points.curves is None else _on_grid(points, table)
        if curves is None:
            return cls(table, unit, None, np.empty((0, 0)), np.empty((0, 0), int))
        runs = [np.flatnonzero(unit == number) for number in curves.unit]
        members = np.full((len(runs), max(map(len, runs))), -1)
        for of_curve, rows in zip(members, runs, strict=True):
            of_curve[: len(rows)] = rows
        return cls(table, unit, curves, _own_curves(points, curves), members)

    def winners(self, share: np.ndarray, stretch: float) -> tuple[np.ndarray, np.ndarray]:
        """The winners [r, g] where each curve is the mean of its runs with the `share` [r, rows] of each.

        A mean of runs lies between the lowest and the highest, and `stretch` takes it farther from the mean of all.
        """
        mean, reach = self.curves.log_loss, max(1.0, stretch) * (1 + ROUNDING)
        lowest, highest = mean.copy(), mean.copy()
        for number, rows in enumerate(self.members):
            there = np.isfinite(mean[:, number])
            runs, middle = self.log_loss[rows[rows >= 0]][:, there], mean[there, number]
            lowest[there, number] += reach * (runs.min(axis=0) - middle)
            highest[there, number] += reach * (runs.max(axis=0) - middle)
        contest = Contest.between(lowest, highest)
        rows = self.members[contest.curve]  # [g, m, s]
        log_loss = np.where(rows >= 0, self.log_loss[rows, np.arange(len(rows))[:, None, None]], 0.0)
        # Sums over whole rows are many times faster than sums of three numbers at a time.
        ranks = list(zip(np.moveaxis(rows, -1, 0), np.moveaxis(log_loss, -1, 0).copy(), strict=True))
        return contest.winners(_mean_of(ranks, of_run) for of_run in share)


def _mean_of(ranks: list[tuple[np.ndarray, np.ndarray]], share: np.ndarray) -> np.ndarray:
    """Means [g, m] of the n-th runs of all curves (their rows and log losses [g, m]), by the `share` [rows] of each."""
    (first_rows, first), *others = ranks
    rest = np.zeros_like(first)
    for rows, log_loss in others:
        rest += log_loss * share[rows]
    return first * share[first_rows] + rest


def _own_curves(points: Points, curves: _Curves) -> np.ndarray:
    """[rows, g] the smoothed log loss of each run of the table on the grid of the mean curves; NaN without a curve."""
    kept = mean_curves(points).drop(columns=["tokens", "log_loss"])
    single = points.curves[["run_id", "size", "budget", "steps", "loss"]].merge(kept, on=["size", "budget", "steps"])
    run = pd.Index(points.table["run_id"]).get_indexer(single["run_id"])
    order = np.lexsort((single["steps"].to_numpy(), run))
    log_flops, log_loss = (np.log(single[name].to_numpy(float))[order] for name in ("flops", "loss"))
    run = run[order]
    own = np.full((len(points.table), len(curves.log_c)), np.nan)
    starts = np.flatnonzero(np.diff(run, prepend=-1))
    for first, after in zip(starts, [*starts[1:], len(run)], strict=True):
        own[run[first]] = np.interp(curves.log_c, log_flops[first:after], smooth(log_loss[first:after]))
    return own


def _envelope(
    curves: _Curves, winners: tuple[np.ndarray, np.ndarray], annealed_only: bool | None
) -> optimal_path.Optima:
    """The envelopes of r resamples, from the number and the log loss [r, g] of the lowest curve of each."""
    best, lowest = winners
    size = curves.size[best]
    tokens = np.exp(curves.log_c - curves.log_per_token[best])
    annealed = np.exp(curves.log_c - curves.log_end[best]) >= ANNEALED_FROM
    status = _status(size, curves.smallest, curves.largest)
    status = np.where(tokens < curves.first_budget, optimal_path.CODES[BEFORE_BUDGETS], status)
    strict = np.where(annealed, status, optimal_path.CODES[NOT_ANNEALED])
    if annealed_only is None:
        annealed_only = (_sizes_that_count(curves.size, best, strict) >= MIN_SIZES)[:, None]
    status = np.where(annealed_only, strict, status)
    sizes = _sizes_that_count(curves.size, best, status)
    return optimal_path.Optima(np.exp(curves.log_c), size, tokens, np.exp(lowest), status, sizes, annealed)


def _status(size: np.ndarray, smallest: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Status of winners `size` [..., g] among sizes from `smallest` to `largest` [g] at the same compute."""
    edges = [optimal_path.CODES[optimal_path.EDGE_SMALL], optimal_path.CODES[optimal_path.EDGE_LARGE]]
    return np.select([size == smallest, size == largest], edges, optimal_path.CODES[optimal_path.INTERIOR])


def _sizes_that_count(size: np.ndarray, best: np.ndarray, status: np.ndarray) -> np.ndarray:
    """[r] how many sizes win a hundredth of the counted optima or more; `best` [r, m] are indices into `size` [k]."""
    used = status == optimal_path.CODES[optimal_path.INTERIOR]
    sizes, index = np.unique(size, return_inverse=True)
    flat = index[best] + len(sizes) * np.arange(len(best))[:, None]
    wins = np.bincount(flat[used], minlength=len(sizes) * len(best)).reshape(len(best), len(sizes))
    return ((wins > 0) & (wins >= MIN_SHARE * used.sum(axis=1, keepdims=True))).sum(axis=1)


def lower_envelope(points: Points, annealed_only: bool | None = None) -> pd.DataFrame:
    """The envelope [<= 1500 rows]: flops, params, tokens, loss, status, annealed; empty where no run has a curve."""
    table = optimal_path.units(points)
    curves = _on_grid(points, table)
    if curves is None:
        return pd.DataFrame(columns=["flops", "params", "tokens", "loss", "status", "annealed"])
    return _envelope(curves, _shifted(curves, np.zeros((1, len(table)))), annealed_only).table()


def lower_hull(points: Points) -> pd.DataFrame:
    """Finished cells on the falling part of the lower convex hull of log loss against log C, as rows of optima."""
    table = optimal_path.units(points)
    return _hull(table, np.zeros((1, len(table)))).table()


def _hull(table: pd.DataFrame, shifts: np.ndarray) -> optimal_path.Optima:
    """The rows of `path.units`, sorted by compute; those that are no vertices of a resample's hull are `ABSENT`."""
    order = np.lexsort((table["loss"], table["flops"]))
    flops, size, tokens = (table[name].to_numpy(float)[order] for name in ("flops", "size", "tokens"))
    log_c, log_loss = np.log(flops), (np.log(table["loss"].to_numpy(float)) + shifts)[:, order]
    reach = table.groupby("size")["flops"].agg(["min", "max"])
    covers = (reach["min"].to_numpy()[:, None] <= flops) & (flops <= reach["max"].to_numpy()[:, None])
    smallest, largest = _ends(reach.index.to_numpy(float)[:, None], covers, axis=0)
    each = _status(size, smallest, largest)
    status = np.full(log_loss.shape, optimal_path.ABSENT)
    for row, values in enumerate(log_loss):
        vertices = falling(convex_hull(log_c, values), values)
        status[row, vertices] = each[vertices]
    params, tokens, each = (np.broadcast_to(values, status.shape) for values in (size, tokens, np.arange(len(size))))
    return optimal_path.Optima(flops, params, tokens, np.exp(log_loss), status, _sizes_that_count(size, each, status))


def curve_points(points: Points, *, annealed_only: bool = False) -> pd.DataFrame:
    """The smoothed mean curves as points flops, params, tokens, loss, from the tokens of the shortest run on.

    Args:
      annealed_only: whether to take the last 15 % of each run only.
    """
    runs = smoothed_runs(points)
    first = min((run.tokens[-1] for run in runs), default=0.0)
    columns: dict[str, list] = {"flops": [], "params": [], "tokens": [], "loss": []}
    for run in runs:
        kept = run.tokens >= max(first, ANNEALED_FROM * run.tokens[-1] * annealed_only)
        values = (run.flops, np.full(len(kept), run.size), run.tokens, np.exp(run.log_loss))
        for column, value in zip(columns.values(), values, strict=True):
            column.extend(value[kept])
    return pd.DataFrame(columns, dtype=float)


def fit(points: Points, annealed_only: bool | None = None) -> optimal_path.PathFit | Refusal:
    """N_opt and D_opt against C along the envelope, or a refusal with the reason.

    Args:
      annealed_only: whether only winners in the last 15 % of their run count; None: only they if enough sizes win so.
    """
    table = optimal_path.units(points)
    optima = _optima(points, table, np.zeros((1, len(table))), annealed_only)
    if optima is None:
        return Refusal(METHOD, "no finished run has a curve with two evaluations")
    note = optimal_path.note_of(_notes(points, optima), optima.table())
    return optimal_path.fit_path(METHOD, optima, min_sizes=MIN_SIZES, noise=_noise(points, table), note=note)


def refit(points: Points, shifts: np.ndarray, annealed_only: bool | None = None) -> optimal_path.PathRefits:
    """Fits r resamples at once, each as `fit` does; a shift of zero gives what `fit` gives.

    Args:
      shifts: [r, rows of `path.units(points)`] what is added to the log loss of each cell: its whole curve moves. Where
        seeds part late in a run, as at a break, that moves its beginning too far: see `refit_runs`.

    Raises:
      ValueError: `shifts` has another shape or is not finite.
    """
    table = optimal_path.units(points)
    shifts = optimal_path.check_shifts(shifts, len(table))
    optima = _optima(points, table, shifts, annealed_only)
    return _refits(points, table, optima, len(shifts))


def refit_runs(
    points: Points,
    weight: np.ndarray,
    *,
    stretch: float = 1.0,
    annealed_only: bool | None = None,
    own: RunCurves | None = None,
) -> optimal_path.PathRefits:
    """Fits r resamples of the runs of each cell at once, each run with its own curve; equal weights give the fit.

    Args:
      weight: [r, rows of the table] how often resample r holds each run. A cell of which it holds none keeps them all.
      stretch: what each mean's distance from that of all runs is multiplied by: n runs drawn from n scatter too little,
        by (n - 1) / n in variance.
      own: `RunCurves.of(points)`, for a caller that has several sets of weights.
    """
    own = own or RunCurves.of(points)
    share = _shares(np.asarray(weight, float), own.unit, stretch)
    if points.curves is None:
        mean = (share * np.log(points.column("loss"))) @ membership(own.unit)
        return refit(points, mean - np.log(own.table["loss"].to_numpy(float)))
    if own.curves is None:
        return _refits(points, own.table, None, len(share))
    optima = _envelope(own.curves, own.winners(share, stretch), annealed_only)
    return _refits(points, own.table, optima, len(share))


def _shares(weight: np.ndarray, unit: np.ndarray, stretch: float) -> np.ndarray:
    """[r, rows] the share of each run in the mean of its unit."""
    even = 1 / np.bincount(unit)[unit]
    drawn = (weight @ membership(unit))[:, unit]
    share = np.divide(weight, drawn, out=np.broadcast_to(even, weight.shape).copy(), where=drawn > 0)
    return even + stretch * (share - even)


def _refits(
    points: Points, table: pd.DataFrame, optima: optimal_path.Optima | None, resamples: int
) -> optimal_path.PathRefits:
    if optima is None:
        return optimal_path.no_refits(METHOD, resamples)
    return optimal_path.refit_path(METHOD, optima, min_sizes=MIN_SIZES, noise=_noise(points, table))


def _optima(
    points: Points, table: pd.DataFrame, shifts: np.ndarray, annealed_only: bool | None
) -> optimal_path.Optima | None:
    """The envelopes, or the hulls where there are no curves; None where the curves are too short."""
    if points.curves is None:
        return _hull(table, shifts)
    curves = _on_grid(points, table)
    return None if curves is None else _envelope(curves, _shifted(curves, shifts), annealed_only)


def _noise(points: Points, table: pd.DataFrame) -> float:
    """By how much log loss must fall at least: the scatter of a single run; without repeats it must fall at all."""
    return (None if optimal_path.is_labelled(points) else seed_noise_log(table)) or 0.0


def _notes(points: Points, optima: optimal_path.Optima) -> list[str]:
    if points.curves is None:
        return ["no curves: vertices of the points' lower hull"]
    notes = [f"{len(optima.flops)} values of C on the envelope"]
    unannealed = 1 - optima.annealed[optima.used].mean() if optima.used.any() else 0.0
    if unannealed:
        notes.append(f"{unannealed:.0%} of those counted were won by runs that have not annealed yet")
    else:
        notes.append("counted only where the winner is in the last 15 % of its run")
    without_log = int((points.curves["loss"] <= 0).sum())
    return notes + [f"{without_log} evaluations with a loss <= 0 left out"] * bool(without_log)
