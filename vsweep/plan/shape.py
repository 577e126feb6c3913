"""The shape of a stack: what fixes array shapes and programs."""

import dataclasses

from vsweep.config import fields as config_fields
from vsweep.config.fields import STATIC_FIELDS, SWEPT
from vsweep.config.sweep_config import SweepConfig
from vsweep.models.base import TRANSFORMER, ModelShape
from vsweep.tasks.base import Task

# The static fields: they fix array shapes and programs.
Shape = dataclasses.make_dataclass(
    "Shape",
    [
        *((name, SWEPT[name].values.type) for name in STATIC_FIELDS),
        ("family", str, TRANSFORMER),  # one in a sweep, as its options
        ("model_options", tuple, ()),
    ],
    frozen=True,
    namespace={"__module__": __name__},
)


def family(config: SweepConfig) -> dict:
    """Which model it is: fields of `Shape` that no sweep varies."""
    core = config_fields.of_section("model")
    options = tuple((name, value) for name, value in vars(config.model).items() if name not in core)
    return {"family": config.model.name, "model_options": options}


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
