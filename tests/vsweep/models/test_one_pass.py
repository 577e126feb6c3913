"""Layer norm in one pass: as accurate as in two, wherever the mean lies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vsweep.models.families import layers
from vsweep.models.target import CPU, Target

GPU = Target("cuda", 8)
WIDTH, COLUMNS = 16, 512


def values(mean: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x, scale, gradient of the output) in float32."""
    random = np.random.default_rng(0)
    x_WxN = (mean + random.normal(size=(WIDTH, COLUMNS))).astype(np.float32)
    return x_WxN, random.normal(size=WIDTH).astype(np.float32), random.normal(size=x_WxN.shape).astype(np.float32)


def exact(x_WxN, scale_W, grad_WxN):
    """(output, gradient of x, gradient of the scale) in float64, by the definition."""
    x_WxN = x_WxN.astype(np.float64)
    centred = x_WxN - x_WxN.mean(axis=0)
    inverse = 1 / np.sqrt((centred**2).mean(axis=0) + layers.NORM_EPSILON)
    unit, scaled = centred * inverse, grad_WxN * scale_W[:, None].astype(np.float64)
    x_grad = inverse * (scaled - scaled.mean(axis=0) - unit * (scaled * unit).mean(axis=0))
    return unit * scale_W[:, None], x_grad, (grad_WxN * unit).sum(axis=1)


def of_target(target: Target, x_WxN, scale_W, grad_WxN):
    y, backward = jax.vjp(lambda x, scale: layers.norm("layer", {"scale": scale}, x, target), x_WxN, scale_W)
    return y, *backward(grad_WxN)


def errors(found, wanted) -> list[float]:
    """Largest, relative to the largest value."""
    return [float(np.abs(one - other).max() / np.abs(other).max()) for one, other in zip(found, wanted, strict=True)]


@pytest.mark.parametrize("mean", [0.0, 1.0, 1e2, 1e4])
def test_one_pass_is_as_accurate_as_two(mean):
    given = values(mean)
    wanted = exact(*given)
    one, two = (errors(of_target(target, *given), wanted) for target in (GPU, CPU))
    assert all(error < 2e-6 for error in one)
    assert all(error <= 4 * other + 1e-6 for error, other in zip(one, two, strict=True))


def test_the_usual_one_pass_would_lose_all_digits():
    x_WxN, *_ = values(1e4)
    variance = (x_WxN**2).mean(axis=0) - x_WxN.mean(axis=0) ** 2
    assert np.abs(variance / x_WxN.astype(np.float64).var(axis=0) - 1).max() > 1


def test_an_outlier_in_the_first_feature_costs_few_digits():
    x_WxN, scale_W, grad_WxN = values(1.0)
    x_WxN[0] += 1e6
    found, wanted = of_target(GPU, x_WxN, scale_W, grad_WxN), exact(x_WxN, scale_W, grad_WxN)
    assert errors(found[:1], wanted[:1])[0] < 1e-5


def test_equal_features_give_zeros():
    y, *_ = of_target(GPU, np.full((WIDTH, 3), 7.0, np.float32), np.ones(WIDTH, np.float32), np.ones((WIDTH, 3)))
    assert np.array_equal(y, np.zeros((WIDTH, 3)))


def test_a_row_of_bfloat16_keeps_its_type():
    x_WxN, scale_W, _ = values(3.0)
    y_WxN = layers.norm("layer", {"scale": scale_W}, jnp.asarray(x_WxN, jnp.bfloat16), GPU)
    wanted, *_ = exact(np.asarray(jnp.asarray(x_WxN, jnp.bfloat16), np.float64), scale_W, x_WxN)
    assert y_WxN.dtype == jnp.bfloat16
    assert np.allclose(np.asarray(y_WxN, np.float64), wanted, atol=0.02)


def test_other_norms_are_the_same_everywhere():
    x_WxN, scale_W, _ = values(0.0)
    gpu, cpu = (layers.norm("rms", {"scale": scale_W}, x_WxN, target) for target in (GPU, CPU))
    assert np.array_equal(gpu, cpu)
