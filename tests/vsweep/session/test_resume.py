"""Going on elsewhere: refused with a list of what differs, or asked for, said and written down."""

import json
import shutil
import socket

import pytest

import vsweep
from tests.vsweep import small
from tests.vsweep.session.conftest import Told, begun, contents, started, too_little_memory_for_the_plan
from vsweep import tasks
from vsweep.config import sweep_config
from vsweep.config.problems import ConfigError
from vsweep.host.hardware import GPUS, Hardware
from vsweep.session import resume
from vsweep.storage.workdir import WorkDir
from vsweep.tables import read_runs
from vsweep.train.events import Boundary, Finished
from vsweep.train.sweep import plan_sweep


@pytest.fixture
def elsewhere(monkeypatch):
    """A function that makes this the place where the environment has other entries."""
    real = resume.environment

    def change(**entries):
        monkeypatch.setattr(resume, "environment", lambda *given: {**real(*given), **entries})

    return change


def environments(workdir) -> list[dict]:
    return json.loads((workdir / "plan.json").read_text())["environments"]


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
    monkeypatch.delenv("XLA_FLAGS", raising=False)  # which the tests are compiled with
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
