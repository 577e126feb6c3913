"""Resamples of a set of runs: how often each run is drawn, or how far each cell's mean loss moves.

Four kinds answer four questions. `cells` draws whole cells (N, D) with all their seeds: what if the grid had been
another one. `seeds` draws whole seeds, because the runs of one seed share initial weights and the order of the data.
`runs` draws single runs, as if nothing were shared. `within` keeps every cell and draws its seeds again: how much of
the variance is due to the seeds.
"""

import numpy as np

from vsweep.analysis.data.points import Points

MOSTLY = 0.9
CELLS, SEEDS, RUNS, WITHIN = "cells", "seeds", "runs", "within"


def weights(points: Points, kind: str, count: int) -> np.ndarray:
    """How often each resample holds each row of the table: [count, rows]. The same draws every time."""
    rng = np.random.default_rng(0)
    rows = len(points.table)
    if kind == WITHIN:
        return _within(rng, cell_of_row(points), count)
    group = {CELLS: cell_of_row, SEEDS: seed_of_row, RUNS: lambda _: np.arange(rows)}[kind](points)
    groups = int(group.max()) + 1
    draws = rng.integers(groups, size=(count, groups))
    return _counts(draws, groups)[:, group].astype(float)


def cell_of_row(points: Points) -> np.ndarray:
    """The number of each row's cell; without seeds every row is a cell of its own."""
    if not points.seeds:
        return np.arange(len(points.table))
    return points.table.groupby(["size", "budget"]).ngroup().to_numpy()


def seed_of_row(points: Points) -> np.ndarray:
    """[rows] the number of each row's seed."""
    return points.table.groupby("seed").ngroup().to_numpy()


def mostly_repeated(points: Points) -> bool:
    """Whether nearly all cells were trained with several seeds, so that their scatter is known everywhere."""
    if len(points.seeds) < 2:
        return False
    return bool((np.bincount(cell_of_row(points)) > 1).mean() >= MOSTLY)


def _counts(draws: np.ndarray, groups: int) -> np.ndarray:
    """[count, groups] how often each group stands in each row of draws."""
    rows = np.arange(len(draws))[:, None] * groups
    return np.bincount((rows + draws).ravel(), minlength=len(draws) * groups).reshape(len(draws), groups)


def _within(rng: np.random.Generator, cell: np.ndarray, count: int) -> np.ndarray:
    drawn = np.zeros((count, len(cell)))
    for number in range(int(cell.max()) + 1):
        rows = np.flatnonzero(cell == number)
        drawn[:, rows] = _counts(rng.integers(len(rows), size=(count, len(rows))), len(rows))
    return drawn


def shifts(points: Points, weight: np.ndarray) -> np.ndarray:
    """By how much each resample moves the mean log loss of each cell [count, cells], seeded cells as in `cells.cells`.

    A resample that holds no run of a cell leaves it where it is.
    """
    cell = cell_of_row(points)
    member = np.eye(int(cell.max()) + 1)[cell]  # [rows, cells]
    log_loss = np.log(points.column("loss"))
    drawn = weight @ member
    mean = (member.T @ log_loss) / member.sum(axis=0)
    total = weight @ (member * (log_loss - mean[cell])[:, None])
    return np.divide(total, drawn, out=np.zeros_like(total), where=drawn > 0)


def unbiased(points: Points, kind: str) -> float:
    """What the variance over resamples is multiplied by: n things drawn from n scatter (n - 1) / n too little."""
    if kind == SEEDS:
        return len(points.seeds) / (len(points.seeds) - 1)
    if kind == WITHIN:
        runs = np.bincount(cell_of_row(points))
        return float(np.median(runs[runs > 1] / (runs[runs > 1] - 1)))
    return 1.0
