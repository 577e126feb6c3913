import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.vsweep import small
from vsweep.models import by_name
from vsweep.models.target import Target
from vsweep.train import train_step
from vsweep.train.stack import hyper_of
from vsweep.train.train_step import NEVER, split_labels


@pytest.fixture(scope="module")
def recipe():
    return small.recipe(small.config())


@pytest.fixture(scope="module")
def step(recipe):
    return jax.jit(functools.partial(train_step.train_step, recipe))


@pytest.fixture(scope="module")
def batch():
    return small.sweep(small.config()).task.train_tokens_NxS[:8]


@functools.cache
def initialiser(recipe):
    return jax.jit(functools.partial(train_step.init_run, recipe))


def fresh(recipe, **fields):
    run = small.with_fields(small.stacks(small.config())[0].runs[0], **fields)
    return initialiser(recipe)(jax.tree.map(lambda column: column[0], hyper_of([run])))


def test_labels_are_the_inputs_shifted_by_one_and_padding_does_not_count():
    tokens = np.array([[1, 10, 2, 11, 3, 13, 12, 12]])
    inputs, labels, counted = split_labels(tokens, pad=12)
    assert inputs.tolist() == [[1, 10, 2, 11, 3, 13, 12]]
    assert labels.tolist() == [[10, 2, 11, 3, 13, 12, 12]]
    assert counted.tolist() == [[True, True, True, True, True, False, False]]


def test_the_training_loss_is_the_mean_over_all_labels_and_not_the_answer_alone(recipe, step, batch):
    """Classic bug: loss on the answer only."""
    state = fresh(recipe, dropout=0.0)
    inputs, labels, counted = split_labels(batch, recipe.pad)
    log_probs = np.asarray(jax.nn.log_softmax(jax.jit(recipe.model.apply)(state.params, inputs)), np.float64)
    losses = -np.take_along_axis(log_probs, np.asarray(labels)[..., None], axis=-1)[..., 0]
    after = step(state, batch)
    assert float(after.train_loss) == pytest.approx(losses[np.asarray(counted)].mean(), rel=1e-5)


def test_a_run_takes_exactly_its_horizon_of_steps_and_then_stays_the_same_bit_for_bit(recipe, step, batch):
    state = fresh(recipe, steps=3)
    states = [state]
    for _ in range(5):
        states.append(step(states[-1], batch))
    assert [int(s.step) for s in states] == [0, 1, 2, 3, 3, 3]
    assert not small.same_bits(states[2].params, states[3].params)
    assert small.same_bits(states[3], states[5])


def test_a_learning_rate_of_1e9_is_latched_as_divergence(recipe, step, batch):
    state = fresh(recipe, steps=50, lr=1e9)
    for _ in range(6):
        state = step(state, batch)
    diverged_at = int(state.diverged_at_step)
    assert 0 < diverged_at < 6
    frozen = step(state, batch)
    assert small.same_bits(frozen, state)
    assert int(state.step) == diverged_at


def test_a_nan_in_the_parameters_is_divergence_at_that_step(recipe, step, batch):
    state = step(fresh(recipe), batch)
    state = state._replace(params=jax.tree.map(lambda leaf: leaf.at[(0,) * leaf.ndim].set(jnp.nan), state.params))
    after = step(state, batch)
    assert int(after.diverged_at_step) == 1
    assert np.all(np.isfinite(float(after.train_loss)))


def test_a_healthy_run_never_counts_as_diverged(recipe, step, batch):
    state = fresh(recipe, steps=20)
    for _ in range(20):
        state = step(state, batch)
    assert int(state.diverged_at_step) == NEVER
    assert float(state.train_loss) < 3.0


def test_init_and_dropout_seeds_are_streams_of_their_own(recipe, step, batch):
    one = fresh(recipe)
    other_dropout = fresh(recipe, dropout_seed=9)
    assert small.same_bits(one.params, other_dropout.params)
    assert not small.same_bits(step(one, batch).params, step(other_dropout, batch).params)
    assert not small.same_bits(one.params, fresh(recipe, init_seed=9).params)


def test_weight_decay_and_clip_are_the_runs_own(recipe, step, batch):
    plain = step(fresh(recipe), batch)
    assert not small.same_bits(plain.params, step(fresh(recipe, weight_decay=0.5), batch).params)
    clipped_alike = step(step(fresh(recipe, clip=1e-3), batch), batch)
    assert not small.same_bits(step(plain, batch).params, clipped_alike.params)


@pytest.fixture(scope="module")
def gpu_step(recipe):
    """In the forms that a GPU gets, run here."""
    shape = dataclasses.replace(recipe.model.shape, target=Target("cuda", 7))
    return jax.jit(functools.partial(train_step.train_step, dataclasses.replace(recipe, model=by_name.build(shape))))


def test_a_step_for_a_gpu_learns_the_same(recipe, step, gpu_step, batch):
    one = other = fresh(recipe, steps=5, weight_decay=0.3)
    for _ in range(5):
        one, other = step(one, batch), gpu_step(other, batch)
    assert jax.tree.structure(one) == jax.tree.structure(other)
    assert 0 < small.largest_difference(one, other) < 2e-5


def test_a_nan_is_divergence_on_a_gpu_too(recipe, gpu_step, batch):
    state = fresh(recipe)
    state = state._replace(params=jax.tree.map(lambda leaf: leaf.at[(0,) * leaf.ndim].set(jnp.nan), state.params))
    after = gpu_step(state, batch)
    assert int(after.diverged_at_step) == 0
    assert small.same_bits(after.opt_state, state.opt_state)
