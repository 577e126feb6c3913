"""Options of the built-in models: those of the transformer, which stand in every config, and those of the others."""

import math

from vsweep.config.field import INT32_MAX, SPLITTING, SWITCH, Field, float32, one_of, whole

ATTENDING = ("transformer", "moe")
RECURRENT = ("lstm", "gru")
NORMS = ("layer", "rms")
MLPS = ("gelu", "relu", "swiglu")
STANDARD, MUP = "standard", "mup"
PARAMETRIZED = ("transformer", *RECURRENT, "mlp")  # a router of experts has no rule in muP's table
POSITIONS = ("learned", "rotary", "none")
# Fields of every model that have no meaning in some.
UNUSED = {"lstm": ("head_dim", "ff_multiple"), "gru": ("head_dim", "ff_multiple"), "mlp": ("head_dim",)}


def _option(name: str, default, values, meaning: str, of: tuple[str, ...]) -> Field:
    return Field("model", name, default, values, meaning, kind=SPLITTING, of=of)


TRANSFORMER_OPTIONS = (
    _option(
        "norm",
        "layer",
        one_of(NORMS),
        "layer: centred, divided by the deviation, with a scale and no bias; rms: divided by the root mean square, with"
        " a scale",
        (*ATTENDING, *RECURRENT, "mlp"),
    ),
    _option(
        "mlp",
        "gelu",
        one_of(MLPS),
        "feed-forward layer; swiglu has three matrices, so its hidden size is 2/3 of the others', rounded up",
        ATTENDING,
    ),
    _option(
        "positions",
        "learned",
        one_of(POSITIONS),
        "learned: a vector is added to each position; rotary: queries and keys are turned; none: the causal mask alone",
        ATTENDING,
    ),
    _option("bias", True, SWITCH, "biases in the feed-forward layers; attention and norms have none", ATTENDING),
    _option(
        "heads",
        0,
        whole(0, 4096),
        "attention heads, the same at every width: head_dim is width / heads; 0: width / head_dim of them",
        ATTENDING,
    ),
    _option(
        "parametrization",
        STANDARD,
        one_of((STANDARD, MUP)),
        "mup: lr is that of base_width, and suits every width",
        PARAMETRIZED,
    ),
    Field(
        "model",
        "base_width",
        0,
        whole(0, INT32_MAX),
        "under mup: the width at which it is the standard parametrization",
        of=PARAMETRIZED,
    ),
    Field(
        "model",
        "base_layers",
        0,
        whole(0, INT32_MAX),
        "under mup: the number of layers for which lr is; 0: depth scales nothing",
        of=("transformer",),
    ),
    _option("qk_norm", False, SWITCH, "queries and keys have a root mean square of 1, and a scale", ATTENDING),
)
"""Options of the default model: their default is what the transformer was before it had options."""

MODEL_OPTIONS = (
    _option("residual", True, SWITCH, "each layer is added to its input, which it sees normed", RECURRENT),
    _option("window", 8, whole(1, 4096), "last tokens that a logit depends on, its own position's included", ("mlp",)),
    _option("experts", 4, whole(1, 1024), "feed-forward layers among which a token's are chosen", ("moe",)),
    _option("experts_per_token", 1, whole(1, 1024), "experts that a token goes through", ("moe",)),
    _option("shared_expert", False, SWITCH, "one expert more, which every token goes through", ("moe",)),
    Field(
        "model",
        "capacity_factor",
        0.0,
        float32("a finite number from 0 (0: no token is dropped)", lambda value: 0 <= value < math.inf, off=0),
        "places of an expert in a sequence / the mean number of tokens that come to it; 0: as many as come, and every"
        " expert is computed for every token",
        of=("moe",),
    ),
    Field(
        "model",
        "balance_weight",
        0.01,
        float32("a finite number from 0", lambda value: 0 <= value < math.inf),
        "weight of the load-balancing loss in training",
        of=("moe",),
    ),
)
