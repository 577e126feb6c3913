"""`--terms`: a law of power terms in any columns, beside L(N, D) on the same points."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vsweep import analysis
from vsweep.analysis import commands
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.source import Convention, Refusal
from vsweep.analysis.report import exact_json
from vsweep.analysis.sections import base, law
from vsweep.analysis.sections.further_laws import power_terms

GEMSTONES = Path(__file__).parents[3] / "data" / "gemstones_hot_points.csv"
EXPONENTS = {"width": 0.6, "depth": 0.9, "D": 0.35}


def table() -> pd.DataFrame:
    """A law of width, depth and tokens, with 0.2 % noise."""
    grid = np.meshgrid([256, 512, 1024, 2048], [3, 8, 18, 40], np.geomspace(2e9, 4e11, 4))
    width, depth, tokens = (values.ravel() for values in grid)
    loss = 1.8 + 30 * width**-0.6 + 0.9 * depth**-0.9 + 2000 * tokens**-0.35
    noise = np.exp(0.002 * np.random.default_rng(0).standard_normal(len(loss)))
    columns = {"N": 12 * width**2 * depth, "D": tokens, "width": width, "depth": depth, "loss": loss * noise}
    return pd.DataFrame(columns)


def study(
    terms: tuple[str, ...], bootstrap: int = 0, frame: pd.DataFrame | None = None, columns: tuple = ()
) -> base.LossStudy:
    source = load(table() if frame is None else frame, columns=columns)
    return base.begin(source, Convention("loss", terms=power_terms.columns_of(source, terms)), bootstrap=bootstrap)


def test_planted_exponents_lie_in_their_intervals():
    found = study(("width", "depth", "D"), 60).result(power_terms.SECTION)
    for name, truth in EXPONENTS.items():
        known = found.uncertainty.ranges[f"exponent of {name}"]
        assert known.low < truth < known.high
        assert known.low < found.fitted.exponents[name] < known.high
    assert found.uncertainty.form == "90 % interval"
    assert found.parameters == 7


def test_objectives_of_both_laws_stand_side_by_side():
    # Every checkpoint is a point, as in the paper.
    asked = study(("width", "depth", "D"), frame=pd.read_csv(GEMSTONES), columns=("run=none",))
    found = asked.result(power_terms.SECTION)
    assert found.law_value == asked.result(law.SECTION).result.value
    assert found.fitted.value < 0.7 * found.law_value
    (sentence,) = [finding.text for finding in power_terms.SECTION.findings(asked, found)]
    assert f"Its objective is {found.fitted.value:.6g} with 7 parameters" in sentence
    assert f"L(N, D) reaches {found.law_value:.6g} with 5 parameters" in sentence


def test_terms_of_n_and_d_are_the_parametric_law():
    found = study(("N", "D")).result(power_terms.SECTION)
    assert found.fitted.value == pytest.approx(found.law_value, rel=1e-5)
    assert found.uncertainty is None


def test_nothing_is_said_without_terms():
    asked = study(())
    assert asked.result(power_terms.SECTION) is None
    assert power_terms.SECTION.to_json(asked, None) == {}


def test_a_column_that_tells_nothing_is_refused():
    one = study(("width", "depth"), frame=table().query("depth == 8")).result(power_terms.SECTION)
    assert isinstance(one, Refusal)
    assert "depth: a single value" in one.reason
    rising = study(("width", "up"), frame=table().assign(up=table()["loss"])).result(power_terms.SECTION)
    assert "does not fall with each of width, up" in rising.reason


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        (("widht", "D"), "no column 'widht' - it has N, D, C, .*did you mean width"),
        (("width", "width"), "one to 4 columns, each once"),
        (("N", "D", "C", "width", "depth"), "one to 4 columns"),
        (("name", "D"), "column name: not a number in rows 2, 3"),
        (("zero", "D"), "column zero: zero in rows 2, 3"),
        (("loss", "D"), "no column 'loss'"),
    ],
)
def test_bad_terms_are_named(terms, message):
    source = load(table().assign(name="x", zero=0))
    with pytest.raises(ValueError, match=f"terms: .*{message}"):
        power_terms.columns_of(source, terms)


def test_terms_of_one_variable_are_refused(tmp_path):
    frame = pd.DataFrame({"N": [1e6, 1e7, 1e8, 1e9], "loss": [5.0, 4.0, 3.5, 3.3]})
    with pytest.raises(ValueError, match="terms: the table has N only"):
        analysis.analyse(frame, tmp_path, terms=["N"])


def test_the_option_reaches_fits_and_report(tmp_path, capsys):
    path = tmp_path / "shapes.csv"
    table().to_csv(path, index=False)
    assert commands.analyse([str(path), "--terms", "width,depth,D", "--bootstrap", "20"]) == 0
    content = json.loads((tmp_path / "shapes-analysis" / "fits.json").read_text(encoding="utf-8"))
    found = content["losses"]["loss"]["power_terms"]
    assert found["columns"] == ["width", "depth", "D"]
    assert found["value"] < found["law_value"]
    assert found["ranges"]["exponent of depth"][0]["low"] < found["exponents"]["depth"]
    page = (tmp_path / "shapes-analysis" / "report.html").read_text(encoding="utf-8")
    assert "A sum of power terms" in page
    assert commands.analyse([str(path), "--terms", "widht"]) == 2
    assert "did you mean width?" in capsys.readouterr().err


def test_a_study_with_terms_survives_json():
    asked = study(("width", "depth", "D"), 20)
    found = asked.result(power_terms.SECTION)
    again = exact_json.loads(exact_json.dumps(asked)).results["power_terms"]
    assert again.fitted == found.fitted
    assert again.uncertainty == found.uncertainty
