"""Arithmetic modulo a prime, the task of grokking (Power et al. 2022, arXiv:2201.02177): `a o b = c`.

All pairs (a, b) are split at random into a share to train on and the rest, which is held out. Both operands are
uniform, so the floor is known: ln(p) for b, nothing for the signs and for c. The first operand is no label.
"""

import dataclasses
import functools
import math

import numpy as np

from vsweep.config.registry import option
from vsweep.tasks.base import HeldOut

OPERATIONS = {
    "add": lambda a, b, p: (a + b) % p,
    "subtract": lambda a, b, p: (a - b) % p,
    "multiply": lambda a, b, p: (a * b) % p,
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Of the section `task`."""

    modulus: int = option(97, "modulus p", allowed="an integer from 3 to 1000", test=lambda p: 3 <= p <= 1000)
    operation: str = option("add", "the operation", allowed=", ".join(OPERATIONS), test=lambda name: name in OPERATIONS)
    train_share: float = option(
        0.5, "share of the pairs to train on", allowed="a share from 0.01 to 0.99", test=lambda s: 0.01 <= s <= 0.99
    )
    split_seed: int = option(0, "seed of the split", allowed="an integer from 0", test=lambda seed: seed >= 0)


class ModularArithmetic:
    """`a o b = c` as five tokens: numbers below p, then the tokens p for the operation and p + 1 for `=`."""

    Options = Options
    sequence_length = 5

    def __init__(self, options: Options):
        self.options = options
        self.vocabulary = options.modulus + 2
        self.train_examples = round(options.train_share * options.modulus**2)
        self.mean_label_tokens = 4
        self.floor = math.log(options.modulus) / 4

    @functools.cached_property
    def _examples(self) -> np.ndarray:
        """uint16 [p^2, 5]: every pair, in random order."""
        p = self.options.modulus
        a, b = np.divmod(np.random.default_rng([self.options.split_seed, p]).permutation(p * p), p)
        c = OPERATIONS[self.options.operation](a, b, p)
        return np.stack([a, np.full_like(a, p), b, np.full_like(a, p + 1), c], axis=1).astype(np.uint16)

    @property
    def train_tokens_NxS(self) -> np.ndarray:
        return self._examples[: self.train_examples]

    @functools.cached_property
    def held_out(self) -> HeldOut:
        """The pairs that are not trained on; the answer is the last label."""
        tokens_NxS = self._examples[self.train_examples :]
        surprisal_NxL = np.zeros((len(tokens_NxS), 4), np.float32)
        surprisal_NxL[:, 1] = math.log(self.options.modulus)
        return HeldOut(tokens_NxS, surprisal_NxL, np.broadcast_to(np.arange(4) == 3, surprisal_NxL.shape).copy())

    def encode(self, text: str) -> list[int]:
        """Tokens of `a o b`, such as `12 add 5`. Raises ValueError."""
        p, operation = self.options.modulus, self.options.operation
        words = text.replace("=", " ").split()
        numbers = (word.isascii() and word.isdigit() for word in words[::2])  # isdigit holds of "²" too
        whole = len(words) == 3 and words[1] == operation and all(numbers)
        if not whole or int(words[0]) >= p or int(words[2]) >= p:
            raise ValueError(f"not a query of this task: {text!r}; write it like '1 {operation} 2', below {p}")
        return [int(words[0]), p, int(words[2]), p + 1]

    def decode(self, tokens: list[int]) -> str:
        """`1 add 2 = 3`."""
        p = self.options.modulus
        signs = {p: self.options.operation, p + 1: "="}
        return " ".join(signs.get(int(token), str(int(token))) for token in tokens)
