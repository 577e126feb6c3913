import functools

import jax
import numpy as np
import optax
import pytest

from vsweep.config.fields import SCHEDULES
from vsweep.optim import schedules
from vsweep.plan.grid import cooldown_steps

PEAK = 5e-3


def rates(name: str, horizon: int, warmup_steps: int = 0) -> np.ndarray:
    """The learning rate of each update of a run, by the shape of the schedule that its config would give it."""
    schedule = schedules.unit_schedule(name, final_fraction=0.1)
    start = horizon - cooldown_steps(horizon, 0.2) if name == "wsd" else warmup_steps
    compiled = jax.jit(functools.partial(schedules.learning_rate, schedule))  # as in a step: all traced, all fused
    return np.array(
        compiled(
            peak=np.float32(PEAK),
            step=np.arange(horizon),
            horizon=horizon,
            warmup_steps=warmup_steps,
            decay_start=start,
        )
    )


def test_cosine_ends_at_a_tenth_of_the_peak():
    """Classic bug: alpha multiplied by the learning rate, so that it decays to next to nothing."""
    lr = rates("cosine", horizon=1000)
    assert lr[0] == pytest.approx(PEAK)
    assert lr[-1] == pytest.approx(0.1 * PEAK, rel=1e-3)
    assert np.all(np.diff(lr) <= 0)
    assert lr[500] == pytest.approx(PEAK * (0.1 + 0.9 * 0.5), rel=1e-6)


@pytest.mark.parametrize("horizon", [10, 1000])
def test_every_run_anneals_over_its_own_horizon(horizon):
    lr = rates("cosine", horizon)
    expected = optax.cosine_decay_schedule(PEAK, horizon, alpha=0.1)(np.arange(horizon))
    assert np.allclose(lr, expected, rtol=1e-5)


def test_warmup_rises_to_the_peak_and_the_schedule_starts_there():
    lr = rates("cosine", horizon=100, warmup_steps=9)
    assert np.allclose(lr[:9], PEAK * np.arange(1, 10) / 10)
    assert lr[9] == pytest.approx(PEAK)
    assert lr[-1] == pytest.approx(0.1 * PEAK, rel=0.05)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_starts_at_the_peak_and_ends_at_its_fraction(name):
    end = 1.0 if name == "constant" else 0.1
    assert rates(name, horizon=2000)[[0, -1]] == pytest.approx([PEAK, end * PEAK], rel=2e-2)


def test_wsd_stays_at_the_peak_to_the_bit_and_falls_as_one_minus_a_square_root():
    """Hägele et al. 2024, equation 1 with f = 1 - sqrt; a cooldown of 20 % of 500 steps."""
    lr = rates("wsd", horizon=500, warmup_steps=9)
    assert np.all(lr[9:401] == np.float32(PEAK))
    passed = np.arange(100) / 100
    assert np.allclose(lr[400:], PEAK * (0.1 + 0.9 * (1 - np.sqrt(passed))), rtol=1e-5)
    assert lr[-1] == pytest.approx(0.1 * PEAK, rel=0.05)


@pytest.mark.parametrize("warmup_steps", [0, 7, 40])
def test_wsd_runs_have_the_same_rate_to_the_bit_until_the_first_of_them_cools_down(warmup_steps):
    longest = rates("wsd", horizon=1000, warmup_steps=warmup_steps)
    for horizon in (50, 51, 123, 500, 999):
        shared = horizon - cooldown_steps(horizon, 0.2)
        lr = rates("wsd", horizon, warmup_steps)
        assert np.array_equal(lr[: shared + 1], longest[: shared + 1])
        assert np.all(lr[shared + 1 :] < longest[shared + 1 : horizon])
