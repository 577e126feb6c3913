"""A task makes examples, knows their exact floor, and tells apart the labels that are the answer."""

import dataclasses
from typing import Protocol

import numpy as np


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Held-out examples; S tokens an example, L = S - 1 labels (the inputs shifted by one)."""

    tokens_NxS: np.ndarray  # uint8
    surprisal_NxL: np.ndarray  # float32, -ln of the true probability of each label; 0 at padding
    answer_NxL: np.ndarray  # bool, labels that belong to the answer


class Task(Protocol):
    """What the trainer asks of a task."""

    name: str
    vocabulary: int
    sequence_length: int  # tokens of an example, S
    pad: int
    eos: int
    floor: float  # exact entropy of the labels, nats a label token, over all examples
    mean_label_tokens: float  # label tokens of a training example, mean over all examples
    train_examples: int
    digest: str  # of the data: two tasks of one digest have the same examples; a resume checks it, so it must be cheap

    @property
    def train_tokens_NxS(self) -> np.ndarray:
        """uint8 [train_examples, S], padded at the end; built on first use."""

    @property
    def held_out(self) -> HeldOut:
        """The held-out examples; built on first use."""

    def encode(self, text: str) -> list[int]:
        """Tokens of a query. Raises ValueError if it is none, with what a query looks like."""

    def decode(self, tokens: list[int]) -> str:
        """The text of `tokens` up to EOS or padding."""
