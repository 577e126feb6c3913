"""The very first thing of a program: a system that it can run on, and standard streams that cannot end it.

Imports nothing but the standard library, for it comes before any library opens a file or takes hold of a stream.
"""

import contextlib
import errno
import importlib.util
import io
import os
import sys
from typing import TextIO

READER_IS_GONE = {errno.EPIPE, errno.EIO}  # of a pipe, of a terminal: nobody is there who could miss anything


class SilencedFile(io.FileIO):
    """A standard stream that falls silent for good once it cannot be written.

    Its descriptor then leads to /dev/null, so that libraries in C++ and child processes are silent too, and the
    interpreter finds nothing wrong when it flushes at its end.
    """

    def write(self, data) -> int:
        """Number of bytes taken, which is all of them once the stream is silent."""
        size = memoryview(data).nbytes
        try:
            written = super().write(data)
        except OSError as error:
            self._silence(error)
            return size
        return size if written is None else written  # None: a pipe that does not block is full; this piece is dropped

    def _silence(self, error: OSError) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)
        if self.fileno() == 1 and error.errno not in READER_IS_GONE:
            print(f"standard output cannot be written ({error.strerror}): silent from here on", file=sys.stderr)


def begin() -> None:
    """What each program of vsweep does first."""
    steady_streams()
    refuse_without_posix()


def steady_streams() -> None:
    """Opens /dev/null on those of descriptors 0 to 2 that are closed, and makes standard output and error silenceable.

    Otherwise the next file that is opened takes the free descriptor: a lock file was where messages went.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free descriptor, which is this one
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout, sys.stderr = _silenced(1, sys.stdout), _silenced(2, sys.stderr)


def refuse_without_posix() -> None:
    """Ends the program with one line and status 2 where locks and signals are not as this program needs them."""
    if importlib.util.find_spec("fcntl") is None:
        what = f"system: not POSIX, it has no fcntl - got {sys.platform}; allowed: Linux, macOS, or WSL on Windows"
        print(f"vsweep cannot start:\n  {what}", file=sys.stderr)
        sys.exit(2)


def _leads_to(number: int, stream: TextIO) -> bool:
    """A notebook's stream, or one that a program has put in the place of a standard one, leads elsewhere."""
    with contextlib.suppress(OSError, ValueError):  # it has no descriptor, or is closed
        return isinstance(stream, io.TextIOWrapper) and stream.fileno() == number
    return False


def _silenced(number: int, old: TextIO | None) -> TextIO:
    """With the encoding and the buffering of the stream that it replaces (None: there was none).

    What that encoding has no character for is written as an escape: no message is worth a sweep.
    """
    if old is not None and not _leads_to(number, old):
        return old
    old = old or io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    raw = SilencedFile(number, "wb", closefd=False)
    return io.TextIOWrapper(
        raw if old.write_through else io.BufferedWriter(raw),
        encoding=old.encoding,
        errors="backslashreplace" if old.errors == "strict" else old.errors,
        newline="\n",
        line_buffering=old.line_buffering,
        write_through=old.write_through,
    )
