"""Designs of runs: which runs there are, and what each of them is given."""

import numpy as np
import pytest

from configs import addition
from tests.vsweep import small
from vsweep import tasks
from vsweep.config import sweep_config
from vsweep.config.problems import ConfigError
from vsweep.host.hardware import Hardware
from vsweep.models import accounting
from vsweep.plan import cost, generations, grid
from vsweep.plan.sweep_plan import build_plan
from vsweep.train.rows import TokenCounter

SHAPES = {"width": [4, 8, 16], "seed": [0], "budget": []}


def sections(sweep: dict, **others) -> dict:
    values = small.config(**others)
    values["sweep"] = sweep
    return values


def runs_of(sweep: dict, **others) -> list[grid.Run]:
    parsed = sweep_config.from_dict(sections(sweep, **others))
    return [run for stack in grid.build_stacks(parsed, tasks.build(parsed.task)) for run in stack.runs]


def problems_of(sweep: dict, **others) -> str:
    with pytest.raises(ConfigError) as caught:
        runs_of(sweep, **others)
    return str(caught.value)


def task_of(**others):
    return tasks.build(sweep_config.from_dict(small.config(**others)).task)


def batch_tokens(run: grid.Run) -> float:
    return run.shape.batch_size * task_of().mean_label_tokens


@pytest.mark.parametrize("convention", ["6nd", "6nd_non_embedding", "counted"])
def test_each_run_of_an_isoflop_design_costs_its_compute(convention):
    levels = [1e7, 3e7, 1e8]
    runs = runs_of({**SHAPES, "flops": levels, "flops_convention": convention})
    assert sorted(run.isoflop for run in runs) == sorted(levels * 3)
    for run in runs:
        shape = cost.model_shape(run.shape, task_of())
        tokens = run.steps * batch_tokens(run)
        per_token = {
            "6nd": 6 * accounting.params(shape),
            "6nd_non_embedding": 6 * accounting.params_non_embedding(shape),
            "counted": accounting.flops_counted_per_example(shape) / task_of().mean_label_tokens,
        }[convention]
        assert abs(per_token * tokens - run.isoflop) <= per_token * batch_tokens(run) / 2
        assert abs(run.budget - tokens) <= 0.5


def test_run_ids_of_an_isoflop_design_hold_its_compute():
    runs = runs_of({"width": [4, 8], "flops": [1e8, 2.5e8], "seed": [0]})
    assert [run.run_id for run in runs] == ["w4-c1e8-s0", "w4-c2.5e8-s0", "w8-c1e8-s0", "w8-c2.5e8-s0"]


def test_a_size_below_one_batch_is_refused_by_name():
    told = problems_of({"width": [4, 16], "flops": [1e6, 1e7], "seed": [0]})
    assert told.startswith("budget: below one batch, rounded to 1 step - got 47 of w16-c1e6-s0; allowed: from")
    assert len(told.splitlines()) == 1


def test_a_size_over_max_epochs_is_refused():
    told = problems_of({"width": [4], "flops": [1e9]}, train={"max_epochs": 2})
    assert "budget: more epochs than train.max_epochs" in told


def test_a_budget_beyond_the_largest_one_is_refused():
    assert "train.budget: not a valid value" in problems_of({"width": [4], "flops": [1e15]})


def test_runs_outside_the_bounds_are_left_out_and_counted():
    sweep = {**SHAPES, "flops": [1e6, 1e7, 1e8], "tokens_per_param_bounds": [1, 40]}
    parsed = sweep_config.from_dict(sections(sweep))
    task = tasks.build(parsed.task)
    runs = [run for stack in grid.build_stacks(parsed, task) for run in stack.runs]
    ratios = {run.run_id: run.budget / accounting.params(cost.model_shape(run.shape, task)) for run in runs}
    assert all(0.9 < ratio < 41 for ratio in ratios.values())
    out = grid.left_out(parsed, task)
    assert len(out) + len(runs) == 9
    assert "w4-c1e8-s0" in out
    note = f"note: {len(out)} of 9 runs are left out by sweep.tokens_per_param_bounds = 1 to 40: "
    assert build_plan(parsed, task, Hardware("cpu", 1, 2**34)).notes[0].startswith(note)


def test_what_bounds_leave_out_of_an_extended_sweep_is_counted_in_its_last_config():
    swept = {**SHAPES, "flops": [1e6, 1e7], "tokens_per_param_bounds": [1, 40]}
    configs = [sweep_config.from_dict(sections({**swept, "flops": levels})) for levels in ([1e6, 1e7], [1e7, 1e8])]
    task, hardware, parts = tasks.build(configs[0].task), Hardware("cpu", 1, 2**34), []
    for number, config in enumerate(configs, 1):
        stacks = generations.new_stacks(config, number, parts, set(), task)
        parts.append(generations.part(config, task, hardware, stacks, {}))
    extended, alone = generations.together(parts), build_plan(configs[1], task, hardware)
    assert extended.runs > alone.runs
    assert extended.notes[0] == alone.notes[0]


def test_bounds_that_leave_nothing_are_refused():
    told = problems_of({**SHAPES, "flops": [1e8], "tokens_per_param_bounds": [1e6, 1e7]})
    assert told.startswith("sweep.tokens_per_param_bounds: no run is left - got (1000000.0, 10000000.0)")


def test_tokens_per_parameter_give_the_budget():
    for run in runs_of({**SHAPES, "tokens_per_param": [5, 20]}):
        params = accounting.params(cost.model_shape(run.shape, task_of()))
        ratio = 20 if "tpp20" in run.run_id else 5
        assert abs(run.budget - ratio * params) <= batch_tokens(run) / 2 + 0.5


def test_paired_axes_go_together_and_the_others_are_crossed():
    axes = {"width": [4, 8], "layers": [2, 1], "lr": [0.1, 0.2], "seed": [0, 1], "budget": [700]}
    runs = runs_of({**axes, "paired": [["width", "lr"], ["width", "layers"]]})
    values = sorted((run.shape.width, run.shape.layers, run.lr, run.seed) for run in runs)
    assert values == [(4, 2, 0.1, 0), (4, 2, 0.1, 1), (8, 1, 0.2, 0), (8, 1, 0.2, 1)]


def test_a_paired_axis_may_hold_a_value_twice():
    runs = runs_of({"width": [4, 4, 8], "layers": [1, 2, 2], "budget": [700], "paired": ["width,layers"]})
    assert [run.run_id for run in runs] == ["w4-l1-d700", "w4-l2-d700", "w8-l2-d700"]


@pytest.mark.parametrize(
    ("sweep", "told"),
    [
        ({"width": [4, 8], "lr": [0.1]}, "axes of different lengths - got width 2, lr 1"),
        ({"width": [4, 4], "lr": [0.1, 0.1]}, "the same values twice - got (4, 0.1) of width, lr"),
        ({"width": [4, 8]}, "no axis of this sweep - got 'lr'; allowed: width"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(sweep, told):
    assert told in problems_of({**sweep, "budget": [700], "paired": [["width", "lr"]]})


def test_a_pair_without_a_partner_is_refused():
    assert "no groups of axes" in problems_of({"width": [4], "paired": [["width"]]})
    assert "no groups of axes" in problems_of({"width": [4], "paired": 3})


def test_formulas_are_computed_for_each_run():
    sweep = {"width": [4, 8], "lr": ["0.1 / width", "0.3 / width"]}
    for run in runs_of(sweep, train={"budget": "20 * params"}, optimizer={"warmup_steps": "round(0.1 * steps)"}):
        params = accounting.params(cost.model_shape(run.shape, task_of()))
        assert run.budget == 20 * params
        assert run.warmup_steps == round(0.1 * run.steps) > 0
        assert run.lr in (0.1 / run.shape.width, 0.3 / run.shape.width)
        assert f"lr{run.lr}" in run.run_id


def test_formulas_may_fix_the_shape():
    runs = runs_of({"width": [4, 8], "budget": [700]}, model={"layers": "width / 4", "head_dim": "width // 2"})
    assert [(run.shape.layers, run.shape.head_dim) for run in runs] == [(1, 2), (2, 4)]
    told = problems_of({"width": [4, 6], "budget": [700]}, model={"layers": "width / 4", "head_dim": 2})
    assert told == "model.layers: not a valid value - got 1.5; allowed: an integer from 1 to 2147483647"


def test_a_formula_of_an_optional_axis_has_a_column():
    runs = runs_of({"budget": [700], "lr": [0.1, 0.2], "beta1": ["1 - lr"]})
    assert [dict(run.options) for run in runs] == [{"beta1": 0.9}, {"beta1": 0.8}]


@pytest.mark.parametrize(
    ("optimizer", "told"),
    [
        (
            {"lr": "1 / (width - 4)"},
            "optimizer.lr: a formula has no value (float division by zero) - got 1 / (width - 4)",
        ),
        ({"lr": "width - 4"}, "optimizer.lr: not a valid value - got width - 4 = 0 at width 4"),
        ({"warmup_steps": "width / 8"}, "optimizer.warmup_steps: not a valid value - got width / 8 = 0.5 at width 4"),
        ({"warmup_steps": "9 ** 9 ** 9"}, "optimizer.warmup_steps: a formula has no value"),
    ],
)
def test_a_formula_without_a_good_value_names_the_run(optimizer, told):
    assert problems_of({"width": [4, 8], "budget": [700]}, optimizer=optimizer).splitlines()[0].startswith(told)


def test_formulas_that_give_one_value_are_the_same_run():
    told = problems_of({"budget": [700], "lr": ["0.1", "width / 40"]})
    assert "sweep.lr: not a valid value - got '0.1'" in told
    told = problems_of({"budget": [700], "lr": [0.1, "width / 40"]})
    assert told.startswith("sweep: two values of an axis mean the same run")


def test_explicit_runs_are_crossed_with_the_axes():
    rows = [{"width": 8, "lr": 0.1, "budget": 1400}, {"width": 4, "lr": "0.1 / width", "budget": 700}]
    runs = runs_of({"runs_csv": rows, "seed": [0, 1]})
    assert [run.run_id for run in runs] == [
        "w4-d700-s0-lr0.025",
        "w4-d700-s1-lr0.025",
        "w8-d1.4k-s0-lr0.1",
        "w8-d1.4k-s1-lr0.1",
    ]


def test_explicit_runs_may_have_compute_and_optional_fields():
    rows = [{"width": 4, "flops": 1e7, "beta1": 0.8}, {"width": 8, "flops": 2e7, "beta1": 0.9}]
    runs = runs_of({"runs_csv": rows})
    assert [(run.isoflop, dict(run.options)) for run in runs] == [(1e7, {"beta1": 0.8}), (2e7, {"beta1": 0.9})]


def test_points_in_a_box_are_crossed_and_numbered():
    sweep = {"width": [4, 8], "budget": [700], "random": {"lr": [1e-3, 0.1, "log"], "beta1": [0.8, 0.99]}}
    few, many = (runs_of({**sweep, "random_points": count}) for count in (3, 6))
    assert [run.run_id for run in few] == [f"w{width}-d700-p{point}" for width in (4, 8) for point in range(3)]
    assert len({run.lr for run in few}) == len({run.options for run in few}) == 3
    later = {run.run_id: (run.lr, run.options) for run in many}
    assert {run.run_id: (run.lr, run.options) for run in few}.items() <= later.items()


def test_layers_follow_from_the_aspect_ratio():
    shapes = {
        (run.shape.width, run.shape.layers) for run in runs_of({"width": [4, 8, 16, 40], "aspect_ratio": [8, 16]})
    }
    assert shapes == {(width, max(1, round(width / ratio))) for width in (4, 8, 16, 40) for ratio in (8, 16)}
    (run,) = runs_of({}, model={"aspect_ratio": 2, "width": 8, "layers": 4})
    assert run.shape.layers == 4


@pytest.mark.parametrize(
    "sweep",
    [
        {"budget": [700], "flops": [1e7]},
        {"flops": [1e7], "tokens_per_param": [5]},
        {"budget": [700], "runs_csv": [{"flops": 1e7}]},
        {"flops": [1e7], "random": {"budget": [700, 1400]}, "random_points": 2},
        {"layers": [1, 2], "aspect_ratio": [4]},
    ],
)
def test_a_field_that_is_given_twice_is_refused(sweep):
    assert "given more than once" in problems_of(sweep)


@pytest.mark.parametrize(
    "sweep", [{"flops_convention": "counted"}, {"random_points": 3}, {"random_seed": 1}, {"random_method": "uniform"}]
)
def test_an_option_that_nothing_uses_is_refused(sweep):
    assert "nothing uses it" in problems_of(sweep)


def test_bounds_are_two_numbers():
    assert "no bounds" in problems_of({"tokens_per_param_bounds": [3]})
    assert "no bounds" in problems_of({"tokens_per_param_bounds": [3, 2]})


def test_a_sweep_without_a_design_is_what_it_was():
    config = sweep_config.from_dict(small.config())
    assert set(config.to_dict()["sweep"]) == {"budget", "seed"}
    assert "aspect_ratio" not in config.to_dict()["model"]
    assert config.added_columns == ()
    old = config.to_dict()
    assert sweep_config.differences(old, {**old, "model": {**old["model"], "aspect_ratio": 0.0}}) == []


def test_mean_tokens_are_near_the_exact_ones():
    """The budget is of mean label tokens; those of a run differ by less than half a batch here."""
    task = task_of()
    labels = (task.train_tokens_NxS[:, 1:] != task.pad).sum(axis=1)
    assert np.mean(labels) == pytest.approx(task.mean_label_tokens, rel=0.01)


def test_every_run_of_the_isoflop_study_is_within_a_batch_of_its_compute():
    """By the exact tokens of its own order of examples, and not by their mean."""
    parsed = sweep_config.from_dict(addition.get_config("isoflop"))
    task = tasks.build(parsed.task)
    counter = TokenCounter(build_plan(parsed, task, Hardware("cpu", 2, 2**34)))
    runs = [run for stack in grid.build_stacks(parsed, task) for run in stack.runs]
    for run in runs:
        per_token = 6 * accounting.params(cost.model_shape(run.shape, task))
        tokens = counter.by_step(run)[run.steps]
        assert abs(per_token * tokens - run.isoflop) <= per_token * run.shape.batch_size * task.mean_label_tokens
    sizes = {level: {run.shape.width for run in runs if run.isoflop == level} for level in parsed.design.flops}
    assert len(sizes) >= 4
    assert all(len(widths) >= 5 for widths in sizes.values())
