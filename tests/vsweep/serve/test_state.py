"""What a page knows about a work directory, and which runs it calls wrong."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.vsweep.serve import planted
from tests.vsweep.serve.planted import Planted
from vsweep.schema import LIVE_FILE
from vsweep.serve.state import drift, files, forecast, tables
from vsweep.serve.state.directory import Directory

DAMAGED = [b"", b"\0\xff", b"[]", b'{"stacks": [{"name": 1}]}', b"[" * 100_000, b"run_id,run_id\n1,2\n"]


def read(workdir: Path) -> Directory:
    directory = Directory(workdir)
    directory.refresh()
    return directory


def wrong(workdir: Path) -> dict[str, str]:
    return {each["run"]: each["kind"] for each in read(workdir).summary["wrong"]}


def test_a_curve_that_left_the_line_is_named_with_numbers(tmp_path):
    workdir = planted.write(tmp_path / "off", Planted(off=0.3))
    summary = read(workdir).summary
    (named,) = [each for each in summary["wrong"] if each["run"] == "w16-s0"]
    assert named["kind"] == "off the other seeds"
    assert "at step 300; 2 other seeds predict" in named["text"]
    assert "% above, and the limit is" in named["text"]


def test_a_curve_within_the_scatter_is_not_named(workdir):
    summary = read(workdir).summary
    assert summary["wrong"] == []
    assert summary["judging"]["compared"] == summary["judging"]["under_way"] == 3


def test_a_lone_seed_gets_no_verdict(tmp_path):
    workdir = planted.write(tmp_path / "alone", Planted(off=0.3))
    runs, curves = (workdir / "runs.csv").read_text(), (workdir / "curves.csv").read_text()
    for name, text in (("runs.csv", runs), ("curves.csv", curves)):
        kept = [line for line in text.splitlines() if "-s1," not in line and "-s2," not in line]
        (workdir / name).write_text("\n".join(kept) + "\n")
    judging = read(workdir).summary["judging"]
    assert judging["compared"] == 0
    assert ["fewer than 2 other seeds of the same settings", 1] in judging["why_not"]


def test_one_evaluation_off_is_no_drift(tmp_path):
    workdir = planted.write(tmp_path / "once", Planted())
    runs = tables.read(files.read(workdir, "runs.csv"), files.read(workdir, "curves.csv"))
    for run in runs.values():
        run.horizon = planted.STEPS
    runs["w16-s0"].curve[300]["excess_loss"] *= 1.5
    judged = {each.run_id: each for each in drift.judge(list(runs.values()), "excess_loss")}
    assert judged["w16-s0"].newest.beyond == 1
    assert not judged["w16-s0"].drifts


def test_false_alarms_are_rare():
    """Of 1,200 runs that scatter normally and no more, hardly any is called wrong."""
    random, alarms, judged = np.random.default_rng(1), 0, 0
    for _ in range(100):
        runs = []
        for group in range(4):
            for seed in range(3):
                curve = {step: {"excess_loss": float(np.exp(random.normal(0, 0.02)))} for step in (50, 60)}
                sizes = {"params": 1.0, "params_non_embedding": 1.0}
                run = tables.Run(f"{group}-{seed}", "w", "running", 60, 8, 1e3, sizes, 1e3, (group,))
                run.curve, run.horizon = curve, 100
                runs.append(run)
        found = drift.judge(runs, "excess_loss")
        alarms, judged = alarms + sum(each.drifts for each in found), judged + len(found)
    assert judged == 1200
    assert alarms <= 6  # 0.3 % of them would be 3.2 for one evaluation alone


def test_a_diverged_run_is_named_before_the_tables_have_it(workdir):
    planted.write_live(workdir, diverged={"w16-s2": 350})
    assert wrong(workdir) == {"w16-s2": "diverged"}


def test_stacks_show_their_steps_and_runs(workdir):
    planted.write_live(workdir)
    summary = read(workdir).summary
    assert [(stack["name"], stack["step"], stack["ended"]) for stack in summary["stacks"]] == [
        ("w4", 1000, 3),
        ("w8", 1000, 3),
        ("w16", 400, 0),
    ]
    assert summary["slots"]["step"] == 400


def test_runs_are_known_before_there_are_tables(workdir):
    for name in ("runs.csv", "curves.csv"):
        (workdir / name).unlink()
    planted.write_live(workdir, stack="w4", points={"w4-s0": [[10, 3.0, 3.0, 2.0, None]]})
    directory = read(workdir)
    assert directory.summary["counts"]["all"] == 9
    assert directory.curves_after(0) == {"w4-s0": [[80, 2.0, 3.0, None]]}


def test_a_training_that_was_killed_is_said(workdir):
    planted.write_live(workdir, pid=2**22 + 1)
    assert read(workdir).summary["doing"] == "lost"


@pytest.mark.parametrize("name", ["runs.csv", "curves.csv", "plan.json", LIVE_FILE])
@pytest.mark.parametrize(
    "content", [b"", b"\0\xff", b"[]", b'{"stacks": [{"name": 1}]}', b"[" * 100_000, b"run_id,run_id\n1,2\n"]
)
def test_damaged_files_are_said_on_the_page(workdir, name, content):
    planted.write_live(workdir)
    (workdir / name).write_bytes(content)
    summary = read(workdir).summary
    assert any(name in problem for problem in summary["problems"])


def test_a_damaged_table_leaves_what_was_known(workdir):
    directory = read(workdir)
    (workdir / "runs.csv").write_text("torn")
    assert directory.refresh()
    assert directory.summary["counts"]["all"] == 9


def test_only_curves_that_grew_are_sent_again(workdir):
    directory = read(workdir)
    seen = directory.version
    planted.write_live(workdir, points={"w16-s1": [[500, 2.0, 2.0, 1.0, 0.5]]})
    assert directory.refresh()
    assert set(directory.curves_after(seen)) == {"w16-s1"}
    assert not directory.refresh()


def law(verdict: str, sd: float | None = 0.01) -> dict:
    constants = {"E": 0.0, "A": 1.0, "B": 2.0, "alpha": 0.3, "beta": 0.3, "residual_sd_log": sd}
    entry = {"parametric": constants, "convention": {"N": "params", "C": "flops_6nd"}, "floor_value": 1.0}
    entry |= {"range": {"params": [100, 2000], "tokens": [10, 10_000]}, "standing": {"verdict": verdict, "reasons": []}}
    return {"schema": 1, "units": {"loss": "nats/token"}, "losses": {"excess_loss": entry}}


def test_a_run_that_misses_its_forecast_is_named(workdir):
    (workdir / "analysis").mkdir()
    (workdir / "analysis" / "fits.json").write_text(json.dumps(law("describes")))
    directory = read(workdir)
    assert directory.summary["judging"]["why_no_law"] == ""
    for name in ("runs.csv", "curves.csv"):
        text = (workdir / name).read_text()
        (workdir / name).write_text(text.replace("running", "finished"))
    directory.refresh()
    kinds = {each["run"]: each["kind"] for each in directory.summary["wrong"]}
    assert kinds == dict.fromkeys(["w16-s0", "w16-s1", "w16-s2"], "off the forecast")
    assert directory.summary["judging"]["by_law"] == 3


@pytest.mark.parametrize(("verdict", "sd"), [("may not describe", 0.01), ("describes", None)])
def test_a_doubtful_law_judges_nobody(workdir, verdict, sd):
    (workdir / "analysis").mkdir()
    (workdir / "analysis" / "fits.json").write_text(json.dumps(law(verdict, sd)))
    assert isinstance(forecast.law_of(workdir, "excess_loss"), str)
