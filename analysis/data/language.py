"""What a work directory tells of its text: `task.json`, which the task `text` and tasks like it write."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TASK_FILE, LARGEST_FILE = "task.json", 1_000_000  # bytes


@dataclass(frozen=True)
class Language:
    """The text of a study; levels are held-out losses in nats per token. None is what is not known."""

    vocabulary: int | None = None
    unigram: float | None = None  # of a model that knows how often each token occurs
    bigram: float | None = None  # of one that also sees the token before
    bytes_per_token: float | None = None  # of the held-out text
    tokens: int | None = None  # of the training text
    tokenizer: str = ""

    @property
    def levels(self) -> dict[str, float]:
        """The known ones by name, in nats per token."""
        known = {"unigram": self.unigram, "bigram": self.bigram}
        return {name: nats for name, nats in known.items() if nats is not None}

    def bits(self, nats: float | None) -> float | None:
        """Bits per byte of text: nats per token / (ln 2 x bytes per token). None where one of both is not known."""
        if nats is None or self.bytes_per_token is None:
            return None
        return nats / (math.log(2) * self.bytes_per_token)

    @property
    def is_bytes(self) -> bool:
        """Whether a token is a byte."""
        return self.tokenizer == "bytes"


def read(workdir: Path) -> tuple[Language | None, str]:
    """What `task.json` says, and a warning where it cannot be read; (None, "") where a study is not of text."""
    path = workdir / TASK_FILE
    if not path.is_file():
        return None, ""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError("too large")
        facts = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(facts, dict):
            raise TypeError("no object")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        return None, f"{TASK_FILE} cannot be read ({error}), so the levels of the text are not shown."
    levels = _object(facts, "levels_nats_per_token")
    if not levels:
        return None, ""
    return (
        Language(
            vocabulary=_number(facts, "vocabulary", int),
            unigram=_number(levels, "unigram"),
            bigram=_number(levels, "bigram"),
            bytes_per_token=_number(_object(facts, "bytes_per_token"), "held_out"),
            tokens=_number(_object(facts, "tokens"), "train", int),
            tokenizer=str(facts.get("tokenizer", ""))[:100],
        ),
        "",
    )


def _object(facts: dict, name: str) -> dict:
    value = facts.get(name)
    return value if isinstance(value, dict) else {}


def _number(facts: dict, name: str, kind: type = float) -> Any:
    """A positive number below 1e15, or None."""
    value = facts.get(name)
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e15
    return kind(value) if good else None
