"""From per-example sums to losses with standard errors, in float64 on the host.

A loss is a ratio of sums: nats over label tokens. Its standard error is that of a ratio estimator over examples (the
residuals l_i - R n_i; Cochran 1977, eq. 2.39), for the labels of one example go together.
"""

from typing import NamedTuple

import numpy as np

from vsweep.schema import EVALUATION_FIELDS
from vsweep.tasks.base import HeldOut


class LabelCounts(NamedTuple):
    """What the statistics need to know of the held-out examples, per example."""

    labels_N: np.ndarray
    answer_labels_N: np.ndarray
    surprisal_N: np.ndarray  # float64, nats: the loss of a perfect model


def label_counts(held_out: HeldOut, pad: int) -> LabelCounts:
    """Counts of labels, of answer labels and the surprisal of each held-out example, [N] each."""
    return LabelCounts(
        labels_N=(held_out.tokens_NxS[:, 1:] != pad).sum(axis=1),
        answer_labels_N=held_out.answer_NxL.sum(axis=1),
        surprisal_N=held_out.surprisal_NxL.sum(axis=1, dtype=np.float64),
    )


def summarise(loss_N, answer_loss_N, exact_N, counts: LabelCounts) -> dict[str, float]:
    """The EVALUATION_FIELDS of the first N held-out examples.

    `excess_loss` is a paired difference: each example's loss minus the surprisal of the same labels, so the randomness
    of the operands drops out of its standard error.
    """
    examples = len(loss_N)
    labels_N, answers_N, surprisal_N = (column[:examples] for column in counts)
    loss_N = np.asarray(loss_N, np.float64)
    val_loss, val_loss_se = ratio(loss_N, labels_N)
    excess_loss, excess_loss_se = ratio(loss_N - surprisal_N, labels_N)
    answer_loss, answer_loss_se = ratio(np.asarray(answer_loss_N, np.float64), answers_N)
    values = (val_loss, val_loss_se, excess_loss, excess_loss_se, answer_loss, answer_loss_se)
    return dict(zip(EVALUATION_FIELDS, (*values, float(np.mean(exact_N)), examples), strict=True))


def ratio(numerator_N: np.ndarray, denominator_N: np.ndarray) -> tuple[float, float]:
    """(sum / sum, its standard error over examples)."""
    total = denominator_N.sum()
    value = numerator_N.sum() / total
    residuals = numerator_N - value * denominator_N
    examples = len(residuals)
    return float(value), float(np.sqrt(examples / max(examples - 1, 1) * np.square(residuals).sum()) / total)
