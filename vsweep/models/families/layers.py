"""What models are made of: embeddings, norms, matrices with and without biases. Feature-major, [W, N].

Shapes in names are those of `models/transformer.py`: N = T B, position-major with the batch in the minor axis.
"""

import math

import jax
import jax.numpy as jnp

from vsweep.models.base import ModelShape
from vsweep.models.families import one_pass
from vsweep.models.params import Params, ParamSpec, Role, Specs
from vsweep.models.target import CPU, Target

SMALL_VOCABULARY = 64
NORM_EPSILON = 1e-6


def deviation(fan_in: int, variance: float = 1.0) -> float:
    """Of initial entries, so that an output has `variance` times the variance of the inputs."""
    return math.sqrt(variance / fan_in)


def embedding_specs(shape: ModelShape) -> Specs:
    """The token embedding and, where it is not tied, the head; both start with variance 1 / width."""
    spread = deviation(shape.width)
    specs = {"embed": ParamSpec((shape.vocabulary, shape.width), Role.EMBEDDING, spread)}
    if not shape.tied_embeddings:
        specs["head"] = ParamSpec((shape.vocabulary, shape.width), Role.OUTPUT, spread)
    return specs


def norm_specs(width: int) -> Specs:
    """A scale for each feature."""
    return {"scale": ParamSpec((width,), Role.NORM, constant=1.0)}


def kernel_spec(features_in: int, features_out: int, variance: float = 1.0) -> ParamSpec:
    """[O, I], or its transpose: the longer axis first, because the product that is its gradient is then up to a third
    faster on CPU."""
    longer_first = tuple(sorted((features_in, features_out), reverse=True))
    return ParamSpec(longer_first, Role.HIDDEN, deviation(features_in, variance))


def dense_specs(features_in: int, features_out: int, *, bias: bool, variance: float = 1.0) -> Specs:
    """What `dense` takes."""
    specs: Specs = {"kernel": kernel_spec(features_in, features_out, variance)}
    return specs | {"bias": ParamSpec((features_out,), Role.BIAS)} if bias else specs


def head_of(tied_embeddings: bool, params: Params) -> jax.Array:
    """The output matrix [V, W]."""
    return params["embed"] if tied_embeddings else params["head"]


def embed(shape: ModelShape, params: Params, tokens_BxT):
    """[W, N]: the token's vector and, where `params` have them, its position's.

    Few characters: a product with one-hot columns, because a gather has a slow scatter as its gradient.
    """
    batch, length = tokens_BxT.shape
    tokens_N = tokens_BxT.T.reshape(-1)
    embed_VxW, positions_TxW = params["embed"], params.get("positions")
    if shape.vocabulary <= SMALL_VOCABULARY:
        columns_VxN = tokens_N == jnp.arange(shape.vocabulary)[:, None]
        if positions_TxW is None:
            return embed_VxW.astype(shape.precision).T @ columns_VxN.astype(shape.precision)
        rows_TxN = jnp.arange(batch * length) // batch == jnp.arange(length)[:, None]
        table_RxW = jnp.concatenate([embed_VxW, positions_TxW[:length]]).astype(shape.precision)
        return table_RxW.T @ jnp.concatenate([columns_VxN, rows_TxN]).astype(shape.precision)
    x_NxW = embed_VxW[tokens_N]
    if positions_TxW is not None:
        x_NxW += jnp.repeat(positions_TxW[:length], batch, axis=0)
    return x_NxW.astype(shape.precision).T


def dense(params: Params, x_IxN):
    """[O, N] = kernel x + bias, whichever way round the kernel is kept."""
    kernel = params["kernel"]
    kernel_OxI = kernel if kernel.shape[1] == x_IxN.shape[0] else kernel.T
    y_OxN = kernel_OxI.astype(x_IxN.dtype) @ x_IxN
    return y_OxN + params["bias"][:, None].astype(x_IxN.dtype) if "bias" in params else y_OxN


def norm(kind: str, params: Params, x_WxN, target: Target = CPU):
    """Norm over the first axis with a scale and no bias; statistics in float32.

    `layer` centres first (Ba et al. 2016), `rms` does not (Zhang & Sennrich 2019).
    """
    if kind == "layer" and target.is_gpu:
        return one_pass.layer_norm(x_WxN, params["scale"], NORM_EPSILON)
    if kind == "layer":
        centred = x_WxN.astype(jnp.float32) - jnp.mean(x_WxN, axis=0, dtype=jnp.float32)
    else:
        centred = x_WxN.astype(jnp.float32)
    variance = jnp.mean(jnp.square(centred), axis=0)
    normed = centred * jax.lax.rsqrt(variance + NORM_EPSILON) * jnp.expand_dims(params["scale"], range(1, x_WxN.ndim))
    return normed.astype(x_WxN.dtype)
