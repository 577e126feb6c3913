"""Attention over short sequences with tiny heads on GPUs.

By elementwise products and sums: a GPU's compiler fuses each pair into one kernel. Products of 12 x 4 x 12 are slower
there, because feature-major arrays have to be transposed for them. With its own backward pass, because what moves
through memory is what a step costs: the scores are written once, the softmax's weights never.
"""

import jax
import jax.numpy as jnp

from vsweep.models.attention.plain import masked


@jax.custom_vjp
def attend_elementwise(q_HxDxTxB, k_HxDxTxB, v_HxDxTxB):
    """As `plain`, every contraction as an elementwise product and a sum."""
    return _forward(q_HxDxTxB, k_HxDxTxB, v_HxDxTxB)[0]


def _forward(q, k, v):
    """The softmax's division comes last, on [H, D, T, B] instead of [H, T, S, B]."""
    scores_HxTxSxB = masked(_contracted(q, k) * q.shape[1] ** -0.5)
    largest_HxTxB = scores_HxTxSxB.max(axis=2)
    powers_HxTxSxB = jnp.exp(scores_HxTxSxB - largest_HxTxB[:, :, None])
    total_HxTxB = powers_HxTxSxB.sum(axis=2)
    mixed_HxDxTxB = _mix_keys(powers_HxTxSxB, v) / total_HxTxB[:, None]
    log_total_HxTxB = largest_HxTxB + jnp.log(total_HxTxB)
    return mixed_HxDxTxB.astype(v.dtype), (q, k, v, scores_HxTxSxB, log_total_HxTxB, mixed_HxDxTxB)


def _backward(residuals, grad_HxDxTxB):
    q, k, v, scores_HxTxSxB, log_total_HxTxB, mixed_HxDxTxB = residuals
    mean_HxTxB = (grad_HxDxTxB * mixed_HxDxTxB).sum(axis=1)  # of the weights' gradients
    weights_HxTxSxB = jnp.exp(scores_HxTxSxB - log_total_HxTxB[:, :, None])
    centred_HxTxSxB = _contracted(grad_HxDxTxB, v) - mean_HxTxB[:, :, None]
    grad_scores = weights_HxTxSxB * centred_HxTxSxB * q.shape[1] ** -0.5
    grads = _mix_keys(grad_scores, k), _mix_queries(grad_scores, q), _mix_queries(weights_HxTxSxB, grad_HxDxTxB)
    return tuple(grad.astype(array.dtype) for grad, array in zip(grads, (q, k, v), strict=True))


attend_elementwise.defvjp(_forward, _backward)


def _contracted(q_HxDxTxB, k_HxDxTxB):
    """Float32 [H, T, S, B]: sum over d of q[d, t] k[d, s]."""
    return (q_HxDxTxB[:, :, :, None] * k_HxDxTxB[:, :, None]).sum(axis=1, dtype=jnp.float32)


def _mix_keys(weights_HxTxSxB, v_HxDxTxB):
    """Float32 [H, D, T, B]: sum over s of weights[t, s] v[s]."""
    return (weights_HxTxSxB[:, None] * v_HxDxTxB[:, :, None]).sum(axis=3)


def _mix_queries(weights_HxTxSxB, q_HxDxTxB):
    """Float32 [H, D, S, B]: sum over t of weights[t, s] q[t]."""
    return (weights_HxTxSxB[:, None] * q_HxDxTxB[:, :, :, None]).sum(axis=2)
