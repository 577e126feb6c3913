import numpy as np

from vsweep import order

TOTAL = 50


def test_every_example_is_seen_exactly_once_an_epoch():
    for epoch in range(3):
        seen = order.examples(data_seed=4, unique=TOTAL, total=TOTAL, first=epoch * TOTAL, count=TOTAL)
        assert sorted(seen) == list(range(TOTAL))


def test_each_epoch_and_each_data_seed_has_its_own_order():
    first, second = (order.examples(1, TOTAL, TOTAL, epoch * TOTAL, TOTAL) for epoch in (0, 1))
    other_seed = order.examples(2, TOTAL, TOTAL, 0, TOTAL)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other_seed)


def test_a_batch_may_straddle_two_epochs():
    straddling = order.examples(3, TOTAL, TOTAL, first=TOTAL - 3, count=8)
    expected = np.concatenate([order.epoch_order(3, TOTAL, TOTAL, 0)[-3:], order.epoch_order(3, TOTAL, TOTAL, 1)[:5]])
    assert np.array_equal(straddling, expected)


def test_resuming_needs_only_the_position():
    whole = order.examples(5, TOTAL, TOTAL, 0, 200)
    order.epoch_order.cache_clear()
    assert np.array_equal(order.examples(5, TOTAL, TOTAL, 120, 80), whole[120:])


def test_few_unique_examples_are_the_first_ones_repeated_in_a_new_order():
    seen = order.examples(6, unique=10, total=TOTAL, first=0, count=30).reshape(3, 10)
    assert np.array_equal(seen[0], order.examples(6, TOTAL, TOTAL, 0, 10))
    assert {tuple(sorted(epoch)) for epoch in seen} == {tuple(sorted(seen[0]))}
    assert not np.array_equal(seen[1], seen[2])


def test_token_counts_are_exact_sums_over_the_examples_seen():
    label_tokens = np.random.default_rng(0).integers(5, 13, TOTAL).astype(np.uint8)
    positions = [0, 1, 37, 50, 173]
    expected = [int(label_tokens[order.examples(7, TOTAL, TOTAL, 0, position)].sum()) for position in positions]
    assert order.token_counts(label_tokens, 7, TOTAL, positions) == expected
    assert all(type(count) is int for count in order.token_counts(label_tokens, 7, TOTAL, positions))
