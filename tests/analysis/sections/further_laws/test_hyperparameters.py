"""The best setting of a sweep or a table: sentences, figures and numbers, and nothing where no setting varies."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.analysis.planted import Planted, write_planted, write_runs
from vsweep import tables
from vsweep.analysis.approaches import bowls
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.source import Convention, Refusal, Source
from vsweep.analysis.plotting import Drawing, save
from vsweep.analysis.report import exact_json, fits_json
from vsweep.analysis.sections.base import LossStudy, begin
from vsweep.analysis.sections.further_laws.hyperparameters import SECTION

LR_SWEEP = Path(__file__).parents[3] / "data" / "cases" / "lr_sweep.csv"
LRS = (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2)


def study_of(source: Source, loss: str = "loss", bootstrap: int = 100) -> LossStudy:
    return begin(source, Convention(loss), bootstrap=bootstrap)


def best_lr(params: float, tokens: float) -> float:
    return 5e-3 * (params / 12_000) ** -0.3 * (tokens / 5e5) ** 0.15


@pytest.fixture(scope="module")
def lr_workdir(tmp_path_factory) -> Path:
    """6 widths x 5 budgets x 2 seeds x 6 learning rates, whose best one is `best_lr`."""
    workdir = write_planted(tmp_path_factory.mktemp("lr"), Planted(seeds=(0, 1), noise=0.002))
    runs = tables.read_runs(workdir).astype(object).to_dict("records")
    swept = []
    for run in runs:
        for lr in LRS:
            factor = np.exp(0.05 * np.log(lr / best_lr(run["params"], run["tokens"])) ** 2)
            swept.append(
                {**run, "run_id": f"{run['run_id']}-lr{lr}", "lr": lr, "excess_loss": run["excess_loss"] * factor}
            )
    write_runs(workdir, swept)
    return workdir


def test_an_own_sweep_recovers_the_planted_law(lr_workdir):
    study = study_of(load(lr_workdir), "excess_loss")
    (lr,) = study.result(SECTION)
    assert lr.name == "lr"
    assert lr.law.exponents["x"] == pytest.approx(-0.3, abs=0.02)
    assert lr.law.exponents["y"] == pytest.approx(0.15, abs=0.02)
    assert set(lr.law.verdicts.values()) == {"moves"}
    assert lr.bowls.runs["seed"].nunique() == 2
    (sentence,) = [str(one) for one in SECTION.findings(study, (lr,)) if "the best lr is" in one.text]
    assert "It moves with N and D." in sentence


def test_other_sections_still_see_the_best_setting(lr_workdir):
    study = study_of(load(lr_workdir), "excess_loss")
    assert len(study.points.table) == 6 * 5 * 2
    assert len(study.result(SECTION)[0].bowls.runs) == 6 * 5 * 2 * len(LRS)


def test_a_table_without_dependence_is_not_said_to_have_one():
    study = study_of(load(LR_SWEEP))
    (lr,) = study.result(SECTION)
    assert set(lr.law.verdicts.values()) == {"not shown to move"}
    texts = [one.text for one in SECTION.findings(study, (lr,))]
    assert texts[0].startswith("lr has its lowest loss between the values that were tried in 36 of 36 cells.")
    assert texts[1].endswith("These runs do not show that it moves with N or D.")


def test_edges_are_named_in_a_sentence():
    frame = pd.read_csv(LR_SWEEP)
    frame = frame[(frame["lr"] <= 1e-3) | (frame["N"] > 2e7)]
    study = study_of(load(frame), bootstrap=0)
    (lr,) = study.result(SECTION)
    assert lr.bowls.minima["status"].value_counts()[bowls.EDGE_LARGE] == 6
    (text,) = [one.text for one in SECTION.findings(study, (lr,)) if bowls.EDGE_LARGE in one.text]
    assert "no minimum was fitted in 6 of 36 (edge: largest value): N = 20M at D = 400M," in text
    assert text.endswith("Try larger values there.")


def test_figures_have_their_numbers(tmp_path, lr_workdir):
    study = study_of(load(lr_workdir), "excess_loss", bootstrap=0)
    bowl, path = list(SECTION.figures(study, study.result(SECTION)))
    assert [bowl.name, path.name] == ["bowls_lr", "optimal_lr"]
    assert (bowl.numbers["kind"] == "run").sum() == 6 * 5 * 2 * len(LRS)
    np.testing.assert_allclose(path.numbers["law"], path.numbers["best"], rtol=0.1)
    for drawing in (bowl, path):
        assert isinstance(drawing, Drawing)
        save(drawing, tmp_path)
        assert (tmp_path / f"{drawing.name}.png").stat().st_size > 10_000


def test_fits_json_has_exponents_and_optima(lr_workdir):
    study = study_of(load(lr_workdir), "excess_loss")
    content = fits_json.finite(SECTION.to_json(study, study.result(SECTION)))["hyperparameters"]["lr"]
    assert content["ranges"]["x"][0]["low"] < -0.3 < content["ranges"]["x"][0]["high"]
    assert len(content["optima"]) == 30
    assert content["batch_column"] is None


def test_a_result_crosses_processes_unchanged(lr_workdir):
    result = study_of(load(lr_workdir), "excess_loss").result(SECTION)
    again = exact_json.loads(exact_json.dumps(result))
    pd.testing.assert_frame_equal(again[0].bowls.minima, result[0].bowls.minima)
    assert again[0].law == result[0].law


def test_nothing_is_said_where_no_setting_varies(planted_workdir):
    study = study_of(load(planted_workdir), "excess_loss")
    result = study.result(SECTION)
    assert result == ()
    assert SECTION.to_json(study, result) == {}
    assert SECTION.findings(study, result) == SECTION.refusals(study, result) == SECTION.tables(study, result) == []


def test_a_setting_without_bowls_is_a_refusal():
    frame = pd.read_csv(LR_SWEEP).query("lr == 0.001").assign(warmup=lambda rows: rows["D"] / 100)
    study = study_of(load(frame))
    result = study.result(SECTION)
    reason = "no cell has two values of warmup: it varies between cells only"
    assert SECTION.refusals(study, result) == [Refusal("optimal warmup", reason)]
    assert list(SECTION.figures(study, result)) == []
    assert SECTION.to_json(study, result) == {"hyperparameters": {"warmup": {"refused": reason}}}


def test_bowls_do_not_mix_new_and_repeated_data(lr_workdir, tmp_path):
    """Repeats raise the loss at the small learning rates alone: pooled with new data they would move the minimum."""
    runs = tables.read_runs(lr_workdir).astype(object).to_dict("records")
    repeated = [
        {**run, "run_id": f"{run['run_id']}-u", "unique_examples": 64, "excess_loss": run["excess_loss"] * 1.5}
        for run in runs
        if run["lr"] < LRS[3]
    ]
    write_runs(tmp_path, [*({**run, "unique_examples": 0} for run in runs), *repeated])
    (alone,) = study_of(load(lr_workdir), "excess_loss", bootstrap=0).result(SECTION)
    (lr,) = study_of(load(tmp_path), "excess_loss", bootstrap=0).result(SECTION)
    assert lr.name == "lr"
    assert np.allclose(lr.bowls.interior["best"], alone.bowls.interior["best"], rtol=0.02)
