"""The search for a design: what it keeps to, and that it finds what is known to be better."""

from dataclasses import replace

import numpy as np
import pytest

from vsweep.analysis.designer.assumption import chinchilla
from vsweep.analysis.designer.precision import expected
from vsweep.analysis.designer.search import (
    FARTHEST,
    GRID,
    INSIDE,
    ISOFLOP,
    NoDesign,
    Request,
    Size,
    rounded_down,
    search,
)

FLOPS, BATCH = 1e14, 720.0
SIZES = tuple(Size(width, 50.0 * width**2) for width in range(4, 1024, 4))
ASSUMED = chinchilla(1.3e5, 2.6e6, floor_known=False)
REQUEST = Request(
    flops=FLOPS, sizes=SIZES, centre=1.3e5, batch_tokens=BATCH, least_tokens=100 * BATCH, levels=4, number_of_sizes=6
)


@pytest.fixture(scope="module", params=[ISOFLOP, GRID])
def found(request):
    return search(replace(REQUEST, kind=request.param), ASSUMED)


def test_the_design_costs_what_was_asked_for(found):
    assert 0.9 * FLOPS <= found.best.runs.flops <= FLOPS * 1.001  # whole batches round both ways


def test_numbers_that_were_given_are_kept(found):
    assert (found.best.choices.levels, len(found.best.widths), found.best.choices.seeds) == (4, 6, 2)
    assert found.best.runs.seeds == 2


def test_every_run_can_be_trained(found):
    runs = found.best.runs
    assert runs.tokens.min() >= REQUEST.least_tokens
    np.testing.assert_allclose(runs.tokens % BATCH, 0, atol=1e-6)


def test_the_best_of_its_kind_is_chosen(found):
    own = [one for one in found.candidates if one.choices.kind == found.best.choices.kind]
    assert found.best.score == min(one.score for one in own)
    assert found.best.precision.a == pytest.approx(expected(found.best.runs, ASSUMED).a)
    assert min(found.otherwise("span").values()) == found.best.score
    assert set(found.otherwise("kind")) == {ISOFLOP, GRID}


def test_levels_cost_equal_compute_and_have_their_optimum_inside():
    best = search(replace(REQUEST, kind=ISOFLOP), ASSUMED).best
    for level in best.levels:
        at = np.abs(np.log(best.runs.flops_each / level)) < 0.01
        optimum = ASSUMED.law.params_opt(level)
        assert at.sum() >= 3
        assert INSIDE * best.runs.params[at].min() <= optimum <= best.runs.params[at].max() / INSIDE


def test_no_run_is_far_from_the_optimum(found):
    off = found.best.runs.params / ASSUMED.law.params_opt(found.best.runs.flops_each)
    assert np.abs(np.log(off)).max() <= np.log(FARTHEST)


def test_runs_outside_the_bounds_are_left_out():
    best = min(
        (one for one in search(REQUEST, ASSUMED).candidates if one.bounds), key=lambda candidate: candidate.score
    )
    ratio = best.runs.tokens / best.runs.params
    assert best.bounds[0] * 0.97 <= ratio.min()
    assert ratio.max() <= best.bounds[1] * 1.03  # rounded to batches
    assert len(best.runs.params) < len(best.widths) * len(best.levels)
    assert len(best.runs.sizes) == len(best.widths)


def test_the_smallest_level_can_be_given():
    best = search(replace(REQUEST, kind=ISOFLOP, least_flops=1e11), ASSUMED).best
    assert best.levels[0] == pytest.approx(1e11)
    assert best.runs.flops <= FLOPS * 1.001


def test_a_target_is_forecast_best_by_its_own_design():
    aimed = search(replace(REQUEST, kind=ISOFLOP, target_flops=1e17), ASSUMED)
    plain = search(replace(REQUEST, kind=ISOFLOP), ASSUMED)
    assert aimed.best.score <= plain.best.precision.forecast(1e17)
    assert aimed.best.score == pytest.approx(aimed.best.precision.forecast(1e17))


def test_twice_the_scatter_is_twice_the_interval():
    """Nearly: Huber's threshold stays where it is."""
    request = replace(REQUEST, kind=ISOFLOP)
    quiet, loud = (search(request, replace(ASSUMED, sd_log=sd)).best.score for sd in (0.005, 0.01))
    assert loud == pytest.approx(2 * quiet, rel=0.1)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"flops": 1e9}, "can be trained"),
        ({"sizes": SIZES[:3]}, "too few widths"),
        ({"sizes": ()}, "too few widths"),
        ({"most_tokens": 1000.0}, "can be trained"),
    ],
)
def test_what_is_impossible_is_said(changed, reason):
    found = search(replace(REQUEST, **changed), ASSUMED)
    assert isinstance(found, NoDesign)
    assert reason in found.reason


def test_numbers_are_rounded_downward():
    np.testing.assert_allclose(rounded_down(np.array([12345.0, 1.0, 9.999e-4])), [12300.0, 1.0, 9.99e-4])
