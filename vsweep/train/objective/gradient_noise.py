"""The norm of a run's gradient, and its noise scale: the batch, in tokens, above which larger ones save few steps.

The simple noise scale is tr(S) / |G|^2, with the true gradient G and the covariance S of the gradient of one label
token (McCandlish et al. 2018, arXiv:1812.06162, equation 2.9). As in their appendix A.1, it comes from gradients of two
batch sizes: those of the two halves of each batch, and of the whole batch, which is their mean. With n1 and n2 label
tokens in the halves, E|g1 - g2|^2 = tr(S) (1/n1 + 1/n2) and E|g|^2 = |G|^2 + tr(S) / (n1 + n2). Both estimates are
without bias, their ratio is not: so each is averaged over steps before they are divided.

A run whose batch goes by halves learns what it would otherwise, but for rounding; dropout draws other masks, and a
penalty of the model is the mean of the halves'.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

AVERAGED_SHARE = 0.1  # of the steps so far: time constant of the running averages
GRAD_NORM, NOISE_SCALE = "grad_norm", "noise_scale_tokens"


class GradientStatistics(NamedTuple):
    """Of one run, float32 scalars, or [K] in a stack."""

    norm: Any  # global norm of the gradient of the last step, before clipping
    squared: Any  # |G|^2, running average of estimates that may be negative
    noise: Any  # tr(S) of one label token, running average


def nothing_yet() -> GradientStatistics:
    """Of a run at step 0."""
    return GradientStatistics(*[jnp.float32(0.0)] * 3)


def by_halves(loss_and_gradient: Callable, tokens_BxS, pad: int) -> tuple[jax.Array, Any, GradientStatistics]:
    """(loss, gradient, estimates of this step) of a batch of an even number of sequences.

    `loss_and_gradient(half, tokens_HxS)` gives the mean loss over the label tokens of half 0 or 1, and its gradient.
    """
    halves_2xHxS = tokens_BxS.reshape(2, -1, tokens_BxS.shape[1])
    labels_2 = (halves_2xHxS[:, :, 1:] != pad).sum(axis=(1, 2)).astype(jnp.float32)
    losses_2, grads_2 = jax.lax.map(lambda half: loss_and_gradient(*half), (jnp.arange(2), halves_2xHxS))
    shares_2 = labels_2 / labels_2.sum()
    loss = (shares_2 * losses_2).sum()
    grads = jax.tree.map(lambda leaf_2: jnp.tensordot(shares_2, leaf_2, 1), grads_2)
    return loss, grads, estimates(grads_2, grads, labels_2)


def estimates(grads_2, grads, labels_2) -> GradientStatistics:
    """Of one step: gradients of two halves (a leading axis of 2) and of the whole, and the halves' label tokens."""
    apart = optax.tree.norm(jax.tree.map(lambda leaf_2: leaf_2[0] - leaf_2[1], grads_2), squared=True)
    noise = apart / (1.0 / labels_2).sum()
    squared = optax.tree.norm(grads, squared=True)
    return GradientStatistics(jnp.sqrt(squared), squared - noise / labels_2.sum(), noise)


def averaged(before: GradientStatistics, now: GradientStatistics, step) -> GradientStatistics:
    """After the update taken at `step`, from 0: averages over the last AVERAGED_SHARE of the steps."""
    window = jnp.maximum(1.0, AVERAGED_SHARE * (jnp.float32(step) + 1.0))
    squared, noise = (old + (new - old) / window for old, new in zip(before[1:], now[1:], strict=True))
    return GradientStatistics(now.norm, squared, noise)


def columns(statistics: GradientStatistics) -> dict[str, float | None]:
    """What curves.csv says of one run, on the host; no noise scale where |G|^2 is lost in the noise."""
    norm, squared, noise = (float(value) for value in statistics)
    return {GRAD_NORM: norm, NOISE_SCALE: noise / squared if squared > 0 else None}
