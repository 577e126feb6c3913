"""Columns that hold a downstream metric, such as an accuracy, and their values as shares of 1.

Accuracies may be shares or percentages: the name says it, or the magnitude, with a note. A rate of errors is one minus
an accuracy. What is neither is refused by name.
"""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

ACCURACIES = {"acc", "accuracy", "match", "em", "top1", "top5"}  # the last word of a name
AFTER = {"norm", "none", "mean", "avg", "pct", "percent", "%", "share", "rate"}  # words that may follow it
ERRORS = {"error", "err"}
# Before these words an error is a misfit, a scatter or a difference, and no share of wrong answers.
NO_SHARE = {"loss", "std", "standard", "se", "squared", "mean", "absolute", "relative", "fit", "prediction", "rms"}
NO_SHARE |= {"train", "training", "log"}
PERCENT = {"pct", "percent", "%"}
SURELY_PERCENT = 2.0  # a largest value from here on is a percentage, where the name says nothing


@dataclass(frozen=True)
class Metric:
    """One column as accuracies [runs] between 0 and 1, NaN where it was not measured; `notes` say how it was read."""

    name: str
    values: np.ndarray
    notes: tuple[str, ...] = ()


def is_metric(name: str) -> bool:
    """Whether a column's name is that of an accuracy or of a rate of errors: `hellaswag_acc`, `eval/exact_match`."""
    return _kind(name) is not None


def read_metric(name: str, cells: pd.Series) -> Metric:
    """The column as accuracies between 0 and 1.

    Raises:
      ValueError: a value that is no number, or values that are neither shares nor percentages.
    """
    values = pd.to_numeric(cells, errors="coerce").to_numpy(float)
    missing = cells.isna().to_numpy() | (cells.astype(str).str.strip() == "").to_numpy()
    text = np.isnan(values) & ~missing
    if text.any():
        raise ValueError(f"column {name}: no number in {int(text.sum())} runs (such as {str(cells[text].iloc[0])!r})")
    known = values[~np.isnan(values)]
    if not len(known):
        raise ValueError(f"column {name}: no value")
    scale, notes = _scale(name, known)
    values = values / scale
    if _kind(name) == "error":
        values, notes = 1 - values, [*notes, f"{name} holds errors: its accuracy is 1 - {name}."]
    return Metric(name, values, tuple(notes))


def _scale(name: str, known: np.ndarray) -> tuple[float, list[str]]:
    """What the values [n] are divided by, and a note where that is not 1."""
    low, high = float(known.min()), float(known.max())
    says = bool(PERCENT & set(_words(name)))
    if says and low >= 0 and 1 < high <= 100:
        return 100.0, [f"{name} is in percent, as its name says."]
    if says:
        raise ValueError(f"column {name}: its name says percent, and its values are {low:.4g} to {high:.4g}")
    if low >= 0 and high <= 1:
        return 1.0, []
    if low >= 0 and SURELY_PERCENT <= high <= 100:
        return 100.0, [f"{name} was read as percent, because its values reach {high:.4g}."]
    raise ValueError(
        f"column {name}: its values are {low:.4g} to {high:.4g}, and an accuracy lies between 0 and 1 (or 0 and 100 %)"
    )


def _words(name: str) -> list[str]:
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", str(name))
    return re.findall(r"[a-z0-9]+|%", apart.casefold())


def _kind(name: str) -> str | None:
    """`accuracy`, `error` or None, by the last words of a name."""
    words = _words(name)
    while len(words) > 1 and words[-1] in AFTER:
        words.pop()
    if not words or "stderr" in words:
        return None
    last, before = words[-1], set(words[:-1])
    if last in ACCURACIES and not before & {"train", "training", "stderr"}:
        return "accuracy"
    return "error" if last in ERRORS and not before & NO_SHARE else None
