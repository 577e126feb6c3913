"""Which rows are kept: `dataset == "web"`, `lr <= 0.01`, `layers in 4, 8`, or in short `layers=4,8`.

A condition is one column, one comparison and its values. It is parsed and never evaluated.
"""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

LOOKED_AT = 20  # values of a column that a message names
EXAMPLE = "layers=4 or width=8,16"
ORDERED = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}
COMPARISON = re.compile(r"\s*(==|!=|<=|>=|<|>|=|in\b)\s*(.*)", re.DOTALL)


@dataclass(frozen=True)
class Condition:
    """One column, one of `==`, `!=`, `<`, `<=`, `>`, `>=`, and its values; `==` of several means any of them."""

    column: str
    comparison: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.column} {self.comparison} {', '.join(self.values)}"


def parse(text: str | Condition, names: list[str], where: str) -> Condition:
    """The condition in `text` on a table with columns `names`; `where` names the table in a message.

    One that is a Condition already is taken as it is.

    Raises:
      ValueError: no such column, no comparison, or no value.
    """
    if isinstance(text, Condition):
        return text
    fitting = [(name, text.strip().removeprefix(name)) for name in names if text.strip().startswith(name) and name]
    for name, rest in sorted(fitting, key=lambda one: -len(one[0])):
        found = COMPARISON.fullmatch(rest)
        if found and found[2].strip():
            return Condition(name, "==" if found[1] in ("=", "in") else found[1], _values_in(found[2]))
    column = re.split(r"\s*(?:==|!=|<=|>=|<|>|=|\sin\s)", text, maxsplit=1)
    if len(column) < 2 or not column[1].strip() or column[0].strip() in names:
        raise ValueError(f"where: a column and its values - got {text!r}; such as {EXAMPLE}")
    raise ValueError(f"where: no column {column[0].strip()!r} in {where}; it has {', '.join(names)}")


def _values_in(text: str) -> tuple[str, ...]:
    """The values of a list with or without brackets and quotes: `a, b`, `("a", "b")`."""
    text = text.strip()
    if text[:1] + text[-1:] in ("()", "[]"):
        text = text[1:-1]
    found = re.findall(r"""\s*(?:"([^"]*)"|'([^']*)'|([^,]+))\s*(?:,|$)""", text)
    return tuple((double or single or bare.strip()) for double, single, bare in found)


def met(condition: Condition, cells: pd.Series, where: str) -> np.ndarray:
    """Whether each of the `cells` [n] of its column meets the condition.

    Raises:
      ValueError: a value that no row has, more than one value or no number for an order, or nothing is left.
    """
    if condition.comparison in ORDERED:
        return _in_order(condition, cells)
    cells = without_empty(cells)
    kept = np.zeros(len(cells), bool)
    for value in condition.values:
        alike = is_value(cells, value).to_numpy(bool)
        if not alike.any():
            raise ValueError(f"{condition.column}: no run has {value!r}; {where} has {listed(values_of(cells))}")
        kept |= alike
    kept = ~kept if condition.comparison == "!=" else kept
    if not kept.any():
        raise ValueError(f"where: no run has {condition}")
    return kept


def _in_order(condition: Condition, cells: pd.Series) -> np.ndarray:
    limits = pd.to_numeric(pd.Series(condition.values), errors="coerce")
    if len(limits) != 1 or limits.isna().any():
        raise ValueError(f"where: one number is needed - got {condition}")
    kept = ORDERED[condition.comparison](pd.to_numeric(cells, errors="coerce").to_numpy(float), limits[0])
    if not kept.any():
        raise ValueError(f"where: no run has {condition}")
    return kept


def without_empty(cells: pd.Series) -> pd.Series:
    """The cells as objects, empty ones as the text `none`."""
    return cells.astype(object).where(cells.notna(), "none")


def is_value(cells: pd.Series, value: str) -> pd.Series:
    """Whether each cell is `value`, as text or as a number: 0.01 and 1e-2 are one."""
    alike = cells.astype(str).str.strip().str.lower() == value.strip().lower()
    try:
        return alike | (pd.to_numeric(cells, errors="coerce") == float(value))
    except ValueError:
        return alike


def values_of(cells: pd.Series) -> list[str]:
    """The distinct values, sorted: numbers by size."""
    values = cells.unique().tolist()
    numeric = all(isinstance(value, (int, float)) for value in values)
    return [str(value) for value in sorted(values, key=None if numeric else str)]


def listed(values: list[str]) -> str:
    """The first twenty, and how many more."""
    more = f" and {len(values) - LOOKED_AT} more" if len(values) > LOOKED_AT else ""
    return ", ".join(values[:LOOKED_AT]) + more
