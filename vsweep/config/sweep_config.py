"""The configuration of a sweep: frozen dataclasses, read from a ConfigDict, validated with every problem at once.

Sections: `task`, `model`, `optimizer`, `train` hold one value a field; `sweep` holds one tuple an axis. An axis named
in `sweep` replaces the field of the same name in its section, and the runs are the product of all axes. ConfigDicts
stop here: below this file there are only these dataclasses, and the code trusts their types.
"""

import ast
import contextlib
import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import FieldReference

from vsweep.config import fields, model_rules, registry
from vsweep.config.field import OPTIONAL, SPLITTING, Field
from vsweep.config.fields import AXES, DEFAULT_NAMES, OPTIONAL_AXES, SECTIONS, SWEPT
from vsweep.config.model_options import TRANSFORMER_OPTIONS
from vsweep.config.problems import ConfigError, Problem, closest, without_repeats
from vsweep.config.unset import HELD_AS, UNSET, Anything


def class_of(section: str, columns: Iterable[Field] | None = None) -> type:
    """The frozen dataclass of a section: `columns` (default: those of the default names) and their defaults."""
    return _class_of(section, tuple(fields.of_section(section).values() if columns is None else columns))


@functools.cache
def _class_of(section: str, columns: tuple[Field, ...]) -> type:
    typed = [(field.name, field.values.type, field.default) for field in columns]
    names = {"__module__": __name__, "__doc__": f"Section `{section}`: {SECTIONS[section]}."}
    return dataclasses.make_dataclass(f"{section.title()}Config", typed, frozen=True, kw_only=True, namespace=names)


TaskConfig = class_of("task")
ModelConfig = class_of("model")
OptimizerConfig = class_of("optimizer")
TrainConfig = class_of("train")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """A validated sweep. `axes` maps an axis to its values, in the order of `fields.AXES`; absent: not swept.

    Optional axes come after those of `fields.AXES`. They may be of a user's own optimizer.
    """

    name: str = "sweep"
    task: TaskConfig = dataclasses.field(default_factory=TaskConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    axes: tuple[tuple[str, tuple], ...] = ()

    def axis(self, name: str) -> tuple:
        """The values a field takes in this sweep: its axis, or its one value."""
        swept = dict(self.axes)
        return swept[name] if name in swept else (getattr(getattr(self, SWEPT[name].section), name),)

    @property
    def optional_axes(self) -> tuple[str, ...]:
        """Axes that are swept here and have no column in the runs.csv of other sweeps."""
        return tuple(axis for axis, _ in self.axes if axis not in SWEPT)

    @property
    def splitting_axes(self) -> tuple[str, ...]:
        """Those of the optional axes that fix programs, so that each value is a stack of its own."""
        columns = registry.known_fields("model", self.model.name)
        return tuple(axis for axis in self.optional_axes if axis in columns and columns[axis].kind == SPLITTING)

    @property
    def stacked_axes(self) -> tuple[str, ...]:
        """Those of the optional axes that are vectors over the slots of a stack."""
        splitting = self.splitting_axes
        return tuple(axis for axis in self.optional_axes if axis not in splitting)

    def to_dict(self) -> dict:
        """The config as plain dicts and lists, as config.json holds it.

        The name of the default model and its options are left out where they have their defaults: sweeps began before
        there was another, and are the same sweeps.
        """
        sections = {section: dataclasses.asdict(getattr(self, section)) for section in SECTIONS}
        if self.model.name == DEFAULT_NAMES["model"]:
            usual = LEFT_OUT.items()
            sections["model"] = dict(item for item in sections["model"].items() if item not in usual)
        return {
            "name": self.name,
            **sections,
            "sweep": {axis: list(values) for axis, values in self.axes},
        }


LEFT_OUT = {"name": DEFAULT_NAMES["model"]} | {field.name: field.default for field in TRANSFORMER_OPTIONS}
MOST_HINTED = 32  # values of a range that are written out
CLASSES = {section: class_of(section) for section in SECTIONS}


def differences(old: dict, new: dict) -> list[str]:
    """Field by field, what two `to_dict`s disagree on; fields that may change on resume are left out."""
    usual = {f"model.{name}": default for name, default in LEFT_OUT.items()}  # which `to_dict` leaves out
    flat_old, flat_new = (usual | _flatten(_results_only(config)) for config in (old, new))
    names = sorted(set(flat_old) | set(flat_new))
    return [
        f"{name}: the work directory has {flat_old.get(name)!r}, the config has {flat_new.get(name)!r}"
        for name in names
        if flat_old.get(name) != flat_new.get(name)
    ]


def fingerprint(config: SweepConfig, task_digest: str) -> str:
    """SHA-256 of what the results of a sweep depend on: its config, but for what may change, and its task's data.

    With a model or an optimizer of the user's own, its code too.
    """
    values = {"config": _results_only(config.to_dict()), "task": task_digest}
    for section in ("model", "optimizer"):
        if code := registry.source_digest(section, getattr(config, section).name):
            values[section] = code
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def from_dict(source: Mapping) -> SweepConfig:
    """Reads a ConfigDict or plain mapping.

    Raises ConfigError with every problem: unknown sections and fields (with the closest name), wrong types, values out
    of range, bad axes, and combinations that cannot be trained.
    """
    values = _plain(source)
    problems = _unknown(values, ["name", "sweep", *SECTIONS], "")
    known = {section: _known_fields(section, values.get(section), problems) for section in SECTIONS}
    sections = {
        section: _read_section(section, values.get(section, {}), known[section], problems) for section in SECTIONS
    }
    given = {section: values[section] for section in known if isinstance(values.get(section), Mapping)}
    names = {section: fields_given.get("name") for section, fields_given in given.items()}
    axes = _read_axes(values.get("sweep", {}), known, names, problems)
    name = values.get("name", "sweep")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or ".." in name:
        problems.append(Problem("name", "not a valid name", repr(name), "letters, digits, '.', '_' and '-'"))
        name = "sweep"
    config = SweepConfig(name=name, axes=axes, **sections)
    problems += without_repeats(_combination_problems(config), problems)
    if problems:
        raise ConfigError(problems, rest=config)
    return config


def default_dict() -> dict:
    """Every section with its defaults, and every axis empty (not swept): the start of a config file.

    A ConfigDict holds each field to the type of its default; `train.slots` may be a word or a number. Options of the
    default task and optimizer are marked, so that another one finds out which of them were set.
    """
    values = {**SweepConfig().to_dict(), "sweep": {axis: () for axis in (*AXES, *OPTIONAL_AXES)}}
    values["model"] |= LEFT_OUT
    for section in DEFAULT_NAMES:
        for name, field in fields.of_section(section).items():
            if field.of:
                kind = field.values.type
                values[section][name] = FieldReference(UNSET[kind](field.default), field_type=HELD_AS.get(kind, kind))
    values["train"]["slots"] = FieldReference(values["train"]["slots"], field_type=Anything)
    return values


def value_problem(field: Field, value: object, path: str) -> Problem | None:
    """What is wrong with one value of a field, which is called `path`: by itself, or in float32."""
    values = field.values
    if not values.fits_type(value) or not values.test(value):
        hint = closest(value, values.allowed.split(", ")) if isinstance(value, str) else ""
        return Problem(path, "not a valid value", repr(value), values.allowed, hint)
    held = values.held(value)
    if not values.test(held) or (held == values.off != value):
        return Problem(path, "not a valid value in float32", f"{value!r}, there {held!r}", values.allowed)
    return None


def _known_fields(section: str, values: object, problems: list[Problem]) -> dict[str, Field] | None:
    """The fields of a section, with the options that its `name` brings; None where that leads to nothing."""
    name = values.get("name") if isinstance(values, Mapping) else None
    field = fields.of_section(section).get("name")
    if name is None or field is None:
        return fields.of_section(section)
    if problem := value_problem(field, name, field.path):
        problems.append(problem)
        return None
    try:
        return registry.known_fields(section, name)
    except registry.CannotLoad as error:
        problems.append(error.problem)
        return None


def _read_section(section: str, values: object, known: dict[str, Field] | None, problems: list[Problem]):
    """`known` is None where the name is wrong: then options are not judged, and the defaults stand in."""
    if not isinstance(values, Mapping):
        problems.append(Problem(section, "not a section", repr(values), "fields with values"))
        return class_of(section)()
    given = {name: value for name, value in values.items() if not isinstance(value, (*UNSET.values(),))}
    of = str(values.get("name", ""))
    if known is None:
        core = {name: field for name, field in fields.of_section(section).items() if not field.of}
        if not registry.is_import_path(of):  # whose options are not known
            problems += _unknown(given, list(registry.of_any_name(section)), f"{section}.", of)
        given = {name: value for name, value in given.items() if name in core and name != "name"}
    columns = fields.of_section(section) if known is None else known
    problems += _unknown(given, list(columns), f"{section}.", of)
    good = {}
    for name, field in columns.items():
        if name not in given:
            continue
        if problem := value_problem(field, given[name], field.path):
            problems.append(problem)
        else:
            good[name] = _as_type(field, given[name])
    return class_of(section, columns.values())(**good)


def _read_axes(
    values: object,
    known: Mapping[str, dict[str, Field] | None],
    names: Mapping[str, object],
    problems: list[Problem],
) -> tuple[tuple[str, tuple], ...]:
    if not isinstance(values, Mapping):
        problems.append(Problem("sweep", "not a section", repr(values), "axes with tuples of values"))
        return ()
    of_names = [field for columns in known.values() for field in (columns or {}).values()]
    optional = {field.name: field for field in of_names if field.kind in (OPTIONAL, SPLITTING)}
    swept = {axis: points for axis, points in values.items() if not _is_empty(points)}
    unclear = [section for section, columns in known.items() if columns is None]
    possible = [name for section in unclear for name, field in registry.of_any_name(section).items() if field.swept]
    if not any(registry.is_import_path(names.get(section)) for section in unclear):
        problems += _unknown(swept, list(dict.fromkeys([*AXES, *optional, *possible])), "sweep.")
    axes = []
    for axis, field in {**SWEPT, **optional}.items():
        if axis not in swept:
            continue
        places = [each.section for each in of_names if each.name == axis and each.swept]
        if len(places) > 1:
            what, allowed = "a field of two sections", "an axis whose name one section has"
            problems.append(Problem(f"sweep.{axis}", what, " and ".join(places), allowed))
        points = swept[axis]
        points = _split_words(points if isinstance(points, list | tuple) else (points,), field.values.type)
        if found := _axis_problems(field, points):
            problems += found
        else:
            axes.append((axis, tuple(_as_type(field, point) for point in points)))
    return tuple(axes)


def _is_empty(points: object) -> bool:
    """Whether an axis is not swept."""
    return points is None or (isinstance(points, list | tuple) and not points)


def _axis_problems(field: Field, points: tuple) -> list[Problem]:
    """Of its values, each by itself; else of all of them together."""
    path, held = f"sweep.{field.name}", field.values.held
    if found := [problem for point in points if (problem := value_problem(field, point, path))]:
        return [_with_range(problem) for problem in found]
    if len(set(points)) < len(points):
        return [Problem(path, "duplicates", str(points), "each value once")]
    if len(set(map(held, points))) < len(points):
        got = f"{points}, to the programs {tuple(map(held, points))}"
        return [Problem(path, "the same run twice", got, "each value once")]
    if field.kind == SPLITTING and (found := model_rules.name_problems(path, points)):
        return found
    if field.name == "budget" and list(points) != sorted(points):
        return [Problem(path, "not increasing", str(points), "budgets from small to large")]
    return []


def _with_range(problem: Problem) -> Problem:
    """`range(4,20,4)` is Python, and the answer says what it means."""
    bounds = re.fullmatch(r"'range\(([\d, ]+)\)'", problem.got)
    with contextlib.suppress(ValueError, TypeError):
        values = range(*ast.literal_eval(f"({bounds[1]},)")) if bounds else ()
        if 0 < len(values) <= MOST_HINTED:
            return dataclasses.replace(problem, hint=",".join(map(str, values)))
    return problem


def _split_words(points: Iterable, kind: type) -> tuple:
    """Words arrive from a command line as one: `--config.sweep.schedule=cosine,linear`; so do numbers with a typo.

    A call, such as `range(4,20,4)`, is one word.
    """
    split = ([point] if not isinstance(point, str) or "(" in point else point.split(",") for point in points)
    return tuple(_word(word, kind if len(words) > 1 else str) for words in split for word in words)


def _word(word: Any, kind: type) -> Any:
    if not isinstance(word, str):
        return word
    if kind is bool and word.strip().lower() in ("true", "false"):
        return word.strip().lower() == "true"
    for read in (int, float) if kind in (int, float) else ():
        with contextlib.suppress(ValueError):
            return read(word)
    return word.strip()


def _combination_problems(config: SweepConfig) -> list[Problem]:
    train, task = config.train, config.task
    problems = [
        Problem(
            "model.head_dim",
            "does not divide the width",
            f"head_dim {head_dim} at width {width}",
            "a divisor of every width",
        )
        for width in config.axis("width")
        for head_dim in config.axis("head_dim")
        if width % head_dim and model_rules.uses_head_dim(config)
    ]
    problems += model_rules.problems(config)
    if train.final_examples % train.curve_examples:
        what = "not a multiple of train.curve_examples"
        allowed = "a multiple (the final evaluation runs in batches of that size)"
        got = f"{train.final_examples} and {train.curve_examples}"
        problems.append(Problem("train.final_examples", what, got, allowed))
    held_out = getattr(task, "validation_examples", None)  # a usual option of tasks
    if held_out is not None and train.final_examples > held_out:
        allowed = f"at most task.validation_examples = {held_out}"
        problems.append(Problem("train.final_examples", "more than are held out", str(train.final_examples), allowed))
    return problems + _task_problems(task)


def _task_problems(task: Any) -> list[Problem]:
    if task.name != "addition":
        return []
    keys = 10**task.digits * (10**task.digits + 1) // 2
    if task.validation_examples < keys:
        return []
    allowed = f"below {keys}, the unordered pairs of {task.digits}-digit operands"
    what = "nothing would be left to train on"
    return [Problem("task.validation_examples", what, str(task.validation_examples), allowed)]


def _unknown(values: Mapping, known: list[str], prefix: str, of: str = "") -> list[Problem]:
    return [_unknown_problem(name, values[name], known, prefix, of) for name in values if name not in known]


def _unknown_problem(name: object, value: object, known: list[str], prefix: str, of: str) -> Problem:
    """Says where a field is that stands in a wrong section, and which fields a sweep may vary."""
    elsewhere = fields.paths_of(name)
    path, got, allowed = f"{prefix}{name}", repr(value), ", ".join(known)
    if prefix == "sweep." and elsewhere:
        one = f"{allowed} (one value for all runs: {' or '.join(elsewhere)})"
        return Problem(path, "cannot be swept", got, one)
    if path in elsewhere:
        return Problem(path, f"not an option of {of}", got, allowed)
    if hint := closest(name, known):
        return Problem(path, "unknown field", got, allowed, hint)
    return Problem(path, "unknown field", got, allowed, elsewhere[0] if len(elsewhere) == 1 else "")


def _as_type(field: Field, value: Any) -> Any:
    if field.values.type in (float, int):
        return field.values.type(value)
    return int(value) if isinstance(value, str) and value.isdigit() else value


def _plain(source: Mapping) -> dict:
    """A ConfigDict or mapping as nested dicts."""
    items = source.to_dict() if hasattr(source, "to_dict") else dict(source)
    found = {key: value.get() if isinstance(value, FieldReference) else value for key, value in items.items()}
    return {key: _plain(value) if isinstance(value, Mapping) else value for key, value in found.items()}


def _results_only(values: dict) -> dict:
    free = fields.resumable_fields()
    return {
        key: {n: v for n, v in value.items() if f"{key}.{n}" not in free} if isinstance(value, dict) else value
        for key, value in values.items()
    }


def _flatten(values: dict) -> dict:
    flat = {}
    for key, value in values.items():
        flat.update({f"{key}.{n}": v for n, v in value.items()} if isinstance(value, dict) else {key: value})
    return flat
