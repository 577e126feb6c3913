"""The same runs under every convention, and the two choices that part Kaplan et al. from Hoffmann et al."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.analysis.conftest import CHINCHILLA, MANY_BUDGETS
from tests.analysis.planted import LAW
from vsweep.analysis.approaches import isoflop, parametric
from vsweep.analysis.approaches.parametric import HOFFMANN, Law
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import select
from vsweep.analysis.data.source import Convention, Refusal, Source
from vsweep.analysis.sections.checks import conventions
from vsweep.analysis.sections.checks import disagreement as disagreements
from vsweep.analysis.sections.checks.conventions import Row
from vsweep.analysis.sections.checks.disagreement import ALL, WITHOUT, Disagreement, Gap
from vsweep.analysis.uncertainty.approach import METHODS

LAPTOP = Path(__file__).parents[4] / "docs" / "laptop"
BESIROGLU = Law(E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658)
OMEGA = 47_491.0  # of Pearce and Song 2024: a vocabulary of 32,000, depth grows with width


@pytest.fixture(scope="module")
def planted(planted_workdir) -> Source:
    """One seed of the planted runs, which have no noise."""
    source = load(planted_workdir)
    return replace(source, runs=source.runs[source.runs["seed"] == 1])


@pytest.fixture(scope="module")
def heavy(planted) -> Source:
    """The planted runs as if most parameters of the small sizes were embeddings: N_total = N + 120 N^(1/3)."""
    total = planted.runs["params"].to_numpy(float)
    params = np.geomspace(1, total.max(), 100_000)
    without = np.interp(total, params + 120 * params ** (1 / 3), params)
    return replace(planted, runs=planted.runs.assign(params_non_embedding=without))


@pytest.fixture(scope="module")
def rows(heavy) -> list[Row]:
    return conventions.side_by_side(heavy, "excess_loss")


@pytest.fixture(scope="module")
def found(heavy) -> Disagreement:
    return disagreements.disagreement(heavy, "excess_loss")


def at_optimum(source: Source, size: str, flops: np.ndarray, *, one_schedule: bool) -> float:
    """a over `flops` by brute force: the lowest planted loss over a fine grid of sizes, with the planted annealing."""
    runs = source.runs.drop_duplicates("params").sort_values("params")
    own = np.geomspace(*runs[size].iloc[[0, -1]], 20_000)
    total = np.exp(np.interp(np.log(own), np.log(runs[size]), np.log(runs["params"])))
    tokens = flops[:, None] / (6 * own)
    unannealed = 0.15 * (1 - tokens / MANY_BUDGETS[-1]) if one_schedule else 0.0
    loss = np.where(tokens <= MANY_BUDGETS[-1], (1 + unannealed) * LAW.loss(total, tokens), np.inf)
    return np.polyfit(np.log(flops), np.log(own[loss.argmin(axis=1)]), 1)[0]


# Side by side


def test_each_approach_is_fitted_in_four_conventions(rows):
    assert len({(row.size, row.flops, row.method) for row in rows}) == 16
    assert {row.method for row in rows} == set(METHODS)
    a = {(row.size, row.flops): row.a for row in rows if row.method == parametric.METHOD}
    assert a[ALL, "flops_6nd"] == pytest.approx(LAW.a, abs=1e-6)
    # Small sizes are cheaper without their embeddings, and by 6ND than by counting: N seems to grow faster.
    assert a[WITHOUT, "flops_6nd"] > a[ALL, "flops_6nd"] > a[ALL, "flops_counted"]


def test_a_table_has_one_convention():
    rows = conventions.side_by_side(load(CHINCHILLA), "loss")
    assert len(rows) == 4
    assert all((row.a is None) == (row.refusal is not None) for row in rows)


# Embeddings


def test_the_closed_form_agrees_with_a_search():
    params = np.array([3e2, 1e4, 1e6, 1e8])
    sizes = np.geomspace(1e2, 1e9, 400_000)
    for n, flops in zip(params, disagreements.path_flops(BESIROGLU, params, OMEGA), strict=True):
        loss = BESIROGLU.loss(sizes + OMEGA * sizes ** (1 / 3), flops / (6 * sizes))
        assert sizes[loss.argmin()] == pytest.approx(n, rel=1e-3)


@pytest.mark.parametrize("law", [HOFFMANN, BESIROGLU])
def test_chinchillas_law_at_kaplans_sizes_has_kaplans_exponent(law):
    params = np.geomspace(768, 1.5e9, 500)
    log_c = np.log(disagreements.path_flops(law, params, OMEGA))
    assert law.a < 0.52
    assert np.polyfit(log_c, np.log(params), 1)[0] == pytest.approx(0.76, abs=0.04)


def test_excluding_heavy_embeddings_raises_the_exponent_as_predicted(heavy, found):
    points = select(heavy, Convention("excess_loss", WITHOUT))
    fit = isoflop.fit(points, isoflop.AKIMA)
    searched = at_optimum(heavy, WITHOUT, fit.used["flops"].to_numpy(), one_schedule=False)
    assert fit.a > LAW.a + 0.02
    assert fit.a == pytest.approx(searched, abs=0.005)
    embeddings = found.embeddings
    assert (embeddings.omega, embeddings.power) == (pytest.approx(120, rel=0.01), pytest.approx(1 / 3, abs=1e-3))
    assert embeddings.a == pytest.approx(LAW.a, abs=1e-6)
    flops = fit.used["flops"].to_numpy()
    assert disagreements.path_exponent(LAW, flops, embeddings.omega, embeddings.power) == pytest.approx(
        searched, abs=0.005
    )
    assert embeddings.predicted > LAW.a + 0.02
    assert "N + 120 N^0.33" in embeddings.sentence


def test_the_closed_form_predicts_the_laptop_study():
    points = [select(load(LAPTOP), Convention("excess_loss", size)) for size in (ALL, WITHOUT)]
    embeddings = disagreements.embeddings(*points)
    assert embeddings.fitted - embeddings.a > 0.01
    assert embeddings.predicted == pytest.approx(embeddings.fitted, abs=0.005)


# Kaplan's way and Chinchilla's


def test_one_schedule_reads_losses_off_curves(planted):
    points = select(planted, Convention("excess_loss"))
    table = disagreements.one_schedule(points).table
    assert len(table) == len(points.table)
    tokens = table["tokens"] / (1 + 1e-4 * table["seed"].astype(int))  # seeds see a little more or less
    unannealed = 1 + 0.15 * (1 - tokens / MANY_BUDGETS[-1])
    np.testing.assert_allclose(table["loss"], unannealed * LAW.loss(table["params"], table["tokens"]), rtol=2e-3)
    np.testing.assert_allclose(table["flops"], 6 * table["params"] * table["tokens"], rtol=1e-6)
    assert sorted(table["budget"].unique()) == list(MANY_BUDGETS)


def test_the_two_choices_add_up_to_the_gap(found):
    gap = found.gap
    assert gap.by_embeddings + gap.by_annealing == pytest.approx(gap.chinchilla - gap.kaplan)
    assert f"{gap.by_annealing:+.3f}" in found.sentence


def test_all_four_ways_agree_with_a_search(heavy, found):
    gap = next(gap for gap in found.gaps if isinstance(gap, Gap) and gap.method == isoflop.AKIMA)
    for size, name in ((ALL, "all"), (WITHOUT, "without")):
        points = select(heavy, Convention("excess_loss", size))
        for schedule, used in (("one_schedule", disagreements.one_schedule(points)), ("annealed", points)):
            flops = isoflop.fit(used, isoflop.AKIMA).used["flops"].to_numpy()
            searched = at_optimum(heavy, size, flops, one_schedule=schedule == "one_schedule")
            assert getattr(gap, f"{name}_{schedule}") == pytest.approx(searched, abs=0.01)
    assert gap.by_embeddings < -0.01  # counting them lowers a
    assert abs(gap.by_annealing) > 0.01


def test_a_source_without_the_choice_is_refused(planted):
    one = replace(planted, runs=planted.runs[planted.runs["budget"] == MANY_BUDGETS[2]])
    for unfit, reason in (
        (load(CHINCHILLA), "a table has one N and no loss curves"),
        (replace(planted, curves=None), "no loss curves"),
        (one, "one budget only"),
    ):
        refusal = disagreements.disagreement(unfit, unfit.losses[0])
        assert isinstance(refusal, Refusal)
        assert reason in refusal.reason


def test_a_way_that_fails_is_named(planted):
    few = replace(planted, runs=planted.runs[planted.runs["width"].isin([8, 16, 32])])
    found = disagreements.disagreement(few, "excess_loss")
    refused = {gap.method: gap.reason for gap in found.gaps if isinstance(gap, Refusal)}
    assert refused[isoflop.AKIMA].startswith("without embeddings, one schedule: no compute level at which 4 sizes")
    assert isinstance(found.gap, Gap)


# The figure


def test_the_figure_shows_every_exponent_and_kaplans_choices(rows, found):
    drawn = conventions.drawing(rows, found).numbers
    kaplan = drawn[drawn["way"] == "without embeddings, longest runs only"].set_index("method")["a"]
    assert kaplan[found.gap.method] == found.gap.kaplan
    plain = conventions.drawing(rows, Refusal("conventions", "no curves")).numbers
    assert len(plain) == sum(row.a is not None for row in rows)
    none = [replace(row, a=None, b=None, refusal="flat") for row in rows]
    assert isinstance(conventions.drawing(none, Refusal("conventions", "no curves")), Refusal)


# Wording


def test_a_split_whose_orders_agree_is_averaged():
    gap = Gap("envelope", 0.7, 0.6, 0.58, 0.5)
    assert "embeddings explains -0.090 and annealing -0.110" in gap.split
    assert "means over both orders" in gap.split


def test_a_split_whose_orders_differ_in_sign_is_not_averaged():
    gap = Gap("envelope", 0.5, 0.55, 0.6, 0.58)
    assert "no single share belongs to either choice" in gap.split
    assert "counting embeddings explains +0.050 and then annealing +0.030" in gap.split
    assert "annealing +0.100 and then counting embeddings -0.020" in gap.split
    assert "mean" not in gap.split
