import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vsweep.after.sampling import GREEDY, Sampling, continuations, next_logits
from vsweep.models import by_name
from vsweep.models.base import Model, ModelShape

SHAPE = ModelShape(vocabulary=7, positions=6, width=8, layers=1, head_dim=4, ff_multiple=2, tied_embeddings=True)
QUERIES = [[1, 2], [3], [4, 5, 6, 0]]


@pytest.fixture(scope="module")
def model():
    return by_name.build(SHAPE)


@pytest.fixture(scope="module")
def params(model):
    return jax.tree.map(lambda leaf: 3 * leaf, model.init(jax.random.key(1)))


def drawn(model, params, queries, sampling=GREEDY, length=7):
    return list(continuations(model, params, queries, [length] * len(queries), sampling, pad=0))


def constant(logits_V) -> Model:
    """A user's own model without halves, whose next token does not depend on anything."""
    shape = ModelShape(len(logits_V), 3, 4, 1, 4, 1, True)
    return Model(shape, {}, lambda key: {}, lambda params, tokens_BxT: jnp.tile(logits_V, (*tokens_BxT.shape, 1)))


def test_the_head_at_one_position_gives_the_logits_there(model, params):
    tokens = jnp.array([[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]])
    for place in (0, 3, 5):
        alone = next_logits(model, params, tokens, place)
        np.testing.assert_allclose(alone, model.apply(params, tokens)[:, place], rtol=1e-5, atol=1e-5)


def test_one_likeliest_token_is_the_greedy_choice(model, params):
    greedy = drawn(model, params, QUERIES)
    assert np.array_equal(greedy, drawn(model, params, QUERIES, Sampling(temperature=2.0, top_k=1)))
    assert not np.array_equal(greedy, drawn(model, params, QUERIES, Sampling(temperature=2.0)))


def test_beyond_its_context_a_model_sees_the_last_tokens(model, params):
    expected = [1, 2]
    apply = jax.jit(model.apply)
    while len(expected) < 15:
        window = expected[-SHAPE.positions :]
        padded = jnp.array([window + [0] * (SHAPE.positions - len(window))])
        expected.append(int(apply(params, padded)[0, len(window) - 1].argmax()))
    (row,) = continuations(model, params, [[1, 2]], [15], pad=0)
    assert row.tolist() == expected


def test_a_sample_depends_on_its_query_seed_and_number_alone(model, params):
    many = Sampling(temperature=4.0, seed=4, samples=40)
    together = drawn(model, params, QUERIES, many)
    assert len(together) == 120  # several batches, the last one filled up
    alone = drawn(model, params, QUERIES[1:2], many)
    assert np.array_equal(alone, together[40:80])
    assert len({tuple(row) for row in alone}) > 20
    few = drawn(model, params, QUERIES[1:2], Sampling(temperature=4.0, seed=4, samples=2))
    assert np.array_equal(few, alone[:2])
    assert not np.array_equal(alone, drawn(model, params, QUERIES[1:2], Sampling(4.0, seed=5, samples=40)))


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, 0), (0.5, 0), (2.0, 2)])
def test_tokens_are_drawn_with_their_probabilities(temperature, top_k):
    logits = np.array([0.0, 1.0, 2.0], np.float32)
    sampling = Sampling(temperature, top_k, seed=0, samples=64)
    rows = drawn(constant(logits), {}, [[0]], sampling, length=129)
    shares = np.bincount(np.concatenate([row[1:] for row in rows]), minlength=3) / (64 * 128)
    kept = np.where(logits >= np.sort(logits)[-(top_k or 3)], logits, -np.inf)
    np.testing.assert_allclose(shares, jax.nn.softmax(kept / temperature), atol=0.02)


@pytest.mark.parametrize("temperature", [1e-45, 1e-40, 1e-38, 1e-31, 1e-29])
def test_a_temperature_that_float32_hardly_holds_gives_the_likeliest_token(temperature):
    rows = drawn(constant(np.array([-300.0, 5.0, 7.0, 250.0], np.float32)), {}, [[0]], Sampling(temperature, samples=4))
    assert {tuple(row[1:]) for row in rows} == {(3,) * 6}


def test_each_query_has_its_own_length(model, params):
    rows = list(continuations(model, params, QUERIES, [3, 9, 4], pad=0))
    assert [len(row) for row in rows] == [3, 9, 4]
    assert rows[2].tolist() == QUERIES[2]
    assert np.array_equal(rows[1], drawn(model, params, QUERIES[1:2], length=9)[0])
