"""A text sweep that is killed, on a bad disk, or with damaged files: the same command ends with the same bits."""

import json
import math
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.slow.test_bad_disk import harmed
from tests.slow.test_damage import files_by_kind, flip_a_bit
from tests.vsweep import small
from tests.vsweep.killing import ROOT, check_reports, finish, killed_at, same_sweep
from vsweep.config.problems import ConfigError
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


@pytest.mark.parametrize(("first", "harm"), [(1, "full"), (20, "broken for a moment")])
def test_at_calls_of_a_text_sweep_a_bad_disk_is_an_error_at_once(first, harm, tmp_path):
    """Every 41st of some 600 calls."""
    assert harmed("text", tmp_path, harm, first, stride=41) > 10


def test_a_fault_in_any_kind_of_file_of_a_text_sweep_changes_no_number(tmp_path, monkeypatch):
    monkeypatch.setenv("VSWEEP_CACHE", str(tmp_path / "cache"))
    values, seed = small.text_config(tmp_path / "texts"), random.randrange(10**6)
    small.train(values, tmp_path / "finished")
    rng, refused = random.Random(seed), set()
    kinds = files_by_kind(tmp_path / "finished")
    for kind in sorted(kinds):
        workdir = shutil.copytree(tmp_path / "finished", tmp_path / "copy")
        path = workdir / rng.choice(kinds[kind]).relative_to(tmp_path / "finished")
        flip_a_bit(path, rng)
        try:
            small.train(values, workdir)
        except ConfigError:
            refused.add(kind)
        else:
            assert small.differing(workdir, tmp_path / "finished") == [], f"seed {seed}, {path}"
        shutil.rmtree(workdir)
    assert refused
    assert refused < set(kinds)
    assert "task.json" in kinds


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
