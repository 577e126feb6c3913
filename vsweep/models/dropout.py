"""Dropout on the residual branches of a model."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax.extend.random import threefry_2x32


class Piece(NamedTuple):
    """Which examples of a batch a forward pass sees, where a training step takes the batch piece by piece."""

    index: Any  # int32 scalar that may be traced: examples from index * examples on
    examples: int  # of a piece, a multiple of 4
    count: int  # pieces of the batch


@struct.dataclass
class Dropout:
    """The dropout of one forward pass: 8-bit draws for every residual branch, or none. A pytree.

    The probability is rounded to a multiple of 1/256 and survivors are scaled by the rounded one: four draws come out
    of each threefry word, which would otherwise be a visible part of a small model's step.
    """

    draws_RxWxN: jax.Array | None  # uint8, R residual branches
    threshold: jax.Array | None  # float32 scalar, draws below it are dropped; [layers] where layers are scanned

    @classmethod
    def draw(cls, key: jax.Array | None, dropout, shape: tuple[int, int, int], piece: Piece | None = None) -> "Dropout":
        """Draws of `shape` [R, W, N] for the probability `dropout`, a scalar that may be traced; none without a key.

        Of a piece, N is that of its own examples, and the draws are those that the whole batch has for them.
        """
        if key is None:
            return cls(None, None)
        size = shape[0] * shape[1] * shape[2]
        counters = jnp.arange(-(-size // 4), dtype=jnp.uint32) if piece is None else _counters(piece, size)
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
        """`branch_WxN` [W, N], the output of branch `index`, with its share of entries set to 0."""
        if self.draws_RxWxN is None:
            return branch_WxN
        kept_WxN = self.draws_RxWxN[index].astype(jnp.float32) >= self.threshold
        scale = 256.0 / (256.0 - self.threshold)
        return jnp.where(kept_WxN, branch_WxN * scale.astype(branch_WxN.dtype), 0)


def _counters(piece: Piece, size: int) -> jax.Array:
    """uint32 [size / 4]: which words of a batch's draws are those of the piece, whose draws are `size`.

    A batch has a row of draws for each branch, feature and position. Threefry makes a word of the first half of the
    rows together with one of the second half, so a piece computes no word that is not its own. The rows are even in
    number, as a transformer has two branches a layer.
    """
    words = piece.examples // 4  # of a row
    first = jnp.asarray(piece.index, jnp.uint32) * jnp.uint32(words)
    rows = jnp.arange(size // piece.examples, dtype=jnp.uint32) * jnp.uint32(piece.count * words)
    return (rows[:, None] + first + jnp.arange(words, dtype=jnp.uint32)).reshape(-1)
