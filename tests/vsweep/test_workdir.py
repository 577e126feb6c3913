import contextlib
import dataclasses
import errno
import hashlib
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vsweep import small
from vsweep import config
from vsweep.config import ConfigError
from vsweep.records import AXES, CannotWrite
from vsweep.workdir import WorkDir, locked

ROOT = Path(__file__).parents[2]

HOLD_THE_LOCK = """
import sys
from pathlib import Path
from vsweep.workdir import WorkDir, locked
with locked(WorkDir(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def parsed() -> config.SweepConfig:
    return config.from_dict(small.config())


@contextlib.contextmanager
def process_holding(path: Path):
    """A live process that holds the lock of `path`."""
    program = [sys.executable, "-c", HOLD_THE_LOCK, str(path)]
    with subprocess.Popen(program, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def contents(folder: Path) -> dict[str, tuple]:
    return {
        str(path.relative_to(folder)): (
            stat.S_IMODE(path.lstat().st_mode),
            path.lstat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None,
        )
        for path in folder.rglob("*")
    }


def test_a_new_or_empty_folder_has_no_problems_and_is_not_touched(tmp_path, parsed):
    assert WorkDir(tmp_path / "a" / "b").problems(parsed) == []
    assert WorkDir(tmp_path).problems(parsed) == []
    assert list(tmp_path.iterdir()) == []


def test_another_sweep_in_the_folder_is_told_field_by_field(tmp_path, parsed):
    home = WorkDir(tmp_path)
    home.write_config(parsed)
    assert home.problems(parsed) == []
    other = config.from_dict(small.config(optimizer={"lr": 1e-3}, sweep={"seed": [0, 1, 2]}))
    heading, *fields = home.problems(other)
    assert str(tmp_path) in heading
    assert "another --workdir" in heading
    assert [field.strip() for field in fields] == [
        "optimizer.lr: the work directory has 0.005, the config has 0.001",
        "sweep.seed: the work directory has [0, 1], the config has [0, 1, 2]",
    ]


MAY_CHANGE = {
    "train.checkpoint_minutes",
    "train.devices",
    "train.max_wall_hours",
    "train.max_epochs",
}  # no result depends on them
FIELDS = [f"{section}.{field.name}" for section, kind in config.SECTIONS.items() for field in dataclasses.fields(kind)]


def another(value):
    if isinstance(value, bool):
        return not value
    return value + "-other" if isinstance(value, str) else value + 1


def changed(parsed: config.SweepConfig, field: str) -> config.SweepConfig:
    section, _, name = field.partition(".")
    old = getattr(parsed, section)
    new = dataclasses.replace(old, **{name: another(getattr(old, name))})
    return dataclasses.replace(parsed, **{section: new})


@pytest.mark.parametrize("field", FIELDS)
def test_no_field_may_change_when_a_sweep_goes_on_but_those_that_no_result_depends_on(tmp_path, parsed, field):
    """Every field there is: a new one has to be declared in MAY_CHANGE to be changeable."""
    home = WorkDir(tmp_path)
    home.write_config(parsed)
    problems = home.problems(changed(parsed, field))
    if field in MAY_CHANGE:
        assert problems == []
        return
    heading, difference = problems
    section, _, name = field.partition(".")
    old = getattr(getattr(parsed, section), name)
    assert difference == f"  {field}: the work directory has {old!r}, the config has {another(old)!r}"
    assert all(name in heading for name in MAY_CHANGE)


@pytest.mark.parametrize("axis", AXES)
def test_no_axis_may_change_when_a_sweep_goes_on(tmp_path, parsed, axis):
    home = WorkDir(tmp_path)
    home.write_config(parsed)
    values = dict(parsed.axes)
    values[axis] = (*values.get(axis, ()), another(parsed.axis(axis)[-1]))
    problems = home.problems(dataclasses.replace(parsed, axes=tuple(values.items())))
    assert len(problems) == 2
    assert problems[1].startswith(f"  sweep.{axis}: the work directory has ")


def test_the_whole_config_is_in_the_comparison(parsed):
    """A new section, or a field beside the sections, would have to be compared too."""
    fields = {field.name for field in dataclasses.fields(config.SweepConfig)}
    assert fields == {"name", "axes", *config.SECTIONS}
    assert set(parsed.to_dict()) == {"name", "sweep", *config.SECTIONS}
    renamed = dataclasses.replace(parsed, name="other")
    assert config.differences(parsed.to_dict(), renamed.to_dict()) == [
        "name: the work directory has 'small', the config has 'other'"
    ]


def test_the_config_comes_back_as_it_was(tmp_path):
    values = small.config(train={"slots": "all"}, sweep={"init_seed": [-1, 3], "lr": [1 / 3, 1e-5]})
    written = config.from_dict(values)
    WorkDir(tmp_path).write_config(written)
    assert WorkDir(tmp_path).read_config() == written


def test_a_folder_that_is_no_work_directory_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"not a work directory of vsweep: it has no config\.json"):
        WorkDir(tmp_path).read_config()
    assert WorkDir(tmp_path).read_plan() is None


def test_the_plan_comes_back_with_the_environments_it_was_followed_in(tmp_path):
    plans = list(small.sweep(small.config(sweep={"width": [4, 8]})).plans)
    environments = [{"device": "cpu", "devices": 2, "jax": "0"}, {"device": "cpu", "devices": 1, "jax": "0"}]
    WorkDir(tmp_path).write_plan(plans, environments)
    assert WorkDir(tmp_path).read_plan() == (plans, environments)


def test_a_second_process_is_refused_with_pid_host_and_time_of_the_first_and_a_killed_one_holds_nothing(tmp_path):
    home = WorkDir(tmp_path / "work")
    with process_holding(home.path) as process:
        owner = rf"process {process.pid} on {socket.gethostname()} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d"
        with pytest.raises(ConfigError, match=rf"workdir: .*work is in use by {owner}"), locked(home):
            pytest.fail("two processes in one work directory")
        process.kill()
        process.wait()
        with locked(home):
            assert f"process {os.getpid()} on " in (home.path / "lock").read_text()


def test_the_lock_is_free_again_after_an_error_inside(tmp_path):
    home = WorkDir(tmp_path)
    with pytest.raises(ZeroDivisionError), locked(home):
        _ = 1 / 0
    with locked(home):
        pass


@pytest.fixture
def read_only_source(tmp_path, parsed):
    """A work directory as Kaggle mounts it: nobody may write, and it is full of what an old session left."""
    source = WorkDir(tmp_path / "source")
    source.write_config(parsed)
    source.write_plan(small.sweep(small.config()).plans, [{"device": "cpu", "devices": 2}])
    for name in ("stacks/all/checkpoints/00000010/arrays/d/data", "stacks/all/finished/x", "compile_cache/program"):
        (source.path / name).parent.mkdir(parents=True, exist_ok=True)
        (source.path / name).write_bytes(os.urandom(100))
    for name in ("runs.csv", "lock", "analysis/report.html"):
        (source.path / name).parent.mkdir(exist_ok=True)
        (source.path / name).write_text("old")
    for path in (*source.path.rglob("*"), source.path):
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield source
    for path in (source.path, *source.path.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_a_read_only_work_directory_is_copied_as_far_as_it_is_needed_and_can_be_written_then(
    tmp_path, parsed, read_only_source
):
    before = contents(read_only_source.path)
    home = WorkDir(tmp_path / "home")
    home.copy_from(read_only_source.path)
    copied = {name: entry for name, entry in contents(home.path).items() if entry[2]}
    left_there = {"runs.csv", "lock", "analysis/report.html", "compile_cache/program"}
    needed = {name for name, entry in before.items() if entry[2]} - left_there
    assert set(copied) == needed
    data = {name for name in needed if not name.endswith(".json")}
    assert {name: copied[name][2] for name in data} == {name: before[name][2] for name in data}
    assert home.read_config() == parsed
    assert home.read_plan() == read_only_source.read_plan()
    assert all(path.stat().st_mode & stat.S_IWUSR for path in (home.path, *home.path.rglob("*")))
    assert contents(read_only_source.path) == before


def test_a_copy_that_finds_no_room_says_so_and_leaves_none_of_it_and_can_be_made_later(tmp_path, read_only_source):
    before = contents(read_only_source.path)
    home = WorkDir(tmp_path / "home")
    told = r"home/copying: No space left on device\..* run the same command again"
    with pytest.raises(CannotWrite, match=told), small.FailingDisk(4, errno.ENOSPC, lasting=True):
        home.copy_from(read_only_source.path)
    assert list(home.path.iterdir()) == []
    home.copy_from(read_only_source.path)
    assert home.read_plan() == read_only_source.read_plan()
    assert contents(read_only_source.path) == before


def test_a_work_directory_that_has_begun_is_not_overwritten_by_a_copy(tmp_path, parsed, read_only_source):
    home = WorkDir(tmp_path / "home")
    home.write_config(dataclasses.replace(parsed, name="begun"))
    home.copy_from(read_only_source.path)
    assert [path.name for path in home.path.iterdir()] == ["config.json"]
    assert home.read_config().name == "begun"


def test_a_source_that_is_no_work_directory_or_of_another_sweep_says_so(tmp_path, parsed, read_only_source):
    (problem,) = WorkDir(tmp_path / "empty").source_problems(parsed)
    assert problem == f"resume_from: not a work directory - got {tmp_path / 'empty'}; allowed: one with a config.json"
    assert read_only_source.source_problems(parsed) == []
    heading, field = read_only_source.source_problems(config.from_dict(small.config(optimizer={"lr": 1e-3})))
    assert heading.startswith(f"resume_from: {read_only_source.path} holds another sweep")
    assert field.strip() == "optimizer.lr: the work directory has 0.005, the config has 0.001"
