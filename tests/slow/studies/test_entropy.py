"""The law of a source whose entropy is known exactly: `configs/markov.py`, trained and analysed as a user would."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vsweep.tables import read_runs

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.slow


def test_the_interval_of_the_fitted_e_holds_the_exact_entropy(tmp_path):
    program = [sys.executable, "launch.py", "--config=configs/markov.py", f"--workdir={tmp_path}"]
    ended = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (floor,) = set(read_runs(tmp_path)["floor"])
    fits = json.loads((tmp_path / "analysis" / "fits.json").read_text(encoding="utf-8"))
    law = fits["losses"]["val_loss"]["parametric"]
    (interval,) = [one for one in law["ranges"]["E"] if one["form"] == "90 % interval"]
    low, high = interval["low"], interval["high"]
    assert low < floor < high
    assert high - low < 0.1
    assert law["E"] == pytest.approx(floor, abs=0.02)
