"""Runs into slots: longest first, and trunks that runs share."""

import dataclasses
import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import addition
from tests.vsweep import small
from vsweep import tasks
from vsweep.config import sweep_config
from vsweep.config.fields import STACKED_FIELDS
from vsweep.host.hardware import Hardware
from vsweep.plan import grid, sweep_plan, table
from vsweep.plan.packing import StackPlan, pack, trunks

FRACTION = 0.2


def runs_of_steps(steps: list[int]) -> list[grid.Run]:
    run = small.stacks(small.config())[0].runs[0]
    return [dataclasses.replace(run, run_id=f"r{index}", steps=count) for index, count in enumerate(steps)]


def wsd_runs(horizons_by_seed: list[list[int]], fraction: float = FRACTION) -> list[grid.Run]:
    """Runs of one learning rate, told apart by seed and horizon alone."""
    run = small.stacks(small.config(optimizer={"schedule": "wsd"}))[0].runs[0]
    return [
        dataclasses.replace(
            run,
            run_id=f"s{seed}-{index}",
            seed=seed,
            steps=steps,
            cooldown_steps=grid.cooldown_steps(steps, fraction),
        )
        for seed, horizons in enumerate(horizons_by_seed)
        for index, steps in enumerate(horizons)
    ]


RUN_LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=40)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(steps=RUN_LENGTHS, local_slots=st.integers(1, 6), devices=st.integers(1, 4))
def test_packing_trains_every_run_once_longest_first_and_never_two_in_a_slot(steps, local_slots, devices):
    runs, slots = runs_of_steps(steps), local_slots * devices
    entries = pack(runs, slots, devices, share_trunks=True)
    assert sorted(entry.run_id for entry in entries) == sorted(run.run_id for run in runs)
    horizons = {run.run_id: run.steps for run in runs}
    assert all(entry.stop - entry.start == horizons[entry.run_id] for entry in entries)
    in_order = sorted(entries, key=lambda entry: entry.start)
    lengths = [entry.stop - entry.start for entry in in_order]
    assert lengths == sorted(lengths, reverse=True)
    for slot in range(slots):
        mine = [entry for entry in in_order if entry.slot == slot]
        starts_and_stops = [step for entry in mine for step in (entry.start, entry.stop)]
        assert starts_and_stops == sorted(starts_and_stops)
        assert not mine or mine[0].start == 0
        assert all(entry.start == before.stop for before, entry in itertools.pairwise(mine))
    assert {entry.slot for entry in entries} <= set(range(slots))
    assert max(entry.stop for entry in entries) <= sum(steps) / slots + max(steps)  # Graham 1966: list scheduling


@settings(deadline=None, max_examples=50, derandomize=True)
@given(steps=RUN_LENGTHS, local_slots=st.integers(1, 6), devices=st.integers(1, 4))
def test_the_first_runs_are_spread_evenly_over_the_devices(steps, local_slots, devices):
    entries = pack(runs_of_steps(steps), local_slots * devices, devices, share_trunks=True)
    device_of_first = [entry.slot // local_slots for entry in entries if entry.start == 0]
    busy = [device_of_first.count(device) for device in range(devices)]
    assert max(busy) - min(busy) <= 1


SEEDS = st.lists(st.lists(st.integers(1, 200), min_size=1, max_size=5), min_size=1, max_size=6)
FRACTIONS = st.sampled_from([0.01, 0.1, 0.2, 0.5, 0.9, 1.0])


@settings(deadline=None, max_examples=150, derandomize=True)
@given(seeds=SEEDS, fraction=FRACTIONS, local_slots=st.integers(1, 4), devices=st.integers(1, 3))
def test_a_run_takes_each_of_its_steps_once_in_a_slot_that_holds_it_or_its_trunk(seeds, fraction, local_slots, devices):
    runs = wsd_runs(seeds, fraction)
    stack_plan = StackPlan("all", local_slots * devices, pack(runs, local_slots * devices, devices, share_trunks=True))
    assert sorted(stack_plan.by_run) == sorted(run.run_id for run in runs)
    seats = [stack_plan.entries_at(step) for step in range(stack_plan.steps)]
    for run in runs:
        assert stack_plan.by_run[run.run_id].horizon == run.steps
        places = [stack_plan.entry_of(run.run_id, step) for step in range(1, run.steps + 1)]
        when = [place.stack_step(step) for step, place in enumerate(places, start=1)]
        assert all(before < after for before, after in itertools.pairwise(when))
        for step, place in zip(when, places, strict=True):  # the step that ends at `step`
            assert seats[step - 1][place.slot] is place
    assert sum(entry is not None for row in seats for entry in row) == stack_plan.trained_steps


@settings(deadline=None, max_examples=150, derandomize=True)
@given(seeds=SEEDS, fraction=FRACTIONS, local_slots=st.integers(1, 4), devices=st.integers(1, 3))
def test_branches_leave_a_longer_run_of_their_seed_at_their_cooldown_and_no_slot_holds_two(
    seeds, fraction, local_slots, devices
):
    runs = {run.run_id: run for run in wsd_runs(seeds, fraction)}
    slots = local_slots * devices
    stack_plan = StackPlan("all", slots, pack(list(runs.values()), slots, devices, share_trunks=True))
    for slot in range(slots):
        mine = sorted((entry for entry in stack_plan.entries if entry.slot == slot), key=lambda entry: entry.start)
        assert all(before.stop <= entry.start for before, entry in itertools.pairwise(mine))
    branches = [entry for entry in stack_plan.entries if entry.trunk]
    assert {entry.run_id: entry.trunk for entry in branches} == trunks(list(runs.values()))
    for entry in branches:
        run, trunk = runs[entry.run_id], stack_plan.by_run[entry.trunk]
        assert runs[entry.trunk].seed == run.seed
        assert runs[entry.trunk].steps >= run.steps
        assert trunk.trunk is None
        assert entry.fork_step == run.decay_start
        assert trunk.start < trunk.stack_step(entry.fork_step) < trunk.stop
        assert trunk.stack_step(entry.fork_step) <= entry.start
    waiting = [len(stack_plan.waiting_at(step)) for step in range(stack_plan.steps)]
    assert stack_plan.most_waiting == max(waiting)
    work, longest = stack_plan.trained_steps, max(run.steps for run in runs.values())
    assert stack_plan.steps <= work / slots + longest  # list scheduling: nobody waits for a slot while one is idle


@settings(deadline=None, max_examples=100, derandomize=True)
@given(horizons=st.lists(st.integers(10, 2000), min_size=1, max_size=6), fraction=FRACTIONS)
def test_sharing_leaves_one_trunk_and_the_cooldowns_to_train(horizons, fraction):
    """(1 - f) D_max + f sum(D), up to rounding to whole steps."""
    entries = pack(wsd_runs([horizons], fraction), 2, 1, share_trunks=True)
    trained = sum(entry.stop - entry.start for entry in entries)
    assert trained == pytest.approx((1 - fraction) * max(horizons) + fraction * sum(horizons), abs=len(horizons))


def test_three_seeds_of_five_doubling_budgets_save_what_the_formula_says_and_need_four_slots():
    """A branch that had to go on at once would need six slots, and nothing but idleness would be saved."""
    parsed = sweep_config.from_dict(addition.get_config("wsd"))
    sweep = sweep_plan.build_plan(parsed, tasks.build(parsed.task), Hardware("cpu", 2, 2**33))
    budgets = parsed.axis("budget")
    expected = ((1 - FRACTION) * max(budgets) + FRACTION * sum(budgets)) / sum(budgets)
    assert 1 - table.saved_share(sweep) == pytest.approx(expected, abs=1e-3)
    for stack, stack_plan in zip(sweep.stacks, sweep.plans, strict=True):
        assert stack_plan.slots == 4
        assert stack_plan.slots * stack_plan.steps < 0.7 * sum(run.steps for run in stack.runs)
        assert stack_plan.most_waiting <= 2
    assert f"{table.saved_share(sweep):.1%} of the runs' steps saved by shared trunks" in small.shown(sweep)


def test_nothing_is_shared_when_it_is_not_asked_for_or_the_schedule_gives_nothing_to_share():
    budgets = {"budget": [1400, 2800, 5600]}
    (apart,) = small.sweep(small.config(optimizer={"schedule": "wsd"}, train={"share_trunks": False})).plans
    (shared,) = small.sweep(small.config(optimizer={"schedule": "wsd"}, sweep=budgets)).plans
    assert not apart.forks
    assert len(shared.forks) >= 2
    for schedule in ("cosine", "linear", "constant"):
        (other,) = small.sweep(small.config(optimizer={"schedule": schedule}, sweep=budgets)).plans
        assert not other.forks
    falling_from_the_start = {"schedule": "wsd", "cooldown_fraction": 1.0}
    (whole,) = small.sweep(small.config(optimizer=falling_from_the_start, sweep=budgets)).plans
    assert not whole.forks


OTHER_VALUES = {
    "seed": 7,
    "init_seed": 7,
    "data_seed": 7,
    "dropout_seed": 7,
    "lr": 1e-4,
    "weight_decay": 0.5,
    "warmup_steps": 3,
    "dropout": 0.5,
    "clip": 0.1,
    "unique_examples": 40,
}


@pytest.mark.parametrize("field", [field for field in STACKED_FIELDS if field != "budget"])
def test_runs_that_differ_in_more_than_their_budget_never_share(field):
    short, long = wsd_runs([[100, 200]])
    assert trunks([short, long]) == {short.run_id: long.run_id}
    assert trunks([short, dataclasses.replace(long, **{field: OTHER_VALUES[field]})]) == {}


def test_branches_wait_from_their_fork_until_they_have_a_slot_and_the_plan_survives_json():
    """One slot: the trunk first, and then its branches, longest first."""
    stack_plan = StackPlan("all", 1, pack(wsd_runs([[50, 100, 200]]), 1, 1, share_trunks=True))
    assert [(entry.run_id, entry.start, entry.stop) for entry in stack_plan.entries] == [
        ("s0-2", 0, 200),
        ("s0-1", 200, 220),
        ("s0-0", 220, 230),
    ]
    waiting = {step: len(stack_plan.waiting_at(step)) for step in (39, 40, 79, 80, 199, 200, 219, 220)}
    assert waiting == {39: 0, 40: 1, 79: 1, 80: 2, 199: 2, 200: 1, 219: 1, 220: 0}
    assert stack_plan.most_waiting == 2
    assert StackPlan.from_dict(json.loads(json.dumps(stack_plan.to_dict()))) == stack_plan


@settings(deadline=None, max_examples=100, derandomize=True)
@given(seeds=SEEDS, local_slots=st.integers(1, 4), devices=st.integers(1, 3), share=st.floats(0.05, 0.95))
def test_runs_from_kept_states_have_only_the_rest_to_train(seeds, local_slots, devices, share):
    """Every trunk goes on from a step before its first fork; its branches leave it at their own steps as always."""
    runs = {run.run_id: run for run in wsd_runs(seeds)}
    branches, slots = trunks(list(runs.values())), local_slots * devices
    first_fork = {name: run.decay_start for name, run in runs.items() if name not in branches}
    for branch, trunk in branches.items():
        first_fork[trunk] = min(first_fork[trunk], runs[branch].decay_start - 1)
    kept = {name: int(share * step) for name, step in first_fork.items() if int(share * step) > 0}
    stack_plan = StackPlan("all", slots, pack(list(runs.values()), slots, devices, share_trunks=True, kept=kept))
    assert {entry.run_id: entry.fork_step for entry in stack_plan.continued} == kept
    assert {entry.run_id: entry.horizon for entry in stack_plan.entries} == {n: run.steps for n, run in runs.items()}
    assert all(stack_plan.first_step(name) == kept.get(branches.get(name, name), 0) for name in runs)
    before = sum(entry.stop - entry.start for entry in pack(list(runs.values()), slots, devices, share_trunks=True))
    assert stack_plan.trained_steps == before - sum(kept.values())
    waiting = [len(stack_plan.waiting_at(step)) for step in range(stack_plan.steps)]
    assert max(waiting) <= stack_plan.most_waiting <= len(runs)
    assert StackPlan.from_dict(json.loads(json.dumps(stack_plan.to_dict()))) == stack_plan
