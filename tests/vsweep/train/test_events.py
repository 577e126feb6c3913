"""What a sweep reports: events in order, each with what is new; planned once; nothing touched before it goes on."""

import shutil

import pytest

import vsweep
from tests.vsweep import small
from vsweep.config.problems import ConfigError
from vsweep.plan import sweep_plan
from vsweep.tables import read_curves, read_runs
from vsweep.train.events import Boundary, Compiling, Finished, Interrupted, Planned, Recorded

WIDE = {"optimizer": {"lr": 1e-3}}  # fields of another sweep


@pytest.fixture(scope="module")
def two_sessions(tmp_path_factory):
    """(work directory, events of an interrupted session, events of the one that finished it)."""
    workdir = tmp_path_factory.mktemp("sessions")
    first = small.train(small.config(), workdir, progress=small.StopAfter(6))
    return workdir, first, small.train(small.config(), workdir)


def test_events_come_in_order(two_sessions):
    workdir, first, second = two_sessions
    for events, last in ((first, Interrupted), (second, Finished)):
        assert [type(event) for event in events[:2]] == [Planned, Compiling]
        assert {type(event) for event in events[2:-1]} <= {Boundary}
        assert type(events[-1]) is last
    assert {event.workdir for event in (*first, *second)} == {workdir}
    assert second[-2].ends_stack
    assert (second[-1].runs_ended, second[-1].runs) == (6, 6)


def test_every_row_is_reported_once_over_all_sessions(two_sessions):
    workdir, *sessions = two_sessions
    recorded = [event for events in sessions for event in events if isinstance(event, Recorded)]
    runs = [row["run_id"] for event in recorded for row in event.run_rows]
    points = [(row["run_id"], row["steps"]) for event in recorded for row in event.curve_rows]
    table = read_curves(workdir)
    assert sorted(runs) == sorted(read_runs(workdir)["run_id"])
    assert sorted(points) == sorted(zip(table["run_id"], table["steps"], strict=True))
    assert all(event.run_rows for event in recorded if isinstance(event, Boundary))


def test_a_reported_row_is_that_of_the_table(two_sessions):
    workdir, _, second = two_sessions
    table = read_curves(workdir).set_index(["run_id", "steps"])
    for row in second[-2].curve_rows:
        assert table.loc[(row["run_id"], row["steps"]), "val_loss"] == row["val_loss"]


def test_planning_touches_nothing(tmp_path):
    events = vsweep.run_sweep(small.config(), tmp_path / "new")
    planned = next(events)
    assert planned.plan.runs == 6
    events.close()
    assert not (tmp_path / "new").exists()


def test_a_wall_limit_without_gain_is_reported_with_the_plan(tmp_path, jax_setting):
    jax_setting("jax_compilation_cache_dir", None)
    values = small.config(train={"max_wall_hours": 1e-9})
    (problem,) = next(vsweep.run_sweep(values, tmp_path / "new")).wall_problems
    assert str(problem).startswith("train.max_wall_hours: too short to compile and save")


@pytest.mark.parametrize("begun", [True, False])
def test_a_sweep_is_planned_once(begun, interrupted_sweep, tmp_path, monkeypatch):
    workdir = shutil.copytree(interrupted_sweep, tmp_path / "copy") if begun else tmp_path / "new"
    calls = small.recorded(monkeypatch, (sweep_plan, "build_plan"))
    events = vsweep.run_sweep(small.config(), workdir)
    small.skip_to(events, Compiling)
    events.close()
    assert calls == ["build_plan"]


def test_a_copied_sweep_is_planned_once(interrupted_sweep, tmp_path, monkeypatch):
    calls = small.recorded(monkeypatch, (sweep_plan, "build_plan"))
    events = vsweep.run_sweep(small.config(), tmp_path / "new", resume_from=interrupted_sweep)
    small.skip_to(events, Compiling)
    events.close()
    assert calls == ["build_plan"]


def test_what_began_after_planning_is_resumed(interrupted_sweep, finished_sweep, tmp_path):
    """Between the plan and the lock another process may train there."""
    events = vsweep.run_sweep(small.config(), tmp_path / "new")
    next(events)
    shutil.copytree(interrupted_sweep, tmp_path / "new")
    assert isinstance(list(events)[-1], Finished)
    assert small.differing(tmp_path / "new", finished_sweep) == []


def test_another_sweep_that_began_after_planning_is_refused(interrupted_sweep, tmp_path):
    events = vsweep.run_sweep(small.config(**WIDE), tmp_path / "new")
    next(events)
    shutil.copytree(interrupted_sweep, tmp_path / "new")
    with pytest.raises(ConfigError, match="holds another sweep"):
        next(events)


def test_another_environment_after_planning_is_refused(interrupted_sweep, tmp_path):
    """What is checked before the lock is checked again under it, plan and environments too."""
    workdir = shutil.copytree(interrupted_sweep, tmp_path / "copy")
    events = vsweep.run_sweep(small.config(), workdir)
    next(events)
    small.begun_with(workdir, jax="0.1")
    with pytest.raises(ConfigError, match="trained in another environment"):
        next(events)


def test_runs_are_queued_until_they_have_a_slot(interrupted_sweep):
    """Four slots, six runs: two wait."""
    runs = read_runs(interrupted_sweep)
    plan = small.sweep(small.config()).plans[0]
    assert runs["status"].value_counts().to_dict() == {"running": 4, "queued": 2}
    queued = set(runs["run_id"][runs["status"] == "queued"])
    assert queued == {run_id for run_id, entry in plan.by_run.items() if entry.start > 0}
