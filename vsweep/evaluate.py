"""Losses and metrics of finished runs on the whole held-out set, or on other data, as a table.

vsweep evaluate WORKDIR [--runs best] [--data FILE] [--metric module:function] [--out FILE.csv]
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from vsweep import program
from vsweep.after.evaluation import Done, evaluate_runs
from vsweep.atomic import write_text_atomically
from vsweep.config.problems import ConfigError, Problem
from vsweep.generate import alone
from vsweep.host import ending, interruption
from vsweep.host.progress import PLAIN_LINE_EVERY_S
from vsweep.storage.workdir import FILES

EXAMPLES = """examples:
  {command} runs/mine
  {command} runs/mine --runs best,longest --metric mymetrics:last_digit_right
  {command} runs/mine --data new.npy --out new.csv
"""


def main(arguments: Sequence[str]) -> int:
    """Prints the table or writes it to --out; returns 0, 2 with all problems on stderr, 74 or 75 as every command."""
    options = _parser().parse_args(arguments)
    return ending.status(lambda: _evaluate(options), "nothing was written")


def _evaluate(options: argparse.Namespace) -> None:
    if problems := _option_problems(options):
        raise ConfigError(problems)
    alone(cores_as_devices=False)
    with interruption.leaving(), Shown(Console(stderr=True)) as shown:
        table = evaluate_runs(
            options.workdir,
            None if options.runs in (None, "all") else options.runs.split(","),
            data=options.data,
            metrics=options.metric,
            progress=shown.progress,
            say=shown.say,
        )
    _give(table, options.out)


class Shown:
    """How far an evaluation is: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console):
        self.console = console
        columns = (TextColumn("{task.description:>12}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=1)
        self._last = time.monotonic()

    def __enter__(self) -> "Shown":
        self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        self._bar.stop()

    def say(self, note: str) -> None:
        """A message of one line."""
        self.console.print(note, highlight=False, markup=False, soft_wrap=True)

    def progress(self, done: Done) -> None:
        """After each program."""
        self._bar.update(self._task, description=done.stack, completed=done.examples, total=done.total)
        if not self.console.is_terminal and time.monotonic() - self._last >= PLAIN_LINE_EVERY_S:
            self._last = time.monotonic()
            self.say(f"{done.stack}: {done.examples / done.total:.0%} of {done.total:,} examples")


def _give(table: pd.DataFrame, out: Path | None) -> None:
    text = table.to_csv(index=False, lineterminator="\n")
    if out is None:
        print(text, end="")
        return
    write_text_atomically(out, text)
    print(f"{out}: {len(table)} rows of {table['run_id'].nunique()} runs")


def _option_problems(options: argparse.Namespace) -> list[Problem]:
    problems = []
    out = options.out
    if out is not None and out.suffix != ".csv":
        problems.append(Problem("--out", "not a table", str(out), "a file that ends in .csv"))
    elif out is not None and out.name in FILES and out.absolute().parent == options.workdir.absolute():
        problems.append(Problem("--out", "a table of the sweep itself", str(out), "another name"))
    if options.runs is not None and not all(options.runs.split(",")):
        problems.append(Problem("--runs", "an empty name", repr(options.runs), "RUN_ID,RUN_ID"))
    return problems


def _parser() -> argparse.ArgumentParser:
    about = "Losses and metrics of finished runs, without training again. The work directory is only read."
    parser = program.parser("evaluate", about, EXAMPLES)
    parser.add_argument("workdir", type=Path, metavar="WORKDIR", help="work directory of a sweep")
    which = parser.add_mutually_exclusive_group()
    listed = "run ids with commas, as in runs.csv, or `best`, or `longest` (default: all that have finished)"
    which.add_argument("--runs", "--run", metavar="RUN_ID,...", help=listed)
    which.add_argument("--all", dest="runs", action="store_const", const="all", help="every finished run")
    data = "tokens (.npy, .npz), a .txt with an example a line, or what the task takes (default: all held-out examples)"
    parser.add_argument("--data", type=Path, metavar="FILE", help=data)
    metric = "a function of logits and labels, such as mymetrics:accuracy; may be given several times"
    parser.add_argument("--metric", action="append", default=[], metavar="MODULE:FUNCTION", help=metric)
    parser.add_argument("--out", type=Path, metavar="FILE.csv", help="where to write the table (default: print it)")
    return parser


if __name__ == "__main__":
    from vsweep.host import startup

    startup.begin()
    sys.exit(main(sys.argv[1:]))
