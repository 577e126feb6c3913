"""How the law is fitted to resamples of small and of large tables, and what is drawn."""

import numpy as np
import pytest

from tests.analysis.planted import large_table
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import Points, select
from vsweep.analysis.data.source import Convention
from vsweep.analysis.uncertainty import bootstrap
from vsweep.analysis.uncertainty.approach import fit_parametric
from vsweep.analysis.uncertainty.law_refits import exact, law_refits

KINDS = (bootstrap.CELLS, bootstrap.SEEDS, bootstrap.RUNS, bootstrap.WITHIN)


def points_of(sizes: int, budgets: int, seeds: int, noise: float = 0.01) -> Points:
    return select(load(large_table(sizes, budgets, seeds, noise)), Convention("loss"))


def test_a_small_table_is_fitted_again():
    points = points_of(6, 6, 2)
    whole = fit_parametric(points)
    refits_of, note = law_refits(points, whole, 20)
    assert note == ""
    assert (refits_of(bootstrap.CELLS).law.a == exact(points, whole, bootstrap.CELLS, 20).law.a).all()


def test_a_large_table_is_resampled_to_first_order():
    points = points_of(25, 21, 4)
    whole = fit_parametric(points)
    refits_of, note = law_refits(points, whole, 60)
    full = exact(points, whole, bootstrap.CELLS, 60).law
    assert "to first order" in note
    for name in ("a", "alpha", "beta", "E"):
        found = getattr(refits_of(bootstrap.CELLS).law, name)
        assert np.std(found) == pytest.approx(np.std(getattr(full, name)), rel=0.25)


def test_few_cells_of_many_seeds_are_fitted_again():
    points = points_of(3, 3, 300, noise=0.3)
    refits_of, note = law_refits(points, fit_parametric(points), 60)
    assert "is fitted to 60 resamples instead of 60" not in note
    assert "is fitted in full to each of the 60 resamples" in note
    refits = refits_of(bootstrap.SEEDS)
    assert len(refits.rows) + refits.failed == 60


@pytest.mark.parametrize("kind", KINDS)
def test_sums_are_those_of_the_weights(kind):
    points = points_of(5, 4, 3)
    values = np.random.default_rng(0).standard_normal((len(points.table), 2))
    assert bootstrap.sums(points, kind, 30, values) == pytest.approx(bootstrap.weights(points, kind, 30) @ values)


def test_blocks_of_draws_are_those_of_one_draw(monkeypatch):
    points = points_of(5, 4, 3)
    values = np.random.default_rng(0).standard_normal((len(points.table), 2))
    at_once = bootstrap.sums(points, bootstrap.RUNS, 30, values)
    monkeypatch.setattr(bootstrap, "BLOCK_DRAWS", 200)
    assert bootstrap.sums(points, bootstrap.RUNS, 30, values) == pytest.approx(at_once)


def test_shifts_need_no_weights_of_all_rows(monkeypatch):
    points = points_of(5, 4, 3)
    by_weights = bootstrap.drawn_shifts(points, bootstrap.WITHIN, 30)
    monkeypatch.setattr(bootstrap, "BLOCK_DRAWS", 1)
    assert bootstrap.drawn_shifts(points, bootstrap.WITHIN, 30) == pytest.approx(by_weights)
