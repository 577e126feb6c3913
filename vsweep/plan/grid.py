"""From a SweepConfig to runs, and from runs to stacks: plain Python, no arrays.

A run is one model: a shape, a budget, a seed and its hyperparameters. A stack holds the runs of one shape; stacks are
ordered by size, smallest first, so that there is something to look at early.
"""

import collections
import contextlib
import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from vsweep.config import fields as config_fields
from vsweep.config.design import formula, points
from vsweep.config.design.options import BY_NAME
from vsweep.config.design.points import POINT
from vsweep.config.field import STATIC
from vsweep.config.fields import STACKED_FIELDS, STATIC_FIELDS, SWEPT
from vsweep.config.problems import ConfigError, Problem
from vsweep.config.sweep_config import SweepConfig
from vsweep.config.values import value_problem
from vsweep.plan.resolve import Resolver, Values
from vsweep.plan.shape import Shape, shape_of
from vsweep.schema import RUN_COLUMNS
from vsweep.tasks.base import Task
from vsweep.tasks.mixture import Mixture

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
    isoflop: float | None = None  # FLOP that an IsoFLOP design has for it
    mixture: Mixture | None = None  # the sources that it sees; None: every training example alike

    @property
    def decay_start(self) -> int:
        """The step at which the learning rate begins to fall: the end of the warmup, or of wsd's stable phase."""
        return self.steps - self.cooldown_steps if self.cooldown_steps else self.warmup_steps

    def fields(self) -> dict:
        """Every axis of the sweep and its value in this run."""
        fixed = {axis: getattr(self.shape if field.kind == STATIC else self, axis) for axis, field in SWEPT.items()}
        mixture = {"mixture": self.mixture.text} if self.mixture else {}
        return {**fixed, **dict(self.model_options), **dict(self.options), **mixture}


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
    found = []
    for point in points.static_points(config, (*STATIC_FIELDS, *config.splitting_axes)):
        with contextlib.suppress(formula.CannotCompute):  # told with the runs
            values = points.static_values(point, config, STATIC_FIELDS, SWEPT)
            if all(value_problem(SWEPT[name], value, name) is None for name, value in values.items()):
                found.append(shape_of(config, values, point))
    return tuple(dict.fromkeys(found))


def build_stacks(config: SweepConfig, task: Task) -> tuple[Stack, ...]:
    """All stacks of a sweep. Raises ConfigError for runs that this task cannot train."""
    built, _, problems = _build_runs(config, task)
    problems += [*_reserved(config), *_repeated(built)]
    if not built and not problems:
        bounds = config.design.tokens_per_param_bounds
        problems = [Problem("sweep.tokens_per_param_bounds", "no run is left", str(bounds), "bounds with runs between")]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    runs: dict[Shape, list[Run]] = {}
    for run in built:
        runs.setdefault(run.shape, []).append(run)
    stacks = (Stack(_stack_name(rs[0], config), shape, tuple(rs)) for shape, rs in runs.items())
    return tuple(sorted(stacks, key=lambda stack: (stack.shape.width**2 * stack.shape.layers, stack.name)))


def _stack_name(run: Run, config: SweepConfig) -> str:
    """From a run of the stack: all of them have the same."""
    order = (*STATIC_FIELDS, *config.splitting_axes)
    return _name(run.fields(), points.named(config), order) or "all"


def left_out(config: SweepConfig, task: Task) -> tuple[str, ...]:
    """The runs that `sweep.tokens_per_param_bounds` leaves out, by run id."""
    return _build_runs(config, task)[1] if config.design.tokens_per_param_bounds else ()


def _build_runs(config: SweepConfig, task: Task) -> tuple[list[Run], tuple[str, ...], list[Problem]]:
    """(the runs, the ids of those that are left out, every problem)."""
    problems: list[Problem] = []
    resolver, named = Resolver(config, task, problems), points.named(config)
    runs, out = [], []
    for point in points.points(config):
        values = resolver.resolve(point)
        if values is None:
            continue
        run_id = _name(values.shown, named, named) or "run"
        if _is_outside(values.tokens_per_param, config.design.tokens_per_param_bounds):
            out.append(run_id)
        else:
            runs.append(_build_run(run_id, values, config, task, problems))
    return runs, tuple(out), problems


def _is_outside(tokens_per_param: float | None, bounds: tuple[float, ...]) -> bool:
    return tokens_per_param is not None and not bounds[0] <= tokens_per_param <= bounds[1]


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


def _build_run(run_id: str, resolved: Values, config: SweepConfig, task: Task, problems: list[Problem]) -> Run:
    shape, values, options = resolved.shape, resolved.stacked, resolved.options
    if not resolved.mixture and values["unique_examples"] > task.train_examples:
        got, allowed = str(values["unique_examples"]), f"0 (all) to {task.train_examples}"
        problems.append(Problem("unique_examples", "more than the task has", got, allowed))
    steps = _steps(values["budget"], shape.batch_size, task, problems, run_id if resolved.isoflop else "")
    if values["warmup_steps"] >= max(steps, 1):
        allowed = f"below the {steps} steps of budget {values['budget']:,}"
        problems.append(Problem("warmup_steps", "no step is left after it", str(values["warmup_steps"]), allowed))
    fraction = options.get("cooldown_fraction", config.optimizer.cooldown_fraction)
    run = Run(
        run_id=run_id,
        shape=shape,
        steps=steps,
        cooldown_steps=cooldown_steps(steps, fraction) if shape.schedule == "wsd" else 0,
        options=tuple((axis, options[axis]) for axis in config.stacked_axes),
        model_options=tuple((axis, options[axis]) for axis in config.splitting_axes),
        isoflop=resolved.isoflop,
        mixture=resolved.mixture,
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
    if config.train.gradient_statistics and run.shape.batch_size % 2:
        what = "odd, and train.gradient_statistics compares the halves of a batch"
        problems.append(Problem("batch_size", what, str(run.shape.batch_size), "an even number"))
    return problems + _epoch_problems(run, config.train.max_epochs)


def _epoch_problems(run: Run, most: float) -> list[Problem]:
    """Of all examples, or with a mixture of each source."""
    examples = run.steps * run.shape.batch_size
    passes = [(examples / run.unique_examples, f"{run.unique_examples:,} examples")]
    if run.mixture:
        epochs = run.mixture.epochs(examples)
        passes = [(epochs[part.source], f"{part.unique:,} examples of {part.source}") for part in run.mixture.parts]
    what, allowed = "more epochs than train.max_epochs", f"at most {most:g} epochs (0: no limit)"
    return [
        Problem("budget", what, f"{run.budget:,}, {epochs:.3g} epochs of {of}", allowed)
        for epochs, of in passes
        if 0 < most < epochs
    ]


def _steps(budget: int, batch_size: int, task: Task, problems: list[Problem], designed: str) -> int:
    """`designed` is the run whose budget follows from its compute: that says which size is too large for it."""
    batch_tokens = batch_size * task.mean_label_tokens
    steps = round(budget / batch_tokens)
    if budget < batch_tokens:
        what = f"below one batch, rounded to {'1 step' if steps else '0 steps'}"
        allowed = f"from {math.ceil(batch_tokens):,} tokens, one batch of {batch_size} examples"
        got = f"{budget:,} of {designed}" if designed else f"{budget:,}"
        problems.append(Problem("budget", what, got, allowed))
    return steps


def _name(values: Mapping, named: Iterable[str], order: Iterable[str]) -> str:
    """`w16-d2M-s0`: the `named` fields and their values, in `order`."""
    return "-".join(f"{_short(axis)}{_text(axis, values[axis])}" for axis in order if axis in named)


def _short(axis: str) -> str:
    if axis == POINT:
        return "p"
    if axis in BY_NAME:
        return config_fields.short_of(BY_NAME[axis])
    return config_fields.short_of(SWEPT[axis]) if axis in SWEPT else f"{axis}_"


def _text(axis: str, value) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
            if value >= size and value % (size // 1000) == 0:
                return f"{value / size:g}{letter}" if float(f"{value / size:g}") * size == value else str(value)
    if axis == "flops":  # 1e10 and not 10000000000
        digits, exponent = f"{value:.12e}".split("e")
        return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"
    return (f"{value:.12g}" if axis in BY_NAME else str(value)).replace("+", "")
