import numpy as np
import pytest

from tests.analysis.designer.designs import ISOFLOP, ONE_SIZE, WIDE_GRID, grid
from vsweep.analysis.approaches.parametric import HOFFMANN
from vsweep.analysis.designer import figure, picture
from vsweep.analysis.designer.runs import Runs


@pytest.mark.parametrize("width", [40, 60, 80, 132])
@pytest.mark.parametrize("runs", [WIDE_GRID, ISOFLOP, ONE_SIZE, Runs.of([5.0], [100.0])])
def test_the_picture_fits_its_width(runs, width):
    lines = picture.draw(runs, width, HOFFMANN)
    assert max(map(len, lines[1:])) <= width
    assert all(line.isascii() for line in lines)


def test_every_run_is_drawn():
    field = "".join(line.partition("|")[2][:72] for line in picture.draw(WIDE_GRID, 100) if "|" in line)
    assert field.count("3") == len(WIDE_GRID.params)


def test_many_runs_in_a_place_are_one_sign():
    field = [line for line in picture.draw(grid([1e6], [1e8], 12), 80) if "|" in line]
    assert sum(line.count("#") for line in field) == 1


def test_lines_of_equal_compute_fall():
    """In every row the line lies left of where it is in the row below."""
    rows = [line.partition("|")[2] for line in picture.draw(grid([1e6, 1e7], [1e8, 1e9]), 80) if "|" in line]
    starts = [row.index(".") for row in rows[3:-3] if "." in row]
    assert len(starts) > 4
    assert picture.compute_levels(6e14, 6e16) == [1e15, 1e16]


def test_wide_ranges_have_few_lines():
    assert len(picture.compute_levels(1e3, 1e27)) <= picture.MOST_LINES


def test_the_figure_holds_the_runs():
    drawn = figure.drawing(ISOFLOP, "mine", HOFFMANN)
    np.testing.assert_array_equal(drawn.numbers["N"], ISOFLOP.params)
    assert drawn.numbers["runs"].sum() == ISOFLOP.number
    assert "40 runs" in drawn.caption
