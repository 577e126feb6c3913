"""The feed-forward layer of a block: GELU, ReLU, or SwiGLU (Shazeer 2020, arXiv:2002.05202)."""

import math

import jax
import jax.numpy as jnp

from vsweep.models.base import ModelShape
from vsweep.models.families.layers import dense, dense_specs
from vsweep.models.params import Params, Specs

GELU_SCALE, GELU_CUBE = (2 / math.pi) ** 0.5, 0.044715


def hidden_size(shape: ModelShape) -> int:
    """Features of the hidden layer. SwiGLU has three matrices instead of two, so 2/3 as many, rounded up."""
    return -(-2 * shape.ff // 3) if shape.option("mlp") == "swiglu" else shape.ff


def specs(shape: ModelShape, residual_variance: float) -> Specs:
    """The layer's parameters; `residual_variance` is that of the matrix that writes to the residual stream."""
    width, hidden, bias = shape.width, hidden_size(shape), shape.option("bias")
    gate = {"gate": dense_specs(width, hidden, bias=bias)} if shape.option("mlp") == "swiglu" else {}
    return {
        **gate,
        "up": dense_specs(width, hidden, bias=bias),
        "down": dense_specs(hidden, width, bias=bias, variance=residual_variance),
    }


def apply(kind: str, params: Params, x_WxN):
    """[W, N] of the normed residual stream [W, N]."""
    up_FxN = dense(params["up"], x_WxN)
    if kind == "swiglu":
        return dense(params["down"], jax.nn.silu(dense(params["gate"], x_WxN)) * up_FxN)
    return dense(params["down"], gelu(up_FxN) if kind == "gelu" else jax.nn.relu(up_FxN))


@jax.custom_jvp
def gelu(x):
    """Tanh GELU as x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3) (Hendrycks & Gimpel 2016), of any shape.

    The gradient says the same with tanh, so that nothing but x is kept for the backward pass: the memory that a second
    array of this size passes through costs more than computing it again.
    """
    return x * jax.nn.sigmoid(2.0 * _gelu_argument(x))


@gelu.defjvp
def _gelu_jvp(primals, tangents):
    (x,), (tangent,) = primals, tangents
    t = jnp.tanh(_gelu_argument(x))
    slope = 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * GELU_SCALE * (1.0 + 3 * GELU_CUBE * x * x)
    return gelu(x), slope * tangent


def _gelu_argument(x):
    return GELU_SCALE * (x + GELU_CUBE * x * x * x)
