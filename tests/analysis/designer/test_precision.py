"""The expected intervals, beside fits to simulated losses."""

import time
from dataclasses import replace

import numpy as np
import pytest

from tests.analysis.designer.designs import ISOFLOP, NARROW_GRID, ONE_RATIO, ONE_SIZE, TWO_SIZES, WIDE_GRID, grid
from vsweep.analysis.approaches import parametric
from vsweep.analysis.approaches.parametric import HOFFMANN
from vsweep.analysis.designer.assumption import Assumption, chinchilla
from vsweep.analysis.designer.precision import CannotTell, Precision, expected, huber_variance
from vsweep.analysis.designer.runs import Runs
from vsweep.analysis.fitting.objective import Objective

FACTOR = 1.5  # between linearised and simulated widths; 30 refits know theirs within 26 % (two standard errors)
REFITS = 30


def assumption(sd: float, *, floor_free: bool = True) -> Assumption:
    law = HOFFMANN if floor_free else replace(HOFFMANN, E=0.0)
    return Assumption(law, sd, floor_free, "it were so")


def simulated(runs: Runs, assumed: Assumption) -> np.ndarray:
    """Widths [a, alpha, beta] that 90 % of normal estimates with the scatter of the refits would have."""
    rng, law = np.random.default_rng(0), assumed.law
    params, tokens = (np.repeat(values, runs.counts.astype(int)) for values in (runs.params, runs.tokens))
    fits = []
    for _ in range(REFITS):
        loss = law.loss(params, tokens) * np.exp(assumed.sd_log * rng.standard_normal(len(params)))
        fits.append(parametric.fit(params, tokens, loss, floor=None if assumed.floor_free else law.E).law)
    return 2 * 1.645 * np.std([(law.a, law.alpha, law.beta) for law in fits], axis=0)


@pytest.mark.parametrize(
    ("runs", "sd", "floor_free"),
    [
        (WIDE_GRID, 0.003, True),
        (WIDE_GRID, 0.01, False),
        (NARROW_GRID, 0.003, True),
        (ISOFLOP, 0.01, True),
        (ISOFLOP, 0.003, False),
    ],
)
def test_expected_widths_agree_with_simulated_refits(runs, sd, floor_free):
    assumed = assumption(sd, floor_free=floor_free)
    found = expected(runs, assumed)
    ratios = np.array([found.a, found.alpha, found.beta]) / simulated(runs, assumed)
    assert np.all((ratios > 1 / FACTOR) & (ratios < FACTOR)), ratios


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        (ONE_SIZE, "a single N"),
        (ONE_RATIO, "N and D are collinear"),
        (TWO_SIZES, "two sizes cannot tell E from a power of N"),
        (grid([1e8, 1e9, 1e10], [1e10]), "a single D"),
        (grid([1e9, 1.001e9, 1.002e9], [1e10, 2e10, 3e10]), "cannot be told apart here"),
        (grid([5e8, 1e9, 2e9], [1e10, 2e10, 4e10]), "a would be known to within"),
    ],
)
def test_a_bad_design_cannot_tell(runs, reason):
    found = expected(runs, assumption(0.01))
    assert isinstance(found, CannotTell)
    assert reason in found.reason


def test_two_sizes_are_enough_with_a_known_floor():
    assert isinstance(expected(TWO_SIZES, assumption(0.003, floor_free=False)), Precision)


def test_a_refit_fails_where_nothing_can_be_told():
    """One size and one ratio: the fit itself refuses too, so the word is no caution of the estimate alone."""
    for runs in (ONE_SIZE, ONE_RATIO):
        fitted = parametric.fit(runs.params, runs.tokens, HOFFMANN.loss(runs.params, runs.tokens))
        assert not isinstance(fitted, parametric.ParametricFit)


def test_four_times_the_runs_halve_the_interval():
    assumed = assumption(0.003)
    once, often = (expected(replace(WIDE_GRID, counts=times * WIDE_GRID.counts), assumed) for times in (1, 4))
    assert once.a / often.a == pytest.approx(2.0)


def test_units_of_size_and_data_do_not_matter():
    """The law moved with the design: the same widths."""
    small = Runs(WIDE_GRID.params / 1e5, WIDE_GRID.tokens / 1e4, WIDE_GRID.counts)
    widths = [expected(runs, chinchilla(*runs.centre, floor_known=False)).a for runs in (WIDE_GRID, small)]
    assert widths[0] == pytest.approx(widths[1], rel=1e-9)


@pytest.mark.parametrize(("delta", "times"), [(1e-4, np.pi / 2), (10.0, 1.0)])
def test_huber_lies_between_median_and_mean(delta, times):
    assert huber_variance(0.01, delta * 0.01) == pytest.approx(times * 0.01**2, rel=1e-3)


def test_huber_variance_is_that_of_simulated_locations():
    noise = 0.003 * np.random.default_rng(1).standard_normal((2000, 100))
    at, objective = np.zeros((2000, 1)), Objective()
    for _ in range(30):  # Newton's steps for the location of each row
        slope = objective.penalties_and_slopes(at - noise)[1].sum(axis=1, keepdims=True)
        at = at - slope / (np.abs(at - noise) < objective.delta).sum(axis=1, keepdims=True).clip(10)
    assert 100 * at.var() == pytest.approx(huber_variance(0.003), rel=0.1)


def test_the_forecast_widens_with_the_distance():
    found = expected(WIDE_GRID, assumption(0.01))
    near, far = found.forecast(1e21), found.forecast(1e26)
    assert near < far / 3


def test_thousands_of_runs_take_no_time():
    rng = np.random.default_rng(0)
    runs = Runs.of(rng.uniform(1e6, 1e9, 10_000), rng.uniform(1e8, 1e11, 10_000))
    begin = time.perf_counter()
    assert isinstance(expected(runs, assumption(0.01)), Precision)
    assert time.perf_counter() - begin < 1.0
