import numpy as np
import pytest

from tests.analysis.designer.designs import NARROW_GRID, ONE_SIZE
from vsweep.analysis.designer.additions import MOST_ADDED, Cell, add
from vsweep.analysis.designer.assumption import chinchilla
from vsweep.analysis.designer.precision import CannotTell, Precision, expected
from vsweep.analysis.designer.search import Size

CELLS = [
    Cell(Size(at, params), int(tokens), float(int(tokens)))
    for at, params in enumerate(np.geomspace(1e8, 1e10, 7))
    for tokens in np.geomspace(2e9, 2e11, 5)
]


@pytest.fixture
def assumed():
    return chinchilla(*NARROW_GRID.centre, floor_known=False, sd_log=0.003)


def test_additions_narrow_the_interval_and_keep_to_the_cost(assumed):
    before, flops = expected(NARROW_GRID, assumed), NARROW_GRID.flops / 2
    found = add(NARROW_GRID, CELLS, flops, assumed)
    assert found.flops <= flops
    assert found.runs.number == NARROW_GRID.number + len(found.cells)
    assert found.precision.a < before.a / 1.5
    assert found.precision.a == pytest.approx(expected(found.runs, assumed).a)


def test_no_single_run_of_its_cost_would_have_helped_more(assumed):
    one = min(CELLS, key=lambda cell: cell.flops)
    found = add(NARROW_GRID, CELLS, one.flops * 4, assumed)
    every = [add(NARROW_GRID, [cell], one.flops * 4, assumed) for cell in CELLS if cell.flops <= one.flops * 4]
    assert found.precision.a <= min(each.precision.a for each in every)


def test_a_cell_gets_no_more_runs_than_there_are_seeds(assumed):
    found = add(NARROW_GRID, CELLS, NARROW_GRID.flops, assumed)
    assert max(found.cells.count(cell) for cell in found.cells) <= NARROW_GRID.seeds
    assert len(found.cells) <= MOST_ADDED


def test_one_size_gets_others_until_it_can_tell(assumed):
    assert isinstance(expected(ONE_SIZE, assumed), CannotTell)
    found = add(ONE_SIZE, CELLS, ONE_SIZE.flops * 2, assumed)
    assert isinstance(found.precision, Precision)
    assert len({cell.size for cell in found.cells}) > 2


def test_nothing_is_added_for_too_little(assumed):
    assert add(NARROW_GRID, CELLS, 1.0, assumed).cells == ()
