"""From per-example sums to losses with standard errors, in float64 on the host.

A loss is a ratio of sums: nats over label tokens. Its standard error is that of a ratio estimator over examples (the
residuals l_i - R n_i; Cochran 1977, eq. 2.39), for the labels of one example go together.
"""

from typing import NamedTuple

import numpy as np

from vsweep.schema import EVALUATION_FIELDS
from vsweep.tasks.base import HeldOut


class LabelCounts(NamedTuple):
    """What the statistics need to know of the held-out examples, per example. None: the task does not say."""

    labels_N: np.ndarray
    answer_labels_N: np.ndarray | None
    surprisal_N: np.ndarray | None  # float64, nats: the loss of a perfect model


def label_counts(held_out: HeldOut, pad: int) -> LabelCounts:
    """Counts of labels, of answer labels and the surprisal of each held-out example, [N] each."""
    answer, surprisal = held_out.answer_NxL, held_out.surprisal_NxL
    return LabelCounts(
        labels_N=(held_out.tokens_NxS[:, 1:] != pad).sum(axis=1),
        answer_labels_N=None if answer is None else answer.sum(axis=1),
        surprisal_N=None if surprisal is None else surprisal.sum(axis=1, dtype=np.float64),
    )


def summarise(loss_N, answer_loss_N, exact_N, counts: LabelCounts) -> dict[str, float | None]:
    """The EVALUATION_FIELDS of the first N held-out examples; None for what the task does not say.

    `excess_loss` is a paired difference: each example's loss minus the surprisal of the same labels, so the randomness
    of the operands drops out of its standard error.
    """
    examples = len(loss_N)
    labels_N, answers_N, surprisal_N = (None if column is None else column[:examples] for column in counts)
    loss_N = np.asarray(loss_N, np.float64)
    excess = answer = (None, None)
    exact_match = None
    if surprisal_N is not None:
        excess = ratio(loss_N - surprisal_N, labels_N)
    if answers_N is not None:
        answer = ratio(np.asarray(answer_loss_N, np.float64), answers_N)
        exact_match = float(np.mean(exact_N))
    values = (*ratio(loss_N, labels_N), *excess, *answer, exact_match, examples)
    return dict(zip(EVALUATION_FIELDS, values, strict=True))


def summarise_metric(value_N) -> tuple[float, float]:
    """(mean, its standard error) of a number for each example."""
    value_N = np.asarray(value_N, np.float64)
    return ratio(value_N, np.ones(len(value_N)))


def ratio(numerator_N: np.ndarray, denominator_N: np.ndarray) -> tuple[float, float]:
    """(sum / sum, its standard error over examples)."""
    total = denominator_N.sum()
    value = numerator_N.sum() / total
    residuals = numerator_N - value * denominator_N
    examples = len(residuals)
    return float(value), float(np.sqrt(examples / max(examples - 1, 1) * np.square(residuals).sum()) / total)
