"""Compiling the stacks of a sweep: on an accelerator the next one's programs, while this one trains.

Tracing needs Python's lock, XLA does not, and an accelerator's host has cores to spare. On a CPU the compiler would
take them from the training; there each stack compiles when its turn comes.
"""

import concurrent.futures
import dataclasses
from typing import Self

import jax

from vsweep.host import devices
from vsweep.models import by_name
from vsweep.plan import cost
from vsweep.plan.grid import Stack
from vsweep.plan.sweep_plan import StackPlan, SweepPlan
from vsweep.tasks.base import token_dtype
from vsweep.train.stack import StackPrograms, StackShape
from vsweep.train.train_step import Recipe


class StackCompiler:
    """Compiles in a thread of its own, one stack after the other. Leaving it waits for the one under way."""

    def __init__(self, sweep: SweepPlan, mesh: jax.sharding.Mesh, *, ahead: bool):
        self.ahead = ahead
        self._sweep = sweep
        self._mesh = mesh
        self._pool = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="compiler")
        self._started: dict[str, concurrent.futures.Future[StackPrograms]] = {}

    def announce(self, stack: Stack, stack_plan: StackPlan) -> None:
        """This stack is the next one to train."""
        if self.ahead:
            self._start(stack, stack_plan)

    def programs(self, stack: Stack, stack_plan: StackPlan) -> StackPrograms:
        """Waits for the programs of a stack; an error in compiling them is raised here. Hands them out once."""
        self._start(stack, stack_plan)
        return self._started.pop(stack.name).result()

    def _start(self, stack: Stack, stack_plan: StackPlan) -> None:
        if stack.name not in self._started:
            self._started[stack.name] = self._pool.submit(compile_stack, self._sweep, stack, stack_plan, self._mesh)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def compiles_ahead(mesh: jax.sharding.Mesh) -> bool:
    """Whether the next stack compiles while this one trains: on accelerators, whose host is idle."""
    return mesh.devices.flat[0].platform != "cpu"


def compile_stack(sweep: SweepPlan, stack: Stack, stack_plan: StackPlan, mesh: jax.sharding.Mesh) -> StackPrograms:
    """Compiles the programs of a stack for `mesh`; they know how many seconds that took."""
    sweep = sweep.part_with(stack.name)
    train, task = sweep.config.train, sweep.task
    target = devices.target(mesh.devices.flat[0])
    recipe = Recipe(
        model=by_name.build(dataclasses.replace(cost.model_shape(stack.shape, task), target=target)),
        optimizer=sweep.config.optimizer,
        schedule=stack.shape.schedule,
        pad=task.pad,
        use_dropout=any(run.dropout > 0 for run in stack.runs),
        metrics=tuple(task.metrics.values()),
        options=sweep.config.stacked_axes,
        gradient_statistics=train.gradient_statistics,
        piece=stack_plan.piece,
    )
    shape = StackShape(
        slots=stack_plan.slots,
        one_by_one=cost.trains_one_by_one(
            stack.shape, task, stack_plan.slots, sweep.hardware, cost.moments(stack.shape, task, sweep.config)
        ),
        batch_size=stack.shape.batch_size,
        sequence_length=task.sequence_length,
        chunk_steps=cost.chunk_steps(stack.shape, task, stack_plan.slots, train.chunk_steps),
        held_out_examples=train.final_examples * (1 + len(task.more_held_out)),
        evaluation_examples=train.curve_examples,
        token_dtype=token_dtype(task.vocabulary).name,
    )
    precision = None if train.matmul_precision == "default" else train.matmul_precision
    with jax.default_matmul_precision(precision):
        return StackPrograms(recipe, shape, mesh)
