"""The model that a config names: a built-in family, or a user's own by import path.

A user's own is a `flax.linen.Module` (`models/linen.py`), or a function `make(shape, *, option=default, ...) -> (specs,
apply)`: a nested dict of `ParamSpec`, and a function `apply(params, tokens_BxT, *, dropout_key=None, dropout=0.0)` that
gives float32 logits [B, T, V]. `shape` is a `ModelShape`. Both write one model; the trainer lifts it.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax

from vsweep.config import registry
from vsweep.config.problems import ConfigError, Problem
from vsweep.models import linen, mup, transformer
from vsweep.models.base import Model, ModelShape
from vsweep.models.families import layers, recurrent, window_mlp
from vsweep.models.params import ParamSpec, Specs, init_params

FAMILIES = {
    "transformer": transformer,
    "moe": transformer,
    "lstm": recurrent,
    "gru": recurrent,
    "mlp": window_mlp,
}


def build(shape: ModelShape) -> Model:
    """The model of `shape`. Raises ConfigError where a user's own cannot be made."""
    if shape.family in FAMILIES:
        return mup.parametrized(FAMILIES[shape.family].build(shape))
    return _own(shape)


def param_specs(shape: ModelShape) -> Specs:
    """The parameters of the model of `shape`. Raises ConfigError where a user's own cannot be made."""
    if shape.family in FAMILIES:
        return mup.parametrized_specs(shape, FAMILIES[shape.family].param_specs(shape))
    return _own(shape).specs


def looks_up_by_product(shape: ModelShape) -> bool:
    """Whether the embeddings of tokens are looked up by a product that is no work of the model."""
    return shape.family in FAMILIES and shape.vocabulary <= layers.SMALL_VOCABULARY


def forward_jaxpr(shape: ModelShape) -> Any:
    """What the model computes for one example, as JAX sees it."""
    model = build(shape)
    return jax.make_jaxpr(model.apply)(_structs(model.specs), _tokens(shape))


@functools.cache
def _own(shape: ModelShape) -> Model:
    try:
        found = registry.attribute("model", shape.family)
        model = (linen.build if registry.is_linen(found) else _of_function)(found, shape)
        logits = jax.eval_shape(model.apply, _structs(model.specs), _tokens(shape))
        jax.eval_shape(_in_training(model), _structs(model.specs), _tokens(shape), jax.ShapeDtypeStruct((), "float32"))
    except registry.CannotLoad as error:
        raise ConfigError([error.problem]) from error
    except ConfigError:
        raise
    except Exception as error:  # a user's code may raise anything
        allowed = "a function of a ModelShape that returns (specs, apply), or a flax.linen.Module"
        problem = Problem("model.name", f"{shape.family} cannot be made ({registry.in_short(error)})", allowed=allowed)
        raise ConfigError([problem]) from error
    wanted = (1, shape.positions, shape.vocabulary)
    if (logits.shape, str(logits.dtype)) != (wanted, "float32"):
        got, allowed = f"{logits.dtype} {logits.shape}", f"float32 {wanted}: batch, positions, vocabulary"
        raise ConfigError([Problem("model.name", f"{shape.family} gives other logits", got, allowed)])
    return model


def _of_function(make: Callable, shape: ModelShape) -> Model:
    specs, apply = make(shape, **dict(shape.options))
    strange = [spec for spec in jax.tree.leaves(specs) if not isinstance(spec, ParamSpec)]
    if strange or not isinstance(specs, dict):
        raise TypeError(f"{strange[0] if strange else specs!r} is no ParamSpec")
    return Model(shape, specs, functools.partial(init_params, specs), apply)


def _in_training(model: Model) -> Callable[..., jax.Array]:
    """`apply` as the trainer calls it, with a traced rate."""
    return lambda params, tokens, rate: model.apply(params, tokens, dropout_key=jax.random.key(0), dropout=rate)


def _structs(specs: Specs) -> Any:
    return jax.tree.map(lambda spec: jax.ShapeDtypeStruct(spec.shape, "float32"), specs)


def _tokens(shape: ModelShape) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, shape.positions), "int32")
