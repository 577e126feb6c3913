"""The noise scale is that of a planted gradient; what is measured changes no run but in rounding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from tests.vsweep import small
from vsweep.config import sweep_config
from vsweep.config.problems import ConfigError
from vsweep.schema import GRADIENT_COLUMNS
from vsweep.train.objective import gradient_noise

BATCH, LENGTH, VOCABULARY, PAD = 8, 5, 16, 16
MEASURED = {"gradient_statistics": True}


def planted():
    """The loss of a label is |p - z(label)|^2 / 2, so its gradient is p - z: (z [V, 5], p, tr(S), |G|^2)."""
    rng = np.random.default_rng(0)
    table_VxD = rng.normal(size=(VOCABULARY, 5))
    params_D = table_VxD.mean(axis=0) + 0.4
    return table_VxD, params_D, table_VxD.var(axis=0).sum(), ((params_D - table_VxD.mean(axis=0)) ** 2).sum()


def descent(table_VxD, params_D):
    def loss(params, tokens_HxS):
        counted_HxL = tokens_HxS[:, 1:] != PAD
        apart_HxL = ((params - table_VxD[tokens_HxS[:, 1:] % VOCABULARY]) ** 2).sum(axis=-1) / 2
        return jnp.where(counted_HxL, apart_HxL, 0.0).sum() / counted_HxL.sum()

    return lambda half, tokens_HxS: jax.value_and_grad(loss)(params_D, tokens_HxS)


@functools.cache
def measured(steps: int, padded: bool):
    """Statistics after steps at one place, and the loss and gradient of the last batch with its tokens."""
    table_VxD, params_D, *_ = planted()
    of_half = descent(jnp.asarray(table_VxD), jnp.asarray(params_D))

    def body(statistics, step):
        tokens = jax.random.randint(jax.random.fold_in(jax.random.key(3), step), (BATCH, LENGTH), 0, VOCABULARY)
        short = (jnp.arange(BATCH)[:, None] < 3) & (jnp.arange(LENGTH) >= 2)  # the first half has fewer labels
        tokens = jnp.where(short & padded, PAD, tokens)
        loss, grads, here = gradient_noise.by_halves(of_half, tokens, PAD)
        return gradient_noise.averaged(statistics, here, step), (loss, grads, tokens)

    statistics, seen = jax.jit(lambda: jax.lax.scan(body, gradient_noise.nothing_yet(), jnp.arange(steps)))()
    return statistics, jax.tree.map(lambda leaf: leaf[-1], seen), of_half


@pytest.mark.parametrize("padded", [False, True])
def test_the_planted_noise_scale_is_found(padded):
    *_, trace, squared = planted()
    statistics, *_ = measured(20_000, padded)
    assert float(statistics.noise) == pytest.approx(trace, rel=0.05)
    assert float(statistics.squared) == pytest.approx(squared, rel=0.1)
    columns = gradient_noise.columns(statistics)
    assert columns["noise_scale_tokens"] == pytest.approx(trace / squared, rel=0.12)
    assert columns["grad_norm"] > 0


@pytest.mark.parametrize("padded", [False, True])
def test_halves_give_the_loss_and_gradient_of_the_whole(padded):
    statistics, (loss, grads, tokens), of_half = measured(20_000, padded)
    whole_loss, whole_grads = of_half(0, tokens)
    assert float(loss) == pytest.approx(float(whole_loss), rel=1e-5)
    assert np.allclose(grads, whole_grads, rtol=1e-4, atol=1e-5)
    assert float(statistics.norm) == pytest.approx(float(jnp.linalg.norm(whole_grads)), rel=1e-4)


def test_no_noise_scale_is_told_where_noise_hides_the_gradient():
    hidden = gradient_noise.GradientStatistics(np.float32(1), np.float32(-0.1), np.float32(2))
    assert gradient_noise.columns(hidden) == {"grad_norm": 1.0, "noise_scale_tokens": None}


@pytest.fixture(scope="module")
def values():
    return small.config(train=MEASURED)


def test_a_measured_sweep_learns_the_same_and_resumes_bit_for_bit(values, finished_sweep, tmp_path):
    small.train(values, tmp_path / "whole")
    small.train(values, tmp_path / "cut", progress=small.StopAfter(3))
    small.train(values, tmp_path / "cut")
    assert small.differing(tmp_path / "cut", tmp_path / "whole") == []
    plain, curves = (pd.read_csv(folder / "curves.csv") for folder in (finished_sweep, tmp_path / "whole"))
    assert list(curves.columns) == [*plain.columns, *GRADIENT_COLUMNS]
    assert np.allclose(curves["val_loss"], plain["val_loss"], atol=0.05)  # dropout draws other masks
    assert (curves["grad_norm"] > 0).all()
    assert curves["noise_scale_tokens"].notna().mean() > 0.5
    assert (curves["noise_scale_tokens"].dropna() > 0).all()


def test_switched_off_it_leaves_no_trace_in_a_config(values):
    off = sweep_config.from_dict(small.config())
    assert "gradient_statistics" not in off.to_dict()["train"]
    on = sweep_config.from_dict(values)
    assert on.to_dict()["train"]["gradient_statistics"] is True
    assert sweep_config.fingerprint(on, "") != sweep_config.fingerprint(off, "")
    (line,) = sweep_config.differences(off.to_dict(), on.to_dict())
    assert "train.gradient_statistics: the work directory has False, the config has True" in line


def test_a_batch_without_halves_is_refused():
    with pytest.raises(ConfigError, match=r"odd, and train\.gradient_statistics compares the halves"):
        small.sweep(small.config(train={**MEASURED, "batch_size": 7}))
