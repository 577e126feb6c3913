"""A batch that a training step takes piece by piece, so that the arrays of a step stay in a core's cache."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vsweep.models.dropout import Piece


def by_pieces(share_and_gradient: Callable, params, tokens_BxS, size: int, pad: int) -> tuple[jax.Array, Any]:
    """(loss, gradient) of a batch, whose examples `size` divides.

    `share_and_gradient(piece, total, tokens_CxS)` gives what a `Piece` of the batch adds to both, where `total` labels
    count in the whole batch. A mean over these is a sum over pieces, so only rounding differs.
    """
    pieces_PxCxS = tokens_BxS.reshape(-1, size, tokens_BxS.shape[1])
    count, total = len(pieces_PxCxS), (tokens_BxS[:, 1:] != pad).sum()

    def add(sums, inputs):
        index, tokens_CxS = inputs
        return jax.tree.map(jnp.add, sums, share_and_gradient(Piece(index, size, count), total, tokens_CxS)), None

    nothing = (jnp.float32(0.0), jax.tree.map(jnp.zeros_like, params))
    return jax.lax.scan(add, nothing, (jnp.arange(count), pieces_PxCxS))[0]
