import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vsweep.models import accounting, transformer
from vsweep.models.base import ModelShape
from vsweep.models.dropout import Dropout
from vsweep.models.families import feed_forward, layers

SHAPE = ModelShape(vocabulary=14, positions=7, width=8, layers=2, head_dim=4, ff_multiple=4, tied_embeddings=True)


@pytest.fixture(scope="module")
def model():
    built = transformer.build(SHAPE)
    return dataclasses.replace(built, apply=jax.jit(built.apply))


@pytest.fixture(scope="module")
def params(model):
    return jax.jit(model.init)(jax.random.key(0))


def tokens(batch: int, length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, SHAPE.vocabulary, (batch, length))


def test_a_logit_depends_on_no_token_behind_it(model, params):
    """Classic bug: a causal mask that is made and never passed. Batch, length and width are all different."""
    one = tokens(batch=3, length=6)
    for position in range(1, 6):
        other = one.copy()
        other[:, position:] = (other[:, position:] + 1) % SHAPE.vocabulary
        before, after = model.apply(params, one), model.apply(params, other)
        assert np.array_equal(before[:, :position], after[:, :position])
        assert not np.allclose(before[:, position:], after[:, position:])


def test_a_logit_depends_on_every_token_before_it(model, params):
    one = tokens(batch=1, length=6)
    last = model.apply(params, one)[0, -1]
    for position in range(6):
        other = one.copy()
        other[:, position] = (other[:, position] + 1) % SHAPE.vocabulary
        assert not np.allclose(model.apply(params, other)[0, -1], last, atol=1e-5)


@pytest.mark.parametrize(("batch", "length"), [(1, 7), (5, 3), (7, 7), (7, 5)])
def test_any_batch_and_length_gives_each_example_the_logits_it_has_alone(model, params, batch, length):
    """Classic bug: a mask helper that works only because of a lucky shape."""
    inputs = tokens(batch, length)
    together = model.apply(params, inputs)
    assert together.shape == (batch, length, SHAPE.vocabulary)
    alone = [model.apply(params, inputs[row : row + 1])[0] for row in range(batch)]
    assert np.allclose(together, np.stack(alone), atol=1e-5)


def test_initial_weights_have_the_spread_of_their_fan_in_and_no_two_are_the_same_draw():
    """Residual projections are narrower by sqrt(2 layers), for both ways round in which a kernel is kept."""
    width, layers = 64, 2
    shape = ModelShape(14, 12, width, layers, 4, 4, tied_embeddings=False)
    made = jax.device_get(jax.jit(transformer.build(shape).init)(jax.random.key(0)))
    block = [made["attention_1"][name]["kernel"] for name in ("query_key_value", "out")]
    block += [made["mlp_1"][name]["kernel"] for name in ("up", "down")]
    residual = (2 * layers) ** -0.5
    scales = {"wide": 1, "out": residual, "up": 1, "down": residual * 4**-0.5}
    matrices = [*block, made["embed"], made["head"]]
    for matrix, scale in zip(matrices, [*scales.values(), 1, 1], strict=True):
        assert matrix.std() == pytest.approx(scale * width**-0.5, rel=0.1)
        assert abs(matrix.mean()) < 4 * matrix.std() / matrix.size**0.5
    assert np.all(made["final_norm"]["scale"] == 1)
    assert np.all(made["mlp_0"]["up"]["bias"] == 0)
    drawn = [leaf.ravel()[:700] / leaf.std() for leaf in jax.tree.leaves(made) if leaf.ndim == 2]
    assert np.allclose(np.corrcoef(drawn) - np.eye(len(drawn)), 0, atol=0.15)


@pytest.mark.parametrize("tied", [True, False])
def test_counted_parameters_are_the_parameters_there_are(tied):
    shape = ModelShape(14, 7, 12, 3, 4, 4, tied_embeddings=tied)
    made = jax.eval_shape(transformer.build(shape).init, jax.random.key(0))
    sizes = {name: sum(leaf.size for leaf in jax.tree.leaves(leaves)) for name, leaves in made.items()}
    embedding = sizes["embed"] + sizes["positions"] + sizes.get("head", 0)
    width, ff = shape.width, shape.ff
    assert sum(sizes.values()) - embedding == 3 * (2 * width + 4 * width**2 + 2 * width * ff + ff + width) + width
    assert accounting.params(shape) == sum(sizes.values())
    assert accounting.params_non_embedding(shape) == sum(sizes.values()) - embedding
    assert ("head" in made) != tied


def test_counted_flops_are_those_of_the_compiled_forward_pass():
    """XLA counts elementwise work too, so the plain attention of a wide model is compared: there matmuls dominate."""
    shape = ModelShape(14, 32, 256, 2, 64, 4, tied_embeddings=True)
    model = transformer.build(shape)
    params = jax.eval_shape(model.init, jax.random.key(0))
    inputs = jax.ShapeDtypeStruct((4, 32), jnp.int32)
    counted = jax.jit(model.apply).lower(params, inputs).cost_analysis()["flops"]
    assert counted == pytest.approx(4 * accounting.flops_counted_per_example(shape) / 3, rel=0.05)


def test_gelu_and_its_gradient_are_those_of_the_tanh_form():
    x = jnp.linspace(-8.0, 8.0, 201)
    assert np.allclose(feed_forward.gelu(x), jax.nn.gelu(x, approximate=True), atol=1e-6)
    ours, theirs = (
        jax.vmap(jax.grad(f))(x) for f in (feed_forward.gelu, functools.partial(jax.nn.gelu, approximate=True))
    )
    assert np.allclose(ours, theirs, atol=3e-6)


def test_a_large_vocabulary_is_looked_up_and_gives_the_same_logits(model, params, monkeypatch):
    inputs = tokens(batch=3, length=5)
    by_product = model.apply(params, inputs)
    monkeypatch.setattr(layers, "SMALL_VOCABULARY", 0)
    assert np.allclose(transformer.build(SHAPE).apply(params, inputs), by_product, atol=1e-5)


def test_dropout_drops_its_share_and_keeps_the_mean(model, params):
    inputs = tokens(batch=2, length=7)
    ones = jnp.ones((1, 40, 500))
    drop = Dropout.draw(jax.random.key(0), 0.15, ones.shape)
    dropped = drop(ones[0], 0)
    assert float(jnp.mean(dropped == 0)) == pytest.approx(38 / 256, abs=0.01)
    assert float(jnp.mean(dropped)) == pytest.approx(1.0, abs=0.02)
    without = model.apply(params, inputs)
    assert np.array_equal(without, model.apply(params, inputs, dropout_key=jax.random.key(1), dropout=0.0))
    assert not np.allclose(without, model.apply(params, inputs, dropout_key=jax.random.key(1), dropout=0.15))


@pytest.mark.parametrize("dropout", [None, 0.15])
def test_scanned_layers_are_the_unrolled_ones_with_the_same_parameters(dropout, monkeypatch):
    """Values and gradients, dropout included: the tree of parameters, which checkpoints hold, is one and the same."""
    key = None if dropout is None else jax.random.key(1)
    inputs, cotangent = tokens(batch=5, length=7), np.random.default_rng(1).normal(size=(5, 7, SHAPE.vocabulary))

    def loss(params):
        logits = transformer.build(SHAPE).apply(params, inputs, dropout_key=key, dropout=dropout or 0.0)
        return jnp.sum(logits * cotangent.astype(np.float32)), logits

    def of_form(first_scanned: int):
        monkeypatch.setattr(transformer, "SCANNED_LAYERS", first_scanned)
        made = jax.jit(transformer.build(SHAPE).init)(jax.random.key(0))
        made = jax.tree.map(lambda leaf: leaf + 0.1, made)  # biases and scales are told apart too
        lowered = jax.jit(jax.value_and_grad(loss, has_aux=True)).lower(made)
        return made, lowered, lowered.compile()(made)

    made, unrolled, ((_, logits), grads) = of_form(3)
    again, scanned, ((_, scanned_logits), scanned_grads) = of_form(2)
    assert scanned.as_text().count("stablehlo.while") > unrolled.as_text().count("stablehlo.while")
    assert jax.tree.all(jax.tree.map(lambda one, other: bool((one == other).all()), made, again))
    assert jax.tree.structure(grads) == jax.tree.structure(scanned_grads)
    for one, other in zip(
        jax.tree.leaves((logits, grads)), jax.tree.leaves((scanned_logits, scanned_grads)), strict=True
    ):
        assert np.abs(one - other).max() <= 3e-6 * np.abs(one).max()


def test_features_and_head_make_the_logits_bit_for_bit(model, params):
    """Position-major, the batch minor: the order that a loss in parts relies on."""
    inputs = tokens(batch=3, length=5)
    x_WxN, penalty = jax.jit(model.features)(params, inputs)
    logits_VxN = jax.jit(jnp.matmul)(model.head(params), x_WxN)
    by_position = model.apply(params, inputs).transpose(2, 1, 0).reshape(SHAPE.vocabulary, -1)
    assert penalty is None
    assert np.array_equal(logits_VxN, by_position)
