"""How many slots, when each run is evaluated, and what it all costs; `packing.py` puts the runs into the slots.

The plan is a pure function of the config, the device kind, the number of devices and their memory: no timing enters it,
for another number of slots changes float rounding. It is stored in the work directory and a resume follows it.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Sequence

from vsweep.config import sweep_config
from vsweep.config.problems import ConfigError, Problem
from vsweep.config.sweep_config import SweepConfig
from vsweep.host.hardware import Hardware
from vsweep.models import accounting
from vsweep.plan.cost import compile_seconds, device_bytes, model_shape, moments, piece_of, slots_that_fit, step_seconds
from vsweep.plan.evaluations import evaluation_steps
from vsweep.plan.grid import Stack, build_stacks, left_out, shapes
from vsweep.plan.packing import StackPlan
from vsweep.plan.shape import Shape
from vsweep.plan.slots import plan_stack
from vsweep.tasks.base import Task

HELD_OUT_PASS_COST = 1 / 3  # of a training step on as many examples


@dataclasses.dataclass(frozen=True)
class Due:
    """An evaluation of a run at its own `run_step`, in its slot or, before its fork, in its trunk's."""

    run_id: str
    slot: int
    run_step: int
    final: bool  # at its horizon


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What training one stack is expected to cost."""

    params: int
    flops: float  # counted FLOPs of all its steps; those of a shared trunk count once
    memory_bytes: int  # of one device
    disk_bytes: int
    train_s: float
    compile_s: float


@dataclasses.dataclass(frozen=True)
class SweepPlan:
    """A whole sweep before it starts: what is trained, in which slots, at what cost.

    Of a sweep that was extended, `generations` are its parts, the first one first: each a SweepPlan of its own config
    and of the stacks that came with that. `stacks` and `plans` are then those of all parts, and `config` is the last.
    """

    config: SweepConfig
    task: Task
    hardware: Hardware
    stacks: tuple[Stack, ...]
    plans: tuple[StackPlan, ...]
    generations: tuple["SweepPlan", ...] = ()
    horizons: tuple[int, ...] = ()  # in a generation: of all runs of its config, those of other generations too

    @functools.cached_property
    def smallest_horizon(self) -> int:
        return min(self.horizons or (run.steps for stack in self.stacks for run in stack.runs))

    @functools.cached_property
    def added_columns(self) -> tuple[str, ...]:
        """Columns of runs.csv that other sweeps do not have, of every generation.

        Among them optional fields that no config sweeps, but of which each generation has another value.
        """
        parts = self.generations or (self,)
        swept = [name for part in reversed(parts) for name in part.config.added_columns]
        values = [sweep_config.optional_values(part.config) for part in parts]
        changed = [name for name, value in values[-1].items() if any(each.get(name) != value for each in values)]
        return tuple(dict.fromkeys([*swept, *changed]))

    def part_with(self, stack: str) -> "SweepPlan":
        """The generation that a stack came with; the whole sweep where it was never extended."""
        return self._part_by_stack.get(stack, self)

    @functools.cached_property
    def _part_by_stack(self) -> dict[str, "SweepPlan"]:
        return {stack.name: part for part in self.generations for stack in part.stacks}

    def with_plans(self, plans: Sequence[StackPlan]) -> "SweepPlan":
        """The same stacks by other plans, in the same order."""
        rest = iter(plans)
        parts = tuple(
            dataclasses.replace(part, plans=tuple(itertools.islice(rest, len(part.stacks))))
            for part in self.generations
        )
        return dataclasses.replace(self, plans=tuple(plans), generations=parts)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of the sweep, whatever the plan: what a checkpoint must have to be one of its own."""
        return sweep_config.fingerprint(self.config, self.task.digest)

    @property
    def runs(self) -> int:
        return sum(len(stack.runs) for stack in self.stacks)

    @property
    def notes(self) -> list[str]:
        """What is allowed, and probably not meant."""
        emulated = not self.hardware.bfloat16 and any(stack.shape.precision == "bfloat16" for stack in self.stacks)
        slow = f"note: {self.hardware.kind} has no bfloat16 and emulates it slowly; train.precision='float32' is faster"
        return [*self.hardware.notes, *([slow] if emulated else []), *self.task.notes, *self._left_out()]

    def _left_out(self) -> list[str]:
        """Of the runs of the config: an extended sweep has those of earlier ones too."""
        last = self.generations[-1] if self.generations else self
        planned = len(last.horizons) or last.runs
        out, most = left_out(self.config, self.task), 5
        if not out:
            return []
        named = ", ".join(out[:most]) + (", ..." if len(out) > most else "")
        low, high = self.config.design.tokens_per_param_bounds
        bounds = f"sweep.tokens_per_param_bounds = {low:g} to {high:g}"
        return [f"note: {len(out)} of {len(out) + planned} runs are left out by {bounds}: {named}"]

    def plan_of(self, stack: Stack) -> StackPlan:
        return self._plan_by_name[stack.name]

    @functools.cached_property
    def _plan_by_name(self) -> dict[str, StackPlan]:
        return {plan.name: plan for plan in self.plans}

    @functools.cached_property
    def estimates(self) -> list["Estimate"]:
        pairs = zip(self.stacks, self.plans, strict=True)
        return [estimate(self.part_with(stack.name), stack, plan) for stack, plan in pairs]


def build_plan(config: SweepConfig, task: Task, hardware: Hardware) -> SweepPlan:
    """Raises ConfigError for runs that the task cannot train, and for shapes that do not fit into memory."""
    try:
        stacks = build_stacks(config, task)
    except ConfigError as error:
        raise ConfigError(error.problems + too_big_problems(shapes(config), config, task, hardware)) from None
    if too_big := too_big_problems([stack.shape for stack in stacks], config, task, hardware):
        raise ConfigError(too_big)
    plans = tuple(plan_stack(stack, config, task, hardware) for stack in stacks)
    return SweepPlan(config, task, hardware, stacks, plans)


def too_big_problems(some: Iterable[Shape], config: SweepConfig, task: Task, hardware: Hardware) -> list[Problem]:
    """Of shapes of which not even one model fits into memory."""
    return [
        Problem(
            "model.width",
            "one model alone does not fit",
            f"width {shape.width}, layers {shape.layers}, batch_size {shape.batch_size}",
            f"what fits into {hardware.memory_bytes / 2**30:.1f} GiB of {hardware.kind}",
        )
        for shape in some
        if slots_that_fit(shape, task, hardware, moments(shape, task, config), piece_of(shape, task, config, hardware))
        < 1
    ]


def evaluations(sweep: SweepPlan, stack_plan: StackPlan) -> dict[int, list[Due]]:
    """Stack step -> the runs that are due for an evaluation there."""
    due: dict[int, list[Due]] = {}
    for run_id, entry in stack_plan.by_run.items():
        for step in evaluation_steps(entry.horizon, sweep.smallest_horizon, sweep.config.train.curve_points):
            if 0 < step <= stack_plan.first_step(run_id):  # what was before a kept state was measured by nobody
                continue
            seat = stack_plan.entry_of(run_id, step)
            here = Due(run_id, seat.slot, step, final=step == entry.horizon)
            due.setdefault(seat.stack_step(step), []).append(here)
    return dict(sorted(due.items()))


def kept_runs(config: SweepConfig, stack: Stack) -> frozenset[str]:
    """Ids of the runs whose parameters stay when they finish, by `train.keep_finished`."""
    most = {"all": 0, "longest": max(run.steps for run in stack.runs)}.get(config.train.keep_finished)
    return frozenset(run.run_id for run in stack.runs if most is not None and run.steps >= most)


def _evaluated_slots(sweep: SweepPlan, stack_plan: StackPlan) -> int:
    """How many evaluations of a slot there are: one of a trunk counts once for all the runs that share it."""
    if any(entry.fork_step for entry in stack_plan.entries):
        return sum(len({run.slot for run in runs}) for runs in evaluations(sweep, stack_plan).values())
    points = sweep.config.train.curve_points
    return sum(len(evaluation_steps(entry.horizon, sweep.smallest_horizon, points)) for entry in stack_plan.entries)


def estimate(sweep: SweepPlan, stack: Stack, stack_plan: StackPlan) -> Estimate:
    """Memory, disk and FLOPs of one stack, and its seconds of training and compiling."""
    shape, model, train = stack.shape, model_shape(stack.shape, sweep.task), sweep.config.train
    kept = moments(shape, sweep.task, sweep.config)
    step_s = step_seconds(shape, sweep.task, stack_plan.slots, sweep.hardware, train.matmul_precision)
    due = _evaluated_slots(sweep, stack_plan)
    examples = due * train.curve_examples + len(stack.runs) * train.final_examples
    evaluation_s = HELD_OUT_PASS_COST * step_s / stack_plan.slots * examples / shape.batch_size
    return Estimate(
        params=accounting.params(model),
        flops=accounting.flops_counted_per_example(model) * shape.batch_size * stack_plan.trained_steps,
        memory_bytes=device_bytes(shape, sweep.task, stack_plan.slots, sweep.hardware, kept, stack_plan.piece),
        disk_bytes=accounting.finished_bytes(model, len(kept_runs(sweep.config, stack)))
        + 2 * accounting.checkpoint_bytes(model, stack_plan.slots + stack_plan.most_waiting, kept),
        train_s=stack_plan.steps * step_s + evaluation_s,
        compile_s=compile_seconds(shape, sweep.hardware),
    )
