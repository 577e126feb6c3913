"""Sweeps of one task fitted together: what is joined, counted once, named, or refused."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.analysis.planted import Planted, write_planted, write_runs
from tests.analysis.sections.text_study import write_samples
from vsweep import tables
from vsweep.analysis.__main__ import main
from vsweep.analysis.commands import folder_beside
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import select
from vsweep.analysis.data.several_workdirs import short_names
from vsweep.analysis.data.source import Convention
from vsweep.analysis.pipeline import analyse
from vsweep.analysis.tables.foreign_tables import BadTable

CONFIG = {"name": "x", "task": {"name": "addition", "digits": 3}, "optimizer": {"lr": 1.0, "beta2": 0.999}}
SMALL = Planted(widths=(4, 8), budgets=(125_000, 250_000), seeds=(0, 1))


def sweep(folder, planted=SMALL, config=None, **changes):
    """A planted work directory; `changes` are columns of its runs."""
    write_planted(folder, planted)
    if changes:
        write_runs(folder, tables.read_runs(folder).astype(object).assign(**changes).to_dict("records"))
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def two(tmp_path):
    """Two sweeps of other sizes, with one config."""
    return [
        sweep(tmp_path / "a", config=CONFIG),
        sweep(tmp_path / "b", replace(SMALL, widths=(12, 16)), config={**CONFIG, "name": "other"}),
    ]


def test_runs_curves_and_names_are_joined(two):
    source = load(two)
    assert source.title == "a + b"
    assert source.runs["workdir"].value_counts().to_dict() == {"a": 8, "b": 8}
    assert source.runs["run_id"].is_unique
    assert set(source.curves["run_id"]) == set(source.runs["run_id"])
    assert source.notes == ("2 work directories are fitted together: a, b.",)
    assert source.warnings == ()
    apart = pd.concat([select(load(path), Convention("excess_loss")).table for path in two], ignore_index=True)
    joined = select(source, Convention("excess_loss")).table
    pd.testing.assert_frame_equal(joined, apart, check_dtype=False)


def test_one_directory_in_a_list_is_itself(two):
    assert load([two[0]]).title == "a"


def test_one_text_keeps_its_levels_and_other_texts_are_named(two):
    facts = {"levels_nats_per_token": {"unigram": 3.0, "bigram": 2.4}}
    for path in two:
        (path / "task.json").write_text(json.dumps(facts))
        write_samples(path, "some text")
    same = load(two)
    assert (same.language.bigram, same.warnings, same.samples) == (2.4, (), ())
    facts["levels_nats_per_token"]["bigram"] = 2.5
    (two[1] / "task.json").write_text(json.dumps(facts))
    source = load(two)
    assert source.language is None
    assert source.warnings == ("Their texts differ (task.json), so no levels and no bits per byte are shown.",)


def test_same_run_is_counted_once(tmp_path):
    first, second = sweep(tmp_path / "a"), sweep(tmp_path / "b", replace(SMALL, widths=(8, 12)))
    source = load([first, second])
    assert len(source.runs) == 12
    assert source.runs["run_id"].is_unique
    assert "Counted once, because the same run is in another directory: b/w8-b125000-s0, " in " ".join(source.notes)
    assert len(source.curves) == len(load(first).curves) * 3 // 2


def test_copy_that_got_further_counts(tmp_path):
    first = sweep(tmp_path / "a", status="running", val_loss=9.0)
    source = load([first, sweep(tmp_path / "b")])
    assert set(source.runs["status"]) == {"finished"}
    assert set(source.runs["workdir"]) == {"b"}


def test_losses_of_copies_that_differ_are_named(tmp_path):
    off = sweep(tmp_path / "b", val_loss=lambda runs: runs["val_loss"].astype(float) + 0.25)
    assert "differ by up to 0.25 nats/token" in " ".join(load([sweep(tmp_path / "a"), off]).notes)


def test_equal_ids_of_other_runs_get_prefixes(tmp_path):
    source = load([sweep(tmp_path / "a"), sweep(tmp_path / "b", lr=0.01)])
    assert len(source.runs) == 16
    assert {"a/w4-b125000-s0", "b/w4-b125000-s0"} <= set(source.runs["run_id"])
    assert set(source.curves["run_id"]) == set(source.runs["run_id"])


def test_settings_outside_the_tables_are_named(tmp_path):
    other = {**CONFIG, "optimizer": {"lr": 2.0, "beta2": 0.95}}
    source = load([sweep(tmp_path / "a", config=CONFIG), sweep(tmp_path / "b", config=other)])
    assert len(source.runs) == 16  # they are not the same runs
    (warning,) = source.warnings
    assert "optimizer.beta2 is 0.999 in a, 0.95 in b" in warning
    assert "--by workdir" in warning
    assert "lr" not in warning.replace("--by", "")  # a column has it


def test_missing_config_and_other_versions_are_notes(tmp_path):
    source = load([sweep(tmp_path / "a", config=CONFIG), sweep(tmp_path / "b", lr=0.01, versions="vsweep 9")])
    notes = " ".join(source.notes)
    assert "no config.json can be read in b" in notes
    assert "Versions differ: versions is vsweep 0.1.0, Python 3.11 in a, vsweep 9 in b." in notes


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (None, {"task": "copy"}, "task is addition in a, copy in b"),
        ({**CONFIG, "task": {"name": "addition", "digits": 4}}, {}, "task.digits is 3 in a, 4 in b"),
        ({**CONFIG, "task": {**CONFIG["task"], "split_seed": 1}}, {}, "task.split_seed is not set in a, 1 in b"),
        (None, {"floor": 1.2}, "the floor of the task, nats/token is 1.03 in a, 1.2 in b"),
    ],
)
def test_sweeps_of_other_tasks_are_refused(tmp_path, config, changes, message):
    paths = [sweep(tmp_path / "a", config=CONFIG), sweep(tmp_path / "b", config=config, **changes)]
    with pytest.raises(BadTable, match="cannot be fitted together") as refused:
        load(paths)
    assert message in str(refused.value)


def test_a_config_that_is_no_json_is_not_read(tmp_path):
    paths = [sweep(tmp_path / "a"), sweep(tmp_path / "b", lr=0.01)]
    (paths[0] / "config.json").write_text("[" * 100_000)
    assert "no config.json can be read in a, b" in " ".join(load(paths).notes)


def test_a_directory_given_twice_is_refused(two):
    with pytest.raises(BadTable, match="is given twice"):
        load([two[0], two[0] / "." / ".." / "a"])


def test_files_among_directories_are_refused(two):
    with pytest.raises(ValueError, match="a work directory and a table have other columns"):
        load([two[0], two[1] / "runs.csv"])


def test_equal_folder_names_are_told_apart(tmp_path):
    assert short_names([tmp_path / "x" / "a", tmp_path / "y" / "a"]) == ["x/a", "y/a"]


def test_analysis_of_two_goes_beside_them(tmp_path, capsys):
    one = replace(SMALL, widths=(4,), budgets=(125_000,), seeds=(0,))  # nothing to fit, which is quick
    two = [sweep(tmp_path / "a", one), sweep(tmp_path / "b", replace(one, widths=(8,)))]
    assert main([*map(str, two), "--bootstrap", "0"]) == 0
    out = tmp_path / "a+b-analysis"
    said = capsys.readouterr().out
    assert str(out / "report.html") in said
    assert "2 work directories are fitted together: a, b." in said
    assert json.loads((out / "fits.json").read_text())["runs"]["total"] == 2
    assert folder_beside(two) == out
    (out / "fits.json").write_text("{}")
    with pytest.raises(ValueError, match="holds no analysis of a \\+ b"):
        folder_beside(two)


def test_python_needs_a_place_for_two(two):
    with pytest.raises(ValueError, match="out: several work directories have no directory of their own"):
        analyse(two)


def test_out_is_needed_for_distant_sources(two, tmp_path, capsys):
    far = sweep(tmp_path / "far" / "c", lr=0.01)
    assert main([str(two[0]), str(far)]) == 2
    assert "do not lie beside each other - say where to write with --out" in capsys.readouterr().err
    assert np.all([not (path / "analysis").exists() for path in (two[0], far)])
