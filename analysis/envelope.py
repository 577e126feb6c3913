"""Approach 1: the lower envelope of the loss curves (Hoffmann et al. 2022, section 3.1).

At 1,500 log-spaced FLOP values the lowest curve names N_opt. All curves compete, but a point counts only where the
winner is in the last 15 % of its run: before that it has not annealed. Where too few sizes ever win so, because longer
runs at a high learning rate are lower than shorter annealed ones, the points of runs under way count too, from the
smallest budget on, and the fit says so. In no case does a point count where the winner is the smallest or the largest
of the sizes that reach this compute: the best one may lie beyond. (Small sizes end early. Past their last run the
smallest one left always wins, and an envelope that counts it finds a = 1 whatever the law.) A table without curves has
finished points only; the vertices of their lower hull in log-log take the place of the envelope.
"""

import numpy as np
import pandas as pd

from analysis import path
from analysis.points import Points, Refusal

METHOD = "envelope"
GRID_POINTS = 1500
ANNEALED_FROM = 0.85
NOT_ANNEALED = "winner not annealed"
BEFORE_BUDGETS = "winner below the smallest budget"
MIN_SIZES = 3


def mean_curves(points: Points) -> pd.DataFrame:
    """One curve a (size, budget): log loss averaged over its seeds, columns size, budget, tokens, flops, log_loss.

    Seeds are joined by step: each has seen other examples by then, and so a slightly different number of tokens. The
    mean and not the minimum over seeds: the luckiest of three seeds is no property of a size. An evaluation where a
    seed is missing or has a loss <= 0 is dropped, for a mean over the other seeds would be biased.
    """
    curves = points.curves[points.curves["loss"] > 0]
    curves = curves.assign(log_loss=np.log(curves["loss"]))
    grouped = curves.groupby(["size", "budget", "steps"])
    mean = grouped[["tokens", "flops", "log_loss"]].mean().assign(n=grouped.size())
    runs = points.table.groupby(["size", "budget"]).size().rename("runs")
    mean = mean.reset_index().merge(runs, on=["size", "budget"])
    return mean[mean["n"] == mean["runs"]].drop(columns=["n", "runs"]).reset_index(drop=True)


def smooth(log_loss: np.ndarray) -> np.ndarray:
    """Weights 1, 2, 1 over neighbouring evaluations; both ends stay, for the last one is the annealed loss."""
    if len(log_loss) < 3:
        return log_loss
    inner = (log_loss[:-2] + 2 * log_loss[1:-1] + log_loss[2:]) / 4
    return np.concatenate([log_loss[:1], inner, log_loss[-1:]])


def lower_envelope(points: Points) -> pd.DataFrame:
    """The envelope [<= 1500 rows]: flops, params, tokens, loss, status, annealed; empty where no run has a curve."""
    columns = ["flops", "params", "tokens", "loss", "status", "annealed"]
    curves = mean_curves(points)
    runs = [run for _, run in curves.groupby(["size", "budget"]) if len(run) > 1]
    if not runs:
        return pd.DataFrame(columns=columns)
    grid = np.linspace(np.log(curves["flops"].min()), np.log(curves["flops"].max()), GRID_POINTS)
    loss = np.stack([_on_grid(run, grid) for run in runs])  # [runs, grid]
    grid, loss = grid[np.isfinite(loss).any(axis=0)], loss[:, np.isfinite(loss).any(axis=0)]
    best = np.where(np.isnan(loss), np.inf, loss).argmin(axis=0)
    sizes = np.array([run["size"].iloc[0] for run in runs])
    end = np.log([run["flops"].iloc[-1] for run in runs])[best]
    per_token = np.array([run["flops"].iloc[-1] / run["tokens"].iloc[-1] for run in runs])[best]
    present = np.where(np.isfinite(loss), sizes[:, None], np.nan)
    size = sizes[best]
    tokens = np.exp(grid) / per_token
    status, annealed = _status(size, present), np.exp(grid - end) >= ANNEALED_FROM
    status = np.where(tokens < min(run["tokens"].iloc[-1] for run in runs), BEFORE_BUDGETS, status)
    strict = np.where(annealed, status, NOT_ANNEALED)
    if len(np.unique(size[strict == path.INTERIOR])) >= MIN_SIZES:
        status = strict
    lowest = np.exp(loss[best, np.arange(len(grid))])
    values = (np.exp(grid), size, tokens, lowest, status, annealed)
    return pd.DataFrame(dict(zip(columns, values, strict=True)))


def _on_grid(run: pd.DataFrame, grid: np.ndarray) -> np.ndarray:
    log_loss = smooth(run["log_loss"].to_numpy())
    return np.interp(grid, np.log(run["flops"]), log_loss, left=np.nan, right=np.nan)


def _status(size: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Status [g] of winners `size` [g] among the sizes `present` [m, g] at the same compute (NaN where absent)."""
    smallest, largest = np.nanmin(present, axis=0), np.nanmax(present, axis=0)
    return np.where(size == smallest, path.EDGE_SMALL, np.where(size == largest, path.EDGE_LARGE, path.INTERIOR))


def lower_hull(points: Points) -> pd.DataFrame:
    """Finished points on the falling part of the lower convex hull of log loss against log C."""
    table = points.table.sort_values(["flops", "loss"]).reset_index(drop=True)
    x, y = np.log(table["flops"].to_numpy()), np.log(table["loss"].to_numpy())
    hull: list[int] = []
    for i in range(len(x)):
        while len(hull) > 1 and _turns_up(x, y, hull[-2], hull[-1], i):
            hull.pop()
        hull.append(i)
    hull = hull[: int(y[hull].argmin()) + 1]
    found = table.loc[hull, ["flops", "size", "tokens", "loss"]].rename(columns={"size": "params"})
    reach = table.groupby("size")["flops"].agg(["min", "max"])
    flops = found["flops"].to_numpy()
    covers = (reach["min"].to_numpy()[:, None] <= flops) & (flops <= reach["max"].to_numpy()[:, None])
    present = np.where(covers, reach.index.to_numpy(float)[:, None], np.nan)
    status = _status(found["params"].to_numpy(), present)
    return found.assign(status=status).reset_index(drop=True)


def _turns_up(x: np.ndarray, y: np.ndarray, before: int, middle: int, after: int) -> bool:
    """Whether `middle` lies on or above the chord, so that it is no vertex of the lower hull."""
    cross = (x[middle] - x[before]) * (y[after] - y[before]) - (y[middle] - y[before]) * (x[after] - x[before])
    return cross <= 0


def fit(points: Points) -> path.PathFit | Refusal:
    """N_opt and D_opt against C along the envelope, or a refusal with the reason."""
    if points.curves is None:
        return path.fit_path(
            METHOD, lower_hull(points), min_sizes=MIN_SIZES, note="no curves: vertices of the points' lower hull"
        )
    found = lower_envelope(points)
    if found.empty:
        return Refusal(METHOD, "no finished run has a curve with two evaluations")
    counted = found[found["status"] == path.INTERIOR]
    unannealed = 1 - counted["annealed"].mean() if len(counted) else 0.0
    note = f"{len(found)} values of C on the envelope"
    if unannealed:
        note += f"; {unannealed:.0%} of those counted were won by runs that have not annealed yet"
    without_log = int((points.curves["loss"] <= 0).sum())
    if without_log:
        note += f"; {without_log} evaluations with a loss <= 0 left out"
    return path.fit_path(METHOD, found, min_sizes=MIN_SIZES, note=note)
