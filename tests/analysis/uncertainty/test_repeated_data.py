"""The worth of repeated data, planted and found again with intervals that hold it."""

import numpy as np
import pandas as pd
import pytest

from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import Points, select
from vsweep.analysis.data.source import Convention, Refusal
from vsweep.analysis.report import fits_json
from vsweep.analysis.sections import base
from vsweep.analysis.sections.further_laws import repeated
from vsweep.analysis.uncertainty import repeated_data

N, D, U = (values.ravel() for values in np.meshgrid(np.geomspace(2e7, 2e9, 5), np.geomspace(4e8, 1e11, 6), [1e9, 8e9]))
UNIQUE = np.minimum(D, U)
R_D, R_N = 15.4, 5.3


def planted_loss() -> np.ndarray:
    """Muennighoff et al. 2023, equations 5 to 7, with 0.1 % noise."""
    a, b, alpha, beta = 521.0, 1488.0, 0.353, 0.32
    g = (alpha * a / (beta * b)) ** (1 / (alpha + beta))
    unique_n = np.minimum(N, g * (UNIQUE * g) ** (beta / alpha))
    worth_n = unique_n + unique_n * R_N * (1 - np.exp(-(N / unique_n - 1) / R_N))
    worth_d = UNIQUE + UNIQUE * R_D * (1 - np.exp(-(D / UNIQUE - 1) / R_D))
    noise = np.exp(1e-3 * np.random.default_rng(0).standard_normal(len(N)))
    return (1.87 + a / worth_n**alpha + b / worth_d**beta) * noise


def table(rows: slice = slice(None), unique: np.ndarray = UNIQUE) -> pd.DataFrame:
    return pd.DataFrame({"N": N, "D": D, "unique_tokens": unique, "loss": planted_loss()}).iloc[rows]


def points(rows: slice = slice(None), unique: np.ndarray = UNIQUE) -> Points:
    return select(load(table(rows, unique)), Convention("loss"))


def test_planted_worth_lies_in_its_interval():
    found = repeated_data.fit(points(), 40)
    assert found.values["R_D"] == pytest.approx(R_D, rel=0.1)
    assert found.values["R_N"] == pytest.approx(R_N, rel=0.3)
    assert found.uncertainty.ranges["R_D"].low < R_D < found.uncertainty.ranges["R_D"].high
    assert found.rms_log < 1.2e-3


def test_fresh_data_has_no_such_law():
    assert repeated_data.fit(points(unique=D), 0) is None


def test_too_few_points_are_refused():
    found = repeated_data.fit(points(slice(0, 60, 10)), 0)
    assert isinstance(found, Refusal)


def test_worth_of_repeats_is_reported():
    study = base.begin(load(table()), Convention("loss"), bootstrap=20)
    result = study.result(repeated.SECTION)
    sentence, worth = [finding.text for finding in repeated.SECTION.findings(study, result)]
    assert sentence.startswith("the law of repeated data has R_D* = 15.")
    assert "90 % interval" in sentence
    assert worth.startswith("up to 4.")
    content = fits_json.finite(repeated.SECTION.to_json(study, result))["repeated_data"]
    assert content["R_D"] == result.values["R_D"]
    assert content["ranges"]["R_N"][0]["low"] < content["R_N"]
    ((*_, last),) = [part.rows for part in repeated.SECTION.tables(study, result)]
    assert last[0] == "epochs at an average worth of 0.9"
