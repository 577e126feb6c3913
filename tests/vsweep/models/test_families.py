"""What holds for every built-in model, and what each of them is."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.vsweep import small
from vsweep.models import accounting, by_name, flops
from vsweep.models.base import Model, ModelShape
from vsweep.models.families import experts, feed_forward, recurrent, rotary
from vsweep.models.families.layers import norm
from vsweep.models.params import Role, count_by_role
from vsweep.plan import cost

BATCH, LENGTH = 3, 7


def shape_of(model: str, **fields) -> ModelShape:
    planned = small.sweep(small.model_config(model))
    shape = cost.model_shape(planned.stacks[0].shape, planned.task)
    return dataclasses.replace(shape, **{"vocabulary": 14, "positions": LENGTH, **fields})


def with_options(shape: ModelShape, **options) -> ModelShape:
    return dataclasses.replace(shape, options=tuple((dict(shape.options) | options).items()))


def made(shape: ModelShape, seed: int = 0) -> tuple[Model, dict]:
    """A model and parameters that are all different from 0 and 1."""
    model = by_name.build(shape)
    params = jax.jit(model.init)(jax.random.key(seed))
    rng = np.random.default_rng(1)
    return model, jax.tree.map(lambda leaf: leaf + 0.1 * rng.standard_normal(leaf.shape, np.float32), params)


def tokens(batch: int = BATCH, length: int = LENGTH) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 14, (batch, length))


@pytest.mark.parametrize("name", small.MODELS)
def test_a_logit_depends_on_no_later_token_and_on_no_other_example(name):
    model, params = made(shape_of(name))
    apply, one = jax.jit(model.apply), tokens()
    before = apply(params, one)
    for position in range(1, LENGTH):
        other = one.copy()
        other[:, position:] = (other[:, position:] + 1) % 14
        after = apply(params, other)
        assert np.allclose(before[:, :position], after[:, :position], atol=1e-5)
        assert not np.allclose(before[:, position], after[:, position], atol=1e-4)
    other = one.copy()
    other[1:] = (other[1:] + 1) % 14
    assert np.allclose(before[0], apply(params, other)[0], atol=1e-5)


@pytest.mark.parametrize("name", small.MODELS)
def test_features_and_head_make_the_logits(name):
    model, params = made(shape_of(name, tied_embeddings=False))
    x_WxN, penalty = jax.jit(model.features)(params, tokens())
    logits_VxN = model.head(params) @ x_WxN
    assert np.allclose(logits_VxN.reshape(14, LENGTH, BATCH).T, jax.jit(model.apply)(params, tokens()), atol=1e-5)
    assert (penalty is not None) == name.startswith("moe")


@pytest.mark.parametrize("name", small.MODELS)
def test_parameters_are_those_of_the_specs_and_of_the_counts(name):
    shape = shape_of(name)
    model = by_name.build(shape)
    params = jax.eval_shape(model.init, jax.random.key(0))
    assert jax.tree.map(lambda spec: spec.shape, model.specs) == jax.tree.map(lambda leaf: leaf.shape, params)
    assert accounting.params(shape) == sum(leaf.size for leaf in jax.tree.leaves(params))
    embeddings = params["embed"].size + (params["positions"].size if "positions" in params else 0)
    assert accounting.params_non_embedding(shape) == accounting.params(shape) - embeddings
    assert accounting.activation_bytes(shape, 8) > 8 * 4 * shape.positions * shape.width


@pytest.mark.parametrize("name", ["transformer", "rms-swiglu-rotary", "relu-none"])
def test_the_formula_counts_what_the_program_multiplies(name):
    shape = shape_of(name, vocabulary=100, positions=20)  # beyond what is looked up and attended without products
    assert accounting.flops_counted_per_example(shape) == 3 * flops.count(by_name.forward_jaxpr(shape))


def test_of_experts_the_formula_counts_the_active_ones():
    """Where a token goes through all of them, that is what the program multiplies."""
    all_active = with_options(shape_of("moe", vocabulary=100, positions=20), experts=2)
    assert accounting.flops_counted_per_example(all_active) == 3 * flops.count(by_name.forward_jaxpr(all_active))
    shape = with_options(all_active, experts=5)
    more = accounting.flops_counted_per_example(shape) - accounting.flops_counted_per_example(all_active)
    assert more == 3 * 2 * 20 * shape.layers * 3 * shape.width  # three rows more of each router
    assert accounting.params_active(all_active) == accounting.params(all_active)
    assert accounting.params_active(shape) == accounting.params(all_active) + shape.layers * 3 * shape.width


def test_recurrence_is_counted_at_every_position():
    shape = shape_of("lstm", layers=1)
    per_position = 2 * (2 * 4 * shape.width**2 + 14 * shape.width)
    assert accounting.flops_counted_per_example(shape) == 3 * LENGTH * per_position


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_a_recurrent_layer_is_the_written_recurrence(name):
    shape = shape_of(name, layers=1)
    model, params = made(with_options(shape, residual=False))
    x_WxN, _ = jax.jit(model.features)(params, tokens(batch=1))
    layer = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["layer_0"])
    h = c = np.zeros(shape.width)
    for position, token in enumerate(tokens(batch=1)[0]):
        drive = layer["inputs"] @ np.asarray(params["embed"][token], np.float64)
        drive += np.concatenate([layer["bias"][gate] for gate in recurrent.GATES[name]])
        state = layer["state"] @ h
        h, c = _cell(name, drive, state, layer, h, c)
        centred = h - h.mean()
        normed = centred / np.sqrt(np.mean(centred**2) + 1e-6) * np.asarray(params["final_norm"]["scale"])
        assert np.allclose(x_WxN[:, position], normed, atol=1e-4)


def _cell(name: str, drive, state, layer, h, c):
    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    if name == "lstm":
        write, forget, cell, read = np.split(drive + state, 4)
        c = sigmoid(forget) * c + sigmoid(write) * np.tanh(cell)
        return sigmoid(read) * np.tanh(c), c
    (dr, du, dn), (sr, su, sn) = np.split(drive, 3), np.split(state, 3)
    z = sigmoid(du + su)
    n = np.tanh(dn + sigmoid(dr + sr) * (sn + layer["state_bias"]))
    return (1 - z) * n + z * h, c


def test_a_window_sees_its_tokens_and_none_before():
    model, params = made(shape_of("mlp"))
    apply, one = jax.jit(model.apply), tokens()
    before = apply(params, one)[:, -1]
    for back, seen in ((0, True), (2, True), (3, False)):
        other = one.copy()
        other[:, -1 - back] = (other[:, -1 - back] + 1) % 14
        assert np.allclose(before, apply(params, other)[:, -1], atol=1e-6) != seen


def test_rotary_scores_depend_on_the_distance_alone():
    q, k = jax.random.normal(jax.random.key(0), (2, 1, 8, 1, 1))
    q, k = (rotary.turn(jnp.broadcast_to(x, (1, 8, 9, 1)))[0, :, :, 0] for x in (q, k))
    scores_TxS = q.T @ k
    for distance in range(9):
        along = jnp.diagonal(scores_TxS, distance)
        assert np.allclose(along, along[0], atol=1e-5)
    assert not np.allclose(scores_TxS[0, 0], scores_TxS[0, 1:], atol=1e-3)


def test_swiglu_has_about_as_many_parameters_as_gelu():
    shape = shape_of("transformer", width=64)
    gelu, swiglu = (accounting.params(with_options(shape, mlp=kind, bias=False)) for kind in ("gelu", "swiglu"))
    assert 0 <= swiglu - gelu <= shape.layers * 3 * 64
    assert feed_forward.hidden_size(with_options(shape, mlp="swiglu")) == 171


def test_without_biases_no_parameter_is_one():
    shape = with_options(shape_of("transformer"), bias=False)
    assert Role.BIAS not in count_by_role(by_name.param_specs(shape))
    assert Role.POSITION not in count_by_role(by_name.param_specs(with_options(shape, positions="rotary")))


def test_rms_norm_does_not_centre():
    x = jnp.array([[1.0, 5.0], [3.0, 5.0]])
    params = {"scale": jnp.array([1.0, 2.0])}
    assert np.allclose(norm("rms", params, x), [[1 / 5**0.5, 1], [6 / 5**0.5, 2]], atol=1e-5)
    assert np.allclose(norm("layer", params, x), [[-1, 0], [2, 0]], atol=1e-5)


def dense_twin(shape: ModelShape, params: dict) -> tuple[ModelShape, dict]:
    """The transformer whose feed-forward layers are the only expert of a mixture."""
    layers = range(shape.layers)
    twin = params | {f"mlp_{i}": jax.tree.map(lambda leaf: leaf[0], params[f"mlp_{i}"]["experts"]) for i in layers}
    return dataclasses.replace(shape, family="transformer", options=()), twin


@pytest.mark.parametrize("factor", [0.0, 1.0])
def test_one_expert_is_the_dense_model_values_and_gradients(factor):
    shape = dataclasses.replace(shape_of("moe"), options=(("experts", 1), ("capacity_factor", factor)))
    model, params = made(shape)
    twin_shape, twin_params = dense_twin(shape, params)
    twin = by_name.build(twin_shape)
    cotangent = np.random.default_rng(1).normal(size=(BATCH, LENGTH, 14))

    def loss(model, params):
        logits, penalty = model.training_logits(params, tokens())
        return jnp.sum(logits * cotangent) + (0.0 if penalty is None else penalty)

    graded = jax.jit(jax.value_and_grad(loss, argnums=1), static_argnums=0)
    (value, grads), (dense_value, dense_grads) = graded(model, params), graded(twin, twin_params)
    assert float(value) == pytest.approx(float(dense_value), rel=1e-5)
    assert all(np.all(grads[f"mlp_{layer}"]["router"] == 0) for layer in range(shape.layers))
    pairs = zip(jax.tree.leaves(dense_twin(shape, grads)[1]), jax.tree.leaves(dense_grads), strict=True)
    assert all(np.allclose(one, other, atol=1e-4) for one, other in pairs)


def applied(shape: ModelShape, params: dict, x_WxN):
    return jax.jit(experts.apply, static_argnums=(0, 1))(shape, BATCH, params, x_WxN)


def test_experts_are_chosen_and_weighted_token_by_token():
    shape = with_options(shape_of("moe"), experts=4)
    params = made(shape)[1]["mlp_0"]
    x_WxN = jax.random.normal(jax.random.key(2), (shape.width, LENGTH * BATCH))
    y_WxN, _ = applied(shape, params, x_WxN)
    probabilities_ExN = np.asarray(jax.nn.softmax(params["router"] @ x_WxN, axis=0))
    forward = jax.jit(functools.partial(feed_forward.apply, "gelu"))
    each = [forward(jax.tree.map(lambda leaf, e=e: leaf[e], params["experts"]), x_WxN) for e in range(4)]
    expected_WxN = np.array(forward(params["shared"], x_WxN))
    for column, probabilities in enumerate(probabilities_ExN.T):
        best = np.argsort(-probabilities)[:2]
        for expert in best:
            expected_WxN[:, column] += probabilities[expert] / probabilities[best].sum() * each[expert][:, column]
    assert np.allclose(y_WxN, expected_WxN, atol=1e-4)


def test_with_places_enough_nothing_is_dropped_and_with_few_the_last_are():
    free = dataclasses.replace(shape_of("moe"), options=(("experts", 2),))
    params = made(free)[1]["mlp_0"]
    x_WxN = jax.random.normal(jax.random.key(2), (free.width, LENGTH * BATCH))
    y_WxN, _ = applied(free, params, x_WxN)
    ample, tight = (with_options(free, capacity_factor=factor) for factor in (2.0, 0.5))
    assert (experts.places(free), experts.places(ample), experts.places(tight)) == (7, 7, 2)
    assert np.allclose(applied(ample, params, x_WxN)[0], y_WxN, atol=1e-5)
    few_WxTxB = applied(tight, params, x_WxN)[0].reshape(free.width, LENGTH, BATCH)
    chosen_ExTxB = experts.route(free, params["router"], x_WxN)[0].reshape(2, LENGTH, BATCH)
    kept_TxB = ((np.cumsum(chosen_ExTxB, axis=1) <= 2) & chosen_ExTxB).any(axis=0)
    expected = np.where(kept_TxB, y_WxN.reshape(few_WxTxB.shape), 0.0)
    assert 0 < kept_TxB.sum() < LENGTH * BATCH
    assert np.allclose(few_WxTxB, expected, atol=1e-5)


def test_the_penalty_is_the_written_one_and_pulls_towards_balance():
    shape = dataclasses.replace(shape_of("moe"), options=(("experts", 3), ("balance_weight", 0.5)))
    router = made(shape)[1]["mlp_0"]["router"]
    x_WxN = jax.random.normal(jax.random.key(3), (shape.width, 40)) + 1.0
    probabilities = np.asarray(jax.nn.softmax(router @ x_WxN, axis=0), np.float64)
    shares = np.bincount(probabilities.argmax(axis=0), minlength=3) / 40
    penalty = lambda router: experts.route(shape, router, x_WxN)[2]  # noqa: E731
    assert penalty(router) == pytest.approx(0.5 * (3 * np.sum(shares * probabilities.mean(axis=1)) - 1), abs=1e-5)
    assert penalty(router - 0.1 * jax.grad(penalty)(router)) < penalty(router)
