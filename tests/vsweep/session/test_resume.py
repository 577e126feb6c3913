"""Going on elsewhere: refused with a list of what differs, or asked for, said and written down."""

import dataclasses
import json
import shutil
import socket

import numpy as np
import pytest

import vsweep
from tests.vsweep import small
from vsweep import generate, tasks
from vsweep.config import sweep_config
from vsweep.config.problems import ConfigError
from vsweep.host import devices
from vsweep.host.hardware import GPUS, Hardware
from vsweep.host.progress import SilentProgress
from vsweep.models import accounting
from vsweep.plan import sweep_plan
from vsweep.plan.cost import model_shape
from vsweep.session import resume
from vsweep.storage import checkpoint
from vsweep.storage.results import StackResults
from vsweep.storage.workdir import WorkDir
from vsweep.tables import read_runs
from vsweep.tasks.addition import Addition
from vsweep.train.events import Boundary, Finished
from vsweep.train.sweep import plan_sweep

TWO_WIDTHS = small.config(sweep={"width": [4, 8]})


class Told(SilentProgress):
    """A display that keeps what it is told; it may also stop the sweep like small.StopAfter."""

    def __init__(self):
        self.lines = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def workdir(interrupted_sweep, tmp_path):
    return shutil.copytree(interrupted_sweep, tmp_path / "copy")


@pytest.fixture
def elsewhere(monkeypatch):
    """A function that makes this the place where the environment has other entries."""
    real = resume.environment

    def change(**entries):
        monkeypatch.setattr(resume, "environment", lambda *given: {**real(*given), **entries})

    return change


def contents(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def environments(workdir) -> list[dict]:
    return json.loads((workdir / "plan.json").read_text())["environments"]


def too_little_memory_for_the_plan(monkeypatch, plan) -> None:
    """One model fits, the slots of the stored plan do not."""
    sweep = small.sweep(small.config())
    per_slot = accounting.slot_bytes(model_shape(sweep.stacks[0].shape, sweep.task), 8)
    assert plan.slots == 4
    monkeypatch.setattr(devices, "memory_bytes", lambda mesh: int(1.5 * per_slot))


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("jax", r"  jax: began with 0\.\S+, now 0\.99\.0"),
        ("device", "  device: began with cpu, now Tesla T4"),
        ("devices", "  devices: began with 2, now 1"),
        ("plan", "  plan: 4 slots of all need .* GiB a device, now there are .* GiB"),
    ],
)
def test_a_sweep_that_would_go_on_elsewhere_is_refused_with_what_differs_and_nothing_is_touched(
    kind, told, workdir, tmp_path, elsewhere, monkeypatch
):
    values = small.config(train={"devices": 1}) if kind == "devices" else small.config()
    if kind in ("jax", "device"):
        elsewhere(**{"jax": {"jax": "0.99.0"}, "device": {"device": "Tesla T4"}}[kind])
    if kind == "plan":
        too_little_memory_for_the_plan(monkeypatch, WorkDir(workdir).read_plan()[0][0])
    before = contents(workdir)
    for place in ({"workdir": workdir}, {"workdir": tmp_path / "new", "resume_from": workdir}):
        with pytest.raises(ConfigError, match=told) as caught:
            small.train(values, **place)
        assert "--allow_inexact_resume" in str(caught.value.problems[0])
        assert len(caught.value.problems) == 2
    with pytest.raises(ConfigError, match=told):
        plan_sweep(values, workdir)
    assert contents(workdir) == before
    assert not (tmp_path / "new").exists()


def test_another_name_of_the_machine_and_another_python_are_no_difference_and_leave_nothing_to_permit(
    workdir, finished_sweep, monkeypatch
):
    monkeypatch.setattr(socket, "gethostname", lambda: "another-machine")
    monkeypatch.setattr(resume.platform, "python_version", lambda: "3.99.0")
    told = Told()
    parsed = sweep_config.from_dict(small.config())
    assert resume.start(parsed, tasks.build(parsed.task), WorkDir(workdir)).changes == ()
    small.train(small.config(), workdir, progress=told, allow_inexact_resume=True)
    assert told.lines == []
    assert len(environments(workdir)) == 1
    changed = {"runs.csv"}  # it says which Python it was
    assert set(small.differing(workdir, finished_sweep)) == changed
    assert set(read_runs(workdir)["inexact_resumes"]) == {0}


def test_a_resume_elsewhere_that_is_allowed_is_said_and_counted_for_the_runs_it_concerns(tmp_path, elsewhere):
    """Runs that had finished before, and those that begin later in other stacks, were trained in one environment."""
    events = vsweep.run_sweep(small.config(), tmp_path)
    small.skip_to(events, Boundary)
    events.close()
    before = read_runs(tmp_path).set_index("run_id")["status"]
    assert set(before) == {"finished", "running"}
    elsewhere(jax="0.99.0")
    told = Told()
    small.train(small.config(), tmp_path, progress=told, allow_inexact_resume=True)
    assert told.lines[0].startswith("warning: this sweep goes on elsewhere")
    assert any("jax: began with" in line for line in told.lines)
    after = read_runs(tmp_path).set_index("run_id")
    assert set(after["status"]) == {"finished"}
    assert after["inexact_resumes"].to_dict() == {run: int(status == "running") for run, status in before.items()}
    assert [entry["jax"] == "0.99.0" for entry in environments(tmp_path)] == [False, True]


def test_a_finished_sweep_may_be_looked_at_anywhere(finished_sweep, tmp_path, elsewhere):
    workdir = shutil.copytree(finished_sweep, tmp_path / "copy")
    elsewhere(jax="0.99.0", device="Tesla T4", devices=7)
    told = Told()
    assert isinstance(small.train(small.config(), workdir, progress=told)[-1], Finished)
    assert told.lines == []
    assert small.differing(workdir, finished_sweep) == []
    assert len(environments(workdir)) == 1


def test_a_work_directory_that_recorded_no_environment_says_that_nothing_is_known(workdir):
    home = WorkDir(workdir)
    home.write_plan(home.read_plan()[0], [{}])
    with pytest.raises(ConfigError, match="jax: began with nothing recorded, now "):
        small.train(small.config(), workdir)


@pytest.mark.parametrize("name", ["plan.json", "config.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", '{"stacks": [{}]}', '{"stacks": 3}'])
def test_a_damaged_plan_or_config_is_named_and_nothing_is_trained(workdir, name, text):
    (workdir / name).write_text(text)
    with pytest.raises(ConfigError, match=f"(unreadable|is damaged) - got .*{name}|holds another sweep"):
        small.train(small.config(), workdir)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jax_threefry_partitionable", False),
        ("jax_random_seed_offset", 3),
        ("jax_default_prng_impl", "rbg"),
        ("jax_default_matmul_precision", "bfloat16"),
        ("jax_disable_most_optimizations", True),
        ("jax_optimization_level", "O0"),
        ("jax_exec_time_optimization_effort", 1.0),
    ],
)
def test_a_setting_that_may_change_numbers_is_an_environment_of_its_own(name, value, workdir, jax_setting):
    jax_setting(name, value)
    with pytest.raises(ConfigError, match=rf"  {name}: began with .*, now {value}") as caught:
        small.train(small.config(), workdir)
    assert len(caught.value.problems) == 2


def test_a_sweep_with_other_random_bits_goes_on_only_if_that_is_allowed_and_is_counted(
    workdir, finished_sweep, jax_setting
):
    """Initial weights are drawn otherwise without `jax_threefry_partitionable`: runs that begin here are others."""
    jax_setting("jax_threefry_partitionable", False)
    small.train(small.config(), workdir, allow_inexact_resume=True)
    counted, there = read_runs(workdir), read_runs(finished_sweep)
    later = counted["inexact_resumes"] == 0
    assert 0 < later.sum() < len(counted)
    assert (counted["val_loss"] != there["val_loss"])[later].all()
    assert [entry["jax_threefry_partitionable"] for entry in environments(workdir)] == ["True", "False"]


@pytest.mark.parametrize(
    ("before", "flags", "changed"),
    [
        ("", "--xla_cpu_enable_fast_math=true", True),
        ("--xla_a=1 --xla_b", "--xla_b=true  --xla_a=1", False),
        ("--xla_a=1 --xla_a=2", "--xla_a=2", False),
        ("--xla_a=1", "--xla_a=2", True),
        ("", "--xla_dump_to=/tmp/x --xla_force_host_platform_device_count=4", False),
    ],
)
def test_flags_of_xla_are_compared_by_what_they_say(before, flags, changed, tmp_path, monkeypatch):
    home = WorkDir(tmp_path)
    monkeypatch.setenv("XLA_FLAGS", before)
    begun(home, small.config(), 2, {"all": 5})
    monkeypatch.setenv("XLA_FLAGS", flags)
    if not changed:
        assert started(home, small.config()).changes == ()
        return
    with pytest.raises(ConfigError, match=f"  XLA_FLAGS: began with {before}, now {flags}"):
        started(home, small.config())


def test_a_sweep_from_before_settings_were_recorded_goes_on_under_jax_s_defaults_alone(
    tmp_path, finished_sweep, monkeypatch, jax_setting
):
    real, new = resume.environment, {*resume.SETTINGS, resume.PLATFORM}
    with monkeypatch.context() as before:
        before.setattr(resume, "environment", lambda *given: {k: v for k, v in real(*given).items() if k not in new})
        small.train(small.config(), tmp_path, progress=small.StopAfter(1))
    assert not new & environments(tmp_path)[0].keys()
    jax_setting("jax_threefry_partitionable", False)
    with pytest.raises(ConfigError, match="jax_threefry_partitionable: began with True, now False"):
        small.train(small.config(), tmp_path)
    jax_setting("jax_threefry_partitionable", True)
    small.train(small.config(), tmp_path)
    assert small.differing(tmp_path, finished_sweep) == []
    assert set(read_runs(tmp_path)["inexact_resumes"]) == {0}


def test_an_accelerator_s_platform_version_is_compared_where_it_was_recorded():
    gpu = Hardware("Tesla T4", 1, 2**33)
    here = resume.environment(gpu)
    assert here[resume.PLATFORM]
    other = {**here, resume.PLATFORM: "cuda 11"}
    assert resume.differences(other, here) == [f"platform version: began with cuda 11, now {here[resume.PLATFORM]}"]
    assert resume.differences({name: here[name] for name in here if name != resume.PLATFORM}, here) == []


@pytest.mark.parametrize("name", resume.ON_ACCELERATORS)
def test_what_is_below_an_accelerator_is_recorded_there_alone(name):
    here = resume.environment(Hardware("Tesla T4", 1, 2**33))
    assert resume.differences({**here, name: "other"}, here) == [f"{name}: began with other, now {here[name]}"]
    assert resume.differences({key: here[key] for key in here if key != name}, here) == []
    assert name not in resume.environment(Hardware("cpu", 1, 2**33))


def test_a_tf32_override_of_the_system_is_another_environment(monkeypatch):
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    before = resume.environment(Hardware("Tesla T4", 1, 2**33))
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    now = resume.environment(Hardware("Tesla T4", 1, 2**33))
    assert resume.differences(before, now) == ["NVIDIA_TF32_OVERRIDE: began with , now 0"]


def test_what_auto_comes_to_on_an_accelerator_is_a_part_of_the_environment(monkeypatch):
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    before = resume.environment(GPUS["A100-40GB"], "auto")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    now = resume.environment(GPUS["A100-40GB"], "auto")
    assert "matmul precision: began with tensorfloat32, now highest" in resume.differences(before, now)
    assert resume.environment(Hardware("cpu", 1, 2**33), "auto") == resume.environment(Hardware("cpu", 1, 2**33))
    assert resume.PRODUCTS not in resume.environment(GPUS["A100-40GB"], "highest")


# What begins where: work directories made by hand, with checkpoints that hold next to nothing.


def begun(home: WorkDir, values: dict, device_count: int, steps: dict[str, int]) -> resume.Start:
    """A sweep planned for `device_count` devices whose stacks have come to `steps`."""
    parsed = sweep_config.from_dict(values)
    task = tasks.build(parsed.task)
    mesh = devices.slots_mesh(device_count)
    sweep = sweep_plan.build_plan(parsed, task, devices.hardware(mesh))
    home.write_plan(sweep.plans, [resume.environment(sweep.hardware)])
    for plan in sweep.plans:
        if plan.name in steps:
            checkpoint.to_resume(home, sweep, plan).save(steps[plan.name], {"x": np.zeros(1)}, {})
    return resume.Start(sweep, mesh, ())


def started(home: WorkDir, values: dict, **keywords) -> resume.Start:
    parsed = sweep_config.from_dict(values)
    return resume.start(parsed, tasks.build(parsed.task), home, **keywords)


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
