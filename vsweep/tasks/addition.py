"""Addition, character by character: `123+456=579` and EOS.

Every ordered pair of operands below 10**digits is an example. The held-out split is aware of combinations: if (3, 5) is
held out, (5, 3) is in neither set. Shapes in names: N examples, S tokens of a sequence, L = S - 1 labels, D digits.
"""

import functools
import hashlib
import math
from typing import ClassVar

import numpy as np

from vsweep.config.sweep_config import TaskConfig
from vsweep.tasks.base import HeldOut, count_labels, piece_bounds, rows_of

CHARACTERS = "0123456789+="
PLUS, EQUALS, PAD, EOS = 10, 11, 12, 13
VOCABULARY = 14


class Addition:
    """The addition task of `digits`-digit operands."""

    name = "addition"
    vocabulary = VOCABULARY
    pad = PAD
    eos = EOS
    metrics: ClassVar[dict] = {}
    more_held_out: ClassVar[dict] = {}
    sources: ClassVar[dict] = {}
    multiples: ClassVar[dict] = {}
    notes: ClassVar[tuple] = ()
    facts: ClassVar[dict] = {}

    def __init__(self, config: TaskConfig):
        self.config = config
        self.digits = config.digits
        self.operands = 10**config.digits
        self.sequence_length = 3 * config.digits + 4  # two operands, a sum one digit longer, '+', '=' and EOS

    @functools.cached_property
    def split(self) -> tuple[np.ndarray, np.ndarray]:
        """(train pairs [N, 2], held-out pairs [N, 2]); a pair's key is its sorted form."""
        return split_pairs(self.operands, self.config.validation_examples, self.config.split_seed)

    @functools.cached_property
    def train_tokens_NxS(self) -> np.ndarray:
        """uint8 [N, S]: every ordered pair that is not held out."""
        return encode_pairs(self.split[0], self.digits)

    def rows(self, examples: np.ndarray) -> np.ndarray:
        """uint8 [..., S]: training examples by number."""
        return rows_of(self.train_tokens_NxS, examples)

    @functools.cached_property
    def label_tokens(self) -> np.ndarray:
        """int32 [train_examples]: label tokens of each training example."""
        bounds = piece_bounds(self.train_examples, self.sequence_length)
        return count_labels((self.train_tokens_NxS[first:end] for first, end in bounds), PAD)

    @functools.cached_property
    def held_out(self) -> HeldOut:
        """The held-out pairs, each in one random order, with the exact surprisal of their labels."""
        pairs = self.split[1]
        tokens_NxS = encode_pairs(pairs, self.digits)
        return HeldOut(tokens_NxS, label_surprisal(pairs, self.digits), answer_labels(tokens_NxS))

    @functools.cached_property
    def train_examples(self) -> int:
        """Counted without building the split: a plan needs no more, and four digits have 100 million pairs."""
        _, chosen = chosen_keys(self.operands, self.config.validation_examples, self.config.split_seed)
        first = np.arange(self.operands)
        doubles = first * self.operands - first * (first - 1) // 2  # keys (a, a), which stand for one pair and not two
        return self.operands**2 - 2 * len(chosen) + int(np.isin(doubles, chosen).sum())

    @functools.cached_property
    def digest(self) -> str:
        """From what is held out, and the writing of a few pairs: four digits have 100 million, too many to look at."""
        rng, chosen = chosen_keys(self.operands, self.config.validation_examples, self.config.split_seed)
        largest = self.operands - 1
        pairs = np.array([(0, 0), (largest, 0), (1, largest), (largest // 7, largest // 3)])
        surprisal = np.round(label_surprisal(pairs, self.digits), 3)  # its last bits are the processor's
        looked_at = (chosen, rng.random(len(chosen)), encode_pairs(pairs, self.digits), surprisal)
        return hashlib.sha256(b"".join(array.tobytes() for array in looked_at)).hexdigest()

    @functools.cached_property
    def mean_label_tokens(self) -> float:
        """Label tokens of an example, mean over all ordered pairs, held-out ones among them."""
        operand_digits = digit_count(np.arange(self.operands)).mean()
        sums = np.arange(2 * self.operands - 1)
        pairs = self.operands - np.abs(sums - (self.operands - 1))  # that have this sum
        sum_digits = (digit_count(sums) * pairs).sum() / self.operands**2
        return float(2 * operand_digits + sum_digits + 2)  # '+', '=', EOS, less the first token

    @functools.cached_property
    def floor(self) -> float:
        """(2 ln 10**D - H(first digit)) / labels: both operands are random, the first digit is no label."""
        share = np.bincount(leading_digit(np.arange(self.operands), self.digits), minlength=10) / self.operands
        first_digit_entropy = -np.sum(share * np.log(share))
        return float((2 * math.log(self.operands) - first_digit_entropy) / self.mean_label_tokens)

    def encode(self, text: str) -> list[int]:
        """Tokens of a query such as `123+456=`; the `=` may be left out. Raises ValueError."""
        query = text.strip().rstrip("=")
        parts = query.split("+")
        if len(parts) != 2 or not all(part.isascii() and part.isdigit() for part in parts):
            raise ValueError(f"not a sum of two numbers: {text!r}; write it like 123+456")
        if any(int(part) >= self.operands for part in parts):
            raise ValueError(f"an operand is too large: {text!r}; this task's operands are 0 to {self.operands - 1}")
        canonical = f"{int(parts[0])}+{int(parts[1])}="
        return [CHARACTERS.index(character) for character in canonical]

    def example(self, text: str) -> list[int]:
        """Tokens of a whole example such as `123+456=579`, with its EOS. Raises ValueError."""
        query, equals, answer = text.strip().partition("=")
        if not (equals and answer.isascii() and answer.isdigit() and len(answer) <= self.digits + 1):
            raise ValueError(f"not a sum with its answer: {text!r}; write it like 123+456=579")
        return [*self.encode(query), *(CHARACTERS.index(character) for character in answer), EOS]

    def answers(self, tokens_NxS: np.ndarray) -> np.ndarray:
        """bool [N, L]: labels after `=`, EOS among them."""
        return answer_labels(tokens_NxS)

    def decode(self, tokens: list[int]) -> str:
        """The characters of `tokens` up to EOS or PAD."""
        stops = [i for i, token in enumerate(tokens) if token in (PAD, EOS)]
        return "".join(CHARACTERS[token] for token in tokens[: stops[0] if stops else len(tokens)])


def split_pairs(operands: int, held_out: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits the ordered pairs by unordered key: (train [N, 2], held out [held_out, 2], random orientation)."""
    rng, chosen = chosen_keys(operands, held_out, seed)
    low, high = np.triu_indices(operands)
    pairs = np.stack([low[chosen], high[chosen]], axis=1)
    swapped = rng.random(held_out) < 0.5
    pairs[swapped] = pairs[swapped][:, ::-1]
    is_train = np.ones((operands, operands), bool)
    is_train[pairs[:, 0], pairs[:, 1]] = False
    is_train[pairs[:, 1], pairs[:, 0]] = False
    return np.argwhere(is_train), pairs


def chosen_keys(operands: int, held_out: int, seed: int) -> tuple[np.random.Generator, np.ndarray]:
    """The generator of the split after its first draw, and the held-out keys [held_out], in triu_indices' numbers."""
    rng = np.random.default_rng([seed, operands, held_out])
    return rng, rng.permutation(operands * (operands + 1) // 2)[:held_out]


def encode_pairs(pairs_Nx2: np.ndarray, digits: int) -> np.ndarray:
    """uint8 tokens [N, 3 D + 4] of `a+b=c` EOS, padded at the end."""
    return _lay_out(
        [
            *_number(pairs_Nx2[:, 0], digits, PLUS),
            *_number(pairs_Nx2[:, 1], digits, EQUALS),
            *_number(pairs_Nx2.sum(axis=1), digits + 1, EOS),
        ],
        width=3 * digits + 4,
        fill=PAD,
        dtype=np.uint8,
    )


def label_surprisal(pairs_Nx2: np.ndarray, digits: int) -> np.ndarray:
    """float32 [N, L]: -ln of the true probability of each label, given everything before it.

    A number below 10**D is uniform, so after a prefix of j digits (not "0") the numbers that go on are as many as the
    nodes of a decimal tree of depth D - j, one of which ends here. The answer and its EOS are certain: 0.
    """
    columns = [*_operand_surprisal(pairs_Nx2[:, 0], digits), *_operand_surprisal(pairs_Nx2[:, 1], digits)]
    table_NxS = _lay_out(columns, width=3 * digits + 4, fill=0.0, dtype=np.float32)
    return table_NxS[:, 1:]  # the first token is no label


def answer_labels(tokens_NxS: np.ndarray) -> np.ndarray:
    """bool [N, L]: labels after `=`, EOS among them."""
    after_equals = np.cumsum(tokens_NxS == EQUALS, axis=1)[:, :-1] > 0
    return after_equals & (tokens_NxS[:, 1:] != PAD)


def digit_count(values: np.ndarray) -> np.ndarray:
    """int64 [N]: decimal digits of whole numbers from 0 to 999,999; 0 has one."""
    return 1 + sum((values >= 10**power).astype(np.int64) for power in range(1, 6))


def leading_digit(values: np.ndarray, digits: int) -> np.ndarray:
    """[N]: the first digit of numbers below 10**`digits`."""
    return values // 10 ** (np.minimum(digit_count(values), digits) - 1)


def _number(values: np.ndarray, digits: int, end: int):
    """Columns of a number, each (value, present): `digits` digits without leading zeros, then the token `end`."""
    count = digit_count(values)
    for power in reversed(range(digits)):
        yield (values // 10**power) % 10, count > power
    yield np.full(len(values), end), np.ones(len(values), bool)


def _operand_surprisal(values: np.ndarray, digits: int):
    """Columns of surprisals beside the columns of `_number`."""
    count = digit_count(values)
    for power in reversed(range(digits)):
        depth = np.maximum(digits - (count - power), 0)  # digits that may still follow this one
        rest = _tree_nodes(depth)  # numbers that begin with the digits up to this one
        before = np.where(count == power + 1, 10**digits, _tree_nodes(depth + 1))
        share = np.where(values == 0, 1.0, rest) / before
        yield -np.log(share), count > power
    ends = np.where(values == 0, 1, 1.0 / _tree_nodes(digits - count))
    yield -np.log(ends), np.ones(len(values), bool)


def _tree_nodes(depth):
    """1 + 10 + ... + 10**depth."""
    return (10 ** (depth + 1) - 1) // 9


def _lay_out(columns: list, *, width: int, fill, dtype) -> np.ndarray:
    """Writes the present values of the columns side by side, without gaps, into [N, width]."""
    rows = len(columns[0][0])
    table = np.full((rows, width), fill, dtype)
    cursor = np.zeros(rows, np.int64)
    for values, present in columns:
        chosen = np.flatnonzero(present)
        table[chosen, cursor[chosen]] = values[chosen]
        cursor += present
    return table
