"""What the trainer asks of a model: a shape, the specs of its parameters, `init` and `apply`."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vsweep.config.fields import of_section
from vsweep.models.params import Params, Specs, init_params
from vsweep.models.target import CPU, Target

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
    options: tuple[tuple[str, Any], ...] = ()  # of the family, where they differ from their defaults
    target: Target = CPU

    @property
    def heads(self) -> int:
        """Attention heads; `width` is a multiple of `head_dim`."""
        return self.width // self.head_dim

    def option(self, name: str) -> Any:
        """The value of an option of a built-in family."""
        chosen = dict(self.options)
        return chosen[name] if name in chosen else of_section("model", self.family)[name].default

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

    A built-in model also gives its two halves, so that a loss need not hold all logits at once. `features` takes what
    `apply` takes and gives `(x_WxN, penalty)`: N = T B, position-major with the batch in the minor axis. The penalty is
    a scalar that is added to the training loss, or None. `head(params)` gives `head_VxW`, and the logits are
    `head_VxW @ x_WxN` in the type of x, then float32. A user's own model has neither.
    """

    shape: ModelShape
    specs: Specs = dataclasses.field(compare=False)  # a dict has no hash; these follow from the shape
    init: Callable[[jax.Array], Params]
    apply: Callable[..., jax.Array]
    features: Callable[..., tuple[jax.Array, jax.Array | None]] | None = None
    head: Callable[[Params], jax.Array] | None = None
    always_with_key: bool = False  # in training it gets a key whatever the rate of dropout

    def training_logits(self, params: Params, tokens_BxT, **dropout) -> tuple[jax.Array, jax.Array | None]:
        """(float32 logits [B, T, V], penalty or None), as `apply` and `features` say."""
        if self.features is None or self.head is None:
            return self.apply(params, tokens_BxT, **dropout), None
        x_WxN, penalty = self.features(params, tokens_BxT, **dropout)
        return logits_of(self.head(params), x_WxN, *tokens_BxT.shape), penalty


def of_halves(shape: ModelShape, specs: Specs, features: Callable, head: Callable) -> Model:
    """A model whose `apply` is its features and its head, and whose initial values are those that `specs` describes."""

    def apply(params: Params, tokens_BxT, *, dropout_key=None, dropout=0.0) -> jax.Array:
        x_WxN, _ = features(params, tokens_BxT, dropout_key=dropout_key, dropout=dropout)
        return logits_of(head(params), x_WxN, *tokens_BxT.shape)

    return Model(shape, specs, functools.partial(init_params, specs), apply, features, head)


def logits_of(head_VxW, x_WxN, batch: int, length: int) -> jax.Array:
    """Float32 logits [B, T, V] of features [W, N], N = T B."""
    logits_VxN = head_VxW.astype(x_WxN.dtype) @ x_WxN
    return logits_VxN.astype(jnp.float32).reshape(-1, length, batch).transpose(2, 1, 0)
