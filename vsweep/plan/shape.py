"""The shape of a stack: what fixes array shapes and programs."""

import dataclasses
from collections.abc import Mapping

from vsweep.config import registry
from vsweep.config.fields import STATIC_FIELDS, SWEPT
from vsweep.config.model_options import ATTENDING
from vsweep.config.sweep_config import SweepConfig
from vsweep.models.base import TRANSFORMER, ModelShape
from vsweep.tasks.base import Task

# The static fields: they fix array shapes and programs.
Shape = dataclasses.make_dataclass(
    "Shape",
    [
        *((name, SWEPT[name].values.type) for name in STATIC_FIELDS),
        ("family", str, TRANSFORMER),  # one in a sweep
        ("model_options", tuple, ()),
    ],
    frozen=True,
    namespace={"__module__": __name__},
)


def shape_of(config: SweepConfig, static: Mapping, point: Mapping) -> Shape:
    """The shape with the values `static` of the static fields, at a point that may vary options of the model.

    It holds those options that do not have their default. A number of heads gives them their size.
    """
    options = {name: field for name, field in registry.known_fields("model", config.model.name).items() if field.of}
    chosen = {name: point.get(name, getattr(config.model, name)) for name in options}
    others = tuple((name, value) for name, value in chosen.items() if value != options[name].default)
    if config.model.name in ATTENDING and (heads := chosen["heads"]):
        static = {**static, "head_dim": static["width"] // heads}
    return Shape(**static, family=config.model.name, model_options=others)


def model_shape(shape: Shape, task: Task) -> ModelShape:
    """The shape of the model that a stack trains on `task`: positions are a sequence's tokens but the last."""
    return ModelShape(
        vocabulary=task.vocabulary,
        positions=task.sequence_length - 1,
        width=shape.width,
        layers=shape.layers,
        head_dim=shape.head_dim,
        ff_multiple=shape.ff_multiple,
        tied_embeddings=shape.tied_embeddings,
        precision=shape.precision,
        family=shape.family,
        options=shape.model_options,
    )
