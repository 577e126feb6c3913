"""What a sweep keeps: results, checkpoints at boundaries, the tables, and the events that report them.

A checkpoint is written by a thread of its own while training goes on. The tables hold what a checkpoint has made safe.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from vsweep.host import devices, products
from vsweep.host.progress import SilentProgress
from vsweep.plan.grid import Stack
from vsweep.plan.packing import StackPlan
from vsweep.plan.sweep_plan import Due, SweepPlan, kept_runs
from vsweep.schema import ANALYSIS, CHECKPOINT, CURVES_FILE, EVALUATE, RUNS_FILE, TIMES_FILE, TRAIN
from vsweep.session import resume
from vsweep.storage import checkpoint, results
from vsweep.storage.background import BackgroundWriter
from vsweep.storage.checkpoint import CorruptCheckpoints
from vsweep.storage.lock import Lock
from vsweep.storage.results import StackResults
from vsweep.storage.workdir import WorkDir
from vsweep.tables import write_tables
from vsweep.train import metrics, rows
from vsweep.train.dispatcher import Dispatched, Snapshot
from vsweep.train.events import Boundary, Compiling, Finished, Interrupted
from vsweep.train.objective import gradient_noise
from vsweep.train.stack import Evaluation
from vsweep.train.timing import Pace, Stopwatch, SweepClock
from vsweep.train.train_step import NEVER


@dataclasses.dataclass(frozen=True)
class Written:
    """The tables as they were last written: which runs have `ended`, and rows that no event had reported by then."""

    ended: set[str]
    run_rows: list[dict]
    curve_rows: list[dict]


class SweepRecorder:
    """The results of all stacks, as their checkpoints have them; the tables; and events with what is new in those."""

    def __init__(
        self,
        sweep: SweepPlan,
        home: WorkDir,
        lock: Lock,
        progress: SilentProgress,
        stopwatch: Stopwatch | None = None,
    ):
        self.sweep = sweep
        self.home = home
        self.lock = lock
        self.counters = {stack.name: counter for stack, counter in rows.counters(sweep)}
        self.generations = rows.Generations.of(sweep)
        self.clock = SweepClock(sweep, progress)
        self.stopwatch = stopwatch or Stopwatch()
        self.results = [self._stored_results(stack) for stack in sweep.stacks]
        stored = [pair for stack_results in self.results for pair in stack_results.runs.items()]
        self._reported_runs = {run_id for run_id, run in stored if run.has_ended}
        self._reported_steps = {run_id: run.curve[-1]["steps"] for run_id, run in stored if run.curve}
        self._written = Written(self._ended(), [], [])

    def stacks_left(self) -> list[int]:
        """Places in the plan of the stacks that have steps left."""
        plans = enumerate(self.sweep.plans)
        return [i for i, plan in plans if checkpoint.to_resume(self.home, self.sweep, plan).latest() != plan.steps]

    def committed(self, index: int, results: StackResults) -> None:
        """A checkpoint of stack `index` has made `results` safe: the tables follow. Called by the writing thread."""
        self.results[index] = results
        self.write_tables()

    def write_tables(self) -> None:
        """Rewrites the tables from the committed results of every stack."""
        parts = [self.sweep.part_with(stack.name) for stack in self.sweep.stacks]
        by_stack = list(zip(parts, self.sweep.stacks, self.results, self.counters.values(), strict=True))
        run_rows = [row for of_stack in by_stack for row in rows.run_rows(*of_stack)]
        curve_rows = [row for of_stack in by_stack for row in rows.curve_rows(*of_stack)]
        if self.sweep.generations:
            run_rows, curve_rows = self.generations.run_rows(run_rows), self.generations.curve_rows(curve_rows)
        self.lock.confirm()
        write_tables(self.home.path, {RUNS_FILE: run_rows, CURVES_FILE: curve_rows, TIMES_FILE: self._time_rows()})
        # All at once, because events are made in another thread. Rows that were reported are not kept in memory.
        self._written = Written(
            self._ended(),
            [row for row in run_rows if row["run_id"] not in self._reported_runs],
            [row for row in curve_rows if self._is_new(row)],
        )

    def analysed(self) -> None:
        """The caller comes back from the end of the sweep, where the last report is drawn."""
        self.stopwatch.lap(self.results[-1].seconds, ANALYSIS)
        self.lock.confirm()
        write_tables(self.home.path, {TIMES_FILE: self._time_rows()})

    def compiling(self, stack: Stack) -> Compiling:
        return Compiling(workdir=self.home.path, stack=stack.name)

    def boundary(self, stack_plan: StackPlan, step: int) -> Boundary:
        of_stack = {"stack": stack_plan.name, "step": step, "steps": stack_plan.steps}
        return Boundary(**self._news(), **of_stack, left_s=self.clock.left_s)

    def interrupted(self, stack: Stack, reason: str) -> Interrupted:
        """Writes the tables once more: a sweep that was stopped before its first chunk has some too."""
        self.write_tables()
        return Interrupted(**self._news(), stack=stack.name, reason=reason)

    def finished(self) -> Finished:
        return Finished(**self._news())

    def _news(self) -> dict[str, Path | int | tuple[dict, ...]]:
        """The fields of a Recorded event; the rows in it are not reported again."""
        written = self._written
        new = written.ended - self._reported_runs
        run_rows = tuple(row for row in written.run_rows if row["run_id"] in new)
        curve_rows = tuple(row for row in written.curve_rows if self._is_new(row))
        self._reported_runs |= new
        self._reported_steps.update((row["run_id"], row["steps"]) for row in curve_rows)  # those of a run are in order
        return {
            "workdir": self.home.path,
            "runs": self.sweep.runs,
            "runs_ended": len(written.ended),
            "run_rows": run_rows,
            "curve_rows": curve_rows,
        }

    def _ended(self) -> set[str]:
        """Ids of the runs that are finished or diverged."""
        return {run_id for found in self.results for run_id, run in found.runs.items() if run.has_ended}

    def _is_new(self, row: dict) -> bool:
        """Whether no event has reported this row of curves.csv."""
        return row["steps"] > self._reported_steps.get(row["run_id"], -1)

    def _time_rows(self) -> list[dict]:
        return [rows.time_row(*pair) for pair in zip(self.sweep.stacks, self.results, strict=True)]

    def _stored_results(self, stack: Stack) -> StackResults:
        """What the last checkpoint knows; the parameters of the runs it calls finished must be there, undamaged."""
        stack_plan = self.sweep.plan_of(stack)
        folder = checkpoint.to_resume(self.home, self.sweep, stack_plan)
        found = StackResults.of_checkpoint(stack, folder, folder.latest())
        finished = checkpoint.of_finished(self.home, self.sweep, stack_plan)
        problems = {step: finished.problems(step) for step in finished.steps()}
        there = {name for step, bad in problems.items() if not bad for name in finished.names(step)}
        kept = kept_runs(self.sweep.part_with(stack.name).config, stack)
        lost = [run_id for run_id, run in found.runs.items() if run.finished and run_id in kept - there]
        if lost:
            why = "".join(f"; step {step}: {bad[0]}" for step, bad in problems.items() if bad)
            advice = f"move {self.home.path / 'stacks' / stack.name} away to train this stack from its start{why}"
            raise CorruptCheckpoints(
                [f"parameters of finished runs are missing or damaged: {', '.join(lost)}; {advice}"]
            )
        return found


class StackRecorder:
    """The results of one stack while it trains: reads what the devices have done, and writes its checkpoints."""

    def __init__(
        self,
        recorder: SweepRecorder,
        index: int,
        counts: metrics.LabelCounts,
        pace: Pace,
        more_counts: Mapping[str, metrics.LabelCounts] | None = None,
    ):
        """Of the stack at `index` in the plan; `pace` learns here what steps, evaluations and saves take.

        `more_counts` are of the task's further held-out sets.
        """
        self.recorder = recorder
        self.index = index
        self.counts = counts
        self.more_counts = more_counts or {}
        self.pace = pace
        sweep, home = recorder.sweep, recorder.home
        self.plan = sweep.plans[index]
        self.checkpoints = checkpoint.to_resume(home, sweep, self.plan)
        self.finished = checkpoint.of_finished(home, sweep, self.plan)
        self.kept = checkpoint.of_kept(home, sweep, self.plan)
        wanted = sweep.config.train.matmul_precision
        self.labels = {
            "device": devices.describe(sweep.hardware),
            "versions": results.versions(),
            "matmul_precision": products.in_words(wanted, sweep.hardware),
        }
        self.begun_at = self.checkpoints.latest()
        self.results = StackResults.of_checkpoint(sweep.stacks[index], self.checkpoints, self.begun_at)
        here = resume.environment(sweep.hardware, wanted)
        moved = bool(self.begun_at) and bool(resume.differences(self.results.environment, here))
        self.results.move_to(here, moved_at=self.begun_at if moved else None)
        self.free_at = 0.0  # when the devices had nothing of the chunk before left to do
        self.writer = BackgroundWriter()

    def lap(self, activity: str) -> None:
        """The time since the last lap was spent on `activity`, one of `schema.ACTIVITIES`."""
        self.recorder.stopwatch.lap(self.results.seconds, activity)

    @property
    def train_s(self) -> float:
        """Seconds that all chunks have taken until now."""
        return self.results.seconds[TRAIN]

    def start_clock(self, compile_s: float) -> None:
        """Training starts, or goes on; the programs of each next stack will be waited for `compile_s`."""
        self.recorder.clock.begin(self.begun_at or 0, compile_s, self._trained_s())

    def read(self, chunk: Dispatched) -> None:
        """Waits for a chunk and records its evaluations; runs that end with it are finished unless they diverged."""
        chunk.done.block_until_ready()
        measured = jax.device_get(chunk.evaluations)
        self.lap(TRAIN)
        self._account(chunk)
        for due, evaluations in measured:
            for run in due:
                self._record(run, evaluations)
        self.results.slot_steps = self.plan.slots * chunk.step
        self._show(chunk.step, [run.run_id for due, _ in measured for run in due])
        self.recorder.clock.advance(chunk.step, self._trained_s())
        if chunk.snapshot is not None:
            self._end_runs(chunk.step)
        self.lap(TRAIN)

    def _show(self, step: int, evaluated: Sequence[str]) -> None:
        """To whoever looks, between two checkpoints."""
        batch_size = self.recorder.sweep.stacks[self.index].shape.batch_size
        news = {run_id: self.results.runs[run_id].newest for run_id in evaluated}
        progress = self.recorder.clock.progress
        progress.measured(self.plan.name, step=step, steps=self.plan.steps, batch_size=batch_size, news=news)

    def save(self, snapshot: Snapshot) -> None:
        """Starts to write a checkpoint; the one before must have been `collect`ed.

        The results are copied here, because the training thread goes on to add to them. After the last one no more time
        of training is added, so a finished sweep writes the same tables again.
        """
        self.lap(TRAIN)
        records = self.results.to_json()
        self.writer.start(lambda: self.write(snapshot, records))

    def collect(self, *, wait: bool) -> list[int]:
        """[step] if that of a boundary has been committed since the last call; raises what went wrong in writing it."""
        steps = self.writer.collect(wait=wait)
        self.lap(CHECKPOINT)
        return [step for step in steps if step in self.plan.boundaries]

    def write(self, snapshot: Snapshot, records: dict) -> int:
        """Returns the step, once everything is safe, in the order that loses nothing.

        1. Keep the parameters of runs that finished here, if they are to stay. 2. Commit state and results together.
        3. The tables. 4. Remove older checkpoints.
        """
        with self.pace.saving():
            self.recorder.lock.confirm()
            committed = StackResults.from_json(records)
            self._keep_finished(snapshot, committed)
            self.checkpoints.save(snapshot.step, jax.device_get(snapshot.arrays), records)
            self.recorder.committed(self.index, committed)
            self.checkpoints.prune()
            return snapshot.step

    def _keep_finished(self, snapshot: Snapshot, committed: StackResults) -> None:
        ending = [entry for entry in self.plan.entries if entry.stop == snapshot.step]
        wanted = kept_runs(self.recorder.sweep.part_with(self.plan.name).config, self.recorder.sweep.stacks[self.index])
        kept = [entry for entry in ending if committed.runs[entry.run_id].finished and entry.run_id in wanted]
        if kept:
            params = jax.device_get(snapshot.ended_params)
            by_run = {entry.run_id: jax.tree.map(lambda leaf, e=entry: leaf[e.slot], params) for entry in kept}
            self.finished.save(snapshot.step, by_run, records={}, names=tuple(by_run))

    def _account(self, chunk: Dispatched) -> None:
        """Evaluations take their time out of the training's, where both ran while the host waited or was at work for
        the next chunk; what ran while it waited for something else is in the account of that.
        """
        seconds, done_at, ended_at = self.results.seconds, chunk.done_at.result(), chunk.ended_at.result()
        self.pace.trained(chunk.steps, done_at - max(chunk.sent_at, self.free_at))
        self.pace.evaluated(chunk.passes, ended_at - done_at)
        self.free_at = ended_at
        evaluation_s = min(ended_at - done_at, seconds[TRAIN] - chunk.train_s)
        seconds[TRAIN] -= evaluation_s
        seconds[EVALUATE] += evaluation_s

    def _record(self, due: Due, evaluations: list[Evaluation]) -> None:
        run, slot, run_step = self.results.runs[due.run_id], due.slot, due.run_step
        if run.diverged_at_step is not None:
            return
        if evaluations[0].diverged_at_step_K[slot] != NEVER:
            run.diverged_at_step = int(evaluations[0].diverged_at_step_K[slot])
            return
        per_set = len(evaluations) // (1 + len(self.more_counts))
        main, more = evaluations[:per_set], evaluations[per_set:]
        columns = [np.concatenate([e.losses[field][slot] for e in main]) for field in range(3)]
        # The last update itself may have blown up: no later step could see it.
        if not (evaluations[0].sound_K[slot] and np.isfinite(columns[0]).all()):
            run.diverged_at_step = run_step
            return
        measured = {**metrics.summarise(*columns, self.counts), **self._own_metrics(main, slot)}
        for name, counts in self.more_counts.items():
            these, more = more[:per_set], more[per_set:]
            loss_N = np.concatenate([e.losses.loss_N[slot] for e in these]).astype(np.float64)
            column = f"val_loss_{name}"
            measured[column], measured[f"{column}_se"] = metrics.ratio(loss_N, counts.labels_N[: len(loss_N)])
        if (gradients := evaluations[0].gradients) is not None:
            measured |= gradient_noise.columns(jax.tree.map(lambda column_K: column_K[slot], gradients))
        run.curve.append({"steps": run_step, "train_loss": float(evaluations[0].train_loss_K[slot]), **measured})

    def _own_metrics(self, evaluations: list[Evaluation], slot: int) -> dict[str, float | None]:
        """Those of the task, with standard errors; None where one is not finite, which JSON cannot hold."""
        measured = {}
        for place, name in enumerate(self.recorder.sweep.task.metrics):
            values = metrics.summarise_metric(np.concatenate([e.losses.metrics[place][slot] for e in evaluations]))
            finite = [value if np.isfinite(value) else None for value in values]
            measured[f"metric_{name}"], measured[f"metric_{name}_se"] = finite
        return measured

    def _end_runs(self, step: int) -> None:
        for entry in self.plan.entries:
            if entry.stop == step:
                run = self.results.runs[entry.run_id]
                run.finished = run.diverged_at_step is None
                for name, label in self.labels.items():
                    setattr(run, name, label)

    def _trained_s(self) -> float:
        return self.results.seconds[TRAIN] + self.results.seconds[EVALUATE]
