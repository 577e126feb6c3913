"""Tables with a loss and one of N, D and C: L(N), L(D) or L(C), with the care of a law of both."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vsweep import analysis
from vsweep.analysis import commands
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import Points, select
from vsweep.analysis.data.source import Convention, Refusal
from vsweep.analysis.planner import BadLaw, read_fits
from vsweep.analysis.public import compare
from vsweep.analysis.tables.foreign_tables import BadTable
from vsweep.analysis.uncertainty import one_variable
from vsweep.analysis.uncertainty.verdicts import DESCRIBES, DOUBTFUL, HELD, NOT_SHOWN

E, A, ALPHA = 1.8, 60.0, 0.3
X = np.geomspace(1e6, 1e9, 24)


def noise(scale: float, count: int = 24, seed: int = 0) -> np.ndarray:
    return np.exp(scale * np.random.default_rng(seed).standard_normal(count))


def table(variable: str = "N", scale: float = 0.002) -> pd.DataFrame:
    return pd.DataFrame({variable: X, "loss": (E + A * X**-ALPHA) * noise(scale, seed=3)})


def points(frame: pd.DataFrame, **options) -> Points:
    return select(load(frame), Convention("loss", **options))


def fitted(loss: np.ndarray, x: np.ndarray = X, count: int = 40):
    return one_variable.fit(points(pd.DataFrame({"N": x, "loss": loss})), "N", count)


@pytest.mark.parametrize("variable", ["N", "D", "C"])
def test_each_variable_has_its_planted_law(variable):
    found = one_variable.fit(points(table(variable)), variable, 100)
    assert found.values["alpha"] == pytest.approx(ALPHA, rel=0.1)
    for name, truth in {"E": E, "A": A, "alpha": ALPHA}.items():
        assert found.uncertainty.ranges[name].low < truth < found.uncertainty.ranges[name].high
    assert found.standing.verdict == DESCRIBES
    assert found.forecast.verdict.verdict == HELD
    assert found.forecast.cells == 6


def test_an_exact_law_comes_back_exactly():
    found = fitted(E + A * X**-ALPHA, count=0)
    assert found.values == pytest.approx({"E": E, "A": A, "alpha": ALPHA}, rel=1e-4)
    assert found.uncertainty is None
    np.testing.assert_allclose(found.loss(X), E + A * X**-ALPHA, rtol=1e-6)


def test_a_given_floor_is_held():
    found = one_variable.fit(points(table(), given_floor=1.7), "N", 0)
    assert found.values["E"] == 1.7


@pytest.mark.parametrize(
    ("loss", "verdict", "why"),
    [
        (3.0 * noise(0.02), NOT_SHOWN, "hardly matters"),
        ((E + A * X**-ALPHA) * noise(0.5), NOT_SHOWN, r"R\^2 is"),
        (np.where(X < 5e7, 3.0, 3.0 * (X / 5e7) ** -0.6) * noise(0.01), DOUBTFUL, ""),
        ((E + A * X**-ALPHA) * np.where(np.arange(24) % 8 == 0, 2.0, 1.0) * noise(0.002), DOUBTFUL, "far from the law"),
    ],
    ids=["constant", "noise", "plateau", "strays"],
)
def test_what_is_no_law_is_not_said_to_describe(loss, verdict, why):
    found = fitted(loss)
    if isinstance(found, Refusal):
        assert verdict == NOT_SHOWN
        return
    assert found.standing.verdict in (verdict, NOT_SHOWN)
    assert pd.Series([found.standing.why]).str.contains(why).all()


def test_a_law_from_few_values_is_not_trusted():
    assert "distinct N, 4 are needed" in fitted(E + A * X[:3] ** -ALPHA, X[:3]).reason
    assert "the loss is the same everywhere" in fitted(np.full(24, 3.0)).reason
    assert "does not fall" in fitted(1 + 1e-3 * X**0.3).reason
    few = fitted((E + A * X[::6] ** -ALPHA) * noise(0.002, 4), X[::6])
    assert isinstance(few.forecast, Refusal)
    near = fitted((E + A * X[:6] ** -ALPHA) * noise(0.002, 6), np.geomspace(1e6, 2e6, 6))
    assert near.standing.verdict != DESCRIBES


def test_seeds_are_one_cell():
    frame = pd.concat(
        pd.DataFrame({"N": X, "loss": (E + A * X**-ALPHA) * noise(0.01, seed=seed), "seed": seed}) for seed in range(3)
    )
    found = one_variable.fit(points(frame), "N", 40)
    assert found.noise_log == pytest.approx(0.01, rel=0.3)
    assert found.uncertainty.kind == "resampled cells"
    assert found.distinct == 24


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return analysis.analyse(table("D").assign(dataset="web"), tmp_path_factory.mktemp("one"), bootstrap=40, level=95)


def test_the_report_begins_with_the_law(result):
    assert str(result.findings[0]).startswith("L(D) = 1.")
    assert "The law describes these runs." in str(result.findings[0])
    assert "95 % interval" in str(result.findings[0])
    page = result.report.read_text(encoding="utf-8")
    assert "extrapolated, 10 x above the largest" in page
    assert "nothing is said of N and C." in page
    assert list(result.figures) == ["one_variable"]


def test_fits_json_has_the_law_and_names_the_rest(result):
    content = json.loads(result.fits.read_text(encoding="utf-8"))
    loss = content["losses"]["loss"]
    law = loss["one_variable"]
    assert law["variable"] == "D"
    assert law["ranges"]["alpha"][0]["form"] == "95 % interval"
    assert len(law["resamples"]["alpha"]) == 40
    assert law["forecast"]["verdict"] == "held"
    assert loss["range"] == {"tokens": pytest.approx([X[0], X[-1]])}
    refused = {entry["method"] for entry in content["refused"]}
    assert {"The parametric law", "IsoFLOP valleys"} <= refused
    assert all("the table has D only" in entry["reason"] for entry in content["refused"])


def test_no_plan_comes_from_one_variable(result, tmp_path):
    with pytest.raises(BadLaw, match="the table has D only; its law is in one_variable"):
        read_fits(result.fits)
    with pytest.raises(ValueError, match="has N only; a comparison needs two"):
        compare(table(), table())
    path = tmp_path / "one.csv"
    table().to_csv(path, index=False)
    assert commands.table([str(path), str(tmp_path / "out.csv")]) == 2


def test_the_terminal_shows_the_law(tmp_path: Path, capsys):
    path = tmp_path / "sizes.csv"
    table().to_csv(path, index=False)
    assert commands.analyse([str(path), "--bootstrap", "20"]) == 0
    said = capsys.readouterr().out
    assert "L(N) = 1." in said
    assert "The forecast held" in said


def test_a_column_that_may_be_another_is_asked_about():
    for name in ("my_tokens_count", "gpu_hours", "train_tokens_x"):
        with pytest.raises(BadTable, match="missing column D"):
            load(table().assign(**{name: X}))
