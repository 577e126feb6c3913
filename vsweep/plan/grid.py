"""From a SweepConfig to runs, and from runs to stacks: plain Python, no arrays.

A run is one model: a shape, a budget, a seed and its hyperparameters. A stack holds the runs of one shape; stacks are
ordered by size, smallest first, so that there is something to look at early.
"""

import collections
import dataclasses
import itertools
import math

from vsweep.config.problems import ConfigError
from vsweep.config.sweep_config import SEED_OF_RUN, SweepConfig
from vsweep.schema import AXES, STATIC_FIELDS
from vsweep.tasks.base import Task

# What stands before a value in a name; fields that are not here stand for themselves.
SHORT = {
    "width": "w",
    "layers": "l",
    "head_dim": "h",
    "ff_multiple": "f",
    "tied_embeddings": "tied",
    "batch_size": "b",
    "schedule": "",
    "precision": "",
    "budget": "d",
    "seed": "s",
}


@dataclasses.dataclass(frozen=True)
class Shape:
    """The static fields: they fix array shapes and programs."""

    width: int
    layers: int
    head_dim: int
    ff_multiple: int
    tied_embeddings: bool
    batch_size: int
    schedule: str
    precision: str


@dataclasses.dataclass(frozen=True)
class Run:
    """One model. `budget` is nominal; `steps` is its horizon, the number of batches nearest to the budget."""

    run_id: str
    shape: Shape
    budget: int
    steps: int
    seed: int
    init_seed: int
    data_seed: int
    dropout_seed: int
    lr: float
    weight_decay: float
    warmup_steps: int
    dropout: float
    clip: float
    unique_examples: int  # already resolved: never 0
    cooldown_steps: int  # at the end of a wsd run; 0: the schedule has no stable phase

    @property
    def decay_start(self) -> int:
        """The step at which the learning rate begins to fall: the end of the warmup, or of wsd's stable phase."""
        return self.steps - self.cooldown_steps if self.cooldown_steps else self.warmup_steps

    def fields(self) -> dict:
        """Every axis of the sweep and its value in this run."""
        values = {**dataclasses.asdict(self), **dataclasses.asdict(self.shape)}
        return {axis: values[axis] for axis in AXES}


@dataclasses.dataclass(frozen=True)
class Stack:
    """The runs of one shape, trained simultaneously by one program."""

    name: str
    shape: Shape
    runs: tuple[Run, ...]


def cooldown_steps(horizon: int, fraction: float) -> int:
    """Steps of the cooldown that ends a wsd run of `horizon` steps: at least one."""
    return max(1, round(fraction * horizon))


def shapes(config: SweepConfig) -> tuple[Shape, ...]:
    """Every shape of a sweep, also of one that cannot be trained for other reasons."""
    values = itertools.product(*(config.axis(field) for field in STATIC_FIELDS))
    return tuple(Shape(**dict(zip(STATIC_FIELDS, value, strict=True))) for value in values)


def build_stacks(config: SweepConfig, task: Task) -> tuple[Stack, ...]:
    """All stacks of a sweep. Raises ConfigError for runs that this task cannot train."""
    swept = dict(config.axes)
    problems: list[str] = []
    runs: dict[Shape, list[Run]] = {}
    for values in itertools.product(*(config.axis(axis) for axis in AXES)):
        run = _build_run(dict(zip(AXES, values, strict=True)), config, task, problems)
        runs.setdefault(run.shape, []).append(run)
    problems += _repeated([run for shape_runs in runs.values() for run in shape_runs])
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    stacks = (Stack(_name(vars(shape), swept, STATIC_FIELDS) or "all", shape, tuple(rs)) for shape, rs in runs.items())
    return tuple(sorted(stacks, key=lambda stack: (stack.shape.width**2 * stack.shape.layers, stack.name)))


def _repeated(runs: list[Run]) -> list[str]:
    """Different values may mean the same: `unique_examples` 0 and the number there are, a stream's seed and -1."""
    counts = collections.Counter(run.run_id for run in runs)
    repeated = [run_id for run_id, count in counts.items() if count > 1]
    return (
        [f"sweep: two values of an axis mean the same run - got {repeated}; allowed: each run once"] if repeated else []
    )


def _build_run(values: dict, config: SweepConfig, task: Task, problems: list[str]) -> Run:
    shape = Shape(**{field: values.pop(field) for field in STATIC_FIELDS})
    for stream in ("init_seed", "data_seed", "dropout_seed"):
        values[stream] = values["seed"] if values[stream] == SEED_OF_RUN else values[stream]
    if values["unique_examples"] > task.train_examples:
        problems.append(
            f"unique_examples: more than the task has - got {values['unique_examples']}; "
            f"allowed: 0 (all) to {task.train_examples}"
        )
    values["unique_examples"] = values["unique_examples"] or task.train_examples
    steps = _steps(values["budget"], shape.batch_size, task, problems)
    if values["warmup_steps"] >= max(steps, 1):
        problems.append(
            f"warmup_steps: no step is left after it - got {values['warmup_steps']}; "
            f"allowed: below the {steps} steps of budget {values['budget']:,}"
        )
    name = _name({**vars(shape), **values}, dict(config.axes), AXES) or "run"
    fraction = config.optimizer.cooldown_fraction
    cooldown = cooldown_steps(steps, fraction) if shape.schedule == "wsd" else 0
    run = Run(run_id=name, shape=shape, steps=steps, cooldown_steps=cooldown, **values)
    if run.decay_start < run.warmup_steps < steps:
        problems.append(
            f"warmup_steps: longer than the stable phase - got {run.warmup_steps}; allowed: at most {run.decay_start}, "
            f"the {steps} steps of budget {run.budget:,} less a cooldown of {cooldown} (cooldown_fraction {fraction})"
        )
    epochs, most = steps * shape.batch_size / run.unique_examples, config.train.max_epochs
    if 0 < most < epochs:
        problems.append(
            f"budget: more epochs than train.max_epochs - got {run.budget:,}, {epochs:.3g} epochs of "
            f"{run.unique_examples:,} examples; allowed: at most {most:g} epochs (0: no limit)"
        )
    return run


def _steps(budget: int, batch_size: int, task: Task, problems: list[str]) -> int:
    batch_tokens = batch_size * task.mean_label_tokens
    steps = round(budget / batch_tokens)
    if budget < batch_tokens:
        problems.append(
            f"budget: below one batch, rounded to {'1 step' if steps else '0 steps'} - got {budget:,}; "
            f"allowed: from {math.ceil(batch_tokens):,} tokens, one batch of {batch_size} examples"
        )
    return steps


def _name(values: dict, swept: dict, fields) -> str:
    """`w16-d2M-s0`: the swept fields and their values, in the order of `fields`."""
    return "-".join(f"{SHORT.get(field, field)}{_text(values[field])}" for field in fields if field in swept)


def _text(value) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
            if value >= size and value % (size // 1000) == 0:
                return f"{value / size:g}{letter}" if float(f"{value / size:g}") * size == value else str(value)
    return str(value).replace("+", "")
