"""From a SweepConfig to runs, and from runs to stacks: plain Python, no arrays.

A run is one model: a shape, a budget, a seed and its hyperparameters. A stack holds the runs of one shape; stacks are
ordered by size, smallest first, so that there is something to look at early.
"""

import collections
import dataclasses
import itertools
import math
from collections.abc import Iterable
from typing import Any

from vsweep.config import fields as config_fields
from vsweep.config import registry
from vsweep.config.field import SEED_OF_RUN, STATIC
from vsweep.config.fields import AXES, STACKED_FIELDS, STATIC_FIELDS, SWEPT
from vsweep.config.problems import ConfigError, Problem
from vsweep.config.sweep_config import SweepConfig
from vsweep.models.base import TRANSFORMER
from vsweep.schema import RUN_COLUMNS
from vsweep.tasks.base import Task

# The static fields: they fix array shapes and programs.
Shape = dataclasses.make_dataclass(
    "Shape",
    [
        *((name, SWEPT[name].values.type) for name in STATIC_FIELDS),
        ("family", str, TRANSFORMER),  # one in a sweep, as its options
        ("model_options", tuple, ()),
    ],
    frozen=True,
    namespace={"__module__": __name__},
)
_Stacked = dataclasses.make_dataclass(
    "_Stacked", [(name, SWEPT[name].values.type) for name in STACKED_FIELDS], frozen=True, kw_only=True
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(_Stacked):
    """One model: every stacked field, and what follows from all fields.

    `budget` is nominal; `steps` is its horizon, the number of batches nearest to the budget. Seeds of streams and
    `unique_examples` are resolved: never -1 and 0. `options` and
    `model_options` are the optional axes that the sweep varies.
    """

    run_id: str
    shape: Shape
    steps: int
    cooldown_steps: int  # at the end of a wsd run; 0: the schedule has no stable phase
    options: tuple[tuple[str, float], ...] = ()  # optional axis -> value, of those that are stacked
    model_options: tuple[tuple[str, Any], ...] = ()  # the same, of those that split stacks

    @property
    def decay_start(self) -> int:
        """The step at which the learning rate begins to fall: the end of the warmup, or of wsd's stable phase."""
        return self.steps - self.cooldown_steps if self.cooldown_steps else self.warmup_steps

    def fields(self) -> dict:
        """Every axis of the sweep and its value in this run."""
        fixed = {axis: getattr(self.shape if field.kind == STATIC else self, axis) for axis, field in SWEPT.items()}
        return {**fixed, **dict(self.model_options), **dict(self.options)}


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
    axes = (*STATIC_FIELDS, *config.splitting_axes)
    values = itertools.product(*(config.axis(axis) for axis in axes))
    return tuple(_shape(config, dict(zip(axes, value, strict=True))) for value in values)


def _shape(config: SweepConfig, values: dict) -> Shape:
    """The shape of a run that has these `values`. Options of the model that have their default stand in none."""
    options = {name: field for name, field in registry.known_fields("model", config.model.name).items() if field.of}
    chosen = {name: values.get(name, getattr(config.model, name)) for name in options}
    others = tuple((name, value) for name, value in chosen.items() if value != options[name].default)
    fixed = {field: values[field] for field in STATIC_FIELDS}
    if heads := chosen.get("heads"):
        fixed["head_dim"] = fixed["width"] // heads
    return Shape(**fixed, family=config.model.name, model_options=others)


def build_stacks(config: SweepConfig, task: Task) -> tuple[Stack, ...]:
    """All stacks of a sweep. Raises ConfigError for runs that this task cannot train."""
    swept = dict(config.axes)
    problems: list[Problem] = []
    runs: dict[Shape, list[Run]] = {}
    axes = (*AXES, *config.optional_axes)
    for values in itertools.product(*(config.axis(axis) for axis in axes)):
        run = _build_run(dict(zip(axes, values, strict=True)), config, task, problems)
        runs.setdefault(run.shape, []).append(run)
    problems += _reserved(config)
    problems += _repeated([run for shape_runs in runs.values() for run in shape_runs])
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    stacks = (Stack(_stack_name(rs[0], swept), shape, tuple(rs)) for shape, rs in runs.items())
    return tuple(sorted(stacks, key=lambda stack: (stack.shape.width**2 * stack.shape.layers, stack.name)))


def _stack_name(run: Run, swept: dict) -> str:
    """From a run of the stack: all of them have the same."""
    options = dict(run.model_options)
    return _name({**vars(run.shape), **options}, swept, (*STATIC_FIELDS, *options)) or "all"


def _reserved(config: SweepConfig) -> list[Problem]:
    """An option of a user's own may have the name of a column that every table has."""
    taken = [axis for axis in config.optional_axes if axis in RUN_COLUMNS]
    return [Problem(f"sweep.{axis}", "the name of another column of runs.csv", axis, "another name") for axis in taken]


def _repeated(runs: list[Run]) -> list[Problem]:
    """Different values may mean the same: `unique_examples` 0 and the number there are, a stream's seed and -1."""
    counts = collections.Counter(run.run_id for run in runs)
    repeated = [run_id for run_id, count in counts.items() if count > 1]
    what = "two values of an axis mean the same run"
    return [Problem("sweep", what, str(repeated), "each run once")] if repeated else []


def _build_run(values: dict, config: SweepConfig, task: Task, problems: list[Problem]) -> Run:
    shape = _shape(config, values)
    model_options = {axis: values.pop(axis) for axis in config.splitting_axes}
    options = {axis: values.pop(axis) for axis in config.stacked_axes}
    values = {field: value for field, value in values.items() if field not in STATIC_FIELDS}
    for stream in ("init_seed", "data_seed", "dropout_seed"):
        values[stream] = values["seed"] if values[stream] == SEED_OF_RUN else values[stream]
    if values["unique_examples"] > task.train_examples:
        got, allowed = str(values["unique_examples"]), f"0 (all) to {task.train_examples}"
        problems.append(Problem("unique_examples", "more than the task has", got, allowed))
    values["unique_examples"] = values["unique_examples"] or task.train_examples
    steps = _steps(values["budget"], shape.batch_size, task, problems)
    if values["warmup_steps"] >= max(steps, 1):
        allowed = f"below the {steps} steps of budget {values['budget']:,}"
        problems.append(Problem("warmup_steps", "no step is left after it", str(values["warmup_steps"]), allowed))
    optional = {**model_options, **options}
    name = _name({**vars(shape), **values, **optional}, dict(config.axes), (*AXES, *optional)) or "run"
    fraction = options.get("cooldown_fraction", config.optimizer.cooldown_fraction)
    cooldown = cooldown_steps(steps, fraction) if shape.schedule == "wsd" else 0
    run = Run(
        run_id=name,
        shape=shape,
        steps=steps,
        cooldown_steps=cooldown,
        options=tuple(options.items()),
        model_options=tuple(model_options.items()),
        **values,
    )
    problems += _run_problems(run, config, fraction)
    return run


def _run_problems(run: Run, config: SweepConfig, cooldown_fraction: float) -> list[Problem]:
    problems = []
    if run.decay_start < run.warmup_steps < run.steps:
        allowed = (
            f"at most {run.decay_start}, the {run.steps} steps of budget {run.budget:,} less a cooldown of "
            f"{run.cooldown_steps} (cooldown_fraction {cooldown_fraction})"
        )
        problems.append(Problem("warmup_steps", "longer than the stable phase", str(run.warmup_steps), allowed))
    epochs, most = run.steps * run.shape.batch_size / run.unique_examples, config.train.max_epochs
    if 0 < most < epochs:
        got = f"{run.budget:,}, {epochs:.3g} epochs of {run.unique_examples:,} examples"
        allowed = f"at most {most:g} epochs (0: no limit)"
        problems.append(Problem("budget", "more epochs than train.max_epochs", got, allowed))
    return problems


def _steps(budget: int, batch_size: int, task: Task, problems: list[Problem]) -> int:
    batch_tokens = batch_size * task.mean_label_tokens
    steps = round(budget / batch_tokens)
    if budget < batch_tokens:
        what = f"below one batch, rounded to {'1 step' if steps else '0 steps'}"
        allowed = f"from {math.ceil(batch_tokens):,} tokens, one batch of {batch_size} examples"
        problems.append(Problem("budget", what, f"{budget:,}", allowed))
    return steps


def _name(values: dict, swept: dict, axes: Iterable[str]) -> str:
    """`w16-d2M-s0`: the swept fields and their values, in the order of `axes`."""
    return "-".join(f"{_short(axis)}{_text(values[axis])}" for axis in axes if axis in swept)


def _short(axis: str) -> str:
    return config_fields.short_of(SWEPT[axis]) if axis in SWEPT else f"{axis}_"


def _text(value) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
            if value >= size and value % (size // 1000) == 0:
                return f"{value / size:g}{letter}" if float(f"{value / size:g}") * size == value else str(value)
    return str(value).replace("+", "")
