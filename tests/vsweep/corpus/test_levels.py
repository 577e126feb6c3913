"""The n-gram levels, against counts in plain Python and against what is known."""

import collections
import itertools
import math

import numpy as np
import pytest

from vsweep.corpus import levels
from vsweep.corpus.levels import ngram_levels


def plain(train, held_out, vocabulary):
    """Unigram and bigram levels as the docstring says them, one pair after the other."""
    ones, pairs = collections.Counter(train), collections.Counter(itertools.pairwise(train))
    unigram = [(ones[one] + 1) / (len(train) + vocabulary) for one in range(vocabulary)]
    first_bits = -sum(math.log(unigram[one]) for one in held_out) / len(held_out)
    losses = []
    for before, after in itertools.pairwise(held_out):
        seen = sum(count for (one, _), count in pairs.items() if one == before)
        followers = sum(one == before for one, _ in pairs)
        weight = followers if seen else 1
        losses.append(-math.log((pairs[before, after] + weight * unigram[after]) / (seen + weight)))
    return first_bits, sum(losses) / len(losses)


@pytest.mark.parametrize("dense", [0, 100])
@pytest.mark.parametrize("chunk", [7, 1000])
def test_levels_equal_plain_counts(dense, chunk, monkeypatch):
    monkeypatch.setattr(levels, "CHUNK", chunk)
    monkeypatch.setattr(levels, "DENSE_VOCABULARY", dense)
    draw = np.random.default_rng(0)
    train, held_out = draw.integers(0, 20, 300, np.uint8), draw.integers(0, 25, 80, np.uint8)
    found = ngram_levels(train, held_out, 25)
    unigram, bigram = plain(train.tolist(), held_out.tolist(), 25)
    assert found.uniform == pytest.approx(math.log(25))
    assert found.unigram == pytest.approx(unigram)
    assert found.bigram == pytest.approx(bigram)
    assert found.counted_tokens == 300


def test_a_chain_reaches_its_own_entropy():
    """A Markov chain that stays with probability 0.9: ln 2 without the id before, its entropy rate with it."""
    draw = np.random.default_rng(1)
    ids = np.cumsum(draw.random(200_000) < 0.1).astype(np.int64) % 2
    found = ngram_levels(ids[:100_000].astype(np.uint8), ids[100_000:].astype(np.uint8), 2)
    assert found.unigram == pytest.approx(math.log(2), abs=0.01)
    assert found.bigram == pytest.approx(-0.9 * math.log(0.9) - 0.1 * math.log(0.1), abs=0.01)


def test_only_the_first_training_ids_are_counted(monkeypatch):
    monkeypatch.setattr(levels, "MOST_COUNTED", 50)
    ids = np.random.default_rng(2).integers(0, 9, 100, np.uint8)
    assert ngram_levels(ids, ids, 9) == ngram_levels(ids[:50], ids, 9)
