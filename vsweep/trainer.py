"""A whole sweep: its plan, its stacks one after the other, its tables.

`run_sweep` is a generator of events; it knows nothing of flags, figures or fits. `stack_trainer.py` trains each stack.
"""

import dataclasses
import functools
import itertools
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path

import jax

from vsweep import config as config_lib
from vsweep import devices, grid, plan, results, tasks
from vsweep.checkpoint import CheckpointFolder, CorruptCheckpoints
from vsweep.clock import Stopwatch, SweepClock
from vsweep.compiling import StackCompiler, compiles_ahead
from vsweep.config import ConfigError, SweepConfig
from vsweep.grid import Stack
from vsweep.interruption import Interruption
from vsweep.plan import StackPlan, SweepPlan
from vsweep.progress import SilentProgress
from vsweep.records import (
    ANALYSIS,
    CURVE_COLUMNS,
    CURVES_FILE,
    RUN_COLUMNS,
    RUNS_FILE,
    TIME_COLUMNS,
    TIMES_FILE,
    remove_leftovers,
    write_table,
    writing,
)
from vsweep.results import StackResults, TokenCounter
from vsweep.stack_trainer import DeviceData, Session, StackTrainer
from vsweep.workdir import WorkDir, locked


@dataclasses.dataclass(frozen=True)
class Event:
    """Something worth acting on: `boundary`, `stack_finished`, `interrupted` or `finished`."""

    kind: str
    workdir: Path
    stack: str = ""
    runs_ended: int = 0
    runs: int = 0
    reason: str = ""


def plan_sweep(config: SweepConfig | Mapping, workdir: str | Path | None = None) -> SweepPlan:
    """What `run_sweep` would do on this machine, by the plan stored in `workdir` if the sweep has begun there.

    Touches nothing; raises ConfigError with every problem.
    """
    sweep, _ = _prepare(config)
    home = WorkDir(Path(workdir or default_workdir(sweep.config)))
    _raise(home.problems(sweep.config))
    return _follow_stored_plan(sweep, home)


def run_sweep(
    config: SweepConfig | Mapping,
    workdir: str | Path | None = None,
    *,
    resume_from: str | Path | None = None,
    progress: SilentProgress | None = None,
) -> Iterator[Event]:
    """Trains every run of `config` (a SweepConfig, ConfigDict or mapping) in `workdir`, or goes on where it stopped.

    `workdir` is `runs/<name of the config>` unless it is given.
    Yields an Event after each boundary, each stack and at the end; tables in `workdir` are up to date at each. With
    `resume_from`, another work directory is verified and copied first, and only read. SIGTERM, SIGINT and
    max_wall_hours end it with a checkpoint and an `interrupted` event. Raises ConfigError before anything is written.
    """
    sweep, mesh = _prepare(config)
    home = WorkDir(Path(workdir or default_workdir(sweep.config)))
    begun = home.config_file.exists()
    _raise(home.problems(sweep.config))
    if resume_from is not None and not begun:
        _raise(WorkDir(Path(resume_from)).source_problems(sweep.config))
    with locked(home), Interruption(sweep.config.train.max_wall_hours) as interruption:
        remove_leftovers(home.path)
        if resume_from is not None and not begun:
            home.copy_from(Path(resume_from))
        trainer = SweepTrainer(sweep, mesh, home, progress or SilentProgress(), interruption)
        interrupted = yield from trainer.train()
    if not interrupted:
        yield trainer.event("finished")  # signals are the caller's again: an analysis may be stopped like any program
        trainer.analysed()


def default_workdir(config: SweepConfig) -> Path:
    return Path("runs") / config.name


class SweepTrainer:
    """Trains the stacks of a sweep one after the other, smallest first, and keeps the tables."""

    def __init__(
        self,
        sweep: SweepPlan,
        mesh: jax.sharding.Mesh,
        home: WorkDir,
        progress: SilentProgress,
        interruption: Interruption,
        stopwatch: Stopwatch | None = None,
    ):
        self.home = home
        self.mesh = mesh
        self.progress = progress
        self.interruption = interruption
        self.sweep = _follow_stored_plan(sweep, home)
        _store_plan(self.sweep, home, progress)
        with writing(home.compile_cache):
            devices.use_compile_cache(home.compile_cache.absolute())
        self.counter = TokenCounter(sweep)
        self.clock = SweepClock(self.sweep, progress)
        self.stopwatch = stopwatch or Stopwatch()
        self.results = [self._stored_results(stack) for stack in sweep.stacks]

    def train(self) -> Generator[Event, None, bool]:
        """Yields an event after each boundary and stack; returns whether it was interrupted."""
        by_stack = list(zip(self.sweep.stacks, self.sweep.plans, strict=True))
        left = [i for i, (stack, stack_plan) in enumerate(by_stack) if not self._is_trained(stack, stack_plan)]
        data = None
        with StackCompiler(self.sweep, self.mesh, ahead=compiles_ahead(self.mesh)) as compiler:
            for index, following in itertools.zip_longest(left, left[1:]):
                stack, stack_plan = by_stack[index]
                self.clock.start(stack_plan, self.results)
                if self.interruption.should_stop():
                    yield self._interrupted(stack)
                    return True
                data = data or DeviceData.put(self.sweep.task, self.sweep.config.train.final_examples, self.mesh)
                session = Session(
                    self.sweep,
                    self.mesh,
                    self.home,
                    data,
                    self.interruption,
                    self.progress,
                    self.clock,
                    compiler,
                    self.stopwatch,
                )
                trainer = StackTrainer(session, stack, stack_plan, functools.partial(self._committed, index))
                if following is not None:
                    compiler.announce(*by_stack[following])
                for step in trainer.train():
                    if step is None:
                        yield self._interrupted(stack)
                        return True
                    yield self.event("boundary", stack)
                    self.stopwatch.lap(trainer.results.seconds, ANALYSIS)
                self.results[index] = trainer.results
                yield self.event("stack_finished", stack)
                self.stopwatch.lap(trainer.results.seconds, ANALYSIS)
        self.write_tables()
        return False

    def _is_trained(self, stack: Stack, stack_plan: StackPlan) -> bool:
        return self.checkpoints(stack).latest() == stack_plan.steps

    def _committed(self, index: int, committed: StackResults) -> None:
        """What a checkpoint of a stack has made safe stands in the tables; called in the thread that writes it."""
        self.results[index] = committed
        self.write_tables()

    def write_tables(self) -> None:
        """Rewrites the tables from the committed results of every stack."""
        by_stack = list(zip(self.sweep.stacks, self.results, strict=True))
        runs = [row for stack, r in by_stack for row in results.run_rows(self.sweep, stack, r, self.counter)]
        curves = [row for stack, r in by_stack for row in results.curve_rows(self.sweep, stack, r, self.counter)]
        write_table(self.home.path / RUNS_FILE, runs, RUN_COLUMNS)
        write_table(self.home.path / CURVES_FILE, curves, CURVE_COLUMNS)
        self.write_times()

    def write_times(self) -> None:
        by_stack = zip(self.sweep.stacks, self.results, strict=True)
        write_table(self.home.path / TIMES_FILE, [results.time_row(*pair) for pair in by_stack], TIME_COLUMNS)

    def analysed(self) -> None:
        """The caller comes back from the end of the sweep, where the last report is drawn."""
        self.stopwatch.lap(self.results[-1].seconds, ANALYSIS)
        self.write_times()

    def checkpoints(self, stack: Stack) -> CheckpointFolder:
        return CheckpointFolder(self.home.checkpoints(stack.name))

    def _stored_results(self, stack: Stack) -> StackResults:
        """What the last checkpoint knows; the parameters of the runs it calls finished must be there, undamaged."""
        step = self.checkpoints(stack).latest()
        if step is None:
            return StackResults.empty(stack)
        found = StackResults.from_json(self.checkpoints(stack).records(step))
        finished = CheckpointFolder(self.home.finished(stack.name))
        kept = {name for s in finished.steps() if not finished.problems(s) for name in finished.names(s)}
        lost = [run_id for run_id, run in found.runs.items() if run.finished and run_id not in kept]
        if lost:
            advice = f"remove {self.home.path / 'stacks' / stack.name} to train this stack from its start"
            raise CorruptCheckpoints(
                [f"parameters of finished runs are missing or damaged: {', '.join(lost)}; {advice}"]
            )
        return found

    def _interrupted(self, stack: Stack) -> Event:
        self.write_tables()
        return self.event("interrupted", stack, self.interruption.should_stop())

    def event(self, kind: str, stack: Stack | None = None, reason: str | None = None) -> Event:
        ended = sum(stack_results.ended_runs() for stack_results in self.results)
        return Event(kind, self.home.path, stack.name if stack else "", ended, self.sweep.runs, reason or "")


def _prepare(config: SweepConfig | Mapping) -> tuple[SweepPlan, jax.sharding.Mesh]:
    if not isinstance(config, SweepConfig):
        config = _read_config(config)
    devices.use_cpu_cores_as_devices()
    mesh = devices.slots_mesh(config.train.devices)
    return plan.plan_sweep(config, tasks.build(config.task), devices.hardware(mesh)), mesh


def _read_config(source: Mapping) -> SweepConfig:
    """Raises one ConfigError with the problems of the config and those that only its task can see."""
    try:
        return config_lib.from_dict(source)
    except ConfigError as error:
        problems = error.problems
        try:
            grid.build_stacks(error.rest, tasks.build(error.rest.task))
        except ConfigError as later:
            problems += config_lib.without_repeats(later.problems, problems)
        raise ConfigError(problems) from None


def _follow_stored_plan(sweep: SweepPlan, home: WorkDir) -> SweepPlan:
    """The plan the sweep began with, for another number of slots would change rounding; or this one."""
    stored = home.read_plan()
    if stored is None:
        return sweep
    plans, began_on = stored
    planned = {plan.name: {(entry.run_id, entry.horizon) for entry in plan.entries} for plan in plans}
    if planned != {stack.name: {(run.run_id, run.steps) for run in stack.runs} for stack in sweep.stacks}:
        raise ConfigError(
            [f"workdir: {home.plan_file} plans other runs; remove {home.path} or choose another --workdir"]
        )
    if any(plan.slots % sweep.hardware.devices for plan in plans):
        slots, count = sorted({plan.slots for plan in plans}), sweep.hardware.devices
        fitting = [n for n in range(count, 0, -1) if not any(plan.slots % n for plan in plans)]
        raise ConfigError(
            [
                f"train.devices: this sweep began on {began_on.get('device')} with {slots} slots, which {count} "
                f"devices do not divide; allowed: --config.train.devices={fitting[0]}, or another --workdir"
            ]
        )
    return dataclasses.replace(sweep, plans=tuple(plans))


def _store_plan(sweep: SweepPlan, home: WorkDir, progress: SilentProgress) -> None:
    """Config first, so that a plan never stands without the config it was made for; says when the machine changed."""
    environment = {"device": devices.describe(sweep.hardware), "versions": results.versions()}
    stored = home.read_plan()
    home.write_config(sweep.config)
    if stored is None:
        home.write_plan(list(sweep.plans), environment)
        return
    for name, now in environment.items():
        if stored[1].get(name) != now:
            progress.say(
                f"note: this sweep began with {name} {stored[1].get(name)!r} and goes on with {now!r}; "
                "its results will differ by rounding from an uninterrupted sweep's"
            )


def _raise(problems: list[str]) -> None:
    if problems:
        raise ConfigError(problems)
