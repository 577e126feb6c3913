"""Downstream metrics of sweeps and tables: what is said, drawn, written and refused."""

import numpy as np
import pandas as pd
import pytest

from tests.analysis.planted import Planted, write_planted
from vsweep.analysis.approaches.downstream import sigmoid
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.source import Convention, Refusal
from vsweep.analysis.plotting import Drawing, save
from vsweep.analysis.report import exact_json, fits_json
from vsweep.analysis.sections.base import LossStudy, begin
from vsweep.analysis.sections.further_laws.downstream import SECTION

TRUTH = {"floor": 0.25, "ceiling": 0.85, "middle": 3.0, "slope": 4.0}


def study_of(source: object, loss: str = "loss") -> LossStudy:
    return begin(load(source), Convention(loss), bootstrap=0)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """36 runs with accuracies in percent, an error, an answer to one question, and a column out of range."""
    rng = np.random.default_rng(0)
    grid = [(n, d) for n in np.geomspace(2e7, 2.1e9, 6) for d in np.geomspace(4e8, 3.9e10, 6)]
    table = pd.DataFrame(grid, columns=["N", "D"])
    table["loss"] = (1.8 + 480 * table["N"] ** -0.35 + 2100 * table["D"] ** -0.37) * np.exp(
        0.003 * rng.standard_normal(len(table))
    )
    share = sigmoid({"loss": table["loss"]}, **TRUTH)
    return table.assign(
        hellaswag_acc=100 * share, top1_error=1 - share, riddle_acc=(share > 0.5).astype(float), odd_acc=3 * share
    )


@pytest.fixture(scope="module")
def study(frame) -> LossStudy:
    return study_of(frame)


def test_percentages_and_errors_give_one_answer(study):
    hellaswag, error, *_ = study.result(SECTION)
    assert hellaswag.sigmoid == pytest.approx(error.sigmoid, rel=1e-6)
    assert hellaswag.sigmoid == pytest.approx(TRUTH, rel=0.02)


def test_what_is_said_is_what_was_found(study):
    texts = [finding.text for finding in SECTION.findings(study, study.result(SECTION))]
    assert "hellaswag_acc was read as percent, because its values reach 81.32." in texts[0]
    assert "half of it at a loss of 3." in " ".join(texts)
    assert "The two steps predict better, by more than the scatter" in texts[2]


def test_what_is_no_metric_is_refused_by_name(study):
    reasons = {refusal.method: refusal.reason for refusal in SECTION.refusals(study, study.result(SECTION))}
    assert set(reasons) == {"downstream riddle_acc", "downstream odd_acc"}
    assert reasons["downstream riddle_acc"].startswith("all 36 values are 0 or 1")
    assert "column odd_acc: its values are" in reasons["downstream odd_acc"]


def test_fits_json_has_every_metric(study):
    content = fits_json.finite(SECTION.to_json(study, study.result(SECTION)))["downstream"]
    assert list(content) == ["hellaswag_acc", "top1_error", "riddle_acc", "odd_acc"]
    assert content["hellaswag_acc"]["better"] == "two steps"
    assert [len(way["accuracy"]) for way in content["hellaswag_acc"]["ways"]] == 4 * [
        content["hellaswag_acc"]["held_out"]
    ]
    assert "refused" in content["riddle_acc"]


def test_figures_show_held_out_runs(tmp_path, study):
    first, second = SECTION.figures(study, study.result(SECTION))
    assert [first.name, second.name] == ["downstream_hellaswag_acc", "downstream_top1_error"]
    runs = first.numbers[first.numbers["kind"] == "run"]
    assert runs["held_out"].sum() == (first.numbers["kind"] == "held-out cell").sum()
    assert isinstance(first, Drawing)
    save(first, tmp_path)
    assert (tmp_path / "downstream_hellaswag_acc.png").stat().st_size > 10_000


def test_a_result_crosses_processes_unchanged(study):
    result = study.result(SECTION)
    again = exact_json.loads(exact_json.dumps(result))
    pd.testing.assert_frame_equal(again[0].cells, result[0].cells)
    assert again[0].sigmoid == result[0].sigmoid
    assert again[2] == result[2]


def test_the_exact_match_of_a_sweep_is_asked(tmp_path):
    study = study_of(write_planted(tmp_path, Planted(noise=0.02, answer_share=2.0)), "answer_loss")
    (match,) = study.result(SECTION)
    assert match.metric == "exact_match"
    assert len(match.runs) == 90
    assert SECTION.refusals(study, (match,)) == []


def test_a_metric_that_rises_late_has_no_forecast(tmp_path, frame):
    study = study_of(frame[["N", "D", "loss"]].assign(acc=1 / (1 + np.exp(100 * (frame["loss"] - 2.33)))))
    result = study.result(SECTION)
    (refusal,) = SECTION.refusals(study, result)
    assert refusal.method == "downstream forecast of acc"
    (drawing,) = SECTION.figures(study, result)
    save(drawing, tmp_path)
    assert len(drawing.figure.axes) == 2  # one panel and its bar of colours
    assert SECTION.tables(study, result) == []


def test_a_table_without_a_metric_says_nothing(frame):
    study = study_of(frame[["N", "D", "loss"]])
    assert study.result(SECTION) == ()
    assert SECTION.to_json(study, ()) == {}


def test_all_zero_matches_are_refused(tmp_path, frame):
    study = study_of(frame[["N", "D", "loss"]].assign(exact_match=0.0))
    assert study.result(SECTION) == (Refusal("downstream exact_match", "all 36 values are 0"),)
