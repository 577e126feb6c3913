"""The loop over one stack: chunk -> evaluate -> boundary -> checkpoint -> next runs into free slots.

The host stops the device only where it must act: at evaluations, at boundaries and every `chunk_steps`.
"""

import bisect
import collections
import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from vsweep import devices, metrics, order, plan, results
from vsweep import model as model_lib
from vsweep.checkpoint import CheckpointFolder
from vsweep.clock import SweepClock
from vsweep.grid import Run, Stack
from vsweep.interruption import Interruption
from vsweep.packing import StackPlan
from vsweep.plan import Due, SweepPlan
from vsweep.progress import SilentProgress
from vsweep.results import StackResults
from vsweep.stack import Evaluation, StackPrograms, StackShape, fork, hyper_of
from vsweep.tasks import Task
from vsweep.train_step import NEVER, Recipe, RunState
from vsweep.workdir import WorkDir

CHUNKS_IN_FLIGHT = 2
PENDING_EVALUATIONS = 64


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


@dataclasses.dataclass(frozen=True)
class Session:
    """What the stacks of one sweep share while it trains."""

    sweep: SweepPlan
    mesh: jax.sharding.Mesh
    home: WorkDir
    data: DeviceData
    interruption: Interruption
    progress: SilentProgress
    clock: SweepClock


class StackTrainer:
    """Trains one stack from its last checkpoint to its last boundary."""

    def __init__(self, session: Session, stack: Stack, stack_plan: StackPlan):
        self.sweep = session.sweep
        self.mesh = session.mesh
        self.interruption = session.interruption
        self.clock = session.clock
        self.data = session.data
        self.stack = stack
        self.plan = stack_plan
        self.runs: dict[str, Run] = {run.run_id: run for run in stack.runs}
        self.due = plan.evaluations(self.sweep, stack_plan)
        self.boundaries = set(stack_plan.boundaries)
        self.stops = sorted({*self.due, *self.boundaries, *stack_plan.forks})
        self.checkpoints = CheckpointFolder(session.home.checkpoints(stack.name))
        self.finished = CheckpointFolder(session.home.finished(stack.name))
        self.environment = {"device": devices.describe(self.sweep.hardware), "versions": results.versions()}
        self.pending: list[tuple[list[Due], list[Evaluation]]] = []
        self.waiting: dict[str, RunState] = {}  # branches between their trunks and their slots, on the host
        self.saved_step: int | None = None
        session.progress.compiling(stack.name)
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
            if self.step in self.boundaries:
                self._settle()  # waits for what was dispatched, so that it counts as training time
            now = time.monotonic()
            self.results.train_s += now - last_time
            self.clock.advance(self.step, now - last_time)
            last_time = now
            if self.step in self.boundaries:
                self._pass_boundary()
                last_save = time.monotonic()
                yield self.step
                last_time = time.monotonic()  # what the caller did with the boundary is not training time
            elif self.step in self.plan.forks:
                self.state = self._enter_runs(self.state, self.step)
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
            waiting = {entry.run_id: self.programs.run_struct for entry in self.plan.waiting_at(step)}
            arrays = self.checkpoints.restore(step, _saved(self.programs.state_struct, waiting))
            state, self.waiting = (arrays[0], jax.device_get(arrays[1])) if waiting else (arrays, {})
            return step, state, StackResults.from_json(self.checkpoints.records(step))
        return 0, self._enter_runs(self.programs.empty_state(), 0), StackResults.empty(self.stack)

    def _enter_runs(self, state, step: int):
        """Copies the trunks that have come to a fork; then branches, and runs at their step 0, enter their slots."""
        forking = self.plan.forks.get(step, [])
        leaving = jax.device_get(state) if forking else None
        for branch in forking:
            trunk = self.plan.by_run[branch.trunk]
            self.waiting[branch.run_id] = fork(leaving, trunk.slot, self.runs[branch.run_id])
        starting = [entry if entry and entry.start == step else None for entry in self.plan.entries_at(step)]
        branches = {entry.slot: self.waiting.pop(entry.run_id) for entry in starting if entry and entry.trunk}
        state = self.programs.put(state, branches) if branches else state
        entering = [entry if entry and not entry.trunk else None for entry in starting]
        if not any(entering):
            return state
        hyper_K = hyper_of([self.runs[entry.run_id] if entry else None for entry in entering])
        enters_K = np.array([entry is not None for entry in entering])
        return self.programs.enter(state, *jax.device_put((hyper_K, enters_K), devices.over_slots(self.mesh)))

    def _train_chunk(self) -> jax.Array:
        """Dispatches the steps up to the next stop; returns an array that is ready when they are done."""
        next_stop = self.stops[bisect.bisect_right(self.stops, self.step)]
        count = min(self.sweep.config.train.chunk_steps, next_stop - self.step)
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
                run, first = self.runs[entry.run_id], entry.run_step(self.step) * batch
                seen = order.examples(run.data_seed, run.unique_examples, total, first, count * batch)
                examples_CxKxB[:count, slot] = seen.reshape(count, batch)
        return examples_CxKxB

    def _evaluate(self, due_here: list[Due]) -> None:
        """Dispatches an evaluation of the due slots, a longer one for runs at their horizon; read later."""
        train = self.sweep.config.train
        ending = [run for run in due_here if run.final]
        under_way = [run for run in due_here if not run.final]
        for due, examples in ((under_way, train.curve_examples), (ending, train.final_examples)):
            if due:
                due_K = np.isin(np.arange(self.plan.slots), [run.slot for run in due])
                due_K = jax.device_put(due_K, devices.over_slots(self.mesh))
                firsts = range(0, examples, train.curve_examples)
                self.pending.append((due, [self._evaluate_from(first, due_K) for first in firsts]))
        if len(self.pending) > PENDING_EVALUATIONS:
            self._settle()

    def _evaluate_from(self, first: int, due_K) -> Evaluation:
        first = jax.device_put(np.int32(first), devices.replicated(self.mesh))
        return self.programs.evaluate(self.state, self.data.held_out_tokens, self.data.held_out_answer, first, due_K)

    def _settle(self) -> None:
        """Reads the evaluations under way and records them."""
        for due, evaluations in jax.device_get(self.pending):
            for run in due:
                self._record(run, evaluations)
        self.pending.clear()

    def _record(self, due: Due, evaluations: list[Evaluation]) -> None:
        run, slot, run_step = self.results.runs[due.run_id], due.slot, due.run_step
        if evaluations[0].diverged_at_step_K[slot] != NEVER:
            run.diverged_at_step = int(evaluations[0].diverged_at_step_K[slot])
            return
        columns = [np.concatenate([e.losses[field][slot] for e in evaluations]) for field in range(3)]
        if not np.isfinite(columns[0]).all():  # the last update itself blew up: no later step could see it
            run.diverged_at_step = run_step
            return
        measured = metrics.summarise(*columns, self.data.counts)
        run.curve.append({"steps": run_step, "train_loss": float(evaluations[0].train_loss_K[slot]), **measured})

    def _pass_boundary(self) -> None:
        """Finished runs out, next runs in, in the order that loses nothing: their parameters are safe before the state.

        1. Every evaluation has been read. 2. Keep the parameters of the runs that ended here. 3. Put the next runs
        into the free slots. 4. Commit state and results together.
        """
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
        """Commits this step; saving it twice would tear the first copy while the second is written."""
        if self.saved_step == self.step:
            return
        self._settle()
        self.results.slot_steps = self.plan.slots * self.step
        self.checkpoints.save(self.step, _saved(self.state, self.waiting), self.results.to_json())
        self.checkpoints.prune()
        self.saved_step = self.step


def _saved(state, waiting: dict[str, RunState]):
    """What a checkpoint holds: the slots, and beside them the branches that wait for one, if there are any."""
    return (state, waiting) if waiting else state
