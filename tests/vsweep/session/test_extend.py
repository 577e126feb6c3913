"""What an extension would do, and what it refuses: nothing here is trained."""

import json
import shutil

import pytest

from tests.vsweep import small
from vsweep.atomic import CannotWrite
from vsweep.config.problems import ConfigError
from vsweep.session import preflight, resume
from vsweep.storage.lock import locked
from vsweep.storage.workdir import WorkDir
from vsweep.train.events import Compiling
from vsweep.train.sweep import plan_sweep, run_sweep, store_plan

MORE_SEEDS = small.config(sweep={"seed": [0, 1, 2]})
NEW = ("d700-s2", "d1.4k-s2", "d2.8k-s2")


@pytest.fixture
def workdir(finished_sweep, tmp_path):
    return shutil.copytree(finished_sweep, tmp_path / "copy")


@pytest.fixture
def under_way(interrupted_sweep, tmp_path):
    return shutil.copytree(interrupted_sweep, tmp_path / "copy")


def prepared(values: dict, workdir, **keywords) -> resume.Start:
    return preflight.prepare(values, workdir, extend=True, **keywords).start


def generations(workdir) -> list[dict]:
    return json.loads((workdir / "plan.json").read_text()).get("generations", [])


def refusal(values: dict, workdir, **keywords) -> str:
    with pytest.raises(ConfigError) as refused:
        plan_sweep(values, workdir, **keywords)
    return str(refused.value)


def test_more_values_are_refused_with_the_flag_that_takes_them(workdir):
    text = refusal(MORE_SEEDS, workdir)
    assert "or --extend, which trains the runs that are new, or another --workdir" in text
    assert "sweep.seed: the work directory has [0, 1], the config has [0, 1, 2]" in text


def test_another_value_of_a_fixed_axis_may_be_added_too(workdir):
    assert "--extend" in refusal(small.config(optimizer={"lr": 0.1}), workdir)
    extension = prepared(small.config(optimizer={"lr": 0.1}), workdir).extension
    assert len(extension.new) == 6
    assert all(name.endswith("+2") for name in extension.new)  # their names are taken by runs of another lr
    assert len(extension.dropped) == 6


@pytest.mark.parametrize("extend", [False, True])
def test_what_is_no_axis_is_refused_with_and_without_the_flag(workdir, extend):
    changed = small.config(train={"curve_points": 5}, sweep={"seed": [0, 1, 2]})
    text = refusal(changed, workdir, extend=extend)
    assert "train.curve_points: the work directory has 4, the config has 5" in text
    assert ("--extend changes values of axes alone" in text) == extend
    assert ("sweep.seed" in text) != extend


def test_the_difference_is_said_and_nothing_is_touched(workdir):
    before = small.tree(workdir)
    extension = prepared(MORE_SEEDS, workdir).extension
    assert extension.new == NEW
    assert (len(extension.ended), extension.under_way, extension.dropped) == (6, (), ())
    assert extension.lines == [
        "extension (generation 2) with 3 new runs in 1 stack (all+2)",
        "  new: d700-s2, d1.4k-s2, d2.8k-s2",
        "  stay as they are: 6 runs that ended",
    ]
    assert small.tree(workdir) == before


def test_a_new_width_has_a_stack_of_its_own_name(workdir):
    extension = prepared(small.config(sweep={"width": [4, 8]}), workdir).extension
    assert extension.stacks == ("w8",)
    assert extension.new[0] == "w8-d700-s0"
    assert len(extension.ended) == 6  # those of width 4 keep the names that they had


def test_runs_under_way_go_on_by_the_plan_that_they_have(under_way):
    stored, _ = WorkDir(under_way).read_plan()
    begin = prepared(MORE_SEEDS, under_way)
    assert set(begin.extension.under_way) == set(stored[0].by_run)
    assert begin.sweep.plans[0] == stored[0]
    assert begin.sweep.plans[1].by_run.keys() == set(NEW)


def test_dropped_runs_are_told_apart(workdir):
    extension = prepared(small.config(sweep={"seed": [1]}), workdir).extension
    assert (extension.new, extension.stacks) == ((), ())
    assert extension.dropped == ("d700-s0", "d1.4k-s0", "d2.8k-s0")


def test_stacks_that_have_not_begun_are_planned_with_the_new_runs(under_way):
    """Killed before its second width had begun; then that width loses a seed and gets a third one."""
    home = WorkDir(under_way)
    store_plan(prepared(small.config(sweep={"width": [4, 8]}), under_way), home)
    begin = prepared(small.config(sweep={"width": [4, 8], "seed": [1, 2]}), under_way)
    assert begin.extension.given_up == ("w8-d700-s0", "w8-d1.4k-s0", "w8-d2.8k-s0")
    assert begin.extension.stacks == ("w4", "w8+3")
    assert {run.run_id for run in begin.sweep.stacks[-1].runs} == {
        f"w8-{budget}-s{seed}" for budget in ("d700", "d1.4k", "d2.8k") for seed in (1, 2)
    }
    store_plan(begin, home)
    assert [plan.name for plan in home.read_plan()[0]] == ["all", "w4", "w8+3"]
    assert [each["replaced"] for each in generations(under_way)] == [[], [], ["w8"]]


def test_nothing_trained_is_planned_as_a_new_sweep(tmp_path):
    home = WorkDir(tmp_path / "new")
    store_plan(preflight.prepare(small.config(), home.path).start, home)
    begin = prepared(MORE_SEEDS, home.path)
    assert begin.extension is None
    store_plan(begin, home)
    assert generations(home.path) == []
    assert prepared(MORE_SEEDS, home.path).sweep.runs == 9


def test_where_there_is_nothing_the_flag_changes_nothing(tmp_path):
    begin = prepared(MORE_SEEDS, tmp_path / "new")
    assert (begin.extension, begin.sweep.runs, begin.generations) == (None, 9, ())


def test_a_copy_of_a_read_directory_can_be_extended(workdir, tmp_path):
    before = small.tree(workdir)
    events = run_sweep(MORE_SEEDS, tmp_path / "new", resume_from=workdir, extend=True)
    small.skip_to(events, Compiling)  # the extension has taken place
    events.close()
    assert small.tree(workdir) == before
    assert len(generations(tmp_path / "new")) == 2
    assert small.tree(workdir / "stacks").items() <= small.tree(tmp_path / "new" / "stacks").items()


def test_plan_json_keeps_each_generation(workdir):
    home, old = WorkDir(workdir), json.loads((workdir / "config.json").read_text())
    store_plan(prepared(MORE_SEEDS, workdir), home)
    first, second = generations(workdir)
    assert first["config"] == old
    assert second["config"] == json.loads((workdir / "config.json").read_text())
    assert (first["stacks"], second["stacks"]) == (["all"], ["all+2"])
    assert first["fingerprint"] != second["fingerprint"]
    assert first["environment"] == second["environment"]
    assert first["time"] <= second["time"]


def test_the_plan_of_any_other_sweep_has_its_old_shape(finished_sweep):
    assert set(json.loads((finished_sweep / "plan.json").read_text())) == {"environments", "stacks", "own_sha256"}


def test_an_extension_can_be_extended_and_taken_back(workdir):
    home = WorkDir(workdir)
    store_plan(prepared(MORE_SEEDS, workdir), home)
    begin = prepared(small.config(sweep={"seed": [0, 1, 2, 3]}), workdir)
    assert begin.extension.number == 3
    assert set(begin.extension.new) == {f"d{budget}-s{seed}" for budget in ("700", "1.4k", "2.8k") for seed in (2, 3)}
    store_plan(begin, home)
    back = prepared(small.config(), workdir)
    assert back.extension.new == ()
    assert len(back.extension.given_up) == 6  # none of the new seeds had begun
    store_plan(back, home)
    assert preflight.prepare(small.config(), workdir).start.extension is None


def test_another_environment_is_named_and_refused(workdir):
    small.begun_with(workdir, jax="0.1")
    text = refusal(MORE_SEEDS, workdir, extend=True)
    assert "jax: began with 0.1, now " in text
    assert "--allow_inexact_resume" in text
    begin = prepared(MORE_SEEDS, workdir, allow_inexact_resume=True)
    assert begin.environments[0]["jax"] == "0.1"
    assert begin.changes[0].startswith("jax: began with 0.1, now ")
    assert begin.sweep.plans[0] == WorkDir(workdir).read_plan()[0][0]


def test_of_two_extensions_the_second_is_refused(workdir):
    with locked(workdir, print):
        events = run_sweep(MORE_SEEDS, workdir, extend=True)
        next(events)
        with pytest.raises(ConfigError, match="in use"):
            next(events)
    assert generations(workdir) == []


def test_one_that_was_planned_before_another_took_place_is_planned_again(workdir):
    home = WorkDir(workdir)
    early = prepared(small.config(sweep={"seed": [0, 1, 2, 3]}), workdir)
    store_plan(prepared(MORE_SEEDS, workdir), home)
    late = resume.confirm(early, home)
    assert (early.extension.number, late.extension.number) == (2, 3)


@pytest.mark.parametrize("lasting", [False, True])
def test_a_disk_that_fails_anywhere_leaves_the_old_sweep_or_the_new_one(finished_sweep, tmp_path, lasting):
    """Each call to the disk in turn: what the old command or the new one then plans is whole."""
    outcomes = set()
    for call in range(1, 100):
        workdir = shutil.copytree(finished_sweep, tmp_path / f"{call}")
        begin, home = prepared(MORE_SEEDS, workdir), WorkDir(workdir)
        disk = small.FailingDisk(call, 28, lasting=lasting)
        try:
            with disk:
                store_plan(begin, home)
        except CannotWrite:
            outcomes.add("failed")
        counts = json.loads((workdir / "config.json").read_text())["sweep"]["seed"] == [0, 1, 2]
        values = MORE_SEEDS if counts else small.config()
        planned = preflight.prepare(values, workdir).start
        assert [stack.name for stack in planned.sweep.stacks] == ["all", *(["all+2"] if counts else [])]
        again = prepared(MORE_SEEDS, workdir)
        assert (again.extension is None) == counts
        store_plan(again, home)
        assert len(generations(workdir)) == 2
        outcomes.add("new" if counts else "old")
        if not disk.failed:
            break
    assert outcomes == {"failed", "new", "old"}


def test_generations_that_do_not_fit_the_config_are_damage(workdir):
    home = WorkDir(workdir)
    old = (workdir / "config.json").read_text()
    store_plan(prepared(MORE_SEEDS, workdir), home)
    (workdir / "config.json").write_text(old.replace('"seed": [0, 1]', '"seed": [0, 5]'))
    values = json.loads((workdir / "config.json").read_text())
    values["sweep"]["seed"] = [0, 5]
    (workdir / "config.json").write_text(json.dumps(values))
    assert "config.json is of none of its generations" in refusal(values, workdir)


def test_the_lost_plan_of_an_extended_sweep_is_not_guessed(workdir):
    store_plan(prepared(MORE_SEEDS, workdir), WorkDir(workdir))
    (workdir / "plan.json").unlink()
    assert "plan.json is missing, and a new plan is not the one of the checkpoints" in refusal(MORE_SEEDS, workdir)


def test_the_name_of_a_stack_that_was_given_up_is_never_used_again(under_way):
    """The first record of that name would take the runs of the second one with it."""
    home = WorkDir(under_way)
    store_plan(prepared(small.config(sweep={"width": [4, 8]}), under_way), home)
    store_plan(prepared(small.config(sweep={"width": [4, 8], "seed": [0, 1, 2]}), under_way), home)  # w8 is given up
    begun = home.checkpoints("w8+3")
    begun.mkdir(parents=True)
    (begun / "damaged").touch()
    four = small.config(sweep={"width": [4, 8], "seed": [0, 1, 2, 3]})
    begin = prepared(four, under_way)
    assert begin.extension.stacks == ("w4+4", "w8+4")
    store_plan(begin, home)
    assert [plan.name for plan in home.read_plan()[0]] == ["all", "w8+3", "w4+4", "w8+4"]
    assert preflight.prepare(four, under_way).start.sweep.runs == 24
