"""A text sweep, killed at several points: the same command finishes it with the same bits."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.vsweep.killing import ROOT, check_reports, finish, killed_at, same_sweep

pytestmark = pytest.mark.slow
FEW = ("--config.sweep.width=8", "--config.sweep.seed=0", "--config.train.final_examples=64")


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> tuple[str, ...]:
    """The arguments of a small text sweep, of which the last `--config` counts."""
    folder = tmp_path_factory.mktemp("texts")
    rng = np.random.default_rng(0)
    texts = (" ".join(map(str, rng.integers(1000, size=300))) for _ in range(100))
    (folder / "numbers.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    return (f"--config={ROOT}/configs/text.py:smoke", f"--config.task.corpus={folder}", *FEW)


@pytest.fixture(scope="module")
def uninterrupted(words, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("text")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VSWEEP_CACHE", str(tmp_path_factory.mktemp("cache")))
        finish(workdir, Path("/dev/null"), *words)
    return workdir


@pytest.mark.parametrize(
    ("point", "call"),
    [
        ("writing config.json", 1),
        ("in the middle of a chunk", 2),
        ("writing a checkpoint in the background", 1),
        ("writing runs.csv", 2),
    ],
)
def test_a_killed_text_sweep_finishes_as_an_uninterrupted_one(point, call, words, uninterrupted, tmp_path, monkeypatch):
    monkeypatch.setenv("VSWEEP_CACHE", str(tmp_path / "cache"))  # tokenised anew, to the same ids
    killed_at(point, call, tmp_path / "killed", tmp_path / "steps", *words)
    check_reports(tmp_path / "killed")
    finish(tmp_path / "killed", tmp_path / "steps", *words)
    assert same_sweep(tmp_path / "killed", uninterrupted)
    assert (tmp_path / "killed" / "task.json").read_bytes() == (uninterrupted / "task.json").read_bytes()
