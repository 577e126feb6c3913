"""Which groups the values of a column make of a source. Each is read again as `--where COLUMN=VALUE` reads it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from vsweep import schema
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.source import Source
from vsweep.analysis.tables import conditions
from vsweep.analysis.tables.conditions import Condition

READ_AS_QUANTITIES = (
    *("run_id", "params", "tokens", "loss", "flops_6nd", "seed_block", "budget", "isoflop", "unique_tokens"),
    *("weight", "status"),
)
MOST_NUMBERS, MOST_GROUPS = 20, 50  # values of a column of numbers, and of any other
LEAST_CELLS = 5  # the law has five parameters, so that fewer (N, D) can never show it
LONGEST_NAME = 60  # letters of a folder


@dataclass(frozen=True)
class Group:
    """The runs of one value of the column; `name` is what sentences call them, `folder` a safe name of their own."""

    value: str
    name: str
    folder: str
    source: Source


@dataclass(frozen=True)
class LeftOut:
    """A value of the column whose runs are too few for a law."""

    value: str
    runs: int
    cells: int

    def __str__(self) -> str:
        return f"{self.value} ({self.runs} finished runs at {self.cells} different (N, D))"


@dataclass(frozen=True)
class Groups:
    """The groups of the column `by`, in the order of their values, and those that were left out."""

    by: str
    whole: Source
    groups: tuple[Group, ...]
    left_out: tuple[LeftOut, ...]


def split(source: str | Path | pd.DataFrame, by: str, reading: Mapping) -> Groups:
    """Reads a source once for each value of its column `by`.

    Args:
      reading: the other arguments of `load`; its conditions hold for every group.

    Raises:
      BadTable, ValueError: as `load`; no such column, too many values for groups, or fewer than two groups with enough
        runs.
    """
    whole = load(source, **reading)
    where = reading.get("where") or ()
    where = [where] if isinstance(where, (str, Condition)) else list(where)
    groups, left_out, folders = [], [], set()
    for value in _values(whole, by):
        part = load(source, **{**reading, "where": [*where, Condition(by, "==", (value,))]})
        done = part.runs[part.runs["status"] == schema.FINISHED]
        cells = len(done[["params", "tokens"]].drop_duplicates())
        if cells < LEAST_CELLS:
            left_out.append(LeftOut(value, len(done), cells))
            continue
        name = f"{by} = {value}" if isinstance(_key(value), float) else value
        groups.append(Group(value, name, safe_name(f"{by}-{value}", folders), part))
    if len(groups) < 2:
        small = f"; too few runs have {', '.join(map(str, left_out))}" if left_out else ""
        enough = ", ".join(group.value for group in groups) or "none"
        raise ValueError(
            f"by: two groups of {by} with {LEAST_CELLS} different (N, D) each are needed - got {enough}{small}"
        )
    return Groups(by, whole, tuple(groups), tuple(left_out))


def _values(source: Source, by: str) -> list[str]:
    """The values of the column, those that `where` cannot tell apart (0.01 and 1e-2, Web and web) as one."""
    allowed = [name for name in source.runs if source.is_workdir or name not in READ_AS_QUANTITIES]
    if by not in allowed:
        read = " (it was read as a quantity)" if by in source.runs else ""
        axes = [name for name in schema.AXES if name in allowed] if source.is_workdir else allowed
        raise ValueError(f"by: no column {by!r} to group by in {source.path}{read}; it has {', '.join(axes) or 'none'}")
    cells = conditions.without_empty(source.runs[by])
    values = list({_key(value): value for value in reversed(conditions.values_of(cells))}.values())[::-1]
    numbers = all(isinstance(_key(value), float) for value in values)
    most = MOST_NUMBERS if numbers else MOST_GROUPS
    if len(values) > most:
        raise ValueError(
            f"by: {by} has {len(values)} values{' that are numbers' if numbers else ''}, and at most {most} make "
            f"groups - keep some of them with --where {by}={','.join(values[:2])}"
        )
    return values


def _key(value: str) -> str | float:
    try:
        number = float(value)
    except ValueError:
        number = np.nan
    return number if np.isfinite(number) else value.strip().lower()


def safe_name(text: str, taken: set[str]) -> str:
    """A name for a folder: letters, digits, `.`, `_` and `-` only, and not in `taken`, to which it is added."""
    name = re.sub(r"[^A-Za-z0-9._]+", "-", text)[:LONGEST_NAME].strip(".-") or "group"
    unique, number = name, 2
    while unique.lower() in taken:  # some file systems know no capitals
        unique, number = f"{name}-{number}", number + 1
    taken.add(unique.lower())
    return unique
