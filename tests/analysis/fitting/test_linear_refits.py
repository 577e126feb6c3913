"""Refits to first order against full ones, and starts that are looked for among a selection of the points."""

import numpy as np
import pytest

from tests.analysis.planted import large_table
from vsweep.analysis.fitting.chinchilla import Chinchilla, Data
from vsweep.analysis.fitting.fit import MANY_POINTS, Problem, best_fit, best_refits, fit_form
from vsweep.analysis.fitting.linear_refits import expand
from vsweep.analysis.fitting.objective import ABSOLUTE, SQUARED, Objective

RESAMPLES = 40


def problem_of(sizes: int, budgets: int, objective: Objective, floor: float | None = None) -> Problem:
    table = large_table(sizes, budgets, seeds=1)
    loss = table["loss"].to_numpy() - (1.8 if floor == 0 else 0)
    return Problem(Chinchilla(), Data.of(table["N"], table["D"]), loss, np.ones(len(loss)), floor, objective)


def both_refits(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    theta, _ = best_fit(problem)
    count = len(problem.loss)
    weight = np.random.default_rng(1).multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(float)
    resampled = Problem(problem.form, problem.data, problem.loss, weight, problem.floor, problem.objective)
    return expand(problem, theta).refits(lambda values: weight @ values), best_refits(resampled, theta)[0]


@pytest.mark.parametrize("objective", [Objective(), Objective(penalty=SQUARED), Objective(penalty=ABSOLUTE)])
def test_linear_refits_scatter_as_full_ones_do(objective):
    linear, full = both_refits(problem_of(30, 25, objective))
    assert np.std(linear, axis=0) == pytest.approx(np.std(full, axis=0), rel=0.3)
    for one, other in zip(linear.T, full.T, strict=True):
        assert np.corrcoef(one, other)[0, 1] > 0.85


def test_linear_refits_of_least_squares_are_nearly_full_ones():
    linear, full = both_refits(problem_of(30, 25, Objective(penalty=SQUARED), floor=0.0))
    errors = np.sqrt(((linear - full) ** 2).mean(axis=0))
    assert (errors < 0.2 * np.std(full, axis=0)).all()


def test_unit_weights_give_the_fit_itself():
    problem = problem_of(10, 10, Objective())
    theta, _ = best_fit(problem)
    assert expand(problem, theta).refits(lambda values: values.sum(axis=0)[None])[0] == pytest.approx(theta)


def test_a_floor_below_zero_becomes_zero():
    problem = problem_of(10, 10, Objective(penalty=SQUARED))
    theta, _ = best_fit(problem)
    expansion = expand(problem, theta)
    pull = expansion.scores.sum(axis=0) + expansion.hessian @ np.array([0, 0, 0, 0, 2 * theta[-1]])
    moved = expansion.refits(lambda _: np.stack([pull, expansion.scores.sum(axis=0)]))
    assert moved[0, -1] == 0
    assert moved[1] == pytest.approx(theta)
    # The other four go to the lowest place of the quadratic form with E = 0.
    step = moved[0] - (theta - np.array([0, 0, 0, 0, 2 * theta[-1]]))
    assert expansion.hessian[:-1] @ step == pytest.approx(0, abs=1e-9 * np.abs(expansion.hessian).max())


@pytest.mark.parametrize("floor", [None, 0.0])
def test_many_points_have_the_optimum_of_a_full_search(floor, monkeypatch):
    problem = problem_of(50, 45, Objective(), floor)
    assert len(problem.loss) > MANY_POINTS
    theta, value = best_fit(problem)
    monkeypatch.setattr("vsweep.analysis.fitting.fit.MANY_POINTS", len(problem.loss))
    full_theta, full_value = best_fit(problem)
    assert value == pytest.approx(full_value, rel=1e-7)
    assert theta == pytest.approx(full_theta, rel=1e-3)


def test_many_points_on_a_plane_without_a_law_are_refused_or_fitted():
    table = large_table(50, 45, seeds=1)
    fitted = fit_form(Chinchilla(), Data.of(table["N"], table["D"]), np.full(len(table), 2.0), floor=None)
    assert fitted is None or np.abs(fitted.log_residuals).max() < 1e-3
