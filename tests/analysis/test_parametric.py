from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import parametric
from analysis.points import Refusal
from tests.analysis.planted import LAW

LAPTOP_RUNS = Path(__file__).parents[2] / "docs" / "laptop" / "runs.csv"
GRID_N, GRID_D = (values.ravel() for values in np.meshgrid(np.geomspace(1e3, 5e4, 6), np.geomspace(1e5, 2e6, 5)))


def fit_table(table, **options):
    return parametric.fit(table["N"], table["D"], table["loss"], floor_free=True, **options)


def test_the_240_chinchilla_points_give_the_published_fit_to_four_digits(chinchilla):
    fit = fit_table(chinchilla[:240])
    assert pytest.approx(477.83, abs=0.005) == fit.law.A
    assert pytest.approx(2143.4, abs=0.05) == fit.law.B
    assert pytest.approx(1.81722, abs=5e-6) == fit.law.E
    assert fit.law.alpha == pytest.approx(0.34731, abs=5e-6)
    assert fit.law.beta == pytest.approx(0.36717, abs=5e-6)
    assert fit.objective == pytest.approx(0.0010182740, abs=5e-11)
    assert fit.law.a == pytest.approx(0.514, abs=1e-3)


def test_all_245_chinchilla_points_give_the_recomputed_fit_to_four_digits(chinchilla):
    fit = fit_table(chinchilla)
    assert pytest.approx(495.73, abs=0.005) == fit.law.A
    assert pytest.approx(12845.6, abs=0.05) == fit.law.B
    assert pytest.approx(1.89134, abs=5e-6) == fit.law.E
    assert fit.law.alpha == pytest.approx(0.34931, abs=5e-6)
    assert fit.law.beta == pytest.approx(0.45305, abs=5e-6)
    assert fit.objective == pytest.approx(0.0018260105, abs=5e-11)


def test_resamples_fitted_together_equal_resamples_fitted_one_by_one(chinchilla):
    table = chinchilla[:240].sort_index().reset_index(drop=True)
    params, tokens, loss = (table[name].to_numpy() for name in ("N", "D", "loss"))
    law = fit_table(table).law
    draws = np.random.RandomState(42).choice(240, (6, 240))
    weight = np.stack([np.bincount(draw, minlength=240) for draw in draws])
    together = parametric.refit(params, tokens, loss, weight, law, floor_free=True)
    # The first resample of numpy.random.seed(42) is known from the replication's own procedure.
    assert pytest.approx(349.556, abs=5e-3) == together[0].law.A
    assert together[0].law.beta == pytest.approx(0.371855, abs=2e-6)
    for draw, fit in zip(draws, together, strict=True):
        alone = fit_table(table.iloc[draw])
        assert fit.law.alpha == pytest.approx(alone.law.alpha, abs=1e-5)
        assert fit.objective == pytest.approx(alone.objective, rel=1e-8)


def test_resamples_leave_the_basin_in_which_the_fit_to_all_points_has_no_floor():
    """On the laptop study's val_loss the whole fit has E = 0, and many a resample has not."""
    runs = pd.read_csv(LAPTOP_RUNS)
    params, tokens, loss = (runs[name].to_numpy(float) for name in ("params", "tokens", "val_loss"))
    whole = parametric.fit(params, tokens, loss, floor_free=True)
    draws = np.random.default_rng(0).integers(len(loss), size=(12, len(loss)))
    weight = np.stack([np.bincount(draw, minlength=len(loss)) for draw in draws])
    together = parametric.refit(params, tokens, loss, weight, whole.law, floor_free=True)
    alone = [parametric.fit(params[draw], tokens[draw], loss[draw], floor_free=True) for draw in draws]
    assert all(ours.objective <= theirs.objective * 1.0005 for ours, theirs in zip(together, alone, strict=True))
    assert any(ours.law.E > 0.1 for ours in together)


def test_the_constants_of_hoffmann_predict_their_loss():
    assert parametric.HOFFMANN.loss(5e7, 4.3e10) == pytest.approx(3.1028, abs=5e-5)


@pytest.mark.parametrize("floor", [0.0, 1.03])
def test_a_planted_law_is_recovered_with_the_floor_known_and_free(floor):
    fit = parametric.fit(GRID_N, GRID_D, floor + LAW.loss(GRID_N, GRID_D), floor_free=floor > 0)
    assert pytest.approx(floor, abs=1e-6) == fit.law.E
    assert pytest.approx(LAW.A, rel=1e-5) == fit.law.A
    assert pytest.approx(LAW.B, rel=1e-5) == fit.law.B
    assert (fit.law.alpha, fit.law.beta) == pytest.approx((LAW.alpha, LAW.beta), rel=1e-6)


def test_one_wild_point_hardly_moves_the_huber_fit():
    loss = LAW.loss(GRID_N, GRID_D)
    loss[7] *= 3
    fit = parametric.fit(GRID_N, GRID_D, loss, floor_free=False)
    assert fit.law.a == pytest.approx(LAW.a, abs=0.002)


def test_the_path_of_the_law_minimises_the_loss_at_its_compute():
    flops = 1e11
    params = LAW.params_opt(flops)
    best = LAW.loss(params, LAW.tokens_opt(flops))
    assert 6 * params * LAW.tokens_opt(flops) == pytest.approx(flops)
    for nearby in (0.9 * params, 1.1 * params):
        assert LAW.loss(nearby, flops / (6 * nearby)) > best


def test_the_numerical_path_equals_the_closed_form_where_flops_are_6nd():
    sizes = np.geomspace(1e3, 1e6, 8)
    flops = np.geomspace(1e10, 1e12, 5)
    params, tokens = parametric.optimal_path(LAW, flops, sizes, 6 * sizes)
    np.testing.assert_allclose(params, LAW.params_opt(flops), rtol=5e-3)
    np.testing.assert_allclose(tokens, LAW.tokens_opt(flops), rtol=5e-3)


@pytest.mark.parametrize(
    ("params", "tokens", "reason"),
    [
        ([1e3, 2e3, 3e3], [1e5, 3e5, 2e5], "3 distinct (N, D) for 4 parameters"),
        ([1e3, 2e3, 3e3] * 9, [1e5, 3e5, 2e5] * 9, "3 distinct (N, D) for 4 parameters"),
        ([1e3] * 5, [1e5, 2e5, 3e5, 4e5, 5e5], "a single N"),
        ([1e3, 2e3, 3e3, 4e3, 5e3], [1e5] * 5, "a single D"),
        ([1e3, 2e3, 3e3, 4e3, 5e3], [2e4, 4e4, 6e4, 8e4, 1e5], "collinear"),
    ],
)
def test_points_that_cannot_determine_the_law_are_refused_by_name(params, tokens, reason):
    params, tokens = np.array(params), np.array(tokens)
    fit = parametric.fit(params, tokens, LAW.loss(params, tokens), floor_free=False)
    assert isinstance(fit, Refusal)
    assert reason in fit.reason


def test_a_loss_that_rises_with_size_is_refused_and_not_reported_as_a_law():
    loss = 1e-3 * GRID_N**0.5 + 900 * GRID_D**-0.6
    fit = parametric.fit(GRID_N, GRID_D, loss, floor_free=False)
    assert isinstance(fit, Refusal)
    assert "no power law" in fit.reason
