"""From a point of a sweep to the values of a run: formulas computed, and the budget of its design.

The budget of an IsoFLOP design is the D at which training costs C, by the convention that the config names: 6 N D
(Kaplan et al. 2020, section 2.1) with N = all parameters or those without embeddings, or counted matmuls. It is
rounded to whole batches, of the mean number of label tokens.
"""

import dataclasses
import functools
from collections.abc import Mapping

from vsweep.config import sweep_config
from vsweep.config.design import formula, points
from vsweep.config.design.points import POINT
from vsweep.config.field import SEED_OF_RUN, Field
from vsweep.config.fields import STATIC_FIELDS, SWEPT
from vsweep.config.problems import ConfigError, Problem
from vsweep.config.sweep_config import SweepConfig
from vsweep.config.values import value_problem
from vsweep.models import accounting
from vsweep.plan.shape import Shape, model_shape, shape_of
from vsweep.tasks import mixture
from vsweep.tasks.base import Task
from vsweep.tasks.mixture import FIELD, Mixture

NON_EMBEDDING, COUNTED = "6nd_non_embedding", "counted"


@dataclasses.dataclass(frozen=True)
class Values:
    """The values of a run: of every stacked field and every optional axis, all numbers and words.

    Seeds of streams and `unique_examples` are resolved: never -1 and 0.

    `shown` are those that a run id may hold. `tokens_per_param` is that of the design, before it is rounded to whole
    batches; None where nobody asks for it.
    """

    shape: Shape
    stacked: dict
    options: dict
    shown: dict
    mixture: Mixture | None = None
    isoflop: float | None = None
    tokens_per_param: float | None = None


class Resolver:
    """Computes the values of each point of a sweep; a point that has none is a problem in `problems`."""

    def __init__(self, config: SweepConfig, task: Task, problems: list[Problem]):
        self.config, self.task, self.problems = config, task, problems
        self.known: Mapping[str, Field] = sweep_config.sweepable(config)
        self.one_value = {name: config.axis(name)[0] for name in SWEPT}  # of the fields that a point does not give
        self._shapes: dict[tuple, Shape] = {}
        self._of_shape = (*STATIC_FIELDS, "aspect_ratio", *config.splitting_axes)
        self.batch_tokens = functools.cache(lambda batch_size: batch_size * task.mean_label_tokens)

    def resolve(self, point: Mapping) -> Values | None:
        """The values of a run, or None after adding a problem."""
        try:
            return _OfPoint(self, point).values()
        except _Wrong as wrong:
            self.problems += wrong.problems
            return None

    def shape(self, point: Mapping) -> Shape:
        """The shape at a point; points share it. Raises CannotCompute, and _Wrong for a value that no model has."""
        key = tuple(point.get(name) for name in self._of_shape)
        if key not in self._shapes:
            values = points.static_values(point, self.config, STATIC_FIELDS, SWEPT)
            for name, value in values.items():
                if problem := value_problem(SWEPT[name], value, SWEPT[name].path):
                    raise _Wrong(problem)
            self._shapes[key] = shape_of(self.config, values, point)
        return self._shapes[key]


class _Wrong(Exception):
    def __init__(self, *problems: Problem):
        self.problems = problems


class _OfPoint:
    """One point: names are looked up, and formulas computed, as they are needed."""

    def __init__(self, of: Resolver, point: Mapping):
        self._of, self._point, self._found, self._formulas = of, point, {}, set()
        try:
            self.shape = of.shape(point)
        except formula.CannotCompute as error:
            raise _Wrong(self._problem("model", f"a formula has no value ({error})", str(dict(point)))) from error
        self._found = {name: getattr(self.shape, name) for name in STATIC_FIELDS}

    def values(self) -> Values:
        config = self._of.config
        stacked = {name: self._value(name) for name in SWEPT if name not in STATIC_FIELDS}
        options = {name: self._value(name) for name in config.optional_axes}
        for stream in ("init_seed", "data_seed", "dropout_seed"):
            stacked[stream] = stacked["seed"] if stacked[stream] == SEED_OF_RUN else stacked[stream]
        mixed = self._mixture(options, stacked["unique_examples"])
        there_are = mixed.unique if mixed else self._of.task.train_examples
        stacked["unique_examples"] = stacked["unique_examples"] or there_are
        shown = {**self._point, **self._found, **stacked, **({"mixture": mixed.name} if mixed else {})}
        shown |= {name: float(f"{shown[name]:.6g}") for name in self._formulas if isinstance(shown[name], float)}
        given = {"isoflop": self._point.get("flops"), "tokens_per_param": self._ratio()}
        return Values(self.shape, stacked, options, shown, mixture=mixed, **given)

    def _mixture(self, options: dict, unique: int) -> Mixture | None:
        """The sources that the run sees, of `unique` examples (0: all); an axis must name some."""
        text = options.get("mixture", self._of.config.train.mixture)
        if not text and "mixture" not in options:
            return None
        try:
            path = FIELD if "mixture" not in options else "sweep.mixture"
            found = mixture.read(text, self._of.task.sources, field=path)
            return found.limited(unique) if unique else found
        except ConfigError as error:
            raise _Wrong(*error.problems) from error

    def _value(self, name: str):
        if name not in self._found:
            self._found[name] = self._derived(name) if name in formula.COUNTS else self._given(name)
        return self._found[name]

    def _given(self, name: str):
        if name == "budget" and not {"flops", "tokens_per_param"}.isdisjoint(self._point):
            return self._check("budget", self._designed_budget())
        config, field = self._of.config, self._of.known.get(name)
        if name in self._point or field is None:
            given = self._point[name]
        else:
            given = self._of.one_value[name] if name in SWEPT else getattr(getattr(config, field.section), name)
        if field is None or not formula.is_formula(given, field):
            return given
        self._formulas.add(name)
        try:
            number = formula.value(given, {each: self._value(each) for each in sorted(formula.names(given))})
            return self._check(name, points.whole(number, field), f"{given} = {number:.6g}")
        except (formula.CannotCompute, OverflowError) as error:
            raise _Wrong(self._problem(name, f"a formula has no value ({error})", given)) from error

    def _check(self, name: str, value, got: str = ""):
        field = self._of.known[name]
        if problem := value_problem(field, value, field.path):
            raise _Wrong(self._problem(name, problem.what, got or problem.got, problem.allowed))
        return value

    def _problem(
        self, name: str, what: str, got: str, allowed: str = "a formula with a value at every point"
    ) -> Problem:
        path = self._of.known[name].path if name in self._of.known else name
        at = ", ".join(f"{each} {value}" for each, value in self._point.items() if each not in (name, POINT))
        return Problem(path, what, f"{got} at {at}" if at else got, allowed)

    def _derived(self, name: str) -> int:
        """What follows from the fields: `formula.COUNTS`."""
        if name == "steps":
            return max(1, round(self._value("budget") / self._batch_tokens))
        count = accounting.params if name == "params" else accounting.params_non_embedding
        return count(self._model)

    @property
    def _model(self):
        return model_shape(self.shape, self._of.task)

    @property
    def _batch_tokens(self) -> float:
        return self._of.batch_tokens(self.shape.batch_size)

    def _size(self) -> int:
        """N, by the convention of the design."""
        convention = self._of.config.design.flops_convention
        size = self._value("params_non_embedding" if convention == NON_EMBEDDING else "params")
        if not size:
            raise _Wrong(self._problem("sweep.flops_convention", "no parameters", convention, "6nd, counted"))
        return size

    @functools.cached_property
    def _designed_tokens(self) -> float:
        """D as the design asks for it, in label tokens."""
        if "tokens_per_param" in self._point:
            return self._point["tokens_per_param"] * self._size()
        if self._of.config.design.flops_convention != COUNTED:
            return self._point["flops"] / (6 * self._size())
        per_token = accounting.flops_counted_per_example(self._model) / self._of.task.mean_label_tokens
        return self._point["flops"] / per_token

    def _designed_budget(self) -> int:
        """D in whole batches; below one batch it stays as it is, and is refused with the run."""
        tokens, batch = self._designed_tokens, self._batch_tokens
        return max(1, round(tokens if tokens < batch else round(tokens / batch) * batch))

    def _ratio(self) -> float | None:
        """D / N of the design, where it has bounds."""
        if not self._of.config.design.tokens_per_param_bounds:
            return None
        designed = not {"flops", "tokens_per_param"}.isdisjoint(self._point)
        return (self._designed_tokens if designed else self._value("budget")) / self._size()
