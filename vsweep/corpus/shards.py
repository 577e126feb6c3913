"""One file of ids that grows, with a checksum for each shard of it.

A shard is a piece of the file, not a file of its own: so the ids of a split are one array in memory, and no block
crosses from file to file. Ids are little-endian and have the smallest of 1, 2 and 4 bytes that holds them.
"""

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vsweep.atomic import sync, writing
from vsweep.corpus.problems import refuse

SHARD_BYTES = 2**26
WRITTEN_AT_ONCE = 2**20  # bytes
READ_AT_ONCE = 2**22  # bytes


def dtype_of(vocabulary: int) -> np.dtype:
    """uint8 up to 256 ids, uint16 up to 65,536, else uint32."""
    kinds = ((2**8, "u1"), (2**16, "<u2"), (2**32, "<u4"))
    return np.dtype(next(kind for most, kind in kinds if vocabulary <= most))


class Checksums:
    """The sha256 of every shard of a growing file."""

    def __init__(self, shard_bytes: int):
        self.size = 0  # bytes so far
        self._shard_bytes = shard_bytes
        self._whole: list[str] = []
        self._last = hashlib.sha256()

    def update(self, content: bytes | memoryview) -> None:
        """Takes in the next bytes, which may belong to several shards."""
        content = memoryview(content)
        while len(content):
            room = self._shard_bytes - self.size % self._shard_bytes
            piece, content = content[:room], content[room:]
            self._last.update(piece)
            self.size += len(piece)
            if len(piece) == room:
                self._whole.append(self._last.hexdigest())
                self._last = hashlib.sha256()

    @property
    def whole_shards(self) -> int:
        return len(self._whole)

    def digests(self) -> tuple[str, ...]:
        """Of each shard; the last one may be shorter."""
        return (*self._whole, self._last.hexdigest()) if self.size % self._shard_bytes else tuple(self._whole)


@dataclasses.dataclass(frozen=True)
class SplitFacts:
    """What is in the file of one split."""

    tokens: int = 0  # with an EOS after each document
    documents: int = 0
    text_bytes: int = 0  # of the documents in UTF-8
    shards: tuple[str, ...] = ()  # sha256 of each

    @staticmethod
    def read(value: dict) -> "SplitFacts":
        """From JSON."""
        return SplitFacts(**{**value, "shards": tuple(value["shards"])})


def check(path: Path, facts: SplitFacts, dtype: np.dtype, shard_bytes: int) -> Checksums:
    """The checksums of the first `facts.tokens` ids in `path`.

    Raises:
      ConfigError: the file is missing, too short, or a shard differs; the message names it.
    """
    wanted, checksums = facts.tokens * dtype.itemsize, Checksums(shard_bytes)
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        while content := file.read(min(READ_AT_ONCE, wanted - checksums.size)):
            checksums.update(content)
    if checksums.size < wanted:
        raise _damaged(f"{path} has {checksums.size:,} bytes of {wanted:,}")
    for number, (got, expected) in enumerate(zip(checksums.digests(), facts.shards, strict=True)):
        if got != expected:
            raise _damaged(f"{path}, shard {number}: the checksum differs")
    return checksums


class SplitWriter:
    """Appends documents to the file of one split. What was not `saved` is cut off when it is opened again."""

    def __init__(self, path: Path, dtype: np.dtype, shard_bytes: int, facts: SplitFacts):
        """Raises ConfigError if what `facts` tell of is not there as it was written."""
        self.path, self._dtype, self._facts = path, dtype, facts
        self._checksums = check(path, facts, dtype, shard_bytes)
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._written_at_once = min(WRITTEN_AT_ONCE, shard_bytes)
        with writing(path):
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by close()
            self._file.truncate(self._checksums.size)

    def add(self, ids: np.ndarray, eos: int, text_bytes: int) -> None:
        """Appends one document, whose `ids` [tokens] do not contain EOS. Raises CannotWrite."""
        content = np.append(ids, eos).astype(self._dtype).tobytes()
        self._waiting.append(content)
        self._waiting_bytes += len(content)
        facts = self._facts
        self._facts = SplitFacts(facts.tokens + len(ids) + 1, facts.documents + 1, facts.text_bytes + text_bytes)
        if self._waiting_bytes >= self._written_at_once:
            self._write()

    @property
    def facts(self) -> SplitFacts:
        """Of what was added; the checksums are those of `saved`."""
        return self._facts

    @property
    def whole_shards(self) -> int:
        return self._checksums.whole_shards

    def saved(self) -> SplitFacts:
        """Forces everything to the disk, and says what is there. Raises CannotWrite."""
        self._write()
        with writing(self.path):
            sync(self._file.fileno())
        self._facts = dataclasses.replace(self._facts, shards=self._checksums.digests())
        return self._facts

    def close(self) -> None:
        """What waits is dropped: it belongs to no saved state."""
        self._file.close()

    def _write(self) -> None:
        content = memoryview(b"".join(self._waiting))
        self._waiting, self._waiting_bytes = [], 0
        self._checksums.update(content)
        with writing(self.path, len(content)):
            while len(content):
                content = content[self._file.write(content) :]


@contextlib.contextmanager
def split_writers(
    folder: Path, dtype: np.dtype, shard_bytes: int, facts: dict[str, SplitFacts]
) -> Iterator[dict[str, SplitWriter]]:
    """A writer for each split in `facts`."""
    with contextlib.ExitStack() as stack:
        writers = {}
        for name, saved in facts.items():
            writers[name] = SplitWriter(folder / f"{name}.bin", dtype, shard_bytes, saved)
            stack.callback(writers[name].close)
        yield writers


def _damaged(what: str):
    return refuse(
        "corpus", what, allowed="the files as they were written; make it again: vsweep tokenise ... --restart"
    )
