"""Attention as it is defined, and another order of the same products that holds all scores at once."""

import jax
import jax.numpy as jnp

MASKED_SCORE = -1e9


def causal_mask(length: int) -> jax.Array:
    """Boolean [T, S]: position t sees the positions s <= t."""
    return jnp.tril(jnp.ones((length, length), bool))


def attend_plain(q_HxDxTxB, k_HxDxTxB, v_HxDxTxB):
    """By two contractions: softmax(q k / sqrt(D)) v (Vaswani et al. 2017, equation 1)."""
    scores_HxTxSxB = jnp.einsum("hdtb,hdsb->htsb", q_HxDxTxB, k_HxDxTxB) * q_HxDxTxB.shape[1] ** -0.5
    weights_HxTxSxB = jax.nn.softmax(masked(scores_HxTxSxB), axis=2)
    return jnp.einsum("htsb,hdsb->hdtb", weights_HxTxSxB.astype(v_HxDxTxB.dtype), v_HxDxTxB)


def attend_transposed(q_HxDxTxB, k_HxDxTxB, v_HxDxTxB):
    """With q, k and v turned to [B, H, T, D] first: from some 20 positions on, the products repay the turning."""
    q_BxHxTxD, k_BxHxTxD, v_BxHxTxD = map(by_example, (q_HxDxTxB, k_HxDxTxB, v_HxDxTxB))
    scores_BxHxTxS = jnp.einsum("bhtd,bhsd->bhts", q_BxHxTxD * q_BxHxTxD.shape[-1] ** -0.5, k_BxHxTxD)
    visible = jnp.where(causal_mask(scores_BxHxTxS.shape[-1]), scores_BxHxTxS.astype(jnp.float32), MASKED_SCORE)
    weights_BxHxTxS = jax.nn.softmax(visible, axis=-1).astype(v_BxHxTxD.dtype)
    return by_feature(jnp.einsum("bhts,bhsd->bhtd", weights_BxHxTxS, v_BxHxTxD))


def masked(scores_HxTxSxB):
    """In float32, and those of later positions far below all others."""
    mask_TxS = causal_mask(scores_HxTxSxB.shape[1])
    return jnp.where(mask_TxS[:, :, None], scores_HxTxSxB.astype(jnp.float32), MASKED_SCORE)


def by_example(array_HxDxTxB):
    """[B, H, T, D]."""
    return array_HxDxTxB.transpose(3, 0, 2, 1)


def by_feature(array_BxHxTxD):
    """[H, D, T, B], the inverse of `by_example`."""
    return array_BxHxTxD.transpose(1, 3, 2, 0)
