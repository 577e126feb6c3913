"""The loop over one stack: chunk -> evaluate -> boundary -> checkpoint -> next runs into free slots.

The host keeps ahead of the devices: it sends them a chunk and all that follows it - evaluations, copies of what a
checkpoint needs, the next runs - and reads what the chunk before has left while they work. Checkpoints are written by
a thread of their own.
"""

import bisect
import collections
import concurrent.futures
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from vsweep import devices, metrics, order, plan, results, resume
from vsweep.checkpoint import CheckpointFolder
from vsweep.clock import Stopwatch, SweepClock
from vsweep.compiling import StackCompiler
from vsweep.grid import Run, Stack
from vsweep.interruption import Interruption
from vsweep.packing import StackPlan
from vsweep.plan import Due, SweepPlan
from vsweep.progress import SilentProgress
from vsweep.records import CHECKPOINT, COMPILE, EVALUATE, OTHER, TRAIN
from vsweep.results import StackResults
from vsweep.stack import Evaluation, StackState, fork, hyper_of
from vsweep.tasks import Task
from vsweep.train_step import NEVER, RunState
from vsweep.workdir import WorkDir
from vsweep.writer import BackgroundWriter

CHUNKS_IN_FLIGHT = 2


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
        everywhere = devices.replicated(mesh)
        on_devices = [jax.device_put(array, everywhere) for array in (train_tokens, tokens, answer)]
        return cls(*on_devices, metrics.label_counts(held_out, task.pad))


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
    compiler: StackCompiler
    stopwatch: Stopwatch


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """Copies, on the devices, of what a checkpoint holds: training goes on in the originals, which are donated."""

    step: int
    state: StackState  # the next runs have entered
    waiting: dict[str, RunState]  # on the host
    ended_params: Any  # of all slots before that; None where no run ended


@dataclasses.dataclass(frozen=True)
class Dispatched:
    """A chunk and what follows it on the devices: read while the next one runs."""

    step: int  # after the chunk
    done: jax.Array
    evaluations: list[tuple[list[Due], list[Evaluation]]]
    evaluation_s: concurrent.futures.Future[float]  # what they took
    snapshot: Snapshot | None
    train_s: float  # that all chunks had taken when this one was sent

    def is_ready(self) -> bool:
        """Whether the devices have nothing of this left to do."""
        return all(leaf.is_ready() for leaf in jax.tree.leaves((self.done, [e for *_, e in self.evaluations])))


class StackTrainer:
    """Trains one stack from its last checkpoint to its last boundary."""

    def __init__(
        self, session: Session, stack: Stack, stack_plan: StackPlan, committed: Callable[[StackResults], None]
    ):
        """`committed` is called, in the writing thread, with the results that a checkpoint has just made safe."""
        self.sweep = session.sweep
        self.mesh = session.mesh
        self.interruption = session.interruption
        self.clock = session.clock
        self.stopwatch = session.stopwatch
        self.data = session.data
        self.stack = stack
        self.plan = stack_plan
        self.committed = committed
        self.runs: dict[str, Run] = {run.run_id: run for run in stack.runs}
        self.due = plan.evaluations(self.sweep, stack_plan)
        self.boundaries = set(stack_plan.boundaries)
        self.stops = sorted({*self.due, *self.boundaries, *stack_plan.forks})
        self.checkpoints = CheckpointFolder(session.home.checkpoints(stack.name))
        self.finished = CheckpointFolder(session.home.finished(stack.name))
        self.environment = {"device": devices.describe(self.sweep.hardware), "versions": results.versions()}
        self.pending: list[tuple[list[Due], list[Evaluation]]] = []
        self.waiting: dict[str, RunState] = {}  # branches between their trunks and their slots, on the host
        step = self.checkpoints.latest()
        self.results = (
            StackResults.empty(stack) if step is None else StackResults.from_json(self.checkpoints.records(step))
        )
        here = resume.environment(self.sweep.hardware)
        moved = bool(step) and bool(resume.differences(self.results.environment, here))
        self.results.move_to(here, moved_at=step if moved else None)
        self._lap(OTHER)
        session.progress.compiling(stack.name)
        self.programs = session.compiler.programs(stack, stack_plan)
        self.compile_s = 0.0 if session.compiler.ahead else self.programs.compile_s
        self._lap(COMPILE)
        self.step, self.state = self._begin(step)
        self.snapshot_step, self.snapshot_s = self.step, time.monotonic()
        self.writer = BackgroundWriter()
        self.watcher = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="watcher")

    def train(self) -> Iterator[int | None]:
        """Yields the step of each boundary once it is committed; None, once, if interrupted before the end."""
        self.clock.begin(self.step, self.compile_s, self._trained_s())
        in_flight: collections.deque[Dispatched] = collections.deque()
        with self.watcher, self.writer:
            while self.step < self.plan.steps and not self.interruption.should_stop():
                self._lap(OTHER if all(chunk.is_ready() for chunk in in_flight) else TRAIN)
                in_flight.append(self._dispatch())
                while len(in_flight) >= CHUNKS_IN_FLIGHT:
                    yield from self._finish(in_flight.popleft())
            for chunk in in_flight:
                yield from self._finish(chunk)
            if self.step != self.snapshot_step:
                yield from self._commit(self._snapshot(ended_params=None))
            yield from self._committed(wait=True)
            if self.step < self.plan.steps:
                yield None

    def _begin(self, step: int | None) -> tuple[int, StackState]:
        """1. The newest good checkpoint, if there is one; 2. else empty slots, which the first runs enter."""
        if step is not None:
            waiting = {entry.run_id: self.programs.run_struct for entry in self.plan.waiting_at(step)}
            arrays = self.checkpoints.restore(step, _saved(self.programs.state_struct, waiting))
            state, self.waiting = (arrays[0], jax.device_get(arrays[1])) if waiting else (arrays, {})
            return step, state
        return 0, self._enter_runs(self.programs.empty_state(), 0)

    def _dispatch(self) -> Dispatched:
        """Sends the devices a chunk and what follows it, without waiting for any of it."""
        done = self._train_chunk()
        if self.step in self.due:
            self._evaluate(self.due[self.step])
        evaluations, self.pending = self.pending, []
        snapshot = None
        if self.step in self.boundaries:
            ended_params = devices.copy_on_device(self.state.params)
            self.state = self._enter_runs(self.state, self.step)
            snapshot = self._snapshot(ended_params)
        elif self.step in self.plan.forks:
            self.state = self._enter_runs(self.state, self.step)
        if snapshot is None and time.monotonic() - self.snapshot_s >= 60 * self.sweep.config.train.checkpoint_minutes:
            snapshot = self._snapshot(ended_params=None)
        evaluation_s = self.watcher.submit(_seconds_between, done, evaluations)
        return Dispatched(self.step, done, evaluations, evaluation_s, snapshot, self.results.seconds[TRAIN])

    def _snapshot(self, ended_params: Any) -> Snapshot:
        self.snapshot_step, self.snapshot_s = self.step, time.monotonic()
        return Snapshot(self.step, devices.copy_on_device(self.state), dict(self.waiting), ended_params)

    def _finish(self, chunk: Dispatched) -> Iterator[int]:
        """Waits for a chunk, records its evaluations, and hands its snapshot to the writer; yields like `train`.

        Evaluations take their time out of the training's, where both ran while the host waited or was at work for the
        next chunk; what ran while it waited for something else is in the account of that.
        """
        chunk.done.block_until_ready()
        measured = jax.device_get(chunk.evaluations)
        self._lap(TRAIN)
        seconds = self.results.seconds
        evaluation_s = min(chunk.evaluation_s.result(), seconds[TRAIN] - chunk.train_s)
        seconds[TRAIN] -= evaluation_s
        seconds[EVALUATE] += evaluation_s
        for due, evaluations in measured:
            for run in due:
                self._record(run, evaluations)
        self.results.slot_steps = self.plan.slots * chunk.step
        self.clock.advance(chunk.step, self._trained_s())
        if chunk.snapshot is None:
            yield from self._committed(wait=False)
            return
        self._end_runs(chunk.step)
        yield from self._commit(chunk.snapshot)

    def _end_runs(self, step: int) -> None:
        for entry in self.plan.entries:
            if entry.stop == step:
                run = self.results.runs[entry.run_id]
                run.finished = run.diverged_at_step is None
                run.device, run.versions = self.environment["device"], self.environment["versions"]

    def _commit(self, snapshot: Snapshot) -> Iterator[int]:
        """Starts to write a checkpoint, as soon as the one before is committed; yields that one if it is a boundary.

        The results are copied here, for the training thread goes on to add to them.
        """
        yield from self._committed(wait=True)
        self._lap(TRAIN)
        records = self.results.to_json()
        self.writer.start(lambda: self._write(snapshot, records))

    def _committed(self, *, wait: bool) -> Iterator[int]:
        """The step of a boundary that has been committed since the last call; raises what went wrong in writing it."""
        self._lap(TRAIN)
        steps = self.writer.collect(wait=wait)
        self._lap(CHECKPOINT)
        yield from (step for step in steps if step in self.boundaries)

    def _write(self, snapshot: Snapshot, records: dict) -> int:
        """In the order that loses nothing: the parameters of the runs that ended are safe before the state.

        1. Keep the parameters of the runs that finished here. 2. Commit state and results together. 3. The tables.
        4. Remove older checkpoints. Returns the step.
        """
        committed = StackResults.from_json(records)
        ending = [entry for entry in self.plan.entries if entry.stop == snapshot.step]
        kept = [entry for entry in ending if committed.runs[entry.run_id].finished]
        if kept:
            params = jax.device_get(snapshot.ended_params)
            by_run = {entry.run_id: jax.tree.map(lambda leaf, e=entry: leaf[e.slot], params) for entry in kept}
            self.finished.save(snapshot.step, by_run, records={}, names=tuple(by_run))
        self.checkpoints.save(snapshot.step, _saved(jax.device_get(snapshot.state), snapshot.waiting), records)
        self.committed(committed)
        self.checkpoints.prune()
        return snapshot.step

    def _trained_s(self) -> float:
        return self.results.seconds[TRAIN] + self.results.seconds[EVALUATE]

    def _lap(self, activity: str) -> None:
        self.stopwatch.lap(self.results.seconds, activity)

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

    def _evaluate_from(self, first: int, due_K) -> Evaluation:
        first = jax.device_put(np.int32(first), devices.replicated(self.mesh))
        return self.programs.evaluate(self.state, self.data.held_out_tokens, self.data.held_out_answer, first, due_K)

    def _record(self, due: Due, evaluations: list[Evaluation]) -> None:
        run, slot, run_step = self.results.runs[due.run_id], due.slot, due.run_step
        if run.diverged_at_step is not None:
            return
        if evaluations[0].diverged_at_step_K[slot] != NEVER:
            run.diverged_at_step = int(evaluations[0].diverged_at_step_K[slot])
            return
        columns = [np.concatenate([e.losses[field][slot] for e in evaluations]) for field in range(3)]
        # The last update itself may have blown up: no later step could see it.
        if not (evaluations[0].sound_K[slot] and np.isfinite(columns[0]).all()):
            run.diverged_at_step = run_step
            return
        measured = metrics.summarise(*columns, self.data.counts)
        run.curve.append({"steps": run_step, "train_loss": float(evaluations[0].train_loss_K[slot]), **measured})


def _saved(state, waiting: dict[str, RunState]):
    """What a checkpoint holds: the slots, and beside them the branches that wait for one, if there are any."""
    return (state, waiting) if waiting else state


def _seconds_between(done: jax.Array, evaluations: Any) -> float:
    """Waits for both in a thread of its own: the host itself may be late, for a dispatch can wait for a donation."""
    done.block_until_ready()
    started = time.perf_counter()
    jax.block_until_ready(evaluations)
    return time.perf_counter() - started
