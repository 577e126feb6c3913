"""A user's own model as a `flax.linen.Module`, seen by the trainer as any other model.

The module is made with those of `registry.GIVEN_FIELDS` that it has fields for; its other fields with numbers, switches
or texts as defaults are options. `__call__(tokens_BxT)` gives logits [B, T, V]. It may take more, each by name:

| argument | value |
| --- | --- |
| `deterministic` | False in training, True in evaluation |
| `train`, `training` | the opposite |
| `dropout` | the run's `model.dropout` in training, 0 in evaluation |

In training there is always an rng `dropout`. The rate is traced, because runs of one program may differ in it. So it is
an argument and no field, and `nn.Dropout`, whose rate has to be known when it is traced, cannot take it. A module may
have rates of its own in fields; `model.dropout` is then 0.
"""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import meta, unfreeze
from flax.traverse_util import flatten_dict, unflatten_dict

from vsweep.config import registry
from vsweep.config.problems import ConfigError, Problem
from vsweep.models.base import Model, ModelShape
from vsweep.models.params import Params, ParamSpec, Role, Specs

PARAMS = "params"
OF_AN_OUTPUT = ("head", "logits", "output", "unembed", "decoder")  # parts of names


def build(kind: type[nn.Module], shape: ModelShape) -> Model:
    """The model of a Linen class. Raises ConfigError for what the trainer cannot keep; the module may raise anything.

    Its initial values are its own, with the run's key. Its specs have roles by guess, as `role_of` says, and no
    deviation.
    """
    module = kind(**_given(kind, shape), **dict(shape.options))
    wanted = inspect.signature(kind.__call__).parameters

    def init(key: jax.Array) -> Params:
        tokens_BxT = jnp.zeros((1, shape.positions), jnp.int32)
        variables = module.init(key, tokens_BxT, **_flags(wanted, training=False, dropout=0.0))
        return unfreeze(meta.unbox(variables[PARAMS]))

    def apply(params: Params, tokens_BxT, *, dropout_key=None, dropout=0.0) -> jax.Array:
        training = dropout_key is not None
        flags = _flags(wanted, training=training, dropout=dropout if training else 0.0)
        rngs = {"dropout": dropout_key} if training else {}
        return module.apply({PARAMS: params}, tokens_BxT, rngs=rngs, **flags).astype(jnp.float32)

    _check_collections(module, shape, _flags(wanted, training=False, dropout=0.0))
    specs = _specs(jax.eval_shape(init, jax.random.key(0)), shape)
    return Model(shape, specs, init, apply, always_with_key=True)


def _given(kind: type[nn.Module], shape: ModelShape) -> dict[str, Any]:
    """Values of the fields that the trainer gives, where the module has them."""
    names = {field.name for field in dataclasses.fields(kind)}
    values = {name: getattr(shape, name) for name in registry.GIVEN_FIELDS if name != "dtype"}
    values["dtype"] = jnp.dtype(shape.precision)
    return {name: value for name, value in values.items() if name in names}


def _flags(wanted: Mapping[str, Any], *, training: bool, dropout) -> dict[str, Any]:
    values = {"deterministic": not training, "train": training, "training": training, "dropout": dropout}
    return {name: value for name, value in values.items() if name in wanted}


def _check_collections(module: nn.Module, shape: ModelShape, flags: Mapping[str, Any]) -> None:
    tokens_BxT = jax.ShapeDtypeStruct((1, shape.positions), "int32")
    variables = jax.eval_shape(lambda key, tokens: module.init(key, tokens, **flags), jax.random.key(0), tokens_BxT)
    if set(variables) == {PARAMS}:
        return
    what = f"{shape.family} keeps other variables than parameters" if PARAMS in variables else "no parameters"
    got, allowed = (
        ", ".join(sorted(variables)) or "nothing",
        "the one collection `params`, as nothing else is kept",
    )
    raise ConfigError([Problem("model.name", what, got, allowed)])


def _specs(params: Params, shape: ModelShape) -> Specs:
    """Of arrays without values."""
    leaves = flatten_dict(params)
    strange = [path for path, leaf in leaves.items() if getattr(leaf, "dtype", None) != jnp.float32]
    if strange:
        path, allowed = "/".join(strange[0]), "arrays of float32; a field `dtype` is for activations"
        got = f"{path}: {getattr(leaves[strange[0]], 'dtype', type(leaves[strange[0]]).__name__)}"
        raise ConfigError([Problem("model.name", f"{shape.family} has other parameters", got, allowed)])
    outputs = [path for path, leaf in leaves.items() if len(leaf.shape) > 1 and leaf.shape[-1] == shape.vocabulary]
    if len(outputs) > 1:
        outputs = [path for path in outputs if any(word in "/".join(path).lower() for word in OF_AN_OUTPUT)]
    roles = {path: role_of(path, leaf.shape, shape, path in outputs) for path, leaf in leaves.items()}
    return unflatten_dict({path: ParamSpec(leaf.shape, roles[path]) for path, leaf in leaves.items()})


def role_of(path: tuple[str, ...], dimensions: tuple[int, ...], shape: ModelShape, is_output: bool) -> Role:
    """What a parameter does, by its name and its dimensions.

    `bias` and `scale` are what Linen's layers call theirs. An `embedding`, or what has `embed` in its path and a row a
    token, is one of tokens; with `pos` in its path, or a row a position instead of a token, it is one of positions.
    `is_output`: a matrix whose last axis is the vocabulary, and of several the one with a name such as `head`. Other
    matrices are hidden ones, and other vectors count as biases. Counts and muon depend on this, and nothing else.
    """
    name, words = path[-1], "/".join(path).lower()
    if name == "scale" or (name == "bias" and len(dimensions) < 2):
        return Role.NORM if name == "scale" else Role.BIAS
    is_table = name == "embedding" or ("embed" in words and dimensions[:1] == (shape.vocabulary,))
    of_positions = dimensions[:1] == (shape.positions,) != (shape.vocabulary,)
    if len(dimensions) > 1 and ("pos" in words or (is_table and of_positions)):
        return Role.POSITION
    if is_table:
        return Role.EMBEDDING
    if is_output:
        return Role.OUTPUT
    return Role.HIDDEN if len(dimensions) > 1 else Role.BIAS
