"""The configuration of a sweep: frozen dataclasses, read from a ConfigDict, validated with every problem at once.

Sections: `task`, `model`, `optimizer`, `train` hold one value a field; `sweep` holds one tuple an axis. An axis named
in `sweep` replaces the field of the same name in its section, and the runs are the product of all axes. ConfigDicts
stop here: below this file there are only these dataclasses, and the code trusts their types.
"""

import abc
import contextlib
import ctypes
import dataclasses
import hashlib
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ml_collections import FieldReference

from vsweep.config.problems import ConfigError, closest, without_repeats
from vsweep.schema import AXES

SCHEDULES = ("cosine", "linear", "constant", "wsd")
PRECISIONS = ("float32", "bfloat16")
MATMUL_PRECISIONS = ("default", "highest", "tensorfloat32", "bfloat16")
TASKS = ("addition",)
OPTIMIZERS = ("adamw",)
SLOT_CHOICES = ("packed", "all")
INT32_MAX = 2**31 - 1
FLOAT_MAX = sys.float_info.max
SMALLEST_FLOAT32 = 2.0**-126  # of the normal ones: XLA takes what lies below for 0
DROPOUT_STEPS = 256  # model.Dropout rounds to multiples of 1/256
SEED_OF_RUN = -1


class Anything(abc.ABC):  # noqa: B024
    """The type of a field of a ConfigDict that holds values of several types: its Rule says which.

    Not `object`, whose flags ml_collections takes for switches: `--config.train.slots all` would be two words.
    """

    @classmethod
    def __subclasshook__(cls, other: type) -> bool:
        return True


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a field may hold: a type, a test, and the words for both.

    `held` says what the programs make of a value. The test is for both, and no other value may come to mean `off`.
    """

    kind: type
    allowed: str
    test: Callable[[Any], bool]
    resumable: bool = False  # may differ when an old sweep is continued
    held: Callable[[Any], Any] = lambda value: value
    off: object = None

    def problem(self, name: str, value: object) -> str | None:
        if not self.fits_kind(value) or not self.test(value):
            hint = closest(value, self.allowed.split(", ")) if isinstance(value, str) else ""
            return f"{name}: not a valid value - got {value!r}; allowed: {self.allowed}{hint}"
        held = self.held(value)
        if not self.test(held) or (held == self.off != value):
            return f"{name}: not a valid value in float32 - got {value!r}, there {held!r}; allowed: {self.allowed}"
        return None

    def fits_kind(self, value: object) -> bool:
        if self.kind is float:
            return isinstance(value, int | float) and not isinstance(value, bool) and not abs(value) > FLOAT_MAX
        if self.kind is int:
            whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())  # 1e6 is a budget too
            return whole and not isinstance(value, bool)
        if self.kind is object:
            return True
        return isinstance(value, self.kind)


def in_float32(value: float) -> float:
    """What XLA computes with for `value`: the nearest float32, 0 for what is too small to be a normal one."""
    nearest = ctypes.c_float(value).value
    return nearest if abs(nearest) >= SMALLEST_FLOAT32 else 0.0


def _dropped(value: float) -> float:
    return round(DROPOUT_STEPS * in_float32(value)) / DROPOUT_STEPS


def _field(default, kind, allowed, test, **rule):
    return dataclasses.field(default=default, metadata={"rule": Rule(kind, allowed, test, **rule)})


def _float32(default, allowed, test, *, held=in_float32, off=None):
    """A number that the programs compute with."""
    return _field(default, float, allowed, test, held=held, off=off)


def _positive_int(default, *, resumable=False):
    return _field(default, int, f"an integer from 1 to {INT32_MAX}", lambda v: 1 <= v <= INT32_MAX, resumable=resumable)


def _natural(default, allowed=f"an integer from 0 to {INT32_MAX}", *, resumable=False):
    return _field(default, int, allowed, lambda v: 0 <= v <= INT32_MAX, resumable=resumable)


def _one_of(default, choices):
    return _field(default, str, ", ".join(choices), lambda v: v in choices)


def _stream_seed():
    allowed = "an integer from 0 (-1: the run's seed)"
    return _field(SEED_OF_RUN, int, allowed, lambda v: SEED_OF_RUN <= v <= INT32_MAX)


def _is_slots(value: object) -> bool:
    return value in SLOT_CHOICES or (type(value) in (int, str) and bool(re.fullmatch("[1-9][0-9]*", str(value))))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskConfig:
    name: str = _one_of("addition", TASKS)
    digits: int = _field(3, int, "an integer from 1 to 4", lambda v: 1 <= v <= 4)
    validation_examples: int = _positive_int(100_000)
    split_seed: int = _natural(0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    width: int = _positive_int(16)
    layers: int = _positive_int(4)
    head_dim: int = _positive_int(4)
    ff_multiple: int = _positive_int(4)
    tied_embeddings: bool = _field(True, bool, "True or False", lambda v: True)
    dropout: float = _float32(0.15, "a number from 0 to below 0.99", lambda v: 0 <= v < 0.99, held=_dropped)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    name: str = _one_of("adamw", OPTIMIZERS)
    lr: float = _float32(5e-3, "a finite number above 0", lambda v: 0 < v < math.inf)
    schedule: str = _one_of("cosine", SCHEDULES)
    final_lr_fraction: float = _float32(0.1, "a share from 0 to 1", lambda v: 0 <= v <= 1)
    cooldown_fraction: float = _field(0.2, float, "a share above 0, at most 1 (of wsd)", lambda v: 0 < v <= 1)
    warmup_steps: int = _natural(0)
    weight_decay: float = _float32(1e-4, "a finite number from 0", lambda v: 0 <= v < math.inf)
    clip: float = _float32(1.0, "a finite number from 0 (0: no clipping)", lambda v: 0 <= v < math.inf, off=0)
    beta1: float = _float32(0.9, "a number from 0 to below 1", lambda v: 0 <= v < 1)
    beta2: float = _float32(0.999, "a number from 0 to below 1", lambda v: 0 <= v < 1)
    epsilon: float = _float32(1e-8, "a finite number above 0", lambda v: 0 < v < math.inf)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    budget: int = _positive_int(1_000_000)
    batch_size: int = _positive_int(64)
    unique_examples: int = _natural(0, "an integer from 0 (0: every training example)")
    max_epochs: float = _field(
        0.0, float, "a finite number from 0 (0: no limit)", lambda v: 0 <= v < math.inf, resumable=True
    )
    seed: int = _natural(0)
    init_seed: int = _stream_seed()
    data_seed: int = _stream_seed()
    dropout_seed: int = _stream_seed()
    precision: str = _one_of("float32", PRECISIONS)
    matmul_precision: str = _one_of("highest", MATMUL_PRECISIONS)
    share_trunks: bool = _field(True, bool, "True or False", lambda v: True)
    slots: int | str = _field("packed", object, "packed, all, or an integer from 1", _is_slots)
    devices: int = _natural(0, "an integer from 0 (0: every device)", resumable=True)
    chunk_steps: int = _field(128, int, "an integer from 1 to 10000", lambda v: 1 <= v <= 10_000)
    curve_points: int = _field(24, int, "an integer from 2 to 1000", lambda v: 2 <= v <= 1000)
    curve_examples: int = _positive_int(512)
    final_examples: int = _positive_int(8192)
    checkpoint_minutes: float = _field(
        10.0, float, "a finite number above 0", lambda v: 0 < v < math.inf, resumable=True
    )
    max_wall_hours: float = _field(
        0.0, float, "a finite number from 0 (0: no limit)", lambda v: 0 <= v < math.inf, resumable=True
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """A validated sweep. `axes` maps an axis to its values, in the order of `records.AXES`; absent: not swept."""

    name: str = "sweep"
    task: TaskConfig = TaskConfig()
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
    axes: tuple[tuple[str, tuple], ...] = ()

    def axis(self, name: str) -> tuple:
        """The values a field takes in this sweep: its axis, or its one value."""
        swept = dict(self.axes)
        return swept[name] if name in swept else (getattr(getattr(self, HOME[name]), name),)

    def to_dict(self) -> dict:
        return {
            "name": self.name,
            **{section: dataclasses.asdict(getattr(self, section)) for section in SECTIONS},
            "sweep": {axis: list(values) for axis, values in self.axes},
        }


SECTIONS = {"task": TaskConfig, "model": ModelConfig, "optimizer": OptimizerConfig, "train": TrainConfig}
RULES = {
    section: {field.name: field.metadata["rule"] for field in dataclasses.fields(kind)}
    for section, kind in SECTIONS.items()
}
HOME = {axis: next(section for section in SECTIONS if axis in RULES[section]) for axis in AXES}


def differences(old: dict, new: dict) -> list[str]:
    """Field by field, what two `to_dict`s disagree on; fields that may change on resume are left out."""
    flat_old, flat_new = _flatten(_results_only(old)), _flatten(_results_only(new))
    names = sorted(set(flat_old) | set(flat_new))
    return [
        f"{name}: the work directory has {flat_old.get(name)!r}, the config has {flat_new.get(name)!r}"
        for name in names
        if flat_old.get(name) != flat_new.get(name)
    ]


def fingerprint(config: SweepConfig, task_digest: str) -> str:
    """SHA-256 of what the results of a sweep depend on: its config, but for what may change, and its task's data."""
    values = {"config": _results_only(config.to_dict()), "task": task_digest}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def from_dict(source: Mapping) -> SweepConfig:
    """Reads a ConfigDict or plain mapping.

    Raises ConfigError with every problem: unknown sections and fields (with the closest name), wrong types, values out
    of range, bad axes, and combinations that cannot be trained.
    """
    values = _plain(source)
    problems = _unknown(values, {"name", "sweep", *SECTIONS}, "")
    sections = {}
    for section, kind in SECTIONS.items():
        sections[section] = _read_section(section, kind, values.get(section, {}), problems)
    axes = _read_axes(values.get("sweep", {}), problems)
    name = values.get("name", "sweep")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or ".." in name:
        problems.append(f"name: not a valid name - got {name!r}; allowed: letters, digits, '.', '_' and '-'")
        name = "sweep"
    config = SweepConfig(name=name, axes=axes, **sections)
    problems += without_repeats(_combination_problems(config), problems)
    if problems:
        raise ConfigError(problems, rest=config)
    return config


def default_dict() -> dict:
    """Every section with its defaults, and every axis empty (not swept): the start of a config file.

    A ConfigDict holds each field to the type of its default; `train.slots` may be a word or a number.
    """
    values = {**SweepConfig().to_dict(), "sweep": {axis: () for axis in AXES}}
    values["train"]["slots"] = FieldReference(values["train"]["slots"], field_type=Anything)
    return values


def _read_section(section: str, kind: type, values: Mapping, problems: list[str]):
    if not isinstance(values, Mapping):
        problems.append(f"{section}: not a section - got {values!r}; allowed: fields with values")
        return kind()
    problems += _unknown(values, set(RULES[section]), f"{section}.")
    known = {name: value for name, value in values.items() if name in RULES[section]}
    found = [rule.problem(f"{section}.{n}", known[n]) for n, rule in RULES[section].items() if n in known]
    found = [text for text in found if text]
    problems += found
    good = {name: value for name, value in known.items() if not RULES[section][name].problem(name, value)}
    return kind(**{name: _as_kind(RULES[section][name], value) for name, value in good.items()})


def _read_axes(values: Mapping, problems: list[str]) -> tuple[tuple[str, tuple], ...]:
    if not isinstance(values, Mapping):
        problems.append(f"sweep: not a section - got {values!r}; allowed: axes with tuples of values")
        return ()
    problems += _unknown(values, set(AXES), "sweep.")
    axes = []
    for axis in AXES:
        points = values.get(axis)
        if points is None or (isinstance(points, list | tuple) and not points):
            continue
        rule = RULES[HOME[axis]][axis]
        points = _split_words(points if isinstance(points, list | tuple) else (points,), rule.kind)
        found = [text for text in (rule.problem(f"sweep.{axis}", point) for point in points) if text]
        if not found and len(set(points)) < len(points):
            found = [f"sweep.{axis}: duplicates - got {points}; allowed: each value once"]
        if not found and len({rule.held(point) for point in points}) < len(points):
            held = f"to the programs {tuple(map(rule.held, points))}"
            found = [f"sweep.{axis}: the same run twice - got {points}, {held}; allowed: each value once"]
        if not found and axis == "budget" and list(points) != sorted(points):
            found = [f"sweep.budget: not increasing - got {points}; allowed: budgets from small to large"]
        problems += found
        if not found:
            axes.append((axis, tuple(_as_kind(rule, point) for point in points)))
    return tuple(axes)


def _split_words(points: Iterable, kind: type) -> tuple:
    """Words arrive from a command line as one: `--config.sweep.schedule=cosine,linear`; so do numbers with a typo."""
    split = (point.split(",") if isinstance(point, str) else [point] for point in points)
    return tuple(_word(word, kind if len(words) > 1 else str) for words in split for word in words)


def _word(word: Any, kind: type) -> Any:
    if not isinstance(word, str):
        return word
    for read in (int, float) if kind in (int, float) else ():
        with contextlib.suppress(ValueError):
            return read(word)
    return word.strip()


def _combination_problems(config: SweepConfig) -> list[str]:
    problems = []
    for width in config.axis("width"):
        problems += [
            f"model.head_dim: does not divide the width - got head_dim {head_dim} at width {width}; "
            f"allowed: a divisor of every width"
            for head_dim in config.axis("head_dim")
            if width % head_dim
        ]
    train = config.train
    if train.final_examples % train.curve_examples:
        problems.append(
            f"train.final_examples: not a multiple of train.curve_examples - got {train.final_examples} and "
            f"{train.curve_examples}; allowed: a multiple (the final evaluation runs in batches of that size)"
        )
    if train.final_examples > config.task.validation_examples:
        problems.append(
            f"train.final_examples: more than are held out - got {train.final_examples}; "
            f"allowed: at most task.validation_examples = {config.task.validation_examples}"
        )
    keys = 10**config.task.digits * (10**config.task.digits + 1) // 2
    if config.task.validation_examples >= keys:
        problems.append(
            f"task.validation_examples: nothing would be left to train on - got {config.task.validation_examples}; "
            f"allowed: below {keys}, the unordered pairs of {config.task.digits}-digit operands"
        )
    return problems


def _unknown(values: Mapping, known: set[str], prefix: str) -> list[str]:
    return [
        f"{prefix}{name}: unknown field - got {values[name]!r}; allowed: {', '.join(sorted(known))}"
        + closest(name, known)
        for name in values
        if name not in known
    ]


def _as_kind(rule: Rule, value):
    if rule.kind in (float, int):
        return rule.kind(value)
    return int(value) if isinstance(value, str) and value.isdigit() else value


def _plain(source: Mapping) -> dict:
    """A ConfigDict or mapping as nested dicts."""
    items = source.to_dict() if hasattr(source, "to_dict") else dict(source)
    found = {key: value.get() if isinstance(value, FieldReference) else value for key, value in items.items()}
    return {key: _plain(value) if isinstance(value, Mapping) else value for key, value in found.items()}


def _results_only(values: dict) -> dict:
    return {
        key: {n: v for n, v in value.items() if not (key in RULES and n in RULES[key] and RULES[key][n].resumable)}
        if isinstance(value, dict)
        else value
        for key, value in values.items()
    }


def _flatten(values: dict) -> dict:
    flat = {}
    for key, value in values.items():
        flat.update({f"{key}.{n}": v for n, v in value.items()} if isinstance(value, dict) else {key: value})
    return flat
