"""Numbers that others published, and that a fit of their own points must give to the digits printed there."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from tests.analysis.conftest import CHINCHILLA
from vsweep.analysis.approaches import parametric
from vsweep.analysis.approaches.parametric import Law
from vsweep.analysis.fitting.alternative_laws import DataConstrained
from vsweep.analysis.fitting.chinchilla import Data
from vsweep.analysis.fitting.fit import Problem
from vsweep.analysis.fitting.objective import ABSOLUTE, Objective

DATA = CHINCHILLA.parent
REFITS = 4000  # as the replication made


def fit_table(table: pd.DataFrame, **options) -> parametric.ParametricFit:
    return parametric.fit(table["N"], table["D"], table["loss"], **options)


def objective_of(law: Law, table: pd.DataFrame) -> float:
    residual = np.log(law.loss(table["N"], table["D"]) / table["loss"])
    return float(Objective().penalties(residual.to_numpy()).sum())


@pytest.fixture(scope="module")
def replication(chinchilla) -> pd.DataFrame:
    """The 240 points in the order of the file, which the draws of the replication refer to."""
    return chinchilla[:240].sort_index().reset_index(drop=True)


@pytest.fixture(scope="module")
def replicated_refits(replication) -> parametric.Refits:
    """The 4,000 resamples after `numpy.random.seed(42)`."""
    draws = np.random.RandomState(42).choice(240, (REFITS, 240))
    weight = np.stack([np.bincount(draw, minlength=240) for draw in draws])
    columns = (replication[name].to_numpy() for name in ("N", "D", "loss"))
    return parametric.refit(*columns, weight, fit_table(replication))


def test_240_chinchilla_points_give_the_recomputed_fit(replication):
    fit = fit_table(replication)
    assert pytest.approx(477.83, abs=0.005) == fit.law.A
    assert pytest.approx(2143.4, abs=0.05) == fit.law.B
    assert pytest.approx(1.81722, abs=5e-6) == fit.law.E
    assert fit.law.alpha == pytest.approx(0.34731, abs=5e-6)
    assert fit.law.beta == pytest.approx(0.36717, abs=5e-6)
    assert fit.value == pytest.approx(0.0010182740, abs=5e-11)
    assert fit.points == 240


def test_245_chinchilla_points_give_the_recomputed_fit(chinchilla):
    fit = fit_table(chinchilla)
    assert pytest.approx(495.73, abs=0.005) == fit.law.A
    assert pytest.approx(12845.6, abs=0.05) == fit.law.B
    assert pytest.approx(1.89134, abs=5e-6) == fit.law.E
    assert fit.law.alpha == pytest.approx(0.34931, abs=5e-6)
    assert fit.law.beta == pytest.approx(0.45305, abs=5e-6)
    assert fit.value == pytest.approx(0.0018260105, abs=5e-11)


def test_absolute_values_give_the_published_fit(replication):
    """Besiroglu et al. 2024, equation 2: what they print is where Huber's threshold goes to zero."""
    law = fit_table(replication, objective=Objective(penalty=ABSOLUTE)).law
    assert pytest.approx(482.01, rel=1e-4) == law.A
    assert pytest.approx(2085.43, rel=1e-4) == law.B
    assert pytest.approx(1.8169, abs=5e-5) == law.E
    assert law.alpha == pytest.approx(0.3478, abs=5e-5)
    assert law.beta == pytest.approx(0.3658, abs=1e-4)  # .36585 lies between two roundings
    assert law.a == pytest.approx(0.513, abs=5e-4)
    assert 0.001018644 < objective_of(law, replication) < 0.001018746


def test_published_constants_are_worse_by_rounding(replication):
    published = Law(E=1.8169, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658)
    lowest = fit_table(replication).value
    assert lowest < objective_of(published, replication) < 1.003 * lowest


def test_first_resample_equals_the_replications(replicated_refits):
    first = {name: getattr(replicated_refits.law, name)[0] for name in ("A", "B", "E", "alpha", "beta")}
    assert replicated_refits.rows[0] == 0
    assert first["A"] == pytest.approx(349.556, abs=5e-3)
    assert first["B"] == pytest.approx(2356.248, rel=2e-5)
    assert first["E"] == pytest.approx(1.79333, abs=5e-6)
    assert first["alpha"] == pytest.approx(0.328633, abs=2e-6)
    assert first["beta"] == pytest.approx(0.371855, abs=2e-6)


def test_4000_refits_give_the_published_errors(replicated_refits):
    """Besiroglu et al. 2024, table 1 and section 4; a as printed there, .513 with a standard error of .020."""
    law = replicated_refits.law
    assert replicated_refits.failed == 0
    published = {
        "A": (124.52, (285, 744)),
        "B": (1293.28, (1042, 5810)),
        "E": (0.0257, (1.769, 1.871)),
        "alpha": (0.0154, (0.317, 0.373)),
        "beta": (0.0206, (0.331, 0.415)),
    }
    for name, (standard_error, ends) in published.items():
        values = getattr(law, name)
        assert values.std(ddof=1) == pytest.approx(standard_error, rel=0.005), name
        assert np.quantile(values, [0.025, 0.975]) == pytest.approx(ends, rel=5e-3), name
    assert law.a.std(ddof=1) == pytest.approx(0.020, abs=5e-4)


def test_the_gemstones_give_their_published_fit():
    """McLeish et al. 2025 print an optimum of the same objective; its valley is flatter than their last digits."""
    table = pd.read_csv(DATA / "gemstones_hot_points.csv")
    fit = fit_table(table)
    assert len(table) == 220
    assert fit.value == pytest.approx(0.0019816129, abs=1e-10)
    published = Law(np.exp(0.762264), np.exp(5.36134), np.exp(15.41599), alpha=0.2928687, beta=0.7128722)
    assert fit.value <= objective_of(published, table) == pytest.approx(0.0019816129, abs=5e-11)
    assert (fit.law.alpha, fit.law.beta) == pytest.approx((published.alpha, published.beta), rel=3e-4)
    logs = (np.log(fit.law.A), np.log(fit.law.B), np.log(fit.law.E))
    assert logs == pytest.approx((5.36134, 15.41599, 0.762264), rel=3e-4)


# Muennighoff et al. 2023, appendix A: the constants of the law of unrepeated data, and what repetition is worth.
REPEATED = {"a": 6.255414, "b": 7.3049974, "e": 0.6254804, "alpha": 0.3526596, "beta": 0.3526596}
PUBLISHED_WORTH = (15.387756, 5.309743)  # R_D*, R_N*


@pytest.fixture(scope="module")
def repeated() -> Problem:
    table = pd.read_csv(DATA / "data_constrained_points.csv")
    data = Data.of(*(table[name].to_numpy(float) for name in ("N", "D", "unique_tokens")))
    loss = table["loss"].to_numpy()
    return Problem(DataConstrained(), data, loss, np.ones(len(loss)), np.exp(REPEATED["e"]), Objective())


def theta_of(problem: Problem, worth: np.ndarray) -> np.ndarray:
    """theta [..., 6] of the published constants with (R_D*, R_N*) [..., 2]."""
    alpha, beta, data = REPEATED["alpha"], REPEATED["beta"], problem.data
    centred = (REPEATED["a"] - alpha * data.x_mean, REPEATED["b"] - beta * data.y_mean, alpha, beta)
    worth = np.asarray(worth, float)
    return np.concatenate([np.broadcast_to(centred, (*worth.shape[:-1], 4)), np.log(worth)], axis=-1)


def test_repeated_data_law_has_published_scores(repeated):
    """The published objective was summed in single precision, the published R^2 is of the loss and not of its log."""
    theta = theta_of(repeated, PUBLISHED_WORTH)
    assert repeated.values(theta) == pytest.approx(0.0158259352580, abs=5e-13)
    assert repeated.values(theta) == pytest.approx(0.0158259366, rel=1e-6)
    loss = repeated.loss
    left = ((repeated.predict(theta) - loss) ** 2).sum() / ((loss - loss.mean()) ** 2).sum()
    assert 1 - left == pytest.approx(0.7722046, abs=5e-8)


@pytest.mark.parametrize(
    ("params", "tokens", "unique", "loss"),
    [(6.34e9, 242e9, 25e9, 2.2256440890), (8.67e9, 178e9, 25e9, 2.2269634075)],
)
def test_repeated_data_law_predicts_all_digits(repeated, params, tokens, unique, loss):
    where = repeated.data.other_points(np.array([params]), np.array([tokens]), np.array([unique]))
    assert repeated.predict(theta_of(repeated, PUBLISHED_WORTH), where)[0] == pytest.approx(loss, abs=5e-11)


def test_worth_of_repetition_is_hardly_determined(repeated):
    assert repeated.values(theta_of(repeated, (46.99, 2.33))) == pytest.approx(0.0158073787242, abs=5e-13)
    axes = np.meshgrid(np.geomspace(1, 1000, 30), np.geomspace(0.5, 50, 30))
    grid = np.stack([axis.ravel() for axis in axes], axis=-1)
    start = grid[repeated.values(theta_of(repeated, grid)).argmin()]
    options = {"xatol": 1e-7, "fatol": 1e-16}
    found = minimize(
        lambda logs: repeated.values(theta_of(repeated, np.exp(logs))),
        np.log(start),
        method="nelder-mead",
        options=options,
    )
    assert found.fun == pytest.approx(0.0158046624740, abs=1e-12)
    assert np.exp(found.x) == pytest.approx((95.365, 1.7059), rel=1e-3)
    assert found.fun > 0.998 * repeated.values(theta_of(repeated, PUBLISHED_WORTH))
