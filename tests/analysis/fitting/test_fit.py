from dataclasses import replace

import numpy as np
import pytest

from tests.analysis.planted import large_table
from vsweep.analysis.fitting import fit
from vsweep.analysis.fitting.chinchilla import Chinchilla, Data
from vsweep.analysis.fitting.fit import Problem, best_fit, keeping
from vsweep.analysis.fitting.objective import Objective


@pytest.fixture
def problem() -> Problem:
    params, tokens = (axis.ravel() for axis in np.meshgrid([1e4, 3e4, 1e5], [1e5, 1e6, 1e7]))
    loss = 40 * params**-0.5 + 900 * tokens**-0.6
    return Problem(Chinchilla(), Data.of(params, tokens), loss, np.ones(9), 0.0, Objective())


def test_equal_problems_are_fitted_once(problem, monkeypatch):
    made, best = [], fit._best_fit
    monkeypatch.setattr(fit, "_best_fit", lambda asked: made.append(asked) or best(asked))
    alone = best_fit(problem)
    with keeping():
        kept = [best_fit(replace(problem, loss=problem.loss.copy())) for _ in range(3)]
        assert len(made) == 2
        for name, value in {"floor": 0.01, "weight": np.arange(9.0), "objective": Objective(delta=0.1)}.items():
            best_fit(replace(problem, **{name: value}))
        best_fit(replace(problem, loss=np.nextafter(problem.loss, 1)))
        assert len(made) == 6
    best_fit(problem)
    assert len(made) == 7
    for theta, value in kept:
        assert (theta.tolist(), value) == (alone[0].tolist(), alone[1])


def test_refits_of_many_points_need_no_rounded_penalty(monkeypatch):
    table = large_table(30, 15)  # 2,250 points
    params, tokens, loss = (table[name].to_numpy(float) for name in ("N", "D", "loss"))
    whole = fit.fit_form(Chinchilla(), Data.of(params, tokens), loss, floor=None)
    weight = np.random.default_rng(0).multinomial(len(loss), np.full(len(loss), 1 / len(loss)), size=12)
    assert len(loss) > fit.MANY_POINTS
    short = whole.refit(weight)
    monkeypatch.setattr(fit, "MANY_POINTS", 10_000)
    long = whole.refit(weight)
    assert np.abs(short.theta - long.theta).max() < 1e-3 * long.theta.std(axis=0).min()
    assert short.value == pytest.approx(long.value, rel=1e-9)
    assert not np.array_equal(short.theta, long.theta)
