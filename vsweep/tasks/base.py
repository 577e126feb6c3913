"""What the trainer asks of a task, and how a user's own is completed to that.

A user's own needs `vocabulary`, `sequence_length`, `train_tokens_NxS` and `held_out`. Everything else is optional.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

NO_PAD = -1  # a token that there is not: every label counts


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Held-out examples; S tokens an example, L = S - 1 labels (the inputs shifted by one)."""

    tokens_NxS: np.ndarray  # whole numbers
    surprisal_NxL: np.ndarray | None = None  # float32, -ln of the true probability of each label; 0 at padding
    answer_NxL: np.ndarray | None = None  # bool, labels that belong to the answer


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
    train_examples: int
    digest: str  # of the data: two tasks of one digest have the same examples; a resume checks it, so it must be cheap
    more_held_out: Mapping[str, HeldOut]  # further sets by name: their losses are columns val_loss_NAME
    metrics: Mapping[str, Metric]  # by name: their means over held-out examples are columns metric_NAME

    @property
    def train_tokens_NxS(self) -> np.ndarray:
        """Whole numbers [train_examples, S], padded at the end; built on first use."""

    @property
    def held_out(self) -> HeldOut:
        """The held-out examples; built on first use."""

    def encode(self, text: str) -> list[int]:
        """Tokens of a query. Raises ValueError if it is none, with what a query looks like."""

    def decode(self, tokens: list[int]) -> str:
        """The text of `tokens` up to EOS or padding."""


def token_dtype(vocabulary: int) -> np.dtype:
    """The smallest type that holds every token."""
    return np.dtype(next((kind for kind in ("uint8", "uint16") if vocabulary <= np.iinfo(kind).max + 1), "int32"))


def measured_columns(task: Task) -> tuple[str, ...]:
    """The columns of runs.csv and curves.csv that only sweeps of this task have."""
    names = [f"val_loss_{name}" for name in task.more_held_out] + [f"metric_{name}" for name in task.metrics]
    return tuple(column for name in names for column in (name, f"{name}_se"))


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
        self.metrics = dict(getattr(own, "metrics", {}))

    @functools.cached_property
    def train_tokens_NxS(self) -> np.ndarray:
        """Whole numbers [train_examples, S]."""
        return np.asarray(self.own.train_tokens_NxS)

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
        """Number of training examples."""
        return getattr(self.own, "train_examples", None) or len(self.train_tokens_NxS)

    @functools.cached_property
    def mean_label_tokens(self) -> float:
        """Label tokens of a training example, as the task says or counted."""
        known = getattr(self.own, "mean_label_tokens", None)
        return float(known or (self.train_tokens_NxS[:, 1:] != self.pad).sum(axis=1).mean())

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of all examples, unless the task says one."""
        if known := getattr(self.own, "digest", None):
            return known
        digest = hashlib.sha256()
        for held_out in (self.held_out, *self.more_held_out.values()):
            for array in vars(held_out).values():
                digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
        digest.update(np.ascontiguousarray(self.train_tokens_NxS).tobytes())
        return digest.hexdigest()

    def encode(self, text: str) -> list[int]:
        """Tokens of a query. Raises ValueError if it is none."""
        if hasattr(self.own, "encode"):
            return self.own.encode(text)
        words = text.split()
        if not words or not all(word.isascii() and word.isdigit() and int(word) < self.vocabulary for word in words):
            raise ValueError(f"not tokens of this task: {text!r}; write numbers below {self.vocabulary}, as 3 1 2")
        return [int(word) for word in words]

    def decode(self, tokens: list[int]) -> str:
        """The text of `tokens` up to EOS or padding."""
        if hasattr(self.own, "decode"):
            return self.own.decode(tokens)
        stops = [i for i, token in enumerate(tokens) if token in (self.pad, self.eos)]
        return " ".join(str(int(token)) for token in tokens[: stops[0] if stops else len(tokens)])


def _as_held_out(given: Any) -> HeldOut:
    return given if isinstance(given, HeldOut) else HeldOut(np.asarray(given))
