"""The critical batch size on planted curves that follow its equations, and on curves that do not."""

import numpy as np
import pandas as pd
import pytest

from vsweep.analysis.approaches import critical_batch
from vsweep.analysis.approaches.critical_batch import CriticalBatch, MinimalCompute
from vsweep.analysis.data.source import Refusal

# Of the size of Kaplan's, table 2 and section 5, scaled to models of 1e5 to 1e7 parameters.
ALPHA_N, ALPHA_S, ALPHA_B = 0.08, 0.6, 0.21
N_C, S_C, B_STAR = 3e12, 3e2, 3e7
SLOPE = -1 / (1 / ALPHA_S + 1 / ALPHA_B + 1 / ALPHA_N)  # Kaplan et al. 2020, eq. 6.4
BATCHES = (4_000, 16_000, 64_000, 256_000, 1_024_000)
SIZES = np.geomspace(1e5, 3e7, 12)


def critical_at(loss):
    return B_STAR * loss ** (-1 / ALPHA_B)


def curve(size: float, batch: float, *, last=2e5, noise: float = 0.0, steps_at=None, seed: int = 0) -> pd.DataFrame:
    """L(N, S_min) = (N_c / N)^alpha_N + (S_c / S_min)^alpha_S, with S = S_min (1 + B_crit(L) / B)."""
    s_min = np.geomspace(20, last, 80)
    loss = (N_C / size) ** ALPHA_N + (S_C / s_min) ** ALPHA_S
    steps = s_min * (1 + critical_at(loss) / batch) if steps_at is None else steps_at(loss, s_min, batch)
    tokens = steps * batch
    loss = loss * np.exp(noise * np.random.default_rng(seed).standard_normal(80))
    table = {"run_id": f"n{size:g}-b{batch:g}-s{seed}", "size": size, "steps": steps, "tokens": tokens, "loss": loss}
    minimal = 6 * size * s_min * critical_at((N_C / size) ** ALPHA_N + (S_C / s_min) ** ALPHA_S)
    return pd.DataFrame(table).assign(flops=6 * size * tokens, planted=minimal)


def study(**how) -> pd.DataFrame:
    parts = [curve(1e6, batch, last=5e3, seed=place, **how) for place, batch in enumerate(BATCHES)]
    return pd.concat(parts, ignore_index=True)


def all_sizes(batch: float = 64_000, noise: float = 0.0) -> pd.DataFrame:
    parts = [curve(size, batch, noise=noise, seed=100 + place) for place, size in enumerate(SIZES)]
    return pd.concat(parts, ignore_index=True)


def between_optima(curves: pd.DataFrame) -> pd.Series:
    """Where the best size is one of `SIZES`: L_N / L_S is alpha_S / alpha_N at the optimum (Kaplan, appendix B)."""
    ends = []
    for size in (SIZES[1], SIZES[-2]):
        of_n = (N_C / size) ** ALPHA_N
        of_s = of_n * ALPHA_N / ALPHA_S
        ends.append(6 * size * S_C * of_s ** (-1 / ALPHA_S) * critical_at(of_n + of_s))
    return curves["planted"].between(*ends)


def test_planted_critical_batches_are_recovered():
    critical = critical_batch.fit(study())
    assert isinstance(critical, CriticalBatch)
    assert critical.alpha_B == pytest.approx(ALPHA_B, rel=0.02)
    assert critical.levels["B_crit"].to_numpy() == pytest.approx(critical_at(critical.levels["loss"]), rel=0.02)
    assert critical.misfit_log < 0.01 < critical.rival_log
    assert critical.batches == pytest.approx(BATCHES)


def test_noise_of_evaluations_widens_and_does_not_mislead():
    critical = critical_batch.fit(study(noise=0.002))
    assert critical.alpha_B == pytest.approx(ALPHA_B, rel=0.25)
    assert critical.levels["B_crit"].to_numpy() == pytest.approx(critical_at(critical.levels["loss"]), rel=0.4)


def test_compute_below_the_critical_batch_is_all_compute():
    critical = CriticalBatch(B_STAR, ALPHA_B, pd.DataFrame(), BATCHES, 0.0, 1.0)
    loss = np.array([3.0, 3.0])
    batch = np.array([1e-6, critical_at(3.0)])
    assert critical.c_min(np.array([6.0, 6.0]), loss, batch) == pytest.approx([6.0, 3.0])


def test_the_planted_slope_of_minimal_compute_is_recovered():
    curves = all_sizes()
    minimal = critical_batch.minimal_compute(curves, between_optima(curves), study(), resamples=20)
    assert isinstance(minimal, MinimalCompute)
    assert -minimal.line.a == pytest.approx(SLOPE, rel=0.02)
    assert minimal.low <= -minimal.line.a <= minimal.high
    assert (minimal.curves["c_min"] < minimal.curves["flops"]).all()


def test_the_slope_no_longer_depends_on_the_batch_size():
    slopes = []
    for batch in (16_000, 256_000):
        curves = all_sizes(batch)
        slopes.append(critical_batch.minimal_compute(curves, between_optima(curves), study(), resamples=20).line.a)
    assert slopes[0] == pytest.approx(slopes[1], rel=0.02)


def test_one_batch_size_is_refused_with_the_reason():
    refusal = critical_batch.fit(curve(1e6, 64_000))
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "batch sizes do not vary at one model size; 4 are needed"


def test_losses_that_too_few_batches_reach_are_refused():
    curves = study()
    last = {run_id: place for place, run_id in enumerate(curves["run_id"].unique())}
    bands = [(6.0, 9.0), (5.0, 6.0), (4.5, 5.0), (4.0, 4.5), (3.0, 4.0)]
    low, high = (curves["run_id"].map(lambda run, side=side: bands[last[run]][side]) for side in (0, 1))
    refusal = critical_batch.fit(curves[curves["loss"].between(low, high)])
    assert isinstance(refusal, Refusal)
    assert "no loss is reached at 4 batch sizes" in refusal.reason


def test_tokens_as_a_power_of_the_batch_are_no_critical_batch():
    refusal = critical_batch.fit(study(steps_at=lambda loss, s_min, batch: s_min * batch**-0.7))
    assert isinstance(refusal, Refusal)


@pytest.mark.parametrize("power", [0.0, -1.0])
def test_curves_that_no_batch_size_bends_are_refused(power):
    refusal = critical_batch.fit(study(steps_at=lambda loss, s_min, batch: 1e3 * s_min * (batch / 1e5) ** power))
    assert isinstance(refusal, Refusal)
    assert "among the batch sizes" in refusal.reason or "cannot tell" in refusal.reason


def test_a_critical_batch_that_shrinks_cannot_be_told():
    def shrinking(loss, s_min, batch):
        return s_min * (1 + 3e3 * loss**2 / batch)

    refusal = critical_batch.fit(study(steps_at=shrinking))
    assert isinstance(refusal, Refusal)
    assert "does not grow as the loss falls" in refusal.reason
