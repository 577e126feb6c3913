"""Options of the built-in tasks, models and optimizers that are not the default ones."""

import math

from vsweep.config.field import (
    ABOVE_0,
    BELOW_1,
    INT32_MAX,
    OPTIONAL,
    SWITCH,
    Field,
    float32,
    whole,
)
from vsweep.config.model_options import MODEL_OPTIONS

MORE_OPTIONS = (
    *MODEL_OPTIONS,
    Field("optimizer", "momentum", 0.9, BELOW_1, "decay of the momentum", kind=OPTIONAL, of=("sgd",)),
    Field("optimizer", "nesterov", False, SWITCH, "momentum of Nesterov", of=("sgd",)),
    Field("optimizer", "beta1", 0.9, BELOW_1, "weight of the momentum in an update", kind=OPTIONAL, of=("lion",)),
    Field("optimizer", "beta2", 0.99, BELOW_1, "decay of the momentum", kind=OPTIONAL, of=("lion",)),
    Field("optimizer", "momentum", 0.95, BELOW_1, "decay of the matrices' momentum", kind=OPTIONAL, of=("muon",)),
    Field("optimizer", "nesterov", True, SWITCH, "momentum of Nesterov, of the matrices", of=("muon",)),
    Field("optimizer", "newton_schulz_steps", 5, whole(1, 20), "steps that make a matrix orthogonal", of=("muon",)),
    Field(
        "optimizer",
        "decay_rate",
        0.8,
        float32("a number above 0, below 1", lambda value: 0 < value < 1),
        "the second moment decays by 1 - step^-decay_rate",
        kind=OPTIONAL,
        of=("adafactor",),
    ),
    Field(
        "optimizer",
        "clipping_threshold",
        1.0,
        float32("a finite number from 1", lambda value: 1 <= value < math.inf),
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
        whole(2, INT32_MAX),
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
