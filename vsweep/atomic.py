"""Writing files so that a reader sees the old content or the new one, and what is said when the disk refuses."""

import contextlib
import errno
import functools
import json
import logging
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

TEMPORARY = ".unfinished"  # suffix of files that are being written
LEFTOVER = re.compile(rf"\..+\.\w{{8}}{re.escape(TEMPORARY)}")  # the names that tempfile makes of it


logger = logging.getLogger(__name__)


class CannotWrite(OSError):
    """The disk refused; says what, where, how much room is missing and what to do. `errno` is the cause's, if known."""

    STATUS = 74  # of the program that it ends: EX_IOERR

    def __init__(self, number: int | None, reason: str, path: Path, needed_bytes: int):
        super().__init__(number, reason, str(path))
        self.needed_bytes = needed_bytes

    def __str__(self) -> str:
        return f"cannot write {self.filename}: {self.strerror}. Nothing that was saved before is lost. {self._advice()}"

    def _advice(self) -> str:
        again = "run the same command again to go on"
        if self.errno not in FULL:
            return f"Look after the disk or its mount, then {again}."
        free_bytes = _free_bytes(Path(self.filename))
        known = f"{_megabytes(self.needed_bytes)} needed"
        if free_bytes is None or free_bytes >= self.needed_bytes:
            return f"{known}: make room there (a quota or the number of files may be the limit), then {again}."
        missing = _megabytes(self.needed_bytes - free_bytes)
        return f"{known}, {_megabytes(free_bytes)} free: make room for {missing} more at least, then {again}."


FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}  # by the file system, as mounted drives say


@contextlib.contextmanager
def writing(path: Path, needed_bytes: int = 0) -> Iterator[None]:
    """What is done inside writes `path`: an error of the disk leaves as CannotWrite, any other as it is.

    Libraries that write in C++, and shutil, hide the disk's error in the text of another one.
    """
    try:
        yield
    except CannotWrite:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        told = re.search(r"(?:os_error_code='|Errno )(\d+)", str(error))
        number = getattr(error, "errno", None) or (int(told[1]) if told else None)
        if number is None and not isinstance(error, OSError):
            raise
        reason = getattr(error, "strerror", None) or (os.strerror(number) if number else str(error))
        raise CannotWrite(number, reason, path, needed_bytes) from error


def _free_bytes(path: Path) -> int | None:
    """Of the disk that holds `path`, or would; None where the system cannot tell."""
    with contextlib.suppress(OSError, StopIteration):
        return shutil.disk_usage(next(folder for folder in path.absolute().parents if folder.exists())).free
    return None


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.3f} MB"


def write_text_atomically(path: Path, text: str) -> None:
    """Replaces `path` by `text` in UTF-8, as `write_bytes_atomically` does."""
    write_bytes_atomically(path, text.encode())


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """Replaces `path` in one step: temporary file, fsync, rename, fsync of the folder. Raises CannotWrite."""
    with writing(path, len(content)):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=TEMPORARY, dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                sync(file.fileno())
            chmod_if_possible(0o644, Path(temporary))
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        sync_folder(path.parent)


def remove_leftovers(folder: Path, *, older_than_s: float = 0.0) -> None:
    """Removes what killed writers left in `folder`; younger ones may belong to somebody who writes there now."""
    with writing(folder):
        for path in folder.glob(f".*{TEMPORARY}"):
            with contextlib.suppress(FileNotFoundError):  # somebody else was faster
                found = path.lstat()
                is_old = not older_than_s or time.time() - found.st_mtime > older_than_s
                if is_old and LEFTOVER.fullmatch(path.name) and stat.S_ISREG(found.st_mode):
                    path.unlink()


def sync_folder(folder: Path) -> None:
    """Makes renames inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Makes everything below `folder` survive a power cut."""
    for parent, _, files in os.walk(folder):
        for name in files:
            with open(os.path.join(parent, name), "rb") as file:
                sync(file.fileno())
        sync_folder(Path(parent))


def sync(descriptor: int) -> None:
    """fsync, or a warning, once, on a file system that has none: kills lose nothing there, a power cut may."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        warn_once("it cannot force data to the disk, so a power cut may lose the newest checkpoint")


def chmod_if_possible(mode: int, path: Path) -> bool:
    """chmod; False, and a warning, once, on a file system that has no permissions."""
    try:
        path.chmod(mode)
    except OSError as error:
        if error.errno not in {*UNSUPPORTED, errno.EPERM}:
            raise
        warn_once("permissions cannot be set, so others may be able to read the files")
        return False
    return True


@functools.cache
def warn_once(what: str) -> None:
    """Says, once a process, what this file system cannot do."""
    logger.warning("note: this file system is weaker than others: %s", what)


def write_json_atomically(path: Path, value: object) -> None:
    """Replaces `path` by `value` as JSON, in one step. Raises ValueError for NaN and infinities, and CannotWrite."""
    write_text_atomically(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
