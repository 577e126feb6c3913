"""How many slots a stack gets: the cheapest number that fits into memory."""

import math
from collections.abc import Mapping

from vsweep.config.sweep_config import SweepConfig
from vsweep.host.hardware import Hardware
from vsweep.plan.cost import moments, piece_of, slots_that_fit, step_seconds
from vsweep.plan.grid import Stack
from vsweep.plan.packing import Jobs, StackPlan, pack, packed_steps
from vsweep.tasks.base import Task

MOST_PACKED_RUNS = 500_000  # in all tries for a stack, a few seconds: every number of slots for 700 runs, 50 for 10,000


def plan_stack(
    stack: Stack, config: SweepConfig, task: Task, hardware: Hardware, kept: Mapping[str, int] | None = None
) -> StackPlan:
    """The schedule of a stack: the number of slots, and which run enters which of them when.

    `kept`: run_id -> the step from which a run goes on whose state an earlier generation of the sweep has kept.
    """
    slots = choose_slots(stack, config, task, hardware, kept)
    entries = pack(stack.runs, slots, hardware.devices, share_trunks=config.train.share_trunks, kept=kept)
    return StackPlan(stack.name, slots, entries, piece_of(stack.shape, task, config, hardware))


def choose_slots(
    stack: Stack, config: SweepConfig, task: Task, hardware: Hardware, kept: Mapping[str, int] | None = None
) -> int:
    """`all`, a number (both rounded up to whole devices), or `packed`: the cheapest number that fits into memory."""
    wanted, devices, runs = config.train.slots, hardware.devices, len(stack.runs)
    kept_numbers, piece = moments(stack.shape, task, config), piece_of(stack.shape, task, config, hardware)
    fitting = slots_that_fit(stack.shape, task, hardware, kept_numbers, piece)
    largest = min(_round_up(runs, devices), fitting)
    if wanted != "packed":
        count = runs if wanted == "all" else int(wanted)
        return max(devices, min(_round_up(count, devices), largest))
    jobs = Jobs.of(stack.runs, share_trunks=config.train.share_trunks, kept=kept)

    def cost(steps: int, slots: int) -> tuple[float, int]:
        return steps * step_seconds(stack.shape, task, slots, hardware, config.train.matmul_precision), slots

    # The cheapest at best come first: as soon as one is dearer at best than another is in fact, so are all that follow.
    candidates = sorted(cost(jobs.least_steps(slots), slots) for slots in range(devices, largest + 1, devices))
    cheapest = (math.inf, devices)
    for at_best in _worth_a_try(candidates, runs, devices):
        if at_best > cheapest:
            break
        slots = at_best[1]
        cheapest = min(cheapest, cost(packed_steps(jobs, slots, devices), slots))
    return cheapest[1]


def _worth_a_try(candidates: list[tuple[float, int]], runs: int, devices: int) -> list[tuple[float, int]]:
    """All (cost at best, slots), or of too many those cheapest at best and those that share the runs out evenly."""
    most = MOST_PACKED_RUNS // runs
    if len(candidates) <= most:
        return candidates
    even = {_round_up(-(-runs // rounds), devices) for rounds in range(1, most // 2 + 1)}
    cheapest = candidates[: max(1, most - len(even))]
    return sorted({*cheapest, *(candidate for candidate in candidates if candidate[1] in even)})


def _round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
