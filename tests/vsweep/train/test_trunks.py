"""Runs that share a trunk are what they would be alone, interrupted or not."""

import json

import jax
import numpy as np
import pandas as pd
import pytest

from tests.vsweep import small
from vsweep.host import devices
from vsweep.plan import sweep_plan
from vsweep.plan.packing import StackPlan
from vsweep.storage.checkpoint import CheckpointFolder
from vsweep.tables import read_curves, read_runs
from vsweep.train.events import Finished, Interrupted
from vsweep.train.sweep import plan_sweep

# Three trunks in two slots: branches wait, go to another slot than their trunk's, and enter beside a fresh trunk.
AXES = {"budget": [700, 1400, 2800], "seed": [0, 1, 2]}


def values(**train) -> dict:
    return small.config(optimizer={"schedule": "wsd"}, train={"slots": 2, **train}, sweep=AXES)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The work directory of an uninterrupted sweep with shared trunks, on two devices."""
    workdir = tmp_path_factory.mktemp("shared")
    small.train(values(), workdir)
    return workdir


def plan_of(workdir) -> StackPlan:
    (stack,) = json.loads((workdir / "plan.json").read_text())["stacks"]
    return StackPlan.from_dict(stack)


def assert_same_results(workdir, expected) -> None:
    """Every number of both tables but the time it took, and every parameter, bit for bit."""
    runs, expected_runs = (read_runs(place).drop(columns="wall_s") for place in (workdir, expected))
    pd.testing.assert_frame_equal(runs, expected_runs, check_exact=True)
    pd.testing.assert_frame_equal(read_curves(workdir), read_curves(expected), check_exact=True)
    assert small.same_bits(small.finished_params(workdir), small.finished_params(expected))


@pytest.mark.parametrize("devices", [1, 2])
def test_a_run_that_forked_equals_the_same_run_trained_alone_bit_for_bit(devices, shared, tmp_path):
    """Curves too: the points before a fork are there, as measured on the trunk."""
    if devices == 1:
        shared = tmp_path / "shared"
        small.train(values(devices=1), shared)
    small.train(values(devices=devices, share_trunks=False), tmp_path / "alone")
    together, apart = plan_of(shared), plan_of(tmp_path / "alone")
    assert together.slots == apart.slots == 2
    assert sum(entry.trunk is not None for entry in together.entries) == 6
    assert not any(entry.trunk for entry in apart.entries)
    elsewhere = [entry for entry in together.entries if entry.trunk and together.by_run[entry.trunk].slot != entry.slot]
    assert elsewhere, "no branch went to another slot, and so to another device"
    assert together.most_waiting > 0
    assert_same_results(shared, tmp_path / "alone")
    assert set(read_runs(shared)["status"]) == {"finished"}


def test_a_cooldown_of_another_length_is_another_model(shared, tmp_path):
    """The test above can fail."""
    longer = values(share_trunks=False)
    longer["optimizer"]["cooldown_fraction"] = 0.4
    small.train(longer, tmp_path)
    with pytest.raises(AssertionError):
        assert_same_results(tmp_path, shared)


def ends_of_chunks(stack_plan: StackPlan, begun: int = 0) -> list[int]:
    """Steps of the stack at which a chunk of a session ends that goes on at step `begun`.

    That is after one step, by which it learns how long steps take, and then at the host's stops, and every
    `chunk_steps` between them.
    """
    due = sweep_plan.evaluations(small.sweep(values()), stack_plan)
    steps = [begun, begun + 1]
    for stop in sorted({*due, *stack_plan.boundaries, *stack_plan.forks}):
        while steps[-1] < stop:
            steps.append(min(stop, steps[-1] + values()["train"]["chunk_steps"]))
    return steps[1:]


def stop_at(workdir, stop: int, stack_plan) -> None:
    """Trains from where it stands until the stack comes to `stop`, two chunks on or more: one is already under way when
    the signal comes."""
    folder = CheckpointFolder(workdir / "stacks" / "all" / "checkpoints")
    chunks = ends_of_chunks(stack_plan, folder.latest() or 0)
    events = small.train(values(), workdir, progress=small.StopAfter(chunks.index(stop)))
    assert isinstance(events[-1], Interrupted)
    assert folder.latest() == stop


@pytest.mark.parametrize("places", [("before", "waiting", "last fork"), ("first fork", "third fork")])
def test_interrupted_before_at_and_after_forks_equals_uninterrupted_bit_for_bit(shared, tmp_path, places):
    """At each of these stops a session ends, and the next one takes over."""
    stack_plan = plan_of(shared)
    chunks, forks = ends_of_chunks(stack_plan), sorted(stack_plan.forks)
    stops = {
        "before": max(step for step in chunks if step < forks[0]),
        "first fork": forks[0],
        "waiting": next(step for step in chunks if stack_plan.waiting_at(step) and step not in forks),
        "third fork": forks[2],
        "last fork": forks[-1],
    }
    for place in places:
        stop_at(tmp_path, stops[place], stack_plan)
    assert isinstance(small.train(values(), tmp_path)[-1], Finished)
    assert_same_results(tmp_path, shared)


def test_a_waiting_branch_that_is_broken_on_purpose_is_seen(shared, tmp_path):
    """The test above can fail: what waits outside the slots is part of the state."""
    stack_plan = plan_of(shared)
    stop = next(step for step in ends_of_chunks(stack_plan) if stack_plan.waiting_at(step))
    stop_at(tmp_path, stop, stack_plan)
    folder = small.checkpoints_of(tmp_path)
    programs = small.Bench(values(), 2, devices.slots_mesh()).programs
    names = [entry.run_id for entry in stack_plan.waiting_at(stop)]
    slots, waiting = jax.device_get(
        folder.restore(stop, (programs.state_struct, dict.fromkeys(names, programs.run_struct)))
    )
    waiting[names[0]] = waiting[names[0]]._replace(dropout_key=waiting[names[0]].dropout_key + 1)
    folder.save(stop, (slots, waiting), folder.records(stop))
    small.train(values(), tmp_path)
    with pytest.raises(AssertionError):
        assert_same_results(tmp_path, shared)


def test_a_trunk_that_diverges_before_the_forks_makes_its_branches_diverge_as_they_would_alone(tmp_path):
    wild = values()
    wild["optimizer"]["lr"] = 1e9
    small.train(wild, tmp_path / "shared")
    wild["train"]["share_trunks"] = False
    small.train(wild, tmp_path / "alone")
    assert_same_results(tmp_path / "shared", tmp_path / "alone")
    runs = read_runs(tmp_path / "shared")
    assert set(runs["status"]) == {"diverged"}
    forks = [entry.fork_step for entry in plan_of(tmp_path / "shared").entries if entry.trunk]
    assert runs["diverged_at_step"].max() < min(forks)


def test_costs_are_those_of_a_run_trained_alone_and_the_time_is_that_in_its_own_slot(shared):
    runs = read_runs(shared).set_index("run_id")
    assert np.array_equal(runs["flops_6nd"], 6 * runs["params"] * runs["tokens"])
    own = pd.Series({run_id: entry.stop - entry.start for run_id, entry in plan_of(shared).by_run.items()})
    own = own[runs.index]
    assert (runs["steps"] > own).sum() == 6
    trunk_s_a_step = (runs["wall_s"] / own)[runs["budget"] == 2800].mean()
    assert np.allclose(runs["wall_s"], trunk_s_a_step * own, atol=0.002)  # wall_s has three decimals


def test_a_sweep_with_shared_trunks_compiles_no_more_programs(tmp_path):
    with small.compilations() as compiled:
        small.train(values(), tmp_path)
    assert len(compiled) == 3, compiled


def test_a_stored_plan_with_trunks_is_followed_and_shown(shared):
    sweep = plan_sweep(values(), shared)
    assert sweep.plans == (plan_of(shared),)
    assert "saved by shared trunks" in small.shown(sweep)
