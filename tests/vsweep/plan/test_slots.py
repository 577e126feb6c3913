"""Slots on GPUs: the model of a step against the times that were predicted from compiled programs."""

import dataclasses
import functools

import pytest

from configs import addition
from vsweep import tasks
from vsweep.config import sweep_config
from vsweep.host.hardware import GPUS
from vsweep.plan import slots
from vsweep.plan.cost import step_seconds
from vsweep.plan.grid import Stack, build_stacks
from vsweep.plan.packing import Jobs, packed_steps

# Milliseconds of a step with K = 1 and 15, by width, of `addition:full`: kernels and bytes of the compiled programs
# through a model of time. Nothing was executed on a GPU.
PREDICTED_MS = {
    "T4": {4: (0.83, 1.73), 16: (1.10, 6.94), 64: (2.31, 27.8), 256: (13.5, 191.0)},
    "A100-40GB": {4: (0.61, 0.61), 16: (0.69, 0.93), 64: (0.94, 5.19), 256: (3.60, 50.2)},
    "H100-80GB": {4: (0.52, 0.52), 16: (0.57, 0.70), 64: (0.72, 2.50), 256: (1.84, 20.9)},
}
WIDTHS = (4, 16, 64, 256)
EACH = [(gpu, width) for gpu, widths in PREDICTED_MS.items() for width in widths]


@functools.cache
def full():
    config = addition.get_config("full")
    config.sweep.width = WIDTHS
    parsed = sweep_config.from_dict(config)
    task = tasks.build(parsed.task)
    return parsed, task, {stack.shape.width: stack for stack in build_stacks(parsed, task)}


def predicted_ms(gpu: str, width: int, count: int) -> float:
    """Between and beyond the two predicted numbers of slots the time is a line."""
    one, fifteen = PREDICTED_MS[gpu][width]
    return one + (count - 1) * (fifteen - one) / 14


def chosen(stack: Stack, gpu: str) -> int:
    parsed, task, _ = full()
    return slots.choose_slots(stack, parsed, task, GPUS[gpu])


@pytest.mark.parametrize(("gpu", "width"), EACH)
def test_a_step_takes_about_as_long_as_predicted(gpu, width):
    _, task, stacks = full()
    for count in (1, 15):
        planned_ms = 1e3 * step_seconds(stacks[width].shape, task, count, GPUS[gpu])
        assert planned_ms == pytest.approx(predicted_ms(gpu, width, count), rel=0.55), count


@pytest.mark.parametrize(("gpu", "width"), EACH)
def test_no_other_number_of_slots_is_much_cheaper_by_the_predictions(gpu, width):
    """So the next slot costs no less than it brings, and each that is there no more."""
    stack = full()[2][width]
    jobs = Jobs.of(stack.runs, share_trunks=True)
    cost_ms = {
        count: packed_steps(jobs, count, 1) * predicted_ms(gpu, width, count) for count in range(1, len(stack.runs) + 1)
    }
    assert cost_ms[chosen(stack, gpu)] <= 1.05 * min(cost_ms.values())


def test_a_card_with_nothing_to_do_gets_more_slots_than_a_full_one():
    stacks = full()[2]
    for gpu in PREDICTED_MS:
        counts = [chosen(stacks[width], gpu) for width in WIDTHS]
        assert counts == sorted(counts, reverse=True)
    assert chosen(stacks[64], "T4") <= chosen(stacks[64], "H100-80GB")


def test_memory_that_a_config_names_bounds_the_slots():
    parsed, task, stacks = full()
    little = dataclasses.replace(GPUS["H100-80GB"], memory_bytes=2**29)
    assert slots.choose_slots(stacks[256], parsed, task, little) < chosen(stacks[256], "H100-80GB")
