"""What other choices of the fit would have given: nothing else on a planted law, and much on a broken table."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vsweep.analysis.data.loading import load
from vsweep.analysis.data.source import Convention, Refusal
from vsweep.analysis.sections import base, sensitivity

CASES = Path(__file__).parents[3] / "data" / "cases"


def study(source: Path, loss: str = "loss") -> base.LossStudy:
    return base.begin(load(source), Convention(loss), bootstrap=0)


def test_choices_hardly_move_a_good_law():
    whole = study(CASES / "base.csv")
    own, *others = whole.result(sensitivity.SECTION)
    assert own.kind == "fit"
    assert [variant.points for variant in others if variant.kind == "runs"] == [30, 30, 30, 30]
    assert all(variant.a == pytest.approx(own.a, abs=0.01) for variant in others)
    (sentence,) = [finding.text for finding in sensitivity.SECTION.findings(whole, (own, *others))]
    assert sentence.startswith(
        "under 9 other choices of penalty, runs and convention the parametric law has a = 0.509 to"
    )


def test_a_threshold_far_below_the_residuals_is_named():
    table = pd.read_csv(CASES / "base.csv")
    table["loss"] *= np.exp(0.1 * np.random.default_rng(0).standard_normal(len(table)))
    loud = base.begin(load(table), Convention("loss"), bootstrap=0)
    sentences = [finding.text for finding in sensitivity.SECTION.findings(loud, loud.result(sensitivity.SECTION))]
    assert any("Huber's penalty acts as least absolute deviations" in sentence for sentence in sentences)


def test_squares_lose_the_law_of_a_diverged_table():
    whole = study(CASES / "diverged.csv")
    by_choice = {variant.choice: variant for variant in whole.result(sensitivity.SECTION)}
    assert by_choice["squared residuals"].a is None
    assert "no power law" in by_choice["squared residuals"].refusal
    assert by_choice["absolute residuals"].a == pytest.approx(0.513, abs=0.01)
    ((_, *rows),) = [table.rows for table in sensitivity.SECTION.tables(whole, whole.result(sensitivity.SECTION))]
    assert any(row[2].startswith("refused: ") for row in rows)


def test_a_sweep_is_also_asked_under_other_conventions(planted_workdir):
    whole = study(planted_workdir, "excess_loss")
    variants = whole.result(sensitivity.SECTION)
    conventions = [variant for variant in variants if variant.kind == "convention"]
    assert [variant.choice for variant in conventions] == [
        "N of all parameters, C counted",
        "N without embeddings, C = 6ND",
        "N without embeddings, C counted",
    ]
    assert all(variant.a == pytest.approx(0.6 / 1.1, abs=1e-3) for variant in variants if variant.kind != "convention")


def test_without_a_law_there_is_no_table(tmp_path):
    table = tmp_path / "one_size.csv"
    table.write_text("N,D,loss\n" + "".join(f"1e8,{d}e9,{3 - 0.1 * d}\n" for d in range(1, 9)))
    whole = study(table)
    assert whole.result(sensitivity.SECTION) == Refusal("sensitivity", "no parametric law was fitted")
    assert sensitivity.SECTION.to_json(whole, whole.result(sensitivity.SECTION)) == {
        "sensitivity": {"refused": "no parametric law was fitted"}
    }
