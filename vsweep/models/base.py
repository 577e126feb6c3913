"""What the trainer asks of a model: a shape, `init` and `apply`."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

Params = Any


@dataclasses.dataclass(frozen=True)
class ModelShape:
    """The static fields that fix every array shape of a model."""

    vocabulary: int
    positions: int
    width: int
    layers: int
    head_dim: int
    ff_multiple: int
    tied_embeddings: bool
    precision: str = "float32"

    @property
    def heads(self) -> int:
        return self.width // self.head_dim

    @property
    def ff(self) -> int:
        return self.ff_multiple * self.width


@dataclasses.dataclass(frozen=True)
class Model:
    """`init` and `apply` of one shape; both are pure and unbatched over runs."""

    shape: ModelShape
    init: Callable[[jax.Array], Params]
    apply: Callable[..., jax.Array]
