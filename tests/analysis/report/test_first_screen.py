"""The first screen: one plain sentence, the numbers that matter, and a verdict that is no better than the sections'."""

import numpy as np
import pandas as pd
import pytest

from tests.analysis.planted import Planted
from tests.analysis.sections.text_study import write_text_study
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.source import Convention
from vsweep.analysis.report.first_screen import (
    BREAKS,
    CANNOT_TELL,
    DESCRIBES,
    MOST_WORDS,
    FirstScreen,
    _short,
    first_screen,
    to_json,
)
from vsweep.analysis.sections import study_loss
from vsweep.analysis.sections.base import LossStudy
from vsweep.analysis.sections.further_laws import kaplan


def study_of(table: pd.DataFrame) -> LossStudy:
    return study_loss(load(table), Convention("loss"), bootstrap=0)


def planted(params: np.ndarray, tokens: np.ndarray) -> pd.DataFrame:
    """Besiroglu et al.'s law over a grid."""
    n, d = (axis.ravel() for axis in np.meshgrid(params, tokens))
    return pd.DataFrame({"N": n, "D": d, "loss": 1.82 + 482 / n**0.348 + 2085 / d**0.366})


GRID = planted(np.geomspace(1e6, 1e8, 6), np.geomspace(1e8, 1e10, 5))


@pytest.fixture(scope="module")
def law() -> LossStudy:
    return study_of(GRID)


def screen_of(table: pd.DataFrame) -> FirstScreen:
    return first_screen([study_of(table)])


def test_a_planted_law_is_described(law):
    screen = first_screen([law])
    assert screen.trust.verdict == DESCRIBES
    assert screen.headline == (
        "One law describes these 30 runs: with ten times the compute, the best model is 3.3 x larger."
    )
    assert abs(screen.numbers[0].value - 0.366 / (0.348 + 0.366)) < 1e-3


def test_a_fall_breaks_the_law():
    table = GRID.assign(loss=np.where(GRID["D"] > 5e9, GRID["loss"] / 3, GRID["loss"]))
    screen = screen_of(table)
    assert screen.trust.verdict == BREAKS
    assert screen.headline.startswith("No single power law describes these 30 runs")


def test_two_sizes_cannot_tell():
    screen = screen_of(planted(np.array([1e6, 1e8]), np.geomspace(1e8, 1e10, 5)))
    assert screen.trust.verdict == CANNOT_TELL
    assert screen.trust.reasons[0].startswith("2 sizes only")


def test_seeds_lead_where_cells_are_few():
    rng = np.random.default_rng(0)
    rows = [(3e4, d, np.exp(0.1 * rng.standard_normal()), s) for d in (5e5, 1e6) for s in range(16)]
    screen = screen_of(pd.DataFrame(rows, columns=["N", "D", "loss", "seed"]))
    assert screen.section == "runs"
    assert screen.headline.startswith("Trained with 16 seeds, the same model ends at losses from")


def test_bowls_lead_where_a_setting_varies():
    rates = np.geomspace(1e-4, 1e-2, 5)
    table = pd.concat([GRID.assign(lr=lr, loss=GRID["loss"] + 0.1 * np.log(lr / 1e-3) ** 2) for lr in rates])
    screen = screen_of(table)
    assert screen.section == "hyperparameters"
    assert screen.headline.startswith("The best lr ")


def test_one_variable_has_its_own_sentence():
    sizes = np.geomspace(1e6, 1e9, 12)
    screen = screen_of(pd.DataFrame({"N": sizes, "loss": 1.8 + 482 / sizes**0.35}))
    assert screen.headline.startswith("Ten times N takes 55 % off the loss above its floor")


def test_one_variable_without_a_law_counts_its_values():
    screen = screen_of(pd.DataFrame({"N": [1e6, 2e6, 4e6], "loss": [3.0, 2.9, 2.8]}))
    assert [number.label for number in screen.numbers] == ["runs used", "distinct values of N"]
    assert screen.trust.reasons == ("no law was fitted: 3 distinct N, 4 are needed",)


def test_no_usable_run_gives_no_number_of_a_law():
    source = load(GRID)
    empty = source.runs.assign(loss=np.nan)
    study = study_loss(type(source)(source.path, False, empty, None), Convention("loss"), bootstrap=0)
    screen = first_screen([study])
    assert screen.trust.verdict == CANNOT_TELL
    assert [number.label for number in screen.numbers] == ["runs", "finished"]


def test_a_headline_is_short(law):
    assert _short(" word" * (MOST_WORDS + 1), "Short enough.") == "Short enough."
    assert len(first_screen([law]).headline.split()) <= MOST_WORDS


def test_its_numbers_are_those_of_fits_json(law):
    shown = to_json(first_screen([law]))["first_screen"]
    assert shown["trust"] == {"verdict": DESCRIBES, "reasons": shown["trust"]["reasons"]}
    assert [number["label"] for number in shown["numbers"]][:3] == [
        "exponent a of the best size, N ~ C^a",
        "tokens per parameter at the optimum",
        "loss at the optimum",
    ]


def test_equal_budgets_of_text_lead_with_the_curves(tmp_path):
    """Kaplan's study: no joint law can be fitted, and the line under the curves is what was measured."""
    workdir = write_text_study(tmp_path, Planted(budgets=(1_000_000,)))
    study = study_loss(load(workdir), Convention("val_loss"), bootstrap=0)
    screen, line = first_screen([study]), study.result(kaplan.SECTION).line
    assert screen.section == kaplan.SECTION.name
    assert screen.trust.verdict == CANNOT_TELL
    assert f"to the power {-line.a:.3f}" in screen.headline
    assert screen.numbers[0].value == -line.a
