import pytest

from tests.analysis.designer.designs import ONE_SIZE, WIDE_GRID
from vsweep.analysis.designer import text
from vsweep.analysis.designer.assumption import chinchilla
from vsweep.analysis.designer.offers import best, offers
from vsweep.analysis.designer.precision import CannotTell, expected


@pytest.fixture
def assumed():
    return chinchilla(*WIDE_GRID.centre, floor_known=False)


def said(runs, assumed) -> str:
    return " ".join(text.render(runs, assumed, expected(runs, assumed), ("Beware.",)).split())


def test_every_answer_carries_its_assumption(assumed):
    for runs in (WIDE_GRID, ONE_SIZE):
        assert "If the loss followed Chinchilla's law" in said(runs, assumed)
        assert "! Beware." in said(runs, assumed)


def test_what_cannot_be_told_is_no_number(assumed):
    assert "24 runs cannot tell the exponents apart: a single N" in said(ONE_SIZE, assumed)


def test_offers_say_cost_and_width(assumed):
    shown = said(WIDE_GRID, assumed)
    assert "25 % more compute (D x 1.25)" in shown
    assert "+33.3 %" in shown  # a fourth seed
    more = {offer.name: offer for offer in offers(WIDE_GRID, assumed)}
    assert more["one more seed"].precision.a < expected(WIDE_GRID, assumed).a
    assert more["one larger size"].more > 1


def test_the_best_offer_narrows_most_for_its_cost(assumed):
    offered = offers(WIDE_GRID, assumed)
    assert best(offered, expected(WIDE_GRID, assumed)).name == "one smaller size"


def test_a_size_is_offered_where_there_is_one(assumed):
    """Two sizes cannot tell E, so nothing is known yet, and the cheapest change that helps is taken."""
    offered = offers(ONE_SIZE, assumed)
    assert best(offered, CannotTell("a single N")) is None
