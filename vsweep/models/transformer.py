"""A decoder-only transformer: `param_specs(shape)` describes its parameters, `build(shape)` its functions on them.

Pre-norm blocks, learned positions, tanh GELU, biases in the MLP only, dropout on the residual branches. There is no
bias on q, k, v: the true gradient of a key bias is zero, and Adam amplifies its rounding. Everything here is one
model, unbatched over runs; `train/stack.py` lifts it.

Shapes in names: B batch, T positions, W width, F feed-forward, H heads, D head_dim, V vocabulary, N = T B, I and O the
features into and out of a layer. Activations are kept feature-major, [W, N] with the batch in the minor axis: the
models are narrow, so the long axis is the one to vectorise over, and attention with a head dim of 4 becomes sums over
that axis instead of thousands of tiny products.
"""

import functools
import math

import jax
import jax.numpy as jnp

from vsweep.models.attention import attend
from vsweep.models.base import Model, ModelShape, of_halves
from vsweep.models.dropout import Dropout
from vsweep.models.params import Params, ParamSpec, Role, Specs

SMALL_VOCABULARY = 64
SCANNED_LAYERS = 48  # from so many on, layers are scanned: a step takes half as long again, compiling far less
NORM_EPSILON = 1e-6
GELU_SCALE, GELU_CUBE = (2 / math.pi) ** 0.5, 0.044715


def build(shape: ModelShape) -> Model:
    """The model of `shape`: what its functions take and give is said at `Model`."""
    return of_halves(
        shape, param_specs(shape), functools.partial(features, shape), functools.partial(head_of, shape.tied_embeddings)
    )


def param_specs(shape: ModelShape) -> Specs:
    """The parameters; matrices start with variance 1 / fan in, the embeddings with 1 / width.

    Checkpoints hold these names. Layers have an entry each, `attention_0` to `mlp_<layers - 1>`, scanned or not.
    """
    width = shape.width
    specs = {
        "embed": ParamSpec((shape.vocabulary, width), Role.EMBEDDING, _deviation(width)),
        "positions": ParamSpec((shape.positions, width), Role.POSITION, _deviation(width)),
        "final_norm": _norm_specs(width),
    }
    if not shape.tied_embeddings:
        specs["head"] = ParamSpec((shape.vocabulary, width), Role.OUTPUT, _deviation(width))
    parts = _layer_specs(shape).items()
    return specs | {f"{part}_{layer}": part_specs for layer in range(shape.layers) for part, part_specs in parts}


def _layer_specs(shape: ModelShape) -> Specs:
    """One layer. The projections that write to the residual stream start narrower: GPT-2's 1 / sqrt(2 layers)."""
    width, residual = shape.width, 1.0 / (2 * shape.layers)
    return {
        "attention_norm": _norm_specs(width),
        "attention": {
            "query_key_value": {"kernel": _kernel_spec(width, 3 * width)},
            "out": {"kernel": _kernel_spec(width, width, residual)},
        },
        "mlp_norm": _norm_specs(width),
        "mlp": {
            "up": {"kernel": _kernel_spec(width, shape.ff), "bias": ParamSpec((shape.ff,), Role.BIAS)},
            "down": {"kernel": _kernel_spec(shape.ff, width, residual), "bias": ParamSpec((width,), Role.BIAS)},
        },
    }


def _norm_specs(width: int) -> Specs:
    return {"scale": ParamSpec((width,), Role.NORM, constant=1.0)}


def _kernel_spec(features_in: int, features_out: int, variance: float = 1.0) -> ParamSpec:
    """[O, I], or its transpose: the longer axis first, because the product that is its gradient is then up to a third
    faster on CPU."""
    longer_first = tuple(sorted((features_in, features_out), reverse=True))
    return ParamSpec(longer_first, Role.HIDDEN, _deviation(features_in, variance))


def _deviation(fan_in: int, variance: float = 1.0) -> float:
    return math.sqrt(variance / fan_in)


def features(shape: ModelShape, params: Params, tokens_BxT, *, dropout_key=None, dropout=0.0):
    """(x_WxN, None) of whole numbers below `shape.vocabulary`; T is at most `shape.positions`."""
    batch = tokens_BxT.shape[0]
    x_WxN = _embed(shape, params["embed"], params["positions"], tokens_BxT)
    drop = Dropout.draw(dropout_key, dropout, (2 * shape.layers, *x_WxN.shape))
    layers = [{part: params[f"{part}_{layer}"] for part in _layer_specs(shape)} for layer in range(shape.layers)]
    if shape.layers >= SCANNED_LAYERS:
        x_WxN = _scan(shape, batch, layers, drop, x_WxN)
    else:
        for index, layer in enumerate(layers):
            x_WxN = _layer(shape, batch, layer, drop, 2 * index, x_WxN)
    return _norm(params["final_norm"], x_WxN), None


def head_of(tied_embeddings: bool, params: Params) -> jax.Array:
    """The output matrix [V, W]."""
    return params["embed"] if tied_embeddings else params["head"]


def _embed(shape: ModelShape, embed_VxW, positions_TxW, tokens_BxT):
    """[W, N]. Few characters: a product with one-hot columns, because a gather has a slow scatter as its gradient."""
    batch, length = tokens_BxT.shape
    tokens_N = tokens_BxT.T.reshape(-1)
    if shape.vocabulary <= SMALL_VOCABULARY:
        columns_VxN = tokens_N == jnp.arange(shape.vocabulary)[:, None]
        rows_TxN = jnp.arange(batch * length) // batch == jnp.arange(length)[:, None]
        table_RxW = jnp.concatenate([embed_VxW, positions_TxW[:length]]).astype(shape.precision)
        return table_RxW.T @ jnp.concatenate([columns_VxN, rows_TxN]).astype(shape.precision)
    x_NxW = embed_VxW[tokens_N] + jnp.repeat(positions_TxW[:length], batch, axis=0)
    return x_NxW.astype(shape.precision).T


def _scan(shape: ModelShape, batch: int, layers: list[Params], drop: Dropout, x_WxN):
    """All layers by one program for a layer. Their parameters stay apart everywhere else, and are stacked here."""
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)

    def body(x_WxN, inputs):
        layer, drop = inputs
        return _layer(shape, batch, layer, drop, 0, x_WxN), None

    return jax.lax.scan(body, x_WxN, (stacked, drop.by_layer(shape.layers)))[0]


def _layer(shape: ModelShape, batch: int, params: Params, drop: Dropout, branch: int, x_WxN):
    """A layer with its two residual branches, of which `branch` is the first."""
    x_WxN += drop(_attention(shape, batch, params["attention"], _norm(params["attention_norm"], x_WxN)), branch)
    x_WxN += drop(_mlp(params["mlp"], _norm(params["mlp_norm"], x_WxN)), branch + 1)
    return x_WxN


def _attention(shape: ModelShape, batch: int, params: Params, x_WxN):
    qkv = _dense(params["query_key_value"], x_WxN)
    q, k, v = qkv.reshape(3, shape.heads, shape.head_dim, -1, batch)
    mixed_HxDxTxB = attend(q, k, v, shape.target)
    return _dense(params["out"], mixed_HxDxTxB.reshape(shape.width, -1))


def _mlp(params: Params, x_WxN):
    return _dense(params["down"], gelu(_dense(params["up"], x_WxN)))


def _dense(params: Params, x_IxN):
    """[O, N] = kernel x + bias, whichever way round the kernel is kept."""
    kernel = params["kernel"]
    kernel_OxI = kernel if kernel.shape[1] == x_IxN.shape[0] else kernel.T
    y_OxN = kernel_OxI.astype(x_IxN.dtype) @ x_IxN
    return y_OxN + params["bias"][:, None].astype(x_IxN.dtype) if "bias" in params else y_OxN


def _norm(params: Params, x_WxN):
    """Layer norm over the features with a scale and no bias; statistics in float32."""
    centred_WxN = x_WxN.astype(jnp.float32) - jnp.mean(x_WxN, axis=0, dtype=jnp.float32)
    variance_N = jnp.mean(jnp.square(centred_WxN), axis=0)
    normed_WxN = centred_WxN * jax.lax.rsqrt(variance_N + NORM_EPSILON) * params["scale"][:, None]
    return normed_WxN.astype(x_WxN.dtype)


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
