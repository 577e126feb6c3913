"""Loss against N or D alone: the laws of each line, plateaus, breaks, seeds, forecasts."""

import numpy as np
import pandas as pd
import pytest

from tests.analysis.conftest import CHINCHILLA, MANY_BUDGETS
from tests.analysis.planted import LAW, Planted, broken, write_planted
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import select
from vsweep.analysis.data.source import Convention, Refusal
from vsweep.analysis.sections import findings_of, lines, optimum, study_loss
from vsweep.analysis.sections.base import LossStudy
from vsweep.analysis.sections.checks import forecast
from vsweep.analysis.uncertainty import verdicts
from vsweep.analysis.uncertainty.intervals import SEED_FITS


@pytest.fixture(scope="module")
def planted(planted_workdir) -> LossStudy:
    return study_loss(load(planted_workdir), Convention("excess_loss"), bootstrap=0)


@pytest.fixture(scope="module")
def with_a_break(broken_workdir) -> LossStudy:
    return study_loss(load(broken_workdir), Convention("answer_loss"), bootstrap=20)


@pytest.fixture(scope="module")
def long_lines(tmp_path_factory) -> lines.Lines:
    """The same break on lines of eleven budgets, at 3 % scatter."""
    budgets = tuple(MANY_BUDGETS[0] * 2**i for i in range(11))
    runs = Planted(widths=(16, 24, 32), budgets=budgets, noise=0.03, excess=broken)
    workdir = write_planted(tmp_path_factory.mktemp("long"), runs)
    return lines.fit_lines(select(load(workdir), Convention("answer_loss")))


def text_of(study: LossStudy) -> str:
    return " ".join(finding.text for finding in findings_of(study))


def table_of(loss: np.ndarray, tokens: np.ndarray) -> lines.Lines:
    """The lines of a table with one size and no seeds."""
    frame = pd.DataFrame({"N": 1e6, "D": tokens, "loss": loss})
    source = load(frame, columns={"N": "N", "D": "D"})  # whatever their magnitudes
    return lines.fit_lines(select(source, Convention("loss")))


def test_a_plateau_is_found_before_a_fall():
    x = np.array([1, 2, 4, 8, 16, 32], float)
    found = lines.find_plateau(x, np.array([1.17, 1.16, 1.15, 1.14, 0.7, 0.2]))
    assert (found.first_x, found.last_x) == (1, 8)
    assert (found.low, found.high) == (1.14, 1.17)
    assert (found.fall_from, found.fall_to) == (16, 32)
    assert found.fall_slope == pytest.approx(np.log(0.2 / 0.7) / np.log(2))
    assert lines.find_plateau(x, x**-0.3) is None
    assert lines.find_plateau(x, np.full(6, 1.15)) is None


def test_four_digit_addition_has_a_plateau():
    """Caballero et al. 2022: 2.14 at 160 examples, .56 at 928."""
    table = pd.read_csv(CHINCHILLA.parent / "four_digit_addition.csv")
    found = lines.find_plateau(table["train_size"].to_numpy(float), table["test_cross_entropy"].to_numpy())
    assert (found.first_x, found.last_x) == (160, 576)
    assert found.fall_slope < -3


def test_a_break_is_reported_on_smooth_lines(with_a_break):
    assert any(line.holds is False for line in with_a_break.result(lines.SECTION).along("D"))
    assert with_a_break.result(forecast.SECTION).judgement.verdict == verdicts.FAILED
    text = text_of(with_a_break)
    assert "no power law holds for" in text
    assert "a plateau, then a fall" in text
    assert "the forecast failed" in text
    assert "the law does not fit these runs" in text


def test_the_planted_law_has_no_break(planted):
    assert planted.result(forecast.SECTION).forecast.rms_log < 1e-6
    text = text_of(planted)
    assert "the forecast cannot be judged, because without resamples there are no prediction intervals" in text
    assert "a plateau" not in text
    assert "no power law" not in text
    assert "they agree" in text


def test_no_planted_line_prefers_a_break(planted, noisy_workdir):
    noisy = lines.fit_lines(select(load(noisy_workdir), Convention("excess_loss")))
    for found in (planted.result(lines.SECTION), noisy):
        assert len(found.lines) == 22
        assert all(law.held_out for line in found.lines for law in line.laws)
        assert [line for line in found.lines if line.broken] == []
    assert any(line.wins == "power_offset" for line in noisy.lines)


def test_on_long_lines_the_broken_law_wins(long_lines):
    for line in long_lines.along("D"):
        assert line.wins == line.broken.law == "broken"
        power, with_break = (law.held_out for law in line.laws)
        assert [forecast.points for forecast in with_break] == [1, 2]
        assert with_break[1].rms_log < 0.5 * power[1].rms_log
        # `broken` falls from `tokens_to_break` on.
        size = line.at / 12_000
        assert line.broken.values["d1"] == pytest.approx(4e5 * (size**-1.8 + 0.5 * size**0.4), rel=0.5)


def test_short_lines_cannot_carry_a_broken_law(with_a_break):
    for line in with_a_break.result(lines.SECTION).lines:
        power, with_break = line.laws
        assert power.held_out[0].mean_log == line.forecast_log
        assert with_break.note == f"{len(line.x)} values of x cannot carry 6 parameters, 7 are needed"
        assert not with_break.fitted
        assert line.wins is None
        assert line.broken is None


def test_one_size_without_seeds_has_both_laws():
    tokens = np.geomspace(1e6, 1e9, 16)
    found = table_of(2 * (1 + (tokens / 5e7) ** 2) ** -0.5, tokens)
    assert found.refused == (Refusal("loss against N", "no budget with 4 values of N"),)
    (line,) = found.lines
    assert [law.law for law in line.laws] == ["power_offset", "broken"]
    assert line.wins == "broken"
    assert [law.held_out[-1].points for law in line.laws] == [2, 2]
    # The slope goes from 0 to -1, half way at d1; E is free and vanishes.
    truth = {"E": 0, "b": 2, "c0": 0, "c1": 1, "d1": 5e7, "f1": 0.5}
    assert line.broken.values == pytest.approx(truth, rel=1e-3, abs=1e-4)


def test_kaplans_form_names_units_and_omits_zero():
    tokens = np.geomspace(1e6, 1e9, 6)
    line = table_of((5.4e13 / tokens) ** 0.095, tokens).at_largest("D")
    assert line.describe() == "L(D) = (5.4e+13 tokens / D)^0.095 at N = 1e+06 parameters"
    line = table_of(1.5 + (2e7 / tokens) ** 0.5, tokens).at_largest("D")
    assert line.describe() == "L(D) = 1.5 + (2e+07 tokens / D)^0.5 at N = 1e+06 parameters"
    rising = table_of(np.linspace(1.0, 1.5, 6), tokens).at_largest("D")
    assert rising.describe() == "L(D) does not fall at N = 1e+06 parameters"


def test_data_limits_the_largest_budget_least(planted):
    along_n = planted.result(lines.SECTION).at_largest("N")
    assert along_n.at == max(MANY_BUDGETS)
    assert along_n.exponent == pytest.approx(LAW.alpha, rel=0.01)
    assert along_n.offset == pytest.approx(LAW.B * along_n.at**-LAW.beta, rel=0.01)
    assert table_of(np.array([3.0, 2.0, 1.5, 1.25]), np.geomspace(1, 8, 4)).at_largest("N") is None


def test_the_seed_spread_is_the_worst_cells(with_a_break, broken_workdir):
    table = load(broken_workdir).runs.groupby(["width", "budget"])["answer_loss"]
    assert with_a_break.cells["ratio"].max() == pytest.approx((table.max() / table.min()).max())


def test_single_seed_fits_are_no_interval(with_a_break):
    entries = [entry for approach in optimum.approaches(with_a_break) for entry in approach.uncertainty]
    assert {entry.form for entry in entries if entry.kind == SEED_FITS} == {"min..max"}


def test_a_line_needs_four_values(planted):
    budgets = planted.points.table["budget"]
    one_budget = lines.fit_lines(planted.points.where(budgets == budgets.min()))
    assert len(one_budget.along("N")) == 1
    assert not one_budget.along("D")
    assert one_budget.refused == (Refusal("loss against D", "no size with 4 values of D"),)
    # At one budget the planted law is a power of N above what that budget costs.
    assert one_budget.along("N")[0].exponent == pytest.approx(LAW.alpha, rel=0.05)
