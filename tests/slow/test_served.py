"""A sweep that is watched is the same sweep: exit status and tables of `launch.py --serve` and of `launch.py`."""

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from vsweep.schema import LIVE_FILE

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}


def train(workdir: Path, *flags: str) -> subprocess.CompletedProcess:
    config = f"--config={ROOT}/configs/addition.py:smoke"
    small = ["--config.sweep.width=4", "--config.sweep.budget=2000,4000", "--config.sweep.seed=0"]
    program = [sys.executable, str(ROOT / "launch.py"), config, *small, f"--workdir={workdir}", *flags]
    return subprocess.run(program, env=ENVIRONMENT, capture_output=True, text=True, timeout=600)


def test_training_is_the_same_with_a_page(tmp_path):
    alone, watched = train(tmp_path / "alone"), train(tmp_path / "watched", "--serve")
    assert (alone.returncode, watched.returncode) == (0, 0), watched.stderr
    for name in ("curves.csv", "config.json", "plan.json"):
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "watched" / name).read_bytes()
    tables = [without_times((tmp_path / name / "runs.csv").read_text()) for name in ("alone", "watched")]
    assert tables[0] == tables[1]
    assert not (tmp_path / "watched" / LIVE_FILE).exists()
    address = re.search(r"http://127\.0\.0\.1:\d+/[\w-]{43}/", watched.stdout)[0]
    with pytest.raises(urllib.error.URLError):  # it ended with the training
        urllib.request.urlopen(address, timeout=20)


def without_times(text: str) -> list[list[str]]:
    rows = [line.split(",") for line in text.splitlines()]
    place = rows[0].index("wall_s")
    return [[cell for column, cell in enumerate(row) if column != place] for row in rows]
