"""Text from a query alone, with any finished run of a work directory.

vsweep generate WORKDIR --run RUN_ID "123+456=", or python -m vsweep.generate with the same arguments.
"""

from vsweep.host import startup

if __name__ == "__main__":
    startup.begin()

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

try:
    import jax  # noqa: F401 - here and not later, for its answer to a variable
except ValueError as error:  # so jax answers an environment variable that it cannot read
    if __name__ != "__main__":
        raise
    print(f"environment: {error}", file=sys.stderr)
    sys.exit(2)
import numpy as np
from absl import logging

from vsweep import program
from vsweep.after.sampling import Sampling, continuations
from vsweep.config.field import INT32_MAX
from vsweep.config.problems import ConfigError, Problem
from vsweep.host import devices
from vsweep.models.base import Model
from vsweep.saved_run import SavedRun, load_run
from vsweep.tasks.base import Task

ANY_TEXT = "type any text"  # where a task takes even an empty query
EXAMPLES = """examples:
  {command} runs/mine --run best "123+456=" "7+8="
  {command} runs/text --run longest --temperature 0.8 --top-k 40 --samples 3 --length 200 "The "
  {command} runs/mine --run w16-d2M-s0 --prompts queries.txt --json > answers.jsonl
  {command} runs/mine --run best          asks for queries on a terminal, or reads lines from a pipe
"""


def greedy(model: Model, params, queries: list[list[int]], *, length: int, pad: int) -> np.ndarray:
    """Continues token sequences by the most likely token, from nothing but the query.

    Returns int32 [Q, length]: each query and what follows it.
    """
    return np.stack(list(continuations(model, params, queries, [length] * len(queries), pad=pad)))


def load_alone(workdir: Path, run_id: str) -> SavedRun:
    """`load_run` for a program that does nothing else: on every core, and without the steps that orbax reports."""
    alone()
    return load_run(workdir, run_id)


def alone(*, cores_as_devices: bool = True) -> None:
    """Makes jax ready for a program that trains nothing. Raises ConfigError for settings that it cannot run with."""
    logging.set_verbosity(logging.WARNING)
    if cores_as_devices:
        devices.use_cpu_cores_as_devices()
    if problems := devices.setting_problems():
        raise ConfigError(problems)


def main(arguments: Sequence[str]) -> int:
    """Prints a line for each sample of each query; returns 0, or 2 with all problems on stderr.

    Argparse leaves with 2 for wrong arguments.
    """
    options = _parser().parse_intermixed_args(arguments)
    try:
        if problems := _option_problems(options):
            raise ConfigError(problems)
        asked = _asked(options)  # before anything is loaded
        run = load_alone(options.workdir, options.run)
        if run.model.shape.vocabulary < options.top_k:
            allowed = f"1 to {run.model.shape.vocabulary}, the vocabulary (0: all)"
            raise ConfigError([Problem("--top-k", "more tokens than there are", str(options.top_k), allowed)])
        return _converse(run, options) if asked is None else _answer(run, asked, options)
    except (ConfigError, OSError) as error:
        print(error, file=sys.stderr)
        return 2


def _answer(run: SavedRun, asked: list[tuple[str, str]], options: argparse.Namespace) -> int:
    """Answers (place, query) of one list, or says everything that is wrong with them."""
    encoded, problems = [], []
    for place, query in asked:
        try:
            encoded.append(_encoded(run.task, query, options.length))
        except ValueError as error:
            problems.append(f"{place}: {error}")
    if problems:
        raise ConfigError(problems)
    _print(run, [query for _, query in asked], encoded, options)
    return 0


def _converse(run: SavedRun, options: argparse.Namespace) -> int:
    """Asks on a terminal, query after query, until the end of its input. A bad query is told, and asked for again."""
    print(f"{_looks_like(run.task)}; Ctrl-D ends", file=sys.stderr)
    while True:
        try:
            print("> ", end="", file=sys.stderr, flush=True)
            query = input()
        except (EOFError, KeyboardInterrupt):
            print(file=sys.stderr)
            return 0
        try:
            _print(run, [query], [_encoded(run.task, query, options.length)], options)
        except ValueError as error:
            print(error, file=sys.stderr)


def _print(run: SavedRun, queries: list[str], encoded: list[list[int]], options: argparse.Namespace) -> None:
    seen = run.model.shape.positions
    for query, tokens in zip(queries, encoded, strict=True):
        if len(tokens) > seen:
            said = f"note: {_short(query)} has {len(tokens)} tokens, and the model sees the last {seen} of them"
            print(said, file=sys.stderr)
    repeated = [query for query in queries for _ in range(options.samples)]
    for index, (query, text) in enumerate(zip(repeated, _texts(run, encoded, options), strict=True)):
        line = json.dumps({"query": query, "sample": index % options.samples, "text": text}, ensure_ascii=False)
        print(line if options.json else text, flush=True)


def _texts(run: SavedRun, encoded: list[list[int]], options: argparse.Namespace) -> Iterator[str]:
    task, sampling = run.task, Sampling(options.temperature, options.top_k, options.seed or 0, options.samples)
    lengths = [len(query) + options.length if options.length else task.sequence_length for query in encoded]
    for row in continuations(run.model, run.params, encoded, lengths, sampling, pad=max(task.pad, 0)):
        yield task.decode(row.tolist())


def _encoded(task: Task, query: str, length: int) -> list[int]:
    """Raises ValueError for what is no query of the task, or leaves no room for an answer."""
    tokens = list(task.encode(query))
    if not tokens:
        raise ValueError(f"a query without a token: {query!r}")
    if not length and len(tokens) >= task.sequence_length:
        room = f"{len(tokens)} tokens fill the task's {task.sequence_length}: --length says how many shall follow"
        raise ValueError(f"no room after {_short(query)}: {room}")
    return tokens


def _asked(options: argparse.Namespace) -> list[tuple[str, str]] | None:
    """(Where it stands, query) of the arguments, the file and the pipe; None: a person will type them."""
    asked = [(f"QUERY {number}", query) for number, query in enumerate(options.queries, 1)]
    if options.prompts is not None:
        asked += _lines(str(options.prompts), options.prompts.read_bytes())
    elif not asked:
        if sys.stdin.isatty():
            return None
        asked = _lines("standard input", sys.stdin.buffer.read())
    if not asked:
        raise ConfigError([Problem("QUERY", "no query", allowed="texts, --prompts FILE, or lines on standard input")])
    return asked


def _lines(name: str, content: bytes) -> list[tuple[str, str]]:
    """Raises ConfigError for what is no UTF-8."""
    try:
        lines = content.decode().removesuffix("\n").split("\n") if content else []
    except UnicodeDecodeError as error:
        raise ConfigError([Problem("QUERY", f"{name} is no UTF-8 text, near byte {error.start:,}")]) from error
    return [(f"{name}, line {number}", line.removesuffix("\r")) for number, line in enumerate(lines, 1)]


def _looks_like(task: Task) -> str:
    """What a query looks like, by what the task answers to none at all."""
    try:
        task.encode("")
    except ValueError as error:
        return str(error).partition("; ")[2] or str(error)
    return ANY_TEXT


def _short(query: str) -> str:
    return repr(query if len(query) <= 40 else f"{query[:37]}...")


def _option_problems(options: argparse.Namespace) -> list[Problem]:
    problems = []
    if not 0 <= options.temperature < math.inf:
        problems.append(Problem("--temperature", "out of range", f"{options.temperature:g}", "0 (greedy) or above"))
    counts = {"--top-k": (options.top_k, 0), "--samples": (options.samples, 1), "--seed": (options.seed or 0, 0)}
    counts["--length"] = (options.length if options.length is not None else 1, 1)
    for flag, (value, least) in counts.items():
        if not least <= value <= INT32_MAX:
            problems.append(Problem(flag, "out of range", str(value), f"{least} to {INT32_MAX}"))
    if options.temperature == 0:
        given = {"--top-k": options.top_k, "--samples": options.samples - 1, "--seed": options.seed is not None}
        allowed = "it together with --temperature above 0: the likeliest token is always the same"
        problems += [Problem(flag, "has no effect at temperature 0", allowed=allowed) for flag in given if given[flag]]
    return problems


def _parser() -> argparse.ArgumentParser:
    about = "Continues queries with a finished run. Without a query it asks for them, or reads lines."
    parser = program.parser("generate", about, EXAMPLES)
    parser.add_argument("workdir", type=Path, metavar="WORKDIR", help="work directory of a sweep")
    parser.add_argument("queries", nargs="*", metavar="QUERY", help='text to continue, such as "123+456="')
    parser.add_argument("--run", required=True, metavar="RUN_ID", help="as in runs.csv, or `best`, or `longest`")
    parser.add_argument("--prompts", type=Path, metavar="FILE", help="a query a line, after those given here")
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T", help="0 (default): the likeliest token")
    parser.add_argument("--top-k", type=int, default=0, metavar="K", help="draw among the K likeliest (default: all)")
    parser.add_argument("--seed", type=int, metavar="N", help="of drawing (default: 0)")
    parser.add_argument("--samples", type=int, default=1, metavar="N", help="texts for each query (default: 1)")
    longest = "tokens that follow each query (default: until the length of the task's examples)"
    parser.add_argument("--length", type=int, metavar="N", help=longest)
    parser.add_argument("--json", action="store_true", help="an object a line: query, sample, text")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
