"""New runs against a known law: verdicts, ranges, extrapolation, runs under way, hostile files, and the command."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.analysis.fits_file import content_of, write
from tests.analysis.planted import FLOOR, LAW, Planted, write_planted, write_runs
from vsweep import tables
from vsweep.analysis.__main__ import main
from vsweep.analysis.approaches.parametric import HOFFMANN
from vsweep.analysis.checking.check import AS_PREDICTED, BUG, BY_CURVES, NOT_JUDGED, OFF, Check, check
from vsweep.analysis.data.loading import load
from vsweep.analysis.planner.saved_law import BadLaw, read_fits
from vsweep.analysis.public import check as public_check

N, D = 3e7, 2e10  # within the runs that the file's law was fitted to
ON_LAW = float(HOFFMANN.loss(N, D))
SMALL = Planted(widths=(8,), budgets=(500_000,), seeds=(0, 1, 2), noise=0.02)


def frame(off: list[float], params: float = N, tokens: float = D) -> pd.DataFrame:
    """Runs that lie `off` the law."""
    return pd.DataFrame({"N": params, "D": tokens, "loss": HOFFMANN.loss(params, tokens) + np.array(off)})


@pytest.fixture
def fits(tmp_path) -> str:
    return write(tmp_path, content_of())


def checked(fits: str, new, **options) -> Check:
    return check(read_fits(fits), load(new), **options)


def test_limits_part_the_verdicts(fits):
    found = checked(fits, frame([0.0, 0.1499, -0.16, 0.3999, 0.41, -0.5]))
    assert [run.verdict for run in found.runs] == [AS_PREDICTED, AS_PREDICTED, OFF, OFF, BUG, BUG]
    assert not found.passed
    assert found.runs[4].deviation == pytest.approx(0.41)
    strict = checked(fits, frame([0.0, 0.02, 0.041]), within=0.01, beyond=0.04)
    assert [run.verdict for run in strict.runs] == [AS_PREDICTED, OFF, BUG]


def test_range_holds_nine_of_ten_runs(fits):
    saved = read_fits(fits)
    (run,) = checked(fits, frame([0.0])).runs
    rng = np.random.default_rng(0)
    losses = rng.choice(saved.resamples.loss(N, D), 20_000) * np.exp(0.004 * rng.standard_normal(20_000))
    assert ((run.low < losses) & (losses < run.high)).mean() == pytest.approx(0.9, abs=0.015)
    assert run.low < ON_LAW < run.high
    assert run.inside
    assert checked(fits, frame([0.3])).runs[0].inside is False


def test_runs_without_known_scatter_have_no_range(tmp_path):
    content = content_of()
    del content["losses"]["val_loss"]["parametric"]["resamples"]
    del content["losses"]["val_loss"]["parametric"]["residual_sd_log"]
    (run,) = checked(write(tmp_path, content), frame([0.0])).runs
    assert (run.low, run.high, run.inside) == (None, None, None)
    assert run.verdict == AS_PREDICTED


def test_runs_beyond_the_fitted_ones_are_marked(fits):
    far, inside = checked(fits, pd.concat([frame([0.0], 5e8, 1e11), frame([0.0], 2e7, 5e9)])).runs
    assert [(one.axis, one.above) for one in far.outside] == [("N", True), ("C", True)]
    assert far.outside[0].factor == pytest.approx(10)
    assert inside.outside == ()
    small = checked(fits, frame([0.0], 1e6, 1e10)).runs[0]
    assert [(one.axis, one.above, round(one.factor)) for one in small.outside] == [("N", False, 10), ("C", False, 2)]


@pytest.mark.parametrize("limits", [(0.5, 0.4), (0.0, 0.4), (float("nan"), 0.4), (0.1, float("inf"))])
def test_limits_out_of_order_are_refused(fits, limits):
    with pytest.raises(ValueError, match="within, beyond: needed are"):
        checked(fits, frame([0.0]), within=limits[0], beyond=limits[1])


def test_losses_of_another_unit_are_refused(fits, tmp_path):
    with pytest.raises(ValueError, match="its loss is in bits/token, and the law is in nats/token"):
        check(read_fits(fits), load(frame([0.0]), loss_unit="bits/token"))
    with pytest.raises(BadLaw, match=r"units\.loss: unknown convention"):
        read_fits(write(tmp_path, {**content_of(), "units": {"loss": "<script>"}}))


def test_table_for_a_law_of_another_loss_is_noted(fits):
    notes = checked(fits, frame([0.0])).notes
    assert any("The law is of val_loss, so the loss of the table must be that loss" in note for note in notes)


def test_law_that_runs_do_not_show_is_refused(tmp_path):
    content = content_of()
    content["losses"]["val_loss"]["standing"] = {"verdict": "not shown", "reasons": ["N hardly matters"]}
    path = write(tmp_path, content)
    with pytest.raises(BadLaw, match="N hardly matters; to check against it all the same, give --anyway"):
        public_check(path, frame([0.0]))
    assert public_check(path, frame([0.0]), anyway=True).passed


# Work directories


def of_excess(folder: Path) -> str:
    """A law of the planted excess loss."""
    content = content_of(LAW)
    entry = content["losses"].pop("val_loss")
    content["losses"]["excess_loss"] = {**entry, "floor_value": FLOOR, "range": {}}
    return write(folder, content)


def under_way(folder: Path, share: float, factor: float = 1.0) -> Path:
    """The planted sweep, its seed 2 still training: its curve ends at `share` of the budget, its losses x `factor`."""
    write_planted(folder, SMALL)
    runs, curves = tables.read_runs(folder).astype(object), tables.read_curves(folder)
    running = runs["seed"] == 2
    runs.loc[running, "status"] = "running"
    runs.loc[running, ["excess_loss", "val_loss", "answer_loss", "tokens"]] = None
    mine = curves["run_id"].isin(runs[running]["run_id"])
    curves.loc[mine, "excess_loss"] *= factor
    curves = curves[~mine | (curves["tokens"] <= share * 500_000)]
    write_runs(folder, runs.to_dict("records"))
    curves.to_csv(folder / "curves.csv", index=False)
    return folder


def test_finished_runs_of_a_sweep_are_checked(tmp_path):
    found = checked(of_excess(tmp_path), write_planted(tmp_path / "new", replace(SMALL, noise=0.0)))
    assert [run.verdict for run in found.runs] == [AS_PREDICTED] * 3
    assert found.runs[0].deviation == pytest.approx(0, abs=1e-3)


def test_diverged_run_fails_the_check(tmp_path):
    folder = write_planted(tmp_path / "new", SMALL)
    runs = tables.read_runs(folder).astype(object)
    runs.loc[0, ["status", "excess_loss"]] = ["diverged", None]
    write_runs(folder, runs.to_dict("records"))
    found = checked(of_excess(tmp_path), folder)
    assert (found.runs[0].verdict, found.runs[0].remark) == (BUG, "it diverged")
    assert not found.passed


def test_run_under_way_is_not_judged_for_lying_above(tmp_path):
    found = checked(of_excess(tmp_path), under_way(tmp_path / "new", 0.4, factor=2.0))
    (run,) = [run for run in found.runs if run.status == "running"]
    assert (run.verdict, run.tokens) == (NOT_JUDGED, pytest.approx(200_000, rel=0.15))
    assert "the law is of annealed runs" in run.remark
    assert any("--curves WORKDIR" in note for note in found.notes)
    assert found.passed


def test_run_under_way_far_below_the_law_has_a_bug(tmp_path):
    found = checked(of_excess(tmp_path), under_way(tmp_path / "new", 0.4, factor=0.2), within=0.1, beyond=0.3)
    assert [run.verdict for run in found.runs if run.status == "running"] == [BUG]


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, AS_PREDICTED), (1.6, BUG)])
def test_run_under_way_is_compared_with_curves(tmp_path, factor, verdict):
    folder = under_way(tmp_path / "new", 0.4, factor)
    found = checked(of_excess(tmp_path), folder, curves=load(folder), within=0.1, beyond=0.2)
    (run,) = [run for run in found.runs if run.status == "running"]
    assert (run.by, run.verdict) == (BY_CURVES, verdict)
    assert "against 2 curves of finished runs" in run.remark
    own = load(folder).curves.query("run_id == 'w8-b500000-s0'")
    at = float(np.interp(run.tokens, own["tokens"], own["excess_loss"]))
    assert run.predicted == pytest.approx(at, rel=0.06)  # 2 % scatter between seeds
    assert run.low < run.predicted < run.high


def test_curves_of_another_size_are_no_yardstick(tmp_path):
    other = load(write_planted(tmp_path / "other", replace(SMALL, widths=(16,))))
    found = checked(of_excess(tmp_path), under_way(tmp_path / "new", 0.4), curves=other)
    (run,) = [run for run in found.runs if run.status == "running"]
    assert run.by == "law"
    assert "no curve of its size reaches its tokens" in run.remark


def test_sweep_of_another_task_is_refused(tmp_path):
    folder = write_planted(tmp_path / "new", replace(SMALL, floor=1.2))
    with pytest.raises(ValueError, match="these are losses of different tasks"):
        checked(of_excess(tmp_path), folder)


def test_law_of_a_table_says_nothing_of_a_sweep(tmp_path):
    content = content_of()
    content["losses"]["loss"] = content["losses"].pop("val_loss")
    with pytest.raises(ValueError, match="the law is of the loss of a table, and a sweep has excess_loss"):
        checked(write(tmp_path, content), write_planted(tmp_path / "new", SMALL))


# The command


def with_range(ends: list) -> dict:
    """A file in which the fitted sizes are `ends`."""
    content = content_of()
    content["losses"]["val_loss"]["range"]["params"] = ends
    return content


def test_command_prints_verdicts_and_writes_json(fits, tmp_path, capsys):
    frame([0.01, 0.5]).to_csv(tmp_path / "new.csv", index=False)
    out = tmp_path / "out.json"
    assert main(["check", fits, str(tmp_path / "new.csv"), "--json", str(out)]) == 1
    said = capsys.readouterr().out
    assert said.startswith("2 runs: 1 as predicted (within 0.15 nats/token), 1 to look for a bug in (beyond 0.4")
    assert "+0.5000" in said
    content = json.loads(out.read_text())
    assert content["passed"] is False
    assert content["counts"] == {AS_PREDICTED: 1, OFF: 0, BUG: 1, NOT_JUDGED: 0}
    assert content["runs"][1]["deviation"] == pytest.approx(0.5)
    assert main(["check", fits, str(tmp_path / "new.csv"), "--beyond", "0.6"]) == 0


def test_many_runs_show_the_worst_first(fits, tmp_path, capsys):
    frame([0.001 * at for at in range(80)] + [0.9]).to_csv(tmp_path / "new.csv", index=False)
    assert main(["check", fits, str(tmp_path / "new.csv")]) == 1
    said = capsys.readouterr().out
    assert said.index("row 82") < said.index("row 81")
    assert "21 more runs, closer or not judged, are in the file of --json." in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"schema": 1}, "not a fits.json"),
        ({"schema": 1, "losses": {"loss": {"parametric": {"E": "x"}}}}, "not as fits.json should be"),
        (
            {**content_of(), "losses": {"l": {**content_of()["losses"]["val_loss"], "range": {"params": [2, 1]}}}},
            "lowest",
        ),
    ],
)
def test_files_that_are_no_law_are_refused(content, message, tmp_path, capsys):
    frame([0.0]).to_csv(tmp_path / "new.csv", index=False)
    assert main(["check", write(tmp_path, content), str(tmp_path / "new.csv")]) == 2
    assert message in capsys.readouterr().err
