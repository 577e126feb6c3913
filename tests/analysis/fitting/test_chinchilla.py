"""Every law behind the one interface: its gradient, its recovery from planted points, weights, refits."""

import numpy as np
import pytest

from vsweep.analysis.approaches import parametric
from vsweep.analysis.fitting.alternative_laws import DataConstrained, Kaplan, PowerMean
from vsweep.analysis.fitting.chinchilla import Chinchilla, Data, Form
from vsweep.analysis.fitting.fit import Problem, fit_form
from vsweep.analysis.fitting.objective import ABSOLUTE, HUBER, LOG, LOSS, PENALTIES, RESIDUALS, SQUARED, Objective

GRID_N, GRID_D = (values.ravel() for values in np.meshgrid(np.geomspace(2e7, 2e9, 7), np.geomspace(4e8, 1e11, 8)))
UNIQUE = np.minimum(GRID_D, np.resize([1e9, 4e9, 1.6e10, 1e12], len(GRID_D)))

# theta of each form near its planted law, N and D counted from their means
NEAR = {
    Chinchilla(): (-0.6, -0.3, 0.34, 0.28),
    PowerMean(): (-0.6, -0.3, 0.34, 0.28, 0.5),
    Kaplan(): (0.6, 0.7, 0.08, 0.1),
    DataConstrained(): (-0.6, -0.3, 0.34, 0.28, np.log(12.0), np.log(5.0)),
}
E_SHARE = 0.7  # of the lowest loss: the last coordinate of theta where E is fitted
FORMS = pytest.mark.parametrize("form", NEAR, ids=lambda form: form.name)


def points(form: Form) -> Data:
    return Data.of(GRID_N, GRID_D, UNIQUE if isinstance(form, DataConstrained) else None)


def central_differences(problem: Problem, theta: np.ndarray, step: float = 1e-5) -> np.ndarray:
    moved = theta + step * np.eye(len(theta)), theta - step * np.eye(len(theta))
    up, down = (problem.value_and_gradient(rows)[0] for rows in moved)
    return (up - down) / (2 * step)


@FORMS
@pytest.mark.parametrize("residual", RESIDUALS)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("floor", [None, 0.0, 0.4])
def test_gradients_equal_central_differences(form, residual, penalty, floor):
    rng = np.random.default_rng(3)
    loss = rng.uniform(1.5, 4, len(GRID_N))
    objective = Objective(residual, penalty, delta=0.05, overestimate=3.0)
    problem = Problem(form, points(form), loss, rng.integers(0, 3, len(loss)).astype(float), floor, objective)
    theta = np.append(NEAR[form], [E_SHARE] * (floor is None))
    expected = central_differences(problem, theta)
    assert np.abs(expected).min() > 1e-3  # every parameter is felt
    np.testing.assert_allclose(problem.value_and_gradient(theta)[1], expected, rtol=2e-5)


@FORMS
def test_resample_gradient_ignores_its_neighbours(form):
    rng = np.random.default_rng(4)
    loss, weight = rng.uniform(1.5, 4, len(GRID_N)), rng.integers(0, 3, (3, len(GRID_N))).astype(float)
    theta = np.append(NEAR[form], E_SHARE) + 0.02 * rng.standard_normal((3, len(NEAR[form]) + 1))
    values, gradients = Problem(form, points(form), loss, weight, None, Objective()).value_and_gradient(theta)
    for row in range(3):
        alone = Problem(form, points(form), loss, weight[row], None, Objective()).value_and_gradient(theta[row])
        assert values[row] == pytest.approx(alone[0], rel=1e-12)
        np.testing.assert_allclose(gradients[row], alone[1], rtol=1e-11)


# The laws once more, from their papers and in their own units. Each gives the loss and the parameters to find.
def chinchilla(floor: float) -> tuple[np.ndarray, dict]:
    truth = {"A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
    return floor + 406.4 / GRID_N**0.34 + 410.7 / GRID_D**0.28, {"E": floor, **truth}


def power_mean(floor: float, p: float) -> tuple[np.ndarray, dict]:
    core = ((406.4 / GRID_N**0.34) ** p + (410.7 / GRID_D**0.28) ** p) ** (1 / p)
    return floor + core, {"E": floor, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28, "p": p}


def kaplan() -> tuple[np.ndarray, dict]:
    loss = ((8.8e13 / GRID_N) ** (0.076 / 0.095) + 5.4e13 / GRID_D) ** 0.095
    return loss, {"Nc": 8.8e13, "Dc": 5.4e13, "alpha_N": 0.076, "alpha_D": 0.095}


def data_constrained(floor: float) -> tuple[np.ndarray, dict]:
    """Muennighoff et al. 2023, equations 5 to 7."""
    a, b, alpha, beta, r_d, r_n = 521.0, 1488.0, 0.353, 0.32, 15.39, 5.31
    g = (alpha * a / (beta * b)) ** (1 / (alpha + beta))
    unique_n = np.minimum(GRID_N, g * (UNIQUE * g) ** (beta / alpha))
    repeats_d, repeats_n = GRID_D / UNIQUE - 1, GRID_N / unique_n - 1
    worth_n = unique_n + unique_n * r_n * (1 - np.exp(-repeats_n / r_n))
    worth_d = UNIQUE + UNIQUE * r_d * (1 - np.exp(-repeats_d / r_d))
    truth = {"E": floor, "A": a, "B": b, "alpha": alpha, "beta": beta, "R_D": r_d, "R_N": r_n}
    return floor + a / worth_n**alpha + b / worth_d**beta, truth


PLANTED = {
    "chinchilla": (Chinchilla(), *chinchilla(1.69), None),
    "chinchilla, E held": (Chinchilla(), *chinchilla(1.69), 1.69),
    "chinchilla, E = 0": (Chinchilla(), *chinchilla(0.0), 0.0),
    "power mean, p = 3": (PowerMean(), *power_mean(1.69, 3.0), None),
    "power mean, p = 1/2": (PowerMean(), *power_mean(1.69, 0.5), None),
    "power mean, E held": (PowerMean(), *power_mean(1.69, 2.0), 1.69),
    "power mean, E = 0": (PowerMean(), *power_mean(0.0, 2.0), 0.0),
    "kaplan": (Kaplan(), *kaplan(), 0.0),
    "data constrained, E held": (DataConstrained(), *data_constrained(1.87), 1.87),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_law_is_recovered(name):
    form, loss, truth, floor = PLANTED[name]
    found = fit_form(form, points(form), loss, floor=floor)
    assert found.value < 1e-12
    np.testing.assert_allclose(found.loss(*where(form)), loss, rtol=1e-6)
    assert {name: found.parameters[name] for name in truth} == pytest.approx(truth, rel=2e-3)


def where(form: Form) -> tuple[np.ndarray, ...]:
    return (GRID_N, GRID_D, UNIQUE) if isinstance(form, DataConstrained) else (GRID_N, GRID_D)


def test_worth_of_repeated_tokens_is_recovered():
    loss, truth = data_constrained(1.87)
    loss = loss * np.exp(1e-4 * np.random.default_rng(8).standard_normal(len(loss)))
    found = fit_form(DataConstrained(), points(DataConstrained()), loss, floor=None)
    assert {name: found.parameters[name] for name in truth} == pytest.approx(truth, rel=0.01)


@pytest.mark.parametrize("residual", RESIDUALS)
def test_squares_recover_a_planted_law(residual):
    loss, truth = chinchilla(1.69)
    found = fit_form(Chinchilla(), points(Chinchilla()), loss, floor=None, objective=Objective(residual, SQUARED))
    assert {name: found.parameters[name] for name in truth} == pytest.approx(truth, rel=2e-3)


@pytest.mark.parametrize("residual", RESIDUALS)
def test_absolute_values_ignore_wild_points(residual):
    loss, truth = chinchilla(1.69)
    loss[np.random.default_rng(9).choice(len(loss), len(loss) // 4, replace=False)] *= 1.3
    found = fit_form(Chinchilla(), points(Chinchilla()), loss, floor=None, objective=Objective(residual, ABSOLUTE))
    assert {name: found.parameters[name] for name in truth} == pytest.approx(truth, rel=1e-4)


def test_free_floor_is_zero_without_one():
    loss, truth = chinchilla(0.0)
    found = fit_form(Chinchilla(), points(Chinchilla()), loss, floor=None)
    assert found.parameters.pop("E") < 1e-6
    del truth["E"]
    assert {name: found.parameters[name] for name in truth} == pytest.approx(truth, rel=1e-3)


def test_other_points_are_predicted_in_fit_coordinates():
    loss, _ = power_mean(1.69, 2.0)
    found = fit_form(PowerMean(), points(PowerMean()), loss, floor=1.69)
    expected = 1.69 + ((406.4 / 7e10**0.34) ** 2 + (410.7 / 1.4e12**0.28) ** 2) ** (1 / 2)
    assert found.loss(np.array([7e10]), np.array([1.4e12]))[0] == pytest.approx(expected, rel=1e-5)


@pytest.fixture(scope="module")
def noisy() -> np.ndarray:
    """Losses of the planted Chinchilla law with 1 % noise."""
    return chinchilla(1.69)[0] * np.exp(0.01 * np.random.default_rng(5).standard_normal(len(GRID_N)))


def test_weights_count_points(noisy):
    weight = np.resize([1.0, 2.0, 0.0, 1.0, 3.0], len(noisy))
    rows = np.repeat(np.arange(len(noisy)), weight.astype(int))
    weighted = parametric.fit(GRID_N, GRID_D, noisy, weight=weight)
    repeated = parametric.fit(GRID_N[rows], GRID_D[rows], noisy[rows])
    assert weighted.value == pytest.approx(repeated.value, rel=1e-8)
    for name in ("E", "A", "B", "alpha", "beta"):
        assert getattr(weighted.law, name) == pytest.approx(getattr(repeated.law, name), rel=1e-4)


def test_a_wild_point_without_weight_changes_nothing(noisy):
    weight = np.ones(len(noisy))
    weight[11] = 0
    wild = noisy.copy()
    wild[11] *= 40
    calm, disturbed = (parametric.fit(GRID_N, GRID_D, loss, weight=weight) for loss in (noisy, wild))
    assert disturbed.value == pytest.approx(calm.value, rel=1e-8)
    assert pytest.approx(calm.law.E, rel=1e-5) == disturbed.law.E


@pytest.mark.parametrize(("overestimate", "share"), [(1.0, 0.5), (9.0, 0.1), (1 / 9, 0.9)])
def test_expensive_overestimate_gives_a_lower_bound(overestimate, share):
    """Where the penalty is linear the law is a quantile: 1 / (1 + overestimate) of the points lie below it."""
    rng = np.random.default_rng(6)
    params, tokens = np.exp(rng.uniform(np.log(2e7), np.log(2e9), 400)), np.exp(rng.uniform(20, 25, 400))
    loss = (1.69 + 406.4 / params**0.34 + 410.7 / tokens**0.28) * np.exp(0.02 * rng.standard_normal(400))
    objective = Objective(penalty=ABSOLUTE, overestimate=overestimate)
    law = parametric.fit(params, tokens, loss, objective=objective).law
    assert (law.loss(params, tokens) > loss).mean() == pytest.approx(share, abs=0.0126)  # 5 parameters of 400


def test_the_penalties_are_what_their_names_say():
    residual = np.array([-2.0, -0.5, 0.0, 0.5, 2.0])
    huber = [1.5, 0.125, 0.0, 0.125, 1.5]
    np.testing.assert_allclose(Objective(LOG, HUBER, delta=1.0).penalties(residual), huber)
    np.testing.assert_allclose(Objective(LOSS, SQUARED).penalties(residual), residual**2 / 2)
    np.testing.assert_allclose(Objective(LOSS, ABSOLUTE).penalties(residual), np.abs(residual))
    dear = Objective(LOG, HUBER, delta=1.0, overestimate=3.0).penalties(residual)
    np.testing.assert_allclose(dear, [1.5, 0.125, 0.0, 0.375, 4.5])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"penalty": "hubert"}, "penalty: unknown - got 'hubert'; allowed huber, squared, absolute"),
        ({"residual": "logs"}, "residual: unknown - got 'logs'; allowed log, loss"),
        ({"delta": 0.0}, "delta: a positive number - got 0.0"),
        ({"overestimate": float("nan")}, "overestimate: a positive number - got nan"),
    ],
)
def test_bad_objective_says_what_is_allowed(options, problem):
    with pytest.raises(ValueError, match=problem):
        Objective(**options)


# Each planted law with the floor that the fit is given; None fits it.
SCATTERED = {
    "chinchilla": (Chinchilla(), chinchilla(1.69)[0], None),
    "power mean": (PowerMean(), power_mean(1.69, 2.0)[0], None),
    "kaplan": (Kaplan(), kaplan()[0], 0.0),
    "data constrained": (DataConstrained(), data_constrained(1.87)[0], 1.87),
}


@pytest.mark.parametrize("name", SCATTERED)
def test_joint_refits_reach_single_fits(name):
    form, loss, floor = SCATTERED[name]
    rng = np.random.default_rng(7)
    loss = loss * np.exp(0.01 * rng.standard_normal(len(loss)))
    whole = fit_form(form, points(form), loss, floor=floor)
    resamples = 1 if form.name == "data_constrained" else 3  # its gradient is numerical, and slow
    draws = rng.integers(len(loss), size=(resamples, len(loss)))
    weight = np.stack([np.bincount(draw, minlength=len(loss)) for draw in draws])
    together = whole.refit(weight)
    assert together.theta.shape == (resamples, len(whole.theta))
    for row, value in zip(weight, together.value, strict=True):
        alone = fit_form(form, points(form), loss, floor=floor, weight=row)
        assert value == pytest.approx(alone.value, rel=1e-8)
