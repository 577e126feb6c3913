import itertools
import re

import pytest

from tests.vsweep import small
from vsweep import tasks
from vsweep.config import sweep_config
from vsweep.config.problems import ConfigError
from vsweep.models import accounting
from vsweep.plan import cost, grid

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def stacks_of(**sections) -> tuple[grid.Stack, ...]:
    parsed = sweep_config.from_dict(small.config(**sections))
    return grid.build_stacks(parsed, tasks.build(parsed.task))


def runs_of(**sections) -> list[grid.Run]:
    return [run for stack in stacks_of(**sections) for run in stack.runs]


def test_the_runs_are_the_product_of_the_axes_each_once():
    axes = {"width": [4, 8], "budget": [700, 1400, 2800], "seed": [0, 1], "lr": [1e-3, 5e-3], "dropout": [0.0, 0.15]}
    found = [tuple(run.fields()[axis] for axis in axes) for run in runs_of(sweep=axes)]
    assert sorted(found) == sorted(itertools.product(*axes.values()))


def test_a_field_that_is_not_swept_has_its_configured_value_in_every_run():
    for run in runs_of(model={"layers": 3, "dropout": 0.25}, optimizer={"lr": 2e-3, "clip": 0.5}):
        assert (run.shape.layers, run.dropout, run.lr, run.clip) == (3, 0.25, 2e-3, 0.5)


def test_run_ids_say_the_swept_values_and_nothing_else():
    axes = {"width": [16], "budget": [125_000, 2_000_000, 2_000_001], "seed": [0], "lr": [5e-3]}
    assert [run.run_id for run in runs_of(sweep=axes)] == [
        "w16-d125k-s0-lr0.005",
        "w16-d2M-s0-lr0.005",
        "w16-d2000001-s0-lr0.005",
    ]


def test_one_run_without_axes_has_a_name_too():
    (stack,) = stacks_of(sweep={"width": [], "budget": [], "seed": []})
    assert FILE_NAME.fullmatch(stack.name)
    assert FILE_NAME.fullmatch(stack.runs[0].run_id)


def test_values_that_are_nearly_equal_never_share_a_run_id():
    """On a disk that does not tell capitals apart either; 1000 and 1001 both round to 1k."""
    near = (0, 1, 499, 500, 501)
    budgets = [base + off for base in (1000, 100_000, 125_000, 1_000_000, 1_234_567, 1_999_999_000) for off in near]
    axes = {
        "budget": sorted({*budgets, 999_999, 999_950, 1_000_500_000, 1_000_499_999}),
        "lr": [5e-3, 0.0050000005, 1e-5, 1.0, 10.0, 1e16],
        "clip": [1.0, 1.5],
        "seed": [0, 1000, 1001, 10_000, 1_000_000],
    }
    names = [run.run_id for run in runs_of(sweep=axes)]
    assert len({name.casefold() for name in names}) == len(names)
    assert all(FILE_NAME.fullmatch(name) for name in names)


@pytest.mark.parametrize("axis", [{"init_seed": [-1, 0]}, {"unique_examples": [0, "all there are"]}])
def test_two_values_that_mean_the_same_are_refused_or_told_apart(axis):
    """-1 is the run's seed and 0 every example: written out beside them, the same run is there twice."""
    there_are = tasks.build(sweep_config.from_dict(small.config()).task).train_examples
    axis = {name: [there_are if value == "all there are" else value for value in vs] for name, vs in axis.items()}
    refusal, names = "", []
    try:
        names = [run.run_id for run in runs_of(sweep={"seed": [0], "budget": [700], **axis})]
    except ConfigError as error:
        refusal = str(error)
    assert next(iter(axis)) in refusal or len(set(names)) == len(names) == 2


def test_stack_names_are_unique_and_safe_as_folders():
    axes = {"width": [4, 8], "layers": [1, 2], "schedule": ["cosine", "constant"], "batch_size": [8, 16]}
    names = [stack.name for stack in stacks_of(sweep={**axes, "tied_embeddings": [True, False]})]
    assert len({name.casefold() for name in names}) == len(names) == 32
    assert all(FILE_NAME.fullmatch(name) for name in names)


def test_a_random_stream_without_its_own_seed_takes_the_seed_of_the_run():
    for run in runs_of(sweep={"seed": [3, 5]}):
        assert run.init_seed == run.data_seed == run.dropout_seed == run.seed


def test_seeds_of_initialisation_data_and_dropout_are_axes_of_their_own():
    runs = runs_of(train={"dropout_seed": 9}, sweep={"seed": [3, 5], "data_seed": [0, 1], "budget": [700]})
    assert [(run.init_seed, run.data_seed, run.dropout_seed) for run in runs] == [
        (3, 0, 9),
        (3, 1, 9),
        (5, 0, 9),
        (5, 1, 9),
    ]


def test_unique_examples_are_resolved_to_all_there_are():
    parsed = sweep_config.from_dict(small.config(sweep={"unique_examples": [0, 100]}))
    task = tasks.build(parsed.task)
    runs = [run for stack in grid.build_stacks(parsed, task) for run in stack.runs]
    assert {run.unique_examples for run in runs} == {task.train_examples, 100}
    assert all(run.unique_examples == 100 for run in runs if run.run_id.endswith("unique_examples100"))


def test_a_stack_holds_one_shape_and_stacks_go_from_small_to_large():
    stacks = stacks_of(sweep={"width": [16, 4, 8], "layers": [2, 1], "seed": [0, 1]})
    assert len(stacks) == 6
    for stack in stacks:
        assert {run.shape for run in stack.runs} == {stack.shape}
    task = tasks.build(sweep_config.from_dict(small.config()).task)
    sizes = [accounting.params(cost.model_shape(stack.shape, task)) for stack in stacks]
    assert sizes == sorted(sizes)


def test_stacked_fields_do_not_split_a_stack_and_static_ones_do():
    stacked = {"seed": [0, 1], "lr": [1e-3, 2e-3], "warmup_steps": [0, 2], "clip": [1.0, 2.0], "dropout": [0.0, 0.1]}
    assert len(stacks_of(sweep={**stacked, "weight_decay": [0.0, 0.1], "budget": [700, 1400]})) == 1
    assert len(stacks_of(sweep={"precision": ["float32", "bfloat16"], "batch_size": [4, 8]})) == 4


def test_steps_are_the_number_of_batches_nearest_to_the_budget():
    task = tasks.build(sweep_config.from_dict(small.config()).task)
    for run in runs_of(sweep={"budget": list(range(700, 1400, 7)), "seed": [0]}):
        batch_tokens = run.shape.batch_size * task.mean_label_tokens
        miss = abs(run.steps * batch_tokens - run.budget)
        assert miss <= batch_tokens / 2
        assert all(miss <= abs(steps * batch_tokens - run.budget) for steps in (run.steps - 1, run.steps + 1))


def test_every_run_that_the_task_cannot_train_is_reported_at_once_and_once():
    axes = {
        "budget": [50, 2800],
        "warmup_steps": [0, 1000],
        "unique_examples": [0, 10**6],
        "seed": [0, 1],
        "lr": [1e-3, 5e-3],
    }
    with pytest.raises(ConfigError) as caught:
        stacks_of(sweep=axes)
    problems = caught.value.problems
    assert len(set(problems)) == len(problems)
    assert {problem.field for problem in problems} == {"budget", "warmup_steps", "unique_examples"}
    assert all(problem.got and problem.allowed for problem in problems)
    assert sum(problem.field == "unique_examples" for problem in problems) == 1
    assert any("got 50; allowed: from 67 tokens, one batch of 8 examples" in str(problem) for problem in problems)


def test_warmup_may_take_the_whole_stable_phase_of_the_smallest_wsd_run_and_no_more():
    optimizer, budgets = {"schedule": "wsd", "cooldown_fraction": 0.5}, {"budget": [2000, 4000], "seed": [0]}
    short = runs_of(optimizer=optimizer, sweep=budgets)[0]
    assert short.decay_start == short.steps - round(0.5 * short.steps)
    assert len(runs_of(optimizer=optimizer, sweep={**budgets, "warmup_steps": [short.decay_start]})) == 2
    with pytest.raises(ConfigError) as caught:
        runs_of(optimizer=optimizer, sweep={**budgets, "warmup_steps": [short.decay_start + 1]})
    (problem,) = caught.value.problems
    for part in (
        f"got {short.decay_start + 1}; allowed: at most {short.decay_start},",
        f"{short.steps} steps of budget 2,000",
        f"cooldown of {short.cooldown_steps} (cooldown_fraction 0.5)",
    ):
        assert part in str(problem)


def test_warmup_may_take_all_steps_but_one():
    (run,) = runs_of(sweep={"budget": [700], "seed": [0]})
    assert len(runs_of(sweep={"budget": [700], "seed": [0], "warmup_steps": [run.steps - 1]})) == 1
    with pytest.raises(ConfigError, match=rf"warmup_steps: .* got {run.steps}; allowed: below the {run.steps} steps"):
        runs_of(sweep={"budget": [700], "seed": [0], "warmup_steps": [run.steps]})


def test_run_ids_hold_what_a_stream_seed_and_all_examples_mean():
    axes = {"seed": [3], "init_seed": [-1, 5], "unique_examples": [0, 500], "budget": [700]}
    assert {run.run_id: run.unique_examples for run in runs_of(sweep=axes)} == {
        "d700-s3-init_seed3-unique_examples500": 500,
        "d700-s3-init_seed3-unique_examples9.009k": 9009,
        "d700-s3-init_seed5-unique_examples500": 500,
        "d700-s3-init_seed5-unique_examples9.009k": 9009,
    }
