"""Standard streams whose reader is dead, whose disk is full, or that were never open; a system without POSIX."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vsweep.host import startup
from vsweep.host.startup import SilencedFile

ROOT = Path(__file__).parents[3]

# Writes by every way that the program and its libraries have, to both streams, and opens a file; the answer is a file.
PROGRAM = """
from vsweep.host import startup
startup.begin()
import contextlib, logging, os, subprocess, sys, warnings
from absl import logging as absl_logging
for _ in range(3):
    print("x" * 100_000)
    print("é → x", file=sys.stderr, flush=True)
    warnings.warn("a warning")
    logging.getLogger("some").warning("a message")
    absl_logging.warning("another one")
    sys.stdout.flush()
    with contextlib.suppress(OSError):
        os.write(2, b"as C++ does")
subprocess.run([sys.executable, "-c", "import sys; print(1, file=sys.stderr); print(2)"])
with open(sys.argv[1], "w") as file:
    file.write(str(file.fileno()))
print("not flushed before the end", end="")
"""


def run(text: str, answer: Path, redirections: str, **variables: str) -> subprocess.CompletedProcess:
    """A Python program in a shell, with these redirections behind it."""
    command = f'"$@" {redirections}; exit ${{PIPESTATUS[0]}}'
    program = ["bash", "-c", command, "bash", sys.executable, "-c", text, str(answer)]
    environment = {**os.environ, **variables}
    return subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("redirections", "told"),
    [
        (">&-", ""),
        ("2>&-", ""),
        ("<&- >&- 2>&-", ""),
        ("> /dev/full", "standard output cannot be written (No space left on device): silent from here on"),
        ("2> /dev/full", ""),
        ("> /dev/full 2>&1", ""),
        ("| true", ""),
        ("2>&1 | true", ""),
        ("2>&1 >/dev/null | head -1", ""),
        ("< /dev/null 2< /dev/null", ""),
    ],
)
def test_a_stream_that_cannot_be_written_ends_no_program_and_no_file_takes_its_place(redirections, told, tmp_path):
    done = run(PROGRAM, tmp_path / "answer", redirections)
    assert done.returncode == 0, done.stderr
    assert int((tmp_path / "answer").read_text()) > 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_without_any_of_this_the_same_program_ends_with_an_error(tmp_path):
    """The control: these redirections do harm."""
    text = PROGRAM.replace("startup.begin()", "")
    assert run(text, tmp_path / "answer", "2>&1 | true").returncode != 0
    harmed = "import os, sys; file = open(sys.argv[1], 'w', buffering=1); os.write(2, b'a message')"
    run(harmed, tmp_path / "answer", "2>&-")
    assert (tmp_path / "answer").read_text() == "a message"


def test_what_can_be_written_is_what_it_was(tmp_path):
    text = (
        "from vsweep.host import startup; startup.begin(); import sys; print('é→', end=''); print('!', file=sys.stderr)"
    )
    done = run(text, tmp_path, "", PYTHONIOENCODING="utf-8")
    assert (done.stdout, done.stderr, done.returncode) == ("é→", "!\n", 0)
    done = run(text, tmp_path, "", PYTHONIOENCODING="ascii")
    assert (done.stdout, done.stderr, done.returncode) == ("\\xe9\\u2192", "!\n", 0)
    done = run(
        text.replace("print('é→', end='')", "print(1); __import__('os')._exit(0)"), tmp_path, "", PYTHONUNBUFFERED="1"
    )
    assert done.stdout == "1\n"


def test_a_stream_is_silent_for_good_and_so_is_its_descriptor():
    reader, writer = os.pipe()
    os.close(reader)
    with SilencedFile(writer, "wb", closefd=True) as stream:
        assert stream.write(b"nobody reads this") == 17
        assert os.write(stream.fileno(), b"nor this") == 8
        assert os.path.samestat(os.fstat(stream.fileno()), os.stat(os.devnull))


def test_a_pipe_that_does_not_block_and_is_full_loses_a_piece_and_not_the_rest():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    os.set_blocking(reader, False)
    with SilencedFile(writer, "wb", closefd=True) as stream, open(reader, "rb", buffering=0) as reading:
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, b"x")
        assert stream.write(b"lost") == 4
        while reading.read(65536):
            pass
        assert stream.write(b"read") == 4
        assert reading.read(65536) == b"read"


def test_a_system_without_fcntl_is_one_line(tmp_path):
    """As on Windows, where the import fails."""
    text = """
import runpy, sys
sys.modules["fcntl"] = None
sys.argv = ["launch.py", "--config=configs/addition.py:smoke", "--plan"]
runpy.run_path("launch.py", run_name="__main__")
"""
    done = run(text, tmp_path, "")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[0] == "vsweep cannot start:"
    assert done.stderr.splitlines()[1:] == [
        f"  system: not POSIX, it has no fcntl - got {sys.platform}; allowed: Linux, macOS, or WSL on Windows"
    ]


def test_it_comes_before_any_library():
    for name in ("launch.py", "vsweep/generate.py", "analysis/__main__.py"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        imports = [line for line in lines if line.startswith(("import ", "from "))]
        assert imports[0] == "from vsweep.host import startup", name
        first = lines.index('if __name__ == "__main__":')
        assert lines[first + 1].strip() in ("startup.begin()", "startup.steady_streams()")
        assert first < lines.index(imports[1])
    assert set(startup.__dict__) & {"rich", "absl", "jax"} == set()


def test_a_notebooks_streams_are_left_as_they_are(monkeypatch):
    """They have no descriptor, or another one: what goes there would be lost in a server's log."""
    for stream in (io.StringIO(), io.TextIOWrapper(io.BytesIO())):
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        startup.steady_streams()
        assert sys.stdout is stream
        assert sys.stderr is stream
