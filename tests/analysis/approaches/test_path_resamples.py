"""Resamples of an optimal path: what a refit finds is what a fit to the resampled losses finds."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.analysis.approaches.test_optimal_path import EXCESS, METHODS, excess, groups, noisy, public
from vsweep.analysis.approaches import envelope, optimal_path
from vsweep.analysis.data.cells import cells
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import select

__all__ = ["excess", "groups", "noisy", "public"]


@pytest.mark.parametrize("name", ["noisy", "public", "groups"])
@pytest.mark.parametrize("method", METHODS)
def test_unshifted_resample_equals_the_fit(method, name, request):
    points = request.getfixturevalue(name)
    fit, refit = METHODS[method]
    whole = fit(points)
    shifts = 0.02 * np.random.default_rng(0).standard_normal((5, len(optimal_path.units(points))))
    shifts[2] = 0
    found = refit(points, shifts)
    lines = (np.exp(found.log_k), found.a, np.exp(found.log_k_tokens), found.b, np.exp(found.log_k_loss), found.c)
    assert [line[2] for line in lines] == [whole.k, whole.a, whole.k_tokens, whole.b, whole.k_loss, whole.c]
    assert len(np.unique(found.a)) > 2
    np.testing.assert_array_equal(refit(points, shifts[3:4]).a, found.a[3:4])
    flops = np.array([1e10, 1e12])
    np.testing.assert_allclose(found.params_opt(flops)[2], whole.params_opt(flops), rtol=1e-9)
    np.testing.assert_allclose(found.tokens_opt(flops)[2], whole.tokens_opt(flops), rtol=1e-9)
    np.testing.assert_allclose(found.loss_opt(flops)[2], whole.loss_opt(flops), rtol=1e-9)


@pytest.mark.parametrize("name", ["noisy", "public", "groups"])
@pytest.mark.parametrize("method", METHODS)
def test_shifted_resample_equals_fit_to_shifted_losses(method, name, request):
    points = request.getfixturevalue(name)
    fit, refit = METHODS[method]
    shift = 0.03 * np.random.default_rng(1).standard_normal(len(optimal_path.units(points)))
    factor = pd.Series(np.exp(shift)[optimal_path.unit_of_row(points)], points.table["run_id"])
    table = points.table.assign(loss=points.table["loss"] * factor.to_numpy())
    curves = points.curves
    if curves is not None:
        curves = curves.assign(loss=curves["loss"] * curves["run_id"].map(factor))
    changed, found = fit(replace(points, table=table, curves=curves)), refit(points, shift[None])
    assert [found.a[0], found.b[0], found.c[0]] == pytest.approx([changed.a, changed.b, changed.c], rel=1e-6)
    assert np.exp(found.log_k[0]) == pytest.approx(changed.k, rel=1e-5)
    assert found.a[0] != fit(points).a


@pytest.mark.parametrize("with_curves", [True, False])
def test_envelope_of_one_seed_is_its_resample(excess, with_curves):
    def tilted(table: pd.DataFrame) -> pd.DataFrame:
        """The larger the seed, the slower its loss falls; which sizes are the best stays the same."""
        return table.assign(loss=table["loss"] * table["flops"] ** (0.02 * (table["seed"].astype(int) - 1)))

    points = replace(excess, table=tilted(excess.table), curves=tilted(excess.curves) if with_curves else None)
    alone = (points.table["seed"] == points.seeds[2]).to_numpy(float)
    found = envelope.refit_runs(points, np.stack([alone, np.ones_like(alone), 0 * alone]))
    exponents = [envelope.fit(chosen).c for chosen in (points.of_seed(points.seeds[2]), points, points)]
    assert found.c == pytest.approx(exponents, abs=1e-3)
    assert exponents[0] == pytest.approx(exponents[1] - 0.02, abs=1e-3)
    stretched = [envelope.refit_runs(points, alone[None], stretch=stretch).c[0] for stretch in (0, 2)]
    assert stretched == pytest.approx([exponents[1], exponents[1] - 0.04], abs=1e-3)


def test_late_diverging_seeds_need_own_curves(broken_workdir):
    """A curve that is moved by what a break did to its end is moved before the break as well."""
    points = select(load(broken_workdir), EXCESS)
    unit, log_loss = optimal_path.unit_of_row(points), np.log(points.column("loss"))
    own = log_loss - np.log(cells(points)["loss"].to_numpy())[unit]
    late = points.curves.merge(points.table.assign(own=own)[["run_id", "own"]], on="run_id")
    undone = late["own"] * (1 - (late["tokens"] / late["budget"]) ** 4)  # so that the scatter comes at the end
    points = replace(points, curves=late.assign(loss=late["loss"] * np.exp(-undone)))
    drawn = np.random.default_rng(0).integers(3, size=(60, unit.max() + 1))  # one seed a cell
    weight = (points.table["seed"].astype(int).to_numpy() == drawn[:, unit]).astype(float)
    shifts = np.stack([np.bincount(unit, of_run * own) for of_run in weight])
    by_run, by_shift = envelope.refit_runs(points, weight), envelope.refit(points, shifts)
    assert by_run.failed < by_shift.failed
    assert np.nanstd(by_run.a) < np.nanstd(by_shift.a)


def test_refused_resamples_are_counted(excess):
    units = optimal_path.units(excess)
    tilt = np.log(units["size"].to_numpy())
    shifts = np.stack([0 * tilt, 3 * tilt, -3 * tilt])  # the smallest size wins everywhere, then the largest one
    for _, refit in METHODS.values():
        found = refit(excess, shifts)
        assert np.isnan(found.a).tolist() == [False, True, True]
        assert np.isnan(found.params_opt(np.array([1e10]))).tolist() == [[False], [True], [True]]
        assert found.failed == 2


@pytest.mark.parametrize(
    ("shifts", "problem"),
    [
        (np.zeros(112), r"shape \(112,\), must be \[resamples, 112\]"),
        (np.zeros((3, 111)), r"shape \(3, 111\), must be \[resamples, 112\]: one column a row of path.units"),
        (np.full((1, 112), np.nan), "112 values are not finite"),
    ],
)
def test_bad_shifts_are_refused_by_name(excess, shifts, problem):
    for _, refit in METHODS.values():
        with pytest.raises(ValueError, match=problem):
            refit(excess, shifts)
