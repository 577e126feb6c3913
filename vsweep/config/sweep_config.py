"""The configuration of a sweep: frozen dataclasses, read from a ConfigDict, validated with every problem at once.

Sections: `task`, `model`, `optimizer`, `train` hold one value a field; `sweep` holds one tuple an axis. An axis named
in `sweep` replaces the field of the same name in its section, and the runs are the product of all axes, unless the
design of the sweep says otherwise. A field that may be swept, and is a number, may hold a formula: a text. ConfigDicts
stop here: below this file there are only these dataclasses, and the code trusts their types.
"""

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import FieldReference

from vsweep.config import fields, model_rules, registry
from vsweep.config.design import axes as sweep_axes
from vsweep.config.design import checks, formula, points, reading
from vsweep.config.design.options import BY_NAME, ISOFLOP, Design
from vsweep.config.field import OPTIONAL, SPLITTING, Field
from vsweep.config.fields import AXES, DEFAULT_NAMES, HOST_AXES, OPTIONAL_AXES, SECTIONS, STATIC_FIELDS, SWEPT
from vsweep.config.model_options import TRANSFORMER_OPTIONS
from vsweep.config.problems import ConfigError, Problem, without_repeats
from vsweep.config.unset import HELD_AS, UNSET, Anything
from vsweep.config.values import as_type, unknown, value_problem


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

    Optional axes come after those of `fields.AXES`. They may be of a user's own optimizer. `design` holds what is no
    product of axes.
    """

    name: str = "sweep"
    task: TaskConfig = dataclasses.field(default_factory=TaskConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    axes: tuple[tuple[str, tuple], ...] = ()
    design: Design = dataclasses.field(default_factory=Design)

    def axis(self, name: str) -> tuple:
        """The values of a field's axis, or its one value; formulas as they were written."""
        swept = dict(self.axes)
        return swept[name] if name in swept else (getattr(getattr(self, SWEPT[name].section), name),)

    @functools.cached_property
    def optional_axes(self) -> tuple[str, ...]:
        """Fields that vary here and have no column in the runs.csv of other sweeps."""
        names = (*(axis for axis, _ in self.axes), *self.design.columns, *self.design.box)
        return tuple(dict.fromkeys(name for name in names if name not in SWEPT and name not in BY_NAME))

    @property
    def added_columns(self) -> tuple[str, ...]:
        """Columns of runs.csv that other sweeps do not have: optional axes, and the compute of an IsoFLOP design."""
        designed = self.design.flops or "flops" in self.design.columns
        return (*self.optional_axes, *((ISOFLOP,) if designed else ()))

    @functools.cached_property
    def splitting_axes(self) -> tuple[str, ...]:
        """Those of the optional axes that fix programs, so that each value is a stack of its own."""
        columns = registry.known_fields("model", self.model.name)
        return tuple(axis for axis in self.optional_axes if axis in columns and columns[axis].kind == SPLITTING)

    @functools.cached_property
    def stacked_axes(self) -> tuple[str, ...]:
        """Those of the optional axes that are vectors over the slots of a stack."""
        others = (*self.splitting_axes, *HOST_AXES)
        return tuple(axis for axis in self.optional_axes if axis not in others)

    def to_dict(self) -> dict:
        """The config as plain dicts and lists, as config.json holds it.

        Fields of LATER at their defaults are left out: sweeps began before there was another value.
        """
        sections = {section: dataclasses.asdict(getattr(self, section)) for section in SECTIONS}
        for path, default in LATER.items():
            section, name = path.split(".")
            if name in sections[section] and sections[section][name] == default:
                del sections[section][name]
        for name, default in LATER_OF_TASKS.get(self.task.name, {}).items():
            if sections["task"][name] == default:
                del sections["task"][name]
        return {
            "name": self.name,
            **sections,
            "sweep": {axis: list(values) for axis, values in self.axes} | self.design.to_dict(),
        }


LATER = {  # which sweeps had before they had a name
    "model.name": DEFAULT_NAMES["model"],
    "model.aspect_ratio": 0.0,
    "train.mixture": "",
    "train.device_memory_gib": 0.0,
    "train.gradient_statistics": False,
    "train.keep_finished": "all",
    **{field.path: field.default for field in TRANSFORMER_OPTIONS},
}
LATER_OF_TASKS = {"text": {"made_from": "", "expected_tokens": 0, "sources": ""}}
LONGEST_SHOWN = 300  # characters of a value that differs
CLASSES = {section: class_of(section) for section in SECTIONS}


def differences(old: dict, new: dict) -> list[str]:
    """Field by field, what two `to_dict`s disagree on; fields that may change on resume are left out."""
    flat_old, flat_new = (LATER | _flatten(_results_only(config)) for config in (old, new))
    names = sorted(set(flat_old) | set(flat_new))
    return [
        f"{name}: the work directory has {_shown(flat_old.get(name))}, the config has {_shown(flat_new.get(name))}"
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
    problems = unknown(values, ["name", "sweep", *SECTIONS], "")
    known = {section: _known_fields(section, values.get(section), problems) for section in SECTIONS}
    sections = {
        section: _read_section(section, values.get(section, {}), known[section], problems) for section in SECTIONS
    }
    given = {section: values[section] for section in known if isinstance(values.get(section), Mapping)}
    names = {section: fields_given.get("name") for section, fields_given in given.items()}
    swept = values.get("sweep", {})
    if not isinstance(swept, Mapping):
        problems.append(Problem("sweep", "not a section", repr(swept), "axes with tuples of values"))
        swept = {}
    axes = sweep_axes.read(swept, known, names, problems)
    sweepable = sweep_axes.sweepable(known)
    design = reading.read(swept, sweepable, problems)
    name = values.get("name", "sweep")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or ".." in name:
        problems.append(Problem("name", "not a valid name", repr(name), "letters, digits, '.', '_' and '-'"))
        name = "sweep"
    config = SweepConfig(name=name, axes=axes, design=design, **sections)
    if found := without_repeats(checks.problems(config, sweepable), problems):
        problems += found
        config = _without_design(config)
    problems += without_repeats(_combination_problems(config), problems)
    if problems:
        raise ConfigError(problems, rest=model_rules.with_base(config))
    return config


def sweepable(config: SweepConfig) -> dict[str, Field]:
    """Name -> field of what this sweep may vary. Raises CannotLoad where a user's own code has gone meanwhile."""
    names = {section: getattr(getattr(config, section), "name", None) for section in SECTIONS}
    return sweep_axes.sweepable({section: registry.known_fields(section, name) for section, name in names.items()})


def optional_values(config: SweepConfig, kinds: tuple[str, ...] = (OPTIONAL, SPLITTING)) -> dict[str, Any]:
    """Optional axis of these kinds -> its value in this config; of one that is swept, what stands in its section."""
    values = {}
    for section in SECTIONS:
        options = getattr(config, section)
        known = registry.known_fields(section, getattr(options, "name", None))
        values |= {name: getattr(options, name) for name, field in known.items() if field.kind in kinds}
    return values


def default_dict() -> dict:
    """Every section with its defaults, and every axis empty (not swept): the start of a config file.

    A ConfigDict holds each field to the type of its default; `train.slots` may be a word or a number. Options of the
    default task and optimizer are marked, so that another one finds out which of them were set.
    """
    empty = {axis: () for axis in (*AXES, *OPTIONAL_AXES)}
    for name, field in BY_NAME.items():
        empty[name] = field.default
    values = {**SweepConfig().to_dict(), "sweep": {name: _of_any_type(value) for name, value in empty.items()}}
    for path, default in LATER.items():
        section, name = path.split(".")
        values[section][name] = default
    for name, field in SWEPT.items():
        if formula.is_number(field):
            values[field.section][name] = _of_any_type(field.default)
    for section in DEFAULT_NAMES:
        for name, field in fields.of_section(section).items():
            if field.of:
                kind = field.values.type
                values[section][name] = FieldReference(UNSET[kind](field.default), field_type=HELD_AS.get(kind, kind))
    values["train"]["slots"] = _of_any_type(values["train"]["slots"])
    return values


def _of_any_type(value: Any) -> FieldReference:
    return FieldReference(value, field_type=Anything)


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
    of = str(values.get("name", DEFAULT_NAMES.get(section, "")))
    if known is None:
        core = {name: field for name, field in fields.of_section(section).items() if not field.of}
        if not registry.is_import_path(of):  # whose options are not known
            problems += unknown(given, list(registry.of_any_name(section)), f"{section}.", of)
        given = {name: value for name, value in given.items() if name in core and name != "name"}
    columns = fields.of_section(section) if known is None else known
    problems += unknown(given, list(columns), f"{section}.", of)
    good = {}
    for name, field in columns.items():
        if name not in given:
            continue
        if formula.is_formula(given[name], field) and name in SWEPT:
            good[name] = given[name].strip()
        elif problem := value_problem(field, given[name], field.path):
            problems.append(problem)
        else:
            good[name] = as_type(field, given[name])
    return class_of(section, columns.values())(**good)


def _combination_problems(config: SweepConfig) -> list[Problem]:
    train, task = config.train, config.task
    problems = _shape_problems(config) + model_rules.mup_problems(config) + model_rules.module_problems(config)
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


def _shape_problems(config: SweepConfig) -> list[Problem]:
    """Of the shapes that the axes and formulas give."""
    found, shapes = [], []
    for point in points.static_points(config, (*STATIC_FIELDS, *config.splitting_axes)):
        try:
            values = points.static_values(point, config, STATIC_FIELDS, SWEPT)
        except formula.CannotCompute:
            continue  # told with the run
        if problems := [p for n in STATIC_FIELDS if (p := value_problem(SWEPT[n], values[n], SWEPT[n].path))]:
            found += problems
        else:
            options = {name: point.get(name, value) for name, value in vars(config.model).items() if name not in values}
            shapes.append({**options, **values})
            found += model_rules.problems(config.model.name, shapes[-1])
            found += model_rules.name_problems({name: options[name] for name in config.splitting_axes})
    found += model_rules.mup_head_problems(config.model.name, shapes)
    return list(dict.fromkeys(found))


def _without_design(config: SweepConfig) -> SweepConfig:
    """The rest of a config whose design is faulty: neither a design nor formulas."""
    axes = tuple((name, values) for name, values in config.axes if not any(isinstance(v, str) for v in values))
    of_words = [name for name, field in SWEPT.items() if not formula.is_number(field)]
    kept = tuple((name, values) for name, values in config.axes if name in of_words or (name, values) in axes)
    plain = {}
    for section in SECTIONS:
        values = getattr(config, section)
        defaults = {
            name: field.default
            for name, field in SWEPT.items()
            if field.section == section and formula.is_formula(getattr(values, name), field)
        }
        plain[section] = dataclasses.replace(values, **defaults)
    return dataclasses.replace(config, axes=kept, design=Design(), **plain)


def _task_problems(task: Any) -> list[Problem]:
    if task.name != "addition":
        return []
    keys = 10**task.digits * (10**task.digits + 1) // 2
    if task.validation_examples < keys:
        return []
    allowed = f"below {keys}, the unordered pairs of {task.digits}-digit operands"
    what = "nothing would be left to train on"
    return [Problem("task.validation_examples", what, str(task.validation_examples), allowed)]


def _plain(source: Mapping) -> dict:
    """A ConfigDict or mapping as nested dicts."""
    items = source.to_dict() if hasattr(source, "to_dict") else dict(source)
    found = {key: value.get() if isinstance(value, FieldReference) else value for key, value in items.items()}
    return {key: _plain(value) if isinstance(value, Mapping) else value for key, value in found.items()}


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}... ({len(text):,} characters)"


def _results_only(values: dict) -> dict:
    free = {*fields.resumable_fields(), *registry.resumable_options(values.get("task"))}
    return {
        key: {n: v for n, v in value.items() if f"{key}.{n}" not in free} if isinstance(value, dict) else value
        for key, value in values.items()
    }


def _flatten(values: dict) -> dict:
    flat = {}
    for key, value in values.items():
        flat.update({f"{key}.{n}": v for n, v in value.items()} if isinstance(value, dict) else {key: value})
    return flat
