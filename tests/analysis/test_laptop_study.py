"""The committed laptop study: what its runs must show, whoever made them."""

from pathlib import Path

import pandas as pd
import pytest

from vsweep import schema, tables
from vsweep.analysis.approaches import isoflop, optimal_path
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import select
from vsweep.analysis.data.source import Convention

LAPTOP = Path(__file__).parents[2] / "docs" / "laptop"


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    return tables.read_runs(LAPTOP)


def test_it_holds_ninety_finished_runs(runs):
    assert set(runs["status"]) == {schema.FINISHED}
    assert len(runs) == 90
    assert (runs.groupby(["width", "budget"])["seed"].nunique() == 3).all()


def test_excess_loss_is_a_share_of_answer_loss(runs):
    """4.494 answer labels of 11.274: 0.3986, as soon as only the answer is left to learn."""
    learned = runs[(runs["width"] >= 12) & (runs["budget"] >= 500_000)]
    assert len(learned) == 36
    operands = learned["excess_loss"] - 0.3986 * learned["answer_loss"]  # what is lost on the operands, nats a token
    assert operands.between(0, 0.006).all()
    assert (learned["excess_loss"] / learned["answer_loss"]).median() == pytest.approx(0.3986, abs=0.003)
    assert (runs["excess_loss"] > 0).all()


def test_four_compute_levels_have_an_interior_minimum():
    points = select(load(LAPTOP), Convention("excess_loss"))
    found = isoflop.fit(points, isoflop.PARABOLA)
    assert (found.optima["status"] == optimal_path.INTERIOR).sum() >= 4
    assert all(len(valley.params) >= 4 for valley in isoflop.valleys(points))


def test_losses_cover_plateau_and_learned_runs(runs):
    assert runs["answer_loss"].min() < 0.5
    assert (runs["answer_loss"] > 1.2).mean() > 0.3
    assert ((runs["answer_loss"] > 1.1) & (runs["answer_loss"] < 1.2)).any()
