"""What every contestant trains: one shape, one optimizer, one order of the data, one set of initial weights.

Shapes in names: V vocabulary, T positions, W width, F feed-forward, B batch, S tokens of a sequence, N examples, C
steps. Kernels of `Weights` are [in, out], as in x @ kernel; heads are the major part of the width.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from vsweep import tasks
from vsweep.config.sweep_config import OptimizerConfig, TaskConfig
from vsweep.models.base import ModelShape
from vsweep.tasks import base, data_order

FF_MULTIPLE = 4
NORM_EPSILON = 1e-6
SPLIT_SEED = 0


@dataclass(frozen=True)
class Problem:
    """Plain numbers, so that it travels to a worker process. The optimizer is vsweep's default."""

    width: int
    layers: int = 4
    head_dim: int = 4
    digits: int = 3
    batch_size: int = 256
    held_out: int = 512  # examples by which losses are compared
    horizon: int = 100_000  # steps over which the learning rate falls
    dropout: float = 0.15
    precision: str = "float32"  # of vsweep's activations
    matmul_precision: str = "highest"
    peak_side: int = 2048  # of the large matmuls by which the machine's best rate is measured
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def at(self, width: int) -> "Problem":
        """The same at another width."""
        return replace(self, width=width)

    @property
    def heads(self) -> int:
        return self.width // self.head_dim

    @property
    def positions(self) -> int:
        return self.task.sequence_length - 1

    @property
    def task(self) -> base.Task:
        return _task(self.digits, self.held_out)

    @property
    def label_tokens(self) -> float:
        """Label tokens of one step of one model, on average."""
        return self.batch_size * self.task.mean_label_tokens

    @property
    def model_shape(self) -> ModelShape:
        return ModelShape(
            vocabulary=self.task.vocabulary,
            positions=self.positions,
            width=self.width,
            layers=self.layers,
            head_dim=self.head_dim,
            ff_multiple=FF_MULTIPLE,
            tied_embeddings=True,
            precision=self.precision,
        )

    def examples(self, seed: int, first_step: int, steps: int) -> np.ndarray:
        """int32 [C, B]: the training examples of `steps` steps of the model of `seed`."""
        total = self.task.train_examples
        seen = data_order.examples(seed, total, total, first_step * self.batch_size, steps * self.batch_size)
        return seen.reshape(steps, self.batch_size)

    def learning_rate(self, step: int) -> float:
        """Cosine from the peak to its last fraction over the horizon; the update taken at `step`, from 0."""
        share = min(step / self.horizon, 1.0)
        last = self.optimizer.final_lr_fraction
        return self.optimizer.lr * (last + (1 - last) * 0.5 * (1 + math.cos(math.pi * share)))


@functools.lru_cache(maxsize=4)
def _task(digits: int, held_out: int) -> base.Task:
    task = tasks.build(TaskConfig(digits=digits, validation_examples=held_out, split_seed=SPLIT_SEED))
    _ = task.train_tokens_NxS, task.held_out  # made here, so that nobody's time contains it
    return task


@dataclass(frozen=True)
class LayerWeights:
    """One block: pre-norm attention without biases, pre-norm MLP with them."""

    attention_norm: np.ndarray  # [W]
    query: np.ndarray  # [W, W]
    key: np.ndarray  # [W, W]
    value: np.ndarray  # [W, W]
    out: np.ndarray  # [W, W]
    mlp_norm: np.ndarray  # [W]
    up: np.ndarray  # [W, F]
    up_bias: np.ndarray  # [F]
    down: np.ndarray  # [F, W]
    down_bias: np.ndarray  # [W]


@dataclass(frozen=True)
class Weights:
    """One model; the embedding is the head too."""

    embed: np.ndarray  # [V, W]
    positions: np.ndarray  # [T, W]
    layers: tuple[LayerWeights, ...]
    final_norm: np.ndarray  # [W]


def initial_weights(problem: Problem, seed: int) -> Weights:
    """The weights with which vsweep's run of `seed` begins."""
    return weights_of(_initialise(problem.model_shape)(seed), problem.layers)


@functools.lru_cache(maxsize=1)
def _initialise(shape: ModelShape):
    """seed -> vsweep's parameters, compiled once for all seeds of a shape."""
    import jax

    from vsweep.models import transformer
    from vsweep.train import train_step

    init = transformer.build(shape).init
    return jax.jit(lambda seed: init(train_step.stream_key(seed, "init")))


def weights_of(params: Mapping, layers: int) -> Weights:
    """vsweep's parameters by their names. The one place that knows how `vsweep.models.transformer` lays them out.

    Its kernels have the longer axis first, [out, in] if both are equal. Raises KeyError with the names that are there
    if they are others.
    """

    def layer(index: int) -> LayerWeights:
        attention, mlp = _entry(params, f"attention_{index}"), _entry(params, f"mlp_{index}")
        query, key, value = _projections(attention)
        return LayerWeights(
            attention_norm=_array(params, f"attention_norm_{index}", "scale"),
            query=query,
            key=key,
            value=value,
            out=_array(attention, "out", "kernel").T,
            mlp_norm=_array(params, f"mlp_norm_{index}", "scale"),
            up=_array(mlp, "up", "kernel").T,
            up_bias=_array(mlp, "up", "bias"),
            down=_array(mlp, "down", "kernel"),
            down_bias=_array(mlp, "down", "bias"),
        )

    return Weights(
        embed=_array(params, "embed"),
        positions=_array(params, "positions"),
        layers=tuple(layer(index) for index in range(layers)),
        final_norm=_array(params, "final_norm", "scale"),
    )


def _projections(attention: Mapping) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kernels [in, out] of q, k and v."""
    fused_OxI = _array(attention, "query_key_value", "kernel")
    return tuple(part.T for part in fused_OxI.reshape(3, -1, fused_OxI.shape[-1]))


def _array(tree: Mapping, *names: str) -> np.ndarray:
    for name in names:
        tree = _entry(tree, name)
    return np.asarray(tree)


def _entry(tree: Mapping, name: str):
    if name not in tree:
        raise KeyError(f"no {name!r} among vsweep's parameters {sorted(tree)}: weights_of must learn their layout")
    return tree[name]
