"""Valleys through diverged runs: a vertex that no run comes near is no minimum."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vsweep import analysis
from vsweep.analysis.approaches import isoflop, optimal_path
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import select
from vsweep.analysis.data.source import Convention

CASES = Path(__file__).parents[2] / "data" / "cases"
SIZES = np.log([2e7, 5e7, 1.2e8, 3e8, 7e8, 1.6e9])
INTERIOR, BELOW = (optimal_path.CODES[name] for name in (optimal_path.INTERIOR, optimal_path.BELOW_RUNS))


def valley(sizes: np.ndarray, bottom: float) -> np.ndarray:
    """Log losses of a lopsided valley with its minimum at log N = `bottom`."""
    u = sizes - bottom
    return 1.0 + 0.02 * u**2 + 0.002 * u**3


def test_vertex_far_below_every_run_is_no_minimum():
    good = valley(SIZES, 18.4)
    bad = good + 1.3 * (np.arange(6) == 4)
    minima = isoflop.parabola_minima(SIZES, np.stack([good, bad]))
    assert minima.status.tolist() == [INTERIOR, BELOW]
    assert np.exp(minima.log_params[1]) == pytest.approx(1.2e8)
    assert minima.log_loss[1] == bad.min()


def test_splines_vertex_far_below_every_run_is_no_minimum():
    bad = np.array([[1.013, 1.018, 1.214, 1.003, 1.72, 2.28]])
    assert isoflop.akima_minima(SIZES, bad).status.tolist() == [BELOW]


def test_a_wider_window_sees_more_sizes():
    lopsided = valley(SIZES, 18.4)[None]
    near, wide = (isoflop.parabola_minima(SIZES, lopsided, np.log(factor)).log_params[0] for factor in (3, 1e9))
    square, slope, _ = np.polyfit(SIZES, lopsided[0], 2)
    assert wide == pytest.approx(-slope / (2 * square))
    assert near != pytest.approx(wide, rel=1e-4)


def valleys_table(flat: float) -> pd.DataFrame:
    """Labelled IsoFLOP groups with N_opt ~ C^0.5; the last group is flatter by `flat` and its minimum misplaced."""
    rows = []
    for number, flops in enumerate(np.geomspace(1e18, 1e20, 5)):
        best = 0.5 * np.log(flops / 6 / 20)
        last = number == 4
        for log_n in best + np.linspace(-1.2, 1.2, 7):
            bowl = 0.1 * (flat if last else 1.0) * (log_n - best - (0.8 if last else 0.0)) ** 2
            noise = 1e-3 * np.sin(7 * log_n)
            rows.append((np.exp(log_n), flops, flops, 3 * (flops / 1e18) ** -0.05 * np.exp(bowl + noise)))
    return pd.DataFrame(rows, columns=["N", "C", "isoflop", "loss"])


def test_weights_give_a_flat_valley_little_say():
    source = load(valleys_table(flat=0.05))
    plain, weighted = (
        isoflop.fit(select(source, Convention("loss", isoflop_weights=weights))) for weights in (False, True)
    )
    assert abs(weighted.a - 0.5) < 0.2 * abs(plain.a - 0.5)
    assert "each minimum weighted by 1 / (standard error)^2" in weighted.note


def test_a_refit_without_shifts_is_the_weighted_fit():
    points = select(load(valleys_table(flat=0.3)), Convention("loss", isoflop_weights=True))
    fitted = isoflop.fit(points)
    again = isoflop.refit(points, np.zeros((2, len(points.table))))
    np.testing.assert_allclose(again.a, fitted.a, rtol=1e-12)
    assert again.a[0] != isoflop.refit(select(load(valleys_table(0.3)), Convention("loss")), np.zeros((1, 35))).a[0]


def test_errors_are_those_of_repeated_draws():
    """The formula is of first order; on a quiet valley draws of noise scatter the vertex as it says."""
    quiet, scatter = valley(SIZES, 18.9), 1e-4
    drawn = quiet + scatter * np.random.default_rng(0).standard_normal((4000, 6))
    measured = isoflop.parabola_minima(SIZES, drawn).log_params.std()
    stated = isoflop._parabolas(SIZES, quiet[None], isoflop.WINDOW).error[0]
    assert measured == pytest.approx(scatter * stated, rel=0.05)


@pytest.mark.parametrize("find", isoflop.MINIMA.values(), ids=isoflop.MINIMA)
def test_noisy_smooth_valleys_keep_their_minima(find):
    noise = 0.003 * np.random.default_rng(0).standard_normal((200, 6))
    bottoms = np.linspace(17.9, 20.0, 200)[:, None]
    assert BELOW not in find(SIZES, valley(SIZES, bottoms) + noise).status


def test_wide_gap_between_sizes_leaves_the_minimum():
    """Between two sizes that are far apart the minimum of a valley lies far below both."""
    sizes = np.array([0.0, 0.1, 2.0, 4.0])
    minima = isoflop.parabola_minima(sizes, 1 + (sizes[None] - 1) ** 2)
    assert (minima.status[0], minima.log_params[0]) == (INTERIOR, pytest.approx(1.0))


def test_deep_vertices_are_named_like_edges(tmp_path):
    result = analysis.analyse(CASES / "diverged.csv", tmp_path, bootstrap=0)
    sentences = [str(finding) for finding in result.findings]
    assert any("3 with a vertex far below every run" in sentence for sentence in sentences)
    (outliers,) = [sentence for sentence in sentences if "2 outliers of 36 points" in sentence]
    assert "row 22 (N = 300M, D = 2.5B: 10.9 instead of 3.112)" in outliers
    law = result.studies[0].results["law"].result
    assert law.law.a == pytest.approx(0.513, abs=0.01)
    table = json.loads(result.fits.read_text(encoding="utf-8"))["losses"]["loss"]
    assert [entry["run_id"] for entry in table["parametric"]["outliers"]] == ["row 33", "row 22"]
    assert table["isoflop_parabola"]["edges"] == [
        "no minimum (N = 120M) at C = 2.75e+18 to 7.53e+18",
        "vertex far below every run (N = 300M) at C = 1.05e+19 to 2.06e+19",
    ]
