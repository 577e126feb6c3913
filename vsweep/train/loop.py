"""The loop over one stack: chunk -> evaluate -> boundary -> checkpoint -> next runs into free slots.

The host keeps ahead of the devices: it sends them a chunk and all that follows it - evaluations, copies of what a
checkpoint needs, the next runs - and reads what the chunk before has left while they work. Checkpoints are written by
a thread of their own.
"""

import bisect
import collections
import concurrent.futures
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from vsweep.host import devices
from vsweep.host.interruption import Interruption
from vsweep.host.progress import SilentProgress
from vsweep.plan import sweep_plan
from vsweep.plan.grid import Run, Stack
from vsweep.plan.packing import StackPlan
from vsweep.plan.sweep_plan import Due, SweepPlan
from vsweep.schema import CHECKPOINT, COMPILE, EVALUATE, OTHER, TRAIN
from vsweep.session import preflight, resume
from vsweep.storage import checkpoint, results
from vsweep.storage.background import BackgroundWriter
from vsweep.storage.lock import Lock
from vsweep.storage.results import StackResults
from vsweep.storage.workdir import WorkDir
from vsweep.tasks import data_order
from vsweep.tasks.base import Task
from vsweep.train import metrics
from vsweep.train.compiling import StackCompiler
from vsweep.train.pace import Pace
from vsweep.train.stack import Evaluation, StackState, fork, hyper_of
from vsweep.train.timing import Stopwatch, SweepClock
from vsweep.train.train_step import NEVER, RunState


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
    lock: Lock
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
class Measure:
    """An evaluation of the due slots that one dispatch may hold, on examples from each of `firsts`: a dispatch each."""

    due: list[Due]
    firsts: range
    passes: int  # of all its dispatches


@dataclasses.dataclass(frozen=True)
class Dispatched:
    """A chunk and what follows it on the devices: read while the next one runs. Times are of `time.perf_counter`."""

    step: int  # after the chunk
    steps: int
    done: jax.Array
    evaluations: list[tuple[list[Due], list[Evaluation]]]
    passes: int
    snapshot: Snapshot | None
    train_s: float  # that all chunks had taken when this one was sent
    sent_at: float
    done_at: concurrent.futures.Future[float]
    ended_at: concurrent.futures.Future[float]  # with its evaluations

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
        self.due = sweep_plan.evaluations(self.sweep, stack_plan)
        self.boundaries = set(stack_plan.boundaries)
        self.stops = sorted({*self.due, *self.boundaries, *stack_plan.forks})
        self.lock = session.lock
        self.checkpoints = checkpoint.to_resume(session.home, session.sweep, stack_plan)
        self.finished = checkpoint.of_finished(session.home, session.sweep, stack_plan)
        self.environment = {"device": devices.describe(self.sweep.hardware), "versions": results.versions()}
        self.waiting: dict[str, RunState] = {}  # branches between their trunks and their slots, on the host
        step = self.checkpoints.latest()
        self.results = StackResults.of_checkpoint(stack, self.checkpoints, step)
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
        state_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(self.programs.state_struct))
        self.pace = Pace(preflight.save_seconds(state_bytes))
        self.free_at = 0.0  # when the devices had nothing of the chunk before left to do
        self.writer = BackgroundWriter()
        self.watcher = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="watcher")

    def train(self) -> Iterator[int | None]:
        """Yields the step of each boundary once it is committed; None, once, if interrupted before the end."""
        self.clock.begin(self.step, self.compile_s, self._trained_s())
        in_flight: collections.deque[Dispatched] = collections.deque()
        with self.watcher, self.writer, self.interruption.saving(self.pace.stop_s):
            while self.step < self.plan.steps and not self.interruption.should_stop():
                self._lap(OTHER if all(chunk.is_ready() for chunk in in_flight) else TRAIN)
                in_flight.extend(self._dispatch())
                while len(in_flight) >= self.pace.chunks_in_flight:
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

    def _dispatch(self) -> list[Dispatched]:
        """Sends the devices a chunk and what follows it, without waiting for any of it but a long evaluation.

        None of it, and the state is what it was, if a stop was asked for in the middle of that.
        """
        sent_at, train_s, steps = time.perf_counter(), self.results.seconds[TRAIN], self._chunk_length()
        measures = self._measures(self.due.get(self.step + steps, []))
        passes = sum(measure.passes for measure in measures)
        is_long = self.pace.is_long(passes)
        before = (self.step, devices.copy_on_device(self.state)) if is_long else None
        done = self._train_chunk(steps)
        done_at = self.watcher.submit(_when_ready, done)
        evaluations = self._evaluate(measures, abandon=is_long) if measures else []
        if evaluations is None:
            self.step, self.state = before
            return []
        ended_at = self.watcher.submit(_when_ready, evaluations)
        snapshot = self._arrive()
        return [Dispatched(self.step, steps, done, evaluations, passes, snapshot, train_s, sent_at, done_at, ended_at)]

    def _arrive(self) -> Snapshot | None:
        """After the evaluations of a step: forks, the next runs, and a snapshot where a checkpoint is due."""
        snapshot = None
        if self.step in self.boundaries:
            ended_params = devices.copy_on_device(self.state.params)
            self.state = self._enter_runs(self.state, self.step)
            snapshot = self._snapshot(ended_params)
        elif self.step in self.plan.forks:
            self.state = self._enter_runs(self.state, self.step)
        if snapshot is None and time.monotonic() - self.snapshot_s >= 60 * self.sweep.config.train.checkpoint_minutes:
            snapshot = self._snapshot(ended_params=None)
        return snapshot

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
        seconds, done_at, ended_at = self.results.seconds, chunk.done_at.result(), chunk.ended_at.result()
        self.pace.trained(chunk.steps, done_at - max(chunk.sent_at, self.free_at))
        self.pace.evaluated(chunk.passes, ended_at - done_at)
        self.free_at = ended_at
        evaluation_s = min(ended_at - done_at, seconds[TRAIN] - chunk.train_s)
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
        self.writer.start(lambda: self._save(snapshot, records))

    def _committed(self, *, wait: bool) -> Iterator[int]:
        """The step of a boundary that has been committed since the last call; raises what went wrong in writing it."""
        self._lap(TRAIN)
        steps = self.writer.collect(wait=wait)
        self._lap(CHECKPOINT)
        yield from (step for step in steps if step in self.boundaries)

    def _save(self, snapshot: Snapshot, records: dict) -> int:
        with self.pace.saving():
            return self._write(snapshot, records)

    def _write(self, snapshot: Snapshot, records: dict) -> int:
        """In the order that loses nothing: the parameters of the runs that ended are safe before the state.

        1. Keep the parameters of the runs that finished here. 2. Commit state and results together. 3. The tables.
        4. Remove older checkpoints. Returns the step.
        """
        self.lock.confirm()
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

    def _chunk_length(self) -> int:
        """Steps up to the next stop, as far as one dispatch goes."""
        next_stop = self.stops[bisect.bisect_right(self.stops, self.step)]
        return min(self.sweep.config.train.chunk_steps, self.pace.steps, next_stop - self.step)

    def _train_chunk(self, count: int) -> jax.Array:
        """Dispatches `count` steps; returns an array that is ready when they are done."""
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
                seen = data_order.examples(run.data_seed, run.unique_examples, total, first, count * batch)
                examples_CxKxB[:count, slot] = seen.reshape(count, batch)
        return examples_CxKxB

    def _measures(self, due_here: list[Due]) -> list[Measure]:
        """An evaluation of each due slot, a longer one for runs at their horizon, in parts that a dispatch may hold."""
        train, at_once, a_device = self.sweep.config.train, self.pace.passes, self.plan.slots // self.mesh.size
        measures = []
        for final, examples in ((False, train.curve_examples), (True, train.final_examples)):
            firsts = range(0, examples, train.curve_examples)
            slots = sorted({run.slot for run in due_here if run.final == final})
            rank = {}  # of a slot among the due ones of its device
            for _, here in itertools.groupby(slots, lambda slot: slot // a_device):
                rank.update({slot: place for place, slot in enumerate(here)})
            for start in range(0, max(rank.values(), default=-1) + 1, at_once):
                part = [run for run in due_here if run.final == final and start <= rank[run.slot] < start + at_once]
                most = 1 + max(rank[run.slot] for run in part) - start
                measures.append(Measure(part, firsts, most * len(firsts)))
        return measures

    def _evaluate(self, measures: list[Measure], *, abandon: bool) -> list[tuple[list[Due], list[Evaluation]]] | None:
        """Dispatches evaluations, to be read later; with `abandon`, stays close and gives None once asked to stop."""
        evaluations, sent = [], collections.deque(maxlen=2)
        for measure in measures:
            due_K = np.isin(np.arange(self.plan.slots), [run.slot for run in measure.due])
            due_K = jax.device_put(due_K, devices.over_slots(self.mesh))
            evaluations.append((measure.due, []))
            for first in measure.firsts:
                if abandon and len(sent) == sent.maxlen:
                    jax.block_until_ready(sent[0])
                    if self.interruption.should_stop():
                        return None
                sent.append(self._evaluate_from(first, due_K))
                evaluations[-1][1].append(sent[-1])
        return evaluations

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


def _when_ready(arrays: Any) -> float:
    """In a thread of its own, for the host itself may be late: a dispatch can wait for a donation."""
    jax.block_until_ready(arrays)
    return time.perf_counter()
