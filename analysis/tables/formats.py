"""Files of every usual format as a table of cells, with the number of the row that each came from.

Text in any common encoding and separator, compressed or not; JSON in the shapes that trackers export; parquet and
spreadsheets. Cells of text stay text, because only `float()` reads a number back bit for bit. Nothing in a file is
evaluated or unpickled.
"""

import bz2
import codecs
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import numpy as np
import pandas as pd

from vsweep.analysis.tables.column_names import named

LARGEST_BYTES = 2_000_000_000  # of a file after decompression
SEPARATORS = ",\t;|"
PYARROW = "parquet needs one more package - pip install pyarrow"
OPENPYXL = "spreadsheets need one more package - pip install openpyxl"
RUN = "run"  # the column that names the runs of a dict of runs


class Unreadable(ValueError):
    """The file is not what its name says, or needs a package that is not installed."""


@dataclass(frozen=True)
class RawTable:
    """A table as it was found, with any values.

    `frame` has one column per name and any objects as cells; `rows` [n] are the numbers of its rows in the file;
    `notes` are sentences on how the file was read, where that was not obvious. `file_column` and `run_column` are the
    columns that were added with the file of each row, and with its run where each file is one.
    """

    name: str
    frame: pd.DataFrame
    rows: np.ndarray
    notes: tuple[str, ...] = ()
    file_column: str = ""
    run_column: str = ""

    @property
    def columns(self) -> list[str]:
        return [str(name).strip() for name in self.frame.columns]


def of_frame(name: str, frame: pd.DataFrame) -> RawTable:
    """A DataFrame; rows count from 1. After a groupby the quantities sit in the index: its levels become columns."""
    levels = [level for level in frame.index.names if level is not None and level not in frame.columns]
    return RawTable(name, frame.reset_index(level=levels) if levels else frame, np.arange(1, len(frame) + 1))


def read_file(path: Path) -> RawTable:
    """The table in a file; its format follows from the name, and compression from the content.

    Raises:
      Unreadable: the content is not of that format, is too large, or needs a package that is not installed.
      OSError: the file cannot be read.
    """
    content, inner = decompressed(path.read_bytes(), path.name)
    suffix = PurePath(inner).suffix.lower()
    reader, kind = READERS.get(suffix, (_read_text, "a table of text"))
    try:
        return replace(reader(content), name=str(path))
    except ImportError as error:
        raise Unreadable(OPENPYXL if "openpyxl" in str(error) else PYARROW) from error
    except (ValueError, RecursionError, NotImplementedError, OverflowError, KeyError, zipfile.BadZipFile) as error:
        raise Unreadable(f"not {kind} - {' '.join(str(error).split())}") from error


# Compression


def decompressed(content: bytes, name: str) -> tuple[bytes, str]:
    """The content of a compressed file and the name inside; any other content and name as they are.

    A zip must hold one file. The magic bytes decide, because names lie; a spreadsheet is a zip and stays one.
    """
    suffix = PurePath(name).suffix.lower()
    inner = name.removesuffix(PurePath(name).suffix) if suffix in COMPRESSED else name
    for magic, opened in MAGIC.items():
        if content.startswith(magic):
            return _limited(opened, content), inner
    if content.startswith(b"PK\x03\x04") and suffix not in SPREADSHEETS:
        return _unzipped(content)
    return content, name


def _limited(opened: Callable, content: bytes) -> bytes:
    try:
        with opened(io.BytesIO(content)) as file:
            found = file.read(LARGEST_BYTES + 1)
    except (OSError, EOFError, lzma.LZMAError, zipfile.BadZipFile, RuntimeError) as error:
        raise Unreadable(f"its compression is damaged - {error}") from error
    if len(found) > LARGEST_BYTES:
        raise Unreadable(f"it holds more than {LARGEST_BYTES / 1e9:g} GB")
    return found


def _unzipped(content: bytes) -> tuple[bytes, str]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except zipfile.BadZipFile as error:
        raise Unreadable(f"its compression is damaged - {error}") from error
    with archive:
        names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX")]
        if len(names) != 1:
            raise Unreadable(f"a zip with {len(names)} files - needed is one table; unpack it and name the file")
        return _limited(lambda _: archive.open(names[0]), content), PurePath(names[0]).name


COMPRESSED = (".gz", ".xz", ".bz2", ".zip", ".gzip", ".lzma")
SPREADSHEETS = (".xlsx", ".xlsm")
MAGIC = {b"\x1f\x8b": gzip.open, b"\xfd7zXZ\x00": lzma.open, b"BZh": bz2.open}


# Text


def decoded(content: bytes) -> tuple[str, tuple[str, ...]]:
    """The text of a file, and notes. Its mark decides, else UTF-8, else UTF-16 without a mark, else Windows-1252."""
    for mark, encoding in MARKS.items():
        if content.startswith(mark):
            return content.decode(encoding), ()
    zeros = content[1::2].count(0), content[0::2].count(0)
    if len(content) > 3 and max(zeros) > len(content) // 5:
        return content.decode("utf-16-le" if zeros[0] > zeros[1] else "utf-16-be"), ()
    try:
        return content.decode(), ()
    except UnicodeDecodeError:
        return content.decode("cp1252"), ("The file is not UTF-8. It was read as Windows-1252.",)


MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark begins it
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def _read_text(content: bytes) -> RawTable:
    """Rows of cells with a header. Lines before it that begin with `#` are comments.

    The separator is the one that the header has most of. A comment that is the header itself, as numpy.savetxt
    writes it, is taken for one.
    """
    text, notes = decoded(content)
    if "\0" in text:  # pandas ends a cell there
        raise ValueError("it holds a NUL")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    start = _header_at(lines)
    if start is None:
        raise ValueError("the file is empty")
    header = lines[start].lstrip("\ufeff# ") if lines[start].startswith("#") else lines[start]
    separator = max(SEPARATORS, key=header.count)
    body = "\n".join([header, *(("" if line.startswith("#") else line) for line in lines[start + 1 :])])
    # Blank lines stay at first, so that rows count as in the file.
    options = {"sep": separator, "header": None, "dtype": str, "skip_blank_lines": False, "skipinitialspace": True}
    cells = pd.read_csv(io.StringIO(body), **options)
    frame = cells.iloc[1:].dropna(how="all")
    frame.columns = [str(name).strip() for name in cells.iloc[0].fillna("")]
    frame, dropped = _without_empty_columns(frame)
    more = (f"{dropped} columns without a name and without a cell were left out.",) if dropped else ()
    return RawTable("", _plain_numbers(frame, separator), frame.index.to_numpy() + 1 + start, notes + more)


def _header_at(lines: list[str]) -> int | None:
    """The line of the header: the first that is neither blank nor a comment, unless a comment before it is one."""
    first = next((at for at, line in enumerate(lines) if line.strip() and not line.startswith("#")), None)
    if first is None or first == 0:
        return first
    comment = lines[first - 1].lstrip("# ")
    separator = max(SEPARATORS, key=lines[first].count)
    is_data = all(_is_number(cell) for cell in lines[first].split(separator))
    same_width = lines[first].count(separator) == comment.count(separator) > 0
    return first - 1 if lines[first - 1].startswith("#") and is_data and same_width else first


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _without_empty_columns(frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Spreadsheets write separators behind the last column: columns without a name and without any cell."""
    keep = [bool(name) or frame.iloc[:, at].notna().any() for at, name in enumerate(frame.columns)]
    return frame.loc[:, keep], len(keep) - sum(keep)


def _plain_numbers(frame: pd.DataFrame, separator: str) -> pd.DataFrame:
    """Text cells with numbers as `float()` reads them: without separators of thousands, with a decimal point."""
    columns = [plain_numbers(frame.iloc[:, at], separator) for at in range(frame.shape[1])]
    plain = pd.concat(columns, axis=1) if columns else frame
    plain.columns = frame.columns
    return plain


GROUPED = r"[+-]?\d{1,3}(?:%s\d{3})+"
POINT = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
COMMA = POINT.replace(r"\.", ",")


def plain_numbers(cells: pd.Series, separator: str) -> pd.Series:
    """One column of text, its numbers rewritten where the whole column is in another notation than Python's.

    `1,234,567.5`, `1 234 567`, `1'234'567` and `1_234_567` lose their separators of thousands. `3,25` has a decimal
    comma, where the comma does not separate the cells. A lone `1,234` in every cell could be either: it stays text, so
    the reader of the column asks.
    """
    cells = cells.str.replace("[\u00a0\u202f]", " ", regex=True)
    text = cells.dropna().str.strip()
    text = text[text != ""]
    if text.empty or text.str.fullmatch(POINT).all():
        return cells
    for mark in (",", " ", "'", "_"):
        is_grouped = text.str.fullmatch(rf"{GROUPED % mark}(?:\.\d+)?")
        grouped = text[is_grouped]
        sure = mark != "," or (grouped.str.count(",") > 1).any() or grouped.str.contains(".", regex=False).any()
        if len(grouped) and sure and text[~is_grouped].str.fullmatch(POINT).all():
            return cells.str.replace(mark, "", regex=False)
    with_comma = text.str.fullmatch(COMMA) | text.str.fullmatch(rf"{GROUPED % '[.]'}(?:,\d+)?")
    lone = text.str.fullmatch(r"[+-]?\d{1,3},\d{3}")
    several = text.str.count("[.]").max() > 1  # 1.234.567 has no other meaning
    if with_comma.all() and several and not text.str.contains(",").any():
        return cells.str.replace(".", "", regex=False)
    if separator != "," and with_comma.all() and not lone[text.str.contains(",")].all():
        return cells.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
    return cells


# JSON


def _read_json_lines(content: bytes) -> RawTable:
    text, notes = decoded(content)
    lines = text.split("\n")
    rows = [row for row, line in enumerate(lines, start=1) if line.strip()]
    records = [_json(lines[row - 1], f"line {row}: ") for row in rows]
    return _of_records(records, rows, notes)


def _read_json(content: bytes) -> RawTable:
    """A list of records, a dict of runs, columns by name, or a record a line in a file that is called .json."""
    text, notes = decoded(content)
    try:
        found = _json(text, "")
    except ValueError:
        if len(text.strip().split("\n")) > 1 and text.lstrip().startswith("{"):
            return _read_json_lines(content)
        raise
    if isinstance(found, dict):
        found = _records_of(found)
    if not isinstance(found, list):
        raise ValueError(f"it holds one {type(found).__name__}; needed is a list of records or a dict of runs")
    return _of_records(found, range(1, len(found) + 1), notes)


def _records_of(found: dict) -> object:
    """The records of a dict: of runs by name, of columns, or around one list."""
    if {"columns", "data"} <= set(found):  # pandas, orient="split"
        return [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]
    values = list(found.values())
    if values and all(isinstance(value, list) and not _are_records(value) for value in values):
        if len({len(value) for value in values}) > 1:
            raise ValueError("its columns have different lengths")
        return [dict(zip(found, row, strict=True)) for row in zip(*values, strict=True)]
    lists = [value for value in values if isinstance(value, list) and _are_records(value)]
    if len(lists) == 1:
        return lists[0]
    if values and all(isinstance(value, dict) for value in values):
        inner = [set(value) for value in values]
        if all(keys == inner[0] for keys in inner) and all(str(key).isdigit() for key in inner[0]) and inner[0]:
            rows = sorted(inner[0], key=int)  # pandas, orient="columns": {"N": {"0": ..., "1": ...}}
            return [{name: column[row] for name, column in found.items()} for row in rows]
        return [{RUN: name, **record} for name, record in found.items()]
    return found


def _are_records(value: list) -> bool:
    return bool(value) and all(isinstance(item, dict) for item in value)


def _json(text: str, where: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where}{error}") from error


def _of_records(found: list, rows: Sequence[int], notes: tuple[str, ...]) -> RawTable:
    """The records as a table of Python objects, so that no value is converted on the way.

    Nested records become columns with dots in their names. A list of records inside a record is a log of the run.
    """
    wrong = [row for row, record in zip(rows, found, strict=True) if not isinstance(record, dict)]
    if wrong:
        raise ValueError(f"no record with named values in {named(wrong)}")
    flat = [dict(_flattened(record)) for record in found]
    logs = sorted({name for record in flat for name, value in record.items() if isinstance(value, list)})
    for record in flat:
        for name in logs:
            record.pop(name, None)
    if logs:
        notes = (*notes, f"Lists inside the records were left out: {', '.join(logs)}.")
    return RawTable("", pd.DataFrame(flat, dtype=object), np.array(rows, int), notes)


def _flattened(record: dict, prefix: str = "") -> Iterable[tuple[str, object]]:
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


# Binary formats


def _read_parquet(content: bytes) -> RawTable:
    # Without what pandas may have stored beside the columns (its index, its types): not every writer is pandas.
    options = {"engine": "pyarrow", "to_pandas_kwargs": {"ignore_metadata": True}}
    return of_frame("", pd.read_parquet(io.BytesIO(content), **options))


def _read_spreadsheet(content: bytes) -> RawTable:
    """The one sheet that has cells. Formulas are read as the values that were computed last."""
    sheets = pd.read_excel(io.BytesIO(content), sheet_name=None, header=None, dtype=object, engine="openpyxl")
    filled = {name: sheet for name, sheet in sheets.items() if not sheet.dropna(how="all").empty}
    if len(filled) != 1:
        listed = ", ".join(filled) or "none"
        raise ValueError(f"{len(filled)} sheets with cells ({listed}) - needed is one; save that one as CSV")
    (cells,) = filled.values()
    cells = cells.dropna(how="all").dropna(how="all", axis=1)
    frame = cells.iloc[1:]
    frame.columns = ["" if pd.isna(name) else str(name).strip() for name in cells.iloc[0]]
    return RawTable("", frame, frame.index.to_numpy() + 1)


READERS: dict[str, tuple[Callable[[bytes], RawTable], str]] = {
    ".json": (_read_json, "a JSON table"),
    ".jsonl": (_read_json_lines, "a table of JSON lines"),
    ".ndjson": (_read_json_lines, "a table of JSON lines"),
    ".parquet": (_read_parquet, "a parquet table"),
    ".pq": (_read_parquet, "a parquet table"),
    **dict.fromkeys(SPREADSHEETS, (_read_spreadsheet, "a spreadsheet")),
}
