"""A sweep that was extended: what had ended stays as it was, and what is new is as in a fresh sweep of the config."""

import shutil

import numpy as np
import pandas as pd
import pytest

import vsweep
from tests.vsweep import small
from vsweep.analysis.data import loading
from vsweep.config.problems import ConfigError
from vsweep.schema import EXTENSION_COLUMNS
from vsweep.storage.checkpoint import CorruptCheckpoints
from vsweep.storage.workdir import WorkDir
from vsweep.tables import read_curves, read_runs
from vsweep.train.events import Finished, Interrupted, Planned

OWN = ["stack", "wall_s", *EXTENSION_COLUMNS]  # columns in which an extended sweep differs from a fresh one


def first(**optimizer) -> dict:
    return small.config(train={"slots": 2}, optimizer=optimizer, sweep={"width": [4], "budget": [700, 1400]})


def larger(**optimizer) -> dict:
    """More of everything; a smaller budget too, with which curves begin earlier."""
    axes = {"width": [4, 8], "budget": [500, 700, 1400, 2800], "seed": [0, 1, 2]}
    return small.config(train={"slots": 2}, optimizer=optimizer, sweep=axes)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A sweep that began with the larger config."""
    workdir = tmp_path_factory.mktemp("fresh")
    small.train(larger(), workdir)
    return workdir


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The first sweep, finished."""
    workdir = tmp_path_factory.mktemp("begun")
    small.train(first(), workdir)
    return workdir


@pytest.fixture(scope="module")
def extended(begun, tmp_path_factory):
    """The same, extended to the larger config."""
    workdir = shutil.copytree(begun, tmp_path_factory.mktemp("extended") / "work")
    small.train(larger(), workdir, extend=True)
    return workdir


def assert_equals_fresh(workdir, fresh) -> None:
    """Every number of runs.csv in its order, and every parameter, bit for bit."""
    runs, expected = read_runs(workdir).drop(columns=OWN), read_runs(fresh).drop(columns=OWN[:2])
    pd.testing.assert_frame_equal(runs, expected, check_exact=True)
    params, wanted = small.finished_params(workdir), small.finished_params(fresh)
    assert params.keys() == wanted.keys()
    assert all(small.same_bits(params[name], wanted[name]) for name in wanted)


def lines_of(path) -> list[str]:
    return path.read_text().splitlines()[1:]


def test_what_had_ended_stays_byte_for_byte(begun, extended):
    before, after = small.tree(begun / "stacks"), small.tree(extended / "stacks")
    assert before.items() <= after.items()
    assert set(lines_of(begun / "curves.csv")) <= set(lines_of(extended / "curves.csv"))
    rows = {line.partition(",")[0]: line for line in lines_of(extended / "runs.csv")}
    for line in lines_of(begun / "runs.csv"):
        assert rows[line.partition(",")[0]] == f"{line},1,1"


def test_an_extended_sweep_equals_a_fresh_one_of_the_larger_config(extended, fresh):
    assert_equals_fresh(extended, fresh)
    runs = read_runs(extended)
    assert set(runs["stack"]) == {"w4", "w4+2", "w8"}
    assert runs["generation"].value_counts().to_dict() == {1: 4, 2: 20}
    assert set(runs["in_config"]) == {1}


def test_curves_of_new_runs_are_those_of_a_fresh_sweep(extended, fresh):
    new = set(read_runs(extended).query("generation == 2")["run_id"])
    curves, expected = (frame[frame["run_id"].isin(new)] for frame in map(read_curves, (extended, fresh)))
    pd.testing.assert_frame_equal(curves.reset_index(drop=True), expected.reset_index(drop=True), check_exact=True)


def test_its_analysis_begins_with_the_numbers_of_a_fresh_one(extended, fresh):
    """That its own columns then change no fit is tested in tests/analysis/data/test_extended.py."""
    source, expected = loading.load(extended), loading.load(fresh)
    pd.testing.assert_frame_equal(source.runs.drop(columns=OWN), expected.runs.drop(columns=OWN[:2]), check_exact=True)
    assert source.settings == expected.settings
    assert source.warnings == expected.warnings == ()


@pytest.mark.parametrize("extend", [False, True])
def test_the_same_command_again_changes_nothing(extended, extend):
    before = small.tree(extended / "stacks"), (extended / "runs.csv").read_bytes()
    planned, *_, last = small.train(larger(), extended, extend=extend)
    assert isinstance(planned, Planned)
    assert planned.extension is None
    assert isinstance(last, Finished)
    assert (small.tree(extended / "stacks"), (extended / "runs.csv").read_bytes()) == before


def test_the_first_config_is_refused_afterwards(extended):
    with pytest.raises(ConfigError, match="--extend"):
        small.train(first(), extended)


def test_runs_of_every_generation_can_be_loaded(extended, fresh):
    for run_id in ("w4-d700-s0", "w4-d700-s2", "w8-d2.8k-s1"):
        loaded, expected = vsweep.load_run(extended, run_id).arrays(), vsweep.load_run(fresh, run_id).arrays()
        assert loaded.keys() == expected.keys()
        assert all(np.array_equal(loaded[name], expected[name]) for name in loaded)
    with pytest.raises(ConfigError, match="no finished run of that name"):
        vsweep.load_run(extended, "w4-d700-s3")


def test_interrupted_before_and_while_it_is_extended_it_still_equals_fresh(fresh, tmp_path):
    """A stack in the middle goes on as it would have."""
    *_, last = small.train(first(), tmp_path, progress=small.StopAfter(2))
    assert isinstance(last, Interrupted)
    planned, *_, last = small.train(larger(), tmp_path, extend=True, progress=small.StopAfter(4))
    assert isinstance(last, Interrupted)
    assert planned.extension.under_way
    *_, last = small.train(larger(), tmp_path)
    assert isinstance(last, Finished)
    assert_equals_fresh(tmp_path, fresh)


def test_fewer_values_leave_their_runs_in_the_tables_marked(begun, tmp_path):
    workdir = shutil.copytree(begun, tmp_path / "work")
    fewer = first()
    fewer["sweep"]["seed"] = [1]
    before = read_runs(workdir)
    small.train(fewer, workdir, extend=True)
    runs = read_runs(workdir)
    assert runs.groupby("seed")["in_config"].unique().to_dict() == {0: [0], 1: [1]}
    assert list(runs["seed"]) == [1, 1, 0, 0]  # the config's runs come first
    same = runs.set_index("run_id").loc[before["run_id"], list(before.columns[1:])]
    pd.testing.assert_frame_equal(same.reset_index(), before, check_exact=True)
    warnings = loading.load(workdir).warnings
    assert any("2 of 4 runs are no longer in the sweep's config" in warning for warning in warnings)
    small.train(first(), workdir, extend=True)
    assert set(read_runs(workdir)["in_config"]) == {1}
    assert not loading.load(workdir).warnings


def test_an_axis_that_was_one_value_becomes_a_column(begun, tmp_path):
    workdir = shutil.copytree(begun, tmp_path / "work")
    more = first()
    more["sweep"] |= {"beta1": [0.9, 0.8], "seed": [0]}
    planned, *_ = small.train(more, workdir, extend=True)
    assert planned.extension.new == ("w4-d700-s0-beta1_0.8", "w4-d1.4k-s0-beta1_0.8")
    runs = read_runs(workdir)
    assert runs.groupby("beta1")["run_id"].count().to_dict() == {0.8: 2, 0.9: 4}
    assert list(runs.columns[-3:]) == ["beta1", *EXTENSION_COLUMNS]
    assert set(runs["status"]) == {"finished"}


WSD = {"schedule": "wsd"}


@pytest.fixture(scope="module")
def with_trunks(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trunks")
    small.train(first(**WSD), workdir)
    return workdir


def longer() -> dict:
    values = first(**WSD)
    values["sweep"]["budget"] = [700, 1400, 2800, 4200]
    return values


@pytest.fixture(scope="module")
def longer_from_its_start(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("longer")
    small.train(longer(), workdir)
    return workdir


def test_with_wsd_a_longer_budget_goes_on_from_the_kept_trunk(with_trunks, longer_from_its_start, tmp_path):
    """And is, bit for bit, what it is when it is trained from its start."""
    workdir = shutil.copytree(with_trunks, tmp_path / "work")
    planned, *_ = small.train(longer(), workdir, extend=True)
    kept = planned.extension.kept
    assert kept.keys() == {"w4-d4.2k-s0", "w4-d4.2k-s1"}
    assert all(state.run_step > 0 for state in kept.values())
    assert "go on from a kept trunk: w4-d4.2k-s0 from step" in "\n".join(planned.extension.lines)
    assert_equals_fresh(workdir, longer_from_its_start)


def test_a_kept_trunk_goes_on_with_its_gradient_statistics(tmp_path):
    values = small.config(
        train={"slots": 1, "gradient_statistics": True},
        optimizer=WSD,
        sweep={"width": [4], "budget": [700, 1400], "seed": [0]},
    )
    small.train(values, tmp_path / "work")
    values["sweep"]["budget"] = [700, 1400, 2800]
    planned, *_ = small.train(values, tmp_path / "work", extend=True)
    assert planned.extension.kept.keys() == {"w4-d2.8k-s0"}
    small.train(values, tmp_path / "fresh")
    curves, expected = (read_curves(tmp_path / name).query("run_id == 'w4-d2.8k-s0'") for name in ("work", "fresh"))
    same = expected.tail(len(curves)).reset_index(drop=True)  # it was not evaluated before it went on
    pd.testing.assert_frame_equal(curves.reset_index(drop=True), same, check_exact=True)


def test_interrupted_after_it_went_on_from_there_it_still_equals(with_trunks, longer_from_its_start, tmp_path):
    workdir = shutil.copytree(with_trunks, tmp_path / "work")
    small.train(longer(), workdir, extend=True, progress=small.StopAfter(1))
    small.train(longer(), workdir)
    assert_equals_fresh(workdir, longer_from_its_start)


def test_without_a_kept_state_a_longer_budget_is_trained_from_its_start(with_trunks, tmp_path):
    workdir = shutil.copytree(with_trunks, tmp_path / "work")
    folder = small.checkpoints_of(workdir, "w4")
    folder.prune(keep=1)  # the last one, in which all have cooled down
    extension = next(vsweep.run_sweep(longer(), workdir, extend=True)).extension
    assert extension.kept == {}
    assert extension.from_start == ("w4-d4.2k-s0", "w4-d4.2k-s1")
    assert "whose state is gone, trained from the start: 2 runs" in "\n".join(extension.lines)


def test_a_kept_state_that_is_lost_is_an_error(with_trunks, tmp_path):
    workdir = shutil.copytree(with_trunks, tmp_path / "work")
    events = vsweep.run_sweep(longer(), workdir, extend=True)
    next(events), next(events)  # Compiling: the extension has taken place
    events.close()
    shutil.rmtree(WorkDir(workdir).kept("w4+2"))
    with pytest.raises(CorruptCheckpoints, match=r"the states that w4\+2 goes on from are missing"):
        small.train(longer(), workdir)
