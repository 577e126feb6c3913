"""A table of 100,000 rows, and 5,000 runs with 200,000 rows of curves: time, memory and page of an analysis."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.analysis.planted import LARGE_LAW, Planted, large_table, write_planted

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
MOST_MEMORY, LARGEST_PAGE = 2 * 2**30, 6_000_000  # bytes


def analysed(source: Path, out: Path) -> dict:
    """fits.json of the analysis of `source`, whose process and page stay below their limits; prints its time."""
    began = time.monotonic()
    child = subprocess.Popen([sys.executable, "-m", "analysis", source, "--out", out], cwd=ROOT)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    memory, page = usage.ru_maxrss * 1024, (out / "report.html").stat().st_size
    seconds = f"{time.monotonic() - began:.0f} s, of CPU {usage.ru_utime + usage.ru_stime:.0f} s"
    print(f"{source.name}: {seconds}, {memory / 1e6:.0f} MB, a page of {page / 1e6:.1f} MB")
    assert child.returncode == 0
    assert memory < MOST_MEMORY
    assert page < LARGEST_PAGE
    return json.loads((out / "fits.json").read_text(encoding="utf-8"))


def test_a_table_of_a_hundred_thousand_rows_is_analysed(tmp_path):
    large_table(100, 200).to_csv(tmp_path / "table.csv", index=False)
    law = analysed(tmp_path / "table.csv", tmp_path / "out")["losses"]["loss"]["parametric"]
    assert law["points"] == 100_000
    assert law["a"] == pytest.approx(LARGE_LAW.a, abs=0.002)
    assert law["ranges"]["a"][-1]["fits"] == 400


def test_a_sweep_of_five_thousand_runs_is_analysed(tmp_path):
    widths, budgets = tuple(range(4, 204, 4)), tuple(int(62_500 * 1.4**i) for i in range(20))
    write_planted(tmp_path, Planted(widths, budgets, seeds=(0, 1, 2, 3, 4), noise=0.02, evaluations=40))
    fits = analysed(tmp_path, tmp_path / "analysis")
    assert fits["runs"]["finished"] == 5_000
    assert fits["losses"]["excess_loss"]["parametric"]["a"] == pytest.approx(0.6 / 1.1, abs=0.01)
