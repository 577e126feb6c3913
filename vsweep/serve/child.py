"""The page beside a training process: a process of its own, which training never waits for.

It is started with a socket that listens already, so a port in use is said before anything is trained. It has its own
session: Ctrl-C reaches the training alone. When the training ends, however it ends, the pipe to the child closes, and
the child with it; with `keep` it stays until somebody ends it.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import vsweep
from vsweep.serve import link

ENDS_IN_S = 2.0


@contextlib.contextmanager
def page(workdir: Path, *, port: int, keep: bool, say: Callable[[str], None]) -> Iterator[int | None]:
    """The page of `workdir` stands while the block runs, which gets the process id of its server.

    Raises ConfigError for a port that is in use. A page that cannot be started is said, and is no reason not to train.
    """
    with link.listen(port, "--serve_port") as listening:
        token = link.new_token()
        address = link.address(listening, token)
        process = _start(workdir, listening.fileno(), token, keep=keep, say=say)
    if process is None:
        yield None
        return
    say(f"live page, for this machine only: {address}")
    try:
        yield process.pid
    finally:
        if keep:
            say(f"the live page stays: {address}; to end it: kill {process.pid}")
            process.returncode = 0  # nobody waits for it
        else:
            _end(process)


def _start(
    workdir: Path, descriptor: int, token: str, *, keep: bool, say: Callable[[str], None]
) -> subprocess.Popen | None:
    words = ["serve", str(Path(workdir).absolute()), "--inherited", str(descriptor), *(["--keep"] if keep else [])]
    above = str(Path(vsweep.__file__).parents[1])
    path = os.pathsep.join(filter(None, (above, os.environ.get("PYTHONPATH"))))
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "vsweep", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if keep else None,
            pass_fds=(descriptor,),
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": path},
        )
    except OSError as error:
        say(f"no live page: its process could not be started ({error})")
        return None
    with contextlib.suppress(OSError):
        process.stdin.write(f"{token}\n".encode())
        process.stdin.flush()
        if keep:
            process.stdin.close()
    return process


def _end(process: subprocess.Popen) -> None:
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(ENDS_IN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
