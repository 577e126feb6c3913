"""Several files as one table: `a.csv b.csv`, a pattern such as `runs/*.csv`, and files that are one run each."""

import glob
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from vsweep.analysis.tables import extra_columns, foreign_tables, table_rows
from vsweep.analysis.tables.column_names import NAMES, named, plain, recognise
from vsweep.analysis.tables.foreign_tables import BadTable
from vsweep.analysis.tables.formats import COMPRESSED, RawTable
from vsweep.analysis.tables.units import COUNTS

FILE, RUN = "file", "run"  # the columns that are added: the name of the file, and the id of the run that it is
# A word and its number, such as `N=1e6`, `width64` or `lr0.01`, between the ends of a name or `_`, `-`, `,`, spaces.
NUMBER = re.compile(
    r"(?<![^\W_])([A-Za-z]+(?:_[A-Za-z]+)*)=?(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)([kKmMbBtT])?(?=$|[_\-,\s])"
)

Paths = str | Path | Sequence[str | Path]


def expanded(source: Paths) -> Path | list[Path]:
    """The one path of a source, or several: patterns are filled in, in the order of their names.

    Raises:
      BadTable: a pattern that nothing matches, or a path that is given twice.
    """
    given = [source] if isinstance(source, (str, Path)) else list(source)
    paths = [path for each in given for path in _matching(Path(each))]
    twice = sorted({str(path) for path in paths if paths.count(path) > 1})
    if twice:
        raise BadTable(f"source: given twice - got {', '.join(twice)}")
    if not paths:
        raise BadTable("source: no file and no work directory was given")
    return paths[0] if len(paths) == 1 else paths


def _matching(path: Path) -> list[Path]:
    if path.exists() or not glob.has_magic(str(path)):
        return [path]
    found = sorted(glob.glob(str(path), recursive=True))
    if not found:
        raise BadTable(f"{path}: no file matches this pattern")
    return [Path(one) for one in found]


def title_of(paths: Sequence[Path]) -> Path:
    """What messages and reports call several files, beside the first: `a to z (26 files)`."""
    return paths[0].with_name(f"{stem(paths[0])} to {stem(paths[-1])} ({len(paths)} files)")


def stem(path: Path) -> str:
    """The name of a file without what says its format and compression."""
    return (Path(path.stem) if path.suffix.lower() in COMPRESSED else path).stem


def read(paths: Sequence[Path], *, run_from_filename: bool = False) -> RawTable:
    """The rows of all files, called such as `a.csv:2`, with a column `file`.

    Args:
      run_from_filename: each file is one run. Its name is the run's id, in a column `run`, and numbers in the name are
        columns where the tables have none of that meaning.

    Raises:
      BadTable: a file cannot be read, or has two columns of one name.
    """
    labels = _labels([path.name for path in paths], paths)
    tables = [foreign_tables.read_raw(path) for path in paths]
    frames = [_named_frame(table) for table in tables]
    joined = pd.concat([frame.astype(object) for frame in frames], ignore_index=True)
    lengths = [len(frame) for frame in frames]
    rows = [f"{label}:{row}" for label, table in zip(labels, tables, strict=True) for row in table.rows]
    notes = [*_notes(labels, tables), _about_columns(labels, frames)]
    file = _free(FILE, joined)
    joined[file] = np.repeat(np.array(labels, object), lengths)
    name = str(title_of(paths)) if len(paths) > 1 else str(paths[0])
    raw = RawTable(name, joined, np.array(rows, object), tuple(note for note in notes if note), file_column=file)
    return _as_runs(raw, paths, lengths) if run_from_filename else raw


def _labels(short: list[str], paths: Sequence[Path]) -> list[str]:
    """The short names, or whole paths where two are the same."""
    return short if len(set(short)) == len(short) else [str(path) for path in paths]


def _free(name: str, frame: pd.DataFrame) -> str:
    return name if name not in frame else _free(f"source_{name}", frame)


def _named_frame(table: RawTable) -> pd.DataFrame:
    frame = table.frame.set_axis(table.columns, axis=1)
    twice = sorted(set(frame.columns[frame.columns.duplicated()]))
    if twice:
        raise BadTable(f"{table.name}: several columns are called {', '.join(map(repr, twice))} - rename them")
    return frame


def _notes(labels: list[str], tables: list[RawTable]) -> list[str]:
    """The notes of all files, each with the files that it is about."""
    notes: dict[str, list[str]] = {}
    for label, table in zip(labels, tables, strict=True):
        for note in table.notes:
            notes.setdefault(note, []).append(label)
    return [note if len(of) == len(labels) else f"{named(of, 'File')}: {note}" for note, of in notes.items()]


def _about_columns(labels: list[str], frames: list[pd.DataFrame]) -> str:
    names = dict.fromkeys(name for frame in frames for name in frame)
    absent = {name: [label for label, frame in zip(labels, frames, strict=True) if name not in frame] for name in names}
    told = [f"{name or 'one without a name'} (not in {named(of, 'file')})" for name, of in absent.items() if of]
    return f"Columns that not every file has: {', '.join(told)}." if told else ""


# Files that are one run each


def _as_runs(raw: RawTable, paths: Sequence[Path], lengths: list[int]) -> RawTable:
    """The table with the run of each row, and with the numbers in the names of files."""
    frame, run = raw.frame.copy(), _free(RUN, raw.frame)
    ids = _labels([stem(path) for path in paths], paths)
    frame[run] = np.repeat(np.array(ids, object), lengths)
    numbers = pd.DataFrame([numbers_in(stem(path)) for path in paths], dtype=object)
    known = recognise(raw.columns).columns
    there = {table_rows.last_part(name) for name in raw.columns}
    new = [name for name in numbers if plain(name) not in there and _quantity(name) not in known]
    for name in new:
        frame[name] = np.repeat(numbers[name].to_numpy(object), lengths)
    note = f"Each file is one run. Columns from the names of files: {', '.join(new) or 'none'}."
    return replace(raw, frame=frame, notes=(*raw.notes, note), run_column=run)


def _quantity(name: str) -> str:
    return next((quantity for quantity, words in NAMES.items() if plain(name) in words.split()), "")


def numbers_in(name: str) -> dict[str, float]:
    """The numbers in the name of a file: `N=1e6_D=2B_seed=3` is N 1e6, D 2e9, seed 3; `width64-lr0.01` too.

    A number that belongs to no word, such as a date, is none of them, and neither is the second of one word.
    """
    found: dict[str, float] = {}
    for word, number, scale in NUMBER.findall(name):
        value = float(number) * (COUNTS[scale.casefold()] if scale else 1.0)
        found.setdefault(_word(word), int(value) if value.is_integer() and abs(value) < 2**53 else value)
    return found


def _word(words: str) -> str:
    """The longest end of `words` that is a known name, such as batch_size of gpt_batch_size; else the last word."""
    parts = words.split("_")
    ends = ["_".join(parts[at:]) for at in range(len(parts))]
    return next((end for end in ends if _quantity(end) or extra_columns.is_setting(end)), parts[-1])
