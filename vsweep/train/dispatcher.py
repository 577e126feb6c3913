"""What the devices are sent: chunks of steps, evaluations, copies for checkpoints, and the next runs.

Nothing here waits for the devices, but for an evaluation so long that a stop should not have to. What comes back is
read by the recorder.
"""

import bisect
import collections
import concurrent.futures
import dataclasses
import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from vsweep.host import devices
from vsweep.host.interruption import Interruption
from vsweep.plan import sweep_plan
from vsweep.plan.grid import Run, Stack
from vsweep.plan.packing import StackPlan
from vsweep.plan.sweep_plan import Due, SweepPlan
from vsweep.storage.checkpoint import CheckpointFolder, CorruptCheckpoints
from vsweep.tasks import data_order
from vsweep.tasks.base import HeldOut, Task, token_dtype
from vsweep.train import metrics
from vsweep.train.stack import Evaluation, StackPrograms, StackState, fork, hyper_of
from vsweep.train.timing import Pace
from vsweep.train.train_step import RunState


@dataclasses.dataclass(frozen=True)
class DeviceData:
    """What evaluations need of the held-out examples, on every device. Training examples are sent chunk by chunk."""

    held_out_tokens: jax.Array  # [N, S] of `token_dtype`, set after set
    held_out_answer: jax.Array  # bool [N, L]
    counts: metrics.LabelCounts  # on the host, of the main set
    more_counts: Mapping[str, metrics.LabelCounts] = dataclasses.field(default_factory=dict)  # of the others

    @classmethod
    def put(cls, task: Task, held_out_examples: int, mesh: jax.sharding.Mesh) -> "DeviceData":
        """Sends the first `held_out_examples` of each held-out set."""
        sets = [each.first(held_out_examples) for each in (task.held_out, *task.more_held_out.values())]
        tokens = np.concatenate([each.tokens_NxS for each in sets]).astype(token_dtype(task.vocabulary), copy=False)
        answer = np.concatenate([_answer_labels(each) for each in sets])
        on_devices = jax.device_put((tokens, answer), devices.replicated(mesh))
        counts, *more = [metrics.label_counts(each, task.pad) for each in sets]
        return cls(*on_devices, counts, dict(zip(task.more_held_out, more, strict=True)))


def _answer_labels(held_out: HeldOut) -> np.ndarray:
    """bool [N, L]; all False where a task knows of no answer, whose columns then stay empty."""
    no_answer = np.zeros((len(held_out.tokens_NxS), held_out.tokens_NxS.shape[1] - 1), bool)
    return no_answer if held_out.answer_NxL is None else held_out.answer_NxL


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """Copies, on the devices, of what a checkpoint holds: training goes on in the originals, which are donated."""

    step: int
    state: StackState  # the next runs have entered
    waiting: dict[str, RunState]  # on the host
    ended_params: Any  # of all slots before that; None where no run ended

    @property
    def arrays(self) -> Any:
        """What its checkpoint holds."""
        return saved_arrays(self.state, self.waiting)


@dataclasses.dataclass(frozen=True)
class Measure:
    """An evaluation of the due slots that one dispatch may hold, on examples from each of `firsts`: a dispatch each."""

    due: list[Due]
    firsts: Sequence[int]  # of set after set
    passes: int  # of all its dispatches


Measured = list[tuple[list[Due], list[Evaluation]]]  # the runs of each measure, and its evaluations


@dataclasses.dataclass(frozen=True)
class Dispatched:
    """A chunk and what follows it on the devices: read while the next one runs. Times are of `time.perf_counter`."""

    step: int  # after the chunk
    steps: int
    done: jax.Array
    evaluations: Measured
    passes: int
    snapshot: Snapshot | None
    train_s: float  # that all chunks had taken when this one was sent
    sent_at: float
    done_at: concurrent.futures.Future[float]
    ended_at: concurrent.futures.Future[float]  # with its evaluations

    def is_ready(self) -> bool:
        """Whether the devices have nothing of this left to do."""
        return all(leaf.is_ready() for leaf in jax.tree.leaves((self.done, [e for *_, e in self.evaluations])))


class Dispatcher:
    """The state of one stack on the devices, and everything that is sent to them. `begin` comes first."""

    state: StackState
    step: int  # that the state stands at once all that was sent is done

    def __init__(
        self,
        sweep: SweepPlan,
        stack: Stack,
        stack_plan: StackPlan,
        mesh: jax.sharding.Mesh,
        data: DeviceData,
        programs: StackPrograms,
        pace: Pace,
        interruption: Interruption,
    ):
        self.sweep = sweep
        self.stack = stack
        self.plan = stack_plan
        self.mesh = mesh
        self.data = data
        self.programs = programs
        self.pace = pace
        self.interruption = interruption
        self.runs: dict[str, Run] = {run.run_id: run for run in stack.runs}
        self.due = sweep_plan.evaluations(sweep, stack_plan)
        self.boundaries = set(stack_plan.boundaries)
        self.stops = sorted({*self.due, *self.boundaries, *stack_plan.forks})
        self.waiting: dict[str, RunState] = {}  # branches between their trunks and their slots, on the host
        self.watcher = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="watcher")

    def begin(self, step: int | None, checkpoints: CheckpointFolder, kept: CheckpointFolder | None = None) -> None:
        """1. The checkpoint of `step`; 2. where that is None, empty slots, which the first runs enter.

        Some may go on from states in `kept`, which another stack of a sweep that was extended has left.
        """
        self.step = step or 0
        if step is None:
            self.waiting = self._kept_states(kept)
            self.state = self._enter_runs(self.programs.empty_state())
        else:
            waiting = {entry.run_id: self.programs.run_struct for entry in self.plan.waiting_at(step)}
            arrays = checkpoints.restore(step, saved_arrays(self.programs.state_struct, waiting))
            self.state, self.waiting = (arrays[0], jax.device_get(arrays[1])) if waiting else (arrays, {})
        self.snapshot_step, self.snapshot_s = self.step, time.monotonic()

    @property
    def done(self) -> bool:
        """Whether the last step of the stack has been sent."""
        return self.step == self.plan.steps

    @property
    def has_unsaved_steps(self) -> bool:
        return self.step != self.snapshot_step

    def send(self, train_s: float) -> list[Dispatched]:
        """Sends the devices a chunk and what follows it: [that], or [] if a stop was asked for in the middle of it.

        Then the state is what it was before. `train_s` is what all chunks have taken until now, in seconds.
        """
        sent_at, steps = time.perf_counter(), self._chunk_length()
        measures = self._measures(self.due.get(self.step + steps, []))
        passes = sum(measure.passes for measure in measures)
        is_long = self.pace.is_long(passes)
        before = (self.step, devices.copy_on_device(self.state)) if is_long else None
        done = self.train_chunk(steps)
        done_at = self.watcher.submit(_when_ready, done)
        evaluations = self.evaluate(measures, abandon=is_long) if measures else []
        if evaluations is None:
            self.step, self.state = before
            return []
        ended_at = self.watcher.submit(_when_ready, evaluations)
        snapshot = self._arrive()
        return [Dispatched(self.step, steps, done, evaluations, passes, snapshot, train_s, sent_at, done_at, ended_at)]

    def train_chunk(self, count: int) -> jax.Array:
        """Sends `count` steps; returns an array that is ready when they are done."""
        tokens = jax.device_put(self._tokens(count), devices.over_slots(self.mesh, axis=1))
        steps = jax.device_put(np.int32(count), devices.replicated(self.mesh))
        self.state, done = self.programs.train_chunk(self.state, tokens, steps)
        self.step += count
        return done

    def evaluate(self, measures: list[Measure], *, abandon: bool) -> Measured | None:
        """Sends evaluations, to be read later; with `abandon`, stays close and gives None once asked to stop."""
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
                sent.append(self.evaluate_from(first, due_K))
                evaluations[-1][1].append(sent[-1])
        return evaluations

    def evaluate_from(self, first: int, due_K: jax.Array) -> Evaluation:
        """Sends one evaluation of the slots where `due_K` (bool [K]), on the held-out examples from `first`."""
        first = jax.device_put(np.int32(first), devices.replicated(self.mesh))
        return self.programs.evaluate(self.state, self.data.held_out_tokens, self.data.held_out_answer, first, due_K)

    def snapshot(self, ended_params: Any = None) -> Snapshot:
        """A copy of the state for a checkpoint; `ended_params` are those of all slots before the next runs entered."""
        self.snapshot_step, self.snapshot_s = self.step, time.monotonic()
        return Snapshot(self.step, devices.copy_on_device(self.state), dict(self.waiting), ended_params)

    def _arrive(self) -> Snapshot | None:
        """After the evaluations of a step: forks, the next runs, and a snapshot where a checkpoint is due."""
        if self.step in self.boundaries:
            ended_params = devices.copy_on_device(self.state.params)
            self.state = self._enter_runs(self.state)
            return self.snapshot(ended_params)
        if self.step in self.plan.forks:
            self.state = self._enter_runs(self.state)
        if time.monotonic() - self.snapshot_s >= 60 * self.sweep.config.train.checkpoint_minutes:
            return self.snapshot()
        return None

    def _enter_runs(self, state: StackState) -> StackState:
        """Copies the trunks that have come to a fork; then branches, and runs at their step 0, enter their slots."""
        forking = self.plan.forks.get(self.step, [])
        leaving = jax.device_get(state) if forking else None
        for branch in forking:
            trunk = self.plan.by_run[branch.trunk]
            self.waiting[branch.run_id] = fork(leaving, trunk.slot, self.runs[branch.run_id])
        here = self.plan.entries_at(self.step)
        starting = [entry if entry and entry.start == self.step else None for entry in here]
        branches = {entry.slot: self.waiting.pop(entry.run_id) for entry in starting if entry and entry.fork_step}
        state = self.programs.put(state, branches) if branches else state
        entering = [entry if entry and not entry.fork_step else None for entry in starting]
        if not any(entering):
            return state
        hyper_K = hyper_of([self.runs[entry.run_id] if entry else None for entry in entering])
        enters_K = np.array([entry is not None for entry in entering])
        return self.programs.enter(state, *jax.device_put((hyper_K, enters_K), devices.over_slots(self.mesh)))

    def _kept_states(self, kept: CheckpointFolder | None) -> dict[str, RunState]:
        """The states, on the host, that runs of this stack go on from. Raises CorruptCheckpoints."""
        runs = [self.runs[entry.run_id] for entry in self.plan.continued]
        if not runs:
            return {}
        step = kept.latest()
        if step is None:
            raise CorruptCheckpoints([f"the states that {self.plan.name} goes on from are missing in {kept.folder}"])
        struct = {name: leaf for name, leaf in self.programs.run_struct._asdict().items() if name != "hyper"}
        states = jax.device_get(kept.restore(step, {run.run_id: struct for run in runs}))
        hyper = {run.run_id: jax.tree.map(lambda column: column[0], hyper_of([run])) for run in runs}
        return {name: self.programs.run_struct._replace(**state, hyper=hyper[name]) for name, state in states.items()}

    def _chunk_length(self) -> int:
        """Steps up to the next stop, as far as one dispatch goes."""
        next_stop = self.stops[bisect.bisect_right(self.stops, self.step)]
        return min(self.programs.shape.chunk_steps, self.pace.steps, next_stop - self.step)

    def _tokens(self, count: int) -> np.ndarray:
        """[C, K, B, S]: what each slot's run sees in the next `count` steps; 0 beyond them and in empty slots."""
        shape, task = self.programs.shape, self.sweep.task
        tokens_CxKxBxS = np.zeros(shape.chunk, shape.token_dtype)
        for slot, entry in enumerate(self.plan.entries_at(self.step)):
            if entry is not None:
                run, first = self.runs[entry.run_id], entry.run_step(self.step) * shape.batch_size
                numbers = (first, count * shape.batch_size)
                if run.mixture:
                    seen = run.mixture.examples(run.data_seed, *numbers)
                else:
                    seen = data_order.examples(run.data_seed, run.unique_examples, task.train_examples, *numbers)
                tokens_CxKxBxS[:count, slot] = task.rows(seen.reshape(count, shape.batch_size))
        return tokens_CxKxBxS

    def _measures(self, due_here: list[Due]) -> list[Measure]:
        """An evaluation of each due slot, a longer one for runs at their horizon, in parts that a dispatch may hold."""
        train, at_once, a_device = self.sweep.config.train, self.pace.passes, self.plan.slots // self.mesh.size
        measures, sets = [], 1 + len(self.sweep.task.more_held_out)
        for final, examples in ((False, train.curve_examples), (True, train.final_examples)):
            firsts = [
                first + start
                for start in range(0, train.final_examples * sets, train.final_examples)
                for first in range(0, examples, train.curve_examples)
            ]
            slots = sorted({run.slot for run in due_here if run.final == final})
            rank = {}  # of a slot among the due ones of its device
            for _, here in itertools.groupby(slots, lambda slot: slot // a_device):
                rank.update({slot: place for place, slot in enumerate(here)})
            for start in range(0, max(rank.values(), default=-1) + 1, at_once):
                part = [run for run in due_here if run.final == final and start <= rank[run.slot] < start + at_once]
                most = 1 + max(rank[run.slot] for run in part) - start
                measures.append(Measure(part, firsts, most * len(firsts)))
        return measures


def saved_arrays(state: Any, waiting: dict[str, Any]) -> Any:
    """What a checkpoint holds: the slots, and beside them the branches that wait for one, if there are any."""
    return (state, waiting) if waiting else state


def _when_ready(arrays: Any) -> float:
    """In a thread of its own, because the host itself may be late: a dispatch can wait for a donation."""
    jax.block_until_ready(arrays)
    return time.perf_counter()
