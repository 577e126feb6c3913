import numpy as np
import pytest

from tests.analysis.designer.designs import ONE_SIZE, WIDE_GRID, grid, isoflop
from vsweep.analysis.designer.runs import Runs


def test_equal_runs_are_counted_together():
    runs = Runs.of([1e6, 1e6, 2e6], [1e8, 1e8, 1e8])
    assert runs.counts.tolist() == [2, 1]
    assert runs.number == 3
    assert runs.flops == 6 * (2 * 1e14 + 2e14)


def test_a_larger_size_of_a_grid_has_its_budgets():
    more = WIDE_GRID.one_more_size(larger=True)
    added = more.tokens[more.params > 1.1e10]
    np.testing.assert_allclose(np.sort(added), np.geomspace(2e9, 2e11, 5))
    assert more.params.max() == pytest.approx(1e10 * 100**0.2)
    assert more.number == WIDE_GRID.number + 15


def test_a_smaller_size_of_an_isoflop_design_has_its_computes():
    levels = np.geomspace(1e13, 1e15, 4)
    more = isoflop(np.geomspace(1e5, 1e7, 5), levels).one_more_size(larger=False)
    added = more.params < 0.99e5
    np.testing.assert_allclose(np.sort(more.flops_each[added]), levels)


def test_a_level_may_lack_sizes():
    """As an IsoFLOP design that leaves out what is far from the optimum."""
    levels, sizes = np.geomspace(1e13, 1e15, 3), np.geomspace(1e5, 1e7, 5)
    cells = [(n, c / 6 / n) for at, n in enumerate(sizes) for level, c in enumerate(levels) if abs(at - level - 1) < 2]
    runs = Runs.of(*np.array(cells).T)
    added = runs.one_more_size(larger=True)
    new = added.params > 1.01e7
    np.testing.assert_allclose(added.flops_each[new], [1e15])


def test_a_size_of_a_fixed_ratio_keeps_it():
    sizes = np.geomspace(1e5, 1e7, 5)
    more = Runs.of(sizes, 20 * sizes).one_more_size(larger=True)
    np.testing.assert_allclose(more.tokens / more.params, 20)


def test_one_seed_more_adds_a_run_to_each_cell():
    more = WIDE_GRID.more_seeds()
    assert more.number == WIDE_GRID.number + len(WIDE_GRID.params)
    assert more.seeds == 4


def test_a_second_size_is_twice_the_first():
    assert ONE_SIZE.one_more_size(larger=True).params.max() == 2e9


def test_the_centre_lies_between_the_ends():
    assert grid([1e6, 2e6, 1e8], [1e9, 1e11]).centre == pytest.approx((1e7, 1e10))
