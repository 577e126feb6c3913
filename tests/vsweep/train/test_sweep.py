import json
import shutil
import signal

import jax
import numpy as np
import pytest

import vsweep
from tests.vsweep import small
from vsweep import tasks
from vsweep.config import sweep_config
from vsweep.config.problems import ConfigError
from vsweep.host import devices
from vsweep.host.hardware import GPUS
from vsweep.plan import sweep_plan
from vsweep.plan.grid import build_stacks
from vsweep.storage.checkpoint import CheckpointFolder
from vsweep.storage.results import StackResults
from vsweep.storage.workdir import WorkDir
from vsweep.tables import read_curves, read_runs
from vsweep.tasks import data_order
from vsweep.train import dispatcher, rows
from vsweep.train.events import Boundary, Compiling, Finished, Interrupted, Planned
from vsweep.train.sweep import plan_sweep


@pytest.fixture(scope="module")
def runs(finished_sweep):
    return read_runs(finished_sweep)


def copy_of(workdir, tmp_path):
    return shutil.copytree(workdir, tmp_path / "copy")


def test_every_run_of_the_sweep_finishes_at_the_horizon_nearest_to_its_budget(runs):
    assert len(runs) == 6
    assert set(runs["status"]) == {"finished"}
    planned = {run.run_id: run.steps for stack in small.stacks(small.config()) for run in stack.runs}
    assert dict(zip(runs["run_id"], runs["steps"], strict=True)) == planned
    half_a_batch = 0.5 * 8 * small.sweep(small.config()).task.mean_label_tokens
    assert np.all(np.abs(runs["tokens"] - runs["budget"]) < half_a_batch + 0.02 * runs["budget"])


def test_tokens_are_the_exact_number_of_labels_in_the_examples_a_run_has_seen(runs):
    task = small.sweep(small.config()).task
    for run in small.stacks(small.config())[0].runs:
        seen = data_order.examples(run.data_seed, run.unique_examples, task.train_examples, 0, run.steps * 8)
        row = runs.set_index("run_id").loc[run.run_id]
        assert row["tokens"] == (task.train_tokens_NxS[seen][:, 1:] != task.pad).sum()
        assert row["flops_6nd"] == 6 * row["params"] * row["tokens"]
        assert row["unique_tokens"] <= row["tokens"]


def test_the_last_point_of_a_curve_is_the_final_result_of_its_run(finished_sweep, runs):
    curves = read_curves(finished_sweep)
    last = curves.groupby("run_id").last().loc[runs["run_id"]].reset_index()
    for column in ("steps", "tokens", "train_loss", "val_loss", "excess_loss", "answer_loss", "exact_match"):
        assert np.array_equal(last[column], runs[column])
    assert (curves.groupby("run_id").size() >= 4).all()
    assert set(last["eval_examples"]) == {64}


def test_losses_hang_together_as_their_definitions_say(runs):
    assert np.all(runs["val_loss"] > 0)
    assert np.allclose(runs["excess_loss"], runs["val_loss"] - runs["floor"], atol=0.1)
    assert np.all(runs["excess_loss_se"] < runs["val_loss"])
    assert np.all((runs["exact_match"] >= 0) & (runs["exact_match"] <= 1))


def test_training_lowers_the_loss_of_every_budget_and_larger_budgets_lower_it_further(finished_sweep, runs):
    curves = read_curves(finished_sweep).groupby("run_id")["val_loss"]
    assert (curves.last() < curves.first()).all()
    by_budget = runs.groupby("budget")["val_loss"].mean()
    assert by_budget.is_monotonic_decreasing


def test_runs_of_one_seed_share_initial_weights_and_the_prefix_of_their_data(finished_sweep):
    """After the first step, when all budgets still have the same learning rate, they are the same model."""
    curves = read_curves(finished_sweep).merge(read_runs(finished_sweep)[["run_id", "budget", "seed"]])
    first = curves[curves["steps"] == 1].pivot_table(index="seed", columns="budget", values="val_loss")
    assert (first.nunique(axis=1) == 1).all()
    assert (first.nunique(axis=0) == 2).all()


def test_a_sweep_compiles_three_programs_a_stack_and_no_more(tmp_path):
    with small.compilations() as compiled:
        small.train(small.config(sweep={"width": [4, 8], "seed": [0]}), tmp_path)
    assert len(compiled) == 2 * 3, compiled


def test_interrupted_again_and_again_equals_uninterrupted_bit_for_bit(interrupted_sweep, finished_sweep, tmp_path):
    workdir = copy_of(interrupted_sweep, tmp_path)
    for chunks in (1, 2, 3):
        events = small.train(small.config(), workdir, progress=small.StopAfter(chunks))
        assert isinstance(events[-1], Interrupted)
        assert "SIGTERM" in events[-1].reason
    assert isinstance(small.train(small.config(), workdir)[-1], Finished)
    assert small.differing(workdir, finished_sweep) == []


def test_a_wall_limit_that_is_over_before_the_first_chunk_trains_nothing_and_says_why(tmp_path):
    events = small.train(small.config(train={"max_wall_hours": 1e-9}), tmp_path)
    assert [type(event) for event in events] == [Planned, Interrupted]
    assert "max_wall_hours" in events[-1].reason
    assert set(read_runs(tmp_path)["status"]) == {"queued"}


def broken_rng(state):
    return state._replace(dropout_key=state.dropout_key + 1)


def broken_step(state):
    return state._replace(step=state.step + 1)


def broken_optimizer_count(state):
    def zero_counts(leaf):
        return np.zeros_like(leaf) if leaf.dtype == np.int32 else leaf

    return state._replace(opt_state=jax.tree.map(zero_counts, state.opt_state))


def broken_mask(state):
    return state._replace(diverged_at_step=np.zeros_like(state.diverged_at_step))


@pytest.mark.parametrize("harm", [broken_rng, broken_step, broken_optimizer_count, broken_mask])
def test_a_restored_state_that_is_broken_on_purpose_is_seen(harm, interrupted_sweep, finished_sweep, tmp_path):
    """The test that interrupted equals uninterrupted can fail: whatever is not restored changes the results."""
    workdir = copy_of(interrupted_sweep, tmp_path)
    folder = small.checkpoints_of(workdir)
    step = folder.latest()
    state = restored_state(folder, step)
    folder.save(step, harm(state), folder.records(step))
    small.train(small.config(), workdir)
    assert_results_differ(workdir, finished_sweep)


def test_a_data_order_that_starts_again_after_a_resume_is_seen(
    interrupted_sweep, finished_sweep, tmp_path, monkeypatch
):
    """Classic bug: the position in the data is not restored. Here it is no state, so the resume itself is harmed."""
    workdir = copy_of(interrupted_sweep, tmp_path)
    resumed_at = CheckpointFolder(workdir / "stacks" / "all" / "checkpoints").latest() * 8
    examples = data_order.examples

    def from_the_start(data_seed, unique, total, first, count):
        return examples(data_seed, unique, total, max(0, first - resumed_at), count)

    monkeypatch.setattr(dispatcher.data_order, "examples", from_the_start)
    small.train(small.config(), workdir)
    assert_results_differ(workdir, finished_sweep)


def assert_results_differ(workdir, expected):
    """The curves and the parameters of finished runs: that a state differs which was changed by hand says nothing."""
    differing = small.differing(workdir, expected)
    assert "curves.csv" in differing
    assert any("/finished/" in name for name in differing)


def test_a_restored_state_that_is_saved_again_unbroken_changes_nothing(interrupted_sweep, finished_sweep, tmp_path):
    """The control of the test above."""
    workdir = copy_of(interrupted_sweep, tmp_path)
    folder = small.checkpoints_of(workdir)
    step = folder.latest()
    folder.save(step, restored_state(folder, step), folder.records(step))
    small.train(small.config(), workdir)
    assert small.differing(workdir, finished_sweep) == []


def restored_state(folder, step):
    programs = small.Bench(small.config(), 4, devices.slots_mesh()).programs
    return jax.device_get(folder.restore(step, programs.state_struct))


def test_a_finished_sweep_run_again_says_so_at_once_and_trains_nothing(finished_sweep, tmp_path):
    workdir = copy_of(finished_sweep, tmp_path)
    before = small.finished_params(workdir)
    events = small.train(small.config(), workdir)
    assert [type(event) for event in events] == [Planned, Finished]
    assert small.same_bits(small.finished_params(workdir), before)
    assert small.differing(workdir, finished_sweep) == []


def test_the_directory_is_in_use_until_the_last_report_is_drawn(finished_sweep, tmp_path):
    """Its time is written to a table after that."""
    workdir = copy_of(finished_sweep, tmp_path)
    for event in vsweep.run_sweep(small.config(), workdir):
        if isinstance(event, Planned):
            continue
        assert isinstance(event, Finished)
        with pytest.raises(ConfigError, match="is in use by process"):
            small.train(small.config(), workdir)
    assert isinstance(small.train(small.config(), workdir)[-1], Finished)


def test_resume_from_a_read_only_directory_copies_it_and_goes_on(interrupted_sweep, finished_sweep, tmp_path):
    source = copy_of(interrupted_sweep, tmp_path)
    everything = sorted(source.rglob("*"))
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    contents = {path: path.read_bytes() for path in everything if path.is_file()}
    events = small.train(small.config(), tmp_path / "here", resume_from=source)
    assert isinstance(events[-1], Finished)
    assert small.differing(tmp_path / "here", finished_sweep) == []
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == contents


def test_a_changed_config_never_continues_an_old_sweep(interrupted_sweep, tmp_path):
    workdir = copy_of(interrupted_sweep, tmp_path)
    before = sorted(path for path in workdir.rglob("*"))
    with pytest.raises(ConfigError) as caught:
        small.train(small.config(model={"dropout": 0.3}), workdir)
    assert any("model.dropout" in line and "0.15" in line and "0.3" in line for line in str(caught.value).splitlines())
    assert sorted(workdir.rglob("*")) == before


def test_a_diverged_run_is_marked_with_its_step_and_the_others_finish(finished_sweep, tmp_path):
    values = small.config(sweep={"lr": [5e-3, 1e9], "seed": [0]})
    small.train(values, tmp_path)
    runs = read_runs(tmp_path).set_index("run_id")
    wild, calm = runs[runs["lr"] == 1e9], runs[runs["lr"] == 5e-3]
    assert set(wild["status"]) == {"diverged"}
    assert (wild["diverged_at_step"] > 0).all()
    assert wild["val_loss"].isna().all()
    assert set(calm["status"]) == {"finished"}
    alone = read_runs(finished_sweep).query("seed == 0")
    assert np.allclose(calm["val_loss"], alone["val_loss"], atol=1e-4)


def test_a_run_that_blows_up_in_its_last_update_is_diverged_and_not_finished(tmp_path):
    """No later step sees it, and the loss that led to it was fine."""
    small.train(small.config(sweep={"budget": [70], "seed": [0, 1]}, optimizer={"lr": 1e38}), tmp_path)
    runs = read_runs(tmp_path)
    assert set(runs["steps"] + runs["diverged_at_step"]) == {1}
    assert set(runs["status"]) == {"diverged"}


def test_a_plan_that_was_made_for_other_runs_is_never_followed(interrupted_sweep, tmp_path):
    other = small.config(train={"batch_size": 16})
    WorkDir(tmp_path / "here").write_config(sweep_config.from_dict(other))
    shutil.copy(interrupted_sweep / "plan.json", tmp_path / "here" / "plan.json")
    with pytest.raises(ConfigError, match="plans other runs"):
        small.train(other, tmp_path / "here")


def test_damaged_parameters_of_a_finished_run_are_named_before_anything_is_trained(finished_sweep, tmp_path):
    workdir = copy_of(finished_sweep, tmp_path)
    victim = max((workdir / "stacks" / "all" / "finished").rglob("d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    with pytest.raises(ConfigError, match=r"missing or damaged: d.*move .*stacks/all away"):
        small.train(small.config(), workdir)


def test_a_stop_asked_for_between_two_stacks_is_heeded_before_the_next_one_compiles(tmp_path):
    events = []
    for event in vsweep.run_sweep(small.config(sweep={"width": [4, 8], "budget": [700], "seed": [0]}), tmp_path):
        events.append(type(event))
        if isinstance(event, Boundary) and event.ends_stack:
            signal.raise_signal(signal.SIGTERM)
    assert events == [Planned, Compiling, Boundary, Interrupted]
    assert not (tmp_path / "stacks" / "w8").exists()


@pytest.mark.parametrize("slots", ["all", 2])
def test_another_number_of_slots_changes_only_rounding(slots, finished_sweep, runs, tmp_path):
    small.train(small.config(train={"slots": slots}), tmp_path)
    again = read_runs(tmp_path)
    assert np.array_equal(again["tokens"], runs["tokens"])
    assert np.allclose(again["val_loss"], runs["val_loss"], atol=1e-4)
    plans = json.loads((tmp_path / "plan.json").read_text())["stacks"]
    assert [stack["slots"] for stack in plans] == [6 if slots == "all" else 2]


def test_few_unique_examples_are_repeated_over_epochs(tmp_path):
    values = small.config(sweep={"unique_examples": [40], "budget": [2800], "seed": [0, 1]})
    small.train(values, tmp_path)
    runs = read_runs(tmp_path)
    assert np.allclose(runs["epochs"], runs["steps"] * 8 / 40)
    assert np.all(runs["unique_tokens"] < runs["tokens"] / 8)


def test_problems_of_the_config_and_of_the_task_come_in_one_list():
    with pytest.raises(ConfigError) as caught:
        plan_sweep(small.config(sweep={"budget": [3, 700]}, optimizer={"lr": -1.0}))
    text = str(caught.value)
    assert "optimizer.lr" in text
    assert "below one batch" in text


def test_the_device_gets_the_examples_of_each_run_in_its_own_order(tmp_path):
    values = small.config(sweep={"data_seed": [1, 2], "seed": [0], "budget": [1400]})
    sweep = small.sweep(values)
    assert [run.data_seed for run in build_stacks(sweep.config, sweep.task)[0].runs] == [1, 2]
    small.train(values, tmp_path)
    losses = read_runs(tmp_path)["train_loss"]
    assert losses.nunique() == 2


def test_products_at_auto_are_on_a_cpu_the_exact_ones(finished_sweep, tmp_path):
    small.train(small.config(train={"matmul_precision": "auto"}), tmp_path)
    assert small.differing(tmp_path, finished_sweep) == []
    assert (tmp_path / "curves.csv").read_bytes() == (finished_sweep / "curves.csv").read_bytes()
    assert set(read_runs(tmp_path)["matmul_precision"]) == {"highest"}


def test_a_run_says_in_which_precision_it_was_trained_wherever_the_sweep_goes_on():
    parsed = sweep_config.from_dict(small.config(train={"matmul_precision": "auto"}))
    sweep = sweep_plan.build_plan(parsed, tasks.build(parsed.task), GPUS["A100-40GB"])
    (stack,) = sweep.stacks
    results, ((_, counter),) = StackResults.empty(stack), rows.counters(sweep)
    first = stack.runs[0].run_id
    results.runs[first].matmul_precision = "highest"  # on another card, before
    told = {row["run_id"]: row["matmul_precision"] for row in rows.run_rows(sweep, stack, results, counter)}
    assert told == {run.run_id: "highest" if run.run_id == first else "tensorfloat32" for run in stack.runs}
