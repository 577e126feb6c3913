"""One run, written unbatched: initialise, take a step, evaluate. `stack.py` lifts these over the slots.

A run's randomness comes from its own seeds, a named stream and its own step, never from its place in a stack. A run
that reached its horizon, or diverged, is frozen bit for bit with `where` (a product with 0 would let a NaN through).
"""

import collections
import dataclasses
import functools
import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from vsweep.config.sweep_config import OptimizerConfig
from vsweep.models import base
from vsweep.optim import by_name, schedules
from vsweep.tasks.base import Metric
from vsweep.train.objective import gradient_noise, losses
from vsweep.train.objective.pieces import by_pieces

NEVER = -1
DIVERGED_LOSS_RATIO = 3.0  # a loss above this times ln(vocabulary), after warmup, is divergence
TRAIN_LOSS_WINDOW_SHARE = 0.02  # of the steps so far: time constant of the moving average of the training loss


class Hyper(NamedTuple):
    """The stacked fields of one run, as scalars (or [K] in a stack). A horizon of 0 is an empty slot."""

    horizon: Any  # int32, steps
    init_seed: Any  # int32
    dropout_seed: Any  # int32
    lr: Any  # float32, peak
    weight_decay: Any  # float32
    warmup_steps: Any  # int32
    decay_start: Any  # int32, step at which the learning rate begins to fall
    dropout: Any  # float32
    clip: Any  # float32


@functools.cache
def hyper_with(options: tuple[str, ...]) -> type[Hyper]:
    """`Hyper` with a field more for each optional axis; itself without one, as checkpoints of such sweeps have it."""
    return collections.namedtuple("Hyper", (*Hyper._fields, *options)) if options else Hyper


class RunState(NamedTuple):
    """Everything one run is, apart from its data order (a pure function of its data seed and step)."""

    params: Any
    opt_state: Any
    dropout_key: jax.Array  # uint32 [2], base key of the dropout stream
    step: jax.Array  # int32, updates taken
    diverged_at_step: jax.Array  # int32, NEVER if it did not
    train_loss: jax.Array  # float32, moving average
    hyper: Hyper


# Of a sweep that measures gradients: with a `GradientStatistics` more. Checkpoints of other sweeps have none.
MeasuredRunState = collections.namedtuple("MeasuredRunState", (*RunState._fields, "gradients"))


class ExampleLosses(NamedTuple):
    """Per held-out example: sums over its labels, so that the host can form exact ratios in float64."""

    loss_N: jax.Array  # float32, nats
    answer_loss_N: jax.Array  # float32, nats
    exact_N: jax.Array  # bool, every answer label is the argmax
    metrics: tuple[jax.Array, ...] = ()  # float32 [N] each, the task's own


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What all runs of a stack share: the model, the optimizer's constants and the padding token."""

    model: base.Model
    optimizer: OptimizerConfig
    schedule: str
    pad: int
    use_dropout: bool
    metrics: tuple[Metric, ...] = ()  # the task's own
    options: tuple[str, ...] = ()  # the optional axes that the sweep varies: fields of `Hyper`
    gradient_statistics: bool = False  # runs are `MeasuredRunState`s
    piece: int = 0  # examples that a training step takes at once; 0: the whole batch


def stream_key(seed, stream: str) -> jax.Array:
    """The key of a named random stream; threefry, for rbg keys under vmap depend on the neighbours."""
    return jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), zlib.crc32(stream.encode()))


def init_run(recipe: Recipe, hyper: Hyper) -> RunState:
    """A run at step 0."""
    params = recipe.model.init(stream_key(hyper.init_seed, "init"))
    state = RunState(
        params=params,
        opt_state=_optimizer(recipe, hyper, step=0).init(params),
        dropout_key=jax.random.key_data(stream_key(hyper.dropout_seed, "dropout")),
        step=jnp.int32(0),
        diverged_at_step=jnp.int32(NEVER),
        train_loss=jnp.float32(0.0),
        hyper=hyper,
    )
    return MeasuredRunState(*state, gradient_noise.nothing_yet()) if recipe.gradient_statistics else state


def is_active(state: RunState) -> jax.Array:
    """Whether a run still trains: before its horizon, and not diverged. Boolean scalar."""
    return (state.step < state.hyper.horizon) & (state.diverged_at_step == NEVER)


def train_step(recipe: Recipe, state: RunState, tokens_BxS: jax.Array) -> RunState:
    """One update on a batch of sequences; a frozen run comes back unchanged, bit for bit."""
    loss, grads, measured = _loss_and_gradient(recipe, state, tokens_BxS)
    updates, opt_state = _optimizer(recipe, state.hyper, state.step).update(grads, state.opt_state, state.params)
    active = is_active(state)
    diverged = active & has_diverged(recipe, state, loss, _norm(recipe, grads))
    updated = state._replace(
        params=optax.apply_updates(state.params, updates),
        opt_state=opt_state,
        step=state.step + 1,
        train_loss=_moving_average(state, loss),
        **measured,
    )
    kept = jax.tree.map(lambda new, old: jnp.where(active & ~diverged, new, old), updated, state)
    return kept._replace(diverged_at_step=jnp.where(diverged, state.step, state.diverged_at_step))


def has_diverged(recipe: Recipe, state: RunState, loss, grad_norm) -> jax.Array:
    """A non-finite loss or gradient, or a loss far above chance after warmup."""
    limit = DIVERGED_LOSS_RATIO * jnp.log(jnp.float32(recipe.model.shape.vocabulary))
    exploded = (loss > limit) & (state.step >= state.hyper.warmup_steps)
    return ~jnp.isfinite(loss) | ~jnp.isfinite(grad_norm) | exploded


def evaluate(recipe: Recipe, params, tokens_NxS: jax.Array, answer_NxL: jax.Array) -> ExampleLosses:
    """Held-out losses of one run, dropout off.

    `exact_N` needs no generation: greedy decoding gives the answer exactly when every label of the answer is the
    argmax of the teacher-forced pass. Metrics take logits: where a task has some, all logits of the examples are made.
    """
    inputs_NxL, labels_NxL, counted_NxL = split_labels(tokens_NxS, recipe.pad)
    if recipe.metrics:
        logits_NxLxV = recipe.model.apply(params, inputs_NxL)
        losses_NxL, right_NxL = losses.losses_of_logits(logits_NxLxV, labels_NxL)
    else:
        losses_NxL, right_NxL = losses.evaluation_losses(recipe.model, params, inputs_NxL, labels_NxL)
    losses_NxL = jnp.where(counted_NxL, losses_NxL, 0.0)
    return ExampleLosses(
        loss_N=losses_NxL.sum(axis=1),
        answer_loss_N=jnp.where(answer_NxL, losses_NxL, 0.0).sum(axis=1),
        exact_N=jnp.all(right_NxL | ~answer_NxL, axis=1),
        metrics=tuple(jnp.asarray(metric(logits_NxLxV, labels_NxL), jnp.float32) for metric in recipe.metrics),
    )


def split_labels(tokens_BxS: jax.Array, pad: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(inputs, labels, which labels count): labels are the inputs shifted by one, and padding does not count."""
    tokens_BxS = tokens_BxS.astype(jnp.int32)
    labels_BxL = tokens_BxS[:, 1:]
    return tokens_BxS[:, :-1], labels_BxL, labels_BxL != pad


def _loss_and_gradient(recipe: Recipe, state: RunState, tokens_BxS) -> tuple[jax.Array, Any, dict]:
    """(training loss, its gradient, new fields of the state: its gradient statistics where those are measured)."""
    descend = jax.value_and_grad(_training_loss, argnums=1)
    if recipe.piece:

        def of_piece(piece, total, tokens_CxS):
            return descend(recipe, state.params, state, tokens_CxS, piece=piece, total=total)

        return *by_pieces(of_piece, state.params, tokens_BxS, recipe.piece, recipe.pad), {}
    if not recipe.gradient_statistics:
        return *descend(recipe, state.params, state, tokens_BxS), {}

    def of_half(half, tokens_HxS):
        return descend(recipe, state.params, _with_own_dropout(state, half), tokens_HxS)

    loss, grads, here = gradient_noise.by_halves(of_half, tokens_BxS, recipe.pad)
    return loss, grads, {"gradients": gradient_noise.averaged(state.gradients, here, state.step)}


def _norm(recipe: Recipe, grads) -> jax.Array:
    """Of the whole gradient. On a GPU of one long vector: a kernel, where most optimizers' clipping needs the same one.

    `optax.flatten` joins gradients in this order too, so XLA takes both norms for one.
    """
    if recipe.model.shape.target.is_gpu:
        grads = jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(grads)])
    return optax.tree.norm(grads)


def _with_own_dropout(state: RunState, half) -> RunState:
    """Each half of a batch draws masks of its own; beyond every step, so that no draw is another step's."""
    key = jax.random.wrap_key_data(state.dropout_key, impl="threefry2x32")
    return state._replace(dropout_key=jax.random.key_data(jax.random.fold_in(key, jnp.uint32(2**31) + half)))


def _training_loss(recipe: Recipe, params, state: RunState, tokens_BxS, **of_batch) -> jax.Array:
    """Mean over all labels that count; the whole sequence, not the answer alone. Of a piece: its share."""
    inputs_BxL, labels_BxL, counted_BxL = split_labels(tokens_BxS, recipe.pad)
    key = None
    if recipe.use_dropout or recipe.model.always_with_key:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.dropout_key, impl="threefry2x32"), state.step)
    dropout = {"dropout_key": key, "dropout": state.hyper.dropout}
    return losses.training_loss(recipe.model, params, inputs_BxL, labels_BxL, counted_BxL, **of_batch, **dropout)


def _optimizer(recipe: Recipe, hyper: Hyper, step) -> optax.GradientTransformation:
    config = recipe.optimizer
    values = {**vars(config), **{name: getattr(hyper, name) for name in recipe.options}}
    lr = schedules.learning_rate(
        schedules.unit_schedule(recipe.schedule, values["final_lr_fraction"]),
        peak=hyper.lr,
        step=step,
        horizon=hyper.horizon,
        warmup_steps=hyper.warmup_steps,
        decay_start=hyper.decay_start,
    )
    options = {name: values[name] for name in by_name.options_of(config)}
    decay = {"weight_decay": hyper.weight_decay, "clip": hyper.clip}
    return by_name.build(config.name, recipe.model.specs, options, lr=lr, target=recipe.model.shape.target, **decay)


def _moving_average(state: RunState, loss: jax.Array) -> jax.Array:
    """Over a share of the steps so far, not of the horizon: until runs of one trunk part, nothing tells them apart."""
    window = jnp.maximum(1.0, TRAIN_LOSS_WINDOW_SHARE * (state.step.astype(jnp.float32) + 1.0))
    return state.train_loss + (loss - state.train_loss) / window
