import dataclasses
import errno
import hashlib
import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from tests.vsweep import small
from vsweep import atomic
from vsweep.atomic import CannotWrite
from vsweep.config import sweep_config
from vsweep.config.problems import ConfigError
from vsweep.schema import AXES
from vsweep.storage import workdir as workdir_lib
from vsweep.storage.workdir import WorkDir
from vsweep.train.events import Finished


@pytest.fixture
def parsed() -> sweep_config.SweepConfig:
    return sweep_config.from_dict(small.config())


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
    other = sweep_config.from_dict(small.config(optimizer={"lr": 1e-3}, sweep={"seed": [0, 1, 2]}))
    heading, *fields = home.problems(other)
    assert str(tmp_path) in heading.what
    assert "another --workdir" in heading.what
    assert [field.strip() for field in fields] == [
        "optimizer.lr: the work directory has 0.005, the config has 0.001",
        "sweep.seed: the work directory has [0, 1], the config has [0, 1, 2]",
    ]


MAY_CHANGE = {
    "train.checkpoint_minutes",
    "train.devices",
    "train.device_memory_gib",
    "train.max_wall_hours",
    "train.max_epochs",
}  # no result depends on them
FIELDS = [
    f"{section}.{field.name}" for section, kind in sweep_config.CLASSES.items() for field in dataclasses.fields(kind)
]


def another(value):
    if isinstance(value, bool):
        return not value
    return value + "-other" if isinstance(value, str) else value + 1


def changed(parsed: sweep_config.SweepConfig, field: str) -> sweep_config.SweepConfig:
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
    assert all(name in heading.what for name in MAY_CHANGE)


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
    fields = {field.name for field in dataclasses.fields(sweep_config.SweepConfig)}
    assert fields == {"name", "axes", "design", *sweep_config.SECTIONS}
    assert set(parsed.to_dict()) == {"name", "sweep", *sweep_config.SECTIONS}
    renamed = dataclasses.replace(parsed, name="other")
    assert sweep_config.differences(parsed.to_dict(), renamed.to_dict()) == [
        "name: the work directory has 'small', the config has 'other'"
    ]


def test_the_config_comes_back_as_it_was(tmp_path):
    values = small.config(train={"slots": "all"}, sweep={"init_seed": [-1, 3], "lr": [1 / 3, 1e-5]})
    written = sweep_config.from_dict(values)
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
    told = r"home: No space left on device\..* run the same command again"
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
    assert (
        str(problem) == f"resume_from: not a work directory - got {tmp_path / 'empty'}; allowed: one with a config.json"
    )
    assert read_only_source.source_problems(parsed) == []
    heading, field = read_only_source.source_problems(sweep_config.from_dict(small.config(optimizer={"lr": 1e-3})))
    assert str(heading).startswith(f"resume_from: {read_only_source.path} holds another sweep")
    assert field.strip() == "optimizer.lr: the work directory has 0.005, the config has 0.001"


# Links and foreign files: nothing outside the work directory, and nothing of somebody else's inside it, is touched.


def link_to(target: Path, place: Path) -> None:
    """Puts a link in the place of what lies there."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.symlink_to(target)


FOLDERS = ("stacks", "stacks/all", "stacks/all/checkpoints", "stacks/all/finished", "compile_cache", "analysis")
FILES = ("lock", "config.json", "plan.json", "runs.csv", "tables.json", "stacks/all/checkpoints/00000016.manifest.json")


@pytest.mark.parametrize("name", [*FOLDERS, *FILES])
def test_a_link_in_a_place_of_the_sweep_is_refused_and_not_followed(finished_sweep, tmp_path, name):
    """Also as the work directory to go on from: a copy would read what it points to."""
    outside = tmp_path / "outside"
    (outside / "2024").mkdir(parents=True)
    (outside / "2024" / "thesis.txt").write_text("years of work")
    (outside / "file").write_text("of the user")
    workdir = shutil.copytree(finished_sweep, tmp_path / "work")
    link_to(outside if name in FOLDERS else outside / "file", workdir / name)
    before, inside = contents(outside), contents(workdir)
    for place in ({"workdir": workdir}, {"workdir": tmp_path / "new", "resume_from": workdir}):
        with pytest.raises(ConfigError, match=rf"a link, or no plain file, .*{name}") as caught:
            small.train(small.config(), **place)
        assert len(caught.value.problems) == 1
    assert contents(outside) == before
    assert contents(workdir) == inside
    assert not (tmp_path / "new").exists()


def test_the_work_directory_itself_may_be_a_link(finished_sweep, tmp_path):
    shutil.copytree(finished_sweep, tmp_path / "scratch")
    (tmp_path / "work").symlink_to(tmp_path / "scratch")
    assert isinstance(small.train(small.config(), tmp_path / "work")[-1], Finished)


def test_files_that_come_and_go_beside_a_sweep_that_trains_are_no_problem(finished_sweep, monkeypatch):
    """A second launch, or --plan, looks while another process writes and prunes."""
    real = Path.lstat

    def lstat(path):
        if path.suffix == ".json":
            raise FileNotFoundError(path)
        return real(path)

    monkeypatch.setattr(Path, "lstat", lstat)
    assert workdir_lib.strange_problems("workdir", finished_sweep) == []


def test_a_device_or_a_pipe_in_a_place_of_the_sweep_is_refused(tmp_path, parsed):
    os.mkfifo(tmp_path / "config.json")
    (problem,) = WorkDir(tmp_path).problems(parsed)
    assert "no plain file, in a place of the sweep's own" in problem.what


@pytest.mark.parametrize("name", ["lock", "stacks/notes.txt", "compile_cache/x", "runs.csv", "thesis.tex", "plan.json"])
def test_a_folder_with_somebody_elses_files_is_refused_untouched(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("of the user")
    before = contents(tmp_path)
    with pytest.raises(
        ConfigError, match=r"not empty, and no work directory \(no config.json\) - got .*allowed: a new"
    ):
        small.train(small.config(), tmp_path)
    assert contents(tmp_path) == before


def test_what_a_killed_start_leaves_is_no_reason_to_refuse(tmp_path, parsed):
    (tmp_path / "lock").write_text("process 7 on a-machine since 2026-01-01 00:00:00\n")
    (tmp_path / ".config.json.abc.unfinished").write_text("{")
    (tmp_path / ".gitkeep").touch()
    assert WorkDir(tmp_path).problems(parsed) == []


def test_a_copy_that_was_not_finished_is_gone_on_with_or_named(tmp_path, parsed, read_only_source):
    home = WorkDir(tmp_path / "home")
    home.copy_from(read_only_source.path)
    (home.path / ".copying.unfinished").mkdir()
    (home.path / "config.json").unlink()
    (home.path / "stacks" / "of an older state").touch()
    with pytest.raises(ConfigError, match="a copy of another work directory was not finished"):
        small.train(small.config(), home.path)
    assert home.place_problems() == []
    home.copy_from(read_only_source.path)
    assert home.read_config() == parsed
    assert {path.name for path in home.path.iterdir()} == {"config.json", "plan.json", "stacks"}
    assert not (home.path / "stacks" / "of an older state").exists()


def test_what_is_not_the_sweeps_own_is_not_copied(tmp_path, read_only_source):
    """A folder of the user's beside it, a link to one, and a pipe."""
    read_only_source.path.chmod(0o755)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").touch(0o444)
    (read_only_source.path / "data").symlink_to(tmp_path / "outside")
    os.mkfifo(read_only_source.path / "pipe")
    home = WorkDir(tmp_path / "home")
    assert read_only_source.source_problems(read_only_source.read_config()) == []
    home.copy_from(read_only_source.path)
    assert {path.name for path in home.path.iterdir()} == {"config.json", "plan.json", "stacks"}
    assert stat.S_IMODE((tmp_path / "outside" / "file").stat().st_mode) == 0o444


def test_a_link_that_appears_while_it_is_copied_is_not_followed(tmp_path, read_only_source):
    (tmp_path / "secret").write_text("of the user")
    (read_only_source.path / "stacks" / "all").chmod(0o755)
    (read_only_source.path / "stacks" / "all" / "more").symlink_to(tmp_path / "secret")
    home = WorkDir(tmp_path / "home")
    with pytest.raises(ConfigError, match="a link, or no plain file"):
        home.copy_from(read_only_source.path)
    assert not home.path.exists()
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o644


def test_a_file_system_without_permissions_is_no_error(tmp_path, read_only_source, monkeypatch, caplog):
    def refuse(*arguments, **keywords):
        raise OSError(errno.EPERM, "Operation not permitted")

    atomic.warn_once.cache_clear()
    home = WorkDir(tmp_path / "home")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "chmod", refuse)
        patched.setattr(os, "chmod", refuse)
        home.copy_from(read_only_source.path)
        home.write_plan(*read_only_source.read_plan())
    assert home.read_plan() == read_only_source.read_plan()
    assert caplog.text.count("permissions cannot be set") == 1


# What no sweep has written, with a checksum that is right: whoever makes such a file can make that too.

ENTRY = ["d700-s0", 0, 0, 8, 0, None]
CRAFTED_PLANS = {
    "environments as text": {"environments": "cpu"},
    "no environment": {"environments": []},
    "devices as text": {"environments": [{"devices": "2"}]},
    "devices below 1": {"environments": [{"devices": -1}]},
    "a nested environment": {"environments": [{"jax": {"version": 1}}]},
    "stacks as text": {"stacks": "all"},
    "a stack without entries": {"stacks": [{"name": "all", "slots": 2, "entries": []}]},
    "a slot that there is not": {"stacks": [{"name": "all", "slots": 2, "entries": [["d700-s0", 5, 0, 8, 0, None]]}]},
    "a slot as text": {"stacks": [{"name": "all", "slots": "2", "entries": [ENTRY]}]},
    "a run twice": {"stacks": [{"name": "all", "slots": 2, "entries": [ENTRY, ["d700-s0", 1, 0, 8, 0, None]]}]},
    "two runs in a slot": {"stacks": [{"name": "all", "slots": 2, "entries": [ENTRY, ["x", 0, 4, 9, 0, None]]}]},
    "a run that ends first": {"stacks": [{"name": "all", "slots": 2, "entries": [["x", 0, 9, 8, 0, None]]}]},
    "a trunk that is none": {"stacks": [{"name": "all", "slots": 2, "entries": [["x", 0, 0, 8, 4, "y"]]}]},
    "a huge step": {"stacks": [{"name": "all", "slots": 2, "entries": [["x", 0, 0, 2**40, 0, None]]}]},
}


@pytest.mark.parametrize("kind", CRAFTED_PLANS)
def test_a_crafted_plan_is_refused_in_one_line(tmp_path, kind):
    whole = {"environments": [{"devices": 2}], "stacks": [{"name": "all", "slots": 2, "entries": [ENTRY]}]}
    for values in ({**whole, **CRAFTED_PLANS[kind]}, whole):
        signed = {**values, "own_sha256": workdir_lib.json_sha256(values)}
        (tmp_path / "plan.json").write_text(json.dumps(signed))
        if values is whole:
            assert WorkDir(tmp_path).read_plan()[1] == [{"devices": 2}]
        else:
            with pytest.raises(ConfigError, match=r"the plan is damaged - got .*plan\.json") as caught:
                WorkDir(tmp_path).read_plan()
            assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["plan.json", "config.json"])
def test_json_that_is_nested_without_end_is_refused_in_one_line(tmp_path, parsed, name):
    home = WorkDir(tmp_path)
    home.write_config(parsed)
    (tmp_path / name).write_text("[" * 200_000)
    with pytest.raises(ConfigError, match=f"got .*{name} .ValueError: nested too deeply") as caught:
        small.train(small.config(), tmp_path)
    assert len(caught.value.problems) == 1
