"""Attention in blocks of positions: memory grows with the length, not with its square.

FlashAttention-2 (Dao 2023, arXiv:2307.08691, algorithms 1 and 2) by a scan over the pairs of a block of queries and a
block of keys that it sees. The backward pass computes the scores of a pair again. The scan has a length that is known
when it is compiled, and pairs that nothing sees are never computed.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vsweep.models.attention.plain import MASKED_SCORE, by_example, by_feature

BLOCK = 128  # positions


class _Running(NamedTuple):
    """What is known of each query after some of its keys. N blocks of P positions."""

    mixed_NxBxHxPxD: jax.Array  # sums of exp(score - largest) v
    largest_NxBxHxP: jax.Array
    total_NxBxHxP: jax.Array  # sums of exp(score - largest)


def attend_blocked(q_HxDxTxB, k_HxDxTxB, v_HxDxTxB):
    """As `plain`, a block of queries and a block of keys at a time."""
    length = q_HxDxTxB.shape[2]
    blocks = (_blocks(by_example(array)) for array in (q_HxDxTxB, k_HxDxTxB, v_HxDxTxB))
    mixed_NxBxHxPxD = _attend(*blocks)
    batch, heads, _, head_dim = mixed_NxBxHxPxD.shape[1:]
    mixed_BxHxTxD = mixed_NxBxHxPxD.transpose(1, 2, 0, 3, 4).reshape(batch, heads, -1, head_dim)
    return by_feature(mixed_BxHxTxD[:, :, :length])


def _blocks(array_BxHxTxD):
    """[N, B, H, P, D]. The last block is filled up with zeros, which no query sees: they are behind all others."""
    batch, heads, length, head_dim = array_BxHxTxD.shape
    padded = jnp.pad(array_BxHxTxD, ((0, 0), (0, 0), (0, -length % BLOCK), (0, 0)))
    return padded.reshape(batch, heads, -1, BLOCK, head_dim).transpose(2, 0, 1, 3, 4)


@jax.custom_vjp
def _attend(q_NxBxHxPxD, k_NxBxHxPxD, v_NxBxHxPxD):
    return _forward(q_NxBxHxPxD, k_NxBxHxPxD, v_NxBxHxPxD)[0]


def _forward(q, k, v):
    start = _Running(
        jnp.zeros(q.shape, jnp.float32),
        jnp.full(q.shape[:-1], MASKED_SCORE, jnp.float32),
        jnp.zeros(q.shape[:-1], jnp.float32),
    )

    def step(running: _Running, pair):
        query, key = pair
        before = jax.tree.map(lambda array: array[query], running)
        scores_BxHxPxS = _scores(q, k, query, key)
        largest = jnp.maximum(before.largest_NxBxHxP, scores_BxHxPxS.max(axis=-1))
        powers, kept = jnp.exp(scores_BxHxPxS - largest[..., None]), jnp.exp(before.largest_NxBxHxP - largest)
        mixed = kept[..., None] * before.mixed_NxBxHxPxD + _product("bhps,bhsd->bhpd", powers.astype(v.dtype), v[key])
        after = _Running(mixed, largest, kept * before.total_NxBxHxP + powers.sum(axis=-1))
        return jax.tree.map(lambda array, new: array.at[query].set(new), running, after), None

    done, _ = jax.lax.scan(step, start, _pairs(len(q)))
    mixed_NxBxHxPxD = (done.mixed_NxBxHxPxD / done.total_NxBxHxP[..., None]).astype(v.dtype)
    log_total_NxBxHxP = done.largest_NxBxHxP + jnp.log(done.total_NxBxHxP)
    return mixed_NxBxHxPxD, (q, k, v, mixed_NxBxHxPxD, log_total_NxBxHxP)


def _backward(residuals, grad_NxBxHxPxD):
    q, k, v, mixed_NxBxHxPxD, log_total_NxBxHxP = residuals
    mean_NxBxHxP = _product("nbhpd,nbhpd->nbhp", grad_NxBxHxPxD, mixed_NxBxHxPxD)  # of the weights' gradients

    def step(sums, pair):
        query, key = pair
        grad_q, grad_k, grad_v = sums
        weights = jnp.exp(_scores(q, k, query, key) - log_total_NxBxHxP[query][..., None])
        grad = grad_NxBxHxPxD[query]
        centred = _product("bhpd,bhsd->bhps", grad, v[key]) - mean_NxBxHxP[query][..., None]
        grad_scores = (weights * centred * _scale(q)).astype(q.dtype)
        grad_q = grad_q.at[query].add(_product("bhps,bhsd->bhpd", grad_scores, k[key]))
        grad_k = grad_k.at[key].add(_product("bhps,bhpd->bhsd", grad_scores, q[query]))
        grad_v = grad_v.at[key].add(_product("bhps,bhpd->bhsd", weights.astype(q.dtype), grad))
        return (grad_q, grad_k, grad_v), None

    zeros = jnp.zeros(q.shape, jnp.float32)
    sums, _ = jax.lax.scan(step, (zeros, zeros, zeros), _pairs(len(q)))
    return tuple(total.astype(q.dtype) for total in sums)


_attend.defvjp(_forward, _backward)


def _pairs(blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """(blocks of queries, blocks of keys): the keys are never behind the queries."""
    return tuple(indices.astype(np.int32) for indices in np.tril_indices(blocks))


def _scores(q_NxBxHxPxD, k_NxBxHxPxD, query, key):
    """Float32 [B, H, P, S] of one pair of blocks; those of later positions are far below all others."""
    scores = _product("bhpd,bhsd->bhps", q_NxBxHxPxD[query], k_NxBxHxPxD[key]) * _scale(q_NxBxHxPxD)
    positions = jnp.arange(BLOCK)
    seen_PxS = (query - key) * BLOCK + positions[:, None] >= positions
    return jnp.where(seen_PxS, scores, MASKED_SCORE)


def _scale(q) -> float:
    return q.shape[-1] ** -0.5


def _product(subscripts: str, one, other):
    return jnp.einsum(subscripts, one, other, preferred_element_type=jnp.float32)
