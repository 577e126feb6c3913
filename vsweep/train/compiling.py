"""Compiling the stacks of a sweep: on an accelerator the programs of the next ones, while this one trains.

Tracing needs Python's lock, XLA does not, and an accelerator's host has cores to spare. A fast card trains a narrow
stack in less time than its successor takes to compile, so several compile at once, in the order of need. On a CPU the
compiler would take the cores from the training; there each stack compiles when its turn comes.
"""

import concurrent.futures
import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Self

import jax

from vsweep.host import devices, products
from vsweep.models import by_name
from vsweep.plan import cost
from vsweep.plan.grid import Stack
from vsweep.plan.sweep_plan import StackPlan, SweepPlan
from vsweep.tasks.base import token_dtype
from vsweep.train.stack import StackPrograms, StackShape
from vsweep.train.train_step import Recipe

MOST_AHEAD = 4  # on an H100 a narrow stack trains in a third of the time that it compiles (docs/performance.md)
CORES_OF_A_STACK = 4  # its three programs compile at once, and one core sends the devices what to do
HOST_BYTES_OF_A_STACK = 4 * 2**30  # that compiling it takes at most; a guess


class StackCompiler:
    """Compiles in threads of its own, in the order of need. Leaving it waits for what is under way, and for no more.

    `ahead`: stacks that compile while another one trains. `compile_one` is what does it.
    """

    def __init__(
        self,
        sweep: SweepPlan,
        mesh: jax.sharding.Mesh,
        *,
        ahead: int,
        compile_one: Callable[[SweepPlan, Stack, StackPlan, jax.sharding.Mesh], StackPrograms] | None = None,
    ):
        self.ahead = ahead
        self._sweep = sweep
        self._mesh = mesh
        self._compile = compile_one or compile_stack
        self._pool = concurrent.futures.ThreadPoolExecutor(max_workers=max(1, ahead), thread_name_prefix="compiler")
        self._started: dict[str, concurrent.futures.Future[StackPrograms]] = {}

    def announce(self, stacks: Sequence[Stack]) -> None:
        """These are trained next, in this order: the first one is needed now, and `ahead` of the others soon."""
        for stack in stacks[: 1 + self.ahead]:
            self._start(stack, self._sweep.plan_of(stack))

    def programs(self, stack: Stack, stack_plan: StackPlan) -> StackPrograms:
        """Waits for the programs of a stack; an error in compiling them is raised here. Hands them out once."""
        self._start(stack, stack_plan)
        return self._started.pop(stack.name).result()

    def _start(self, stack: Stack, stack_plan: StackPlan) -> None:
        if stack.name not in self._started:
            self._started[stack.name] = self._pool.submit(self._compile, self._sweep, stack, stack_plan, self._mesh)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def stacks_ahead(platform: str, cores: int, memory_bytes: int) -> int:
    """How many stacks compile while one trains: none on a CPU.

    On an accelerator, whose host is idle, at least one, and up to `MOST_AHEAD` as far as the `cores` and the memory of
    the host allow.
    """
    if platform == "cpu":
        return 0
    return max(1, min(MOST_AHEAD, cores // CORES_OF_A_STACK, memory_bytes // HOST_BYTES_OF_A_STACK))


def compile_stack(sweep: SweepPlan, stack: Stack, stack_plan: StackPlan, mesh: jax.sharding.Mesh) -> StackPrograms:
    """Compiles the programs of a stack for `mesh`; they know how many seconds that took."""
    with matmul_precision(sweep, stack):
        return StackPrograms(*recipe_and_shape(sweep, stack, stack_plan, mesh), mesh)


def matmul_precision(sweep: SweepPlan, stack: Stack) -> contextlib.AbstractContextManager:
    """What the products of a stack are traced with."""
    part = sweep.part_with(stack.name)
    return jax.default_matmul_precision(products.asked(part.config.train.matmul_precision, part.hardware))


def recipe_and_shape(
    sweep: SweepPlan, stack: Stack, stack_plan: StackPlan, mesh: jax.sharding.Mesh
) -> tuple[Recipe, StackShape]:
    """What fixes the programs of a stack for devices like those of `mesh`, which need not exist."""
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
    return recipe, shape
