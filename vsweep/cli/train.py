"""The command that trains a sweep and fits its law: flags -> config -> run_sweep -> analysis -> report.

`launch.py` and `vsweep train` are this file. A bad flag is answered before jax is loaded.
"""

import sys

from absl import app, logging
from absl import flags as absl_flags
from ml_collections import config_flags

from vsweep.atomic import CannotWrite
from vsweep.cli import flags
from vsweep.config.problems import ConfigError
from vsweep.host import interruption

CONFIG = config_flags.DEFINE_config_file(
    "config",
    help_string="Config file and variant: configs/addition.py:laptop",
    sys_argv=[],  # overrides are read by command_line
)
WORKDIR = absl_flags.DEFINE_string("workdir", None, "Where everything is written; default: runs/<name of the config>.")
PLAN = absl_flags.DEFINE_bool("plan", False, "Print what would be trained and what it would cost; touch nothing.")
RESUME_FROM = absl_flags.DEFINE_string(
    "resume_from", None, "A work directory, possibly read-only, to copy and go on from."
)
INEXACT = absl_flags.DEFINE_bool(
    "allow_inexact_resume", False, "Go on with other versions or devices; runs.csv marks it."
)


def main(arguments: list[str]) -> int:
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
    with flags.reading_variables():  # here: a bad flag is answered before jax is loaded
        from vsweep.host import progress
        from vsweep.plan import table
        from vsweep.session import preflight
        from vsweep.train import timing, trainer

    logging.set_verbosity(logging.WARNING)  # orbax and jax tell every step they take
    console = progress.standard_console()
    elsewhere = {"resume_from": RESUME_FROM.value, "allow_inexact_resume": INEXACT.value}
    place, note = preflight.free_place(CONFIG.value, WORKDIR.value) if PLAN.value else (WORKDIR.value, None)
    sweep = trainer.plan_sweep(CONFIG.value, place, **elsewhere)
    table.show_plan(sweep, console)
    if PLAN.value:
        console.print(note or "", end="\n" if note else "", highlight=False, markup=False, soft_wrap=True)
        return 0
    workdir = WORKDIR.value or preflight.default_workdir(sweep.config)
    pace = timing.ReportPace()
    with progress.for_console(console) as display:
        display.say(f"work directory: {workdir}; the same command continues a sweep that was stopped")
        for event in trainer.run_sweep(CONFIG.value, workdir, **elsewhere, progress=display):
            if event.kind == "interrupted":
                display.say(f"{event.reason}: everything is saved in {workdir}; run the same command again to go on")
                return interruption.EXIT_STATUS
            partial = event.kind == "stack_finished" and event.runs_ended < event.runs
            if event.kind == "finished" or (partial and pace.due()):
                with interruption.leaving():  # an analysis can be done again
                    status = pace.draw(lambda event=event: report(event, display.say))
    return status


def report(event, say) -> int:
    """Redoes the analysis of what is there, without the bootstrap until the end; its status."""
    from vsweep.analysis import commands

    final = event.kind == "finished"
    what = "all runs have ended" if final else f"{event.stack} done, {event.runs_ended} of {event.runs} runs"
    return commands.redo(event.workdir, lambda path: say(f"{what}: {event.workdir}/runs.csv, {path}"), final=final)


def run(arguments: list[str] | None = None) -> None:
    """Parses `arguments` (default: those of the process), trains, and ends the process with its exit status."""
    app.run(main, argv=arguments, flags_parser=flags.parse_flags)
