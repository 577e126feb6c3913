"""The one table of fields: what a config may hold, what each field means, and which fields a sweep may vary.

Everything that names the fields reads this table: the dataclasses and their validation, the axes of a sweep, the
columns of runs.csv, run ids, `docs/config.md`, `--help`, and the answers to a mistyped field. It imports nothing but
the standard library, because the analysis reads the columns through it.
"""

import math

from vsweep.config.field import (
    ABOVE_0,
    BELOW_1,
    INT32_MAX,
    LIMIT,
    NATURAL,
    OPTIONAL,
    POSITIVE,
    RESUMABLE,
    SEED_OF_RUN,
    SPLITTING,
    STACKED,
    STATIC,
    STREAM_SEED,
    SWITCH,
    Field,
    Values,
    dropped,
    float32,
    is_slots,
    named,
    number,
    one_of,
    whole,
)
from vsweep.config.model_options import TRANSFORMER_OPTIONS
from vsweep.config.more_options import MORE_OPTIONS

SECTIONS = {
    "task": "what is learned",
    "model": "the transformer, or another model",
    "optimizer": "the optimizer and its schedule",
    "train": "budget, data order, evaluation and devices",
}
SCHEDULES = ("cosine", "linear", "constant", "wsd")
PRECISIONS = ("float32", "bfloat16")
MATMUL_PRECISIONS = ("auto", "default", "highest", "tensorfloat32", "bfloat16")
KEEPING = ("all", "longest", "none")
TASKS = ("addition", "modular_arithmetic", "markov", "text")
MODELS = ("transformer", "moe", "lstm", "gru", "mlp")
OPTIMIZERS = ("adamw", "adam", "sgd", "lion", "muon", "adafactor")
DEFAULT_NAMES = {
    "task": "addition",
    "model": "transformer",
    "optimizer": "adamw",
}  # sections whose `name` brings options of its own
ADAMS = ("adamw", "adam", "muon")  # muon has AdamW for what is no matrix

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
        "optimizer", "schedule", "cosine", one_of(SCHEDULES), "learning rate after the warmup", kind=STATIC, short=""
    ),
    Field(
        "train", "precision", "float32", one_of(PRECISIONS), "type of activations and matmuls", kind=STATIC, short=""
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
        float32("a finite number from 0", lambda value: 0 <= value < math.inf),
        "weight decay: decoupled, but in adam and sgd a part of the gradient",
        kind=STACKED,
    ),
    Field("optimizer", "warmup_steps", 0, NATURAL, "steps of linear warmup", unit="steps", kind=STACKED),
    Field(
        "model",
        "dropout",
        0.15,
        float32("a number from 0 to below 0.99", lambda value: 0 <= value < 0.99, held=dropped),
        "share of activations set to zero in training; rounded to 1/256",
        unit="share",
        kind=STACKED,
    ),
    Field(
        "optimizer",
        "clip",
        1.0,
        float32("a finite number from 0 (0: no clipping)", lambda value: 0 <= value < math.inf, off=0),
        "largest global norm of the gradient",
        kind=STACKED,
    ),
    Field(
        "train",
        "unique_examples",
        0,
        whole(0, INT32_MAX, "an integer from 0 (0: every training example)"),
        "distinct training examples that the run sees",
        unit="examples",
        kind=STACKED,
    ),
    Field("task", "name", "addition", named(TASKS), "the task"),
    Field("task", "digits", 3, whole(1, 4), "digits of an operand", of=("addition",)),
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
    Field("model", "name", "transformer", named(MODELS), "the model"),
    *TRANSFORMER_OPTIONS,
    Field(
        "model",
        "aspect_ratio",
        0.0,
        number("a finite number from 0 (0: off, layers are given)", lambda value: 0 <= value < math.inf),
        "width / layers: layers = max(1, round(width / aspect_ratio))",
    ),
    Field("optimizer", "name", "adamw", named(OPTIMIZERS), "the optimizer"),
    Field(
        "optimizer",
        "final_lr_fraction",
        0.1,
        float32("a share from 0 to 1", lambda value: 0 <= value <= 1),
        "learning rate at the end / peak",
        unit="share",
        kind=OPTIONAL,
    ),
    Field(
        "optimizer",
        "cooldown_fraction",
        0.2,
        number("a share above 0, at most 1 (of wsd)", lambda value: 0 < value <= 1),
        "steps of the cooldown of the wsd schedule / all steps",
        unit="share",
        kind=OPTIONAL,
    ),
    Field("optimizer", "beta1", 0.9, BELOW_1, "decay of the first moment", kind=OPTIONAL, of=ADAMS),
    Field("optimizer", "beta2", 0.999, BELOW_1, "decay of the second moment", kind=OPTIONAL, of=ADAMS),
    Field("optimizer", "epsilon", 1e-8, ABOVE_0, "added to the root of the second moment", kind=OPTIONAL, of=ADAMS),
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
        "train",
        "mixture",
        "",
        Values(str, "source:share,source:share with shares that sum to 1", separator=";"),
        "sources of the task that a run sees, and their shares of its examples; none: every training example alike",
        unit="shares",
        kind=OPTIONAL,
    ),
    Field(
        "train",
        "matmul_precision",
        "highest",
        one_of(MATMUL_PRECISIONS),
        "jax_default_matmul_precision in training; auto: highest on a CPU, elsewhere what JAX does by itself, recorded",
    ),
    Field("train", "share_trunks", True, SWITCH, "runs of wsd that differ in their budget share their stable phase"),
    Field(
        "train",
        "slots",
        "packed",
        Values(object, "packed, all, or an integer from 1", is_slots),
        "models that one program trains at once: chosen by cost, one for each run, or a number",
    ),
    Field(
        "train",
        "devices",
        0,
        whole(0, INT32_MAX, "an integer from 0 (0: every device)"),
        "devices that a stack is spread over",
        unit="devices",
        kind=RESUMABLE,
    ),
    Field(
        "train",
        "device_memory_gib",
        0.0,
        number("0 (what it reports), or a number from 0.001", lambda value: value == 0 or 1e-3 <= value < 2**20),
        "memory of one device that a plan may use",
        unit="GiB",
        kind=RESUMABLE,
    ),
    Field("train", "chunk_steps", 128, whole(1, 10_000), "most steps in one call of the device", unit="steps"),
    Field("train", "curve_points", 24, whole(2, 1000), "evaluations of a run, log-spaced over its steps"),
    Field("train", "curve_examples", 512, POSITIVE, "held-out examples of an evaluation on the way", unit="examples"),
    Field("train", "final_examples", 8192, POSITIVE, "held-out examples of the final evaluation", unit="examples"),
    Field(
        "train",
        "gradient_statistics",
        False,
        SWITCH,
        "measure each run's gradient: columns grad_norm and noise_scale_tokens of curves.csv",
    ),
    Field(
        "train",
        "keep_finished",
        "all",
        one_of(KEEPING),
        "finished runs whose parameters stay: all, those of each stack with the most steps, or none",
    ),
    Field(
        "train",
        "checkpoint_minutes",
        10.0,
        number("a finite number above 0", lambda value: 0 < value < math.inf),
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
HOST_AXES = ("mixture",)  # optional axes of the data order, which the host decides: programs do not know them
STATIC_FIELDS = tuple(field.name for field in FIELDS if field.kind == STATIC)
STACKED_FIELDS = tuple(field.name for field in FIELDS if field.kind == STACKED)
AXES = STATIC_FIELDS + STACKED_FIELDS  # with a column in every runs.csv
SWEPT = {field.name: field for field in FIELDS if field.name in AXES}
OPTIONAL_AXES = tuple(field.name for field in FIELDS if field.kind in (OPTIONAL, SPLITTING))  # of the default names


def short_of(field: Field) -> str:
    """What stands before a value of the field in run ids."""
    if field.short is not None:
        return field.short
    return f"{field.name}_" if field.kind in (OPTIONAL, SPLITTING) else field.name  # beta1_0.9, and not beta10.9


def of_section(section: str, name: str | None = None) -> dict[str, Field]:
    """Name -> field, in the order of the table; of the built-in one `name` (default: the default one)."""
    name = name or DEFAULT_NAMES.get(section, "")
    table = (*FIELDS, *MORE_OPTIONS)
    return {field.name: field for field in table if field.section == section and (not field.of or name in field.of)}


def resumable_fields() -> list[str]:
    """Fields that may differ when a sweep goes on: no result depends on them."""
    return [field.path for field in FIELDS if field.kind == RESUMABLE]


def paths_of(name: str) -> list[str]:
    """Where fields of this name are: `lr` is `optimizer.lr`."""
    return list(dict.fromkeys(field.path for field in (*FIELDS, *MORE_OPTIONS) if field.name == name))
