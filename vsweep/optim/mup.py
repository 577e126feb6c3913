"""Learning rates under muP: of each parameter, relative to that of the base width (`models/mup.py` has the table).

Weight decay stays `lr x weight_decay` a step with the *base's* learning rate for every parameter. With their own
learning rates a wide model's matrices would hardly decay, and the equilibrium between updates and decay would move with
the width (Wang & Aitchison 2024, arXiv:2405.13698).
"""

from collections.abc import Mapping
from typing import Any

import jax
import optax

from vsweep.models.params import ParamSpec, Role, Specs


def factors(name: str, specs: Specs, options: Mapping[str, Any]) -> Any:
    """Learning rate of each parameter / that of the base, a tree of floats; None where all are 1."""
    made = jax.tree.map(lambda spec: _factor(name, spec, options), specs)
    return None if set(jax.tree.leaves(made)) == {1.0} else made


def _factor(name: str, spec: ParamSpec, options: Mapping[str, Any]) -> float:
    """By the size of an update.

    SGD's is that of a gradient. Those of adamw, adam and lion (and of adafactor without `scale_by_parameter`) have
    entries of one size at every width: table 8's column for Adam. Muon's matrices have all singular values alike and a
    fixed root mean square, so their spectral norm grows with sqrt(m) where Adam's grows with m; what has to stay is the
    spectral norm (Yang et al. 2023, arXiv:2310.17813, condition 1). Adafactor's `scale_by_parameter` multiplies an
    update by the size of its parameter, which falls with 1 / sqrt(m) in the matrices (as in Everett et al. 2024,
    arXiv:2407.05872).
    """
    width, is_matrix = spec.width_multiple, spec.role == Role.HIDDEN
    if name == "sgd":
        return 1.0 if is_matrix else width
    by_depth = spec.depth_multiple**-0.5
    if not is_matrix:
        return by_depth
    rooted = name == "muon" or (name == "adafactor" and options["scale_by_parameter"])
    return by_depth * (width**-0.5 if rooted else 1.0 / width)


def scaled(optimizer: optax.GradientTransformation, factors: Any, lr, weight_decay) -> optax.GradientTransformation:
    """`optimizer`, which must not decay weights itself, with its updates times `factors` and decoupled decay."""

    def scale(updates, params):
        return jax.tree.map(
            lambda update, factor, param: factor * update - lr * weight_decay * param, updates, factors, params
        )

    return optax.chain(optimizer, optax.stateless(scale))


def l2_gradient(factors: Any, weight_decay) -> optax.GradientTransformation:
    """Weight decay as a part of the gradient, for SGD: divided by the factor that its updates are multiplied by."""

    def add(gradients, params):
        return jax.tree.map(
            lambda gradient, factor, param: gradient + weight_decay / factor * param, gradients, factors, params
        )

    return optax.stateless(add)
