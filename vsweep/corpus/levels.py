"""What a model of letters in a row would reach: losses that a language model must beat to have learned anything.

The unigram level is the held-out loss of a model that knows only how often each id occurs, the bigram level that of one
that sees the id before. Both are counted on the training ids.
"""

import dataclasses

import numpy as np

CHUNK = 2**22  # ids counted at once
MOST_COUNTED = 2**27  # training ids; further ones would change the levels little and cost memory
DENSE_VOCABULARY = 2**11  # up to here a table of all pairs is smaller than a sorted list of them


@dataclasses.dataclass(frozen=True)
class NgramLevels:
    """Held-out cross-entropies, nats per token, EOS included."""

    uniform: float  # ln of the vocabulary
    unigram: float
    bigram: float
    counted_tokens: int  # training ids they were counted on


def ngram_levels(train: np.ndarray, held_out: np.ndarray, vocabulary: int) -> NgramLevels:
    """From ids [tokens] of both splits, each with at least two.

    Unigrams have one added to each count (Laplace). Bigrams are mixed with them as in Witten and Bell 1991, so no pair
    has probability zero: p(b|a) = (n(ab) + followers(a) p(b)) / (n(a) + followers(a)).
    """
    train = train[:MOST_COUNTED]
    counts_V = _count_ids(train, vocabulary)
    unigram_V = (counts_V + 1) / (counts_V.sum() + vocabulary)
    held_counts_V = _count_ids(held_out, vocabulary)
    pairs, pair_counts = _count_pairs(train, vocabulary)
    held_pairs, held_pair_counts = _count_pairs(held_out, vocabulary)

    first = pairs // vocabulary
    seen_V = np.bincount(first, weights=pair_counts, minlength=vocabulary)
    followers_V = np.bincount(first, minlength=vocabulary)
    place = np.minimum(np.searchsorted(pairs, held_pairs), len(pairs) - 1)
    found = np.where(pairs[place] == held_pairs, pair_counts[place], 0)
    before, after = np.divmod(held_pairs, vocabulary)
    weight = np.where(seen_V[before] > 0, followers_V[before], 1)  # an id never seen before another: unigrams alone
    bigram = (found + weight * unigram_V[after]) / (seen_V[before] + weight)
    return NgramLevels(
        uniform=float(np.log(vocabulary)),
        unigram=float(-(held_counts_V @ np.log(unigram_V)) / held_counts_V.sum()),
        bigram=float(-(held_pair_counts @ np.log(bigram)) / held_pair_counts.sum()),
        counted_tokens=len(train),
    )


def _count_ids(ids: np.ndarray, vocabulary: int) -> np.ndarray:
    """int64 [V]."""
    chunks = (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))
    return sum((np.bincount(chunk, minlength=vocabulary) for chunk in chunks), np.zeros(vocabulary, np.int64))


def _count_pairs(ids: np.ndarray, vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    """int64 [pairs], int64 [pairs]: the pairs that occur as first x V + second, sorted, and how often each does."""
    pairs, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    dense = np.zeros(vocabulary**2 if vocabulary <= DENSE_VOCABULARY else 0, np.int64)
    for start in range(0, len(ids) - 1, CHUNK):
        chunk = ids[start : start + CHUNK + 1].astype(np.int64)
        codes = chunk[:-1] * vocabulary + chunk[1:]
        if len(dense):
            dense += np.bincount(codes, minlength=len(dense))
        else:
            pairs, counts = _merged(pairs, counts, *np.unique(codes, return_counts=True))
    if len(dense):
        pairs = np.flatnonzero(dense)
        counts = dense[pairs]
    return pairs, counts


def _merged(pairs: np.ndarray, counts: np.ndarray, more: np.ndarray, more_counts: np.ndarray):
    """Two sorted lists of pairs with counts as one."""
    joined, place = np.unique(np.concatenate([pairs, more]), return_inverse=True)
    summed = np.bincount(place, weights=np.concatenate([counts, more_counts]), minlength=len(joined))
    return joined, summed.astype(np.int64)
