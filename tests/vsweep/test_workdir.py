import contextlib
import dataclasses
import errno
import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vsweep import small
from vsweep import config
from vsweep.config import ConfigError
from vsweep.records import CannotWrite
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


@contextlib.contextmanager
def as_somebody_else():
    """Root may write anywhere; asking as another user shows what they would be told."""
    if os.getuid() != 0:
        yield
        return
    os.setresuid(65534, -1, -1)
    try:
        yield
    finally:
        os.setresuid(0, -1, -1)


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


def test_a_file_in_the_place_of_the_folder_is_a_problem(tmp_path, parsed):
    (tmp_path / "taken").write_text("")
    for path in (tmp_path / "taken", tmp_path / "taken" / "below"):
        (problem,) = WorkDir(path).problems(parsed)
        assert problem.startswith("workdir: not ")
        assert f"got {path}; allowed: a folder" in problem


def test_a_folder_that_you_may_not_write_to_is_a_problem(tmp_path, parsed):
    tmp_path.chmod(0o555)
    with as_somebody_else():
        for path in (tmp_path, tmp_path / "new" / "folder"):
            (problem,) = WorkDir(path).problems(parsed)
            assert problem.startswith(f"workdir: not writable - got {path}; allowed: ")
    tmp_path.chmod(0o755)


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


def test_fields_that_no_result_depends_on_may_change_when_a_sweep_goes_on(tmp_path, parsed):
    home = WorkDir(tmp_path)
    home.write_config(parsed)
    later = config.from_dict(small.config(train={"checkpoint_minutes": 1.0, "max_wall_hours": 8.5}))
    assert home.problems(later) == []


def test_the_config_comes_back_as_it_was(tmp_path):
    values = small.config(train={"slots": "all"}, sweep={"init_seed": [-1, 3], "lr": [1 / 3, 1e-5]})
    written = config.from_dict(values)
    WorkDir(tmp_path).write_config(written)
    assert WorkDir(tmp_path).read_config() == written


def test_a_folder_that_is_no_work_directory_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"not a work directory of vsweep: it has no config\.json"):
        WorkDir(tmp_path).read_config()
    assert WorkDir(tmp_path).read_plan() is None


def test_the_plan_comes_back_with_the_environment_it_was_made_for(tmp_path):
    plans = list(small.sweep(small.config(sweep={"width": [4, 8]})).plans)
    environment = {"device": "cpu x 2", "versions": "jax 0"}
    WorkDir(tmp_path).write_plan(plans, environment)
    assert WorkDir(tmp_path).read_plan() == (plans, environment)


def test_a_second_process_is_refused_with_the_pid_of_the_first_and_a_dead_one_holds_nothing(tmp_path):
    home = WorkDir(tmp_path / "work")
    with process_holding(home.path) as process:
        with pytest.raises(ConfigError, match=rf"workdir: .*work is in use by process {process.pid} on "), locked(home):
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
    source.write_plan(list(small.sweep(small.config()).plans), {"device": "cpu x 2"})
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
    needed = {name for name, entry in before.items() if entry[2]} - {"runs.csv", "lock", "analysis/report.html"}
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


def test_a_bad_source_or_one_of_another_sweep_writes_nothing(tmp_path, read_only_source):
    other = small.config(optimizer={"lr": 1e-3})
    for number, (values, source) in enumerate([(small.config(), tmp_path / "empty"), (other, read_only_source.path)]):
        home = tmp_path / f"home-{number}"
        with pytest.raises(ConfigError, match="resume_from: "):
            small.train(values, home, resume_from=source)
        assert not home.exists()
