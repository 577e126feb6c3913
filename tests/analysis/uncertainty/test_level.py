"""`--level`: the share that every interval covers, from the option to the planner."""

import json

import numpy as np
import pandas as pd
import pytest

from vsweep import analysis
from vsweep.analysis import commands
from vsweep.analysis.approaches.parametric import HOFFMANN
from vsweep.analysis.planner import read_fits
from vsweep.analysis.public import plan_from_law


def table() -> pd.DataFrame:
    params, tokens = (values.ravel() for values in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 5)))
    noise = np.exp(0.003 * np.random.default_rng(0).standard_normal(25))
    return pd.DataFrame({"N": params, "D": tokens, "loss": HOFFMANN.loss(params, tokens) * noise})


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return analysis.analyse(table(), tmp_path_factory.mktemp("level"), bootstrap=40, level=95)


def test_every_interval_says_its_level(result):
    text = result.fits.read_text(encoding="utf-8")
    content = json.loads(text)["losses"]["loss"]
    assert content["convention"]["level"] == 0.95
    assert content["parametric"]["ranges"]["a"][0]["form"] == "95 % interval"
    assert content["forecast"]["laws"][0]["level"] == 0.95
    assert "90 %" not in text
    report = result.report.read_text(encoding="utf-8")
    assert "95 % interval" in report
    assert "90 % interval" not in report


def test_a_plan_takes_the_level_of_its_fits(result):
    assert read_fits(result.fits).level == 0.95
    assert plan_from_law(result, 1e20).level == 0.95
    assert plan_from_law(result, 1e20, level=0.5).level == 0.5


def test_a_higher_level_is_wider(result, tmp_path):
    narrow = json.loads(analysis.analyse(table(), tmp_path, bootstrap=40, level=60).fits.read_text(encoding="utf-8"))
    wide = json.loads(result.fits.read_text(encoding="utf-8"))
    (a,), (b,) = (content["losses"]["loss"]["parametric"]["ranges"]["alpha"] for content in (narrow, wide))
    assert b["low"] < a["low"] < a["high"] < b["high"]
    assert narrow["losses"]["loss"]["standing"] == wide["losses"]["loss"]["standing"]


@pytest.mark.parametrize("level", [0.95, 49, 100, float("nan")])
def test_a_level_out_of_bounds_is_refused(level, tmp_path):
    with pytest.raises(ValueError, match=r"level: percent .*allowed 50 to 99.9"):
        analysis.analyse(table(), tmp_path, level=level)


def test_more_coverage_needs_more_resamples(tmp_path):
    with pytest.raises(ValueError, match=r"got 400; allowed 0, or 2000 and more for 99.9 % intervals"):
        analysis.analyse(table(), tmp_path, level=99.9)


def test_the_options_reach_the_analysis(tmp_path, capsys):
    path = tmp_path / "runs.csv"
    table().to_csv(path, index=False)
    options = ["--bootstrap", "0", "--level", "80", "--isoflop-window", "5", "--isoflop-weights"]
    assert commands.analyse([str(path), *options]) == 0
    content = json.loads((tmp_path / "runs-analysis" / "fits.json").read_text(encoding="utf-8"))
    convention = content["losses"]["loss"]["convention"]
    assert (convention["level"], convention["isoflop_window"], convention["isoflop_weights"]) == (0.8, 5.0, True)
    assert convention["text"].endswith("80 % intervals, IsoFLOP window 5, weighted IsoFLOP lines")
    capsys.readouterr()
    assert commands.analyse([str(path), "--isoflop-window", "1"]) == 2
    assert "isoflop_window: a factor of sizes above 1" in capsys.readouterr().err
