"""Attention over short sequences with tiny heads on CPU.

XLA would run thousands of 12 x 4 x 12 products one by one. Here each contraction is a short sum of elementwise products
over the batch, with its own backward pass, because the transpose of a slice would undo the gain.
"""

import functools

import jax
import jax.numpy as jnp

from vsweep.models.attention.plain import masked


@jax.custom_vjp
def attend_short(q_HxDxTxB, k_HxDxTxB, v_HxDxTxB):
    """As `plain`, with every contraction a sum of elementwise products over the batch."""
    return _attend_short_forward(q_HxDxTxB, k_HxDxTxB, v_HxDxTxB)[0]


def _attend_short_forward(q, k, v):
    """The softmax's division comes last, on [H, D, T, B] instead of [H, T, S, B]."""
    scores_HxTxSxB = masked(_scores(q * q.shape[1] ** -0.5, k))
    powers_HxTxSxB = jnp.exp(scores_HxTxSxB - scores_HxTxSxB.max(axis=2, keepdims=True)).astype(v.dtype)
    total_HxTxB = _sum(powers_HxTxSxB[:, :, s] for s in range(k.shape[2]))
    mixed_HxDxTxB = in_memory(_mix_keys(powers_HxTxSxB, v) / total_HxTxB[:, None])
    return mixed_HxDxTxB, (q, k, v, powers_HxTxSxB, total_HxTxB, mixed_HxDxTxB)


def _attend_short_backward(residuals, grad_HxDxTxB):
    q, k, v, powers_HxTxSxB, total_HxTxB, mixed_HxDxTxB = residuals
    grad = in_memory(grad_HxDxTxB / total_HxTxB[:, None])
    mean_HxTxB = _sum(grad[:, d] * mixed_HxDxTxB[:, d] for d in range(q.shape[1]))  # of the weights' gradients
    centred_HxTxSxB = _scores(grad, v) - mean_HxTxB[:, :, None]
    grad_scores = in_memory(powers_HxTxSxB * centred_HxTxSxB * q.shape[1] ** -0.5)
    grads = _mix_keys(grad_scores, k), _mix_queries(grad_scores, q), _mix_queries(powers_HxTxSxB, grad)
    return in_memory(grads)


attend_short.defvjp(_attend_short_forward, _attend_short_backward)


def in_memory(arrays):
    """`arrays`, finished before their next use.

    XLA:CPU otherwise fuses them into what follows: sums over positions are done again for every use, and the reshape
    that a matmul asks for turns every index into a division by the batch, at three to five times the cost. It does not
    fuse through a conditional, nor see through the barrier that its condition is always true.
    """
    always = jax.lax.optimization_barrier(jnp.bool_(True))
    return jax.lax.cond(always, lambda kept: kept, lambda kept: jax.tree.map(jnp.zeros_like, kept), arrays)


def _scores(q_HxDxTxB, k_HxDxTxB):
    """[H, T, S, B]: sum over d of q[d, t] k[d, s]."""
    return _sum(q_HxDxTxB[:, d, :, None] * k_HxDxTxB[:, d, None] for d in range(q_HxDxTxB.shape[1]))


def _mix_keys(weights_HxTxSxB, v_HxDxTxB):
    """[H, D, T, B]: sum over s of weights[t, s] v[s]."""
    length = weights_HxTxSxB.shape[2]
    return _sum(weights_HxTxSxB[:, None, :, s] * v_HxDxTxB[:, :, s, None] for s in range(length))


def _mix_queries(weights_HxTxSxB, q_HxDxTxB):
    """[H, D, S, B]: sum over t of weights[t, s] q[t]."""
    length = weights_HxTxSxB.shape[1]
    return _sum(weights_HxTxSxB[:, None, t] * q_HxDxTxB[:, :, t, None] for t in range(length))


def _sum(terms):
    """As a chain of additions: XLA:CPU hands a reduction over so short an axis to a library that is slower at it."""
    return functools.reduce(jnp.add, terms)
