"""`train.keep_finished`: which parameters stay, and that commands say which do not."""

import shutil

import pytest

import vsweep
from tests.vsweep import small
from vsweep.after.evaluation import evaluate_runs
from vsweep.config import sweep_config
from vsweep.config.problems import ConfigError
from vsweep.plan.sweep_plan import kept_runs
from vsweep.saved_run import FinishedRuns, load_run
from vsweep.tables import read_runs

LONGEST = small.config(train={"keep_finished": "longest"}, sweep={"budget": [400, 800], "seed": [0, 1]})


@pytest.fixture(scope="module")
def longest(tmp_path_factory):
    """A finished sweep of two budgets and two seeds that keeps the parameters of the longer runs."""
    home = tmp_path_factory.mktemp("keeping") / "longest"
    small.train(LONGEST, home)
    return home


def test_only_the_longest_runs_keep_their_parameters(longest):
    finished = FinishedRuns.open(longest)
    assert set(finished.names) == {"d800-s0", "d800-s1"}
    assert set(finished.not_kept) == {"d400-s0", "d400-s1"}
    assert set(read_runs(longest)["status"]) == {"finished"}


def test_a_run_without_parameters_is_refused_with_the_reason(longest):
    with pytest.raises(ConfigError, match=r"not kept \(train.keep_finished = 'longest'\).*d400-s0.*d800-s0, d800-s1"):
        load_run(longest, "d400-s0")
    assert load_run(longest, "d800-s1").params


def test_the_best_run_is_no_other_one_in_its_place(longest, tmp_path):
    copy = shutil.copytree(longest, tmp_path / "copy")
    table = read_runs(copy)
    table.loc[table["run_id"] == "d400-s1", "answer_loss"] = 0.0
    table.to_csv(copy / "runs.csv", index=False)
    (copy / "tables.json").unlink()  # which would say that the table was changed
    with pytest.raises(ConfigError, match="best, which is d400-s1; allowed: d800-s0, d800-s1"):
        FinishedRuns.open(copy).choose("best")
    assert FinishedRuns.open(copy).choose("longest") in ("d800-s0", "d800-s1")


def test_evaluating_all_says_what_is_left_out(longest):
    said = []
    table = evaluate_runs(longest, say=said.append)
    assert set(table["run_id"]) == {"d800-s0", "d800-s1"}
    rule = "train.keep_finished = 'longest'"
    assert said[0] == f"note: the parameters of 2 runs are not kept ({rule}), so they are left out"


def test_a_finished_sweep_goes_on_without_what_it_never_kept(longest):
    before = small.tree(longest)
    assert type(small.train(LONGEST, longest)[-1]).__name__ == "Finished"
    assert {name: before[name] for name in ("runs.csv", "curves.csv")} == {
        name: small.tree(longest)[name] for name in ("runs.csv", "curves.csv")
    }


def test_a_kept_run_that_is_lost_is_still_an_error(longest, tmp_path):
    copy = shutil.copytree(longest, tmp_path / "copy")
    for folder in copy.glob("stacks/*/finished"):
        shutil.rmtree(folder)
    with pytest.raises(ConfigError, match="missing or damaged: d800"):
        small.train(LONGEST, copy)


def test_the_plan_counts_what_stays():
    plans = {word: small.sweep(small.config(train={"keep_finished": word})) for word in ("all", "longest", "none")}
    disk = {word: sum(cost.disk_bytes for cost in plan.estimates) for word, plan in plans.items()}
    params = 4 * plans["all"].estimates[0].params
    assert disk["all"] - disk["longest"] == 4 * params
    assert disk["longest"] - disk["none"] == 2 * params
    kept = kept_runs(plans["none"].config, plans["none"].stacks[0])
    assert kept == frozenset()


def test_the_default_leaves_configs_and_fingerprints_as_they_were():
    plain = sweep_config.from_dict(small.config())
    assert "keep_finished" not in plain.to_dict()["train"]
    other = sweep_config.from_dict(small.config(train={"keep_finished": "none"}))
    assert sweep_config.fingerprint(plain, "") != sweep_config.fingerprint(other, "")
    with pytest.raises(ConfigError, match="all, longest, none"):
        vsweep.plan_sweep(small.config(train={"keep_finished": "some"}))
