"""One process at a time in a work directory: a lock of the kernel, or a lease where the file system has no locks.

The kernel gives its lock back whatever way a process ends. A lease is a file that its owner rewrites every few seconds:
one that nobody rewrites any more belongs to a process that is gone, and is taken over.
"""

import contextlib
import errno
import fcntl
import os
import socket
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

from vsweep.atomic import CannotWrite, write_text_atomically, writing
from vsweep.config.problems import ConfigError, Problem

LOCK, LEASE = "lock", "lease"
OWNER_WRITES_S = 0.2  # ample time from taking the lock to the owner's name in it
BEAT_S = 5.0  # between two renewals of a lease
GONE_AFTER_S = 30.0  # a lease that has not been renewed for so long has no owner any more
READS = 5  # of a lease that cannot be read
NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}
WEAKER = (
    "note: this file system has no locks, so a lease file keeps other processes out. It is renewed every "
    f"{BEAT_S:.0f} s. After a crash the next start waits {GONE_AFTER_S:.0f} s to see that nobody renews it"
)


class Lock:
    """What a process holds while it trains in `folder`; `note` says what is weaker here than elsewhere, if anything."""

    note = ""

    def confirm(self) -> None:
        """Raises CannotWrite if somebody else has taken the folder over; a lock of the kernel cannot be lost."""


class TakenOver(CannotWrite):
    """Another process trains in this directory now, for this one did not renew its lease: it slept, or was cut off."""

    def __str__(self) -> str:
        return f"{self.strerror}. What it had saved before is there. Stop one of the two, then run the command again"


@contextlib.contextmanager
def locked(folder: Path, say: Callable[[str], None] = lambda text: None) -> Iterator[Lock]:
    """Holds `folder`, which is made if it is missing. Raises ConfigError, naming the owner, if another process does.

    `say` is told before it waits to see whether an owner is alive.
    """
    with writing(folder / LOCK):
        folder.mkdir(parents=True, exist_ok=True)
        file = _open(folder / LOCK)
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use(folder, _owner_of(file)) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise CannotWrite(error.errno, error.strerror, folder / LOCK, 0) from error
            with Lease(folder, say) as lease:
                yield lease
            return
        with writing(folder / LOCK):
            file.truncate(0)
            file.write(_owner().encode())
        yield Lock()


def is_lock(path: Path) -> bool:
    """Whether a file called `lock` is one of ours: empty, or with an owner in it."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read(8) in (b"", b"process ")
    return False


class Lease(Lock):
    """Exclusive use of `folder` by a file, `lease`, that a thread renews while this is entered."""

    note = WEAKER
    _held: ClassVar[set[str]] = set()  # marks of this process

    def __init__(self, folder: Path, say: Callable[[str], None]):
        self.folder = folder
        self.file = folder / LEASE
        self.mark = f"{_owner().strip()} {_process_space()} {uuid.uuid4().hex}"
        self._say = say
        self._over = threading.Event()
        self._beats = 0

    def confirm(self) -> None:
        if not (text := self._text()).startswith(self.mark):
            raise TakenOver(None, f"{self.folder} was taken over by {_without_mark(text) or 'nobody'}", self.file, 0)

    def __enter__(self) -> "Lease":
        if (text := self._text()) and not self._is_abandoned(text):
            raise _in_use(self.folder, _without_mark(self._text()))
        self._renew()
        time.sleep(OWNER_WRITES_S)  # of two that take it at once, the later one has it
        if not self._text().startswith(self.mark):
            raise _in_use(self.folder, _without_mark(self._text()))
        self._held.add(self.mark)
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self._thread.join()
        self._held.discard(self.mark)
        with contextlib.suppress(OSError):  # an abandoned lease costs the next start a wait, and nothing else
            if self._text().startswith(self.mark):
                self.file.unlink()

    def _keep(self) -> None:
        """Renews the lease until it is over or lost; a disk that fails now and then may work at the next beat."""
        while not self._over.wait(BEAT_S):
            with contextlib.suppress(OSError):
                if not self._text().startswith(self.mark):
                    return
                self._renew()

    def _renew(self) -> None:
        self._beats += 1
        write_text_atomically(self.file, f"{self.mark} {self._beats}\n")

    def _text(self) -> str:
        """Empty where there is no lease. Raises CannotWrite for one that cannot be read: it may be somebody's."""
        for left in reversed(range(READS)):
            try:
                return self.file.read_text(encoding="utf-8", errors="replace")
            except FileNotFoundError:
                return ""
            except OSError as error:  # a mounted drive may have lost its server for a moment
                if not left:
                    raise CannotWrite(error.errno, error.strerror, self.file, 0) from error
                time.sleep(BEAT_S / READS)

    def _is_abandoned(self, seen: str) -> bool:
        """Watched by its content, for the clocks of a drive's server and of this machine may differ."""
        if self._owner_is_dead(seen):
            return True
        self._say(f"{self.folder}: waiting {GONE_AFTER_S:.0f} s to see whether {_without_mark(seen)} still trains here")
        until = time.monotonic() + GONE_AFTER_S
        while time.monotonic() < until:
            time.sleep(min(1.0, GONE_AFTER_S / 10))
            if self._text() != seen:
                return not self._text()
        return True

    def _owner_is_dead(self, text: str) -> bool:
        """Only a process of this machine can be known to be gone, or to be this one with the number of an old one."""
        words = text.split()
        if len(words) < 8 or words[7] != _process_space() or not words[1].isdecimal():
            return False
        if int(words[1]) == os.getpid():
            return not any(text.startswith(mark) for mark in self._held)
        try:
            os.kill(int(words[1]), 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            return False
        return False


def _open(path: Path):
    """Opens the lock without following a link; a hard link or a device of that name is not written to either."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise _no_lock(path) from None
        raise
    file = os.fdopen(descriptor, "r+b", buffering=0)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or not is_lock(path):
        file.close()
        raise _no_lock(path)
    return file


def _no_lock(path: Path) -> ConfigError:
    return ConfigError([Problem("workdir", "not a lock of vsweep", f"{path}", "a plain file, or none; move it away")])


def _in_use(folder: Path, owner: str) -> ConfigError:
    return ConfigError([Problem("workdir", f"{folder} is in use by {owner or 'another process'}")])


def _owner() -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {socket.gethostname()} since {since}\n"


def _process_space() -> str:
    """Where a number means one process: this start of this machine, and this container. If unknown, nowhere."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return uuid.uuid4().hex


def _owner_of(file) -> str:
    time.sleep(OWNER_WRITES_S)
    file.seek(0)
    return file.read().decode(errors="replace").strip()


def _without_mark(text: str) -> str:
    """`process 7 on host since 2026-01-01 12:00:00`, the owner's name without its mark and beats."""
    return " ".join(text.split()[:7])
