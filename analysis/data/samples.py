"""Text that runs of a study wrote: `samples.json` in a work directory, which `vsweep.after.samples` writes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsweep.schema import SAMPLES_FILE

LARGEST_FILE = 10_000_000  # bytes
MOST_SAMPLES, LONGEST_TEXT = 64, 4_000  # letters


@dataclass(frozen=True)
class Sample:
    """A text that the best run of a size wrote, by its own probabilities at `temperature` (0: the likeliest tokens)."""

    run_id: str
    params: float
    tokens: float  # of training
    val_loss: float  # nats per token
    text: str
    temperature: float


def read(workdir: Path) -> tuple[tuple[Sample, ...], str]:
    """The samples by size, and a warning where the file cannot be read; ((), "") where there is none."""
    path = workdir / SAMPLES_FILE
    if not path.is_file():
        return (), ""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError("too large")
        told = json.loads(path.read_text(encoding="utf-8"))
        found = [_sample(entry, told["temperature"]) for entry in told["samples"][:MOST_SAMPLES]]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        return (), f"{SAMPLES_FILE} cannot be read ({type(error).__name__}: {error}), so no text of the runs is shown."
    return tuple(sorted(found, key=lambda sample: sample.params)), ""


def _sample(entry: dict, temperature: Any) -> Sample:
    """Raises KeyError, TypeError or ValueError for what no sweep has written."""
    numbers = [entry[name] for name in ("params", "tokens", "val_loss")] + [temperature]
    texts = [entry["run_id"], entry["text"]]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a text is none")
    if not all(isinstance(number, int | float) and 0 <= number < 1e15 for number in numbers):
        raise ValueError("a number is none")
    params, tokens, val_loss, temperature = map(float, numbers)
    return Sample(texts[0], params, tokens, val_loss, texts[1][:LONGEST_TEXT], temperature)
