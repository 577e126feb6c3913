"""A table of some thousand rows: what is computed and drawn in another way says so, and means the same."""

import json

import pandas as pd
import pytest

from tests.analysis.planted import LARGE_LAW, large_table
from vsweep import analysis
from vsweep.analysis.pipeline import Result
from vsweep.analysis.sections import lines
from vsweep.analysis.sections.base import MOST_ROWS

SIZES, BUDGETS, SEEDS = 64, 12, 3
ROWS = SIZES * BUDGETS * SEEDS  # just enough for what is done in another way with more than 2,000


@pytest.fixture(scope="module")
def analysed(tmp_path_factory) -> Result:
    return analysis.analyse(large_table(SIZES, BUDGETS, SEEDS), tmp_path_factory.mktemp("large"), bootstrap=100)


@pytest.fixture(scope="module")
def fits(analysed) -> dict:
    return json.loads(analysed.fits.read_text(encoding="utf-8"))


def test_the_planted_law_is_recovered(fits):
    law = fits["losses"]["loss"]["parametric"]
    for name, planted in (("a", LARGE_LAW.a), ("alpha", LARGE_LAW.alpha), ("beta", LARGE_LAW.beta)):
        interval = law["ranges"][name][-1]
        assert interval["low"] - 0.003 < planted < interval["high"] + 0.003
        assert interval["high"] - interval["low"] < 0.02
        assert interval["fits"] == 100


def test_the_law_still_describes_its_runs(fits):
    assert fits["losses"]["loss"]["standing"]["verdict"] == "describes"


def test_the_report_says_how_it_resampled(analysed):
    page = analysed.report.read_text(encoding="utf-8")
    assert f"With {ROWS:,} points the 100 resamples of the parametric law are computed to first order" in page


def test_a_density_is_drawn_instead_of_dots(analysed):
    drawing = next(drawing for drawing in analysed.drawings if drawing.name == "loss_curves")
    numbers = pd.read_csv(analysed.out / "figures" / "loss_curves.csv")
    assert list(numbers.columns) == ["flops", "loss", "points"]
    assert numbers["points"].sum() == ROWS
    assert "density" in drawing.caption
    assert len(drawing.svg) < 300_000


def test_a_dozen_of_many_lines_is_judged(fits, analysed):
    judged = [line["axis"] for line in fits["losses"]["loss"]["lines"]]
    assert judged.count("N") == BUDGETS
    assert judged.count("D") == lines.JUDGED_LINES
    assert f"Of the {SIZES} lines against D, 12 are judged" in analysed.report.read_text(encoding="utf-8")


def test_a_dozen_of_many_lines_is_drawn(analysed):
    drawing = next(drawing for drawing in analysed.drawings if drawing.name == "loss_lines_loss")
    assert f"12 of {SIZES} lines against D are drawn" in drawing.caption
    assert [len(axes.lines) for axes in drawing.figure.axes[:2]] == [BUDGETS, 12]


def test_the_page_is_small_and_says_what_it_leaves_out(analysed):
    page = analysed.report.read_text(encoding="utf-8")
    assert len(page) < 2_000_000
    assert f"The first {MOST_ROWS:,} of {ROWS:,} rows are shown. All are in the table." in page
    assert page.count("<td>row ") == MOST_ROWS
