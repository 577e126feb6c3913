"""The one table of fields: what a config may hold, what each field means, and which fields a sweep may vary.

Everything that names the fields reads this table: the dataclasses and their validation, the axes of a sweep, the
columns of runs.csv, run ids, `docs/config.md`, `--help`, and the answers to a mistyped field. It imports nothing but
the standard library, because the analysis reads the columns through it.
"""

import ctypes
import dataclasses
import math
import re
import sys
from collections.abc import Callable
from typing import Any

SECTIONS = {
    "task": "what is learned",
    "model": "the transformer, or another model",
    "optimizer": "the optimizer and its schedule",
    "train": "budget, data order, evaluation and devices",
}
SCHEDULES = ("cosine", "linear", "constant", "wsd")
PRECISIONS = ("float32", "bfloat16")
MATMUL_PRECISIONS = ("default", "highest", "tensorfloat32", "bfloat16")
TASKS = ("addition", "modular_arithmetic", "markov")
MODELS = ("transformer",)
OPTIMIZERS = ("adamw", "adam", "sgd", "lion", "muon", "adafactor")
DEFAULT_NAMES = {
    "task": "addition",
    "model": "transformer",
    "optimizer": "adamw",
}  # sections whose `name` brings options of its own
SLOT_CHOICES = ("packed", "all")
INT32_MAX = 2**31 - 1
FLOAT_MAX = sys.float_info.max
SMALLEST_FLOAT32 = 2.0**-126  # of the normal ones: XLA takes what lies below for 0
DROPOUT_STEPS = 256  # model.Dropout rounds to multiples of 1/256
SEED_OF_RUN = -1
IMPORT_PATH = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"

# Kinds of fields. A sweep may vary the first two: static fields fix array shapes and programs and so split stacks,
# stacked fields are vectors over the slots of a stack. An optional field is one value for all runs unless it is swept,
# and then it is stacked and has a column of its own. Of the others, the resumable ones may differ when a sweep that has
# begun is continued.
STATIC, STACKED, OPTIONAL, RESUMABLE, FIXED = "static", "stacked", "optional", "resumable", "fixed"


@dataclasses.dataclass(frozen=True)
class Values:
    """The values that a field may take: a type, a test, and the words for both.

    `held` says what the programs make of a value. The test is for both, and no other value may come to mean `off`.
    """

    type: type
    allowed: str
    test: Callable[[Any], bool] = lambda value: True
    held: Callable[[Any], Any] = lambda value: value
    off: object = None

    def fits_type(self, value: object) -> bool:
        """Whether `value` has the type of the field: an int may be a float, a whole float an int, a bool neither."""
        if self.type is float:
            return isinstance(value, int | float) and not isinstance(value, bool) and not abs(value) > FLOAT_MAX
        if self.type is int:
            whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())  # 1e6 is a budget too
            return whole and not isinstance(value, bool)
        return self.type is object or isinstance(value, self.type)


@dataclasses.dataclass(frozen=True)
class Field:
    """One row of the table. `short` stands before a value in run ids."""

    section: str
    name: str
    default: Any
    values: Values
    meaning: str
    unit: str = ""
    kind: str = FIXED
    short: str | None = None
    of: tuple[str, ...] = ()  # the tasks or optimizers, by name, whose option this is; none: a field of every one

    @property
    def path(self) -> str:
        return f"{self.section}.{self.name}"

    @property
    def swept(self) -> bool:
        """Whether a sweep may vary it."""
        return self.kind in (STATIC, STACKED, OPTIONAL)


def in_float32(value: float) -> float:
    """What XLA computes with for `value`: the nearest float32, 0 for what is too small to be a normal one."""
    nearest = ctypes.c_float(value).value
    return nearest if abs(nearest) >= SMALLEST_FLOAT32 else 0.0


def _dropped(value: float) -> float:
    return round(DROPOUT_STEPS * in_float32(value)) / DROPOUT_STEPS


def _whole(low: int, high: int, allowed: str | None = None) -> Values:
    return Values(int, allowed or f"an integer from {low} to {high}", lambda value: low <= value <= high)


def _one_of(choices: tuple[str, ...]) -> Values:
    return Values(str, ", ".join(choices), lambda value: value in choices)


def _named(choices: tuple[str, ...]) -> Values:
    """One of the built-in ones, or what a user has written."""
    allowed = f"{', '.join(choices)}, or an import path: package.module:Attribute"
    return Values(str, allowed, lambda value: value in choices or bool(re.fullmatch(IMPORT_PATH, value)))


def _number(allowed: str, test: Callable[[float], bool]) -> Values:
    return Values(float, allowed, test)


def _float32(allowed: str, test: Callable[[float], bool], **how) -> Values:
    """A number that the programs compute with."""
    return Values(float, allowed, test, **{"held": in_float32, **how})


def _is_slots(value: object) -> bool:
    return value in SLOT_CHOICES or (type(value) in (int, str) and bool(re.fullmatch("[1-9][0-9]*", str(value))))


POSITIVE, NATURAL = _whole(1, INT32_MAX), _whole(0, INT32_MAX)
STREAM_SEED = _whole(SEED_OF_RUN, INT32_MAX, "an integer from 0 (-1: the run's seed)")
SWITCH = Values(bool, "True or False")
ABOVE_0 = _float32("a finite number above 0", lambda value: 0 < value < math.inf)
BELOW_1 = _float32("a number from 0 to below 1", lambda value: 0 <= value < 1)
LIMIT = _number("a finite number from 0 (0: no limit)", lambda value: 0 <= value < math.inf)

_ADAMS = ("adamw", "adam", "muon")  # muon has AdamW for what is no matrix

# Swept fields stand first, in the order of the columns of runs.csv and of the parts of a run id.
FIELDS = (
    Field("model", "width", 16, POSITIVE, "size of the residual stream", kind=STATIC, short="w"),
    Field("model", "layers", 4, POSITIVE, "number of transformer blocks", kind=STATIC, short="l"),
    Field("model", "head_dim", 4, POSITIVE, "size of an attention head; divides the width", kind=STATIC, short="h"),
    Field("model", "ff_multiple", 4, POSITIVE, "hidden size of the feed-forward layer / width", kind=STATIC, short="f"),
    Field(
        "model",
        "tied_embeddings",
        True,
        SWITCH,
        "the output layer reuses the token embedding",
        kind=STATIC,
        short="tied",
    ),
    Field("train", "batch_size", 64, POSITIVE, "examples of one step", unit="examples", kind=STATIC, short="b"),
    Field(
        "optimizer", "schedule", "cosine", _one_of(SCHEDULES), "learning rate after the warmup", kind=STATIC, short=""
    ),
    Field(
        "train", "precision", "float32", _one_of(PRECISIONS), "type of activations and matmuls", kind=STATIC, short=""
    ),
    Field(
        "train",
        "budget",
        1_000_000,
        POSITIVE,
        "nominal number of training tokens",
        unit="label tokens",
        kind=STACKED,
        short="d",
    ),
    Field("train", "seed", 0, NATURAL, "seed of the run", kind=STACKED, short="s"),
    Field("train", "init_seed", SEED_OF_RUN, STREAM_SEED, "seed of the initial parameters", kind=STACKED),
    Field("train", "data_seed", SEED_OF_RUN, STREAM_SEED, "seed of the data order", kind=STACKED),
    Field("train", "dropout_seed", SEED_OF_RUN, STREAM_SEED, "seed of the dropout masks", kind=STACKED),
    Field("optimizer", "lr", 5e-3, ABOVE_0, "peak learning rate", kind=STACKED),
    Field(
        "optimizer",
        "weight_decay",
        1e-4,
        _float32("a finite number from 0", lambda value: 0 <= value < math.inf),
        "weight decay: decoupled, but in adam and sgd a part of the gradient",
        kind=STACKED,
    ),
    Field("optimizer", "warmup_steps", 0, NATURAL, "steps of linear warmup", unit="steps", kind=STACKED),
    Field(
        "model",
        "dropout",
        0.15,
        _float32("a number from 0 to below 0.99", lambda value: 0 <= value < 0.99, held=_dropped),
        "share of activations set to zero in training; rounded to 1/256",
        unit="share",
        kind=STACKED,
    ),
    Field(
        "optimizer",
        "clip",
        1.0,
        _float32("a finite number from 0 (0: no clipping)", lambda value: 0 <= value < math.inf, off=0),
        "largest global norm of the gradient",
        kind=STACKED,
    ),
    Field(
        "train",
        "unique_examples",
        0,
        _whole(0, INT32_MAX, "an integer from 0 (0: every training example)"),
        "distinct training examples that the run sees",
        unit="examples",
        kind=STACKED,
    ),
    Field("task", "name", "addition", _named(TASKS), "the task"),
    Field("task", "digits", 3, _whole(1, 4), "digits of an operand", of=("addition",)),
    Field(
        "task",
        "validation_examples",
        100_000,
        POSITIVE,
        "examples that are held out",
        unit="examples",
        of=("addition",),
    ),
    Field(
        "task",
        "split_seed",
        0,
        NATURAL,
        "seed of the split into training and held-out examples",
        of=("addition",),
    ),
    Field("model", "name", "transformer", _named(MODELS), "the model"),
    Field("optimizer", "name", "adamw", _named(OPTIMIZERS), "the optimizer"),
    Field(
        "optimizer",
        "final_lr_fraction",
        0.1,
        _float32("a share from 0 to 1", lambda value: 0 <= value <= 1),
        "learning rate at the end / peak",
        unit="share",
        kind=OPTIONAL,
    ),
    Field(
        "optimizer",
        "cooldown_fraction",
        0.2,
        _number("a share above 0, at most 1 (of wsd)", lambda value: 0 < value <= 1),
        "steps of the cooldown of the wsd schedule / all steps",
        unit="share",
        kind=OPTIONAL,
    ),
    Field("optimizer", "beta1", 0.9, BELOW_1, "decay of the first moment", kind=OPTIONAL, of=_ADAMS),
    Field("optimizer", "beta2", 0.999, BELOW_1, "decay of the second moment", kind=OPTIONAL, of=_ADAMS),
    Field("optimizer", "epsilon", 1e-8, ABOVE_0, "added to the root of the second moment", kind=OPTIONAL, of=_ADAMS),
    Field(
        "train",
        "max_epochs",
        0.0,
        LIMIT,
        "passes over the unique examples beyond which a budget is refused",
        unit="epochs",
        kind=RESUMABLE,
    ),
    Field(
        "train", "matmul_precision", "highest", _one_of(MATMUL_PRECISIONS), "jax_default_matmul_precision in training"
    ),
    Field("train", "share_trunks", True, SWITCH, "runs of wsd that differ in their budget share their stable phase"),
    Field(
        "train",
        "slots",
        "packed",
        Values(object, "packed, all, or an integer from 1", _is_slots),
        "models that one program trains at once: chosen by cost, one for each run, or a number",
    ),
    Field(
        "train",
        "devices",
        0,
        _whole(0, INT32_MAX, "an integer from 0 (0: every device)"),
        "devices that a stack is spread over",
        unit="devices",
        kind=RESUMABLE,
    ),
    Field("train", "chunk_steps", 128, _whole(1, 10_000), "most steps in one call of the device", unit="steps"),
    Field("train", "curve_points", 24, _whole(2, 1000), "evaluations of a run, log-spaced over its steps"),
    Field("train", "curve_examples", 512, POSITIVE, "held-out examples of an evaluation on the way", unit="examples"),
    Field("train", "final_examples", 8192, POSITIVE, "held-out examples of the final evaluation", unit="examples"),
    Field(
        "train",
        "checkpoint_minutes",
        10.0,
        _number("a finite number above 0", lambda value: 0 < value < math.inf),
        "most minutes of training between two checkpoints",
        unit="min",
        kind=RESUMABLE,
    ),
    Field(
        "train",
        "max_wall_hours",
        0.0,
        LIMIT,
        "wall time after which the sweep saves and stops",
        unit="h",
        kind=RESUMABLE,
    ),
)
# Options of the tasks and optimizers that are not the default ones.
MORE_OPTIONS = (
    Field("optimizer", "momentum", 0.9, BELOW_1, "decay of the momentum", kind=OPTIONAL, of=("sgd",)),
    Field("optimizer", "nesterov", False, SWITCH, "momentum of Nesterov", of=("sgd",)),
    Field("optimizer", "beta1", 0.9, BELOW_1, "weight of the momentum in an update", kind=OPTIONAL, of=("lion",)),
    Field("optimizer", "beta2", 0.99, BELOW_1, "decay of the momentum", kind=OPTIONAL, of=("lion",)),
    Field("optimizer", "momentum", 0.95, BELOW_1, "decay of the matrices' momentum", kind=OPTIONAL, of=("muon",)),
    Field("optimizer", "nesterov", True, SWITCH, "momentum of Nesterov, of the matrices", of=("muon",)),
    Field("optimizer", "newton_schulz_steps", 5, _whole(1, 20), "steps that make a matrix orthogonal", of=("muon",)),
    Field(
        "optimizer",
        "decay_rate",
        0.8,
        _float32("a number above 0, below 1", lambda value: 0 < value < 1),
        "the second moment decays by 1 - step^-decay_rate",
        kind=OPTIONAL,
        of=("adafactor",),
    ),
    Field(
        "optimizer",
        "clipping_threshold",
        1.0,
        _float32("a finite number from 1", lambda value: 1 <= value < math.inf),
        "largest root mean square of a tensor's update",
        kind=OPTIONAL,
        of=("adafactor",),
    ),
    Field(
        "optimizer",
        "epsilon",
        1e-30,
        ABOVE_0,
        "added to the squares of the gradient",
        kind=OPTIONAL,
        of=("adafactor",),
    ),
    Field(
        "optimizer",
        "factored_from",
        128,
        _whole(2, INT32_MAX),
        "smaller side from which a matrix keeps sums of rows and columns alone",
        of=("adafactor",),
    ),
    Field(
        "optimizer",
        "scale_by_parameter",
        True,
        SWITCH,
        "lr is relative to a tensor's root mean square",
        of=("adafactor",),
    ),
)
STATIC_FIELDS = tuple(field.name for field in FIELDS if field.kind == STATIC)
STACKED_FIELDS = tuple(field.name for field in FIELDS if field.kind == STACKED)
AXES = STATIC_FIELDS + STACKED_FIELDS  # with a column in every runs.csv
SWEPT = {field.name: field for field in FIELDS if field.name in AXES}
OPTIONAL_AXES = tuple(field.name for field in FIELDS if field.kind == OPTIONAL)  # of the default task and optimizer


def short_of(field: Field) -> str:
    """What stands before a value of the field in run ids."""
    if field.short is not None:
        return field.short
    return f"{field.name}_" if field.kind == OPTIONAL else field.name  # beta1_0.9, and not beta10.9


def of_section(section: str, name: str | None = None) -> dict[str, Field]:
    """Name -> field, in the order of the table; of the built-in task or optimizer `name` (default: the default one)."""
    name = name or DEFAULT_NAMES.get(section, "")
    table = (*FIELDS, *MORE_OPTIONS)
    return {field.name: field for field in table if field.section == section and (not field.of or name in field.of)}


def resumable_fields() -> list[str]:
    """Fields that may differ when a sweep goes on: no result depends on them."""
    return [field.path for field in FIELDS if field.kind == RESUMABLE]


def paths_of(name: str) -> list[str]:
    """Where fields of this name are: `lr` is `optimizer.lr`."""
    return list(dict.fromkeys(field.path for field in (*FIELDS, *MORE_OPTIONS) if field.name == name))
