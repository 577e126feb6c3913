"""Which runs to add to those that exist: greedily, each time the run that narrows a's interval most for its cost."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vsweep.analysis.designer.assumption import Assumption
from vsweep.analysis.designer.precision import CannotTell, Precision, expected
from vsweep.analysis.designer.runs import Runs
from vsweep.analysis.designer.search import Size

MOST_ADDED = 60  # runs: a plan that a person still reads
LEAST_SEEDS = 2  # that a cell may get


@dataclass(frozen=True)
class Cell:
    """A run that could be added: its size, its nominal budget in tokens, and D in whole batches."""

    size: Size
    budget: int
    tokens: float

    @property
    def flops(self) -> float:
        """C = 6ND."""
        return 6 * self.size.params * self.tokens


@dataclass(frozen=True)
class Added:
    """The runs to add, in the order in which they were chosen, and what is known with them."""

    cells: tuple[Cell, ...]
    runs: Runs
    precision: Precision | CannotTell

    @property
    def flops(self) -> float:
        """C = 6ND of the added runs together."""
        return sum(cell.flops for cell in self.cells)


def add(runs: Runs, cells: Sequence[Cell], flops: float, assumption: Assumption) -> Added:
    """Adds of `cells`, each at most as often as the design has seeds, all together for at most `flops`.

    Two greedy ways are gone, and the better end is taken: each time the run that adds most information on a for its
    cost, and each time the one that adds most. Where the runs cannot tell the exponents apart yet, the run that makes
    the interval narrowest comes first. Where no single one changes that, it is the one farthest from all others.
    """
    ends = [_greedy(runs, cells, flops, assumption, by_cost=by_cost) for by_cost in (True, False)]
    return min(ends, key=lambda end: end.precision.a if isinstance(end.precision, Precision) else np.inf)


def _greedy(runs: Runs, cells: Sequence[Cell], flops: float, assumption: Assumption, *, by_cost: bool) -> Added:
    chosen: list[Cell] = []
    left, now, most = flops, expected(runs, assumption), max(LEAST_SEEDS, runs.seeds)
    while len(chosen) < MOST_ADDED:
        affordable = [cell for cell in cells if cell.flops <= left and chosen.count(cell) < most]
        if not affordable:
            break
        tried = [(cell, _with(runs, cell)) for cell in affordable]
        judged = [(cell, more, expected(more, assumption)) for cell, more in tried]
        cell, runs, now = _best(judged, runs, now, by_cost=by_cost)
        chosen.append(cell)
        left -= cell.flops
    return Added(tuple(chosen), runs, now)


def _best(
    judged: list[tuple[Cell, Runs, Precision | CannotTell]], runs: Runs, now: Precision | CannotTell, *, by_cost: bool
) -> tuple[Cell, Runs, Precision | CannotTell]:
    known = [each for each in judged if isinstance(each[2], Precision)]
    if not known:
        return max(judged, key=lambda each: _distance(each[0], runs))
    if isinstance(now, CannotTell):
        return min(known, key=lambda each: each[2].a)
    # Information is what runs add up to, so its growth is what is compared.
    return max(known, key=lambda each: (each[2].a ** -2 - now.a**-2) / (each[0].flops if by_cost else 1.0))


def _distance(cell: Cell, runs: Runs) -> float:
    """To the nearest run, in log N and log D."""
    return float(np.hypot(np.log(runs.params / cell.size.params), np.log(runs.tokens / cell.tokens)).min())


def _with(runs: Runs, cell: Cell) -> Runs:
    return runs.plus(Runs(np.array([cell.size.params]), np.array([cell.tokens]), np.ones(1)))
