from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.analysis.planted import LAW
from vsweep.analysis.approaches import parametric
from vsweep.analysis.approaches.parametric import Law
from vsweep.analysis.data.source import Refusal

CASES = Path(__file__).parents[2] / "data" / "cases"
NO_FLOOR_RUNS = Path(__file__).parents[2] / "data" / "addition_without_floor.csv"
GRID_N, GRID_D = (values.ravel() for values in np.meshgrid(np.geomspace(1e3, 5e4, 6), np.geomspace(1e5, 2e6, 5)))


def counts(draws: np.ndarray) -> np.ndarray:
    """How often each resample [r, n] of row numbers holds each row."""
    return np.stack([np.bincount(draw, minlength=draws.shape[1]) for draw in draws])


def one_of(refits: parametric.Refits, at: int) -> Law:
    return Law(*(getattr(refits.law, name)[at] for name in ("E", "A", "B", "alpha", "beta")))


def objective_of(law: Law, fit: parametric.ParametricFit, columns: list[np.ndarray]) -> float:
    params, tokens, loss = columns
    return float(fit.objective.penalties(np.log(law.loss(params, tokens) / loss)).sum())


def test_joint_resamples_equal_single_resamples(chinchilla):
    table = chinchilla[:240].sort_index()
    columns = [table[name].to_numpy() for name in ("N", "D", "loss")]
    draws = np.random.RandomState(42).choice(240, (4, 240))
    whole = parametric.fit(*columns)
    together = parametric.refit(*columns, counts(draws), whole)
    assert (together.failed, list(together.rows)) == (0, [0, 1, 2, 3])
    for at, draw in enumerate(draws):
        drawn = [values[draw] for values in columns]
        alone, law = parametric.fit(*drawn), one_of(together, at)
        assert law.alpha == pytest.approx(alone.law.alpha, abs=1e-5)
        assert objective_of(law, whole, drawn) == pytest.approx(alone.value, rel=1e-8)


def test_resamples_leave_the_basin_without_floor():
    """On the val_loss of one addition study the whole fit has E = 0, and many a resample has not."""
    runs = pd.read_csv(NO_FLOOR_RUNS)
    columns = [runs[name].to_numpy(float) for name in ("params", "tokens", "val_loss")]
    whole = parametric.fit(*columns)
    draws = np.random.default_rng(0).integers(len(runs), size=(6, len(runs)))
    together = parametric.refit(*columns, counts(draws), whole)
    assert whole.law.E < 1e-6
    assert together.failed == 0
    for at, draw in enumerate(draws):
        drawn = [values[draw] for values in columns]
        assert objective_of(one_of(together, at), whole, drawn) <= parametric.fit(*drawn).value * 1.0005
    assert (together.law.E > 0.1).any()


def test_undetermined_resamples_are_counted():
    loss = LAW.loss(GRID_N, GRID_D) * np.exp(0.01 * np.random.default_rng(2).standard_normal(len(GRID_N)))
    whole = parametric.fit(GRID_N, GRID_D, loss, floor=0.0)
    weight = np.ones((4, len(loss)))
    weight[1, 3:] = 0  # three points
    weight[3, GRID_N > 2e3] = 0  # one size
    refits = parametric.refit(GRID_N, GRID_D, loss, weight, whole)
    assert (refits.failed, list(refits.rows)) == (2, [0, 2])
    assert refits.law.alpha.shape == (2,)


def test_refits_keep_the_given_floor():
    loss = 1.03 + LAW.loss(GRID_N, GRID_D)
    whole = parametric.fit(GRID_N, GRID_D, loss, floor=1.03)
    weight = np.random.default_rng(1).integers(0, 3, (5, len(loss))).astype(float)
    refits = parametric.refit(GRID_N, GRID_D, loss, weight, whole)
    assert set(refits.law.E) == {1.03}
    np.testing.assert_allclose(refits.law.B, LAW.B, rtol=1e-4)


def test_the_constants_of_hoffmann_predict_their_loss():
    assert parametric.HOFFMANN.loss(5e7, 4.3e10) == pytest.approx(3.1028, abs=5e-5)


def test_hoffmanns_rounded_constants_give_other_exponents():
    assert (parametric.HOFFMANN.a, parametric.HOFFMANN.b) == pytest.approx((0.4516, 0.5484), abs=5e-5)


@pytest.mark.parametrize(("floor", "given"), [(0.0, 0.0), (1.03, None), (1.03, 1.03)])
def test_planted_law_is_recovered_with_any_floor(floor, given):
    fit = parametric.fit(GRID_N, GRID_D, floor + LAW.loss(GRID_N, GRID_D), floor=given)
    assert fit.floor_free == (given is None)
    assert pytest.approx(floor, abs=1e-6) == fit.law.E
    assert pytest.approx(LAW.A, rel=1e-5) == fit.law.A
    assert pytest.approx(LAW.B, rel=1e-5) == fit.law.B
    assert (fit.law.alpha, fit.law.beta) == pytest.approx((LAW.alpha, LAW.beta), rel=1e-6)
    assert fit.r2_log == pytest.approx(1)


def test_one_wild_point_hardly_moves_the_huber_fit():
    loss = LAW.loss(GRID_N, GRID_D)
    loss[7] *= 3
    fit = parametric.fit(GRID_N, GRID_D, loss, floor=0.0)
    assert fit.law.a == pytest.approx(LAW.a, abs=0.002)


def test_path_minimises_the_loss():
    flops = 1e11
    params = LAW.params_opt(flops)
    best = LAW.loss(params, LAW.tokens_opt(flops))
    assert 6 * params * LAW.tokens_opt(flops) == pytest.approx(flops)
    for nearby in (0.9 * params, 1.1 * params):
        assert LAW.loss(nearby, flops / (6 * nearby)) > best


def test_numerical_path_equals_the_closed_form():
    sizes = np.geomspace(1e3, 1e6, 8)
    flops = np.geomspace(1e10, 1e12, 5)
    params, tokens = parametric.optimal_path(LAW, flops, sizes, 6 * sizes)
    np.testing.assert_allclose(params, LAW.params_opt(flops), rtol=5e-3)
    np.testing.assert_allclose(tokens, LAW.tokens_opt(flops), rtol=5e-3)


def test_joint_paths_equal_single_paths():
    sizes, flops = np.geomspace(1e3, 1e6, 8), np.geomspace(1e10, 1e12, 5)
    laws = Law(E=0.0, A=np.array([40.0, 60.0]), B=np.array([900.0, 500.0]), alpha=np.array([0.5, 0.4]), beta=0.6)
    params, tokens = parametric.optimal_path(laws, flops, sizes, 6 * sizes + 4e4)
    second = parametric.optimal_path(Law(0.0, 60.0, 500.0, 0.4, 0.6), flops, sizes, 6 * sizes + 4e4)
    np.testing.assert_allclose((params[1], tokens[1]), second, rtol=1e-12)
    assert params.shape == (2, 5)


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
def test_undetermined_points_are_refused_by_name(params, tokens, reason):
    params, tokens = np.array(params), np.array(tokens)
    fit = parametric.fit(params, tokens, LAW.loss(params, tokens), floor=0.0)
    assert isinstance(fit, Refusal)
    assert reason in fit.reason


def test_a_free_floor_needs_one_point_more():
    params, tokens = GRID_N[[0, 5, 13, 22]], GRID_D[[0, 5, 13, 22]]
    loss = LAW.loss(params, tokens)
    assert isinstance(parametric.fit(params, tokens, loss, floor=0.0), parametric.ParametricFit)
    assert parametric.fit(params, tokens, loss).reason == "4 distinct (N, D) for 5 parameters"


def test_losses_below_the_floor_are_refused_and_counted():
    loss = 1.0 + LAW.loss(GRID_N, GRID_D)
    floor = float(np.sort(loss)[2])
    assert parametric.fit(GRID_N, GRID_D, loss, floor=floor) == Refusal(
        "parametric", f"3 losses lie at or below the floor E = {floor:.6g}"
    )


def test_loss_rising_with_size_is_refused():
    loss = 1e-3 * GRID_N**0.5 + 900 * GRID_D**-0.6
    fit = parametric.fit(GRID_N, GRID_D, loss, floor=0.0)
    assert isinstance(fit, Refusal)
    assert "no power law" in fit.reason


def test_bad_values_are_all_named_with_rows():
    params, loss, weight = GRID_N.copy(), LAW.loss(GRID_N, GRID_D), np.ones(len(GRID_N))
    params[[3, 5]], params[7], loss[2], weight[4] = 0.0, np.inf, np.nan, -1.0
    with pytest.raises(ValueError, match="params") as error:
        parametric.fit(params, GRID_D, loss, weight=weight, floor=-1.0)
    assert str(error.value) == (
        "params: infinite in row 7; params: zero or negative in rows 3, 5; loss: not a number in row 2; "
        "weight: negative in row 4; floor: E is a loss, 0 or more - got -1.0"
    )


def test_many_bad_rows_are_counted():
    with pytest.raises(ValueError, match="loss: zero or negative in rows 0, 1, 2, 3, 4, 5, 6, 7 and 22 more"):
        parametric.fit(GRID_N, GRID_D, np.zeros(len(GRID_N)))


def test_columns_of_different_lengths_are_named():
    with pytest.raises(ValueError, match=r"params \(30,\), tokens \(29,\), loss \(30,\), weight \(30,\)"):
        parametric.fit(GRID_N, GRID_D[:-1], GRID_N)


def test_no_points_are_refused():
    assert parametric.fit([], [], []).reason == "no points"


def test_a_diverged_table_keeps_the_law_of_the_others():
    table = pd.read_csv(CASES / "diverged.csv")
    fit = parametric.fit(table["N"], table["D"], table["loss"])
    assert fit.law.a == pytest.approx(0.513, abs=0.01)
    assert {outlier.row for outlier in fit.outliers} == {20, 31}
    assert fit.scored_without
    assert (fit.scored, fit.r2_log > 0.999) == (34, True)


@pytest.mark.parametrize("stuck", [[31], [3, 20, 31, 34]])
def test_stuck_runs_are_outliers_of_the_law(stuck):
    table = pd.read_csv(CASES / "base.csv")
    loss = table["loss"].to_numpy(copy=True)
    loss[stuck] = 10.9
    fit = parametric.fit(table["N"], table["D"], loss)
    assert fit.law.a == pytest.approx(0.513, abs=0.01)
    assert sorted(outlier.row for outlier in fit.outliers) == stuck
    assert all(outlier.residual_log > 1 for outlier in fit.outliers)


def test_a_good_table_has_no_outliers():
    table = pd.read_csv(CASES / "base.csv")
    fit = parametric.fit(table["N"], table["D"], table["loss"])
    assert (fit.outliers, fit.scored_without) == ((), False)
    assert fit.law.a == pytest.approx(0.513, abs=0.01)


def test_noise_with_outliers_is_no_law():
    """Outliers may be forgiven only where the other points follow a law."""
    for seed in range(4):
        loss = 3 * np.exp(0.02 * np.random.default_rng(seed).standard_normal(len(GRID_N)))
        loss[[4, 17]] = 10.9
        assert isinstance(parametric.fit(GRID_N, GRID_D, loss), Refusal)
