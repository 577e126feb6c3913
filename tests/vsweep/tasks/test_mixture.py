"""The order of mixtures, on ranges of numbers; and a sweep of a user's own task with sources."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsweep.config.problems import ConfigError
from vsweep.tasks import data_order, mixture

SOURCES = {"web": range(0, 300), "code": range(300, 350), "books": range(500, 900)}
TEXT = "web:0.5,code:0.2,books:0.3"


def read(text: str = TEXT) -> mixture.Mixture:
    return mixture.read(text, SOURCES)


def source_of(examples: np.ndarray) -> np.ndarray:
    return np.select([examples < 300, examples < 350], ["web", "code"], "books")


def problems_of(text: str) -> str:
    with pytest.raises(ConfigError) as error:
        read(text)
    return str(error.value)


def test_a_cycle_has_whole_shares_of_1024():
    shares = {part.source: part.share for part in read().parts}
    assert shares == {"web": 512, "code": 205, "books": 307}
    for cycle in range(3):
        seen = source_of(read().examples(7, 1024 * cycle, 1024))
        assert dict(zip(*np.unique(seen, return_counts=True), strict=True)) == shares


def test_no_prefix_is_off_by_more_than_its_sources():
    for seed in range(20):
        seen = source_of(read().examples(seed, 0, 3000))
        for part in read().parts:
            off = np.cumsum(seen == part.source) - part.share / 1024 * np.arange(1, 3001)
            assert np.abs(off).max() < 4


def test_sources_come_in_no_fixed_pattern():
    first, second, other = (read().examples(seed, begin, 1024) for seed, begin in ((1, 0), (1, 1024), (2, 0)))
    assert (source_of(first) != source_of(second)).mean() > 0.3
    assert (source_of(first) != source_of(other)).mean() > 0.3


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 5000), st.integers(0, 3000), st.integers(0, 9))
def test_any_piece_is_that_of_the_whole_order(first, count, seed):
    whole = read().examples(seed, 0, 8000)
    assert np.array_equal(read().examples(seed, first, count), whole[first : first + count])


def test_sources_may_lie_beyond_32_bits():
    far = range(2**31 - 5, 2**31 + 5)
    seen = mixture.read("near:0.5,far:0.5", {"near": range(10), "far": far}).examples(0, 0, 20)
    assert sorted(seen) == [*range(10), *far]


def test_inside_a_source_the_order_is_the_one_of_today():
    seen = read().examples(3, 0, 2000)
    of_code = seen[source_of(seen) == "code"]
    assert np.array_equal(of_code - 300, data_order.examples(3, 50, 50, 0, len(of_code)))
    assert len(of_code) > 300  # so that it has epochs of its own


def test_a_mixture_of_one_source_is_its_plain_order():
    assert np.array_equal(read("web:1").examples(5, 0, 700), data_order.examples(5, 300, 300, 0, 700))


def test_two_texts_of_the_same_shares_are_the_same_mixture():
    assert read("web:0.7,code:0.3") == read("code:.3, web:.70")
    assert read("web:0.7,code:0.3").name == read("code:.3, web:.70").name == "code0.3_web0.7"
    assert read("web:0.7,code:0.3") != read("web:0.69,code:0.31")


def test_unique_examples_are_divided_by_share():
    limited = read().limited(100)
    assert {part.source: part.unique for part in limited.parts} == {"web": 50, "code": 20, "books": 30}
    assert len(np.unique(limited.examples(0, 0, 5000))) == limited.unique == 100
    assert limited.epochs(1000)["web"] == pytest.approx(limited.epochs(1000)["books"], rel=0.01)


def test_all_examples_are_all_of_each_source():
    assert read().limited(750) == read()


def test_a_source_with_too_few_unique_examples_is_refused():
    with pytest.raises(ConfigError, match="more than source code has - got 400, of which 80"):
        read().limited(400)


def test_tokens_are_those_of_the_examples_seen():
    label_tokens = np.random.default_rng(0).integers(1, 9, 900).astype(np.int32)
    seen, positions = read().examples(4, 0, 1700), [0, 5, 1030, 1700]
    assert read().token_counts(label_tokens, 4, positions) == [int(label_tokens[seen[:n]].sum()) for n in positions]
    assert read().token_counts(6, 4, positions) == [6 * n for n in positions]
    for n in positions:
        distinct = np.unique(seen[:n])
        assert read().unique_tokens(label_tokens, 4, n) == label_tokens[distinct].sum()
        assert read().unique_tokens(6, 4, n) == 6 * len(distinct)


def test_too_few_unique_examples_for_a_source_are_refused():
    few = read("web:0.99,code:0.01")
    assert [part.unique for part in few.limited(103).parts] == [1, 102]
    with pytest.raises(ConfigError, match="none of source code by its share - got 20; allowed: at least 103"):
        few.limited(20)


def test_apportioned_parts_sum_to_the_total():
    assert mixture.apportion([1, 1, 1], 1024).tolist() == [342, 341, 341]
    assert mixture.apportion([0.7, 0.3], 1024).tolist() == [717, 307]


def test_every_problem_of_a_mixture_is_told_at_once():
    told = problems_of("webb:0.5,code:0.5,code:0.1,books")
    assert "train.mixture: no source webb" in told
    assert "did you mean web?" in told
    assert "two shares of code" in told
    assert "not a name and a share above 0 - got 'books'" in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("web:0.7,code:0.2", "the shares sum to 0.9"),
        ("web:1,code:0", "not a name and a share above 0 - got 'code:0'"),
        ("web:0.9999,code:0.0001", "the share of code is too small"),
        ("web:nan", "not a name and a share above 0"),
    ],
)
def test_shares_that_make_no_mixture_are_refused(text, told):
    assert told in problems_of(text)


def test_shares_may_be_rounded_thirds():
    assert sum(part.share for part in read("web:0.333,code:0.333,books:0.333").parts) == 1024


def test_sources_with_common_examples_cannot_be_mixed():
    with pytest.raises(ConfigError, match="all and few have examples in common"):
        mixture.read("all:0.5,few:0.5", {"all": range(10), "few": range(3)})
