"""Approaches 1 and 2: the lower envelope and the IsoFLOP valleys."""

import numpy as np
import pytest

from analysis import envelope, isoflop, path, study
from analysis.points import Convention, Refusal, load, select
from tests.analysis.conftest import CHINCHILLA, MANY_BUDGETS
from tests.analysis.planted import FLOOR, LAW, Planted, write_planted

EXCESS = Convention("excess_loss")


@pytest.mark.parametrize("loss", ["excess_loss", "answer_loss", "val_loss"])
def test_a_planted_law_is_recovered_by_all_three_approaches(planted_workdir, loss):
    found = study.study_loss(load(planted_workdir), Convention(loss), bootstrap=0)
    assert found.approach("parametric").a == pytest.approx(LAW.a, abs=1e-4)
    assert found.approach("isoflop_parabola").a == pytest.approx(LAW.a, abs=0.02)
    assert found.approach("isoflop_akima").a == pytest.approx(LAW.a, abs=0.02)
    assert found.approach("envelope").a == pytest.approx(LAW.a, abs=0.03)
    for approach in found.approaches:
        assert approach.a + approach.b == pytest.approx(1, abs=1e-6)
    if loss == "val_loss":
        assert pytest.approx(FLOOR, abs=1e-6) == found.law.E


def test_the_exponents_depend_on_what_n_and_c_are_called(planted_workdir):
    source = load(planted_workdir)
    plain = study.study_loss(source, EXCESS, bootstrap=0)
    other = Convention("excess_loss", size="params_non_embedding", flops="flops_counted")
    counted = study.study_loss(source, other, bootstrap=0)
    for method in study.METHODS:
        assert abs(plain.approach(method).a - counted.approach(method).a) > 1e-4


def test_a_noisy_law_is_recovered_and_its_truth_lies_in_the_bootstrap_interval(noisy_workdir):
    found = study.study_loss(load(noisy_workdir), EXCESS, bootstrap=100)
    parametric = found.approach("parametric")
    assert parametric.a == pytest.approx(LAW.a, abs=0.02)
    by_kind = {entry.kind: entry for entry in parametric.uncertainty}
    assert by_kind["fits to single seeds"].form == "min..max"
    cells = by_kind["resampled cells"]
    assert cells.form == "95 % interval"
    assert cells.ranges["alpha"].low < LAW.alpha < cells.ranges["alpha"].high
    assert found.noise_log == pytest.approx(0.03, rel=0.15)
    assert not found.forecast.failed


def test_the_minimum_of_a_valley_lies_where_the_law_has_it(planted_workdir):
    for valley in isoflop.valleys(select(load(planted_workdir), EXCESS)):
        for method in isoflop.MINIMA.values():
            minimum = method(valley)
            if minimum.status == path.INTERIOR:
                assert minimum.params == pytest.approx(LAW.params_opt(valley.flops), rel=0.12)


@pytest.mark.parametrize(("shift", "status"), [(1e6, path.EDGE_LARGE), (1e-8, path.EDGE_SMALL)])
def test_a_planted_edge_minimum_is_refused(tmp_path, shift, status):
    law = Planted(excess=lambda params, tokens: LAW.loss(params / shift, tokens))
    points = select(load(write_planted(tmp_path, law)), EXCESS)
    for method in isoflop.MINIMA:
        fit = isoflop.fit(points, method)
        assert isinstance(fit, Refusal)
        assert f"0 interior minima, 3 needed (compute levels: {len(isoflop.valleys(points))} {status})" in fit.reason
    refused = envelope.fit(points)
    assert isinstance(refused, Refusal)
    assert status in refused.reason


def test_edge_minima_beside_interior_ones_are_reported_and_left_out(planted_workdir):
    fit = isoflop.fit(select(load(planted_workdir), EXCESS))
    assert set(fit.left_out["status"]) <= {path.EDGE_SMALL, path.EDGE_LARGE, path.NO_MINIMUM}
    assert set(fit.used["status"]) == {path.INTERIOR}
    sizes = select(load(planted_workdir), EXCESS).column("size")
    assert fit.used["params"].between(sizes.min(), sizes.max(), inclusive="neither").all()


def test_small_budgets_are_never_read_off_long_curves(planted_workdir):
    points = select(load(planted_workdir), EXCESS)
    without_curves = [valley.loss for valley in isoflop.valleys(points.where(points.table["seed"].notna()))]
    spoilt = points.curves.assign(loss=points.curves["loss"] * 100)
    changed = isoflop.valleys(type(points)(points.convention, points.table, (), spoilt))
    for before, after in zip(without_curves, changed, strict=True):
        np.testing.assert_array_equal(before, after.loss)


def test_no_valley_is_extrapolated_beyond_the_runs_of_a_size(planted_workdir):
    points = select(load(planted_workdir), EXCESS)
    for valley in isoflop.valleys(points):
        assert valley.tokens.min() >= min(MANY_BUDGETS) * 0.999
        assert valley.tokens.max() <= max(MANY_BUDGETS) * 1.001
        assert len(valley.params) >= isoflop.MIN_SIZES


def test_every_counted_point_of_the_envelope_is_annealed_and_between_two_sizes(planted_workdir):
    points = select(load(planted_workdir), EXCESS)
    found = envelope.lower_envelope(points)
    counted = found[found["status"] == path.INTERIOR]
    ends = np.array(MANY_BUDGETS)
    share = [max(tokens / ends[ends >= tokens * 0.999]) for tokens in counted["tokens"]]
    assert min(share) >= envelope.ANNEALED_FROM * 0.999
    assert (found["status"] == envelope.NOT_ANNEALED).any()
    # Beyond the last run of the second smallest size at this compute nothing smaller competes.
    assert counted["tokens"].max() < max(MANY_BUDGETS) * 1.001


def test_an_envelope_on_which_only_large_sizes_are_left_does_not_find_a_equal_to_one(tmp_path):
    # With so much compute the best size lies below all of them: the smallest one left wins everywhere.
    law = Planted(excess=lambda params, tokens: 0.5 * (params / 1e3) ** 0.05 + 900 * tokens**-0.6)
    fit = envelope.fit(select(load(write_planted(tmp_path, law)), EXCESS))
    assert isinstance(fit, Refusal)
    assert path.EDGE_SMALL in fit.reason


def test_smoothing_keeps_the_annealed_end_of_a_curve():
    curve = np.array([3.0, 1.0, 2.0, 0.5])
    assert envelope.smooth(curve).tolist() == [3.0, 1.75, 1.375, 0.5]


def test_the_lower_hull_of_a_table_holds_no_point_above_a_chord():
    points = select(load(CHINCHILLA), Convention("loss"))
    hull = envelope.lower_hull(points)
    slope = np.diff(np.log(hull["loss"])) / np.diff(np.log(hull["flops"]))
    assert (slope < 0).all()
    assert (np.diff(slope) > 0).all()
    x, y = np.log(points.column("flops")), np.log(points.column("loss"))
    inside = x <= np.log(hull["flops"].max())
    assert (y[inside] >= np.interp(x[inside], np.log(hull["flops"]), np.log(hull["loss"])) - 1e-12).all()


def test_chinchilla_gives_about_one_half_by_all_three_approaches():
    found = study.study_loss(load(CHINCHILLA), Convention("loss"), bootstrap=0)
    assert [approach.a for approach in found.approaches] == pytest.approx([0.5] * 4, abs=0.07)
