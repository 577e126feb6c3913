"""Causal softmax attention on feature-major arrays [H, D, T, B]: heads, head_dim, positions, batch.

`attend_plain` is the meaning. `attend_short` computes the same for short sequences and tiny heads, where XLA on CPU
would run thousands of 12 x 4 x 12 products one by one: it writes each contraction as a short sum of elementwise
products over the batch, with its own backward pass, for the transpose of a slice would undo the gain. Both softmaxes
are float32.
"""

import functools

import jax
import jax.numpy as jnp

MASKED_SCORE = -1e9
SHORT_POSITIONS = 16
SHORT_HEAD_DIM = 16


def causal_mask(length: int) -> jax.Array:
    """Boolean [T, S]: position t sees the positions s <= t."""
    return jnp.tril(jnp.ones((length, length), bool))


def attend(q_HxDxTxB, k_HxDxTxB, v_HxDxTxB, mask_TxS):
    """Attention of q over k and v; position t sees the positions s where `mask_TxS[t, s]`. Returns [H, D, T, B]."""
    _, head_dim, length, _ = q_HxDxTxB.shape
    short = length <= SHORT_POSITIONS and head_dim <= SHORT_HEAD_DIM
    return (attend_short if short else attend_plain)(q_HxDxTxB, k_HxDxTxB, v_HxDxTxB, mask_TxS)


def attend_plain(q_HxDxTxB, k_HxDxTxB, v_HxDxTxB, mask_TxS):
    scores_HxTxSxB = jnp.einsum("hdtb,hdsb->htsb", q_HxDxTxB, k_HxDxTxB)
    weights_HxTxSxB = _softmax(scores_HxTxSxB, mask_TxS, q_HxDxTxB.shape[1]).astype(v_HxDxTxB.dtype)
    return jnp.einsum("htsb,hdsb->hdtb", weights_HxTxSxB, v_HxDxTxB)


@jax.custom_vjp
def attend_short(q_HxDxTxB, k_HxDxTxB, v_HxDxTxB, mask_TxS):
    return _attend_short_forward(q_HxDxTxB, k_HxDxTxB, v_HxDxTxB, mask_TxS)[0]


def _attend_short_forward(q, k, v, mask_TxS):
    weights_HxTxSxB = _softmax(_scores(q, k), mask_TxS, q.shape[1]).astype(v.dtype)
    return _mix_keys(weights_HxTxSxB, v), (q, k, v, weights_HxTxSxB)


def _attend_short_backward(residuals, grad_HxDxTxB):
    q, k, v, weights_HxTxSxB = residuals
    grad_weights = _scores(grad_HxDxTxB, v)
    centred = grad_weights - jnp.sum(weights_HxTxSxB * grad_weights, axis=2, keepdims=True)
    grad_scores = weights_HxTxSxB * centred * (q.shape[1] ** -0.5)
    return _mix_keys(grad_scores, k), _mix_queries(grad_scores, q), _mix_queries(weights_HxTxSxB, grad_HxDxTxB), None


attend_short.defvjp(_attend_short_forward, _attend_short_backward)


def _softmax(scores_HxTxSxB, mask_TxS, head_dim: int):
    scaled = scores_HxTxSxB.astype(jnp.float32) * head_dim**-0.5
    return jax.nn.softmax(jnp.where(mask_TxS[:, :, None], scaled, MASKED_SCORE), axis=2)


def _scores(q_HxDxTxB, k_HxDxTxB):
    """[H, T, S, B]: sum over d of q[d, t] k[d, s]."""
    terms = (q_HxDxTxB[:, d, :, None] * k_HxDxTxB[:, d, None] for d in range(q_HxDxTxB.shape[1]))
    return functools.reduce(jnp.add, terms)


def _mix_keys(weights_HxTxSxB, v_HxDxTxB):
    """[H, D, T, B]: sum over s of weights[t, s] v[s]."""
    length = weights_HxTxSxB.shape[2]
    terms = (weights_HxTxSxB[:, None, :, s] * v_HxDxTxB[:, :, s, None] for s in range(length))
    return functools.reduce(jnp.add, terms)


def _mix_queries(weights_HxTxSxB, q_HxDxTxB):
    """[H, D, S, B]: sum over t of weights[t, s] q[t]."""
    length = weights_HxTxSxB.shape[1]
    terms = (weights_HxTxSxB[:, None, t] * q_HxDxTxB[:, :, t, None] for t in range(length))
    return functools.reduce(jnp.add, terms)
