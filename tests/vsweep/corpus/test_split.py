"""The split: by each document's own text."""

import numpy as np

from tests.vsweep.corpus import small
from vsweep.corpus.split import HELD_OUT, TRAIN, split_of


def held_out(documents, share=0.1, seed=0):
    return {text for text in documents if split_of(text.encode(), share=share, seed=seed) == HELD_OUT}


def test_about_the_share_is_held_out():
    documents = [f"document {number}" for number in range(10_000)]
    deviation = np.sqrt(10_000 * 0.1 * 0.9)
    assert abs(len(held_out(documents)) - 1000) < 4 * deviation


def test_a_larger_share_only_adds_documents():
    documents = small.texts(500)
    assert held_out(documents, 0.1) < held_out(documents, 0.3)


def test_another_seed_holds_out_others():
    documents = small.texts(500)
    assert held_out(documents, seed=1) != held_out(documents, seed=2)


def test_the_rule_is_pinned():
    """A change would move documents of every store that is there already."""
    sides = [split_of(f"{number}".encode(), share=0.3, seed=7) for number in range(12)]
    assert "".join("h" if side == HELD_OUT else "t" for side in sides) == "httttttthttt"
    assert set(sides) == {TRAIN, HELD_OUT}
