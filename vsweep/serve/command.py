"""`vsweep serve`: the page of one or more work directories, until it is interrupted."""

import argparse
import contextlib
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vsweep.config.problems import ConfigError, Problem
from vsweep.schema import LIVE_FILE, RUNS_FILE
from vsweep.serve import link

if TYPE_CHECKING:
    from vsweep.serve import server

RUNS = Path("runs")  # where `vsweep train` puts work directories
MARKS = ("config.json", RUNS_FILE, LIVE_FILE)  # one of these makes a folder a work directory
MOST_PORT = 65_535
MOST_SHOWN = 8  # work directories of which the others are named
NICE = 10  # training comes first


def main(arguments: Sequence[str]) -> int:
    """Serves until Ctrl-C; the exit status: 0, or 2 for what cannot be served."""
    options = _parser().parse_args(arguments)
    if options.inherited is not None:
        return _beside_training(socket.socket(fileno=options.inherited), options.workdirs, keep=options.keep)
    try:
        workdirs = find(options.workdirs)
        listening = link.listen(options.port)
    except ConfigError as error:
        print("\n".join(["vsweep serve cannot start:", *(f"  {each}" for each in error.problems)]), file=sys.stderr)
        return 2
    token = link.new_token()
    address = link.address(listening, token)
    _say(address, workdirs, named=bool(options.workdirs))
    if options.open:
        webbrowser.open(address)
    with contextlib.suppress(KeyboardInterrupt), _page(listening, token, workdirs) as page:
        page.serve_forever()
    return 0


def _page(listening: socket.socket, token: str, workdirs: Sequence[Path]) -> "server.PageServer":
    """Loaded late: pandas takes its time, and the link, which listens already, is told before."""
    from vsweep.serve import server

    return server.PageServer(listening, token, workdirs)


def find(given: Sequence[Path]) -> list[Path]:
    """The work directories to show: those that are given, or the one of runs/ that was written last.

    Raises ConfigError with every folder that is no work directory.
    """
    allowed = f"a folder with one of {', '.join(MARKS)}"
    bad = [path for path in given if not any((path / name).is_file() for name in MARKS)]
    if bad:
        raise ConfigError([Problem("WORKDIR", "not a work directory", str(path), allowed) for path in bad])
    found = list(given) or newest_first(RUNS)[:1]
    if not found:
        what = "not given, and there is none in runs/"
        raise ConfigError([Problem("WORKDIR", what, allowed="vsweep serve WORKDIR ...")])
    return found


def newest_first(runs: Path) -> list[Path]:
    """The work directories in a folder, the one written last first."""
    times = {}
    for folder in runs.iterdir() if runs.is_dir() else ():
        written = [path.stat().st_mtime for name in MARKS if (path := folder / name).is_file()]
        if written:
            times[folder] = max(written)
    return sorted(times, key=times.__getitem__, reverse=True)


def _say(address: str, workdirs: list[Path], *, named: bool) -> None:
    print(f"{', '.join(map(str, workdirs))}: {address}")
    others = newest_first(RUNS)[1:] if not named else []
    if others:
        more = f" and {len(others) - MOST_SHOWN} more" if len(others) > MOST_SHOWN else ""
        print(f"also there: {' '.join(map(str, others[:MOST_SHOWN]))}{more} (vsweep serve WORKDIR ... shows several)")
    print("only this machine can open it, with the whole link; Ctrl-C ends it, and no training", flush=True)


def _beside_training(listening: socket.socket, workdirs: list[Path], *, keep: bool) -> int:
    """The child of a training process: its token is the first line of standard input, whose end is the training's."""
    with contextlib.suppress(OSError):
        os.nice(NICE)
    token = sys.stdin.readline().strip()
    if not token:
        return 0
    with _page(listening, token, workdirs) as page:
        if not keep:
            threading.Thread(target=_end_with_training, args=(page,), daemon=True).start()
        page.serve_forever()
    return 0


def _end_with_training(page: "server.PageServer") -> None:
    sys.stdin.read()
    page.shutdown()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vsweep serve",
        description="A page on 127.0.0.1 that shows sweeps while they train. It only reads, and training never waits.",
        epilog="example: vsweep serve runs/addition-laptop --port 8400; from another machine: "
        "ssh -L 8400:127.0.0.1:8400 HOST, and then the same link there",
    )
    parser.add_argument(
        "workdirs", nargs="*", type=Path, metavar="WORKDIR", help="one or more; default: the newest in runs/"
    )
    parser.add_argument("--port", type=_port, default=0, help="0, the default, takes a free one; example: --port 8400")
    parser.add_argument("--open", action="store_true", help="open the page in the browser of this machine")
    parser.add_argument("--inherited", type=int, help=argparse.SUPPRESS)  # a socket of the training process
    parser.add_argument("--keep", action="store_true", help=argparse.SUPPRESS)
    return parser


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > MOST_PORT:
        raise argparse.ArgumentTypeError(f"not a port - got {text!r}; allowed: 0 to {MOST_PORT}")
    return int(text)
