"""Plans that a session finds: followed on other devices, made again where they are gone, refused where not its own."""

import dataclasses
import shutil

import numpy as np
import pytest

from tests.vsweep import small
from tests.vsweep.session.conftest import Told, begun, contents, started, too_little_memory_for_the_plan
from vsweep import generate
from vsweep.config import sweep_config
from vsweep.config.problems import ConfigError
from vsweep.session import resume
from vsweep.storage import checkpoint
from vsweep.storage.results import StackResults
from vsweep.storage.workdir import WorkDir
from vsweep.tasks.addition import Addition
from vsweep.train.events import Finished

TWO_WIDTHS = small.config(sweep={"width": [4, 8]})


def slots(start: resume.Start) -> list[int]:
    return [plan.slots for plan in start.sweep.plans]


def test_on_a_machine_with_more_devices_a_sweep_goes_on_with_as_many_as_it_began_with(tmp_path):
    home = WorkDir(tmp_path)
    begun(home, TWO_WIDTHS, 1, {"w4": 5})
    start = started(home, TWO_WIDTHS)
    assert start.mesh.size == 1
    assert start.messages == ["note: goes on with 1 of 2 devices, as it began; --allow_inexact_resume would use more"]


def test_where_it_is_allowed_it_takes_every_device_that_the_slots_under_way_can_be_spread_over(tmp_path):
    uneven = small.config(sweep={"width": [4, 8]}, train={"slots": 3})
    home = WorkDir(tmp_path / "uneven")
    begun(home, uneven, 1, {"w4": 5})
    start = started(home, uneven, allow_inexact=True)
    assert (start.mesh.size, slots(start), start.changes) == (1, [3, 3], ())


def test_what_has_not_begun_is_trained_elsewhere_as_a_new_sweep_would_train_it(tmp_path):
    uneven = small.config(sweep={"width": [4, 8]}, train={"slots": 3})
    home = WorkDir(tmp_path / "one_finished")
    old = begun(home, uneven, 1, {})
    first = old.sweep.plans[0]
    checkpoint.to_resume(home, old.sweep, first).save(first.steps, {"x": np.zeros(1)}, {})
    with pytest.raises(ConfigError, match="devices: began with 1, now 2"):
        started(home, {**uneven, "train": {**uneven["train"], "devices": 2}})
    start = started(home, uneven, allow_inexact=True)
    assert (start.mesh.size, slots(start)) == (2, [3, 4])
    assert start.sweep.plans[1] == started(WorkDir(tmp_path / "new"), uneven).sweep.plans[1]
    assert [entry["devices"] for entry in start.environments] == [1, 2]


def test_a_stack_under_way_that_does_not_fit_here_is_refused_whatever_is_allowed(tmp_path, monkeypatch):
    home = WorkDir(tmp_path)
    old = begun(home, small.config(), 2, {"all": 5})
    too_little_memory_for_the_plan(monkeypatch, old.sweep.plans[0])
    with pytest.raises(ConfigError, match="what has begun cannot go on here; train on a larger device"):
        started(home, small.config(), allow_inexact=True)
    shutil.rmtree(home.checkpoints("all"))
    assert slots(started(home, small.config(), allow_inexact=True)) == [2]


# A plan that is gone, and folders of other sweeps.


def test_a_plan_that_is_gone_is_written_anew_if_it_comes_out_as_the_checkpoints_say(workdir, finished_sweep):
    old = (workdir / "plan.json").read_text()
    (workdir / "plan.json").unlink()
    told = Told()
    small.train(small.config(), workdir, progress=told)
    assert told.lines == [resume.NO_PLAN]
    assert (workdir / "plan.json").read_text() == old
    assert small.differing(workdir, finished_sweep) == []


@pytest.mark.parametrize("change", [lambda plans: plans * 2, lambda plans: [], lambda plans: [renamed(plans[0])]])
def test_a_plan_with_a_stack_twice_or_none_or_another_is_refused(workdir, change):
    home = WorkDir(workdir)
    plans, environments = home.read_plan()
    home.write_plan(change(plans), environments)
    with pytest.raises(ConfigError, match=r"plan\.json plans other runs") as caught:
        small.train(small.config(), workdir)
    assert len(caught.value.problems) == 1


def renamed(plan):
    return dataclasses.replace(plan, name="another")


def test_a_plan_that_is_gone_and_comes_out_otherwise_here_is_refused(workdir, monkeypatch):
    (workdir / "plan.json").unlink()
    before = contents(workdir)
    too_little_memory_for_the_plan(monkeypatch, small.sweep(small.config()).plans[0])
    for allowed in (False, True):
        with pytest.raises(
            ConfigError, match=r"plan\.json is missing, and a new plan is not the one of the checkpoints"
        ):
            small.train(small.config(), workdir, allow_inexact_resume=allowed)
    assert contents(workdir) == before


def test_the_plan_of_stacks_that_began_on_other_devices_is_found_for_each(tmp_path):
    """The first stack finished on one device, the second one began on two."""
    uneven = small.config(sweep={"width": [4, 8]}, train={"slots": 3})
    home = WorkDir(tmp_path)
    for values, count, name in ((uneven, 1, "w4"), (uneven, 2, "w8")):
        start = begun(home, values, count, {})
        plan = next(plan for plan in start.sweep.plans if plan.name == name)
        records = StackResults.empty(next(stack for stack in start.sweep.stacks if stack.name == name))
        records.environment = resume.environment(start.sweep.hardware)
        checkpoint.to_resume(home, start.sweep, plan).save(5, {"x": np.zeros(1)}, records.to_json())
    (tmp_path / "plan.json").unlink()
    start = started(home, uneven)
    assert slots(start) == [3, 4]
    assert (start.changes, [entry["devices"] for entry in start.environments]) == ((), [1, 2])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"optimizer": {"lr": 1e-3}}, "of another sweep"),
        ({"optimizer": {"beta2": 0.99}}, "of another sweep"),
        ({"task": {"split_seed": 1}}, "of another sweep"),
        ({"train": {"slots": 2}}, "of another sweep"),
    ],
)
def test_stacks_of_another_sweep_are_never_gone_on_with(workdir, tmp_path, change, told):
    """Each of them is whole, with manifests of its own; only the config beside it is another one."""
    other = small.config(**change)
    begun(WorkDir(tmp_path / "other"), other, 2, {})
    WorkDir(tmp_path / "other").write_config(sweep_config.from_dict(other))
    shutil.copytree(workdir / "stacks", tmp_path / "other" / "stacks")
    for plan_too in (True, False):
        before = contents(tmp_path / "other")
        with pytest.raises(ConfigError, match=f"{told}|not the one of the checkpoints"):
            small.train(other, tmp_path / "other")
        assert contents(tmp_path / "other").keys() - before.keys() <= {tmp_path / "other" / "lock"}
        if plan_too:
            (tmp_path / "other" / "plan.json").unlink()


def test_finished_parameters_of_another_sweep_are_not_taken_for_those_of_this_one(finished_sweep, tmp_path):
    copied = shutil.copytree(finished_sweep, tmp_path / "copy")
    other = small.config(optimizer={"lr": 1e-3})
    small.train(other, tmp_path / "other")
    shutil.rmtree(copied / "stacks" / "all" / "finished")
    shutil.copytree(tmp_path / "other" / "stacks" / "all" / "finished", copied / "stacks" / "all" / "finished")
    with pytest.raises(ConfigError, match=r"missing or damaged: .*of another sweep"):
        small.train(small.config(), copied)
    with pytest.raises(ConfigError, match="are damaged: of another sweep"):
        generate.load_run(copied, "d700-s0")


def test_a_task_with_other_data_is_another_sweep(workdir, monkeypatch):
    monkeypatch.setattr(Addition, "digest", "another numpy has drawn another split")
    with pytest.raises(ConfigError, match="of another sweep"):
        small.train(small.config(), workdir)


def test_results_that_no_sweep_has_written_are_one_line(workdir, finished_sweep):
    folder = small.checkpoints_of(workdir)
    records = folder.records(folder.latest())
    runs = records["runs"]
    crafted = (
        {**records, "runs": "d700-s0"},
        {**records, "runs": {**runs, "d700-s0": {**runs["d700-s0"], "finished": "yes"}}},
        {**records, "runs": {**runs, "d700-s0": {**runs["d700-s0"], "curve": [{"steps": "many"}]}}},
        {**records, "runs": {**runs, "d700-s0": {**runs["d700-s0"], "more": 1}}},
        {**records, "runs": {"another": runs["d700-s0"]}},
        {**records, "seconds": None},
        {**records, "seconds": {}},
        {**records, "environment": [3]},
        {**records, "moved_at": ["x"]},
        {**records, "environment": {"devices": "many"}},
        {**records, "environment": {"devices": 0}},
        {},
    )
    step, state = folder.latest(), folder.restore(folder.latest())
    for values in crafted:
        folder.save(step, state, values)
        for old in folder.steps()[:-1]:
            shutil.rmtree(folder.folder / f"{old:08d}")
            (folder.folder / f"{old:08d}.manifest.json").unlink()
        with pytest.raises(ConfigError, match="no checkpoint of ") as caught:
            small.train(small.config(), workdir)
        assert len(caught.value.problems) == 1


def test_whole_numbers_in_a_sweep_config_are_the_same_sweep(tmp_path):
    """Read back from config.json they are floats; generate and the command line must know it again."""
    parsed = sweep_config.from_dict(small.config(sweep={"budget": [70], "seed": [0]}))
    whole = dataclasses.replace(parsed, optimizer=dataclasses.replace(parsed.optimizer, weight_decay=0, clip=1))
    small.train(whole, tmp_path)
    generate.load_run(tmp_path, "d70-s0")
    assert isinstance(small.train(WorkDir(tmp_path).read_config().to_dict(), tmp_path)[-1], Finished)
    (tmp_path / "plan.json").unlink()
    with pytest.raises(ConfigError, match=r"plan\.json is missing"):
        generate.load_run(tmp_path, "d70-s0")
