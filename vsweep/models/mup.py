"""muP: a parametrization under which one learning rate suits every width (Yang et al. 2022, arXiv:2203.03466).

The form is table 8's, which allows tied embeddings. With m = width / base width:

| parameter | initial deviation | multiplier | learning rate, Adam-like | SGD |
| --- | --- | --- | --- | --- |
| embeddings, positions, norms, biases | that of the base | 1 | 1 | m |
| matrices of which both sides grow | 1 / sqrt(fan in) | 1 | 1 / m | 1 |
| head | that of the base | logits / m | 1 | m |

Scores of attention are divided by the head dim instead of its root, relative to the base's head dim. Everything is
relative to the base, so at the base width it is the standard parametrization bit for bit. The learning rates are made
in `optim/mup.py`; here are the rest.

Depth is optional (Yang et al. 2023, arXiv:2310.02244): with d = layers / base layers, residual branches are
multiplied by 1 / sqrt(d), start as those of the base, and Adam-like learning rates in them are divided by sqrt(d).
"""

import dataclasses
import functools
import re

import jax

from vsweep.config.model_options import MUP, PARAMETRIZED
from vsweep.models.base import TRANSFORMER, Model, ModelShape, of_halves
from vsweep.models.params import Params, ParamSpec, Role, Specs

LIKE_THE_BASE = (Role.EMBEDDING, Role.POSITION, Role.OUTPUT)  # their initial entries do not shrink with the width
OF_A_LAYER = r".*_\d+"  # entries of a tree of parameters


def parametrized(model: Model) -> Model:
    """`model`, written for the standard parametrization, in the one that its shape names."""
    width_multiple = _width_multiple(model.shape)
    specs = parametrized_specs(model.shape, model.specs)
    if width_multiple == 1.0:
        return dataclasses.replace(model, specs=specs)

    def head(params: Params) -> jax.Array:
        return model.head(params) / width_multiple

    return of_halves(model.shape, specs, model.features, head)


def parametrized_specs(shape: ModelShape, specs: Specs) -> Specs:
    """`specs` with the initial deviations of the parametrization that `shape` names, and with its multiples."""
    width, depth = _width_multiple(shape), _depth_multiple(shape)

    def scaled(part: Specs, depth: float) -> Specs:
        return jax.tree.map(functools.partial(_scaled, width=width, depth=depth), part)

    return {name: scaled(part, depth if re.fullmatch(OF_A_LAYER, name) else 1.0) for name, part in specs.items()}


def _scaled(spec: ParamSpec, *, width: float, depth: float) -> ParamSpec:
    deviation = spec.deviation * (width**0.5 if spec.role in LIKE_THE_BASE else 1.0)
    return dataclasses.replace(spec, deviation=deviation, width_multiple=width, depth_multiple=depth)


def score_multiplier(shape: ModelShape) -> float:
    """By which queries are multiplied beside 1 / sqrt(head dim). A head dim that is one at all widths needs none."""
    return _width_multiple(shape) ** -0.5 if shape.option("heads") else 1.0


def branch_multiplier(shape: ModelShape) -> float:
    """By which the residual branches of a transformer are multiplied."""
    return _depth_multiple(shape) ** -0.5


def initial_layers(shape: ModelShape) -> int:
    """The number of layers that the initial values of a transformer are made for."""
    return shape.option("base_layers") if _depth_multiple(shape) != 1.0 else shape.layers


def _width_multiple(shape: ModelShape) -> float:
    """Width / base width, and 1 in the standard parametrization."""
    return shape.width / shape.option("base_width") if _is_mup(shape) else 1.0


def _depth_multiple(shape: ModelShape) -> float:
    if shape.family != TRANSFORMER or not _is_mup(shape) or not shape.option("base_layers"):
        return 1.0
    return shape.layers / shape.option("base_layers")


def _is_mup(shape: ModelShape) -> bool:
    return shape.family in PARAMETRIZED and shape.option("parametrization") == MUP
