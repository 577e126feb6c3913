"""Reading and writing the tables of a work directory.

The tables are derived from checkpoints and can be rebuilt from them, so they are rewritten whole: a reader sees the
old file or the new one, never half of one. This module imports no jax: `analysis` reads the tables through it.
"""

import contextlib
import csv
import hashlib
import io
import json
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from vsweep.atomic import write_json_atomically, write_text_atomically
from vsweep.schema import (
    ADDED_COLUMNS,
    COLUMNS,
    CURVE_COLUMNS,
    CURVES_FILE,
    RUN_COLUMNS,
    RUNS_FILE,
    TIME_COLUMNS,
    TIMES_FILE,
)

CHECKSUMS_FILE = "tables.json"
READS = 5  # of a table that seems to be changed
MOST_COLUMNS = 1_000  # of a table that is read


def write_tables(workdir: Path, tables: dict[str, Sequence[dict]]) -> None:
    """Rewrites tables of a work directory, by file name, and `tables.json` with their SHA-256 before them.

    A table has the columns of every table of its name, and after them what further columns its rows have: optional
    axes. The checksums name the old content beside the new one, so a reader between two writes finds what they name.
    """
    folder = Path(workdir)
    texts = {
        name: as_csv(rows, dict.fromkeys([*COLUMNS[name], *(rows[0] if rows else ())])) for name, rows in tables.items()
    }
    known = _checksums(folder)
    now = {name: [s for s in known.get(name, []) if s == _sha256_of(folder / name)][:1] for name in texts}
    new = {name: [*now[name], _sha256(text.encode())] for name, text in texts.items()}
    write_json_atomically(folder / CHECKSUMS_FILE, {**known, **new})
    for name, text in texts.items():
        if now[name] != new[name][-1:]:  # one that is as it should be keeps the time at which it was written
            write_text_atomically(folder / name, text)


def as_csv(rows: Sequence[dict], columns: Sequence[str]) -> str:
    """A table of `rows` (dicts holding every name of `columns`); floats in full precision, None as empty."""
    return pd.DataFrame(rows, columns=list(columns)).to_csv(index=False, lineterminator="\n")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sha256_of(path: Path) -> str | None:
    with contextlib.suppress(OSError):
        return _sha256(path.read_bytes())
    return None


def _checksums(workdir: Path) -> dict[str, list[str]]:
    """Table -> the SHA-256 of its content, and of that before; empty where none are kept or the file is damaged."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = json.loads((Path(workdir) / CHECKSUMS_FILE).read_text(encoding="utf-8"))
        if isinstance(found, dict) and all(isinstance(sums, list) for sums in found.values()):
            return found
    return {}


def read_runs(workdir: Path) -> pd.DataFrame:
    """runs.csv of a work directory, one row per run (`schema.RUN_COLUMNS`). Raises ValueError for a damaged one."""
    return _read_table(Path(workdir) / RUNS_FILE, RUN_COLUMNS)


def read_curves(workdir: Path) -> pd.DataFrame:
    """curves.csv, one row per evaluation (`schema.CURVE_COLUMNS`). Raises ValueError for a damaged one."""
    return _read_table(Path(workdir) / CURVES_FILE, CURVE_COLUMNS)


def read_times(workdir: Path) -> pd.DataFrame | None:
    """None where there is no such table: nothing but a section of the report depends on it."""
    path = Path(workdir) / TIMES_FILE
    return _read_table(path, TIME_COLUMNS) if path.exists() else None


def _read_checked(path: Path) -> bytes:
    """The content of a table that is as it was written; tried again, for a sweep may be rewriting it right now."""
    for _ in range(READS):
        content, known = path.read_bytes(), _checksums(path.parent).get(path.name)
        if not known or _sha256(content) in known:
            return content
        time.sleep(0.05)
    raise ValueError(
        f"{path}: changed or damaged since vsweep wrote it. Run the sweep's command again to rebuild it, or remove "
        f"{path.parent / CHECKSUMS_FILE} to use it as it is"
    )


def _read_table(path: Path, columns: dict) -> pd.DataFrame:
    content = _read_checked(path)
    try:
        text = content.decode()
        names = check_rows(text)
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: damaged, or no table of vsweep - {error}") from error
    missing = [name for name in columns if name not in names and name not in ADDED_COLUMNS]
    if missing:
        raise ValueError(f"{path}: not a table of this version of vsweep, these columns are missing: {missing}")
    frame = pd.read_csv(io.StringIO(text), dtype={"run_id": str, "stack": str}, low_memory=False)
    return frame.assign(**{name: None for name in ADDED_COLUMNS if name in columns and name not in frame.columns})


def check_rows(text: str) -> list[str]:
    """The column names of a CSV in which every row has a cell for each of them, and no name stands twice.

    pandas fills a row that is too short, takes the first cells of one that is too long for its name, and ends a cell at
    a NUL: a comma that got lost would shift all cells behind it.

    Raises:
      ValueError, csv.Error: it is not so; says where.
    """
    if "\0" in text:
        raise ValueError(f"line {text[: text.index(chr(0))].count(chr(10)) + 1} holds a NUL")
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    names = next(rows, [])
    if not names:
        raise ValueError("it is empty")
    if len(names) > MOST_COLUMNS:
        raise ValueError(f"it has {len(names):,} columns, and at most {MOST_COLUMNS:,} are read")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the column {twice[0]!r} stands there twice")
    for row in rows:
        if row and len(row) != len(names):
            raise ValueError(f"line {rows.line_num} has {len(row)} cells, and the header has {len(names)}")
    return names
