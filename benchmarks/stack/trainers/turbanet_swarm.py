"""turbanet's swarm: stacked Flax models behind `TurbaTrainState`, one call of Python a step.

It can express this model, with two detours. Its loss functions get no key and no step, so the seed of the dropout rides
in a further column of the tokens. It counts its models by `opt_state[0].count`, so clipping may not stand first in an
`optax.chain` and is put into the update of AdamW instead.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from turbanet import TurbaTrainState

from benchmarks.stack.problem import FF_MULTIPLE, NORM_EPSILON, LayerWeights, Problem, Weights, initial_weights


class Transformer(nn.Module):
    """tokens [B, T] -> logits [B, T, V]."""

    problem: Problem

    @nn.compact
    def __call__(self, tokens_BxT, deterministic: bool = True):
        problem = self.problem
        embed = nn.Embed(problem.task.vocabulary, problem.width, name="embed")
        positions = nn.Embed(problem.positions, problem.width, name="positions")
        x = embed(tokens_BxT) + positions(jnp.arange(problem.positions))
        mask = nn.make_causal_mask(tokens_BxT)
        drop = nn.Dropout(problem.dropout, deterministic=deterministic)
        for index in range(problem.layers):
            attention = nn.MultiHeadDotProductAttention(problem.heads, use_bias=False, name=f"attention_{index}")
            x += drop(attention(norm(f"attention_norm_{index}")(x), mask=mask))
            hidden = nn.Dense(FF_MULTIPLE * problem.width, name=f"up_{index}")(norm(f"mlp_norm_{index}")(x))
            x += drop(nn.Dense(problem.width, name=f"down_{index}")(nn.gelu(hidden)))
        return embed.attend(norm("final_norm")(x))


def norm(name: str) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=NORM_EPSILON, use_bias=False, name=name)


class TurbanetSwarm:
    quantum = 1

    def __init__(self, problem: Problem, models: int):
        self.problem = problem
        self.models = models
        self.tokens_NxS = problem.task.train_tokens_NxS.astype(np.int32)
        sample = jnp.zeros((1, problem.positions), jnp.int32)
        state = TurbaTrainState.swarm(Transformer(problem), make_optimizer(problem), models, sample)
        members = [params_of(initial_weights(problem, seed), problem) for seed in range(models)]
        self.state = state.replace(params=jax.tree.map(lambda *leaves: jnp.stack(leaves), *members))
        self.step = 0
        # One function for the whole training: turbanet compiles anew for another.
        self.loss_of = lambda *arguments: training_loss(problem, *arguments)

    def train(self, steps: int) -> None:
        batches = np.stack([self.problem.examples(k, self.step, steps) for k in range(self.models)], axis=1)
        with jax.default_matmul_precision(self.problem.matmul_precision):
            for examples_KxB in batches:
                tokens_KxBxS = self.tokens_NxS[examples_KxB]
                seeds = np.arange(self.models, dtype=np.int32)[:, None, None] + self.models * self.step
                inputs = np.concatenate([tokens_KxBxS[..., :-1], np.broadcast_to(seeds, (*examples_KxB.shape, 1))], -1)
                labels = jnp.asarray(tokens_KxBxS[..., 1:])
                self.state, loss_K, _ = self.state.train(jnp.asarray(inputs), labels, self.loss_of)
                self.step += 1
        jax.block_until_ready((self.state.params, loss_K))

    def held_out_losses(self) -> list[float]:
        tokens_NxS = self.problem.task.held_out.tokens_NxS.astype(np.int32)
        inputs, labels = (
            jnp.asarray(np.broadcast_to(part, (self.models, *part.shape)))
            for part in (tokens_NxS[:, :-1], tokens_NxS[:, 1:])
        )
        with jax.default_matmul_precision(self.problem.matmul_precision):
            logits = self.state.predict(inputs)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jnp.mean(losses, axis=(1, 2), where=labels != self.problem.task.pad).tolist()


def training_loss(problem: Problem, params: dict, inputs_BxT1, labels_BxT, apply):
    """(mean loss over the labels that are no padding, logits); the last column of the inputs is the dropout's seed."""
    key = jax.random.key(inputs_BxT1[0, -1])
    options = {"deterministic": problem.dropout == 0, "rngs": {"dropout": key}}
    logits_BxTxV = apply({"params": params}, inputs_BxT1[:, :-1], **options)
    losses_BxT = optax.softmax_cross_entropy_with_integer_labels(logits_BxTxV, labels_BxT)
    return jnp.mean(losses_BxT, where=labels_BxT != problem.task.pad), logits_BxTxV


def make_optimizer(problem: Problem) -> optax.GradientTransformation:
    config = problem.optimizer
    schedule = optax.cosine_decay_schedule(config.lr, problem.horizon, alpha=config.final_lr_fraction)
    adamw = optax.adamw(schedule, config.beta1, config.beta2, config.epsilon, weight_decay=config.weight_decay)
    clip = optax.clip_by_global_norm(config.clip)

    def update(grads, state, params=None):
        return adamw.update(clip.update(grads, optax.EmptyState())[0], state, params)

    return optax.GradientTransformation(adamw.init, update)


def params_of(weights: Weights, problem: Problem) -> dict:
    per_head = (problem.width, problem.heads, problem.head_dim)
    params = {
        "embed": {"embedding": weights.embed},
        "positions": {"embedding": weights.positions},
        "final_norm": {"scale": weights.final_norm},
    }
    for index, layer in enumerate(weights.layers):
        params |= {f"{name}_{index}": value for name, value in _layer(layer, per_head).items()}
    return params


def _layer(layer: LayerWeights, per_head: tuple[int, int, int]) -> dict:
    attention = {name: {"kernel": getattr(layer, name).reshape(per_head)} for name in ("query", "key", "value")}
    width, heads, head_dim = per_head
    return {
        "attention_norm": {"scale": layer.attention_norm},
        "attention": {**attention, "out": {"kernel": layer.out.reshape(heads, head_dim, width)}},
        "mlp_norm": {"scale": layer.mlp_norm},
        "up": {"kernel": layer.up, "bias": layer.up_bias},
        "down": {"kernel": layer.down, "bias": layer.down_bias},
    }
