"""A pivot: a size in each row, a budget in each header, and the losses between them, as one row a run.

It is melted only where it can be nothing else. Anything near it is refused as it stands, with the way to melt it.
"""

import re
from dataclasses import replace

import numpy as np
import pandas as pd

from vsweep.analysis.tables import units
from vsweep.analysis.tables.column_names import NAMES, plain
from vsweep.analysis.tables.formats import RawTable

SIZES = ("", "size", "sizes", "modelsize", "model")  # headers of a first column that may be N
WORDS = {"N": "param", "D": "tok token traintoken trainingtoken", "C": "flop"}  # beside NAMES, and without a last s
VALUE = re.compile(r"(?:([A-Za-z ]+?)\s*[=_ ]\s*)?(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*([kKmMbBtT]?)(?:\s+([A-Za-z ]+))?")
LEAST = 2  # of sizes and of budgets


def melted(raw: RawTable) -> RawTable:
    """The table itself, or one row a loss, with a note, where it is a pivot of sizes and budgets.

    A pivot has N (or D) in its first column, numbers as all other headers, such as `1e9`, `2B tokens` or `D=1e9`, and
    positive numbers or nothing in its cells.

    Raises:
      ValueError: a pivot whose budgets may be tokens or FLOP.
    """
    names = raw.columns
    if len(names) < LEAST + 1 or len(raw.frame) < LEAST:
        return raw
    sizes_are, budgets_are = _corner(names[0])
    budgets = [_value(name) for name in names[1:]]
    if sizes_are is None or any(budget is None for budget in budgets):
        return raw
    said = {quantity for quantity, _ in budgets if quantity} | ({budgets_are} if budgets_are else set())
    numbers = np.array([number for _, number in budgets])
    sizes = np.array([_size(cell) for cell in raw.frame.iloc[:, 0]], float)
    losses = raw.frame.iloc[:, 1:].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    if len(said) > 1 or sizes_are in said or not _is_pivot(raw, sizes, numbers, losses):
        return raw
    budgets_are = said.pop() if said else ("D" if sizes_are == "N" else "N")
    if not (budgets_are == "C" or any(quantity for quantity, _ in budgets)):
        _raise_doubt(names, sizes, numbers, sizes_are)
    return _long(raw, sizes, numbers, losses, budgets_are)


def hint(raw: RawTable) -> str:
    """For a refusal: how to melt a table with numbers in its headers; empty for another one."""
    numbers = [name for name in raw.columns if _value(name) is not None]
    if len(numbers) < LEAST:
        return ""
    others = [name for name in raw.columns if name not in numbers] or raw.columns[:1]
    return (
        f"; headers such as {numbers[0]} are numbers - if this is a table of sizes and budgets, melt it to one row a "
        f"run, with pandas: table.melt(id_vars={others}, var_name='D', value_name='loss')"
    )


def _quantity(text: str) -> str | None:
    name = plain(text)
    singular = name.removesuffix("s")
    fitting = [one for one in WORDS if name in NAMES[one].split() or singular in WORDS[one].split()]
    return fitting[0] if fitting else None


def _corner(name: str) -> tuple[str | None, str | None]:
    """The quantities of the first column and, where it is a corner such as `N \\ D`, of the headers."""
    row, *column = re.split(r"[\\/|]", name)
    said = units.from_name(row)
    quantity = _quantity(said.base) if said else _quantity(row)
    if quantity is None and plain(row) in SIZES:
        quantity = "N"
    return (quantity if quantity in ("N", "D") else None), _quantity(column[0]) if column else None


def _value(name: str) -> tuple[str | None, float] | None:
    """The quantity that a header says, if any, and its number; None for a header that is no number."""
    found = VALUE.fullmatch(name.strip())
    if not found:
        return None
    before, number, scale, after = found.groups()
    words = [word for word in (before, after) if word]
    quantities = {_quantity(word) for word in words}
    if None in quantities or len(quantities) > 1:
        return None
    value = float(number) * (units.COUNTS[scale.casefold()] if scale else 1.0)
    return (quantities.pop() if quantities else None), value


def _size(cell: object) -> float:
    """The number in a cell of the first column, such as 7e7 or 70M; NaN for none."""
    found = _value(str(cell))
    return found[1] if found and found[0] in (None, "N", "D") else np.nan


def _is_pivot(raw: RawTable, sizes: np.ndarray, budgets: np.ndarray, losses: np.ndarray) -> bool:
    """Whether sizes and budgets are distinct positive numbers, and all cells losses or empty, none of them a count."""
    empty = raw.frame.iloc[:, 1:].isna().to_numpy(bool)
    distinct = all(len(np.unique(values)) == len(values) and (values > 0).all() for values in (sizes, budgets))
    usable = np.isfinite(losses) & (losses > 0)
    some = usable.any(axis=0).all() and usable.any(axis=1).all()
    return bool(distinct and (usable | empty).all() and some and losses[usable].max() < budgets.min())


def _raise_doubt(names: list[str], sizes: np.ndarray, budgets: np.ndarray, sizes_are: str) -> None:
    """Raises ValueError for headers without a word that are no tokens (or sizes) beside the first column."""
    params, tokens = (sizes, budgets) if sizes_are == "N" else (budgets, sizes)
    scale = said.factor if (said := units.from_name(names[0])) else 1.0
    ratio = float(np.median(tokens) / np.median(params)) * (1 / scale if sizes_are == "N" else scale)
    low, high = units.RATIOS
    if not low <= ratio <= high:
        raise ValueError(
            f"the headers {names[1]}, {names[2]} and so on may be tokens or FLOP (D / N would be {ratio:.3g}) - say "
            f"which, such as D={names[1]} or C={names[1]}"
        )


def _long(raw: RawTable, sizes: np.ndarray, budgets: np.ndarray, losses: np.ndarray, budgets_are: str) -> RawTable:
    names = raw.columns
    row, column = np.nonzero(np.isfinite(losses))
    said = units.from_name(names[0])
    first = names[0] if said or _quantity(names[0]) else _corner(names[0])[0]
    cells = {first: sizes[row], budgets_are: budgets[column], "loss": losses[row, column]}
    empty = losses.size - len(row)
    note = (
        f"The table is a pivot: {len(sizes)} rows of {_corner(names[0])[0]} and {len(budgets)} columns of "
        f"{budgets_are} ({names[1]} to {names[-1]}). Each of its {len(row)} cells was read as the loss of one run"
        f"{f', and {empty} are empty' if empty else ''}."
    )
    labels = np.array([f"{raw.rows[at]}:{names[1 + of]}" for at, of in zip(row, column, strict=True)], object)
    return replace(raw, frame=pd.DataFrame(cells), rows=labels, notes=(*raw.notes, note))
