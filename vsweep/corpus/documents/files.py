"""Documents of files: .txt, .jsonl, both also as .gz and .xz, and .parquet.

A document is never changed: line ends, blanks and unusual characters stay. Only a byte order mark at the beginning of a
file goes, because it marks the encoding and is no text. What is no valid UTF-8 is refused with its place.
"""

import codecs
import dataclasses
import gzip
import hashlib
import json
import lzma
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from vsweep.config.problems import ConfigError, Problem
from vsweep.corpus.documents.where import Condition
from vsweep.corpus.problems import refuse

CHUNK_BYTES = 2**23  # read at once of a .txt that has a separator
PARQUET_ROWS = 1024  # read at once
TEXT_SUFFIXES = (".txt", ".txt.gz", ".txt.xz")
JSON_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.xz", ".json.gz", ".ndjson")  # C4 calls its lines .json.gz
PARQUET_SUFFIXES = (".parquet",)
SUFFIXES = (*TEXT_SUFFIXES, *JSON_SUFFIXES, *PARQUET_SUFFIXES)
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError)


@dataclasses.dataclass(frozen=True)
class Document:
    """One document, with the place that a message names and how much of its input has been read after it."""

    text: str
    place: str
    read_bytes: int


@dataclasses.dataclass(frozen=True)
class Reading:
    """How documents are found: the field of a JSON line or a table, and what separates documents in a .txt file.

    Of JSON lines and tables only documents are read whose other fields fulfil all conditions `where`.
    """

    field: str = "text"
    separator: str = ""  # empty: each .txt file is one document
    where: tuple[Condition, ...] = ()

    def keeps(self, row: Mapping[str, Any], place: str) -> bool:
        """Whether all conditions hold. Raises ConfigError where one cannot be asked."""
        return all(condition.keeps(row, place) for condition in self.where)

    def to_json(self) -> dict[str, Any]:
        """What is kept of it; without conditions as before there were any."""
        told = {"where": [dataclasses.asdict(condition) for condition in self.where]} if self.where else {}
        return {"field": self.field, "separator": self.separator, **told}


@dataclasses.dataclass(frozen=True)
class FileSource:
    """The documents of one file; `name` is its path below the input that the user gave."""

    path: Path
    name: str
    reading: Reading

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.path.stat().st_size

    def facts(self) -> dict[str, object]:
        """What says, when tokenising is resumed, that the file is the same to the byte."""
        with open(self.path, "rb") as file:
            return {"name": self.name, "bytes": self.size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}

    def documents(self, skip: int = 0) -> Iterator[Document]:
        """The documents in their order, without the first `skip`.

        Raises:
          ConfigError: the file is damaged, or a document is no text; the message says where.
        """
        read = next(reader for suffixes, reader in READERS.items() if self.path.name.lower().endswith(suffixes))
        try:
            for number, document in enumerate(read(self)):
                if number >= skip:
                    yield document
        except DAMAGED as error:
            raise refuse("INPUT", f"{self.path} is damaged: {error}", allowed="a whole file") from None


def file_sources(path: Path, reading: Reading) -> tuple[list[FileSource], list[Path]]:
    """The files of an input, sorted by path, and the files in a folder that are of no known kind.

    Raises:
      ConfigError: there is no such file or folder, or nothing in it can be read.
    """
    if path.is_dir():
        files = sorted((file for file in path.rglob("*") if file.is_file()), key=lambda file: file.as_posix())
    elif path.is_file():
        files = [path]
    else:
        raise refuse("INPUT", "no such file or folder", path)
    hidden = {file for file in files if any(part.startswith(".") for part in file.relative_to(path).parts)}
    known = [file for file in files if file.name.lower().endswith(SUFFIXES) and file not in hidden]
    if not known:
        raise refuse("INPUT", "no file that can be read", path, f"files that end in {', '.join(SUFFIXES)}")
    names = [file.relative_to(path).as_posix() if path.is_dir() else file.name for file in known]
    texts = [file for file in known if file.name.lower().endswith(TEXT_SUFFIXES)]
    if reading.where and texts:
        raise refuse("--where", "a .txt has no fields", texts[0], "JSON lines or tables")
    sources = [FileSource(file, name, reading) for file, name in zip(known, names, strict=True)]
    return sources, [file for file in files if file not in known]


def _open(raw: BinaryIO, path: Path) -> BinaryIO:
    opened = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix.lower())
    return opened(raw) if opened else raw


def _text(source: FileSource) -> Iterator[Document]:
    with open(source.path, "rb") as raw:
        file = _open(raw, source.path)
        chunks = iter(lambda: file.read(CHUNK_BYTES), b"") if source.reading.separator else [file.read()]
        texts = _decoded(chunks, source.path)
        pieces = _pieces(texts, source.reading.separator) if source.reading.separator else texts
        for number, text in enumerate(pieces, 1):
            yield Document(text, f"{source.path}, document {number}", raw.tell())


def _decoded(chunks: Iterable[bytes], path: Path) -> Iterator[str]:
    decoder, done = codecs.getincrementaldecoder("utf-8")(), 0
    try:
        for number, chunk in enumerate(chunks):
            text = decoder.decode(chunk)
            yield text if number else text.removeprefix("\ufeff")
            done += len(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _not_utf8(f"{path}, near byte {done + error.start:,}") from None


def _pieces(texts: Iterable[str], separator: str) -> Iterator[str]:
    """What stands between separators; the same however the text is cut into `texts`."""
    rest = ""
    for text in texts:
        *whole, rest = (rest + text).split(separator)
        yield from whole
    yield rest


def _json_lines(source: FileSource) -> Iterator[Document]:
    with open(source.path, "rb") as raw:
        for number, line in enumerate(_open(raw, source.path), 1):
            place = f"{source.path}, line {number}"
            line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            row = _row_of(line, source.reading.field, place) if line.strip() else {}
            if row and source.reading.keeps(row, place):
                yield Document(row[source.reading.field], place, raw.tell())


def _row_of(line: bytes, field: str, place: str) -> dict[str, Any]:
    """The fields of a line, of which `field` is a text."""
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise _not_utf8(place) from None
    except (ValueError, RecursionError) as error:
        allowed = f'an object a line, such as {{"{field}": "..."}}'
        raise refuse("INPUT", f"{place}: not JSON ({error})", allowed=allowed) from None
    if not isinstance(value, dict) or not isinstance(value.get(field), str):
        got = f"the fields {', '.join(map(str, value))}" if isinstance(value, dict) else type(value).__name__
        raise refuse("--field", f"{place}: no text in field {field!r}", got, "a field that holds text in each line")
    return value


def _parquet(source: FileSource) -> Iterator[Document]:
    import pyarrow
    from pyarrow import parquet

    field = source.reading.field
    try:
        file = parquet.ParquetFile(source.path)
        _check_column(file.schema_arrow, field, source.path)
        done = 0
        columns = list(dict.fromkeys([field, *(each.field for each in source.reading.where)]))
        for batch in file.iter_batches(batch_size=PARQUET_ROWS, columns=columns):
            for row in batch.to_pylist():
                done += 1
                place = f"{source.path}, row {done}"
                if row[field] is None:
                    raise refuse("--field", f"{place}: no text in column {field!r}", "null", "text in each row")
                if source.reading.keeps(row, place):
                    yield Document(row[field], place, source.size * done // file.metadata.num_rows)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise refuse("INPUT", f"{source.path} is no parquet file, or is damaged", str(error).splitlines()[0]) from None
    except UnicodeDecodeError:
        raise _not_utf8(f"{source.path}, after row {done}") from None


def _check_column(schema, field: str, path: Path) -> None:
    from pyarrow import types

    kinds = (types.is_string, types.is_large_string)
    if field not in schema.names or not any(is_kind(schema.field(field).type) for is_kind in kinds):
        raise refuse("--field", f"{path}: no column {field!r} of text", f"the columns {', '.join(schema.names)}")


def _not_utf8(place: str) -> ConfigError:
    allowed = "UTF-8 text; convert others first: iconv -f latin1 -t utf-8 OLD > NEW"
    return ConfigError([Problem("INPUT", f"{place}: not UTF-8", allowed=allowed)])


READERS = {TEXT_SUFFIXES: _text, JSON_SUFFIXES: _json_lines, PARQUET_SUFFIXES: _parquet}
