"""The loop: chunk -> boundary -> evaluate -> checkpoint -> record -> next runs into free slots.

`run_sweep` is a generator of events; it knows nothing of flags, figures or fits. One `StackTrainer` trains one stack;
the host stops the device only where it must act: at evaluations, at boundaries and every `chunk_steps`.
"""

import collections
import dataclasses
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vsweep import config as config_lib
from vsweep import devices, grid, metrics, order, plan, results, tasks
from vsweep import model as model_lib
from vsweep.checkpoint import CheckpointFolder
from vsweep.config import ConfigError, SweepConfig
from vsweep.grid import Run, Stack
from vsweep.interruption import Interruption
from vsweep.plan import Entry, StackPlan, SweepPlan
from vsweep.progress import SilentProgress
from vsweep.records import CURVE_COLUMNS, CURVES_FILE, RUN_COLUMNS, RUNS_FILE, write_table
from vsweep.results import StackResults, TokenCounter
from vsweep.stack import Evaluation, StackPrograms, StackShape, hyper_of
from vsweep.tasks import Task
from vsweep.train_step import NEVER, Recipe
from vsweep.workdir import WorkDir, locked

CHUNKS_IN_FLIGHT = 2
PENDING_EVALUATIONS = 64


@dataclasses.dataclass(frozen=True)
class Event:
    """Something worth acting on: `boundary`, `stack_finished`, `interrupted` or `finished`."""

    kind: str
    workdir: Path
    stack: str = ""
    runs_ended: int = 0
    runs: int = 0
    reason: str = ""


def plan_sweep(config: SweepConfig | Mapping) -> SweepPlan:
    """What `run_sweep` would do on this machine. Touches nothing; raises ConfigError with every problem."""
    return _prepare(config)[0]


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
    if problems := home.problems(sweep.config):
        raise ConfigError(problems)
    with locked(home), Interruption(sweep.config.train.max_wall_hours) as interruption:
        if resume_from is not None:
            home.copy_from(Path(resume_from))
            if problems := home.problems(sweep.config):
                raise ConfigError(problems)
        yield from SweepTrainer(sweep, mesh, home, progress or SilentProgress(), interruption).train()


def default_workdir(config: SweepConfig) -> Path:
    return Path("runs") / config.name


class SweepTrainer:
    """Trains the stacks of a sweep one after the other, smallest first, and keeps the tables."""

    def __init__(self, sweep: SweepPlan, mesh, home: WorkDir, progress: SilentProgress, interruption: Interruption):
        self.home = home
        self.mesh = mesh
        self.progress = progress
        self.interruption = interruption
        self.sweep = _follow_stored_plan(sweep, home, progress)
        home.write_config(sweep.config)
        devices.use_compile_cache(home.compile_cache.absolute())
        self.counter = TokenCounter(sweep)
        self.clock = SweepClock(self.sweep, progress)
        self.results = [self._stored_results(stack) for stack in sweep.stacks]

    def train(self) -> Iterator[Event]:
        data = None
        for index, (stack, stack_plan) in enumerate(zip(self.sweep.stacks, self.sweep.plans, strict=True)):
            self.clock.start(stack_plan, self.results)
            if self.results[index].ended_runs() == len(stack.runs):
                continue
            data = data or DeviceData.put(self.sweep.task, self.sweep.config.train.final_examples, self.mesh)
            trainer = StackTrainer(self, stack, stack_plan, data)
            self.results[index] = trainer.results
            for step in trainer.train():
                self.write_tables()
                if step is None:
                    yield self._event("interrupted", stack, self.interruption.should_stop())
                    return
                yield self._event("boundary", stack)
            yield self._event("stack_finished", stack)
        self.write_tables()
        yield self._event("finished")

    def write_tables(self) -> None:
        """Rewrites runs.csv and curves.csv from the results of every stack."""
        by_stack = list(zip(self.sweep.stacks, self.results, strict=True))
        runs = [row for stack, r in by_stack for row in results.run_rows(self.sweep, stack, r, self.counter)]
        curves = [row for stack, r in by_stack for row in results.curve_rows(self.sweep, stack, r, self.counter)]
        write_table(self.home.path / RUNS_FILE, runs, RUN_COLUMNS)
        write_table(self.home.path / CURVES_FILE, curves, CURVE_COLUMNS)

    def _stored_results(self, stack: Stack) -> StackResults:
        folder = CheckpointFolder(self.home.checkpoints(stack.name))
        step = folder.latest()
        return StackResults.empty(stack) if step is None else StackResults.from_json(folder.records(step))

    def _event(self, kind: str, stack: Stack | None = None, reason: str | None = None) -> Event:
        ended = sum(stack_results.ended_runs() for stack_results in self.results)
        return Event(kind, self.home.path, stack.name if stack else "", ended, self.sweep.runs, reason or "")


@dataclasses.dataclass(frozen=True)
class DeviceData:
    """The task's examples, whole on every device."""

    train_tokens: jax.Array  # uint8 [M, S]
    held_out_tokens: jax.Array  # uint8 [N, S]
    held_out_answer: jax.Array  # bool [N, L]
    counts: metrics.LabelCounts  # on the host

    @classmethod
    def put(cls, task: Task, held_out_examples: int, mesh) -> "DeviceData":
        held_out, train_tokens = task.held_out, task.train_tokens_NxS
        tokens, answer = held_out.tokens_NxS[:held_out_examples], held_out.answer_NxL[:held_out_examples]
        for name, array in (("training", train_tokens), ("held-out", tokens)):
            check_tokens(array, task.vocabulary, name)
        everywhere = devices.replicated(mesh)
        on_devices = [jax.device_put(array, everywhere) for array in (train_tokens, tokens, answer)]
        return cls(*on_devices, metrics.label_counts(held_out, task.pad))


def check_tokens(tokens: np.ndarray, vocabulary: int, name: str) -> None:
    """An embedding clamps ids out of its range without a word, so they are checked here. Raises ValueError."""
    if tokens.size and tokens.max() >= vocabulary:
        row = int(np.argmax(tokens.max(axis=1) >= vocabulary))
        raise ValueError(f"{name} example {row} has token {tokens[row].max()}, beyond the vocabulary of {vocabulary}")


class StackTrainer:
    """Trains one stack from its last checkpoint to its last boundary."""

    def __init__(self, sweep_trainer: SweepTrainer, stack: Stack, stack_plan: StackPlan, data: DeviceData):
        self.sweep = sweep_trainer.sweep
        self.mesh = sweep_trainer.mesh
        self.interruption = sweep_trainer.interruption
        self.clock = sweep_trainer.clock
        self.stack = stack
        self.plan = stack_plan
        self.data = data
        self.runs: dict[str, Run] = {run.run_id: run for run in stack.runs}
        self.due = plan.evaluations(self.sweep, stack_plan)
        self.checkpoints = CheckpointFolder(sweep_trainer.home.checkpoints(stack.name))
        self.finished = CheckpointFolder(sweep_trainer.home.finished(stack.name))
        self.environment = {"device": devices.describe(self.sweep.hardware), "versions": results.versions()}
        self.pending: list[tuple[list[Entry], int, list[Evaluation]]] = []
        sweep_trainer.progress.compiling(stack.name)
        self.programs = self._compile()
        self.step, self.state, self.results = self._begin()

    def train(self) -> Iterator[int | None]:
        """Yields the step of each boundary once it is committed; None, once, if interrupted before the end."""
        self.clock.begin(self.step, self.programs.compile_s)
        in_flight: collections.deque[jax.Array] = collections.deque()
        last_save, last_time = time.monotonic(), time.monotonic()
        while self.step < self.plan.steps:
            in_flight.append(self._train_chunk())
            while len(in_flight) >= CHUNKS_IN_FLIGHT:
                in_flight.popleft().block_until_ready()
            if self.step in self.due:
                self._evaluate(self.due[self.step])
            now = time.monotonic()
            self.results.train_s += now - last_time
            self.clock.advance(self.step, now - last_time)
            last_time = now
            if self.step in self.plan.boundaries:
                self._pass_boundary()
                last_save = time.monotonic()
                yield self.step
                last_time = time.monotonic()  # what the caller did with the boundary is not training time
            if self.step < self.plan.steps and self.interruption.should_stop():
                self._save()
                yield None
                return
            if time.monotonic() - last_save >= 60 * self.sweep.config.train.checkpoint_minutes:
                self._save()
                last_save = time.monotonic()

    def _compile(self) -> StackPrograms:
        train, task = self.sweep.config.train, self.sweep.task
        recipe = Recipe(
            model=model_lib.build(plan.model_shape(self.stack.shape, task)),
            optimizer=self.sweep.config.optimizer,
            schedule=self.stack.shape.schedule,
            pad=task.pad,
            use_dropout=any(run.dropout > 0 for run in self.stack.runs),
        )
        shape = StackShape(
            slots=self.plan.slots,
            batch_size=self.stack.shape.batch_size,
            sequence_length=task.sequence_length,
            chunk_steps=train.chunk_steps,
            train_examples=task.train_examples,
            held_out_examples=train.final_examples,
            evaluation_examples=train.curve_examples,
        )
        precision = None if train.matmul_precision == "default" else train.matmul_precision
        with jax.default_matmul_precision(precision):
            return StackPrograms(recipe, shape, self.mesh)

    def _begin(self) -> tuple[int, Any, StackResults]:
        """1. The newest good checkpoint, if there is one; 2. else empty slots, which the first runs enter."""
        step = self.checkpoints.latest()
        if step is not None:
            state = self.checkpoints.restore(step, self.programs.state_struct)
            return step, state, StackResults.from_json(self.checkpoints.records(step))
        return 0, self._enter_runs(self.programs.empty_state(), 0), StackResults.empty(self.stack)

    def _enter_runs(self, state, step: int):
        """Puts the runs that start at `step` into their slots, as they are at their own step 0."""
        entering = [entry if entry and entry.start == step else None for entry in self.plan.entries_at(step)]
        if not any(entering):
            return state
        hyper_K = hyper_of([self.runs[entry.run_id] if entry else None for entry in entering])
        enters_K = np.array([entry is not None for entry in entering])
        return self.programs.enter(state, *jax.device_put((hyper_K, enters_K), devices.over_slots(self.mesh)))

    def _train_chunk(self) -> jax.Array:
        """Dispatches the steps up to the next stop; returns an array that is ready when they are done."""
        stops = (step for step in (*self.due, *self.plan.boundaries) if step > self.step)
        count = min(self.sweep.config.train.chunk_steps, min(stops) - self.step)
        examples = jax.device_put(self._examples(count), devices.over_slots(self.mesh, axis=1))
        steps = jax.device_put(np.int32(count), devices.replicated(self.mesh))
        self.state, done = self.programs.train_chunk(self.state, self.data.train_tokens, examples, steps)
        self.step += count
        return done

    def _examples(self, count: int) -> np.ndarray:
        """int32 [C, K, B]: what each slot's run sees in the next `count` steps; 0 beyond them and in empty slots."""
        batch, total = self.stack.shape.batch_size, self.sweep.task.train_examples
        examples_CxKxB = np.zeros((self.sweep.config.train.chunk_steps, self.plan.slots, batch), np.int32)
        for slot, entry in enumerate(self.plan.entries_at(self.step)):
            if entry is not None:
                run, first = self.runs[entry.run_id], (self.step - entry.start) * batch
                seen = order.examples(run.data_seed, run.unique_examples, total, first, count * batch)
                examples_CxKxB[:count, slot] = seen.reshape(count, batch)
        return examples_CxKxB

    def _evaluate(self, entries: list[Entry]) -> None:
        """Dispatches an evaluation of the due slots, a longer one for runs at their horizon; read later."""
        train = self.sweep.config.train
        ending = [entry for entry in entries if entry.stop == self.step]
        under_way = [entry for entry in entries if entry.stop != self.step]
        for due, examples in ((under_way, train.curve_examples), (ending, train.final_examples)):
            if due:
                due_K = np.isin(np.arange(self.plan.slots), [entry.slot for entry in due])
                due_K = jax.device_put(due_K, devices.over_slots(self.mesh))
                firsts = range(0, examples, train.curve_examples)
                self.pending.append((due, self.step, [self._evaluate_from(first, due_K) for first in firsts]))
        if len(self.pending) > PENDING_EVALUATIONS:
            self._settle()

    def _evaluate_from(self, first: int, due_K) -> Evaluation:
        first = jax.device_put(np.int32(first), devices.replicated(self.mesh))
        return self.programs.evaluate(self.state, self.data.held_out_tokens, self.data.held_out_answer, first, due_K)

    def _settle(self) -> None:
        """Reads the evaluations under way and records them."""
        for entries, step, evaluations in jax.device_get(self.pending):
            for entry in entries:
                self._record(entry, step - entry.start, evaluations)
        self.pending.clear()

    def _record(self, entry: Entry, run_step: int, evaluations: list[Evaluation]) -> None:
        run, slot = self.results.runs[entry.run_id], entry.slot
        if evaluations[0].diverged_at_step_K[slot] != NEVER:
            run.diverged_at_step = int(evaluations[0].diverged_at_step_K[slot])
            return
        columns = [np.concatenate([e.losses[field][slot] for e in evaluations]) for field in range(3)]
        measured = metrics.summarise(*columns, self.data.counts)
        run.curve.append({"steps": run_step, "train_loss": float(evaluations[0].train_loss_K[slot]), **measured})

    def _pass_boundary(self) -> None:
        """Finished runs out, next runs in, in the order that loses nothing: their parameters are safe before the state.

        1. Read every evaluation. 2. Keep the parameters of the runs that ended here. 3. Put the next runs into the free
        slots. 4. Commit state and results together.
        """
        self._settle()
        ending = [entry for entry in self.plan.entries if entry.stop == self.step]
        for entry in ending:
            run = self.results.runs[entry.run_id]
            run.finished = run.diverged_at_step is None
            run.device, run.versions = self.environment["device"], self.environment["versions"]
        kept = [entry for entry in ending if self.results.runs[entry.run_id].finished]
        if kept:
            params = jax.device_get(self.state.params)
            by_run = {entry.run_id: jax.tree.map(lambda leaf, e=entry: leaf[e.slot], params) for entry in kept}
            self.finished.save(self.step, by_run, records={}, names=tuple(by_run))
        self.state = self._enter_runs(self.state, self.step)
        self._save()

    def _save(self) -> None:
        self._settle()
        self.results.slot_steps = self.plan.slots * self.step
        self.checkpoints.save(self.step, self.state, self.results.to_json())
        self.checkpoints.prune()


class SweepClock:
    """How far the sweep is and how long it will take: the plan's estimate, scaled by what steps turned out to cost."""

    def __init__(self, sweep: SweepPlan, progress: SilentProgress):
        self.progress = progress
        self.sweep = sweep
        self.expected_s = {plan.name: cost.train_s for plan, cost in zip(sweep.plans, sweep.estimates, strict=True)}
        self.done_s = 0.0  # expected seconds of what is done
        self.measured_s = 0.0
        self.measured_expected_s = 0.0

    def start(self, stack_plan: StackPlan, stack_results: list[StackResults]) -> None:
        self.stack_plan = stack_plan
        self.stack_results = stack_results
        names = [plan.name for plan in self.sweep.plans]
        place = names.index(stack_plan.name)
        self.done_s = sum(self.expected_s[name] for name in names[:place])
        self.stacks_left = len(names) - place - 1

    def begin(self, step: int, compile_s: float) -> None:
        """The stack starts, or goes on, at `step`; its programs took `compile_s` to compile, and the next ones will."""
        self.step = step
        self.compile_s = compile_s

    def advance(self, step: int, seconds: float) -> None:
        """`seconds` passed until the stack came to `step`."""
        self.measured_s += seconds
        self.measured_expected_s += self._expected(step) - self._expected(self.step)
        tokens_per_s = (step - self.step) * self._tokens_per_step(step) / max(seconds, 1e-9)
        self.step = step
        done, total = self.done_s + self._expected(step), sum(self.expected_s.values())
        scale = self.measured_s / self.measured_expected_s if self.measured_expected_s else 1.0
        ended = sum(stack_results.ended_runs() for stack_results in self.stack_results)
        self.progress.update(
            self.stack_plan.name,
            done=done / total,
            runs=f"{ended} of {self.sweep.runs}",
            tokens_per_s=tokens_per_s,
            eta_s=scale * (total - done) + self.compile_s * self.stacks_left,
        )

    def _expected(self, step: int) -> float:
        return self.expected_s[self.stack_plan.name] * step / self.stack_plan.steps

    def _tokens_per_step(self, step: int) -> float:
        stack = next(stack for stack in self.sweep.stacks if stack.name == self.stack_plan.name)
        active = sum(entry is not None for entry in self.stack_plan.entries_at(step - 1))
        return active * stack.shape.batch_size * self.sweep.task.mean_label_tokens


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


def _follow_stored_plan(sweep: SweepPlan, home: WorkDir, progress: SilentProgress) -> SweepPlan:
    """The plan the sweep began with, for another number of slots would change rounding; or this one, stored now."""
    environment = {"device": devices.describe(sweep.hardware), "versions": results.versions()}
    stored = home.read_plan()
    if stored is None:
        home.write_plan(list(sweep.plans), environment)
        return sweep
    plans, began_on = stored
    for name, now in environment.items():
        if began_on.get(name) != now:
            progress.say(f"note: this sweep began with {name} {began_on.get(name)!r} and goes on with {now!r}: ")
            progress.say("      its results will differ by rounding from an uninterrupted sweep's")
    if any(stack_plan.slots % sweep.hardware.devices for stack_plan in plans):
        raise ConfigError(
            [
                f"train.devices: the stored plan has {sorted({p.slots for p in plans})} slots, which "
                f"{sweep.hardware.devices} devices do not divide; allowed: go on with the devices it began on "
                f"({began_on.get('device')}), or start in another --workdir"
            ]
        )
    return dataclasses.replace(sweep, plans=tuple(plans))
