"""What the trainer asks of a task, and how a user's own is completed to that.

A user's own needs `vocabulary`, `sequence_length`, `held_out`, and its training examples in one of two ways:
`train_tokens_NxS`, one array, or `rows(examples)` with `train_examples`, for data that no array should hold as a whole.
`sources` may name ranges of them, or further ones that `rows` knows, which `train.mixture` mixes.
Everything else is optional. `notes`, texts, stand below a plan. For `vsweep evaluate` it may bring `answers`, `example`
and `evaluation_set`, which vsweep/after/sets.py describes, for reports `facts()`, a dict for task.json, and for tables
`multiples`.
"""

import dataclasses
import functools
import hashlib
import itertools
import json
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from vsweep.config.problems import ConfigError, Problem

NO_PAD = -1  # a token that there is not: every label counts
PIECE_TOKENS = 2**22  # of the training examples that are looked at together


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Held-out examples; S tokens an example, L = S - 1 labels (the inputs shifted by one)."""

    tokens_NxS: np.ndarray  # whole numbers
    surprisal_NxL: np.ndarray | None = None  # float32, -ln of the true probability of each label; 0 at padding
    answer_NxL: np.ndarray | None = None  # bool, labels that belong to the answer

    def first(self, examples: int) -> "HeldOut":
        """Its first examples: views of the arrays, which may be larger than memory."""
        parts = {name: None if array is None else array[:examples] for name, array in vars(self).items()}
        return HeldOut(**parts)


# (float32 logits [N, L, V], int32 labels [N, L]) -> a number for each example [N]; traced by jax. Labels of padding are
# among them.
Metric = Callable[[Any, Any], Any]


class Task(Protocol):
    """What the trainer asks of a task."""

    name: str
    vocabulary: int
    sequence_length: int  # tokens of an example, S
    pad: int  # NO_PAD: there is no padding
    eos: int | None
    floor: float | None  # exact entropy of the labels, nats a label token, over all examples; None: not known
    mean_label_tokens: float  # label tokens of a training example, mean over all examples
    label_tokens: int | np.ndarray  # label tokens of each training example: the same for all, or [train_examples]
    train_examples: int
    digest: str  # of the data: two tasks of one digest have the same examples; a resume checks it, so it must be cheap
    more_held_out: Mapping[str, HeldOut]  # further sets by name: their losses are columns val_loss_NAME
    sources: Mapping[str, range]  # by name: numbers that `rows` takes, for mixtures; may lie beyond `train_examples`
    metrics: Mapping[str, Metric]  # by name: their means over held-out examples are columns metric_NAME
    notes: tuple[str, ...]  # what a plan should say of the data
    multiples: Mapping[str, tuple[str, float]]  # further column -> (column, factor): such as bits per byte of val_loss

    @property
    def held_out(self) -> HeldOut:
        """The held-out examples; built on first use."""

    @property
    def facts(self) -> dict:
        """What a report may tell of the data, as JSON: kept in task.json; empty where there is nothing to tell."""

    def rows(self, examples: np.ndarray) -> np.ndarray:
        """Training examples by number: whole numbers [..., S] of `token_dtype`, padded at the end.

        `examples` [...] are numbers below `train_examples`, or of a source. It is called while the devices train, once
        for each slot and chunk of steps, so it should take microseconds an example.
        """

    def encode(self, text: str) -> list[int]:
        """Tokens of a query. Raises ValueError if it is none, with what a query looks like."""

    def decode(self, tokens: list[int]) -> str:
        """The text of `tokens` up to EOS or padding."""


def token_dtype(vocabulary: int) -> np.dtype:
    """The smallest type that holds every token."""
    return np.dtype(next((kind for kind in ("uint8", "uint16") if vocabulary <= np.iinfo(kind).max + 1), "int32"))


def rows_of(tokens_NxS: np.ndarray, examples: np.ndarray) -> np.ndarray:
    """[..., S]: the rows of an array. `take` is ten times as fast as an index, but copies an array with gaps first."""
    return np.take(tokens_NxS, examples, axis=0) if tokens_NxS.flags.c_contiguous else tokens_NxS[examples]


def blocks_of(ids: np.ndarray, labels: int) -> np.ndarray:
    """[N, labels + 1], a view of ids [tokens]: block i begins at id i x `labels`, and a rest is left out."""
    return np.lib.stride_tricks.sliding_window_view(ids, labels + 1)[::labels]


def count_labels(pieces: Iterable[np.ndarray], pad: int) -> np.ndarray:
    """int32 [N]: labels of each example that are no padding; `pieces` [n, S] are all examples, in order."""
    return np.concatenate([(piece[:, 1:] != pad).sum(axis=1, dtype=np.int32) for piece in pieces])


def piece_bounds(examples: int, sequence_length: int) -> list[tuple[int, int]]:
    """(first, end) of pieces of all examples that are small enough to be copied."""
    size = max(1, PIECE_TOKENS // sequence_length)
    return [(first, min(first + size, examples)) for first in range(0, examples, size)]


def numbers_of(task: Task) -> list[range]:
    """The numbers of all training examples: those of a run without a mixture, and of sources beyond them."""
    stops = [range(task.train_examples)]
    for numbers in sorted(task.sources.values(), key=lambda numbers: numbers.start):
        beyond = range(max(numbers.start, stops[-1].stop), numbers.stop)
        stops += [beyond] if beyond else []
    return stops


def pieces_of(numbers: range, task: Task) -> Iterator[np.ndarray]:
    """int64 [n] each: the numbers of pieces of examples that are small enough to be copied."""
    for first, end in piece_bounds(len(numbers), task.sequence_length):
        yield np.arange(numbers.start + first, numbers.start + end)


def measured_columns(task: Task) -> tuple[str, ...]:
    """The columns of runs.csv and curves.csv that only sweeps of this task have."""
    names = [f"val_loss_{name}" for name in task.more_held_out] + [f"metric_{name}" for name in task.metrics]
    return tuple(column for name in [*names, *task.multiples] for column in (name, f"{name}_se"))


def with_multiples(task: Task, measured: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured (column -> value), and the columns that are multiples of others; None where those are."""
    found = dict(measured)
    for name, (column, factor) in task.multiples.items():
        for ending in ("", "_se"):
            value = measured.get(f"{column}{ending}")
            found[f"{name}{ending}"] = None if value is None else factor * value
    return found


class CompletedTask:
    """A user's own task, with defaults for all that it leaves out.

    Without text of its own, a query is token ids between spaces.
    """

    def __init__(self, name: str, own: Any):
        self.name = name
        self.own = own
        self.vocabulary = own.vocabulary
        self.sequence_length = own.sequence_length
        pad = getattr(own, "pad", None)
        self.pad = NO_PAD if pad is None else pad
        self.eos = getattr(own, "eos", None)
        self.notes = tuple(getattr(own, "notes", ()))
        self.metrics = dict(getattr(own, "metrics", {}))
        self.multiples = dict(getattr(own, "multiples", {}))
        self.sources: dict[str, range] = dict(getattr(own, "sources", {}))

    def rows(self, examples: np.ndarray) -> np.ndarray:
        """[..., S] of `token_dtype`. Raises ConfigError where the task's own `rows` gives what are no tokens."""
        if not self.has_rows:
            return rows_of(self._train_tokens_NxS, examples).astype(token_dtype(self.vocabulary), copy=False)
        tokens = np.asarray(self.own.rows(examples))
        wanted = (*examples.shape, self.sequence_length)
        if tokens.shape != wanted or not np.issubdtype(tokens.dtype, np.integer):
            raise ConfigError([self._wrong_rows(f"{tokens.dtype} {tokens.shape}", f"whole numbers {wanted}")])
        if tokens.size and (tokens.min() < 0 or tokens.max() >= self.vocabulary):
            got, allowed = f"tokens from {tokens.min()} to {tokens.max()}", f"0 to {self.vocabulary - 1}"
            raise ConfigError([self._wrong_rows(got, allowed)])
        return tokens.astype(token_dtype(self.vocabulary), copy=False)

    def _wrong_rows(self, got: str, allowed: str) -> Problem:
        return Problem("task.name", f"rows of {self.name} gives no tokens of it", got, allowed)

    @property
    def has_rows(self) -> bool:
        """Whether the task brings `rows` of its own, which then stands for all its training examples."""
        return hasattr(self.own, "rows")

    @functools.cached_property
    def _train_tokens_NxS(self) -> np.ndarray:
        return np.asarray(self.own.train_tokens_NxS)

    def train_pieces(self) -> Iterator[np.ndarray]:
        """All training examples as the task itself gives them, in pieces [n, S] and in order."""
        if not self.has_rows:
            for first, end in piece_bounds(self.train_examples, self.sequence_length):
                yield self._train_tokens_NxS[first:end]
            return
        yield from (self._rows_as_given(numbers) for numbers in pieces_of(range(self.train_examples), self))

    def _rows_as_given(self, numbers: np.ndarray) -> np.ndarray:
        return np.asarray(self.own.rows(numbers))

    @functools.cached_property
    def held_out(self) -> HeldOut:
        """The main held-out set."""
        return _as_held_out(self.own.held_out)

    @functools.cached_property
    def more_held_out(self) -> dict[str, HeldOut]:
        """Further held-out sets by name."""
        return {name: _as_held_out(held_out) for name, held_out in getattr(self.own, "more_held_out", {}).items()}

    @functools.cached_property
    def floor(self) -> float | None:
        """Exact entropy of the labels, nats a label token; None: not known."""
        floor = getattr(self.own, "floor", None)
        return None if floor is None else float(floor)

    @functools.cached_property
    def train_examples(self) -> int:
        """Number of training examples. Raises TypeError where a task with `rows` does not say it."""
        known = getattr(self.own, "train_examples", None)
        if known is None and self.has_rows:
            raise TypeError("a task with rows must say its train_examples")
        return len(self._train_tokens_NxS) if known is None else known

    @functools.cached_property
    def label_tokens(self) -> int | np.ndarray:
        """Label tokens of each training example, as the task says; without padding one less than S; or counted."""
        known = getattr(self.own, "label_tokens", None)
        if known is not None:
            return int(known) if isinstance(known, int | np.integer) else np.asarray(known)
        if self.pad == NO_PAD:
            return self.sequence_length - 1
        return count_labels(self.train_pieces(), self.pad)

    @functools.cached_property
    def mean_label_tokens(self) -> float:
        """Label tokens of a training example, as the task says or counted."""
        return float(getattr(self.own, "mean_label_tokens", None) or np.mean(self.label_tokens))

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of all examples, unless the task says one: with much data it should; and of what its sources are."""
        own = getattr(self.own, "digest", None) or self._digest_of_examples()
        if not self.sources:
            return own
        told = [own, sorted((name, numbers.start, numbers.stop) for name, numbers in self.sources.items())]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def _digest_of_examples(self) -> str:
        digest = hashlib.sha256()
        for held_out in (self.held_out, *self.more_held_out.values()):
            for array in vars(held_out).values():
                digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
        beyond = (self._rows_as_given(piece) for numbers in numbers_of(self)[1:] for piece in pieces_of(numbers, self))
        for piece in itertools.chain(self.train_pieces(), beyond):
            digest.update(np.ascontiguousarray(piece).tobytes())
        return digest.hexdigest()

    @property
    def facts(self) -> dict:
        """What the task tells of its data, by `facts()`."""
        return self.own.facts() if hasattr(self.own, "facts") else {}

    def encode(self, text: str) -> list[int]:
        """Tokens of a query. Raises ValueError if it is none, or where a user's `encode` gives something else."""
        if hasattr(self.own, "encode"):
            return self._checked(self.own.encode(text))
        words = text.split()
        if not words or not all(word.isascii() and word.isdigit() and int(word) < self.vocabulary for word in words):
            raise ValueError(f"not tokens of this task: {text!r}; write numbers below {self.vocabulary}, as 3 1 2")
        return [int(word) for word in words]

    def _checked(self, given: Any) -> list[int]:
        """JAX takes any number as an index, and gives the answer to another query."""
        tokens = list(given) if isinstance(given, Iterable) else [given]
        strange = [each for each in tokens if not self._is_token(each)]
        if strange:
            what = f"the task's encode gives {strange[0]!r}, which is no token"
            raise ValueError(f"{what}; allowed: whole numbers from 0 to {self.vocabulary - 1}")
        return [int(token) for token in tokens]

    def _is_token(self, given: Any) -> bool:
        """Whether it is a whole number, of Python, numpy or JAX, that the vocabulary has."""
        try:
            return 0 <= operator.index(given) < self.vocabulary
        except TypeError:
            return False

    def decode(self, tokens: list[int]) -> str:
        """The text of `tokens` up to EOS or padding."""
        if hasattr(self.own, "decode"):
            return self.own.decode(tokens)
        stops = [i for i, token in enumerate(tokens) if token in (self.pad, self.eos)]
        return " ".join(str(int(token)) for token in tokens[: stops[0] if stops else len(tokens)])


def _as_held_out(given: Any) -> HeldOut:
    return given if isinstance(given, HeldOut) else HeldOut(np.asarray(given))
