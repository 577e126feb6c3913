"""The speed benchmarks at their smallest: everybody trains the same models, and who cheats or is absent is named."""

import dataclasses
import importlib.util
import json
import math

import pandas as pd
import pytest

from benchmarks import common, growth, growth_of_analysis, slots
from benchmarks.stack import contestants as who
from benchmarks.stack import figure, floor, goals
from benchmarks.stack.__main__ import in_words, settings_of, write
from benchmarks.stack.__main__ import parse as parse_stack
from benchmarks.stack.contestants import LANES
from benchmarks.stack.problem import Problem, weights_of
from benchmarks.stack.run import CPU, GPU, Agreement, run
from benchmarks.stack.table import COLUMNS, table_of
from benchmarks.stack.worker import Learned, LocalTeam, ProcessTeam, Worker, WorkerFailed

TINY = Problem(width=4, layers=1, digits=1, batch_size=8, held_out=8, peak_side=16)
SETTINGS = dataclasses.replace(
    GPU,
    platform="cpu",
    cores=2,
    widths=(4,),
    stack_widths=(4,),
    stack_sizes=(2,),
    reference=2,
    kinds=(who.VSWEEP, who.JAX_LOOP, who.TURBANET, who.PRODUCTS, who.PEAK),
    rounds=2,
    target_s=0.001,
    problem=TINY,
)


@pytest.fixture(scope="module")
def found():
    """A run of a GPU's kind, contestants compiling in waves, on what is here."""
    return run(SETTINGS, LocalTeam)


@pytest.fixture(scope="module")
def table(found):
    return table_of(found)


def test_all_contestants_reach_the_same_losses_from_the_same_weights_and_batches(found):
    assert set(found.agreement.learned) == {"vsweep", "JAX loop", "turbanet"} - set(found.absent)
    assert found.agreement.differences["JAX loop"] < 1e-5
    assert found.agreement.complaints == []


def agreement(**after: list[float]) -> Agreement:
    """vsweep's two models, and one of each of the others, after a beginning at the same losses."""
    others = {name: Learned([2.0], losses) for name, losses in after.items()}
    return Agreement(4, {"vsweep": Learned([2.0, 2.1], [1.0, 1.1]), **others})


def test_a_contestant_that_trains_less_is_complained_about():
    assert agreement(peer=[1.0009]).complaints == []
    (complaint,) = agreement(peer=[1.002]).complaints
    assert complaint == "peer: losses differ from vsweep's by 0.002 of them, more than 0.001"


@pytest.mark.parametrize("after", [2.0, math.nan])
def test_a_contestant_that_learns_nothing_is_complained_about(after):
    _, complaint = agreement(peer=[after]).complaints
    assert complaint == f"peer: has not learned, its loss went from 2 to {after:.4g}"


def test_ratios_are_to_the_reference_stack_of_the_same_run(table):
    rows = table.set_index("contestant")
    assert rows.vsweep_ratio["vsweep, K = 2"] == 1
    alone, stack = rows.loc["JAX loop"], rows.loc["vsweep, K = 2"]
    assert alone.vsweep_ratio == pytest.approx(stack.run_tokens_s / alone.run_tokens_s)
    assert (alone.models, stack.models) == (1, 2)


@pytest.mark.slow
def test_a_stack_of_one_and_a_stack_in_bfloat16_are_compared_with_the_reference():
    settings = dataclasses.replace(SETTINGS, kinds=(who.VSWEEP, who.BF16), stack_sizes=(1, 2))
    rows = table_of(run(settings, LocalTeam)).set_index("contestant")
    assert rows.models.to_dict() == {"vsweep, K = 1": 1, "vsweep, K = 2": 2, "vsweep, bfloat16, K = 2": 2}
    assert (rows.vsweep_ratio > 0).all()


def test_tokens_and_milliseconds_tell_the_same_time(table):
    tokens_a_step = 8 * TINY.task.mean_label_tokens
    assert (table.run_tokens_s * table.ms_model_step / 1e3).tolist() == pytest.approx([tokens_a_step] * len(table))
    assert (table.ms_fastest <= table.ms_model_step).all()
    assert (table.ms_model_step <= table.ms_slowest).all()
    assert (table.rounds == 2).all()


def test_a_floor_is_the_counted_flops_at_the_measured_peak(found, table):
    (peak,) = [one for one in found.measured if one.entry.kind == who.PEAK]
    rate = peak.built.flops / common.median(list(peak.seconds))
    row = table[table.kind == who.JAX_LOOP].iloc[0]
    assert row.floor_ratio == pytest.approx(1e-3 * row.ms_model_step * rate / floor.model_step_flops(TINY))
    assert row.share_of_peak == pytest.approx(1 / row.floor_ratio)


def test_results_say_where_they_were_measured_and_read_back(found, table, tmp_path):
    write(found, table, tmp_path)
    read = json.loads((tmp_path / "stack.json").read_text())
    assert {"cpu", "cores", "device", "date", "versions", "goals", "differences", "rows"} < set(read)
    assert pd.read_csv(tmp_path / "stack.csv").columns.tolist() == list(COLUMNS)
    assert (tmp_path / "stack.png").stat().st_size > 10_000
    assert "losses after 20 steps at width 4 agree" in in_words(found, table)


def test_a_contestant_that_is_not_installed_is_named_and_left_out(found, table):
    missing = dataclasses.replace(LANES[who.TURBANET], package="no_such_package").missing()
    assert missing == "not installed: pip install no_such_package"
    installed = importlib.util.find_spec("turbanet") is not None
    assert ("turbanet" in found.absent) is not installed
    assert (who.TURBANET in set(table.kind)) is installed


def test_a_worker_process_times_its_contestant_and_tells_its_errors():
    team = ProcessTeam(LANES[who.PRODUCTS], "cpu", cores=2)
    try:
        team.ask("build", "products", TINY, 1)
        assert team.built().models == 2  # one on each core
        assert team.train("products", 3) > 0
        with pytest.raises(WorkerFailed, match="KeyError: 'nobody'"):
            team.train("nobody", 3)
    finally:
        team.close()


def test_a_stack_beyond_the_plans_memory_is_refused_and_not_tried():
    too_big = dataclasses.replace(TINY, width=2**17, horizon=1)
    assert Worker(who.VSWEEP, 2).build("big", too_big, 1).refused == "the plan's cut by memory is 0 slots here"


def test_other_names_in_the_models_parameters_are_answered_with_what_is_there():
    with pytest.raises(KeyError, match="no 'embed' among vsweep's parameters \\['embedding'\\]"):
        weights_of({"embedding": 1}, layers=1)


def test_published_peaks_are_found_by_the_longest_name_that_fits():
    assert floor.published_peak("NVIDIA H100 80GB HBM3", "tensorfloat32") == 494.5e12
    assert floor.published_peak("NVIDIA H100 PCIe", "highest") == 51e12
    assert floor.published_peak("Tesla T4", "bfloat16") is None
    assert floor.published_peak("cpu", "highest") is None


def rows_of(kind: str, models: int, times_ms: dict[int, float], ratio: float | None = None) -> pd.DataFrame:
    rows = [
        {"width": width, "kind": kind, "models": models, "ms_model_step": ms, "vsweep_ratio": ratio, "floor_ratio": 1.8}
        for width, ms in times_ms.items()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def test_goals_are_judged_at_their_worst_width():
    ours = rows_of(who.VSWEEP, 8, {32: 1.0, 64: 2.0, 128: 9.0}, 1.0)
    eager = pd.concat([rows_of(who.TORCH, 1, {32: 4.5}, 4.5), rows_of(who.TORCH, 1, {16: 3.0, 64: 7.0}, 3.5)])
    judged = {
        goal.text: goal.holds for goal in goals.goals(pd.concat([ours, eager], ignore_index=True), "cpu", 8, "cpu")
    }
    assert judged == {
        "vsweep is at least 4x torch at width 16, 32, worst at 16": False,
        "vsweep is at least 3x torch at width 64, worst at 64": True,
        "a model-step at width 64 within 2x its matmul floor": True,
        "a model-step at width 128 within 1.6x its matmul floor": False,
    }


def test_on_a_gpu_a_stack_for_the_price_of_one_and_the_full_study_are_judged():
    one, stack = rows_of(who.VSWEEP, 1, {8: 1.5, 64: 1.5}), rows_of(who.VSWEEP, 15, {8: 0.1, 64: 0.15})
    six = rows_of(who.SMALL_BATCH, 6, {4: 0.2, 256: 0.2})
    stack_goal, full_goal = goals.goals(pd.concat([one, stack, six]), "gpu", 15, "NVIDIA H100 80GB HBM3")
    assert stack_goal.measured == pytest.approx(1.5)
    assert stack_goal.holds
    # 20 stacks of 32M + 3 x (16M + 8M + ...) tokens in six slots, 1.2 ms a step
    assert full_goal.measured == pytest.approx(20 * 1.2e-3 * 22_900 / 3600, rel=0.15)
    assert full_goal.holds == (full_goal.measured < 1)


def test_without_two_widths_the_full_study_is_not_projected():
    assert goals.full_hours(rows_of(who.SMALL_BATCH, 6, {64: 0.2})) is None


def clocked(name: str, calls: list, step_s: float) -> common.Clocked:
    return common.Clocked(lambda steps: calls.append((name, steps)) or step_s * steps, step_s, quantum=2)


def test_slow_rounds_fall_on_all_contestants_alike():
    calls = []
    contestants = {name: clocked(name, calls, 0.5) for name in ("a", "b")}
    assert common.interleaved(contestants, rounds=2, target_s=4.0) == {"a": [0.5, 0.5], "b": [0.5, 0.5]}
    assert calls == [("a", 2), ("b", 2), ("a", 8), ("b", 8), ("b", 8), ("a", 8)]


def test_what_was_slow_only_while_others_compiled_is_measured_for_as_long_as_the_others():
    calls = []
    hasty = dataclasses.replace(clocked("a", calls, 0.5), step_s=1.5)
    common.interleaved({"a": hasty}, rounds=1, target_s=4.0)
    assert calls == [("a", 2), ("a", 8)]


def test_a_contestant_whose_step_takes_seconds_is_measured_less_often():
    calls = []
    times = common.interleaved({"slow": clocked("slow", calls, 9.0)}, rounds=5, target_s=1.0)
    assert times == {"slow": [9.0] * 3}


def test_flags_change_what_is_measured_and_unknown_contestants_are_refused(capsys):
    settings = settings_of(parse_stack(["--widths", "8,16", "--stack-sizes", "1,4", "--contestants", "vsweep,jax"]))
    labels = [entry.label for entry in settings.entries(16)]
    assert labels == ["vsweep, K = 1", "vsweep, K = 4", "JAX loop"]
    assert [entry.models for entry in CPU.entries(12) if entry.kind == who.VSWEEP] == [8]
    with pytest.raises(SystemExit):
        parse_stack(["--contestants", "vsweep,jaxx"])
    assert "unknown: jaxx; allowed: vsweep, jax" in capsys.readouterr().err


def test_growth_of_analysis_is_drawn_against_rows(tmp_path):
    grid = growth_of_analysis.Grid(4, 3, 2)
    planted = grid.planted
    assert (len(planted.widths) * len(planted.budgets) * len(planted.seeds), planted.evaluations) == (grid.runs, 40)
    assert max(planted.budgets) == pytest.approx(500 * min(planted.budgets), rel=1e-4)
    size = {"wall_s": 1.0, "page_mb": 1.0}
    rows = [
        {**size, "runs": n, "rows": 40 * n, "bootstrap": r, "cpu_s": 1 + n * r, "memory_mb": 200 + n}
        for n in (24, 90)
        for r in (0, 400)
    ]
    table = pd.DataFrame(rows)[growth_of_analysis.COLUMNS]
    drawing = growth_of_analysis.figure_of(table, "somewhere")
    assert [len(line.get_xdata()) for line in drawing.figure.axes[0].lines] == [2, 2]
    common.write("growth_of_analysis", table, {}, drawing, tmp_path)
    assert json.loads((tmp_path / "growth_of_analysis.json").read_text())["rows"][0]["runs"] == 24


def test_growth_measures_a_point_of_each_panel_and_draws_it(tmp_path):
    settings = growth.Settings(
        models=(2,), models_widths=(4,), widths=(4,), stack=2, width=4, budgets=(2,), rounds=1, problem=TINY
    )
    measured = growth.measure(dataclasses.replace(settings, target_s=0.001))
    assert measured.panel.tolist() == ["models", "width", "budget", "devices", "devices"]
    assert measured.devices.tolist() == [2, 2, 2, 1, 2]
    assert (measured.seconds > 0).all()
    models = measured.iloc[0]
    assert models.memory_bytes > 2 * 3 * 4 * 100  # at least its state
    assert models.cut_slots > 1
    common.write("growth", measured, {}, growth.figure_of(measured, settings, "somewhere"), tmp_path)
    assert (tmp_path / "growth.png").stat().st_size > 10_000


SMALL_SWEEP = slots.Settings(
    widths=(4,),
    choices=("packed", "2"),
    budgets=(100, 200),
    rounds=1,
    overrides={
        "task": {"digits": 1, "validation_examples": 8},
        "model": {"layers": 1},
        "train": {"batch_size": 8, "curve_examples": 8, "final_examples": 8, "curve_points": 2},
        "sweep": {"seed": (0,)},
    },
)


def test_choices_of_slots_that_come_to_the_same_number_are_trained_once():
    measured = slots.measure(SMALL_SWEEP)
    assert measured[["slots", "choices"]].to_numpy().tolist() == [[2, "packed 2"]]
    assert measured.train_s[0] > 0
    assert measured.above_best[0] == 0


def test_a_default_that_is_dearer_than_another_number_is_complained_about(tmp_path):
    measured = pd.DataFrame(
        {
            "width": [8, 8],
            "slots": [4, 6],
            "choices": ["4", "packed 6"],
            "train_s": [1.0, 1.06],
            "above_best": [0, 0.06],
        }
    )
    assert slots.complaints(measured) == ["width 8: the default, 6 slots, costs 6.0% more than the best number"]
    assert slots.complaints(measured.assign(above_best=[0, 0.04])) == []
    common.write("slots", measured, {}, slots.figure_of(measured, "somewhere"), tmp_path)
    assert (tmp_path / "slots.csv").exists()


def test_the_figure_stands_without_any_measured_contestant_but_vsweep():
    drawing = figure.figure_of(rows_of(who.VSWEEP, 8, {8: 1.0, 16: 2.0}).assign(run_tokens_s=1e5), 8, "here", "stack")
    assert "K = 8" in drawing.figure.axes[0].get_legend_handles_labels()[1][0]
