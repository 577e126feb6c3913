"""Resamples of a set of runs: how often each run is drawn, or how far each cell's mean loss moves.

Four kinds answer four questions. `cells` draws whole cells (N, D) with all their seeds: what if the grid had been
another one. `seeds` draws whole seeds, because the runs of one seed share initial weights and the order of the data.
`runs` draws single runs, as if nothing were shared. `within` keeps every cell and draws its seeds again: how much of
the variance is due to the seeds.
"""

from collections.abc import Iterator

import numpy as np

from vsweep.analysis.data.cells import membership
from vsweep.analysis.data.points import Points

MOSTLY = 0.9
BLOCK_DRAWS = 2**22  # held at once
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


def sums(points: Points, kind: str, count: int, values: np.ndarray) -> np.ndarray:
    """[count, p] sums of `values` [rows, p], each row counted as often as a resample holds it: `weights` x values.

    The weights of many rows would fill the memory, so they are drawn block by block.
    """
    rng = np.random.default_rng(0)
    if kind == WITHIN:
        return sum(drawn @ values[rows] for rows, drawn in _draws_within(rng, cell_of_row(points), count))
    group = {CELLS: cell_of_row, SEEDS: seed_of_row, RUNS: lambda _: np.arange(len(points.table))}[kind](points)
    groups = int(group.max()) + 1
    total = np.stack([np.bincount(group, column, minlength=groups) for column in values.T], axis=1)
    block = max(1, BLOCK_DRAWS // groups)
    sizes = [min(block, count - first) for first in range(0, count, block)]
    return np.concatenate([_counts(rng.integers(groups, size=(size, groups)), groups) @ total for size in sizes])


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
    for rows, of_cell in _draws_within(rng, cell, count):
        drawn[:, rows] = of_cell
    return drawn


def _draws_within(rng: np.random.Generator, cell: np.ndarray, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each cell's rows [n], and how often each resample holds them [count, n]."""
    order = np.argsort(cell, kind="stable")
    for rows in np.split(order, np.cumsum(np.bincount(cell))[:-1]):
        yield rows, _counts(rng.integers(len(rows), size=(count, len(rows))), len(rows))


def shifts(points: Points, weight: np.ndarray) -> np.ndarray:
    """By how much each resample moves the mean log loss of each cell [count, cells], seeded cells as in `cells.cells`.

    A resample that holds no run of a cell leaves it where it is.
    """
    cell = cell_of_row(points)
    member = membership(cell)
    log_loss = np.log(points.column("loss"))
    drawn = weight @ member
    mean = (member.T @ log_loss) / np.bincount(cell)
    total = weight @ membership(cell, log_loss - mean[cell])
    return np.divide(total, drawn, out=np.zeros_like(total), where=drawn > 0)


def drawn_shifts(points: Points, kind: str, count: int) -> np.ndarray:
    """[count, cells] `shifts` of resamples of one kind, without the weights of all rows at once where rows are many."""
    if kind != WITHIN or len(points.table) * count <= BLOCK_DRAWS:
        return shifts(points, weights(points, kind, count))
    cell, log_loss = cell_of_row(points), np.log(points.column("loss"))
    moved = np.zeros((int(cell.max()) + 1, count))
    for number, (rows, drawn) in enumerate(_draws_within(np.random.default_rng(0), cell, count)):
        moved[number] = drawn @ (log_loss[rows] - log_loss[rows].mean()) / len(rows)
    return moved.T


def unbiased(points: Points, kind: str) -> float:
    """What the variance over resamples is multiplied by: n things drawn from n scatter (n - 1) / n too little."""
    if kind == SEEDS:
        return len(points.seeds) / (len(points.seeds) - 1)
    if kind == WITHIN:
        runs = np.bincount(cell_of_row(points))
        return float(np.median(runs[runs > 1] / (runs[runs > 1] - 1)))
    return 1.0
