"""A disk that fails at its N-th call, under a whole process: `bad_disk.c`, compiled where there is a compiler."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("bad_disk.c")
KILL = 0  # in the place of an errno


def compiled(folder: Path) -> Path:
    """The library; skips the test where it cannot be made."""
    compiler = shutil.which("cc")
    if compiler is None or os.uname().sysname != "Linux":
        pytest.skip("needs Linux and a C compiler")
    library = folder / "bad_disk.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-Wall", "-o", library, SOURCE, "-ldl"], check=True)
    return library


def environment(library: Path, folder: Path, call: int = 0, error: int = KILL, *, lasts: bool = False) -> dict:
    """Of a process whose `call`-th call below `folder` fails."""
    named = {"FOLDER": str(folder), "CALL": str(call), "ERROR": str(error), "LASTS": str(int(lasts))}
    return {**os.environ, "LD_PRELOAD": str(library), **{f"BAD_DISK_{name}": text for name, text in named.items()}}


def arm(folder: Path, call: int, error: int, *, lasts: bool) -> None:
    """From now on, in a process that was started in such an environment."""
    _loaded().bad_disk(str(folder).encode(), ctypes.c_long(call), ctypes.c_long(error), ctypes.c_long(int(lasts)))


def calls() -> int:
    """Since `arm`."""
    return _loaded().bad_disk_calls()


def _loaded() -> ctypes.CDLL:
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])
    library.bad_disk_calls.restype = ctypes.c_long
    return library
