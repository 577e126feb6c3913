"""Routed experts in place of a feed-forward layer (Shazeer et al. 2017; Fedus et al. 2021, arXiv:2101.03961).

A token goes through the `experts_per_token` experts that its router likes best, and through the shared expert if there
is one. With `capacity_factor` 0 nothing is dropped: every expert is computed for every token, and the outputs of those
that were not chosen get weight 0. That takes experts / experts_per_token times the work of the chosen ones, so it is
affordable with few experts. With a factor above 0 an expert has ceil(factor x experts_per_token x positions / experts)
places in each sequence. Tokens take them in the order of their positions, and one that finds no place gets nothing from
that expert.

So routing is causal, with places too: it depends on no later token. It depends on no other sequence either.

Shapes in names: E experts, C places of an expert in a sequence, and those of `models/transformer.py`.
"""

import math

import jax
import jax.numpy as jnp

from vsweep.models.base import ModelShape
from vsweep.models.families import feed_forward
from vsweep.models.families.layers import deviation
from vsweep.models.params import Params, ParamSpec, Role, Specs


def specs(shape: ModelShape, residual_variance: float) -> Specs:
    """The router, and the experts' parameters with a leading axis [E]; a shared expert has its own."""
    one, count = feed_forward.specs(shape, residual_variance), shape.option("experts")
    shared = {"shared": one} if shape.option("shared_expert") else {}
    return {
        "router": ParamSpec((count, shape.width), Role.ROUTER, deviation(shape.width)),
        "experts": jax.tree.map(
            lambda spec: ParamSpec((count, *spec.shape), spec.role, spec.deviation, spec.constant), one
        ),
        **shared,
    }


def places(shape: ModelShape) -> int:
    """C, of an expert in one sequence; as many as there are positions where nothing is dropped."""
    factor = shape.option("capacity_factor")
    if not factor:
        return shape.positions
    mean = shape.option("experts_per_token") * shape.positions / shape.option("experts")
    return min(shape.positions, max(1, math.ceil(factor * mean)))


def apply(shape: ModelShape, batch: int, params: Params, x_WxN):
    """([W, N], penalty) of the normed residual stream [W, N] with the batch in the minor axis."""
    chosen_ExN, weights_ExN, penalty = route(shape, params["router"], x_WxN)
    if shape.option("capacity_factor"):
        y_WxN = _in_places(shape, batch, params["experts"], chosen_ExN, weights_ExN, x_WxN)
    else:
        y_WxN = _all(shape, params["experts"], weights_ExN, x_WxN)
    if "shared" in params:
        y_WxN += feed_forward.apply(shape.option("mlp"), params["shared"], x_WxN)
    return y_WxN, penalty


def route(shape: ModelShape, router_ExW, x_WxN):
    """(which experts a token goes through [E, N], their weights [E, N], penalty); in float32.

    The weight of one expert is its probability (Fedus et al. 2021, equation 2); those of several add up to 1, as in
    GShard (Lepikhin et al. 2020). Of equal ones the first is chosen.
    """
    each = shape.option("experts_per_token")
    probabilities_ExN = jax.nn.softmax(router_ExW @ x_WxN.astype(jnp.float32), axis=0)
    _, index_Nxk = jax.lax.top_k(probabilities_ExN.T, each)
    chosen_ExN = (index_Nxk.T[:, None] == jnp.arange(shape.option("experts"))[:, None]).any(axis=0)
    weights_ExN = jnp.where(chosen_ExN, probabilities_ExN, 0.0)
    if each > 1:
        weights_ExN /= weights_ExN.sum(axis=0)
    return chosen_ExN, weights_ExN, _imbalance(shape, chosen_ExN, probabilities_ExN)


def _imbalance(shape: ModelShape, chosen_ExN, probabilities_ExN):
    """E sum_e f_e P_e (Fedus et al. 2021, equation 4) times its weight, less its value 1 at balance.

    f_e is the share of the choices that fell on expert e, P_e its mean probability, over all positions of the batch,
    padding included. The 1 changes no gradient, and a single expert costs nothing.
    """
    shares_E = chosen_ExN.mean(axis=1, dtype=jnp.float32) / shape.option("experts_per_token")
    balance = shape.option("experts") * jnp.sum(shares_E * probabilities_ExN.mean(axis=1))
    return shape.option("balance_weight") * (balance - 1.0)


def _all(shape: ModelShape, experts: Params, weights_ExN, x_WxN):
    """Every expert on every token, weighted: nothing is dropped."""
    y_ExWxN = jax.vmap(lambda params: feed_forward.apply(shape.option("mlp"), params, x_WxN))(experts)
    return jnp.sum(y_ExWxN * weights_ExN[:, None].astype(x_WxN.dtype), axis=0)


def _in_places(shape: ModelShape, batch: int, experts: Params, chosen_ExN, weights_ExN, x_WxN):
    """Each expert on the tokens that found a place: the first ones of each sequence that chose it."""
    width, count = shape.width, shape.option("experts")
    chosen_ExTxB = chosen_ExN.reshape(count, -1, batch)
    place_ExTxB = jnp.cumsum(chosen_ExTxB, axis=1) - 1
    taken_ExCxTxB = chosen_ExTxB[:, None] & (place_ExTxB[:, None] == jnp.arange(places(shape))[:, None, None])
    taken_ExCxTxB = taken_ExCxTxB.astype(x_WxN.dtype)
    inputs_ExWxCxB = jnp.einsum("ectb,wtb->ewcb", taken_ExCxTxB, x_WxN.reshape(width, -1, batch))
    inputs = inputs_ExWxCxB.reshape(count, width, -1)
    outputs = jax.vmap(lambda params, x: feed_forward.apply(shape.option("mlp"), params, x))(experts, inputs)
    weighted_ExTxB = weights_ExN.reshape(count, -1, batch).astype(x_WxN.dtype)
    y_WxTxB = jnp.einsum("ectb,etb,ewcb->wtb", taken_ExCxTxB, weighted_ExTxB, outputs.reshape(count, width, -1, batch))
    return y_WxTxB.reshape(width, -1)
