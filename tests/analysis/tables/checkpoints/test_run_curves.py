"""Several rows of one run: which table has them, what is fitted, and what is asked."""

import numpy as np
import pandas as pd
import pytest

from tests.analysis.tables.logs import LAW, A, finals, log_of, logs
from vsweep.analysis import __main__ as program
from vsweep.analysis import pipeline
from vsweep.analysis.approaches import compute_frontier, envelope, parametric
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import select
from vsweep.analysis.data.source import OWN_FLOPS, Convention
from vsweep.analysis.tables.foreign_tables import BadTable

LOGS = logs()
RUNS = LOGS["run_id"].nunique()


def points_of(table, **options):
    return select(load(table, **options), Convention("loss"))


def refusal(table, **options) -> str:
    with pytest.raises(BadTable) as error:
        load(table, **options)
    return str(error.value)


def test_last_row_of_each_run_is_fitted():
    source = load(LOGS)
    end = finals(LOGS)
    assert source.runs["run_id"].tolist() == end["run_id"].tolist()
    np.testing.assert_array_equal(source.runs[["params", "tokens", "loss"]], end[["N", "tokens", "loss"]])
    assert parametric.fit(*points_of(LOGS).law_columns).law.a == pytest.approx(A, abs=1e-3)


def test_all_rows_of_a_run_are_its_curve():
    curves = load(LOGS).curves
    assert list(curves) == ["run_id", "steps", "tokens", "flops_6nd", "flops_counted", "loss"]
    for name, column in {"run_id": "run_id", "steps": "step", "tokens": "tokens", "loss": "loss"}.items():
        assert curves[name].tolist() == LOGS[column].tolist()
    np.testing.assert_allclose(curves["flops_6nd"], 6 * LOGS["N"] * LOGS["tokens"], rtol=1e-12)


def test_note_says_what_was_done():
    (note,) = [note for note in load(LOGS).notes if "of one run" in note]
    assert f"by the column run_id: {RUNS} runs with {len(LOGS)} evaluations" in note
    assert "--column run=none" in note


def test_envelope_and_line_use_the_curves():
    points = points_of(LOGS)
    fitted = envelope.fit(points)
    assert "values of C on the envelope" in fitted.note
    assert fitted.a == pytest.approx(A, abs=0.06)
    assert len(envelope.curve_points(points, annealed_only=False)) > RUNS
    assert isinstance(compute_frontier.of_curves(points, floor=LAW.E), compute_frontier.ComputeLine)


def test_whole_analysis_of_a_log_has_an_envelope(tmp_path):
    logs(LOGS["N"].unique()[::2], (5.0, 40.0, 320.0)).to_csv(tmp_path / "log.csv", index=False)
    result = pipeline.analyse(tmp_path / "log.csv", tmp_path / "out", bootstrap=0)
    (drawing,) = [drawing for drawing in result.drawings if drawing.name == "loss_curves"]
    assert drawing.caption.startswith("12 loss curves")
    assert "The table holds 12 points" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_plain_grid_is_never_taken_for_curves():
    grid = finals(LOGS)[["N", "tokens", "loss"]]
    for table in (
        grid,
        grid.assign(seed=0),
        grid.assign(steps=grid["tokens"] / 1e5),
        grid.assign(run=range(len(grid))),
    ):
        source = load(table)
        assert (len(source.runs), source.curves, source.warnings) == (len(grid), None, ())


def test_number_of_a_repetition_is_no_run():
    grid = finals(LOGS)[["N", "tokens", "loss"]]
    table = pd.concat([grid.assign(run=repeat) for repeat in (1, 2)], ignore_index=True)
    table["loss"] *= 1 + 1e-3 * table["run"]
    assert load(table).curves is None
    assert len(load(table).runs) == len(table)


def test_name_of_a_size_in_a_grid_is_asked_about():
    tokens = (1e8, 3e8, 1e9)
    table = pd.DataFrame([(f"{n:.0e}", n, d, LAW.loss(n, d)) for n in (1e6, 1e7, 1e8) for d in tokens])
    table.columns = ["name", "N", "D", "loss"]
    source = load(table)
    assert (len(source.runs), source.curves) == (9, None)
    assert "--column run=name" in source.warnings[0]
    assert len(load(table, columns=["run=name"]).runs) == 3
    assert load(table, columns=["run=none"]).warnings == ()


def test_name_of_a_size_in_isoflop_groups_is_asked_about():
    pairs = [(n, c / (6 * n)) for n in (1e6, 1e7, 1e8) for c in (1e16, 1e17, 1e18)]
    table = pd.DataFrame([(f"{n:.0e}", n, d, LAW.loss(n, d)) for n, d in pairs], columns=["name", "N", "D", "loss"])
    source = load(table)
    assert (len(source.runs), source.curves) == (9, None)
    assert "--column run=name" in source.warnings[0]


def test_summary_of_runs_with_their_last_step_is_no_log():
    summary = finals(LOGS).rename(columns={"run_id": "Name", "step": "_step"})
    source = load(summary)
    assert (len(source.runs), source.curves, source.warnings) == (RUNS, None, ())


def test_names_that_tell_more_than_sizes_tell_runs():
    assert len(load(LOGS.rename(columns={"run_id": "name"}).drop(columns="step")).runs) == RUNS


def test_rising_steps_without_ids_are_curves():
    table = logs(ratios=(20.0,)).drop(columns="run_id")
    both = pd.concat([table.assign(seed=seed, loss=table["loss"] * (1 + seed / 1e3)) for seed in (0, 1)])
    source = load(both.reset_index(drop=True))
    assert (len(source.runs), len(source.curves)) == (14, len(both))
    assert "by N, seed and settings, with rising step" in source.notes[0]
    assert "--column run=none" in source.warnings[0]


def test_settings_part_runs_without_ids():
    table = logs(ratios=(20.0,)).drop(columns="run_id")
    both = pd.concat([table.assign(lr=lr, loss=table["loss"] * (1 + lr)) for lr in (0.01, 0.02)], ignore_index=True)
    assert len(load(both).runs) == 14
    assert set(points_of(both).table["run_id"]) == set(load(both).runs["run_id"][:7])


def test_steps_that_do_not_rise_are_asked_about():
    table = LOGS.drop(columns="run_id")
    source = load(table)
    assert (len(source.runs), source.curves) == (len(table), None)
    assert "may be runs of their own or checkpoints" in source.warnings[0]


def test_every_row_is_a_run_where_asked():
    source = load(LOGS, columns=["run=none"])
    assert (len(source.runs), source.curves) == (len(LOGS), None)


def test_chosen_run_must_tell_one_size():
    assert "has several N, so it names no run" in refusal(LOGS.assign(group="a"), columns=["run=group"])
    holes = LOGS.assign(group=LOGS["run_id"].where(LOGS.index > 0))
    assert "column group (run): empty in row 1" in refusal(holes, columns=["run=group"])


# Hostile logs


def test_falling_tokens_are_read_backwards():
    source = load(LOGS.iloc[::-1])
    assert source.runs.set_index("run_id")["loss"].to_dict() == finals(LOGS).set_index("run_id")["loss"].to_dict()
    assert (source.curves.groupby("run_id")["tokens"].diff().dropna() > 0).all()


def test_rows_without_a_loss_are_counted_and_left_out():
    table = LOGS.assign(loss=LOGS["loss"].where(LOGS.groupby("run_id").cumcount() % 2 == 1))
    table.loc[LOGS.groupby("run_id").tail(1).index, "loss"] = finals(LOGS)["loss"].to_numpy()
    source = load(table)
    assert len(source.runs) == RUNS
    assert len(source.curves) == table["loss"].notna().sum()
    assert f"{table['loss'].isna().sum()} rows without a loss made no evaluation" in source.notes[0]


def test_run_that_ends_without_a_loss_is_left_out_by_name():
    table = LOGS.copy()
    table.loc[(table["run_id"] == "r3") & (table["tokens"] > 1e6), "loss"] = np.nan
    source = load(table)
    assert "r3" not in set(source.runs["run_id"])
    assert "no loss at the end of training: run r3" in source.notes[0]


def test_infinite_losses_of_a_diverged_run_are_left_out():
    table = LOGS.copy()
    table.loc[(table["run_id"] == "r3") & (table["tokens"] > 1e6), "loss"] = np.inf
    source = load(table)
    assert "r3" not in set(source.runs["run_id"])
    assert np.isfinite(source.curves["loss"]).all()


def test_text_among_the_losses_is_refused():
    table = LOGS.astype({"loss": object})
    table.loc[2, "loss"] = "high"
    assert "column loss: not a number in row 3 (such as 'high')" in refusal(table)


def test_run_of_one_row_is_a_run():
    table = pd.concat([LOGS, log_of(3e6, 6e7, "single").tail(1)], ignore_index=True)
    source = load(table)
    assert "single" in set(source.runs["run_id"])
    assert np.isfinite(envelope.fit(select(source, Convention("loss"))).a)


def test_repeated_rows_are_named_and_dropped():
    source = load(pd.concat([LOGS, LOGS.tail(2)], ignore_index=True))
    assert len(source.curves) == len(LOGS)
    assert f"rows {len(LOGS) + 1}, {len(LOGS) + 2} repeat an earlier row" in " ".join(source.notes)


def test_several_losses_at_one_point_are_refused():
    table = pd.concat([LOGS.assign(data="web"), LOGS.assign(data="code", loss=LOGS["loss"] * 1.1)]).sort_index()
    assert "run 'r0' has several losses at one D" in refusal(table.reset_index(drop=True))
    assert len(load(table, where=["data=web"]).runs) == RUNS


def test_resumed_run_counts_as_it_was_trained_again():
    first = LOGS[LOGS["run_id"] == "r5"]
    before, again = first.iloc[:20], first.iloc[15:].assign(loss=first["loss"] * 1.01)
    table = pd.concat([LOGS[LOGS["run_id"] != "r5"], before, again], ignore_index=True)
    source = load(table)
    curve = source.curves[source.curves["run_id"] == "r5"]
    assert curve["loss"].tolist() == [*first["loss"][:15], *again["loss"]]
    assert "Resumed: run r5. Replaced were 5 evaluations" in source.notes[0]


def test_planned_tokens_are_scaled_by_the_steps():
    planned = LOGS.assign(tokens=LOGS.groupby("run_id")["tokens"].transform("max"))
    half = planned.assign(max_steps=2 * planned.groupby("run_id")["step"].transform("max"))
    np.testing.assert_allclose(load(planned).curves["tokens"], LOGS["tokens"])
    np.testing.assert_allclose(load(half).runs["tokens"], finals(LOGS)["tokens"] / 2)
    np.testing.assert_allclose(load(half).curves["tokens"], LOGS["tokens"] / 2)


def test_curve_has_the_flops_of_its_table():
    table = LOGS.assign(C=7 * LOGS["N"] * LOGS["tokens"])
    source = load(table)
    assert source.counts_its_own_way
    curves = select(source, Convention("loss", flops=OWN_FLOPS)).curves
    np.testing.assert_allclose(curves["flops"], 7 * curves["params"] * curves["tokens"])


def test_perplexities_of_checkpoints_become_nats():
    source = load(LOGS.assign(loss=np.exp(LOGS["loss"])).rename(columns={"loss": "val_ppl"}))
    np.testing.assert_allclose(source.curves["loss"], LOGS["loss"])


# Finals alone, and unfinished runs


def test_final_only_drops_the_checkpoints():
    source = load(LOGS, final_only=True)
    assert (len(source.runs), source.curves) == (RUNS, None)
    assert "The checkpoints were left out" in source.notes[-1]


def half_trained() -> pd.DataFrame:
    """The logs with a plan, of which r2 reached a half."""
    table = LOGS.assign(max_steps=LOGS.groupby("run_id")["step"].transform("max"))
    table.loc[table["run_id"] == "r2", "max_steps"] *= 2
    return table


def test_runs_below_their_plan_are_left_out_by_name():
    source = load(half_trained(), min_progress=0.99)
    assert len(source.runs) == RUNS - 1
    assert not (source.curves["run_id"] == "r2").any()
    assert "below 0.99 of their plan by step / max_steps: r2 (50.0%)" in " ".join(source.notes)


def test_unfinished_runs_are_a_warning_without_the_option():
    (warning,) = load(half_trained()).warnings
    assert warning.startswith("run r2 ended below 0.99 of the plan by step / max_steps")


def test_progress_of_plain_rows_counts_tokens():
    grid = finals(LOGS)[["N", "tokens", "loss"]]
    grid = grid.assign(target_tokens=grid["tokens"] * np.where(grid.index == 4, 2.0, 1.0))
    assert len(load(grid, min_progress=0.9).runs) == len(grid) - 1
    millions = grid.assign(target_tokens=grid["target_tokens"] / 1e6).rename(
        columns={"target_tokens": "target_tokens_M"}
    )
    assert len(load(millions, min_progress=0.9).runs) == len(grid) - 1


def test_progress_without_a_plan_is_refused():
    assert "needed is one such as max_steps beside step" in refusal(LOGS, min_progress=0.99)
    assert "above 0 and at most 1 - got 99" in refusal(half_trained(), min_progress=99)


def test_workdir_knows_its_finished_runs(tmp_path):
    with pytest.raises(ValueError, match="knows its runs; leave out --min-progress"):
        load(tmp_path, min_progress=0.99)


def test_options_reach_the_table(tmp_path, capsys):
    half_trained().to_csv(tmp_path / "log.csv", index=False)
    asked = ["table", str(tmp_path / "log.csv"), str(tmp_path / "out.csv"), "--final-only", "--min-progress"]
    assert program.main([*asked, "0.99"]) == 0
    assert len(pd.read_csv(tmp_path / "out.csv")) == RUNS - 1
    assert f"{RUNS - 1} runs" in capsys.readouterr().out
    assert program.main([*asked, "2"]) == 2


def test_runs_of_one_length_name_the_way_on():
    one_end = pd.concat([log_of(size, 2e9, f"r{at}") for at, size in enumerate((1e6, 1e7, 1e8))], ignore_index=True)
    assert any("--column run=none" in text for text in load(one_end).warnings)
    assert not any("All runs end" in text for text in load(LOGS).warnings)
