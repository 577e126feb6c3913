"""How many slots, when each run is evaluated, and what it all costs; `packing.py` puts the runs into the slots.

The plan is a pure function of the config, the device kind, the number of devices and their memory: no timing enters it,
for another number of slots changes float rounding. It is stored in the work directory and a resume follows it.
"""

import dataclasses
import functools
import itertools
import math

from vsweep import accounting
from vsweep import config as config_lib
from vsweep.config import ConfigError, SweepConfig
from vsweep.grid import Shape, Stack, build_stacks, shapes
from vsweep.model import SCANNED_LAYERS, ModelShape
from vsweep.packing import Jobs, StackPlan, pack, packed_steps
from vsweep.tasks import Task

CPU_CACHE_BYTES = 1e7  # by `accounting.slot_bytes`, an estimate from above; measured at widths 4 to 64
MEMORY_SHARE = 0.8  # of a device, for a stack
FIRST_EVALUATION_SHARE = 1 / 64  # of the smallest horizon: where a run's grid of evaluations begins
MOST_PACKED_RUNS = 500_000  # in all tries for a stack, a few seconds: every number of slots for 700 runs, 50 for 10,000
HELD_OUT_PASS_COST = 1 / 3  # of a training step on as many examples


@dataclasses.dataclass(frozen=True)
class Speed:
    """Rough speed of one device. A plan depends on the fixed time over the rest; all else is for estimates."""

    step_s: float  # a training step of a stack, however small
    position_width_s: float  # a token position of one layer and unit of width
    flops: float  # FLOP/s of the matmuls
    compile_s: float  # compiling one stack's programs, of four layers


# CPU: fitted to two laptop studies (docs/performance.md), one core of two; 1.8 ms of fixed time would fit them a little
# better, but `benchmarks.slots` finds that few slots cost more. The GPUs are first guesses from peak rates.
SPEEDS = {
    "cpu": Speed(2.5e-3, 2.2e-8, 2.6e10, 10.0),
    "Tesla T4": Speed(4e-3, 6e-12, 2.5e12, 60.0),
    "NVIDIA A100": Speed(2e-3, 2e-12, 8e12, 40.0),
    "NVIDIA H100": Speed(1.5e-3, 1e-12, 2.5e13, 30.0),
}
OTHER_GPU = SPEEDS["Tesla T4"]


@dataclasses.dataclass(frozen=True)
class Hardware:
    """What a plan may depend on."""

    kind: str
    devices: int
    memory_bytes: int  # of one device
    bfloat16: bool = True  # in hardware, not emulated

    @property
    def speed(self) -> Speed:
        return next((speed for kind, speed in SPEEDS.items() if self.kind.startswith(kind)), OTHER_GPU)


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


def model_shape(shape: Shape, task: Task) -> ModelShape:
    return ModelShape(
        vocabulary=task.vocabulary,
        positions=task.sequence_length - 1,
        width=shape.width,
        layers=shape.layers,
        head_dim=shape.head_dim,
        ff_multiple=shape.ff_multiple,
        tied_embeddings=shape.tied_embeddings,
        precision=shape.precision,
    )


@dataclasses.dataclass(frozen=True)
class SweepPlan:
    """A whole sweep before it starts: what is trained, in which slots, at what cost."""

    config: SweepConfig
    task: Task
    hardware: Hardware
    stacks: tuple[Stack, ...]
    plans: tuple[StackPlan, ...]

    @functools.cached_property
    def smallest_horizon(self) -> int:
        return min(run.steps for stack in self.stacks for run in stack.runs)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of the sweep, whatever the plan: what a checkpoint must have to be one of its own."""
        return config_lib.fingerprint(self.config, self.task.digest)

    @property
    def runs(self) -> int:
        return sum(len(stack.runs) for stack in self.stacks)

    @property
    def notes(self) -> list[str]:
        """What is allowed, and probably not meant."""
        emulated = not self.hardware.bfloat16 and any(stack.shape.precision == "bfloat16" for stack in self.stacks)
        slow = f"note: {self.hardware.kind} has no bfloat16 and emulates it slowly; train.precision='float32' is faster"
        return [slow] if emulated else []

    def plan_of(self, stack: Stack) -> StackPlan:
        return self._plan_by_name[stack.name]

    @functools.cached_property
    def _plan_by_name(self) -> dict[str, StackPlan]:
        return {plan.name: plan for plan in self.plans}

    @functools.cached_property
    def estimates(self) -> list["Estimate"]:
        return [estimate(self, stack, plan) for stack, plan in zip(self.stacks, self.plans, strict=True)]


def plan_sweep(config: SweepConfig, task: Task, hardware: Hardware) -> SweepPlan:
    """Raises ConfigError for runs that the task cannot train, and for shapes that do not fit into memory."""
    too_big = _too_big(config, task, hardware)
    try:
        stacks = build_stacks(config, task)
    except ConfigError as error:
        raise ConfigError(error.problems + too_big) from None
    if too_big:
        raise ConfigError(too_big)
    plans = tuple(plan_stack(stack, config, task, hardware) for stack in stacks)
    return SweepPlan(config, task, hardware, stacks, plans)


def _too_big(config: SweepConfig, task: Task, hardware: Hardware) -> list[str]:
    return [
        f"model.width: one model alone does not fit - got width {shape.width}, layers {shape.layers}, batch_size "
        f"{shape.batch_size}; allowed: what fits into {hardware.memory_bytes / 2**30:.1f} GiB of {hardware.kind}"
        for shape in shapes(config)
        if slots_that_fit(shape, task, hardware) < 1
    ]


def plan_stack(stack: Stack, config: SweepConfig, task: Task, hardware: Hardware) -> StackPlan:
    """The schedule of a stack: the number of slots, and which run enters which of them when."""
    slots = choose_slots(stack, config, task, hardware)
    entries = pack(stack.runs, slots, hardware.devices, share_trunks=config.train.share_trunks)
    return StackPlan(stack.name, slots, entries)


def choose_slots(stack: Stack, config: SweepConfig, task: Task, hardware: Hardware) -> int:
    """`all`, a number (both rounded up to whole devices), or `packed`: the cheapest number that fits into memory."""
    wanted, devices, runs = config.train.slots, hardware.devices, len(stack.runs)
    largest = min(_round_up(runs, devices), slots_that_fit(stack.shape, task, hardware))
    if wanted != "packed":
        count = runs if wanted == "all" else int(wanted)
        return max(devices, min(_round_up(count, devices), largest))
    jobs = Jobs.of(stack.runs, share_trunks=config.train.share_trunks)

    def cost(steps: int, slots: int) -> tuple[float, int]:
        return steps * step_seconds(stack.shape, task, slots, hardware), slots

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


def slots_that_fit(shape: Shape, task: Task, hardware: Hardware) -> int:
    """Slots of all devices together that memory allows; 0 if not one model fits on a device."""
    model, usable = model_shape(shape, task), MEMORY_SHARE * hardware.memory_bytes
    fitting = int(usable / accounting.slot_bytes(model, shape.batch_size))
    if fitting and hardware.kind == "cpu" and usable > CPU_CACHE_BYTES:  # so many that they train one by one
        activations = accounting.activation_bytes(model, shape.batch_size)
        fitting = max(fitting, int((usable - activations) / accounting.state_bytes(model)))
    return fitting * hardware.devices


def device_bytes(shape: Shape, task: Task, slots: int, hardware: Hardware) -> int:
    """Memory that one device needs for its share of the slots, beside the training examples; an estimate."""
    model, local = model_shape(shape, task), -(-slots // hardware.devices)
    under_way = 1 if trains_one_by_one(shape, task, slots, hardware) else local
    return local * accounting.state_bytes(model) + under_way * accounting.activation_bytes(model, shape.batch_size)


def trains_one_by_one(shape: Shape, task: Task, slots: int, hardware: Hardware) -> bool:
    """Whether a device takes its slots one after the other in each step, instead of all at once.

    A CPU core gains nothing from longer arrays, and loses up to a third of its time when they leave its cache.
    """
    at_once = slots // hardware.devices * accounting.slot_bytes(model_shape(shape, task), shape.batch_size)
    return hardware.kind == "cpu" and at_once > CPU_CACHE_BYTES


def step_seconds(shape: Shape, task: Task, slots: int, hardware: Hardware) -> float:
    """Estimated time of one training step of a stack."""
    speed, model = hardware.speed, model_shape(shape, task)
    positions = shape.batch_size * model.positions * shape.layers
    matmuls = shape.batch_size * accounting.flops_counted_per_example(model) / speed.flops
    slot_s = positions * speed.position_width_s * shape.width + matmuls
    return speed.step_s + slots / hardware.devices * slot_s


def compile_seconds(shape: Shape, hardware: Hardware) -> float:
    """Estimated time of compiling a stack's programs: XLA's grows faster than the layers where those are unrolled."""

    def relative(layers: int, scanned: bool) -> float:
        return 2.5 + 0.8 * layers + (0.0 if scanned else 0.025 * layers**2)

    scanned = shape.layers >= SCANNED_LAYERS
    return hardware.speed.compile_s * relative(shape.layers, scanned) / relative(4, scanned=False)


@functools.lru_cache(maxsize=1024)  # the runs of a sweep have few horizons
def evaluation_steps(horizon: int, smallest_horizon: int, points: int) -> tuple[int, ...]:
    """A run's own log-spaced grid of steps, its horizon among them: `points` of them for the smallest horizon.

    Larger horizons go on with the same ratio, so the grid depends on the sweep and the run, never on its neighbours.
    """
    first = max(1, round(smallest_horizon * FIRST_EVALUATION_SHARE))
    wanted = min(points, smallest_horizon - first + 1)
    for spaces in itertools.count(points - 1):  # rounding to whole steps merges points: space them closer until enough
        ratio = (smallest_horizon / first) ** (1 / spaces) if smallest_horizon > first else 2.0
        if len(_log_grid(smallest_horizon, first, ratio)) >= wanted:
            return _log_grid(horizon, first, ratio)


def evaluations(sweep: SweepPlan, stack_plan: StackPlan) -> dict[int, list[Due]]:
    """Stack step -> the runs that are due for an evaluation there."""
    due: dict[int, list[Due]] = {}
    for run_id, entry in stack_plan.by_run.items():
        for step in evaluation_steps(entry.horizon, sweep.smallest_horizon, sweep.config.train.curve_points):
            seat = stack_plan.entry_of(run_id, step)
            here = Due(run_id, seat.slot, step, final=step == entry.horizon)
            due.setdefault(seat.stack_step(step), []).append(here)
    return dict(sorted(due.items()))


def estimate(sweep: SweepPlan, stack: Stack, stack_plan: StackPlan) -> Estimate:
    shape, model, train = stack.shape, model_shape(stack.shape, sweep.task), sweep.config.train
    step_s = step_seconds(shape, sweep.task, stack_plan.slots, sweep.hardware)
    due = sum(len({run.slot for run in runs}) for runs in evaluations(sweep, stack_plan).values())
    examples = due * train.curve_examples + len(stack.runs) * train.final_examples
    evaluation_s = HELD_OUT_PASS_COST * step_s / stack_plan.slots * examples / shape.batch_size
    return Estimate(
        params=accounting.params(model),
        flops=accounting.flops_counted_per_example(model) * shape.batch_size * stack_plan.trained_steps,
        memory_bytes=device_bytes(shape, sweep.task, stack_plan.slots, sweep.hardware),
        disk_bytes=accounting.finished_bytes(model, len(stack.runs))
        + 2 * accounting.checkpoint_bytes(model, stack_plan.slots + stack_plan.most_waiting),
        train_s=stack_plan.steps * step_s + evaluation_s,
        compile_s=compile_seconds(shape, sweep.hardware),
    )


def _log_grid(horizon: int, first: int, ratio: float) -> tuple[int, ...]:
    steps = {horizon}
    for power in itertools.count(1):
        step = round(horizon / ratio**power)
        if step < first:
            return tuple(sorted(steps))
        steps.add(step)


def _round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
