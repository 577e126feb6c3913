"""Power law or broken power law: the forecast decides, and says so where it cannot."""

import re

import numpy as np
import pandas as pd
import pytest

from tests.analysis.conftest import CHINCHILLA
from vsweep.analysis.fitting.breaks import Curve, compare_one_variable, judge, winner

X = np.geomspace(1e3, 2e6, 12)


def power(x: np.ndarray) -> np.ndarray:
    return 0.5 + 20 * x**-0.4


def broken(x: np.ndarray) -> np.ndarray:
    return 1.5 * x**-0.05 * (1 + (x / 3e4) ** 2) ** -0.4


def noisy(law, count: int, noise: float) -> list[Curve]:
    rng = np.random.default_rng(1)
    return [Curve.of(X, law(X) * np.exp(noise * rng.standard_normal(len(X)))) for _ in range(count)]


@pytest.fixture(scope="module")
def addition() -> pd.DataFrame:
    return pd.read_csv(CHINCHILLA.parent / "four_digit_addition.csv")


def test_broken_law_predicts_four_digit_addition(addition):
    """Caballero et al. 2022: 2.14 to 2.00 up to 512 examples, then a fall to .56 at 928."""
    x, loss = addition["train_size"], addition["test_cross_entropy"]
    table = compare_one_variable(x, loss, held_out=addition["split"] == "extrapolate").set_index("law")
    assert list(table["wins"]) == [False, True]
    assert list(table["held_out_points"]) == [3, 3]
    assert list(table["parameters"]) == [3, 6]
    np.testing.assert_allclose(table["fitted_rms_log"], [0.1681, 0.000598], rtol=1e-3)
    np.testing.assert_allclose(table["held_out_rms_log"], [0.8054, 0.01114], rtol=1e-3)
    # The parameters are of the fit to all points.
    assert table.loc["broken", "values"]["d1"] == pytest.approx(607.6, abs=0.1)
    assert table.loc["power_offset", "values"]["E"] == 0
    assert compare_one_variable(x, loss, held_out=3).set_index("law").equals(table)


def test_default_holds_out_one_or_two_values():
    assert list(compare_one_variable(X, broken(X))["held_out_points"]) == [2, 2]
    assert list(compare_one_variable(X[:8], broken(X[:8]))["held_out_points"]) == [1, 1]
    repeated = np.repeat(X[:8], 3)  # three seeds
    assert list(compare_one_variable(repeated, broken(repeated))["held_out_points"]) == [3, 3]


def test_held_out_points_are_not_fitted():
    loss = broken(X) * np.exp(0.01 * np.random.default_rng(2).standard_normal(len(X)))
    doubled = loss * np.where(X[-3] < X, 2.0, 1.0)
    plain, other = (compare_one_variable(X, values) for values in (loss, doubled))
    np.testing.assert_allclose(other["fitted_rms_log"], plain["fitted_rms_log"], rtol=1e-9)
    np.testing.assert_allclose(other["held_out_mean_log"], plain["held_out_mean_log"] - np.log(2), rtol=1e-6)
    assert other["rms_log"][1] > 2 * plain["rms_log"][1]  # the fit to all points does see it


def test_break_is_found_and_luck_is_not():
    judged = judge(noisy(power, 25, 0.02))
    by_luck = [laws[1].held_out[-1].rms_log < laws[0].held_out[-1].rms_log for laws in judged]
    assert np.mean(by_luck) > 0.1  # that is why a difference must be larger than the noise
    assert all(winner(laws, 0.02) != "broken" for laws in judged)
    assert np.mean([winner(laws) == "broken" for laws in judged]) <= 0.05  # where nothing is known about the noise
    assert all(winner(laws, 0.02) == "broken" for laws in judge(noisy(broken, 10, 0.02)))


def test_short_curve_says_what_is_impossible():
    six, seven = (compare_one_variable(X[:n], power(X[:n])).set_index("law") for n in (6, 7))
    assert six.loc["broken", "note"] == "6 values of x cannot carry 6 parameters, 7 are needed"
    assert six.loc["broken", "values"] == {}
    assert seven.loc["broken", "note"] == (
        "no forecast: without the held-out points 6 values of x cannot carry 6 parameters, 7 are needed"
    )
    assert seven.loc["broken", "values"]
    for table in (six, seven):
        assert table.loc["power_offset", "held_out_rms_log"] < 1e-5
        assert not table["wins"].any()


def test_known_floor_is_kept():
    table = compare_one_variable(X, 1 + broken(X), floor=1.0).set_index("law")
    assert [values["E"] for values in table["values"]] == [1, 1]
    assert list(table["parameters"]) == [2, 5]
    assert table.loc["broken", "values"]["d1"] == pytest.approx(3e4, rel=1e-3)
    below = compare_one_variable(X, power(X), floor=0.6)
    assert set(below["note"]) == {f"{(power(X) <= 0.6).sum()} losses lie at or below E = 0.6"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": [1, 2, 0, 4]}, "x: positive numbers - got 1 of 4 that are not, first x[2] = 0"),
        ({"loss": [1, np.nan, -1, 2]}, "loss: positive numbers - got 2 of 4 that are not, first loss[1] = nan"),
        ({"loss": [1, 2, 3]}, "x and loss: shapes (4,) and (3,), must be [n] both"),
        ({"x": [2, 2, 2, 2]}, "x: 1 distinct values, a law against x needs several"),
        ({"held_out": 4}, "held_out: 1 to 3 of the 4 values of x - got 4"),
        ({"held_out": [False] * 4}, "held_out: a number, or a mask of shape (4,) true for some points, not all"),
        ({"held_out": [0, 0, 0, 1]}, "got int64 of shape (4,) with 1 true"),
        ({"floor": -1.0}, "floor: a number >= 0, or None to fit it - got -1.0"),
    ],
)
def test_a_bad_argument_is_named_with_its_value(change, message):
    arguments = {"x": [1, 2, 3, 4], "loss": [4, 3, 2, 1]} | change
    with pytest.raises(ValueError, match=re.escape(message)):
        compare_one_variable(**arguments)
