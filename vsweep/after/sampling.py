"""Continuing token sequences with one model: greedily, or by drawing from its probabilities.

Shapes in names: Q sequences, R tokens of each, T tokens that the model sees at once, W width, V vocabulary.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from vsweep.models.base import Model

AT_ONCE = 64  # sequences in one program
COLDEST = 1e-30  # below it no token but the likeliest has a chance, and a quotient overflows float32


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    A sample depends on the seed, its number and its query alone, not on what else is asked beside it.
    """

    temperature: float = 0.0  # logits are divided by it; 0, or below `COLDEST`: the likeliest token
    top_k: int = 0  # draw among so many of the likeliest tokens; 0: among all
    seed: int = 0
    samples: int = 1  # of each query


GREEDY = Sampling()


def continuations(
    model: Model, params, queries: Sequence[Sequence[int]], lengths: Sequence[int], sampling: Sampling = GREEDY, *, pad
) -> Iterator[np.ndarray]:
    """Yields int32 tokens [R] for each sample of each query, in their order: the query, and what follows it.

    R is the number in `lengths` of that query, which has at least a token and at most R. A model sees the last T tokens
    before each new one, T being `model.shape.positions`. Positions that are not decoded yet hold `pad`, and the causal
    mask hides them.
    """
    jobs = [(query, end, n) for query, end in zip(queries, lengths, strict=True) for n in range(sampling.samples)]
    width = max([model.shape.positions + 1, *lengths])
    rows = min(AT_ONCE, len(jobs))
    for first in range(0, len(jobs), AT_ONCE):
        batch = jobs[first : first + AT_ONCE]
        filled = [*batch, *[batch[-1]] * (rows - len(batch))]  # one shape, so one program
        tokens_QxR = np.full((rows, width), pad, np.int32)
        for row, (query, _, _) in enumerate(filled):
            tokens_QxR[row, : len(query)] = query
        places = [(len(query), end, number) for query, end, number in filled]
        starts_Q, ends_Q, numbers_Q = np.array(places, np.int32).T
        drawing = (np.float32(sampling.temperature), np.uint32(sampling.seed), numbers_Q)
        decoded_QxR = _decode(model, sampling.top_k, params, tokens_QxR, starts_Q, ends_Q, drawing)
        yield from (row[:end] for row, (_, end, _) in zip(np.asarray(decoded_QxR), batch, strict=False))


def next_logits(model: Model, params, tokens_QxT, place) -> jax.Array:
    """Float32 logits [Q, V] of the token after position `place` (traced). The head is applied at that position only.

    A user's own model that has no `features` computes the logits of all positions.
    """
    if model.features is None or model.head is None:
        return model.apply(params, tokens_QxT)[:, place]
    x_WxN, _ = model.features(params, tokens_QxT)
    x_WxTxQ = x_WxN.reshape(x_WxN.shape[0], tokens_QxT.shape[1], tokens_QxT.shape[0])
    return (model.head(params).astype(x_WxN.dtype) @ x_WxTxQ[:, place]).astype(jnp.float32).T


@functools.partial(jax.jit, static_argnums=(0, 1))
def _decode(model: Model, top_k: int, params, tokens_QxR, starts_Q, ends_Q, drawing):
    """Tokens [Q, R], filled from each start up to the last end."""
    temperature, seed, numbers_Q = drawing
    seen = model.shape.positions
    keys_Q = jax.vmap(lambda number: jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), number))(numbers_Q)

    def extend(position, tokens_QxR):
        first = jnp.maximum(position - seen, 0)
        window_QxT = jax.lax.dynamic_slice_in_dim(tokens_QxR, first, seen, axis=1)
        logits_QxV = next_logits(model, params, window_QxT, position - 1 - first)
        chosen_Q = _choose(logits_QxV, jax.vmap(jax.random.fold_in, (0, None))(keys_Q, position), temperature, top_k)
        chosen_Q = jnp.where(position >= starts_Q, chosen_Q, tokens_QxR[:, position])
        return tokens_QxR.at[:, position].set(chosen_Q)

    return jax.lax.fori_loop(jnp.maximum(starts_Q.min(), 1), ends_Q.max(), extend, tokens_QxR)


def _choose(logits_QxV, keys_Q, temperature, top_k: int):
    """int32 [Q]."""
    likeliest_Q = jnp.argmax(logits_QxV, axis=-1).astype(jnp.int32)
    if top_k:
        least_Q = jax.lax.top_k(logits_QxV, top_k)[0][:, -1]
        logits_QxV = jnp.where(logits_QxV < least_Q[:, None], -jnp.inf, logits_QxV)
    draws = temperature >= COLDEST
    scaled_QxV = logits_QxV / jnp.where(draws, temperature, 1.0)
    drawn_Q = jax.vmap(jax.random.categorical)(keys_Q, scaled_QxV).astype(jnp.int32)
    return jnp.where(draws, drawn_Q, likeliest_Q)
