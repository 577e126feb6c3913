"""Text of a Markov chain: a source whose entropy is known exactly, so the E of a fitted law can be checked.

The next token depends on the last `order` ones by a random table of probabilities, drawn from a Dirichlet distribution.
Each example begins with `order` tokens drawn uniformly; they are context, and so is the first label short of `order`.
"""

import dataclasses
import functools
import hashlib
import math

import numpy as np

from vsweep.config.registry import option
from vsweep.tasks.base import HeldOut


def _whole(low: int, high: int) -> dict:
    return {"allowed": f"an integer from {low} to {high}", "test": lambda value: low <= value <= high}


@dataclasses.dataclass(frozen=True)
class Options:
    """Of the section `task`."""

    symbols: int = option(8, "size of the vocabulary", **_whole(2, 64))
    order: int = option(2, "tokens that the next one depends on", **_whole(1, 3))
    length: int = option(17, "tokens of an example", unit="tokens", **_whole(5, 1024))
    concentration: float = option(
        0.3,
        "of the Dirichlet distribution: below 1, few tokens are likely",
        allowed="a number from 0.01 to 100",
        test=lambda value: 0.01 <= value <= 100,
    )
    training_examples: int = option(100_000, "examples to train on", unit="examples", **_whole(1, 10**8))
    validation_examples: int = option(10_000, "examples that are held out", unit="examples", **_whole(1, 10**7))
    source_seed: int = option(0, "seed of the source and its examples", **_whole(0, 2**31 - 1))


class Markov:
    """Sequences of a random Markov chain of some order."""

    Options = Options
    may_repeat = True  # every example is drawn afresh

    def __init__(self, options: Options):
        self.options = options
        self.vocabulary = options.symbols
        self.sequence_length = options.length
        self.train_examples = options.training_examples
        self.mean_label_tokens = options.length - 1

    @functools.cached_property
    def table_CxV(self) -> np.ndarray:
        """float64 [contexts, V]: probabilities of the next token. A context is a number in base V, oldest first."""
        symbols = self.options.symbols
        rng = np.random.default_rng([self.options.source_seed, symbols, self.options.order])
        table_CxV = rng.dirichlet(np.full(symbols, self.options.concentration), symbols**self.options.order)
        return (table_CxV + 1e-6) / (table_CxV + 1e-6).sum(axis=1, keepdims=True)  # so that no surprisal is infinite

    @functools.cached_property
    def floor(self) -> float:
        """Exact entropy of the labels, nats a label: ln V for labels in the uniform beginning, then the chain's.

        The distribution of contexts is followed step by step, for it need not be the stationary one.
        """
        symbols, order = self.options.symbols, self.options.order
        entropy_C = -(self.table_CxV * np.log(self.table_CxV)).sum(axis=1)
        contexts_C = np.full(len(entropy_C), 1.0 / len(entropy_C))
        total = (order - 1) * math.log(symbols)
        for _ in range(self.options.length - order):
            total += contexts_C @ entropy_C
            joint = (contexts_C[:, None] * self.table_CxV).reshape(symbols, -1)  # the oldest token is the first axis
            contexts_C = joint.sum(axis=0)
        return float(total / (self.options.length - 1))

    @functools.cached_property
    def train_tokens_NxS(self) -> np.ndarray:
        return self._draw(self.options.training_examples, stream=0)

    @functools.cached_property
    def held_out(self) -> HeldOut:
        tokens_NxS = self._draw(self.options.validation_examples, stream=1)
        return HeldOut(tokens_NxS, self._surprisal(tokens_NxS))

    @functools.cached_property
    def digest(self) -> str:
        """Of the table, and of some examples: they follow from it and the options."""
        looked_at = (np.round(self.table_CxV, 6), self._draw(8, stream=0), self._draw(8, stream=1))
        return hashlib.sha256(b"".join(array.tobytes() for array in looked_at)).hexdigest()

    def _draw(self, examples: int, *, stream: int) -> np.ndarray:
        """uint8 [N, S]."""
        symbols, order, length = self.options.symbols, self.options.order, self.options.length
        rng = np.random.default_rng([self.options.source_seed, stream, symbols, order])
        tokens_NxS = np.zeros((examples, length), np.uint8)
        tokens_NxS[:, :order] = rng.integers(symbols, size=(examples, order))
        cumulative_CxV = np.cumsum(self.table_CxV, axis=1)
        for position in range(order, length):
            cumulative_NxV = cumulative_CxV[self._contexts(tokens_NxS, position)]
            draws_N = rng.random(examples)
            drawn_N = (draws_N[:, None] >= cumulative_NxV).sum(axis=1)
            tokens_NxS[:, position] = np.minimum(drawn_N, symbols - 1)  # the last sum may be just below 1
        return tokens_NxS

    def _contexts(self, tokens_NxS: np.ndarray, position: int) -> np.ndarray:
        """[N]: the tokens before `position`, as one number in base V."""
        contexts_N = np.zeros(len(tokens_NxS), np.int64)
        for before in range(position - self.options.order, position):
            contexts_N = self.options.symbols * contexts_N + tokens_NxS[:, before]
        return contexts_N

    def _surprisal(self, tokens_NxS: np.ndarray) -> np.ndarray:
        """float32 [N, L]."""
        surprisal_NxS = np.full(tokens_NxS.shape, math.log(self.options.symbols), np.float32)
        for position in range(self.options.order, self.options.length):
            likely_N = self.table_CxV[self._contexts(tokens_NxS, position), tokens_NxS[:, position]]
            surprisal_NxS[:, position] = -np.log(likely_N)
        return surprisal_NxS[:, 1:]
