"""A decoder-only transformer: `param_specs(shape)` describes its parameters, `build(shape)` its functions on them.

Pre-norm blocks and dropout on the residual branches. By default: centred norms with a scale, learned positions, tanh
GELU, biases in the feed-forward layers only. There is no bias on q, k, v: the true gradient of a key bias is zero, and
Adam amplifies its rounding. With routed experts in place of the feed-forward layers this is also the family `moe`.
Everything here is one model, unbatched over runs; `train/stack.py` lifts it.

Shapes in names: B batch, T positions, W width, F feed-forward, H heads, D head_dim, V vocabulary, N = T B, I and O the
features into and out of a layer. Activations are kept feature-major, [W, N] with the batch in the minor axis: the
models are narrow, so the long axis is the one to vectorise over, and attention with a head dim of 4 becomes sums over
that axis instead of thousands of tiny products.
"""

import functools

import jax
import jax.numpy as jnp

from vsweep.models import mup
from vsweep.models.attention import attend
from vsweep.models.base import Model, ModelShape, of_halves
from vsweep.models.dropout import Dropout, Piece
from vsweep.models.families import experts, feed_forward, rotary
from vsweep.models.families.layers import (
    dense,
    deviation,
    embed,
    embedding_specs,
    head_of,
    kernel_spec,
    norm,
    norm_specs,
)
from vsweep.models.params import Params, ParamSpec, Role, Specs

SCANNED_LAYERS = 48  # from so many on, layers are scanned: a step takes half as long again, compiling far less


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
    specs = {**embedding_specs(shape), "final_norm": norm_specs(width)}
    if shape.option("positions") == "learned":
        specs["positions"] = ParamSpec((shape.positions, width), Role.POSITION, deviation(width))
    parts = _layer_specs(shape).items()
    return specs | {f"{part}_{layer}": part_specs for layer in range(shape.layers) for part, part_specs in parts}


def _layer_specs(shape: ModelShape) -> Specs:
    """One layer. The projections that write to the residual stream start narrower: GPT-2's 1 / sqrt(2 layers)."""
    width, residual = shape.width, 1.0 / (2 * mup.initial_layers(shape))
    qk_norm = {"query_norm": norm_specs(shape.head_dim), "key_norm": norm_specs(shape.head_dim)}
    return {
        "attention_norm": norm_specs(width),
        "attention": {
            "query_key_value": {"kernel": kernel_spec(width, 3 * width)},
            "out": {"kernel": kernel_spec(width, width, residual)},
            **(qk_norm if shape.option("qk_norm") else {}),
        },
        "mlp_norm": norm_specs(width),
        "mlp": (experts if shape.family == "moe" else feed_forward).specs(shape, residual),
    }


def features(
    shape: ModelShape, params: Params, tokens_BxT, *, dropout_key=None, dropout=0.0, piece: Piece | None = None
):
    """(x_WxN, penalty) of whole numbers below `shape.vocabulary`; T is at most `shape.positions`.

    With a `piece` the tokens are that piece of a batch, and have the dropout that the batch has there. The penalty is
    the load-balancing loss of routed experts, a mean over the layers; without experts it is None.
    """
    batch = tokens_BxT.shape[0]
    x_WxN = embed(shape, params, tokens_BxT)
    drop = Dropout.draw(dropout_key, dropout, (2 * shape.layers, *x_WxN.shape), piece)
    layers = [{part: params[f"{part}_{layer}"] for part in _layer_specs(shape)} for layer in range(shape.layers)]
    penalties: list[jax.Array | None] = []
    if shape.layers >= SCANNED_LAYERS:
        x_WxN, penalty_L = _scan(shape, batch, layers, drop, x_WxN)
        penalties = [None if penalty_L is None else penalty_L.mean()]
    else:
        for index, layer in enumerate(layers):
            x_WxN, penalty = _layer(shape, batch, layer, drop, 2 * index, x_WxN)
            penalties.append(penalty)
    mean = None if penalties[0] is None else jnp.stack(penalties).mean()
    return norm(shape.option("norm"), params["final_norm"], x_WxN, shape.target), mean


def _scan(shape: ModelShape, batch: int, layers: list[Params], drop: Dropout, x_WxN):
    """All layers by one program for a layer. Their parameters stay apart everywhere else, and are stacked here."""
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)

    def body(x_WxN, inputs):
        layer, drop = inputs
        return _layer(shape, batch, layer, drop, 0, x_WxN)

    return jax.lax.scan(body, x_WxN, (stacked, drop.by_layer(shape.layers)))


def _layer(shape: ModelShape, batch: int, params: Params, drop: Dropout, branch: int, x_WxN):
    """A layer with its two residual branches, of which `branch` is the first; and its penalty."""
    kind, multiplier = shape.option("norm"), mup.branch_multiplier(shape)

    def added(branch_WxN, index: int):
        return drop(branch_WxN if multiplier == 1.0 else branch_WxN * jnp.asarray(multiplier, x_WxN.dtype), index)

    normed_WxN = norm(kind, params["attention_norm"], x_WxN, shape.target)
    x_WxN += added(_attention(shape, batch, params["attention"], normed_WxN), branch)
    normed_WxN = norm(kind, params["mlp_norm"], x_WxN, shape.target)
    if shape.family == "moe":
        branch_WxN, penalty = experts.apply(shape, batch, params["mlp"], normed_WxN)
    else:
        branch_WxN, penalty = feed_forward.apply(shape.option("mlp"), params["mlp"], normed_WxN), None
    return x_WxN + added(branch_WxN, branch + 1), penalty


def _attention(shape: ModelShape, batch: int, params: Params, x_WxN):
    qkv = dense(params["query_key_value"], x_WxN)
    q, k, v = qkv.reshape(3, shape.heads, shape.head_dim, -1, batch)
    if shape.option("qk_norm"):
        q, k = (_normed_heads(params[name], x) for name, x in (("query_norm", q), ("key_norm", k)))
    if shape.option("positions") == "rotary":
        q, k = rotary.turn(q), rotary.turn(k)
    if (multiplier := mup.score_multiplier(shape)) != 1.0:
        q = q * jnp.asarray(multiplier, q.dtype)
    mixed_HxDxTxB = attend(q, k, v, shape.target)
    return dense(params["out"], mixed_HxDxTxB.reshape(shape.width, -1))


def _normed_heads(params: Params, x_HxDxTxB):
    """Each head's vectors with a root mean square of 1, times a scale (Henry et al. 2020; Dehghani et al. 2023)."""
    return norm("rms", params, x_HxDxTxB.swapaxes(0, 1)).swapaxes(0, 1)
