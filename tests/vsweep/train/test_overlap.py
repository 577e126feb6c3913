"""What goes on behind the training: checkpoints are written, the next stack compiles; and where the time goes."""

import concurrent.futures
import dataclasses
import itertools
import shutil
import threading
from pathlib import Path

import jax
import numpy as np
import pytest

import vsweep
from tests.vsweep import small
from vsweep import schema, tables
from vsweep.atomic import CannotWrite
from vsweep.config.sweep_config import from_dict
from vsweep.host import devices
from vsweep.host.interruption import Interruption
from vsweep.host.progress import SilentProgress
from vsweep.session import preflight
from vsweep.storage import checkpoint
from vsweep.storage.background import BackgroundWriter
from vsweep.storage.checkpoint import CheckpointFolder
from vsweep.storage.lock import Lock
from vsweep.storage.results import StackResults
from vsweep.storage.workdir import WorkDir
from vsweep.train import compiling, dispatcher, recorder, sweep
from vsweep.train.events import Boundary, Compiling, Finished, Interrupted
from vsweep.train.recorder import SweepRecorder
from vsweep.train.timing import CHUNKS_IN_FLIGHT, Stopwatch


def checkpoints(workdir) -> CheckpointFolder:
    return CheckpointFolder(workdir / "stacks" / "all" / "checkpoints")


def test_a_boundary_is_told_in_order_when_its_checkpoint_and_its_rows_are_there(tmp_path):
    boundaries = small.sweep(small.config()).plans[0].boundaries
    assert len(boundaries) >= 3
    ended = []
    for event in vsweep.run_sweep(small.config(), tmp_path):
        if isinstance(event, Boundary):
            step = boundaries[len(ended)]
            assert step in checkpoints(tmp_path).steps()
            assert checkpoints(tmp_path).problems(step) == []
            finished = tables.read_runs(tmp_path)["status"].eq("finished").sum()
            assert finished == event.runs_ended
            ended.append(event.runs_ended)
    assert ended == sorted(set(ended))
    assert ended[-1] == 6


def test_a_checkpoint_that_cannot_be_written_stops_the_sweep_and_leaves_the_one_before(tmp_path, finished_sweep):
    events = vsweep.run_sweep(small.config(), tmp_path)
    assert isinstance(small.skip_to(events, Boundary), Boundary)
    kept = checkpoints(tmp_path).steps()
    finished = tmp_path / "stacks" / "all" / "finished"
    finished.rename(tmp_path / "moved")
    finished.write_text("no folder can be made here")
    with pytest.raises(OSError, match="finished"):
        list(events)
    assert checkpoints(tmp_path).steps() == kept
    finished.unlink()
    (tmp_path / "moved").rename(finished)
    assert isinstance(small.train(small.config(), tmp_path)[-1], Finished)
    assert (tmp_path / "curves.csv").read_bytes() == (finished_sweep / "curves.csv").read_bytes()
    assert small.same_bits(small.finished_params(tmp_path), small.finished_params(finished_sweep))


class PromptWriter(BackgroundWriter):
    """Ends its job before training goes on, so that how far training is when it does is known."""

    def start(self, job):
        super().start(job)
        concurrent.futures.wait([self._job])


class Steps(SilentProgress):
    """The step after each chunk, of a sweep of one stack."""

    def __init__(self, last: int):
        self.last = last
        self.seen: list[int] = []

    def update(self, stack, *, done, **status):
        self.seen.append(round(done * self.last))


def test_a_checkpoint_that_cannot_be_written_is_told_at_the_next_chunk_and_not_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "BackgroundWriter", PromptWriter)
    values = small.config(train={"chunk_steps": 4}, sweep={"budget": [700, 2800], "seed": [0]})
    first, last = small.sweep(values).plans[0].boundaries
    WorkDir(tmp_path).write_config(from_dict(values))
    (tmp_path / "stacks" / "all").mkdir(parents=True)
    (tmp_path / "stacks" / "all" / "finished").write_text("no folder can be made here")
    progress = Steps(last)
    with pytest.raises(CannotWrite, match="finished"):
        small.train(values, tmp_path, progress=progress)
    assert progress.seen[-2] == first
    assert progress.seen[-1] < last


class Watched(Steps):
    """Looks, after each chunk, how far the newest checkpoint is behind; and every chunk takes a minute."""

    def __init__(self, last: int, workdir: Path, patch: pytest.MonkeyPatch):
        super().__init__(last)
        self.workdir = workdir
        self.behind: list[int] = []
        patch.setattr(dispatcher.time, "monotonic", lambda: 60.0 * len(self.seen))

    def update(self, stack, *, done, **status):
        super().update(stack, done=done, **status)
        self.behind.append(self.seen[-1] - (checkpoints(self.workdir).latest() or 0))


def test_no_more_than_checkpoint_minutes_of_training_is_ever_without_a_checkpoint(tmp_path, monkeypatch):
    """And what the devices have done while that checkpoint was on its way: the chunks in flight."""
    monkeypatch.setattr(recorder, "BackgroundWriter", PromptWriter)
    values = small.config(
        train={"chunk_steps": 4, "checkpoint_minutes": 3.0, "curve_points": 2},
        sweep={"budget": [700, 2800], "seed": [0]},
    )
    progress = Watched(small.sweep(values).plans[0].steps, tmp_path, monkeypatch)
    small.train(values, tmp_path, progress=progress)
    assert len(progress.seen) > 8
    assert max(progress.behind) <= 4 * (3 + CHUNKS_IN_FLIGHT)


def test_a_save_follows_the_order_that_loses_nothing(tmp_path, monkeypatch):
    """Finished parameters, then the state, each written, on the disk, listed, verified; then the rows; then pruning."""
    calls = small.recorded(
        monkeypatch,
        (checkpoint.ocp.Checkpointer, "save"),
        (checkpoint, "sync_tree"),
        (checkpoint, "write_json_atomically"),
        (CheckpointFolder, "problems"),
        (recorder, "write_tables"),
        (CheckpointFolder, "prune"),
    )
    events = vsweep.run_sweep(small.config(sweep={"budget": [700], "seed": [0]}), tmp_path)
    assert isinstance(small.skip_to(events, Boundary), Boundary)
    saved = ["save", "sync_tree", "write_json_atomically", "problems"]
    assert calls == [*saved, *saved, "write_tables", "prune", "problems"]
    events.close()


def test_a_sweep_that_its_caller_leaves_has_committed_what_it_had_begun_to_write(tmp_path):
    events = vsweep.run_sweep(small.config(), tmp_path)
    small.skip_to(events, Boundary)
    events.close()
    assert checkpoints(tmp_path).latest() is not None
    assert not [path for path in checkpoints(tmp_path).folder.iterdir() if "tmp" in path.name]


def test_every_checkpoint_is_that_of_a_sweep_which_stopped_there(tmp_path):
    """Neither the state nor the results of a boundary are those of a moment later, when training has gone on."""
    boundaries = small.sweep(small.config()).plans[0].boundaries
    for event in vsweep.run_sweep(small.config(), tmp_path / "sweep"):
        if isinstance(event, Boundary) and not (tmp_path / "first").exists():
            first = min(checkpoints(tmp_path / "sweep").steps())
            shutil.copytree(tmp_path / "sweep", tmp_path / "first")
    assert first == boundaries[0]
    programs = small.Bench(small.config(), 4, devices.slots_mesh()).programs
    state = jax.device_get(checkpoints(tmp_path / "first").restore(first, programs.state_struct))
    stack_plan = small.sweep(small.config()).plans[0]
    expected = [first - entry.start if entry else None for entry in stack_plan.entries_at(first)]
    assert [step for step, entry in zip(state.step, expected, strict=True) if entry is not None] == [
        step for step in expected if step is not None
    ]
    found = StackResults.from_json(checkpoints(tmp_path / "first").records(first))
    ends = {entry.run_id: min(entry.stop, first) - entry.start for entry in stack_plan.entries}
    for run_id, run in found.runs.items():
        assert all(point["steps"] <= ends[run_id] for point in run.curve)
    assert {run_id for run_id, run in found.runs.items() if run.finished} == {
        entry.run_id for entry in stack_plan.entries if entry.stop <= first
    }


def test_copies_on_the_devices_outlive_the_arrays_that_training_overwrites(mesh):
    array = jax.device_put(np.arange(2.0 * mesh.size), devices.over_slots(mesh))
    copied = devices.copy_on_device({"params": array})["params"]
    array.delete()
    assert np.array_equal(copied, np.arange(2.0 * mesh.size))
    assert copied.sharding == devices.over_slots(mesh)


class FakePrograms:
    """Compiles nothing: records what is asked for, and ends a stack when it is told to."""

    def __init__(self, stacks):
        self.begun: list[str] = []
        self.may_end = {stack.name: threading.Event() for stack in stacks}
        self.changed = threading.Condition()

    def __call__(self, sweep_plan, stack, stack_plan, mesh) -> str:
        with self.changed:
            self.begun.append(stack.name)
            self.changed.notify_all()
        assert self.may_end[stack.name].wait(30)
        return f"programs of {stack.name}"

    def wait_for(self, count: int) -> list[str]:
        """What has begun once so many have."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.begun) >= count, 30)
            return list(self.begun)


def compiler_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("compiler")]


FOUR_STACKS = small.config(sweep={"width": [4, 8, 12, 16], "seed": [0]})


def test_stacks_compile_ahead_in_the_order_of_need_and_no_further_than_asked_for(mesh):
    planned = small.sweep(FOUR_STACKS, mesh.size)
    first, second, third, fourth = (stack.name for stack in planned.stacks)
    fake = FakePrograms(planned.stacks)
    with compiling.StackCompiler(planned, mesh, ahead=2, compile_one=fake) as compiler:
        compiler.announce(planned.stacks)
        assert fake.wait_for(2) == [first, second]
        fake.may_end[second].set()
        assert fake.wait_for(3) == [first, second, third]
        fake.may_end[first].set()
        assert compiler.programs(planned.stacks[0], planned.plans[0]) == f"programs of {first}"
        fake.may_end[third].set()
        assert compiler.programs(planned.stacks[1], planned.plans[1]) == f"programs of {second}"
        assert fake.begun == [first, second, third]  # the fourth was further away
        compiler.announce(planned.stacks[2:])
        assert fake.wait_for(4)[3:] == [fourth]
        fake.may_end[fourth].set()


def test_on_a_cpu_a_stack_compiles_when_its_turn_comes(mesh):
    planned = small.sweep(FOUR_STACKS, mesh.size)
    fake = FakePrograms(planned.stacks)
    for may_end in fake.may_end.values():
        may_end.set()
    with compiling.StackCompiler(planned, mesh, ahead=0, compile_one=fake) as compiler:
        for place, stack in enumerate(planned.stacks):
            compiler.announce(planned.stacks[place:])
            compiler.programs(stack, planned.plan_of(stack))
            assert len(fake.begun) == place + 1


def test_whoever_leaves_waits_for_what_compiles_and_begins_nothing_more(mesh):
    planned = small.sweep(FOUR_STACKS, mesh.size)
    fake = FakePrograms(planned.stacks)
    with compiling.StackCompiler(planned, mesh, ahead=2, compile_one=fake) as compiler:
        compiler.announce(planned.stacks)
        begun = fake.wait_for(2)
        threading.Timer(0.05, lambda: [fake.may_end[name].set() for name in begun]).start()
    assert compiler_threads() == []
    assert fake.begun == begun


def test_more_cores_and_memory_compile_more_stacks_ahead():
    gib = 2**30
    assert compiling.stacks_ahead("cpu", 64, 512 * gib) == 0
    assert compiling.stacks_ahead("gpu", 2, 12 * gib) == 1
    assert compiling.stacks_ahead("gpu", 12, 83 * gib) == 3
    assert compiling.stacks_ahead("gpu", 64, 9 * gib) == 2
    assert compiling.stacks_ahead("gpu", 64, 512 * gib) == compiling.MOST_AHEAD


def test_a_sweep_that_compiles_ahead_has_the_same_tables_and_leaves_no_thread_when_it_is_stopped(tmp_path, monkeypatch):
    values = small.config(sweep={"width": [4, 8], "budget": [700], "seed": [0]})
    small.train(values, tmp_path / "cpu")
    monkeypatch.setattr(sweep, "stacks_ahead", lambda *machine: 2)
    events = small.train(values, tmp_path / "ahead", progress=small.StopAfter(2))
    assert isinstance(events[-1], Interrupted)
    assert compiler_threads() == []
    small.train(values, tmp_path / "ahead")
    assert small.differing(tmp_path / "ahead", tmp_path / "cpu") == []


def test_an_error_of_compiling_ahead_is_raised_when_its_stack_starts(mesh):
    planned = small.sweep(small.config(sweep={"seed": [0]}), mesh.size)
    uneven = planned.with_plans([dataclasses.replace(planned.plans[0], slots=mesh.size + 1)])
    with compiling.StackCompiler(uneven, mesh, ahead=1) as compiler:
        compiler.announce(uneven.stacks)
        with pytest.raises(ValueError, match="divisible"):
            compiler.programs(uneven.stacks[0], uneven.plans[0])


def test_the_split_of_the_time_adds_up_to_the_wall_time(tmp_path):
    """With a clock that ticks at every look: no tick is lost, and none is counted twice."""
    values = small.config(sweep={"budget": [700, 1400], "seed": [0]})
    ticks = itertools.count()
    home = WorkDir(tmp_path)
    tmp_path.mkdir(exist_ok=True)
    begin = preflight.prepare(values, home.path).start
    with Interruption() as interruption:
        stopwatch = Stopwatch(lambda: float(next(ticks)))
        kept = SweepRecorder(begin.sweep, home, Lock(), SilentProgress(), stopwatch)
        kinds = [type(event) for event in sweep.train_sweep(begin, kept, SilentProgress(), interruption)]
    kept.analysed()
    assert kinds == [Compiling, Boundary, Boundary]
    times = tables.read_times(tmp_path)
    assert times[list(schema.ACTIVITIES)].to_numpy().sum() == pytest.approx(next(ticks) - 1, abs=0.01)
    assert (times[list(schema.ACTIVITIES)].to_numpy() > 0).all()


def test_time_is_counted_over_all_sessions(tmp_path):
    events = small.train(small.config(), tmp_path, progress=small.StopAfter(3))
    assert isinstance(events[-1], Interrupted)
    before = tables.read_times(tmp_path)
    small.train(small.config(), tmp_path)
    after = tables.read_times(tmp_path)
    assert (after["train_s"] > before["train_s"]).all()
    assert (after["compile_s"] > before["compile_s"]).all()
