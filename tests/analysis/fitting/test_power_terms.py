"""A sum of power terms in columns of any name: planted laws come back, bad input is named."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vsweep.analysis.approaches import parametric
from vsweep.analysis.fitting import power_terms

GEMSTONES = Path(__file__).parents[2] / "data" / "gemstones_hot_points.csv"
WIDTH, DEPTH, TOKENS = (
    values.ravel() for values in np.meshgrid([256, 512, 1024, 2048], [3, 8, 18, 40], np.geomspace(2e9, 4e11, 5))
)
COLUMNS = {"width": WIDTH, "depth": DEPTH, "tokens": TOKENS}
EXPONENTS = {"width": 0.6, "depth": 0.9, "tokens": 0.35}
LOSS = 1.8 + 30 * WIDTH**-0.6 + 0.9 * DEPTH**-0.9 + 2000 * TOKENS**-0.35


@pytest.mark.parametrize("floor", [None, 1.8])
def test_a_planted_law_of_three_terms_is_recovered(floor):
    found = power_terms.fit(COLUMNS, LOSS, floor=floor)
    assert pytest.approx(1.8, rel=1e-4) == found.E
    assert found.exponents == pytest.approx(EXPONENTS, rel=1e-3)
    assert found.factors == pytest.approx({"width": 30, "depth": 0.9, "tokens": 2000}, rel=1e-2)
    np.testing.assert_allclose(found.loss(COLUMNS), LOSS, rtol=1e-5)
    assert found.describe().count("/") == 3


def test_noise_moves_planted_exponents_little():
    noise = np.exp(0.003 * np.random.default_rng(0).standard_normal(len(LOSS)))
    found = power_terms.fit(COLUMNS, LOSS * noise)
    assert found.exponents == pytest.approx(EXPONENTS, rel=0.2)
    assert found.rms_log < 0.004


def test_two_terms_are_the_law_of_chinchilla():
    points = pd.read_csv(GEMSTONES)
    columns = [points[name].to_numpy(float) for name in ("N", "D", "loss")]
    law = parametric.fit(*columns)
    found = power_terms.fit({"N": columns[0], "D": columns[1]}, columns[2])
    assert found.value == pytest.approx(law.value, rel=1e-6)
    assert found.exponents == pytest.approx({"N": law.law.alpha, "D": law.law.beta}, rel=1e-2)


def test_width_and_depth_describe_gemstones_better_than_size():
    points = pd.read_csv(GEMSTONES)
    law = parametric.fit(points["N"], points["D"], points["loss"])
    found = power_terms.fit({name: points[name] for name in ("width", "depth", "D")}, points["loss"])
    assert found.value < 0.75 * law.value


def test_bad_columns_are_all_named():
    width = np.where(np.arange(len(WIDTH)) == 4, 0.0, WIDTH)
    with pytest.raises(ValueError, match=r"^width: zero or negative in row 4; the loss: not a number in row 2$"):
        power_terms.fit({"width": width}, np.where(np.arange(len(LOSS)) == 2, np.nan, LOSS))
    with pytest.raises(ValueError, match="points: 3 for 5 parameters; depth: a single value"):
        power_terms.fit({"width": [1.0, 2, 3], "depth": [4.0, 4, 4]}, [3.0, 2, 1])
    with pytest.raises(ValueError, match="columns: one term each - got 0; allowed 1 to 4"):
        power_terms.fit({}, LOSS)
