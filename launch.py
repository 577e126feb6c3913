"""Trains a scaling-law sweep and fits the law: `python launch.py --config=configs/addition.py:laptop`.

The same command continues a sweep that was stopped. This file only joins the parts: flags -> config -> run_sweep ->
analysis after each stack -> report. Exit status: 0 all done, 2 bad config or flag, 75 interrupted: run it again.
"""

import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags
from rich.console import Console

import analysis
from vsweep.config import ConfigError

CONFIG = config_flags.DEFINE_config_file("config", help_string="Config file and variant: configs/addition.py:laptop")
WORKDIR = flags.DEFINE_string("workdir", None, "Where everything is written; default: runs/<name of the config>.")
PLAN = flags.DEFINE_bool("plan", False, "Print what would be trained and what it would cost; touch nothing.")
RESUME_FROM = flags.DEFINE_string("resume_from", None, "A work directory, possibly read-only, to copy and go on from.")


def main(arguments: list[str]) -> int:
    from vsweep import interruption, progress, trainer  # here, so that a bad flag is answered before jax is loaded

    logging.set_verbosity(logging.WARNING)  # orbax and jax tell every step they take
    console = Console(width=None if sys.stdout.isatty() else 132)
    sweep = trainer.plan_sweep(CONFIG.value)
    progress.show_plan(sweep, console)
    if PLAN.value:
        return 0
    workdir = Path(WORKDIR.value or trainer.default_workdir(sweep.config))
    with progress.for_console(console) as display:
        display.say(f"work directory: {workdir}; the same command continues a sweep that was stopped")
        for event in trainer.run_sweep(CONFIG.value, workdir, resume_from=RESUME_FROM.value, progress=display):
            if event.kind == "interrupted":
                display.say(f"{event.reason}: everything is saved in {workdir}; run the same command again to go on")
                return interruption.EXIT_STATUS
            if event.kind == "finished" or (event.kind == "stack_finished" and event.runs_ended < event.runs):
                display.say(report(event))
    return 0


def report(event) -> str:
    """Redoes the analysis of what is there; returns one line to show."""
    final = event.kind == "finished"
    _ = analysis.analyse(event.workdir) if final else analysis.analyse(event.workdir, bootstrap=0)
    what = "all runs have ended" if final else f"{event.stack} done, {event.runs_ended} of {event.runs} runs"
    return f"{what}: {event.workdir}/runs.csv, {event.workdir}/analysis/report.html"


def parse_flags(arguments: list[str]) -> list[str]:
    """absl's parser, but a mistake in a flag or in the config file is one message and not a traceback."""
    try:
        rest = flags.FLAGS(arguments)
        if CONFIG.value is None:
            raise ConfigError(["--config: not given; allowed: a file, such as --config=configs/addition.py:laptop"])
        if len(rest) > 1:
            raise ConfigError([f"command line: stray argument - got {rest[1]!r}; allowed: flags, --name=value"])
        CONFIG.value.to_dict()  # a file that could not be loaded says so on first use
    except ConfigError as error:
        fail(error.problems)
    except Exception as error:  # a config file is the user's code and may raise anything
        fail([f"command line: {str(error).strip().splitlines()[-1].strip() if str(error).strip() else error!r}"])
    return rest


def fail(problems: list[str]) -> None:
    print("\n".join(["vsweep cannot start:", *(f"  {problem}" for problem in problems)]), file=sys.stderr)
    sys.exit(2)


def run(arguments: list[str]) -> int:
    try:
        return main(arguments)
    except ConfigError as error:
        fail(error.problems)


if __name__ == "__main__":
    app.run(run, flags_parser=parse_flags)
