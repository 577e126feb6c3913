"""Kaplan's study, small: trained by its command, with the three figures at the end."""

import json
from pathlib import Path

import pytest

from tests.vsweep.killing import ROOT, finish
from vsweep.tables import read_runs

pytestmark = pytest.mark.slow
FIGURES = ("kaplan_compute", "kaplan_tokens", "kaplan_kinks")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> Path:
    """The finished sweep of `configs/kaplan.py:smoke`."""
    workdir = tmp_path_factory.mktemp("kaplan")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VSWEEP_CACHE", str(tmp_path_factory.mktemp("cache")))
        finish(workdir, Path("/dev/null"), f"--config={ROOT}/configs/kaplan.py:smoke")
    return workdir


def test_the_study_ends_with_the_three_figures(smoke):
    drawn = {path.stem for path in (smoke / "analysis").rglob("*.png")}
    assert set(FIGURES) <= drawn
    page = (smoke / "analysis" / "report.html").read_text(encoding="utf-8")
    assert "reading of the loss curves" in page
    assert "C_min is what the same losses would have cost" in page


def test_wider_models_are_better_and_the_line_falls(smoke):
    runs = read_runs(smoke)
    assert set(runs["status"]) == {"finished"}
    losses = runs[runs["batch_size"] == 16].groupby("width")["val_loss"].mean()
    assert losses[32] < losses[16] < losses[8]
    kaplan = json.loads((smoke / "analysis" / "fits.json").read_text(encoding="utf-8"))["losses"]["val_loss"]["kaplan"]
    assert -0.2 < kaplan["line"]["slope"] < -0.05
    assert kaplan["line"]["slope_low"] <= kaplan["line"]["slope_high"]
    assert kaplan["c_min"]  # a slope, or why there is none
