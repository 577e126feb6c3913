"""The programs of a stack, compiled for GPUs on a machine without one: `make gpu-compile`."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import pytest

from benchmarks.gpu_model import __main__ as command
from benchmarks.gpu_model import compiled, counts
from vsweep.host.hardware import GPUS
from vsweep.plan import cost
from vsweep.plan.sweep_plan import SweepPlan
from vsweep.train.stack import StackState

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not compiled.can_compile(), reason=f"{compiled.PLUGIN} is not installed: make gpu-compile"),
]

SLOTS = 15
CASES = [("t4", 16), ("a100", 4), ("h100", 16)]
PROGRAMS = ("train", "enter", "evaluate")
MOST_KERNELS = {"t4": 210, "h100": 170}  # of a step at width 16
BYTES_BEFORE = 1_230_910_962  # of that step on a T4 with `attend_plain` and all other forms as on a CPU
TOLERANCE = 1.02  # times the recorded kernels and bytes


class Compiled(NamedTuple):
    sweep: SweepPlan
    state: StackState  # shapes
    executable: jax.stages.Compiled


@functools.cache
def program(card: str, width: int, name: str, slots: int = SLOTS, devices: int = 1) -> Compiled:
    hardware = GPUS[compiled.OPTIONS[card]]
    sweep = compiled.sweep_of(dataclasses.replace(hardware, devices=devices), width, slots)
    lowered = compiled.lower(sweep, compiled.mesh_of(card, devices), name)
    return Compiled(sweep, lowered.in_avals[0][0], compiled.compile_uncached(lowered))


def recorded(card: str, width: int):
    table = command.read(command.RECORDED)
    return table[(table.card == card) & (table.width == width) & (table.slots == SLOTS)].iloc[0]


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize(("card", "width"), CASES)
def test_a_program_compiles_and_exchanges_nothing(card, width, name):
    assert counts.collectives(program(card, width, name).executable.as_text()) == []


@pytest.mark.parametrize("name", PROGRAMS)
def test_two_gpus_exchange_nothing(name):
    text = program("t4", 4, name, slots=4, devices=2).executable.as_text()
    assert "num_partitions=2" in text
    assert counts.collectives(text) == []


@pytest.mark.parametrize("name", ["train", "enter"])
@pytest.mark.parametrize(("card", "width"), CASES)
def test_the_state_is_updated_in_place(card, width, name):
    made = program(card, width, name)
    state_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(made.state))
    assert made.executable.memory_analysis().alias_size_in_bytes == state_bytes


@pytest.mark.parametrize(("card", "width"), CASES)
def test_a_step_keeps_to_its_budget(card, width):
    found, budget = counts.step_counts(program(card, width, "train").executable.as_text()), recorded(card, width)
    assert found.kernels <= TOLERANCE * budget.kernels
    assert found.bytes <= TOLERANCE * budget.bytes


@pytest.mark.parametrize("card", MOST_KERNELS)
def test_a_step_has_few_kernels(card):
    found = counts.step_counts(program(card, 16, "train").executable.as_text())
    assert found.kernels <= MOST_KERNELS[card]


def test_a_step_moves_a_fifth_less_than_it_did():
    assert counts.step_counts(program("t4", 16, "train").executable.as_text()).bytes <= 0.8 * BYTES_BEFORE


@pytest.mark.parametrize(("card", "width"), CASES)
def test_the_plan_knows_about_how_much_memory_a_stack_takes(card, width):
    made = program(card, width, "train")
    sweep, (stack,), (stack_plan,) = made.sweep, made.sweep.stacks, made.sweep.plans
    moments = cost.moments(stack.shape, sweep.task, sweep.config)
    planned = cost.device_bytes(stack.shape, sweep.task, stack_plan.slots, sweep.hardware, moments)
    analysis = made.executable.memory_analysis()
    tokens = made.executable.in_avals[0][1].size
    taken = analysis.argument_size_in_bytes + analysis.temp_size_in_bytes - tokens
    taken += analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    assert 0.5 < planned / taken < 2, (planned, taken)
