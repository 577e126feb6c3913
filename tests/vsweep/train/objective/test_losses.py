"""The loss by chunks is the plain one, in less memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.vsweep import small
from vsweep.models import accounting, transformer
from vsweep.models.base import Model, ModelShape
from vsweep.train import train_step
from vsweep.train.objective import losses
from vsweep.train.train_step import Recipe

WIDTH, BATCH, LENGTH, VOCABULARY, CHUNK = 8, 4, 6, 50, 8
SHAPE = ModelShape(VOCABULARY, LENGTH, WIDTH, 1, 4, 2, True)


@pytest.fixture
def few_logits(monkeypatch):
    """Everything goes by chunks of 8 positions."""
    monkeypatch.setattr(accounting, "LOGITS_AT_ONCE", 1)
    monkeypatch.setattr(accounting, "CHUNK_LOGITS", CHUNK * VOCABULARY)
    accounting.logits_chunk.cache_clear()
    yield
    accounting.logits_chunk.cache_clear()


def problem(dtype=jnp.float32, seed=0, slots=()):
    """(head, x, labels, which count), of one run or of several."""
    keys = jax.random.split(jax.random.key(seed), 4)
    positions = BATCH * LENGTH
    return (
        jax.random.normal(keys[0], (*slots, VOCABULARY, WIDTH)),
        jax.random.normal(keys[1], (*slots, WIDTH, positions)).astype(dtype),
        jax.random.randint(keys[2], (*slots, positions), 0, VOCABULARY),
        jax.random.bernoulli(keys[3], 0.8, (*slots, positions)),
    )


def plain_sum(head_VxW, x_WxN, labels_N, counted_N):
    logits_NxV = (head_VxW.astype(x_WxN.dtype) @ x_WxN).astype(jnp.float32).T
    loss_N = losses.label_losses(logits_NxV[None], labels_N[None])[0]
    return jnp.where(counted_N, loss_N, 0.0).sum()


@pytest.mark.parametrize("slots", [(), (3,)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.bfloat16, 2e-2)])
def test_chunks_give_the_plain_sum_and_gradients(slots, dtype, tolerance):
    """A bfloat16 gradient has 8 bits; the plain one is rounded to that at other places."""
    chunked, plain = (
        jax.value_and_grad(lambda *a, loss=loss: 3.0 * loss(*a), argnums=(0, 1))
        for loss in (functools.partial(losses.chunked_sum, CHUNK), plain_sum)
    )
    if slots:
        chunked, plain = jax.vmap(chunked), jax.vmap(plain)
    arguments = problem(dtype, slots=slots)
    (found, grads), (expected, wanted) = chunked(*arguments), plain(*arguments)
    assert np.allclose(found, expected, rtol=tolerance / 10 if dtype == jnp.bfloat16 else 1e-5)
    if not slots:
        assert np.allclose(3.0 * losses.chunked_sum(CHUNK, *arguments), found, rtol=1e-5)
    for grad, right in zip(grads, wanted, strict=True):
        assert grad.dtype == right.dtype
        scale = np.abs(np.asarray(right, np.float32)).max()
        assert np.abs(np.asarray(grad, np.float32) - np.asarray(right, np.float32)).max() <= tolerance * scale


def test_a_neighbours_data_changes_no_bit():
    head, x, labels, counted = problem(slots=(3,))
    grads = jax.jit(jax.vmap(jax.value_and_grad(functools.partial(losses.chunked_sum, CHUNK), argnums=(0, 1))))
    calm = grads(head, x, labels, counted)
    wild = grads(head.at[1:].set(1e30), x.at[1:].set(jnp.nan), labels.at[1:].set(0), counted.at[1:].set(False))
    assert small.same_bits(jax.tree.map(lambda leaf: leaf[0], calm), jax.tree.map(lambda leaf: leaf[0], wild))


def tokens():
    return np.random.default_rng(0).integers(VOCABULARY, size=(BATCH, LENGTH + 1)).astype(np.uint8)


def of_model(pad: int):
    """Training loss with its gradients, and evaluation, of one model."""
    model = transformer.build(SHAPE)
    recipe = Recipe(model, optimizer=None, schedule="constant", pad=pad, use_dropout=False)
    params = model.init(jax.random.key(1))
    inputs, labels, counted = train_step.split_labels(jnp.asarray(tokens()), pad)
    loss = functools.partial(losses.training_loss, model)
    answer = np.arange(LENGTH) % 2 == np.zeros((BATCH, 1))
    evaluated = train_step.evaluate(recipe, params, tokens(), answer)
    return jax.value_and_grad(loss)(params, inputs, labels, counted), evaluated


def test_a_model_trains_and_is_evaluated_alike_by_chunks(request):
    (plain_loss, plain_grads), plain = of_model(pad=int(tokens()[0, 3]))
    request.getfixturevalue("few_logits")
    (loss, grads), evaluated = of_model(pad=int(tokens()[0, 3]))
    assert float(loss) == pytest.approx(float(plain_loss), rel=1e-5)
    assert small.largest_difference(grads, plain_grads) < 1e-5
    for found, expected in zip(evaluated, plain, strict=True):
        assert np.allclose(found, expected, rtol=1e-5)


def test_every_argmax_that_is_right_is_seen_by_chunks(few_logits):
    model = transformer.build(SHAPE)
    params = model.init(jax.random.key(1))
    inputs = jnp.asarray(tokens()[:, :-1], jnp.int32)
    likeliest = jnp.argmax(model.apply(params, inputs), axis=-1)
    labels = jnp.where(jnp.arange(LENGTH) == 2, (likeliest + 1) % VOCABULARY, likeliest)
    right = losses.evaluation_losses(model, params, inputs, labels).right_BxT
    assert right.tolist() == [[position != 2 for position in range(LENGTH)]] * BATCH


def test_small_losses_and_models_without_halves_stay_plain(few_logits):
    model = transformer.build(SHAPE)
    assert losses.chunk_of(model, BATCH * LENGTH) == CHUNK
    assert losses.chunk_of(Model(SHAPE, {}, model.init, model.apply), BATCH * LENGTH) is None


@pytest.mark.parametrize(
    ("positions", "vocabulary", "chunk"),
    [(64 * 12, 14, None), (1024, 16_384, None), (1024, 16_385, 1024), (32 * 1024, 50_257, 512)],
)
def test_a_chunk_is_the_largest_divisor_that_fits(positions, vocabulary, chunk):
    assert accounting.logits_chunk(positions, vocabulary) == chunk


@pytest.mark.parametrize(("positions", "chunk"), [(997, 499), (2 * 1021, 511), (64 * 251, 502), (4 * 1021, 584)])
def test_a_context_without_a_good_divisor_has_few_chunks_of_one_size(positions, chunk):
    assert accounting.logits_chunk(positions, 50_257) == chunk


@pytest.mark.parametrize("positions", [BATCH * LENGTH, 23, 17])
def test_positions_that_fill_up_the_last_chunk_count_for_nothing(positions):
    head, x, labels, counted = problem()
    cut = (head, x[:, :positions], labels[:positions], counted[:positions])
    found = jax.value_and_grad(functools.partial(losses.chunked_sum, CHUNK), argnums=(0, 1))(*cut)
    expected = jax.value_and_grad(plain_sum, argnums=(0, 1))(*cut)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.shape == other.shape
        assert np.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_prime_context_is_evaluated_alike_by_chunks(request, monkeypatch):
    def evaluated():
        shape = ModelShape(VOCABULARY, 7, WIDTH, 1, 4, 2, True)
        model = transformer.build(shape)
        inputs = jnp.asarray(tokens()[:1, :7], jnp.int32)
        return losses.chunk_of(model, 7), losses.evaluation_losses(model, model.init(jax.random.key(1)), inputs, inputs)

    (no_chunk, plain), _ = evaluated(), request.getfixturevalue("few_logits")
    monkeypatch.setattr(accounting, "CHUNK_LOGITS", 4 * VOCABULARY)
    monkeypatch.setattr(accounting, "SMALL_CHUNK", 1)
    chunk, by_chunks = evaluated()
    assert (no_chunk, chunk) == (None, 4)
    assert np.allclose(by_chunks.loss_BxT, plain.loss_BxT, rtol=1e-5)
    assert np.array_equal(by_chunks.right_BxT, plain.right_BxT)


def test_temporary_memory_is_bounded_by_a_chunk():
    """Of 4,096 positions with 8,192 tokens, whose logits are 128 MiB, with chunks of 128 of them."""
    chunk, positions, vocabulary = 128, 4096, 8192
    struct = jax.ShapeDtypeStruct
    arguments = (
        struct((vocabulary, WIDTH), jnp.float32),
        struct((WIDTH, positions), jnp.float32),
        struct((positions,), jnp.int32),
        struct((positions,), bool),
    )
    gradient = jax.jit(jax.value_and_grad(functools.partial(losses.chunked_sum, chunk), argnums=(0, 1)))
    temporary = gradient.lower(*arguments).compile().memory_analysis().temp_size_in_bytes
    beside = 4 * (3 * positions * WIDTH + 3 * vocabulary * WIDTH)
    assert temporary <= 3 * 4 * chunk * vocabulary + beside < 4 * positions * vocabulary / 4
