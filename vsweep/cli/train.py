"""The command that trains a sweep and fits its law: flags -> config -> run_sweep -> analysis -> report.

`launch.py` and `vsweep train` are this file. A bad flag is answered before jax is loaded.
"""

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from absl import app, logging
from absl import flags as absl_flags
from ml_collections import config_flags

from vsweep import program
from vsweep.atomic import CannotWrite
from vsweep.cli import flags
from vsweep.config.problems import ConfigError, Problem
from vsweep.host import interruption
from vsweep.host.hardware import GPUS
from vsweep.schema import CURVES_FILE, RUNS_FILE
from vsweep.serve.live_file import LiveProgress

FITS, REPORT = Path("analysis/fits.json"), Path("analysis/report.html")  # in a work directory
FIGURES = (".png", ".svg")
LARGEST_SPREAD = 1.0  # of log loss: seeds that differ by a factor
CONFIG = config_flags.DEFINE_config_file(
    "config",
    help_string="Config file and variant: configs/addition.py:laptop",
    sys_argv=[],  # overrides are read by command_line
)
WORKDIR = absl_flags.DEFINE_string("workdir", None, "Where everything is written; default: runs/<name of the config>.")
PLAN = absl_flags.DEFINE_bool(
    "plan", False, "Print what would be trained, its cost, and how well it would tell exponents apart; touch nothing."
)
PLAN_DEVICE = absl_flags.DEFINE_string(
    "plan_device",
    None,
    f"With --plan: a device that need not be here ({', '.join(GPUS)}), of which train.devices says the number; "
    "example: --plan_device=A100-40GB",
)
PLAN_FIGURE = absl_flags.DEFINE_string(
    "plan_figure", None, "With --plan: write its picture of sizes and tokens there; example: --plan_figure=design.png"
)
ASSUME = absl_flags.DEFINE_string(
    "assume",
    None,
    "With --plan: the law that the losses are supposed to follow: a fits.json, `hoffmann` or E,A,B,alpha,beta "
    "(default: Chinchilla's, moved to the sizes of the sweep); example: --assume=runs/pilot/analysis/fits.json",
)
SEED_SPREAD = absl_flags.DEFINE_float(
    "seed_spread",
    None,
    "With --plan: standard deviation of log loss between seeds (default: that of --assume, else 0.01); "
    "example: --seed_spread=0.003",
)
RESUME_FROM = absl_flags.DEFINE_string(
    "resume_from", None, "A work directory, possibly read-only, to copy and go on from."
)
INEXACT = absl_flags.DEFINE_bool(
    "allow_inexact_resume", False, "Go on with other versions or devices; runs.csv marks it."
)

SERVE = absl_flags.DEFINE_flag(
    absl_flags.Flag(
        absl_flags.EnumParser(["true", "keep", "false"]),
        absl_flags.ArgumentSerializer(),
        "serve",
        "false",
        "A live page on 127.0.0.1 while it trains; its link is printed. It ends with the training, or stays with "
        "--serve=keep; example: --serve",
        boolean=True,  # so that it may stand alone
    )
)
SERVE_PORT = absl_flags.DEFINE_integer(
    "serve_port", 0, "With --serve: its port; 0 takes a free one; example: --serve_port=8400", 0, 65_535
)

EXTEND = absl_flags.DEFINE_bool(
    "extend", False, "Train the runs of new values of axes in a work directory that has begun; what has ended stays."
)


def main(arguments: list[str]) -> int:
    """Trains by the flags that were parsed; the exit status: 0, 2, 74 or 75 (docs/reliability.md)."""
    try:
        with interruption.leaving():
            return launch()
    except ConfigError as error:
        flags.fail(error.problems)
    except interruption.Leave as left:
        print(f"{left}: all that was trained is saved; run the same command again to go on", file=sys.stderr)
        return interruption.EXIT_STATUS
    except CannotWrite as error:
        flags.leave_at_once(f"vsweep has stopped: {error}", CannotWrite.STATUS)


def launch() -> int:
    """Plans, shows the plan, and trains unless --plan was given; the exit status."""
    if problems := plan_flag_problems() + serve_flag_problems():
        raise ConfigError(problems)
    with flags.reading_variables():  # here: a bad flag is answered before jax is loaded
        from vsweep.host import progress
        from vsweep.plan import table
        from vsweep.train import sweep

    logging.set_verbosity(logging.WARNING)  # orbax and jax tell every step they take
    console = progress.standard_console()
    begin = {"resume_from": RESUME_FROM.value, "allow_inexact_resume": INEXACT.value, "extend": EXTEND.value}
    if PLAN.value:
        return show_plan(console, begin)
    display = LiveProgress(progress.for_console(console))
    events = sweep.run_sweep(CONFIG.value, WORKDIR.value, **begin, progress=display)
    planned = next(events)
    if planned.wall_problems:
        raise ConfigError(list(planned.wall_problems))
    for line in planned.extension.lines if planned.extension else ():
        _print(console, line)
    table.show_plan(planned.plan, console)
    display.begin(planned.workdir)
    with contextlib.ExitStack() as stack:
        if SERVE.value != "false":
            stack.enter_context(served(planned.workdir, display.say))
        stack.enter_context(display)
        display.say(f"work directory: {planned.workdir}; the same command continues a sweep that was stopped")
        return follow(events, display, changed=planned.extension is not None)


def served(workdir: Path, say: Callable[[str], None]) -> contextlib.AbstractContextManager:
    """The live page beside this training."""
    from vsweep.serve import child

    return child.page(workdir, port=SERVE_PORT.value, keep=SERVE.value == "keep", say=say)


def show_plan(console, begin: Mapping[str, Any]) -> int:
    """`--plan`: what would be trained, here or on the device that was asked for, and what it would tell; 0."""
    from vsweep.cli import design_shown
    from vsweep.plan import table
    from vsweep.session import preflight

    note = None
    if PLAN_DEVICE.value is not None:
        sweep = preflight.plan_for(CONFIG.value, PLAN_DEVICE.value)
    else:
        place, note = preflight.free_place(CONFIG.value, WORKDIR.value, extend=EXTEND.value)
        ready = preflight.prepare(CONFIG.value, place, **begin, planning=True)
        if problems := preflight.wall_problems(ready):
            raise ConfigError(problems)
        for line in ready.extension.lines if ready.extension else ():
            _print(console, line)
        sweep = ready.sweep
    table.show_plan(sweep, console)
    judged_by = {"assume": ASSUME.value, "seed_spread": SEED_SPREAD.value}
    design_shown.show(sweep, console, **judged_by)
    if PLAN_FIGURE.value:
        design_shown.draw(sweep, Path(PLAN_FIGURE.value), **judged_by)
        _print(console, f"figure  {PLAN_FIGURE.value}")
    if note:
        _print(console, note)
    return 0


def _print(console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def plan_flag_problems() -> list[Problem]:
    """What is wrong with the flags that a plan alone reads."""
    of_a_plan = {
        "--plan_device": PLAN_DEVICE,
        "--plan_figure": PLAN_FIGURE,
        "--assume": ASSUME,
        "--seed_spread": SEED_SPREAD,
    }
    given = {name: flag.value for name, flag in of_a_plan.items() if flag.value is not None}
    if given and not PLAN.value:
        return [Problem(name, "nothing reads it", repr(value), "with --plan") for name, value in given.items()]
    problems = []
    of_a_place = {"--resume_from": RESUME_FROM.value, "--extend": EXTEND.value, "--workdir": WORKDIR.value}
    if PLAN_DEVICE.value is not None:
        what = "not with --plan_device, which plans for no place"
        problems = [Problem(name, what, repr(value), "one of both") for name, value in of_a_place.items() if value]
    if PLAN_FIGURE.value is not None:
        path = Path(PLAN_FIGURE.value)
        if path.suffix.lower() not in FIGURES:
            problems.append(Problem("--plan_figure", "not a figure", repr(str(path)), "FILE.png or FILE.svg"))
        if not path.absolute().parent.is_dir():
            problems.append(
                Problem("--plan_figure", "no such folder", repr(str(path.parent)), "a folder that is there")
            )
    if SEED_SPREAD.value is not None and not 0 < SEED_SPREAD.value <= LARGEST_SPREAD:
        allowed = f"above 0, up to {LARGEST_SPREAD:g}"
        problems.append(Problem("--seed_spread", "not a spread", f"{SEED_SPREAD.value:g}", allowed))
    return problems + ([] if ASSUME.value is None else law_problems(ASSUME.value))


def law_problems(assume: str) -> list[Problem]:
    """Why `--assume` leads to no law."""
    from vsweep.analysis.designer import assumption

    try:
        assumption.assume(assume)
    except (ValueError, OSError) as error:  # BadLaw is a ValueError
        return [Problem("--assume", str(error), allowed="a fits.json, `hoffmann`, or E,A,B,alpha,beta")]
    return []


def serve_flag_problems() -> list[Problem]:
    """What is wrong with the flags of the live page."""
    if SERVE.value != "false" and PLAN.value:
        return [Problem("--serve", "a plan trains nothing that could be watched", "--plan", "one of the two")]
    if SERVE_PORT.value and SERVE.value == "false":
        return [Problem("--serve_port", "nothing reads it", str(SERVE_PORT.value), "with --serve")]
    return []


def follow(events: Iterator, display, *, changed: bool = False) -> int:
    """Trains, draws a report after a stack now and then and at the end; the exit status.

    `changed`: the tables say something else than before, even if nothing is trained.
    """
    from vsweep.train.events import Boundary, Finished, Interrupted
    from vsweep.train.timing import ReportPace

    pace, status, trained = ReportPace(), 0, changed
    for event in events:
        match event:
            case Boundary():
                trained = True
                if event.ends_stack and event.runs_ended < event.runs and pace.due(event.left_s):
                    what = f"{event.stack} done, {event.runs_ended} of {event.runs} runs"
                    status = pace.draw(lambda what=what, home=event.workdir: report(home, what, display, final=False))
            case Interrupted():
                again = "run the same command again to go on"
                display.say(f"{event.reason}: everything is saved in {event.workdir}; {again}")
                return interruption.EXIT_STATUS
            case Finished() if not trained and has_final_report(event.workdir, event.runs):
                paths = f"{event.workdir / RUNS_FILE}, {event.workdir / REPORT}"
                again = f"{program.command('analyse')} {event.workdir}"
                display.say(f"all runs have ended: {paths}; to draw it again: {again}")
                status = 0
            case Finished():
                write_samples(event.workdir, display)
                status = report(event.workdir, "all runs have ended", display, final=True)
    return status


def write_samples(workdir: Path, display) -> None:
    """Text from the best runs of a sweep of text, for the report; what goes wrong is a note, and costs no report."""
    from vsweep.after import samples

    with interruption.leaving():  # the same command makes them again
        try:
            note = samples.write(workdir)
        except Exception as error:  # whatever it is, all runs have ended and only this file is missing
            note = f"no samples of text ({type(error).__name__}: {error})"
    if note:
        display.say(note)


def report(workdir: Path, what: str, display, *, final: bool) -> int:
    """Redoes the analysis of what is there, without the bootstrap unless it is the final one; its status.

    A mistake in the analysis has its traceback on stderr, and never ends training: what was trained is saved.
    """
    from vsweep.analysis import commands

    display.drawing()
    with interruption.leaving():  # an analysis can be done again
        try:
            return commands.redo(
                workdir, lambda path: display.say(f"{what}: {workdir / RUNS_FILE}, {path}"), final=final
            )
        except Exception:  # of a program that went wrong, which no user's input explains
            traceback.print_exc()
            again = f"{program.command('analyse')} {workdir}"
            display.say(f"{what}: no report, because the analysis failed; to try again: {again}")
            return os.EX_SOFTWARE


def has_final_report(workdir: Path, runs: int) -> bool:
    """Whether there are fits and a report of the final tables: with all `runs` ended, and drawn after the last curve.

    Not so for runs.csv, which is written once more when a sweep is resumed that an earlier version has finished.
    """
    try:
        counts = json.loads((workdir / FITS).read_text(encoding="utf-8"))["runs"]
        counted = (counts["total"], counts["running"])
        times = [(workdir / path).stat().st_mtime_ns for path in (CURVES_FILE, FITS, REPORT)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
    return counted == (runs, 0) and times == sorted(times)


def run(arguments: list[str] | None = None) -> None:
    """Parses `arguments` (default: those of the process), trains, and ends the process with its exit status."""
    app.run(main, argv=arguments, flags_parser=flags.parse_flags)
