import numpy as np
import pytest

from vsweep.config.sweep_config import TaskConfig
from vsweep.tasks.addition import EOS, PAD, PLUS, Addition, encode_pairs, label_surprisal


@pytest.fixture(scope="module")
def three_digits():
    return Addition(TaskConfig())


@pytest.fixture(scope="module")
def one_digit():
    return Addition(TaskConfig(digits=1, validation_examples=10))


def test_the_sequence_is_the_sum_its_answer_eos_and_padding():
    tokens = encode_pairs(np.array([[999, 999], [7, 30]]), digits=3)
    assert tokens[0].tolist() == [9, 9, 9, PLUS, 9, 9, 9, 11, 1, 9, 9, 8, EOS]
    assert tokens[1].tolist() == [7, PLUS, 3, 0, 11, 3, 7, EOS, *[PAD] * 5]


def test_the_split_keeps_both_orders_of_a_held_out_pair_out_of_training(three_digits):
    train, held_out = three_digits.split
    train_keys = {tuple(pair) for pair in np.sort(train, axis=1).tolist()}
    held_out_keys = {tuple(pair) for pair in np.sort(held_out, axis=1).tolist()}
    assert len(held_out_keys) == len(held_out) == 100_000
    assert not train_keys & held_out_keys
    assert len(train) == three_digits.train_examples == pytest.approx(800_200, abs=200)
    assert 0.48 < np.mean(held_out[:, 0] > held_out[:, 1]) < 0.52


def test_the_split_depends_on_the_split_seed_alone():
    again, other = (Addition(TaskConfig(digits=1, validation_examples=10, split_seed=seed)) for seed in (0, 1))
    first = Addition(TaskConfig(digits=1, validation_examples=10))
    assert np.array_equal(first.split[1], again.split[1])
    assert not np.array_equal(first.split[1], other.split[1])


def test_the_floor_of_three_digits_is_1_0299955_nats_a_label_token(three_digits):
    assert three_digits.floor == pytest.approx(1.0299955, abs=5e-8)
    assert three_digits.mean_label_tokens == pytest.approx(11.274395, abs=1e-9)


def test_the_floor_is_the_mean_surprisal_over_all_pairs(one_digit):
    pairs = np.argwhere(np.ones((10, 10), bool))
    tokens = encode_pairs(pairs, digits=1)
    labels = (tokens[:, 1:] != PAD).sum()
    assert label_surprisal(pairs, digits=1).sum() / labels == pytest.approx(one_digit.floor, rel=1e-6)
    assert labels / len(pairs) == pytest.approx(one_digit.mean_label_tokens)


def test_label_surprisal_is_minus_the_log_of_counted_frequencies():
    """Counts every prefix over all pairs of two-digit operands: the probability of a label given all before it."""
    pairs = np.argwhere(np.ones((100, 100), bool))
    tokens, surprisal = encode_pairs(pairs, digits=2), label_surprisal(pairs, digits=2)
    for length in range(1, tokens.shape[1]):
        _, before, before_count = np.unique(tokens[:, :length], axis=0, return_inverse=True, return_counts=True)
        _, after, after_count = np.unique(tokens[:, : length + 1], axis=0, return_inverse=True, return_counts=True)
        share = after_count[after.ravel()] / before_count[before.ravel()]
        counted = tokens[:, length] != PAD
        assert np.allclose(surprisal[counted, length - 1], -np.log(share[counted]), atol=1e-6)


def test_the_answer_is_certain_and_carries_no_surprisal(three_digits):
    held_out = three_digits.held_out
    assert np.all(held_out.surprisal_NxL[held_out.answer_NxL] == 0)
    assert held_out.answer_NxL.sum(axis=1).mean() == pytest.approx(4.494, abs=0.01)


def test_answer_labels_are_what_follows_the_equals_sign_eos_among_them(one_digit):
    tokens, answer = one_digit.held_out.tokens_NxS, one_digit.held_out.answer_NxL
    for row, mask in zip(tokens, answer, strict=True):
        text = one_digit.decode(row.tolist())
        assert one_digit.decode(row[1:][mask].tolist()) == text.partition("=")[2]
        assert row[1:][mask][-1] == EOS


def test_every_token_lies_in_the_vocabulary(three_digits):
    assert three_digits.train_tokens_NxS.max() < three_digits.vocabulary
    assert three_digits.train_tokens_NxS.shape == (three_digits.train_examples, 13)


@pytest.mark.parametrize(
    ("query", "message"), [("12", "not a sum"), ("1+2+3", "not a sum"), ("a+1", "not a sum"), ("1000+1", "too large")]
)
def test_a_query_that_is_no_sum_is_refused_with_its_text(three_digits, query, message):
    with pytest.raises(ValueError, match=message):
        three_digits.encode(query)


def test_a_query_is_encoded_up_to_the_equals_sign(three_digits):
    assert three_digits.encode("12+345") == three_digits.encode("012+345=") == [1, 2, PLUS, 3, 4, 5, 11]
