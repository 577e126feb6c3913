"""One-dimensional laws, plateaus, seeds, forecasts."""

import numpy as np
import pytest

from analysis import lines, study
from analysis.points import Convention, Refusal, load
from analysis.uncertainty import MIN_SEEDS_FOR_BLOCKS
from analysis.words import about_loss
from tests.analysis.planted import LAW


def test_a_power_law_with_an_offset_is_recovered():
    x = np.geomspace(1e3, 1e6, 12)
    offset, k, exponent = lines.fit_power(x, 0.7 + 30 * x**-0.5)
    assert (offset, k, exponent) == pytest.approx((0.7, 30, 0.5), rel=0.03)


def test_a_plateau_with_a_fall_is_found_and_a_power_law_has_none():
    x = np.array([1, 2, 4, 8, 16, 32], float)
    found = lines.find_plateau(x, np.array([1.17, 1.16, 1.15, 1.14, 0.7, 0.2]))
    assert (found.first_x, found.last_x) == (1, 8)
    assert (found.low, found.high) == (1.14, 1.17)
    assert (found.fall_from, found.fall_to) == (16, 32)
    assert found.fall_slope == pytest.approx(np.log(0.2 / 0.7) / np.log(2))
    assert lines.find_plateau(x, x**-0.3) is None
    assert lines.find_plateau(x, np.full(6, 1.15)) is None


def test_a_break_is_called_a_break_although_the_lines_are_smooth(broken_workdir):
    found = study.study_loss(load(broken_workdir), Convention("answer_loss"), bootstrap=0)
    assert any(line.holds is False for line in found.lines.along("D"))
    assert found.forecast.failed
    text = " ".join(about_loss(found))
    assert "no power law holds for" in text
    assert "a plateau, then a fall" in text
    assert "the forecast failed" in text
    assert "this law does not describe these runs" in text


def test_the_planted_law_has_no_break_and_its_forecast_holds(planted_workdir):
    found = study.study_loss(load(planted_workdir), Convention("excess_loss"), bootstrap=0)
    assert found.forecast.factor == pytest.approx(1, abs=1e-6)
    text = " ".join(about_loss(found))
    assert "the forecast held" in text
    assert "a plateau" not in text
    assert "no power law" not in text
    assert "they agree" in text


def test_the_seed_spread_is_that_of_the_worst_cell(broken_workdir):
    found = study.study_loss(load(broken_workdir), Convention("answer_loss"), bootstrap=0)
    table = load(broken_workdir).runs.groupby(["width", "budget"])["answer_loss"]
    assert found.cells["ratio"].max() == pytest.approx((table.max() / table.min()).max())


def test_few_seeds_give_a_spread_and_no_interval(broken_workdir):
    found = study.study_loss(load(broken_workdir), Convention("answer_loss"), bootstrap=20)
    assert len(found.points.seeds) < MIN_SEEDS_FOR_BLOCKS
    for approach in found.approaches:
        kinds = {entry.kind: entry.form for entry in approach.uncertainty}
        assert kinds.get("fits to single seeds", "min..max") == "min..max"
        assert "resampled seeds" not in kinds


def test_a_line_needs_four_values(planted_workdir):
    found = study.study_loss(load(planted_workdir), Convention("excess_loss"), bootstrap=0)
    budget = found.points.table["budget"].min()
    one_budget = lines.fit_lines(found.points.where(found.points.table["budget"] == budget))
    assert len(one_budget.along("N")) == 1
    assert not one_budget.along("D")
    assert one_budget.refused == (Refusal("loss against D", "no size with 4 values of D"),)
    # At one budget the planted law is a power of N above what that budget costs.
    assert one_budget.along("N")[0].exponent == pytest.approx(LAW.alpha, rel=0.05)
