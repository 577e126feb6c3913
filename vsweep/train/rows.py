"""The rows of the tables, made from what the runs have measured.

Tokens are not counted on the device: a run's data order is a pure function, and so is the exact number of its tokens.
"""

import dataclasses

from vsweep.config import sweep_config
from vsweep.config.design.options import ISOFLOP
from vsweep.host import products
from vsweep.models import accounting
from vsweep.models.base import ModelShape
from vsweep.plan import generations
from vsweep.plan.cost import model_shape
from vsweep.plan.evaluations import evaluation_steps
from vsweep.plan.grid import Run, Stack
from vsweep.plan.sweep_plan import SweepPlan
from vsweep.schema import (
    ACTIVITIES,
    CURVE_COLUMNS,
    EVALUATION_FIELDS,
    EXTENSION_COLUMNS,
    FINISHED,
    GRADIENT_COLUMNS,
    RUN_COLUMNS,
    TRAIN,
)
from vsweep.storage.results import StackResults
from vsweep.tasks import data_order
from vsweep.tasks.base import measured_columns, with_multiples


class TokenCounter:
    """Exact tokens of runs from their data order; kept, because runs of one data seed share them across shapes."""

    def __init__(self, sweep: SweepPlan):
        self._label_tokens = sweep.task.label_tokens
        self._smallest_horizon = sweep.smallest_horizon
        self._curve_points = sweep.config.train.curve_points
        self._kept: dict[tuple, dict[int, int]] = {}
        self._epoch_tokens: dict[tuple[int, int], int] = {}

    def by_step(self, run: Run) -> dict[int, int]:
        """Step -> label tokens trained on, at 0 and at every evaluation step of the run."""
        key = (run.data_seed, run.unique_examples, run.mixture, run.shape.batch_size, run.steps)
        if key not in self._kept:
            steps = [0, *evaluation_steps(run.steps, self._smallest_horizon, self._curve_points)]
            counts = self._count(run, [step * run.shape.batch_size for step in steps])
            self._kept[key] = dict(zip(steps, counts, strict=True))
        return self._kept[key]

    def unique(self, run: Run, step: int) -> int:
        """Label tokens of the distinct examples seen after `step`, one of `by_step`'s."""
        if run.mixture:
            return run.mixture.unique_tokens(self._label_tokens, run.data_seed, step * run.shape.batch_size)
        if step * run.shape.batch_size <= run.unique_examples:
            return self.by_step(run)[step]
        key = (run.data_seed, run.unique_examples)
        if key not in self._epoch_tokens:
            self._epoch_tokens[key] = self._count(run, [run.unique_examples])[0]
        return self._epoch_tokens[key]

    def _count(self, run: Run, positions: list[int]) -> list[int]:
        if run.mixture:
            return run.mixture.token_counts(self._label_tokens, run.data_seed, positions)
        return data_order.token_counts(self._label_tokens, run.data_seed, run.unique_examples, positions)


def counters(sweep: SweepPlan) -> list[tuple[Stack, TokenCounter]]:
    """The counter of each stack's runs: one for all stacks of a generation."""
    kept: dict[int, TokenCounter] = {}
    parts = [(stack, sweep.part_with(stack.name)) for stack in sweep.stacks]
    return [(stack, kept.setdefault(id(part), kept.get(id(part)) or TokenCounter(part))) for stack, part in parts]


@dataclasses.dataclass(frozen=True)
class Generations:
    """What the tables of an extended sweep have beside those of any other: two columns, and the order of rows.

    The runs of the last config come in the order of a sweep that began with it, and then those that it has no more.
    """

    added: tuple[str, ...]  # columns that some generation has and others may not
    columns: dict[str, dict]  # run_id -> optional axes, `generation` and `in_config`
    places: dict[str, int]  # run_id -> place in the tables

    @classmethod
    def of(cls, sweep: SweepPlan) -> "Generations":
        """Nothing for a sweep that was never extended."""
        if not sweep.generations:
            return cls((), {}, {})
        wanted = {each: place for place, each in enumerate(generations.identities(sweep.config, sweep.task))}
        columns, places = {}, {}
        for number, part in enumerate(sweep.generations, 1):
            fixed = sweep_config.optional_values(part.config)
            for run in (run for stack in part.stacks for run in stack.runs):
                place = wanted.get(generations.identity(run, part.config))
                options = {**fixed, ISOFLOP: run.isoflop, **dict(run.model_options), **dict(run.options)}
                options |= {"mixture": run.mixture.text} if run.mixture else {}
                axes = {axis: options.get(axis) for axis in sweep.added_columns}
                columns[run.run_id] = {**axes, "generation": number, "in_config": int(place is not None)}
                places[run.run_id] = len(wanted) + len(places) if place is None else place
        return cls(sweep.added_columns, columns, places)

    def run_rows(self, rows: list[dict]) -> list[dict]:
        """Rows of runs.csv, with the columns of every generation and in order."""
        own = [{**row, **self.columns[row["run_id"]]} for row in rows]
        names = dict.fromkeys(name for row in own for name in row if name not in EXTENSION_COLUMNS)
        order = dict.fromkeys([*RUN_COLUMNS, *self.added, *names, *EXTENSION_COLUMNS])
        return sorted(({name: row[name] for name in order} for row in own), key=lambda r: self.places[r["run_id"]])

    def curve_rows(self, rows: list[dict]) -> list[dict]:
        """Rows of curves.csv, in order; those of a run stay as they are."""
        return sorted(rows, key=lambda row: self.places[row["run_id"]])


def run_rows(sweep: SweepPlan, stack: Stack, results: StackResults, counter: TokenCounter) -> list[dict]:
    """Rows of runs.csv (name of a column -> value), one a run; metrics are empty until a run is finished."""
    return [_run_row(sweep, stack, run, results, counter) for run in stack.runs]


def curve_rows(sweep: SweepPlan, stack: Stack, results: StackResults, counter: TokenCounter) -> list[dict]:
    """Rows of curves.csv (name of a column -> value): every evaluation of every run."""
    rows, measured = [], measured_columns(sweep.task)
    if sweep.config.train.gradient_statistics:
        measured = (*measured, *GRADIENT_COLUMNS)
    for run in stack.runs:
        tokens = counter.by_step(run)
        for point in results.runs[run.run_id].curve:
            values = {
                **with_multiples(sweep.task, point),
                **_compute(sweep, run, point["steps"], tokens[point["steps"]]),
            }
            columns = [*(name for name in CURVE_COLUMNS if name != "run_id"), *measured]
            rows.append({"run_id": run.run_id, **{name: values[name] for name in columns}})
    return rows


def time_row(stack: Stack, results: StackResults) -> dict:
    """The row of times.csv of a stack: seconds by activity, to the millisecond."""
    return {"stack": stack.name, **{name: round(results.seconds[name], 3) for name in ACTIVITIES}}


def _run_row(sweep: SweepPlan, stack: Stack, run: Run, results: StackResults, counter: TokenCounter) -> dict:
    result = results.runs[run.run_id]
    last = result.curve[-1] if result.curve else {}
    steps = last.get("steps", 0)
    own_steps = max(0, steps - sweep.plan_of(stack).by_run[run.run_id].fork_step)
    tokens = counter.by_step(run)
    examples = steps * run.shape.batch_size
    shape = model_shape(run.shape, sweep.task)
    status = results.status(sweep.plan_of(stack), run.run_id)
    metrics = with_multiples(sweep.task, last) if status == FINISHED else {}
    row = {
        **run.fields(),
        ISOFLOP: run.isoflop,
        "run_id": run.run_id,
        "stack": stack.name,
        "task": sweep.task.name,
        "params": accounting.params(shape),
        "params_non_embedding": accounting.params_non_embedding(shape),
        **_compute(sweep, run, steps, tokens[steps]),
        "unique_tokens": counter.unique(run, steps),
        "epochs": examples / run.unique_examples,
        "floor": sweep.task.floor,
        "train_loss": metrics.get("train_loss"),
        **{name: metrics.get(name) for name in (*EVALUATION_FIELDS, *measured_columns(sweep.task))},
        "status": status,
        "diverged_at_step": result.diverged_at_step,
        "wall_s": round(results.seconds[TRAIN] * own_steps / results.slot_steps, 3) if results.slot_steps else 0.0,
        "device": result.device,
        "matmul_precision": result.matmul_precision
        or products.in_words(sweep.config.train.matmul_precision, sweep.hardware),
        "versions": result.versions,
        "inexact_resumes": results.inexact_resumes(sweep.plan_of(stack), run.run_id),
    }
    active = _active(shape, tokens[steps])
    columns = (*RUN_COLUMNS, *sweep.config.added_columns, *measured_columns(sweep.task))
    return {**{name: row[name] for name in columns}, **active}


def _active(shape: ModelShape, tokens: int) -> dict:
    """Columns of models whose tokens do not meet all parameters: N of those that a token meets, and its 6 N D."""
    if shape.family != "moe":
        return {}
    active = accounting.params_active(shape)
    return {"params_active": active, "flops_6nd_active": 6.0 * active * tokens}


def _compute(sweep: SweepPlan, run: Run, steps: int, tokens: int) -> dict:
    shape = model_shape(run.shape, sweep.task)
    examples = steps * run.shape.batch_size
    return {
        "steps": steps,
        "tokens": tokens,
        "flops_6nd": accounting.flops_6nd(shape, tokens),
        "flops_counted": accounting.flops_counted_per_example(shape) * examples,
    }
