"""Layer norm with its statistics in one pass over the features, as GPUs want it: each pass is a kernel.

The usual one-pass variance, E[x^2] - E[x]^2, cancels where the mean is large against the deviation. So everything is
taken relative to the first feature (Chan, Golub & LeVeque 1983, "shifted data"). That is one of the values themselves,
so with a mean and a variance over W features (x_1 - mean)^2 is at most W times the variance: the relative error of the
variance is at most some (W + 1) roundings, whatever the mean is.
"""

import jax
import jax.numpy as jnp


@jax.custom_vjp
def layer_norm(x_WxN, scale_W, epsilon: float):
    """(x - mean) / sqrt(variance + epsilon) x scale over the first axis, float32 statistics, in the type of x."""
    return _forward(x_WxN, scale_W, epsilon)[0]


def _forward(x_WxN, scale_W, epsilon):
    shifted_WxN = _shifted(x_WxN)
    mean_N, square_N = jnp.mean(shifted_WxN, axis=0), jnp.mean(jnp.square(shifted_WxN), axis=0)
    variance_N = jnp.maximum(square_N - jnp.square(mean_N), 0.0)
    inverse_N = jax.lax.rsqrt(variance_N + epsilon)
    normed_WxN = (shifted_WxN - mean_N) * inverse_N * _column(scale_W, x_WxN)
    return normed_WxN.astype(x_WxN.dtype), (x_WxN, scale_W, mean_N, inverse_N)


def _backward(residuals, grad_WxN):
    """With y = (x - mean) / deviation and g = grad x scale: (g - mean(g) - y mean(g y)) / deviation."""
    x_WxN, scale_W, mean_N, inverse_N = residuals
    grad_WxN = grad_WxN.astype(jnp.float32)
    unit_WxN = (_shifted(x_WxN) - mean_N) * inverse_N
    scaled_WxN = grad_WxN * _column(scale_W, x_WxN)
    along_N, beside_N = jnp.mean(scaled_WxN, axis=0), jnp.mean(scaled_WxN * unit_WxN, axis=0)
    x_grad_WxN = (scaled_WxN - along_N - unit_WxN * beside_N) * inverse_N
    scale_grad_W = jnp.sum(grad_WxN * unit_WxN, axis=range(1, x_WxN.ndim))
    return x_grad_WxN.astype(x_WxN.dtype), scale_grad_W, None


layer_norm.defvjp(_forward, _backward)


def _shifted(x_WxN):
    x_WxN = x_WxN.astype(jnp.float32)
    return x_WxN - x_WxN[0]


def _column(scale_W, x_WxN):
    return jnp.expand_dims(scale_W, range(1, x_WxN.ndim))
