"""A decoder-only transformer behind two functions: `init(key) -> params` and `apply(params, tokens, ...) -> logits`.

Pre-norm blocks, learned positions, tanh GELU, biases in the MLP only, dropout on the residual branches. There is no
bias on q, k, v: the true gradient of a key bias is zero, and Adam amplifies its rounding. Everything here is one
model, unbatched over runs; `stack.py` lifts it. Nothing outside this file knows that the modules are Linen.

Shapes in names: B batch, T positions, W width, F feed-forward, H heads, D head_dim, V vocabulary, N = T B. Activations
are kept feature-major, [W, N] with the batch in the minor axis: the models are narrow, so the long axis is the one to
vectorise over, and attention with a head dim of 4 becomes sums over that axis instead of thousands of tiny products.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend.random import threefry_2x32

from vsweep.models.attention import attend, causal_mask
from vsweep.models.base import Model, ModelShape, Params

SMALL_VOCABULARY = 64
SCANNED_LAYERS = 48  # from so many on, layers are scanned: a step takes half as long again, compiling far less
GELU_SCALE, GELU_CUBE = (2 / math.pi) ** 0.5, 0.044715


def build(shape: ModelShape) -> Model:
    """The model of `shape`.

    `init(key)` gives float32 parameters. `apply(params, tokens_BxT, dropout_key=None, dropout=0.0)` gives float32
    logits [B, T, V]; with a key, residual branches are dropped with probability `dropout` (a traced scalar is fine).
    """
    module = Transformer(shape)

    def init(key: jax.Array) -> Params:
        return _drawn(key, module.init(key, jnp.zeros((1, shape.positions), jnp.int32))["params"])

    def apply(params, tokens_BxT, *, dropout_key=None, dropout=0.0):
        return module.apply({"params": params}, tokens_BxT, dropout_key, dropout)

    return Model(shape, init, apply)


def _drawn(key: jax.Array, initial: Params) -> Params:
    """Vectors as they are; matrices from a normal distribution, with their initial entries as standard deviations.

    One draw for all of them: a draw for each took almost as long to compile as the training step.
    """
    leaves, tree = jax.tree.flatten(initial)
    matrices = [leaf for leaf in leaves if leaf.ndim == 2]
    ends = list(itertools.accumulate(leaf.size for leaf in matrices))
    draws = iter(jnp.split(jax.random.normal(key, (ends[-1],)), ends[:-1]))
    return tree.unflatten([leaf * next(draws).reshape(leaf.shape) if leaf.ndim == 2 else leaf for leaf in leaves])


class Transformer(nn.Module):
    shape: ModelShape

    @nn.compact
    def __call__(self, tokens_BxT, dropout_key=None, dropout=0.0):
        shape = self.shape
        batch, length = tokens_BxT.shape
        embed_VxW = self.param("embed", embedding_deviation(shape), (shape.vocabulary, shape.width))
        positions_TxW = self.param("positions", embedding_deviation(shape), (shape.positions, shape.width))
        x_WxN = self._embed(embed_VxW, positions_TxW, tokens_BxT)

        drop = Dropout.draw(dropout_key, dropout, (2 * shape.layers, *x_WxN.shape))
        if shape.layers >= SCANNED_LAYERS and not self.is_initializing():
            x_WxN = self._scan(batch, drop, x_WxN)
        else:
            for layer in range(shape.layers):
                modules = {name: make(name=f"{name}_{layer}") for name, make in _layer_modules(shape, batch).items()}
                x_WxN = _layer(modules, drop, 2 * layer, x_WxN)
        x_WxN = Norm(name="final_norm")(x_WxN)

        head_VxW = embed_VxW if shape.tied_embeddings else self.param("head", dense_deviation(), embed_VxW.shape)
        logits_VxN = head_VxW.astype(x_WxN.dtype) @ x_WxN
        return logits_VxN.astype(jnp.float32).reshape(-1, length, batch).transpose(2, 1, 0)

    def _scan(self, batch, drop: "Dropout", x_WxN):
        """All layers by one program for a layer. Their parameters stay apart everywhere else, and are stacked here."""
        params, makers = self.variables["params"], _layer_modules(self.shape, batch)
        layers = [{name: params[f"{name}_{layer}"] for name in makers} for layer in range(self.shape.layers)]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)

        def layer(x_WxN, inputs):
            own, drop = inputs
            modules = {
                name: functools.partial(make(parent=None).apply, {"params": own[name]}) for name, make in makers.items()
            }
            return _layer(modules, drop, 0, x_WxN), None

        return jax.lax.scan(layer, x_WxN, (stacked, drop.by_layer(self.shape.layers)))[0]

    def _embed(self, embed_VxW, positions_TxW, tokens_BxT):
        """[W, N]. Few characters: a product with one-hot columns, for a gather has a slow scatter as its gradient."""
        batch, length = tokens_BxT.shape
        tokens_N = tokens_BxT.T.reshape(-1)
        if self.shape.vocabulary <= SMALL_VOCABULARY:
            columns_VxN = tokens_N == jnp.arange(self.shape.vocabulary)[:, None]
            rows_TxN = jnp.arange(batch * length) // batch == jnp.arange(length)[:, None]
            table_RxW = jnp.concatenate([embed_VxW, positions_TxW[:length]]).astype(self.shape.precision)
            return table_RxW.T @ jnp.concatenate([columns_VxN, rows_TxN]).astype(self.shape.precision)
        x_NxW = embed_VxW[tokens_N] + jnp.repeat(positions_TxW[:length], batch, axis=0)
        return x_NxW.astype(self.shape.precision).T


def _layer_modules(shape: ModelShape, batch: int) -> dict[str, Callable[..., nn.Module]]:
    """What a layer is made of; a module's parameters are named after it and the number of the layer."""
    return {
        "attention_norm": Norm,
        "attention": functools.partial(Attention, shape, batch),
        "mlp_norm": Norm,
        "mlp": functools.partial(Mlp, shape),
    }


def _layer(modules: dict[str, Callable], drop: "Dropout", index: int, x_WxN):
    """A layer with its two residual branches, of which `index` is the first."""
    x_WxN += drop(modules["attention"](modules["attention_norm"](x_WxN)), index)
    x_WxN += drop(modules["mlp"](modules["mlp_norm"](x_WxN)), index + 1)
    return x_WxN


class Attention(nn.Module):
    shape: ModelShape
    batch: int

    @nn.compact
    def __call__(self, x_WxN):
        shape = self.shape
        width = shape.width
        per_head = (3, shape.heads, shape.head_dim, -1, self.batch)
        q, k, v = Dense(3 * width, name="query_key_value")(x_WxN).reshape(per_head)
        mixed_HxDxTxB = attend(q, k, v, causal_mask(q.shape[2]))
        return Dense(width, init_scale=residual_scale(shape), name="out")(mixed_HxDxTxB.reshape(width, -1))


class Mlp(nn.Module):
    shape: ModelShape

    @nn.compact
    def __call__(self, x_WxN):
        hidden_FxN = gelu(Dense(self.shape.ff, use_bias=True, name="up")(x_WxN))
        down = Dense(self.shape.width, use_bias=True, init_scale=residual_scale(self.shape), name="down")
        return down(hidden_FxN)


@jax.custom_jvp
def gelu(x):
    """Tanh GELU as x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3).

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


class Dense(nn.Module):
    """y = kernel x + bias on feature-major activations.

    The kernel is [features out, features in], or its transpose: the longer axis first, for then the product that is its
    gradient is up to a third faster on CPU.
    """

    features: int
    use_bias: bool = False
    init_scale: float = 1.0

    @nn.compact
    def __call__(self, x_IxN):
        features_in, features_out = x_IxN.shape[0], self.features
        if features_out >= features_in:
            deviation = dense_deviation(self.init_scale, in_axis=1)
            kernel_OxI = self.param("kernel", deviation, (features_out, features_in))
        else:
            deviation = dense_deviation(self.init_scale, in_axis=0)
            kernel_OxI = self.param("kernel", deviation, (features_in, features_out)).T
        y_OxN = kernel_OxI.astype(x_IxN.dtype) @ x_IxN
        if self.use_bias:
            y_OxN += self.param("bias", nn.initializers.zeros, (self.features,))[:, None].astype(x_IxN.dtype)
        return y_OxN


class Norm(nn.Module):
    """Layer norm over the features with a scale and no bias; statistics in float32."""

    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x_WxN):
        scale_W = self.param("scale", nn.initializers.ones, (x_WxN.shape[0],))
        centred_WxN = x_WxN.astype(jnp.float32) - jnp.mean(x_WxN, axis=0, dtype=jnp.float32)
        variance_N = jnp.mean(jnp.square(centred_WxN), axis=0)
        return (centred_WxN * jax.lax.rsqrt(variance_N + self.epsilon) * scale_W[:, None]).astype(x_WxN.dtype)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dropout:
    """The dropout of one forward pass: 8-bit draws for every residual branch, or none.

    The probability is rounded to a multiple of 1/256 and survivors are scaled by the rounded one: four draws come out
    of each threefry word, which would otherwise be a visible part of a small model's step.
    """

    draws_RxWxN: jax.Array | None  # R residual branches
    threshold: Any

    @classmethod
    def draw(cls, key, dropout, shape: tuple[int, int, int]) -> "Dropout":
        if key is None:
            return cls(None, None)
        size = shape[0] * shape[1] * shape[2]
        counters = jnp.arange(-(-size // 4), dtype=jnp.uint32)
        words = threefry_2x32(jax.random.key_data(key), counters)  # random.bits would throw away half of them
        draws = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(-1)[:size].reshape(shape)
        return cls(draws, jnp.round(256.0 * jnp.asarray(dropout, jnp.float32)))

    def by_layer(self, layers: int) -> "Dropout":
        """The same with a leading axis: the two branches of each layer."""
        if self.draws_RxWxN is None:
            return self
        draws = self.draws_RxWxN.reshape(layers, 2, *self.draws_RxWxN.shape[1:])
        return Dropout(draws, jnp.broadcast_to(self.threshold, layers))

    def __call__(self, branch_WxN, index: int):
        if self.draws_RxWxN is None:
            return branch_WxN
        kept_WxN = self.draws_RxWxN[index].astype(jnp.float32) >= self.threshold
        scale = 256.0 / (256.0 - self.threshold)
        return jnp.where(kept_WxN, branch_WxN * scale.astype(branch_WxN.dtype), 0)


def embedding_deviation(shape: ModelShape):
    """Here and below: the initial value of a matrix is its standard deviation; `_drawn` makes a draw of it."""
    return nn.initializers.constant(shape.width**-0.5)


def dense_deviation(scale: float = 1.0, in_axis: int = 1):
    """sqrt(scale / fan in)."""

    def initial(key, shape):
        return jnp.full(shape, math.sqrt(scale / shape[in_axis]))

    return initial


def residual_scale(shape: ModelShape) -> float:
    """Variance scale of the two projections that write to the residual stream (GPT-2's 1/sqrt(2 layers))."""
    return 1.0 / (2 * shape.layers)
