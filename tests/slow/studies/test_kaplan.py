"""Kaplan's study on a laptop: trained by its command, with the three figures at the end. It takes five minutes."""

import json
from pathlib import Path

import pytest

from tests.vsweep.killing import ROOT, finish
from vsweep.tables import read_runs

pytestmark = pytest.mark.slow
FIGURES = ("kaplan_compute", "kaplan_tokens", "kaplan_kinks")


@pytest.fixture(scope="module")
def laptop(tmp_path_factory) -> Path:
    """The finished sweep of `configs/kaplan.py:laptop`."""
    workdir = tmp_path_factory.mktemp("kaplan")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VSWEEP_CACHE", str(tmp_path_factory.mktemp("cache")))
        finish(workdir, Path("/dev/null"), f"--config={ROOT}/configs/kaplan.py:laptop")
    return workdir


def test_the_study_ends_with_the_three_figures(laptop):
    drawn = {path.stem for path in (laptop / "analysis").rglob("*.png")}
    assert set(FIGURES) <= drawn
    page = (laptop / "analysis" / "report.html").read_text(encoding="utf-8")
    assert "reading of the loss curves" in page
    assert "C_min is what the same losses would have cost" in page


def test_wider_models_are_better_and_the_line_falls(laptop):
    runs = read_runs(laptop)
    assert set(runs["status"]) == {"finished"}
    losses = runs[runs["batch_size"] == 16].groupby("width")["val_loss"].mean()
    assert losses.sort_index().is_monotonic_decreasing
    assert losses.index.tolist() == [8, 12, 16, 24, 32, 48]
    kaplan = json.loads((laptop / "analysis" / "fits.json").read_text(encoding="utf-8"))["losses"]["val_loss"]["kaplan"]
    assert kaplan["line"]["slope_low"] < kaplan["line"]["slope"] < kaplan["line"]["slope_high"]
    assert -0.13 < kaplan["line"]["slope"] < -0.07  # -0.100 when it was tried
    assert kaplan["c_min"]  # a slope, or why there is none
