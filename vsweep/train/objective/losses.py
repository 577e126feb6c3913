"""Cross-entropy of a model's logits. With a large vocabulary the logits never exist all at once.

Logits [B, T, V] of 50,000 tokens are most of the memory of a training step. A loss that scans over chunks of positions
holds those of one chunk. It makes the gradients of features and head in its forward pass, where the logits are there:
a mean loss has a scalar cotangent, so the backward pass only scales. (As in Liger Kernel, Hsu et al. 2024,
arXiv:2410.10989, section 3.2.) Small losses keep the plain path, which is faster there.

Shapes in names: B batch, T positions, N = T B positions of all examples, position-major; C of a chunk, W width, V
vocabulary. All functions are of one run; a stack lifts them.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vsweep.models.accounting import logits_chunk
from vsweep.models.base import Model


class LabelLosses(NamedTuple):
    """Of each label, whether it counts or not."""

    loss_BxT: jax.Array  # float32, nats
    right_BxT: jax.Array  # bool, the label is the argmax


def training_loss(model: Model, params, inputs_BxT, labels_BxT, counted_BxT, total=None, **dropout) -> jax.Array:
    """Mean nats over the labels that count, and the model's penalty if it has one. `dropout` as `Model.apply` takes it.

    At least one label counts. Of a piece of a batch, `total` labels count in the whole batch, and this is the share of
    the piece in the batch's loss.
    """
    total = counted_BxT.sum() if total is None else total
    chunk = chunk_of(model, labels_BxT.size)
    if chunk is None:
        logits_BxTxV, penalty = model.training_logits(params, inputs_BxT, **dropout)
        losses_BxT = label_losses(logits_BxTxV, labels_BxT)
        loss = jnp.where(counted_BxT, losses_BxT, 0.0).sum() / total
    else:
        x_WxN, penalty = model.features(params, inputs_BxT, **dropout)
        labels_N, counted_N = _position_major(labels_BxT), _position_major(counted_BxT)
        loss = chunked_sum(chunk, model.head(params), x_WxN, labels_N, counted_N) / total
    return loss if penalty is None else loss + penalty


def evaluation_losses(model: Model, params, inputs_BxT, labels_BxT) -> LabelLosses:
    """The losses of all labels, dropout off; by chunks wherever the training loss goes by chunks."""
    chunk = chunk_of(model, labels_BxT.size)
    if chunk is None:
        return losses_of_logits(model.apply(params, inputs_BxT), labels_BxT)
    x_WxN, _ = model.features(params, inputs_BxT)
    head_VxW = model.head(params)

    def body(_, chunk_of_x_and_labels):
        x_WxC, labels_C = chunk_of_x_and_labels
        logits_VxC = _logits(head_VxW, x_WxC)
        loss_C = jax.nn.logsumexp(logits_VxC, axis=0) - _label_logits(logits_VxC, labels_C)
        return None, (loss_C, jnp.argmax(logits_VxC, axis=0) == labels_C)

    labels_N = _position_major(labels_BxT)
    _, found = jax.lax.scan(body, None, (_chunks(x_WxN, chunk), _filled(labels_N, chunk).reshape(-1, chunk)))
    loss_N, right_N = (each.reshape(-1)[: labels_N.size] for each in found)
    return LabelLosses(*(each_N.reshape(labels_BxT.shape[::-1]).T for each_N in (loss_N, right_N)))


def losses_of_logits(logits_BxTxV, labels_BxT) -> LabelLosses:
    """The same of logits that are there."""
    return LabelLosses(label_losses(logits_BxTxV, labels_BxT), jnp.argmax(logits_BxTxV, axis=-1) == labels_BxT)


def chunk_of(model: Model, positions: int) -> int | None:
    """Positions of a chunk of `positions` of all examples; None where all logits are made at once."""
    if model.features is None or model.head is None:
        return None
    return logits_chunk(positions, model.shape.vocabulary)


def label_losses(logits_BxTxV, labels_BxT) -> jax.Array:
    """Cross-entropy [B, T] in nats, along the model's own feature-major order; no one-hot array is ever made."""
    logits_VxTxB, labels_TxB = logits_BxTxV.T, labels_BxT.T
    is_label = labels_TxB == jnp.arange(logits_VxTxB.shape[0])[:, None, None]
    label_logits_TxB = jnp.where(is_label, logits_VxTxB, 0.0).sum(axis=0)
    return (jax.nn.logsumexp(logits_VxTxB, axis=0) - label_logits_TxB).T


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def chunked_sum(chunk: int, head_VxW, x_WxN, labels_N, counted_N) -> jax.Array:
    """Sum of nats over the positions that count, `chunk` at a time. Logits are float32 products in the type of x."""

    def body(total, inputs):
        x_WxC, labels_C, counted_C = inputs
        logits_VxC = _logits(head_VxW, x_WxC)
        loss_C = jax.nn.logsumexp(logits_VxC, axis=0) - _label_logits(logits_VxC, labels_C)
        return total + jnp.where(counted_C, loss_C, 0.0).sum(), None

    return jax.lax.scan(body, jnp.float32(0.0), _inputs(chunk, x_WxN, labels_N, counted_N))[0]


def _chunked_sum_forward(chunk: int, head_VxW, x_WxN, labels_N, counted_N):
    """The sum, and its gradients: of the head summed in float32 over the chunks, of x in its own type."""

    def body(carry, inputs):
        total, head_grad_VxW = carry
        x_WxC, labels_C, counted_C = inputs
        logits_VxC = _logits(head_VxW, x_WxC)
        largest_C = logits_VxC.max(axis=0)
        powers_VxC = jnp.exp(logits_VxC - largest_C)
        sums_C = powers_VxC.sum(axis=0)
        loss_C = jnp.log(sums_C) + largest_C - _label_logits(logits_VxC, labels_C)
        share_VxC = powers_VxC / sums_C - _is_label(logits_VxC, labels_C)
        grad_VxC = jnp.where(counted_C, share_VxC, 0.0).astype(x_WxC.dtype)
        head_grad_VxW += jnp.dot(grad_VxC, x_WxC.T, preferred_element_type=jnp.float32)
        x_grad_WxC = head_VxW.astype(x_WxC.dtype).T @ grad_VxC
        return (total + jnp.where(counted_C, loss_C, 0.0).sum(), head_grad_VxW), x_grad_WxC

    start = (jnp.float32(0.0), jnp.zeros(head_VxW.shape, jnp.float32))
    (total, head_grad_VxW), x_grad = jax.lax.scan(body, start, _inputs(chunk, x_WxN, labels_N, counted_N))
    x_grad_WxN = x_grad.transpose(1, 0, 2).reshape(x_WxN.shape[0], -1)[:, : x_WxN.shape[1]]
    return total, (head_grad_VxW.astype(head_VxW.dtype), x_grad_WxN)


def _chunked_sum_backward(chunk: int, gradients, cotangent):
    head_grad_VxW, x_grad_WxN = gradients
    return head_grad_VxW * cotangent, (x_grad_WxN * cotangent).astype(x_grad_WxN.dtype), None, None


chunked_sum.defvjp(_chunked_sum_forward, _chunked_sum_backward)


def _inputs(chunk: int, x_WxN, labels_N, counted_N):
    labels_N, counted_N = (_filled(array_N, chunk) for array_N in (labels_N, counted_N))
    return _chunks(x_WxN, chunk), labels_N.reshape(-1, chunk), counted_N.reshape(-1, chunk)


def _chunks(x_WxN, chunk: int):
    """[chunks, W, C]."""
    return _filled(x_WxN, chunk).reshape(x_WxN.shape[0], -1, chunk).transpose(1, 0, 2)


def _filled(array, chunk: int):
    """Positions, the last axis, filled up to whole chunks: with zeros, and none of them counts."""
    missing = -array.shape[-1] % chunk
    return jnp.pad(array, [*[(0, 0)] * (array.ndim - 1), (0, missing)]) if missing else array


def _position_major(array_BxT):
    """[N]: as the columns of a model's features."""
    return array_BxT.T.reshape(-1)


def _logits(head_VxW, x_WxC):
    return (head_VxW.astype(x_WxC.dtype) @ x_WxC).astype(jnp.float32)


def _is_label(logits_VxC, labels_C):
    return labels_C == jnp.arange(logits_VxC.shape[0])[:, None]


def _label_logits(logits_VxC, labels_C):
    return jnp.where(_is_label(logits_VxC, labels_C), logits_VxC, 0.0).sum(axis=0)
