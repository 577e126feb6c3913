"""Which of many curves can be the lowest in some resample: few, so that a resample draws these alone."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

ROUNDING = 1e-9  # of log losses: more than sums of a few runs lose


@dataclass(frozen=True)
class Contest:
    """The curves that are the lowest at some compute in some resample: few of many, and all others need not be drawn.

    `curve` [g, m] are the numbers of those that may win at each compute, in order; where `there` [g, m] is False there
    are no more.
    """

    curve: np.ndarray
    there: np.ndarray

    @classmethod
    def between(cls, lowest: np.ndarray, highest: np.ndarray) -> "Contest":
        """Of curves whose log loss lies between `lowest` and `highest` [g, k], infinite where they are absent."""
        at, curve = np.nonzero(lowest - ROUNDING <= highest.min(axis=1, keepdims=True) + ROUNDING)
        count = np.bincount(at, minlength=len(lowest))
        place = np.arange(len(at)) - np.repeat(np.cumsum(count) - count, count)
        padded = np.zeros((len(lowest), count.max()), int)
        padded[at, place] = curve
        return cls(padded, np.arange(count.max()) < count[:, None])

    def winners(self, resampled: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The lowest curve and its log loss [r, g], from those of `curve` [g, m] in one resample after the other."""
        best, lowest, rows = [], [], np.arange(len(self.curve))
        for log_loss in resampled:
            log_loss = np.where(self.there, log_loss, np.inf)
            first = log_loss.argmin(axis=1)
            best.append(self.curve[rows, first])
            lowest.append(log_loss[rows, first])
        return np.stack(best), np.stack(lowest)
