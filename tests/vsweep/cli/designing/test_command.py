"""`vsweep design`: from the command line to a config that can be planned, and to runs that can be added."""

import re
import runpy
import shutil
from pathlib import Path

import pandas as pd
import pytest

import vsweep
from tests.analysis.fits_file import content_of, write
from vsweep.cli import design_shown
from vsweep.cli.designing import base, command, more, new, options
from vsweep.host import devices

LAPTOP = Path(__file__).parents[4] / "docs" / "laptop"
SMALL = ("--flops", "1e13", "--config", "markov", "--levels", "3", "--sizes", "5")


def run(*arguments: str) -> int:
    return command.main([str(word) for word in arguments])


def refused(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as left:
        run(*arguments)
    assert left.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("kind", ["isoflop", "grid"])
def test_the_written_config_is_the_design(kind, tmp_path, capsys):
    file = tmp_path / "mine.py"
    assert run(*SMALL, "--kind", kind, "--out", file) == 0
    said = capsys.readouterr().out
    assert f"written  {file}" in said
    config = base.from_file(str(file))
    assert (config.name, config.task.name, config.model.layers) == ("mine", "markov", 1)
    written = file.read_text(encoding="utf-8")
    assert {"isoflop": "an IsoFLOP design", "grid": "a grid"}[kind] in written
    planned = vsweep.plan_sweep(base_values(file), tmp_path / "none")
    runs = design_shown.runs_of(planned.stacks, planned.task, "params")
    assert runs.flops == pytest.approx(1e13, rel=0.1)
    assert len(runs.sizes) == 5
    assert f" {planned.runs} in 5 stacks" in said


def base_values(file: Path):
    """What the config file gives to the trainer."""
    return runpy.run_path(str(file))["get_config"]()


def test_a_design_is_shown_with_reasons_and_lines(capsys):
    assert run(*SMALL, "--kind", "grid") == 0
    said = capsys.readouterr().out
    for part in ("D, tokens", "A DESIGN FOR 1.00e13 FLOP", "WHY", "as asked", "cpu x", "If the excess loss", "CONFIG"):
        assert part in said
    assert re.search(r"config\.sweep\.width = \(\d+, ", said)
    assert "config.sweep.seed = (0, 1)" in said
    assert max(len(line) for line in said.splitlines() if not line.startswith("  config.")) <= 100


def test_a_design_needs_no_task(capsys):
    numbers = ("--vocabulary", "256", "--positions", "64", "--kind", "grid", "--levels", "4", "--sizes", "5")
    assert run("--flops", "1e16", *numbers) == 0
    said = capsys.readouterr().out
    assert "vocabulary 256, 64 positions" in said
    assert "with your task" in said
    assert "E fitted" in said


def test_models_too_large_for_this_machine_are_designed_all_the_same(capsys, monkeypatch):
    monkeypatch.setattr(devices, "memory_bytes", lambda mesh: 2**30)
    numbers = ("--vocabulary", "256", "--positions", "4096", "--kind", "grid", "--levels", "4", "--sizes", "5")
    assert run("--flops", "1e17", *numbers) == 0
    assert "not known: the largest models do not fit" in capsys.readouterr().out


def test_an_earlier_study_is_assumed_and_its_target_forecast(tmp_path, capsys):
    fits = write(tmp_path, content_of())
    asked = options.read([*SMALL[:4], "--assume", fits, "--kind", "grid"])
    found = new.propose(asked)
    assert (found.assumption.sd_log, found.assumption.floor_free) == (0.004, True)
    law = "0,5,15,0.34,0.29"
    assert run(*SMALL, "--assume", law, "--target-flops", "1e15", "--kind", "grid") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "the law given" in said
    assert "The loss of the compute-optimal run for 1.00e15 FLOP would be forecast within" in said


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--flops", "1e5"], "--flops: too few widths"),
        (["--flops", "1e12", "--config", "nosuch"], "--config: no such bundled config"),
        (["--flops", "1e12", "--assume", "nosuch.json"], "--assume: nosuch.json: no such file"),
        (["nosuch", "--flops", "1e12"], "WORKDIR: "),
        ([LAPTOP, "--flops", "1e3"], "--flops: no run can be added - got 1e+03; allowed: from "),
        ([LAPTOP, "--flops", "1e12", "--loss-convention", "val_loss"], "--loss-convention: nothing reads it"),
        (["--flops", "-1", "--levels", "0"], "--levels: not a valid value"),
    ],
)
def test_a_mistake_ends_with_status_2(arguments, told, capsys):
    assert told in refused(capsys, *arguments)


def test_runs_are_added_to_a_work_directory(tmp_path, capsys):
    file = tmp_path / "more.py"
    assert run(LAPTOP, "--flops", "1e12", "--out", file) == 0
    said = capsys.readouterr().out
    assert f"RUNS TO ADD TO {LAPTOP}" in said
    widths = [float(line.split()[4]) for line in said.splitlines() if line.strip().startswith("finished runs")]
    after = [float(line.split()[4]) for line in said.splitlines() if line.strip().startswith("with these")]
    assert after < widths
    planned = vsweep.plan_sweep(base_values(file), tmp_path / "none")
    runs = design_shown.runs_of(planned.stacks, planned.task, "params")
    assert 0.9e12 < runs.flops <= 1.001e12
    assert all(one.seed >= 3 for stack in planned.stacks for one in stack.runs)


def test_a_sweep_that_varies_more_is_refused(tmp_path, capsys):
    for name in ("runs.csv", "config.json", "tables.json"):
        if (LAPTOP / name).exists():
            shutil.copy(LAPTOP / name, tmp_path / name)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"sweep": {', '"sweep": {"lr": [0.001, 0.002],'))
    assert "varies more than that - got lr" in refused(capsys, tmp_path, "--flops", "1e12")


def test_runs_that_an_extension_took_out_are_left_out(tmp_path):
    """They may have another learning rate, which the config has no more."""
    shutil.copy(LAPTOP / "config.json", tmp_path / "config.json")
    runs = pd.read_csv(LAPTOP / "runs.csv").assign(generation=1)
    runs["in_config"] = (runs["width"] > 4).astype(int)
    runs.to_csv(tmp_path / "runs.csv", index=False)
    found = more.propose(options.Options(flops=1e12, workdir=tmp_path))
    assert (found.left_out, found.taken_out) == (0, int((runs["width"] == 4).sum()))
    assert found.before.number == int((runs["width"] > 4).sum())
    assert "that are no longer in the sweep's config" in more.render(found, 100)


def test_seeds_that_an_extension_took_out_count_for_nothing_and_are_not_given_again(tmp_path):
    shutil.copy(LAPTOP / "config.json", tmp_path / "config.json")
    runs = pd.read_csv(LAPTOP / "runs.csv").assign(generation=1)
    runs["in_config"] = (runs["seed"] == 0).astype(int)
    runs.to_csv(tmp_path / "runs.csv", index=False)
    found = more.propose(options.Options(flops=1e12, workdir=tmp_path))
    assert found.before.seeds == 1
    assert min(row["seed"] for row in found.rows) == runs["seed"].max() + 1 > 1


def test_explicit_runs_can_be_added_to(tmp_path):
    assert more._varied({"runs_csv": [{"width": 4, "budget": 9, "lr": 0.1}]}) == ["width", "budget", "lr"]
    assert more._varied({"width": [4], "flops": [1e9]}) == ["width", "flops"]


def test_the_law_of_a_work_directory_is_its_own(tmp_path):
    for name in ("runs.csv", "config.json"):
        shutil.copy(LAPTOP / name, tmp_path / name)
    (tmp_path / "analysis").mkdir()
    shutil.copy(LAPTOP / "fits.json", tmp_path / "analysis" / "fits.json")
    found = more.propose(options.Options(flops=1e12, workdir=tmp_path))
    assert found.assumption.sd_log == pytest.approx(0.0263, abs=1e-4)
    assert any("doubtful" in doubt for doubt in found.assumption.doubts)
    assert not found.assumption.floor_free
