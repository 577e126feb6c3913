"""The power law with an offset and the broken one: gradients, recovery, Caballero's points, many curves at once."""

import numpy as np
import pandas as pd
import pytest

from tests.analysis.conftest import CHINCHILLA
from vsweep.analysis.fitting.chinchilla import Data
from vsweep.analysis.fitting.fit import Problem, fit_form
from vsweep.analysis.fitting.objective import HUBER, LOG, LOSS, SQUARED, Objective
from vsweep.analysis.fitting.one_variable import FORMS, OBJECTIVE, Broken, PowerOffset, fit_together

X = np.geomspace(1e3, 1e6, 12)
NEAR = {PowerOffset(): (0.3, 0.4), Broken(): (0.2, 0.1, 0.05, 3.0, np.log(0.3))}
EACH_FORM = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)


def power(x: np.ndarray) -> np.ndarray:
    return 0.7 + 30 * x**-0.5


def broken(x: np.ndarray, E: float = 0.2) -> np.ndarray:
    """Caballero et al. 2022, equation 1 with n = 1, as it is printed."""
    return E + 1.5 * x**-0.05 * (1 + (x / 3e4) ** (1 / 0.4)) ** (-0.8 * 0.4)


BROKEN = {"b": 1.5, "c0": 0.05, "c1": 0.8, "d1": 3e4, "f1": 0.4}


def data_of(x: np.ndarray) -> Data:
    return Data.of(x, np.ones_like(x))


@pytest.fixture(scope="module")
def addition() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training examples, loss, and which of them Caballero et al. fitted."""
    table = pd.read_csv(CHINCHILLA.parent / "four_digit_addition.csv")
    fitted = (table["split"] == "fit").to_numpy()
    return table["train_size"].to_numpy(float), table["test_cross_entropy"].to_numpy(), fitted


@EACH_FORM
@pytest.mark.parametrize("residual", [LOG, LOSS])
@pytest.mark.parametrize("penalty", [SQUARED, HUBER])
@pytest.mark.parametrize("floor", [None, 0.0, 0.3])
def test_gradients_equal_central_differences(form, residual, penalty, floor):
    rng = np.random.default_rng(3)
    loss, weight = rng.uniform(1, 3, len(X)), rng.integers(0, 3, len(X)).astype(float)
    problem = Problem(form, data_of(X), loss, weight, floor, Objective(residual, penalty, delta=0.2))
    theta = np.append(NEAR[form], [0.4] * (floor is None))
    step = 1e-6 * np.eye(len(theta))
    up, down = (problem.value_and_gradient(rows)[0] for rows in (theta + step, theta - step))
    expected = (up - down) / 2e-6
    assert np.abs(expected).min() > 1e-3  # every parameter is felt
    np.testing.assert_allclose(problem.value_and_gradient(theta)[1], expected, rtol=1e-5)


@pytest.mark.parametrize("log_f", [-8.0, 2.0])
def test_bend_width_is_bounded(log_f):
    problem = Problem(Broken(), data_of(X), broken(X), np.ones(len(X)), None, OBJECTIVE)
    theta = np.array([*NEAR[Broken()][:4], log_f, 0.4])
    (value, gradient), (beyond, _) = (problem.value_and_gradient(at) for at in (theta, theta + np.eye(6)[4] * log_f))
    assert value == beyond
    assert gradient[4] == 0
    assert (gradient[[0, 1, 2, 3, 5]] != 0).all()


def test_planted_laws_are_recovered():
    found = fit_form(PowerOffset(), data_of(X), power(X), floor=None, objective=OBJECTIVE)
    assert found.parameters == pytest.approx({"E": 0.7, "k": 30, "c": 0.5}, rel=1e-4)
    for floor, truth in ((None, 0.2), (0.2, 0.2), (0.0, 0.0)):
        found = fit_form(Broken(), data_of(X), broken(X, truth), floor=floor, objective=OBJECTIVE)
        assert found.parameters == pytest.approx({"E": truth, **BROKEN}, rel=0.01)
    huber = fit_form(Broken(), data_of(X), broken(X), floor=None)
    assert huber.parameters == pytest.approx({"E": 0.2, **BROKEN}, rel=0.01)


def test_fit_equals_a_general_solver(addition):
    """5.011932e-6 and the parameters are of scipy's `least_squares` from 150 starts of its own."""
    x, loss, fitted = addition
    found = fit_form(Broken(), data_of(x[fitted]), loss[fitted], floor=None, objective=OBJECTIVE)
    assert 2 * found.value == pytest.approx(5.011932e-6, rel=1e-6)
    truth = {"E": 0.417, "b": 2.27369, "c0": 0.0551492, "c1": 5.69423, "d1": 612.803, "f1": 0.0592636}
    assert found.parameters == pytest.approx(truth, rel=5e-4)
    assert found.problem.form.describe(found.theta, found.problem.data)["d1"] == pytest.approx(612.803, rel=1e-5)


def test_break_is_independent_of_units(addition):
    """The surface is ill-conditioned: a descent that stalls, or leans on a scale of the data, would end higher."""
    x, loss, fitted = addition
    curves = [(a * x[fitted], b * loss[fitted]) for a in (1e-3, 1.0, 1e9) for b in (1e-2, 1.0, 1e3)]
    values = [2 * found.value for found in fit_together(Broken(), curves)]
    np.testing.assert_allclose(values, 5.011932e-6, rtol=1e-6)


@EACH_FORM
def test_joint_curves_equal_single_curves(form):
    rng = np.random.default_rng(5)
    curves = [
        (x, 10.0**scale * law(x) * np.exp(0.01 * rng.standard_normal(len(x))))
        for scale, (x, law) in enumerate([(X, power), (X[2:], broken), (X[::2], power), (2 * X[1:], broken)])
    ]
    curves = [curve for curve in curves if len(curve[0]) > len(form.parameters) + 1]
    for floor in (None, 0.0):
        together = fit_together(form, curves, floor=floor)
        for fitted, (x, loss) in zip(together, curves, strict=True):
            alone = fit_form(form, data_of(x), loss, floor=floor, objective=OBJECTIVE)
            assert fitted.value <= 1.001 * alone.value
            assert fitted.value == pytest.approx(OBJECTIVE.penalties(np.log(fitted.loss(x, x) / loss)).sum())


@EACH_FORM
def test_a_neighbour_changes_no_curve(form):
    curve = (X, broken(X) * np.exp(0.01 * np.random.default_rng(6).standard_normal(len(X))))
    longer = (np.geomspace(1, 1e9, 40), np.linspace(9, 1, 40))
    alone, beside = fit_together(form, [curve])[0], fit_together(form, [longer, curve])[1]
    np.testing.assert_allclose(beside.theta, alone.theta, rtol=1e-6)


@EACH_FORM
def test_units_change_only_factors_and_places(form):
    loss = broken(X) * np.exp(0.01 * np.random.default_rng(7).standard_normal(len(X)))
    plain, scaled = (fit_together(form, [curve])[0].parameters for curve in ((X, loss), (1e6 * X, 1e-3 * loss)))
    for name in {"c", "c0", "c1", "f1"} & set(plain):
        assert scaled[name] == pytest.approx(plain[name], rel=1e-3)
    assert scaled["E"] == pytest.approx(1e-3 * plain["E"], rel=1e-3, abs=1e-9)
    if form == Broken():
        assert scaled["d1"] == pytest.approx(1e6 * plain["d1"], rel=1e-3)


def test_vanishing_offset_is_exactly_zero():
    falling, rising = fit_together(PowerOffset(), [(X, 3 * X**-0.2), (X, 0.5 * X**0.1)])
    assert falling.parameters == pytest.approx({"E": 0, "k": 3, "c": 0.2}, rel=1e-6)
    assert falling.parameters["E"] == 0
    assert rising.parameters == pytest.approx({"E": 0, "k": 0.5, "c": -0.1}, rel=1e-6)


def test_a_step_after_the_first_point_overflows_nothing():
    """The exponent that describes it best is infinite."""
    step = np.array([2.0, *np.ones(9)])
    for form in FORMS:
        found = fit_together(form, [(np.geomspace(1e6, 1e9, 10), step)])[0]
        assert np.isfinite(found.value)
        assert found.value < 1e-8
