"""Designs of known quality, for tests."""

import numpy as np

from vsweep.analysis.designer.runs import Runs


def grid(sizes, budgets, seeds: int = 1) -> Runs:
    cells = [(n, d) for n in sizes for d in budgets for _ in range(seeds)]
    return Runs.of(*np.array(cells, float).T, seeds)


def isoflop(sizes, flops, seeds: int = 1) -> Runs:
    cells = [(n, c / 6 / n) for n in sizes for c in flops for _ in range(seeds)]
    return Runs.of(*np.array(cells, float).T, seeds)


WIDE_GRID = grid(np.geomspace(1e8, 1e10, 6), np.geomspace(2e9, 2e11, 5), 3)
NARROW_GRID = grid(np.geomspace(3e8, 3e9, 4), np.geomspace(5e9, 5e10, 3), 2)
ISOFLOP = isoflop(np.geomspace(2e8, 5e9, 5), np.geomspace(1.2e19, 1.2e21, 4), 2)
ONE_SIZE = grid([1e9], np.geomspace(2e9, 2e11, 8), 3)
TWO_SIZES = grid([5e8, 2e9], np.geomspace(5e9, 8e10, 5), 2)
ONE_RATIO = Runs.of(np.geomspace(1e8, 1e10, 8), 20 * np.geomspace(1e8, 1e10, 8))
