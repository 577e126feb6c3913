"""A text sweep, killed at several points: the same command finishes it with the same bits."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from tests.vsweep.killing import ROOT, check_reports, finish, killed_at, same_sweep
from vsweep.schema import SAMPLES_FILE
from vsweep.tables import read_runs

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
        ("writing samples.json", 1),
    ],
)
def test_a_killed_text_sweep_finishes_as_an_uninterrupted_one(point, call, words, uninterrupted, tmp_path, monkeypatch):
    monkeypatch.setenv("VSWEEP_CACHE", str(tmp_path / "cache"))  # tokenised anew, to the same ids
    killed_at(point, call, tmp_path / "killed", tmp_path / "steps", *words)
    check_reports(tmp_path / "killed")
    finish(tmp_path / "killed", tmp_path / "steps", *words)
    assert same_sweep(tmp_path / "killed", uninterrupted)
    for name in ("task.json", SAMPLES_FILE):
        assert (tmp_path / "killed" / name).read_bytes() == (uninterrupted / name).read_bytes()


def test_the_smoke_study_of_speeches_ends_with_a_whole_report(tmp_path, monkeypatch):
    monkeypatch.setenv("VSWEEP_CACHE", str(tmp_path / "cache"))
    smoke, workdir = f"--config={ROOT}/configs/text.py:smoke", tmp_path / "smoke"
    killed_at("in the middle of a chunk", 2, workdir, tmp_path / "steps", smoke)
    assert not (workdir / SAMPLES_FILE).exists()
    finish(workdir, tmp_path / "steps", smoke)
    fits = json.loads((workdir / "analysis" / "fits.json").read_text(encoding="utf-8"))
    told, runs = fits["losses"]["val_loss"], read_runs(workdir)
    assert (set(fits["losses"]), fits["runs"]["finished"]) == ({"val_loss"}, 12)
    assert told["language"]["best"]["bits_per_byte"] == pytest.approx(runs["val_bits_per_byte"].min())
    unigram = told["language"]["levels"][0]
    assert (unigram["name"], unigram["cells"]) == ("unigram", 6)
    assert 2.9 < unigram["nats"] < 3.1
    assert told["language"]["best"]["nats"] < unigram["nats"] < math.log(256) < 6
    assert "line" in told["kaplan"]
    samples = json.loads((workdir / SAMPLES_FILE).read_text(encoding="utf-8"))["samples"]
    assert [sample["params"] for sample in samples] == sorted(runs["params"].unique(), reverse=True)
    page = (workdir / "analysis" / "report.html").read_text(encoding="utf-8")
    for part in ('<section id="language"', "Text from the best run of each size", "bigram level"):
        assert part in page
    for figure in ("kaplan_compute", "kaplan_tokens", "loss_curves"):
        assert (workdir / "analysis" / "figures" / f"{figure}.svg").is_file()
        assert f'id="figure-{figure}"' in page
