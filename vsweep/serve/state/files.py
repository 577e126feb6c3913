"""Reading files of a work directory by names that are known here; no link in it is followed."""

import os
import stat
from pathlib import Path

MOST_BYTES = 256 * 2**20  # of a file that is read
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def read(workdir: Path, *names: str) -> bytes:
    """The file at `names` (folders, then the file) below `workdir`, which may itself be a link.

    Raises OSError where there is none, where a link is in its place, or where it is no plain file or a very large one.
    """
    with os.fdopen(_open(workdir, names), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size > MOST_BYTES:
            raise OSError(f"{workdir.joinpath(*names)}: no plain file, or one of more than {MOST_BYTES:,} bytes")
        return file.read(MOST_BYTES)


def stamp(workdir: Path, *names: str) -> tuple[int, int] | None:
    """(time of the last change in ns, bytes) of a plain file that no link leads to, or None."""
    try:
        descriptor = _open(workdir, names)
    except OSError:
        return None
    try:
        found = os.fstat(descriptor)
        return (found.st_mtime_ns, found.st_size) if stat.S_ISREG(found.st_mode) else None
    finally:
        os.close(descriptor)


def _open(workdir: Path, names: tuple[str, ...]) -> int:
    *folders, file = names
    here = os.open(workdir, FOLDER)
    try:
        for folder in folders:
            inside = os.open(folder, FOLDER | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = inside
        return os.open(file, FILE, dir_fd=here)
    finally:
        os.close(here)
