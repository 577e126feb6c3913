"""The optimizer that a config names: built in, or a user's own function by import path.

Its hyperparameters are values or, where the sweep varies them, traced scalars: one program serves every value.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import optax

from vsweep.config import registry
from vsweep.config.problems import ConfigError, Problem
from vsweep.models.params import Specs
from vsweep.models.target import CPU, Target
from vsweep.optim import adamw, mup
from vsweep.optim.built_in import BUILT_IN

FLAT = ("adam", "sgd", "lion")  # each number by itself: one long vector is less to compile, and faster
SCHEDULE_OPTIONS = ("final_lr_fraction", "cooldown_fraction")
CORE = ("name", "schedule", "lr", "weight_decay", "warmup_steps", "clip", *SCHEDULE_OPTIONS)


def options_of(config: Any) -> dict[str, Any]:
    """The optimizer's own options and their values in a section `optimizer`."""
    return {name: value for name, value in vars(config).items() if name not in CORE}


def build(
    name: str, specs: Specs, options: Mapping[str, Any], *, lr, weight_decay, clip, target: Target = CPU
) -> optax.GradientTransformation:
    """Clipping by the run's own global norm, then the optimizer `name` on the parameters that `specs` describes.

    The state has the same arrays for every `target`, what its program is compiled for.
    `lr`, `weight_decay`, `clip` and all float `options` may be traced. Under muP `lr` is that of the base width.

    Raises:
      registry.CannotLoad: an import path that leads to nothing.
    """
    factors = None if registry.is_import_path(name) else mup.factors(name, specs, options)
    if factors is not None:
        decay = 0.0 if name == "sgd" else weight_decay
        before = [mup.l2_gradient(factors, weight_decay)] if name == "sgd" else []
        base = _build(name, specs, options, lr=lr, weight_decay=0.0, clip=clip, before=before, target=target)
        return mup.scaled(base, factors, lr, decay)
    return _build(name, specs, options, lr=lr, weight_decay=weight_decay, clip=clip, target=target)


def _build(
    name: str,
    specs: Specs,
    options: Mapping[str, Any],
    *,
    lr,
    weight_decay,
    clip,
    target: Target,
    before: Sequence = (),
) -> optax.GradientTransformation:
    """The same in the standard parametrization; what stands in `before` comes behind the clipping."""
    if name == "adamw":
        return adamw.build(specs, lr=lr, weight_decay=weight_decay, clip=clip, target=target, **options)
    if registry.is_import_path(name):
        own = _own(registry.attribute("optimizer", name), specs, options, lr, weight_decay)
    else:
        with_specs = {"specs": specs} if name == "muon" else {}
        own = BUILT_IN[name](lr, weight_decay, **options, **with_specs)
    clipped = optax.chain(optax.clip_by_global_norm(clip), *before, own)
    return optax.flatten(clipped) if name in FLAT and not before else clipped


def state_numbers(config: Any, specs: Specs) -> int:
    """How many numbers the state of the optimizer in a section `optimizer` holds, scalars left out.

    Raises:
      ConfigError: a user's own optimizer fails, or is none.
    """
    if config.name == "adamw":  # known; a plan asks often
        return 2 * sum(spec.size for spec in jax.tree.leaves(specs))
    options = options_of(config)
    traced = {name: value for name, value in options.items() if type(value) is float}
    params = jax.tree.map(lambda spec: jax.ShapeDtypeStruct(spec.shape, "float32"), specs)

    def one_update(params, lr, weight_decay, clip, traced):
        optimizer = build(config.name, specs, {**options, **traced}, lr=lr, weight_decay=weight_decay, clip=clip)
        state = optimizer.init(params)
        return state, optimizer.update(params, state, params)

    try:
        state, (updates, after) = jax.eval_shape(one_update, params, 0.1, 0.1, 1.0, traced)
    except Exception as error:  # a user's code may raise anything
        raise ConfigError([_broken(config.name, f"cannot be traced ({registry.in_short(error)})")]) from error
    if jax.tree.map(_kind, updates) != jax.tree.map(_kind, params):
        raise ConfigError([_broken(config.name, "gives updates in other shapes than the parameters")])
    if jax.tree.map(_kind, state) != jax.tree.map(_kind, after):
        raise ConfigError([_broken(config.name, "changes the shapes of its state")])
    return sum(leaf.size for leaf in jax.tree.leaves(state) if leaf.ndim)


def _own(function, specs: Specs, options: Mapping[str, Any], lr, weight_decay) -> optax.GradientTransformation:
    """A user's own. Where it takes no weight decay, that is added to its updates, decoupled."""
    wanted = inspect.signature(function).parameters
    given = {name: value for name, value in (("weight_decay", weight_decay), ("specs", specs)) if name in wanted}
    own = function(learning_rate=lr, **options, **given)
    if "weight_decay" in wanted:
        return own

    def decay(updates, params):
        return jax.tree.map(lambda update, param: update - lr * weight_decay * param, updates, params)

    return optax.chain(own, optax.stateless(decay))


def _kind(leaf) -> tuple:
    return (*leaf.shape, str(leaf.dtype))


def _broken(name: str, what: str) -> Problem:
    allowed = "a function of traced numbers that returns an optax.GradientTransformation"
    return Problem("optimizer.name", f"{name} {what}", allowed=allowed)
