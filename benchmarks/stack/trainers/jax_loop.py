"""One model after the other in plain JAX: what a user who knows JAX and optax well would write.

Activations [B, T, W], one projection for q, k and v, attention as two einsums, `lax.scan` over the steps of a jitted
chunk with donated state, the training set on the device.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.stack.problem import NORM_EPSILON, Problem, Weights, initial_weights

CHUNK_STEPS = {"cpu": 4, "gpu": 64}  # long beside what a call costs, short beside a measurement


class TrainState(NamedTuple):
    params: dict
    opt_state: optax.OptState
    key: jax.Array


class JaxLoop:
    models = 1

    def __init__(self, problem: Problem, seed: int = 0):
        self.problem = problem
        self.seed = seed
        self.quantum = CHUNK_STEPS[jax.default_backend()]
        self.tokens = jnp.asarray(problem.task.train_tokens_NxS)
        optimizer = make_optimizer(problem)
        params = jax.tree.map(jnp.asarray, params_of(initial_weights(problem, seed)))
        self.state = TrainState(params, optimizer.init(params), jax.random.key(seed))
        self.chunk = jax.jit(functools.partial(train_chunk, problem, optimizer), donate_argnums=0)
        self.step = 0

    def train(self, steps: int) -> None:
        with jax.default_matmul_precision(self.problem.matmul_precision):
            for first in range(0, steps, self.quantum):
                count = min(self.quantum, steps - first)
                examples_CxB = self.problem.examples(self.seed, self.step, count)
                self.state, losses_C = self.chunk(self.state, self.tokens, examples_CxB)
                self.step += count
        losses_C.block_until_ready()

    def held_out_losses(self) -> list[float]:
        tokens_NxS = jnp.asarray(self.problem.task.held_out.tokens_NxS)
        with jax.default_matmul_precision(self.problem.matmul_precision):
            return [float(jax.jit(functools.partial(loss_of, self.problem))(self.state.params, tokens_NxS))]


def make_optimizer(problem: Problem) -> optax.GradientTransformation:
    config = problem.optimizer
    schedule = optax.cosine_decay_schedule(config.lr, problem.horizon, alpha=config.final_lr_fraction)
    adamw = optax.adamw(schedule, config.beta1, config.beta2, config.epsilon, weight_decay=config.weight_decay)
    return optax.chain(optax.clip_by_global_norm(config.clip), adamw)


def params_of(weights: Weights) -> dict:
    layers = [
        {
            "attention_norm": layer.attention_norm,
            "qkv": np.concatenate([layer.query, layer.key, layer.value], axis=1),
            "out": layer.out,
            "mlp_norm": layer.mlp_norm,
            "up": layer.up,
            "up_bias": layer.up_bias,
            "down": layer.down,
            "down_bias": layer.down_bias,
        }
        for layer in weights.layers
    ]
    ends = {"embed": weights.embed, "positions": weights.positions, "final_norm": weights.final_norm}
    return {**ends, "layers": layers}


def train_chunk(problem: Problem, optimizer, state: TrainState, tokens_NxS, examples_CxB):
    """(state, losses [C]) after the steps of one chunk."""

    def step(state: TrainState, examples_B):
        key, dropout_key = jax.random.split(state.key)
        loss_and_grads = jax.value_and_grad(functools.partial(loss_of, problem))
        loss, grads = loss_and_grads(state.params, tokens_NxS[examples_B], dropout_key)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        return TrainState(optax.apply_updates(state.params, updates), opt_state, key), loss

    return jax.lax.scan(step, state, examples_CxB)


def loss_of(problem: Problem, params: dict, tokens_BxS, dropout_key=None):
    """Mean over the labels that are no padding; dropout where there is a key."""
    tokens_BxS = tokens_BxS.astype(jnp.int32)
    inputs_BxT, labels_BxT = tokens_BxS[:, :-1], tokens_BxS[:, 1:]
    logits_BxTxV = forward(problem, params, inputs_BxT, dropout_key)
    losses_BxT = optax.softmax_cross_entropy_with_integer_labels(logits_BxTxV, labels_BxT)
    return jnp.mean(losses_BxT, where=labels_BxT != problem.task.pad)


def forward(problem: Problem, params: dict, inputs_BxT, dropout_key):
    """Logits [B, T, V]."""
    keys = [None] * 2 * problem.layers
    if dropout_key is not None and problem.dropout > 0:
        keys = jax.random.split(dropout_key, 2 * problem.layers)
    x_BxTxW = params["embed"][inputs_BxT] + params["positions"][: inputs_BxT.shape[1]]
    for index, layer in enumerate(params["layers"]):
        branch = attention(problem, layer, norm(x_BxTxW, layer["attention_norm"]))
        x_BxTxW += drop(branch, problem.dropout, keys[2 * index])
        hidden = jax.nn.gelu(norm(x_BxTxW, layer["mlp_norm"]) @ layer["up"] + layer["up_bias"], approximate=True)
        x_BxTxW += drop(hidden @ layer["down"] + layer["down_bias"], problem.dropout, keys[2 * index + 1])
    return norm(x_BxTxW, params["final_norm"]) @ params["embed"].T


def attention(problem: Problem, layer: dict, x_BxTxW):
    batch, length, width = x_BxTxW.shape
    qkv = (x_BxTxW @ layer["qkv"]).reshape(batch, length, 3, problem.heads, problem.head_dim)
    q, k, v = (qkv[:, :, part] for part in range(3))
    scores_BxHxTxS = jnp.einsum("bthd,bshd->bhts", q, k) * problem.head_dim**-0.5
    seen_TxS = jnp.tril(jnp.ones((length, length), bool))
    shares_BxHxTxS = jax.nn.softmax(jnp.where(seen_TxS, scores_BxHxTxS, -jnp.inf), axis=-1)
    mixed_BxTxHxD = jnp.einsum("bhts,bshd->bthd", shares_BxHxTxS, v)
    return mixed_BxTxHxD.reshape(batch, length, width) @ layer["out"]


def norm(x_BxTxW, scale_W):
    mean = jnp.mean(x_BxTxW, axis=-1, keepdims=True)
    variance = jnp.var(x_BxTxW, axis=-1, keepdims=True)
    return (x_BxTxW - mean) * jax.lax.rsqrt(variance + NORM_EPSILON) * scale_W


def drop(branch, rate: float, key):
    if key is None:
        return branch
    return jnp.where(jax.random.bernoulli(key, 1.0 - rate, branch.shape), branch / (1.0 - rate), 0.0)
