import numpy as np

from vsweep.tasks import data_order

TOTAL = 50


def test_every_example_is_seen_exactly_once_an_epoch():
    for epoch in range(3):
        seen = data_order.examples(data_seed=4, unique=TOTAL, total=TOTAL, first=epoch * TOTAL, count=TOTAL)
        assert sorted(seen) == list(range(TOTAL))


def test_each_epoch_and_each_data_seed_has_its_own_order():
    first, second = (data_order.examples(1, TOTAL, TOTAL, epoch * TOTAL, TOTAL) for epoch in (0, 1))
    other_seed = data_order.examples(2, TOTAL, TOTAL, 0, TOTAL)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other_seed)


def test_a_batch_may_straddle_two_epochs():
    straddling = data_order.examples(3, TOTAL, TOTAL, first=TOTAL - 3, count=8)
    expected = np.concatenate(
        [data_order.epoch_order(3, TOTAL, TOTAL, 0)[-3:], data_order.epoch_order(3, TOTAL, TOTAL, 1)[:5]]
    )
    assert np.array_equal(straddling, expected)


def test_resuming_needs_only_the_position():
    whole = data_order.examples(5, TOTAL, TOTAL, 0, 200)
    drawn_anew = [data_order.draw_epoch(5, TOTAL, TOTAL, epoch) for epoch in range(4)]
    assert np.array_equal(np.concatenate(drawn_anew), whole)
    assert np.array_equal(data_order.examples(5, TOTAL, TOTAL, 120, 80), whole[120:])


def test_few_unique_examples_are_the_first_ones_repeated_in_a_new_order():
    seen = data_order.examples(6, unique=10, total=TOTAL, first=0, count=30).reshape(3, 10)
    assert np.array_equal(seen[0], data_order.examples(6, TOTAL, TOTAL, 0, 10))
    assert {tuple(sorted(epoch)) for epoch in seen} == {tuple(sorted(seen[0]))}
    assert not np.array_equal(seen[1], seen[2])


def test_token_counts_are_exact_sums_over_the_examples_seen():
    label_tokens = np.random.default_rng(0).integers(5, 13, TOTAL).astype(np.uint8)
    positions = [0, 1, 37, 50, 173]
    expected = [int(label_tokens[data_order.examples(7, TOTAL, TOTAL, 0, position)].sum()) for position in positions]
    assert data_order.token_counts(label_tokens, 7, TOTAL, positions) == expected
    assert all(type(count) is int for count in data_order.token_counts(label_tokens, 7, TOTAL, positions))


def test_as_many_epochs_are_kept_as_fit_into_memory_and_the_last_used_stay():
    """Many small ones or few large ones: a stack of two hundred seeds draws none of its epochs twice."""
    drawn = []

    def make(size: int):
        drawn.append(size)
        return np.zeros(size, np.int8)

    small, large = data_order.LastUsed(max_bytes=1000), data_order.LastUsed(max_bytes=1000)
    for _ in range(2):
        for key in range(500):
            small.get(key, lambda: make(2))
    assert len(drawn) == 500
    for key in (1, 2, 1, 3, 1, 2):  # two fit: 3 takes the place of 2
        large.get(key, lambda: make(500))
    assert len(drawn) == 500 + 4
    assert large.get(4, lambda: make(2000)).nbytes == 2000
