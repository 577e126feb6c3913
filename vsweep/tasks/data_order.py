"""The order in which a run sees its examples: a pure function of (data seed, unique examples, position).

Position p = step x batch + i lies in epoch p // n, and a batch may straddle two epochs. Each epoch is a permutation
drawn from `default_rng([data_seed, epoch])`, so resuming needs only the step, every example is seen exactly once an
epoch, and runs of one data seed share the prefix of their order across budgets. A run with fewer unique examples sees
the first ones of that order again and again, in a new order each epoch.
"""

import collections
import threading
from collections.abc import Callable, Hashable

import numpy as np

KEPT_BYTES = 2**30  # of epochs: 290 of 900,000 examples, or any number of small ones


class LastUsed:
    """Arrays by key, those used last, up to `max_bytes` in all: a number of arrays would be too many or too few."""

    def __init__(self, max_bytes: int):
        self._max_bytes = max_bytes
        self._bytes = 0
        self._arrays: collections.OrderedDict[Hashable, np.ndarray] = collections.OrderedDict()
        self._lock = threading.Lock()  # the tables are written in another thread than the one that trains

    def get(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of `key`, made by `make` if it is not kept; two threads may both make one."""
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
                return self._arrays[key]
        made = make()
        with self._lock:
            self._bytes += made.nbytes - (self._arrays[key].nbytes if key in self._arrays else 0)
            self._arrays[key] = made
            while self._bytes > self._max_bytes and len(self._arrays) > 1:
                self._bytes -= self._arrays.popitem(last=False)[1].nbytes
        return made


_epochs = LastUsed(KEPT_BYTES)


def examples(data_seed: int, unique: int, total: int, first: int, count: int) -> np.ndarray:
    """int32 [count]: the training examples (of `total`) at positions first .. first + count of the run's order."""
    parts = []
    while count:
        epoch, start = divmod(first, unique)
        taken = epoch_order(data_seed, unique, total, epoch)[start : start + count]
        parts.append(taken)
        first, count = first + len(taken), count - len(taken)
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)


def epoch_order(data_seed: int, unique: int, total: int, epoch: int) -> np.ndarray:
    """int32 [unique]: one epoch; the first epoch is the beginning of a permutation of all examples."""
    key = (data_seed, unique, total, epoch)
    return _epochs.get(key, lambda: draw_epoch(*key))


def draw_epoch(data_seed: int, unique: int, total: int, epoch: int) -> np.ndarray:
    """The same, not kept."""
    if unique == total or epoch == 0:
        return np.random.default_rng([data_seed, epoch]).permutation(total)[:unique].astype(np.int32)
    subset = epoch_order(data_seed, unique, total, 0)
    return subset[np.random.default_rng([data_seed, epoch]).permutation(unique)]


def token_counts(label_tokens: int | np.ndarray, data_seed: int, unique: int, positions: list[int]) -> list[int]:
    """Exact label tokens a run has trained on after each of `positions` examples (increasing); Python ints.

    `label_tokens` is the number of label tokens of every training example, or [total] of each.
    """
    if isinstance(label_tokens, int):
        return [position * label_tokens for position in positions]
    counts, tokens, done = [], 0, 0
    for position in positions:
        seen = examples(data_seed, unique, len(label_tokens), done, position - done)
        tokens += int(label_tokens[seen].sum(dtype=np.int64))
        counts.append(tokens)
        done = position
    return counts
