"""Valleys through diverged runs: a vertex that no run comes near is no minimum."""

import json
from pathlib import Path

import numpy as np
import pytest

from vsweep import analysis
from vsweep.analysis.approaches import isoflop, optimal_path

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
