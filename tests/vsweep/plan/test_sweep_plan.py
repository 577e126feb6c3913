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
from vsweep.config.problems import ConfigError
from vsweep.host.hardware import Hardware
from vsweep.models import accounting
from vsweep.models.transformer import SCANNED_LAYERS
from vsweep.plan import cost, evaluations, grid, sweep_plan, table
from vsweep.plan import slots as slots_lib
from vsweep.plan.packing import StackPlan, pack

TWO_CORES = Hardware("cpu", 2, 2**33)
DOUBLING = {"width": [4], "budget": [700 * 2**doubling for doubling in range(5)], "seed": [0, 1, 2]}


def sweep_of(values, hardware: Hardware = TWO_CORES) -> sweep_plan.SweepPlan:
    parsed = sweep_config.from_dict(values)
    return sweep_plan.build_plan(parsed, tasks.build(parsed.task), hardware)


@pytest.fixture(scope="module")
def laptop() -> sweep_plan.SweepPlan:
    return sweep_of(addition.get_config("laptop"))


def test_five_doubling_budgets_and_three_seeds_pack_into_six_slots():
    """93 units of work in 6 x 16, where one slot a run would cost 15 x 16."""
    (stack_plan,) = sweep_of(small.config(sweep=DOUBLING)).plans
    assert stack_plan.slots == 6
    assert stack_plan.wasted_share < 0.1
    (everyone,) = sweep_of(small.config(sweep=DOUBLING, train={"slots": "all"})).plans
    assert everyone.slots == 16
    assert everyone.wasted_share > 0.5
    assert everyone.steps == stack_plan.steps


def test_less_than_a_tenth_of_the_slot_steps_of_the_laptop_sweep_are_wasted(laptop):
    assert laptop.runs == 90
    assert table.wasted_share(laptop) < 0.1
    assert all(stack_plan.wasted_share < 0.1 for stack_plan in laptop.plans)


@pytest.mark.parametrize("devices", [1, 2, 3, 8])
@pytest.mark.parametrize("slots", ["packed", "all", 1, 5, "5"])
def test_slots_are_whole_devices_and_every_run_is_planned_once(slots, devices):
    sweep = sweep_of(small.config(sweep=DOUBLING, train={"slots": slots}), Hardware("cpu", devices, 2**33))
    (stack,), (stack_plan,) = sweep.stacks, sweep.plans
    assert stack_plan.slots % devices == 0
    assert sorted(entry.run_id for entry in stack_plan.entries) == sorted(run.run_id for run in stack.runs)
    if slots == "all":
        assert 15 <= stack_plan.slots < 15 + devices
        assert {entry.start for entry in stack_plan.entries} == {0}
    elif slots != "packed":
        assert int(slots) <= stack_plan.slots < int(slots) + devices


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    budgets=st.lists(st.integers(700, 40_000), min_size=1, max_size=5, unique=True).map(sorted),
    seeds=st.integers(1, 8),
    schedule=st.sampled_from(["cosine", "wsd"]),
    width=st.sampled_from([4, 64]),
    devices=st.integers(1, 4),
)
def test_the_slots_of_a_stack_are_the_cheapest_of_all_numbers(budgets, seeds, schedule, width, devices):
    axes = {"budget": budgets, "seed": list(range(seeds))}
    values = small.config(model={"width": width}, optimizer={"schedule": schedule}, sweep=axes)
    sweep = sweep_of(values, Hardware("cpu", devices, 2**33))
    (stack,), (stack_plan,) = sweep.stacks, sweep.plans

    def step_cost(slots):
        steps = max(entry.stop for entry in pack(stack.runs, slots, devices, share_trunks=True))
        return steps * cost.step_seconds(stack.shape, sweep.task, slots, sweep.hardware)

    assert stack_plan.slots == min(range(devices, len(stack.runs) + devices, devices), key=step_cost)


def test_ten_thousand_runs_are_planned_with_few_packings(monkeypatch):
    budgets = [int(1000 * 1.17**power) for power in range(20)]
    axes = {"budget": budgets, "seed": list(range(500))}
    tried = small.recorded(monkeypatch, (slots_lib, "packed_steps"))
    (stack_plan,) = sweep_of(small.config(optimizer={"schedule": "wsd"}, sweep=axes)).plans
    assert len(stack_plan.by_run) == 10_000
    assert len(tried) <= 50
    assert stack_plan.wasted_share < 0.05


def test_of_thousands_of_stacks_the_smallest_and_the_largest_are_shown():
    axes = {"width": list(range(4, 404, 4)), "ff_multiple": list(range(1, 31)), "budget": [700], "seed": [0]}
    sweep = sweep_of(small.config(sweep=axes), Hardware("cpu", 2, 2**36))
    lines = small.shown(sweep).splitlines()
    assert "3000 runs in 3000 stacks" in lines[0]
    assert sum("2,800 more" in line for line in lines) == 1
    rows = [stack.name for stack in sweep.stacks if any(f" {stack.name} " in line for line in lines)]
    assert rows == [stack.name for stack in (*sweep.stacks[:100], *sweep.stacks[-100:])]
    assert f"{sum(cost.flops for cost in sweep.estimates):.2e} FLOP" in lines[-1]


def test_no_stack_gets_more_slots_than_it_has_runs():
    for slots in (16, 10**6, str(10**6)):
        (stack_plan,) = sweep_of(small.config(sweep=DOUBLING, train={"slots": slots})).plans
        assert stack_plan.slots == 16


def test_boundaries_are_the_steps_at_which_a_run_reaches_its_budget(laptop):
    for stack, stack_plan in zip(laptop.stacks, laptop.plans, strict=True):
        stops = {entry.stop for entry in stack_plan.entries}
        assert stack_plan.boundaries == sorted(stops)
        assert stack_plan.steps == stack_plan.boundaries[-1]
        assert stack_plan.steps >= max(run.steps for run in stack.runs)


def test_entries_at_a_step_are_the_runs_that_train_from_it_on():
    (stack_plan,) = sweep_of(small.config(sweep=DOUBLING)).plans
    for step in {0, 1, stack_plan.steps - 1, *(b + off for b in stack_plan.boundaries[:-1] for off in (-1, 0, 1))}:
        seats = stack_plan.entries_at(step)
        assert len(seats) == stack_plan.slots
        training = [entry for entry in stack_plan.entries if entry.start <= step < entry.stop]
        assert sorted(entry.run_id for entry in seats if entry) == sorted(entry.run_id for entry in training)
        assert all(entry is None or entry.slot == slot for slot, entry in enumerate(seats))
    assert stack_plan.entries_at(stack_plan.steps) == [None] * stack_plan.slots


def test_the_wasted_share_is_the_share_of_seats_without_a_run():
    (stack_plan,) = sweep_of(small.config(sweep={**DOUBLING, "budget": [700, 1500]})).plans
    empty = sum(stack_plan.entries_at(step).count(None) for step in range(stack_plan.steps))
    assert stack_plan.wasted_share == pytest.approx(empty / (stack_plan.slots * stack_plan.steps))


def test_the_smallest_laptop_horizon_is_evaluated_at_24_distinct_steps(laptop):
    horizon = laptop.smallest_horizon
    steps = evaluations.evaluation_steps(horizon, horizon, laptop.config.train.curve_points)
    assert len(steps) >= 24
    assert steps[0] <= horizon / 32


@settings(deadline=None, max_examples=100, derandomize=True)
@given(smallest=st.integers(1, 400), times=st.floats(1, 64), points=st.integers(2, 40))
def test_evaluations_go_up_to_the_horizon_log_spaced_and_never_twice_at_a_step(smallest, times, points):
    horizon = round(smallest * times)
    steps = evaluations.evaluation_steps(horizon, smallest, points)
    assert all(before < after for before, after in itertools.pairwise(steps))
    assert steps[0] >= 1
    assert steps[-1] == horizon
    first = evaluations.evaluation_steps(smallest, smallest, points)
    assert len(first) >= min(points, smallest - first[0] + 1)
    assert len(steps) >= len(first)


def test_evaluations_of_a_run_depend_on_its_horizon_and_the_sweep_and_not_on_its_slot():
    found = []
    for slots in ("packed", "all", 2):
        sweep = sweep_of(small.config(sweep=DOUBLING, train={"slots": slots}))
        by_run: dict[str, list[int]] = {}
        for due in sweep_plan.evaluations(sweep, sweep.plans[0]).values():
            for run in due:
                by_run.setdefault(run.run_id, []).append(run.run_step)
        found.append(by_run)
    assert found[0] == found[1] == found[2]
    horizons = {run.run_id: run.steps for run in sweep.stacks[0].runs}
    assert {run_id: steps[-1] for run_id, steps in found[0].items()} == horizons
    of_equal_horizon = {horizons[run_id]: steps for run_id, steps in found[0].items()}
    assert all(steps == of_equal_horizon[horizons[run_id]] for run_id, steps in found[0].items())


def test_the_same_config_gives_the_same_plan_and_it_survives_json(laptop):
    again = sweep_of(addition.get_config("laptop"))
    assert again.plans == laptop.plans
    assert again.stacks == laptop.stacks
    assert again.estimates == laptop.estimates
    stored = json.loads(json.dumps([stack_plan.to_dict() for stack_plan in laptop.plans]))
    assert tuple(StackPlan.from_dict(values) for values in stored) == laptop.plans


@pytest.mark.parametrize("slots", ["packed", "all", 12])
def test_memory_bounds_the_slots_and_every_run_is_still_trained(slots):
    values = small.config(sweep=DOUBLING, train={"slots": slots})
    roomy = sweep_of(values)
    shape = cost.model_shape(roomy.stacks[0].shape, roomy.task)
    two_slots = int(2.5 * accounting.slot_bytes(shape, 8) / cost.MEMORY_SHARE)
    tight = sweep_of(values, Hardware("cpu", 2, two_slots))
    (stack_plan,) = tight.plans
    assert stack_plan.slots == 4 < roomy.plans[0].slots
    assert tight.estimates[0].memory_bytes <= cost.MEMORY_SHARE * two_slots
    assert len(stack_plan.entries) == 15


def test_slots_that_a_core_trains_one_by_one_need_the_memory_of_one_step_and_of_every_state():
    """XLA says so of a CPU: a stack of thirty needs little more than one model. On a GPU all are under way at once."""
    (stack,) = sweep_of(small.config(sweep={"width": [64], "seed": list(range(30))})).stacks
    task, memory = sweep_of(small.config()).task, 2**26
    model = cost.model_shape(stack.shape, task)
    kinds = {kind: Hardware(kind, 1, memory) for kind in ("cpu", "Tesla T4")}
    needed = {kind: cost.device_bytes(stack.shape, task, 30, machine) for kind, machine in kinds.items()}
    assert needed["Tesla T4"] == 30 * accounting.slot_bytes(model, 8)
    assert needed["cpu"] == needed["Tesla T4"] - 29 * accounting.activation_bytes(model, 8)
    for kind, machine in kinds.items():
        most = cost.slots_that_fit(stack.shape, task, machine)
        usable = cost.MEMORY_SHARE * memory
        assert cost.device_bytes(stack.shape, task, most, machine) <= usable, kind
        assert cost.device_bytes(stack.shape, task, most + 1, machine) > usable, kind


def test_a_model_that_does_not_fit_alone_is_refused_by_name_beside_all_others():
    with pytest.raises(ConfigError) as caught:
        sweep_of(small.config(sweep={"width": [4, 512, 1024]}), Hardware("Tesla T4", 1, 2**22))
    assert len(caught.value.problems) == 2
    for width, problem in zip((512, 1024), caught.value.problems, strict=True):
        assert problem.field == "model.width"
        assert f"width {width}" in problem.got
        assert "0.0 GiB of Tesla T4" in problem.allowed


def test_estimates_are_positive_and_count_the_work_of_every_run(laptop):
    for stack, estimate in zip(laptop.stacks, laptop.estimates, strict=True):
        per_example = accounting.flops_counted_per_example(cost.model_shape(stack.shape, laptop.task))
        assert estimate.flops == per_example * sum(run.steps * run.shape.batch_size for run in stack.runs)
        assert min(dataclasses.astuple(estimate)) > 0


def markov_step_s(length: int, head_dim: int) -> float:
    """Estimated seconds of a step over `length` - 1 positions, at a constant number of tokens."""
    values = small.config(model={"width": 32, "head_dim": head_dim}, train={"batch_size": 8192 // (length - 1)})
    parsed = sweep_config.from_dict({**values, "task": {"name": "markov", "length": length}, "sweep": {}})
    task = tasks.build(parsed.task)
    return cost.step_seconds(grid.shapes(parsed)[0], task, 2, TWO_CORES)


def test_the_estimate_of_a_step_grows_with_the_scores_of_long_sequences():
    """Those of short ones stand in the cost of a position: nothing that was planned before changes."""
    assert markov_step_s(17, 4) == markov_step_s(17, 16)
    few_heads, many_heads = (
        [markov_step_s(length, head_dim) for length in (17, 65, 257, 1024)] for head_dim in (16, 4)
    )
    assert few_heads == sorted(few_heads)
    assert few_heads[-1] > 2 * few_heads[0]
    assert all(many > few for many, few in zip(many_heads[1:], few_heads[1:], strict=True))


def test_the_estimate_of_compiling_grows_with_the_layers_and_scanned_ones_cost_less():
    def compile_s(layers):
        return sweep_of(small.config(model={"layers": layers})).estimates[0].compile_s

    assert compile_s(4) == TWO_CORES.speed.compile_s
    assert compile_s(1) < compile_s(4) < compile_s(8) < compile_s(16) / 2 < compile_s(32) / 4
    assert compile_s(16) < compile_s(SCANNED_LAYERS) < compile_s(SCANNED_LAYERS - 1) < compile_s(4 * SCANNED_LAYERS)


def test_a_core_takes_slots_one_by_one_when_they_leave_its_cache_and_a_gpu_never():
    sweep_config = addition.get_config("laptop")
    sweep_config.sweep.width = (4, 32)

    def one_by_one(width, slots, kind):
        planned = sweep_of(sweep_config, Hardware(kind, 2, 2**34))
        (shape,) = (stack.shape for stack in planned.stacks if stack.shape.width == width)
        return cost.trains_one_by_one(shape, planned.task, slots, planned.hardware)

    assert not one_by_one(4, 6, "cpu")
    assert one_by_one(32, 2, "cpu")
    assert not one_by_one(32, 2, "Tesla T4")


def piece(batch_size: int, kind: str = "cpu", **sections) -> int:
    """Of the plan of a model of width 32 with four layers, on three-digit addition."""
    train = {"batch_size": batch_size, **sections.pop("train", {})}
    model = {"width": 32, "layers": 4, **sections.pop("model", {})}
    values = small.config(task={"digits": 3}, model=model, train=train, sweep={"budget": [100_000]})
    (plan,) = sweep_of(values, Hardware(kind, 2, 2**34)).plans
    assert plan.to_dict().get("piece", 0) == plan.piece
    return plan.piece


def test_a_core_takes_a_large_batch_in_pieces_that_divide_it():
    assert piece(512) == 64
    assert piece(480) == 60
    assert 32 <= piece(512, model={"width": 128}) < 64
    assert piece(16) == 0
    assert piece(509) == 0  # a prime


def test_only_a_mean_over_examples_goes_in_pieces_and_only_on_a_cpu():
    assert piece(512, kind="Tesla T4") == 0
    assert piece(512, train={"gradient_statistics": True}) == 0
    assert piece(512, model={"name": "moe"}) == 0
    assert piece(512, model={"name": "lstm"}) == 0


def test_the_laptop_study_takes_its_batches_whole(laptop):
    assert {plan.piece for plan in laptop.plans} == {0}


def test_pieces_are_what_memory_is_planned_for():
    large = small.config(model={"width": 64}, train={"batch_size": 4096}, sweep={"budget": [100_000]})
    (stack,) = sweep_of(large).stacks
    task = sweep_of(small.config()).task
    tight = Hardware("cpu", 1, accounting.activation_bytes(cost.model_shape(stack.shape, task), 4096))
    assert cost.slots_that_fit(stack.shape, task, tight) == 0
    assert cost.slots_that_fit(stack.shape, task, tight, piece=64) > 10
    assert cost.device_bytes(stack.shape, task, 10, tight, piece=64) < tight.memory_bytes
