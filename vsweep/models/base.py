"""What the trainer asks of a model: a shape, the specs of its parameters, `init` and `apply`."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from vsweep.models.params import Params, Specs
from vsweep.models.target import Target

TRANSFORMER = "transformer"


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
    family: str = TRANSFORMER  # or the import path of a user's own
    options: tuple[tuple[str, Any], ...] = ()  # of a user's own
    target: Target = Target()

    @property
    def heads(self) -> int:
        """Attention heads; `width` is a multiple of `head_dim`."""
        return self.width // self.head_dim

    @property
    def ff(self) -> int:
        """Features of the MLP's hidden layer."""
        return self.ff_multiple * self.width


@dataclasses.dataclass(frozen=True)
class Model:
    """One model, pure and unbatched over runs.

    `init(key)` gives float32 parameters as `specs` describes them. `apply(params, tokens_BxT, dropout_key=None,
    dropout=0.0)` gives float32 logits [B, T, V]; with a key, residual branches are dropped with probability `dropout`
    (a traced scalar is fine).
    """

    shape: ModelShape
    specs: Specs = dataclasses.field(compare=False)  # a dict has no hash; these follow from the shape
    init: Callable[[jax.Array], Params]
    apply: Callable[..., jax.Array]
