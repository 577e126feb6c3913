"""A whole sweep: its plan, its stacks one after the other, its tables.

`run_sweep` is a generator of events; it knows nothing of flags, figures or fits. `stack_trainer.py` trains each stack.
"""

import dataclasses
import functools
import itertools
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path

import jax

from vsweep.atomic import remove_leftovers, writing
from vsweep.config.problems import ConfigError
from vsweep.config.sweep_config import SweepConfig
from vsweep.host import devices, notebook
from vsweep.host.interruption import Interruption
from vsweep.host.progress import SilentProgress
from vsweep.plan.grid import Stack
from vsweep.plan.sweep_plan import StackPlan, SweepPlan
from vsweep.schema import ANALYSIS, CURVES_FILE, RUNS_FILE, TIMES_FILE
from vsweep.session import preflight, resume
from vsweep.storage import checkpoint
from vsweep.storage.checkpoint import CorruptCheckpoints
from vsweep.storage.lock import Lock, locked
from vsweep.storage.results import StackResults
from vsweep.storage.workdir import WorkDir
from vsweep.tables import write_tables
from vsweep.tasks import checks
from vsweep.train import rows
from vsweep.train.compiling import StackCompiler, compiles_ahead
from vsweep.train.loop import DeviceData, Session, StackTrainer
from vsweep.train.rows import TokenCounter
from vsweep.train.timing import Stopwatch, SweepClock


@dataclasses.dataclass(frozen=True)
class Event:
    """Something worth acting on: `boundary`, `stack_finished`, `interrupted` or `finished`."""

    kind: str
    workdir: Path
    stack: str = ""
    runs_ended: int = 0
    runs: int = 0
    reason: str = ""


def plan_sweep(
    config: SweepConfig | Mapping,
    workdir: str | Path | None = None,
    *,
    resume_from: str | Path | None = None,
    allow_inexact_resume: bool = False,
) -> SweepPlan:
    """What `run_sweep` would do on this machine, by the plan stored in `workdir` if the sweep has begun there.

    Touches nothing; raises ConfigError with every problem, among them a wall limit in which nothing could be gained.
    """
    ready = preflight.prepare(config, workdir, resume_from=resume_from, allow_inexact_resume=allow_inexact_resume)
    if problems := preflight.wall_problems(ready):
        raise ConfigError(problems)
    return ready.sweep


def run_sweep(
    config: SweepConfig | Mapping,
    workdir: str | Path | None = None,
    *,
    resume_from: str | Path | None = None,
    allow_inexact_resume: bool = False,
    progress: SilentProgress | None = None,
) -> Iterator[Event]:
    """Trains every run of `config` (a SweepConfig, ConfigDict or mapping) in `workdir`, or goes on where it stopped.

    `workdir` is `runs/<name of the config>` unless it is given.
    Yields an Event after each boundary, each stack and at the end; tables in `workdir` are up to date at each. With
    `resume_from`, another work directory is verified and copied first, and only read. Other versions or devices than
    those it began with are refused, unless `allow_inexact_resume` (`resume`). SIGTERM, SIGINT and max_wall_hours end it
    with a checkpoint and an `interrupted` event. Raises ConfigError before anything is written.
    """
    ready = preflight.prepare(config, workdir, resume_from=resume_from, allow_inexact_resume=allow_inexact_resume)
    config, task, home = ready.sweep.config, ready.sweep.task, ready.home
    if problems := checks.problems(task):  # here and not in the plan, which builds no examples
        raise ConfigError(problems)
    progress = progress or notebook.progress_here()
    with locked(home.path, progress.say) as lock:
        with Interruption(config.train.max_wall_hours) as interruption:
            if problems := home.problems(config):  # again: another sweep may have begun here meanwhile
                raise ConfigError(problems)
            for folder in (home.path, *home.path.glob("stacks/*/*/")):  # not analysis/: somebody else may be writing
                remove_leftovers(folder)
            home.remove_copy_mark()
            if resume_from is not None:
                home.copy_from(Path(resume_from))
            begin = resume.start(config, task, home, allow_inexact=allow_inexact_resume)
            for line in filter(None, (lock.note, *begin.messages)):
                progress.say(line)
            trainer = SweepTrainer(begin.sweep, begin.mesh, home, lock, progress, interruption)
            _store_plan(begin, home)
            interrupted = yield from trainer.train()
        if not interrupted:
            yield trainer.event("finished")  # signals are the caller's again: an analysis may be stopped
            trainer.analysed()


class SweepTrainer:
    """Trains the stacks of a sweep one after the other, smallest first, and keeps the tables."""

    def __init__(
        self,
        sweep: SweepPlan,
        mesh: jax.sharding.Mesh,
        home: WorkDir,
        lock: Lock,
        progress: SilentProgress,
        interruption: Interruption,
        stopwatch: Stopwatch | None = None,
    ):
        self.home = home
        self.lock = lock
        self.mesh = mesh
        self.progress = progress
        self.interruption = interruption
        self.sweep = sweep
        self.counter = TokenCounter(sweep)
        self.clock = SweepClock(self.sweep, progress)
        self.stopwatch = stopwatch or Stopwatch()
        self.results = [self._stored_results(stack) for stack in sweep.stacks]

    def train(self) -> Generator[Event, None, bool]:
        """Yields an event after each boundary and stack; returns whether it was interrupted."""
        by_stack = list(zip(self.sweep.stacks, self.sweep.plans, strict=True))
        with writing(self.home.compile_cache):
            devices.use_compile_cache(self.home.compile_cache.absolute())
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
                    self.lock,
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
        return checkpoint.to_resume(self.home, self.sweep, stack_plan).latest() == stack_plan.steps

    def _committed(self, index: int, committed: StackResults) -> None:
        """What a checkpoint of a stack has made safe stands in the tables; called in the thread that writes it."""
        self.results[index] = committed
        self.write_tables()

    def write_tables(self) -> None:
        """Rewrites the tables from the committed results of every stack."""
        by_stack = list(zip(self.sweep.stacks, self.results, strict=True))
        runs = [row for stack, r in by_stack for row in rows.run_rows(self.sweep, stack, r, self.counter)]
        curves = [row for stack, r in by_stack for row in rows.curve_rows(self.sweep, stack, r, self.counter)]
        self.lock.confirm()
        write_tables(self.home.path, {RUNS_FILE: runs, CURVES_FILE: curves, TIMES_FILE: self._time_rows()})

    def _time_rows(self) -> list[dict]:
        return [rows.time_row(*pair) for pair in zip(self.sweep.stacks, self.results, strict=True)]

    def analysed(self) -> None:
        """The caller comes back from the end of the sweep, where the last report is drawn."""
        self.stopwatch.lap(self.results[-1].seconds, ANALYSIS)
        self.lock.confirm()
        write_tables(self.home.path, {TIMES_FILE: self._time_rows()})

    def _stored_results(self, stack: Stack) -> StackResults:
        """What the last checkpoint knows; the parameters of the runs it calls finished must be there, undamaged."""
        stack_plan = self.sweep.plan_of(stack)
        folder = checkpoint.to_resume(self.home, self.sweep, stack_plan)
        found = StackResults.of_checkpoint(stack, folder, folder.latest())
        finished = checkpoint.of_finished(self.home, self.sweep, stack_plan)
        problems = {step: finished.problems(step) for step in finished.steps()}
        kept = {name for step, bad in problems.items() if not bad for name in finished.names(step)}
        lost = [run_id for run_id, run in found.runs.items() if run.finished and run_id not in kept]
        if lost:
            why = "".join(f"; step {step}: {bad[0]}" for step, bad in problems.items() if bad)
            advice = f"move {self.home.path / 'stacks' / stack.name} away to train this stack from its start{why}"
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


def _store_plan(begin: resume.Start, home: WorkDir) -> None:
    """Config first, so that a plan never stands without the config it was made for."""
    home.write_config(begin.sweep.config)
    home.write_plan(begin.sweep.plans, begin.environments)
