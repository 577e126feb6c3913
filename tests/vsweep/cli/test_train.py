"""What the command does with the events of a sweep: reports, and where the results are."""

import json
import os
from pathlib import Path

import pytest

from vsweep.after import samples
from vsweep.analysis import commands
from vsweep.cli import train
from vsweep.host.interruption import EXIT_STATUS
from vsweep.host.progress import SilentProgress
from vsweep.schema import CURVES_FILE
from vsweep.train import timing
from vsweep.train.events import Boundary, Finished, Interrupted

RECORDED = {"runs": 12, "run_rows": (), "curve_rows": ()}


class Told(SilentProgress):
    def __init__(self):
        self.lines = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def drawing(self) -> None:
        self.lines.append("drawing")


@pytest.fixture
def drawn(monkeypatch) -> list[bool]:
    """Reports that were drawn: whether each was the final one; each takes no time, and is always due."""
    finals: list[bool] = []

    def redo(workdir, then, *, final):
        finals.append(final)
        then(workdir / "analysis/report.html")
        return 0

    monkeypatch.setattr(commands, "redo", redo)
    monkeypatch.setattr(timing.ReportPace, "FIRST_S", 0.0)
    return finals


@pytest.fixture
def workdir(tmp_path) -> Path:
    """One that holds curves, and then fits and a report of twelve runs that have ended."""
    (tmp_path / "analysis").mkdir()
    (tmp_path / CURVES_FILE).touch()
    (tmp_path / train.FITS).write_text(json.dumps({"runs": {"total": 12, "running": 0, "finished": 12}}))
    (tmp_path / train.REPORT).touch()
    for at, name in enumerate((CURVES_FILE, train.FITS, train.REPORT)):
        os.utime(tmp_path / name, (100 + at, 100 + at))
    return tmp_path


def boundary(workdir: Path, step: int, ended: int) -> Boundary:
    return Boundary(workdir=workdir, stack="w4", step=step, steps=9, left_s=3600.0, runs_ended=ended, **RECORDED)


def finished(workdir: Path) -> Finished:
    return Finished(workdir=workdir, runs_ended=12, **RECORDED)


def test_a_finished_sweep_says_at_once_where_its_results_are(workdir, drawn):
    told = Told()
    assert train.follow(iter([finished(workdir)]), told) == 0
    assert drawn == []
    assert told.lines == [
        f"all runs have ended: {workdir}/runs.csv, {workdir}/analysis/report.html; "
        f"to draw it again: python -m analysis {workdir}"
    ]


def missing_report(workdir: Path) -> None:
    (workdir / train.REPORT).unlink()


def missing_fits(workdir: Path) -> None:
    (workdir / train.FITS).unlink()


def damaged_fits(workdir: Path) -> None:
    (workdir / train.FITS).write_text("{")
    os.utime(workdir / train.FITS, (101, 101))


def fits_of_running_runs(workdir: Path) -> None:
    (workdir / train.FITS).write_text(json.dumps({"runs": {"total": 12, "running": 3}}))
    os.utime(workdir / train.FITS, (101, 101))


def newer_curves(workdir: Path) -> None:
    os.utime(workdir / CURVES_FILE, (200, 200))


def report_older_than_its_fits(workdir: Path) -> None:
    os.utime(workdir / train.REPORT, (100, 100))


@pytest.mark.parametrize(
    "harm",
    [missing_report, missing_fits, damaged_fits, fits_of_running_runs, newer_curves, report_older_than_its_fits],
)
def test_a_report_that_is_not_the_final_one_is_drawn_again(harm, workdir, drawn):
    harm(workdir)
    told = Told()
    assert train.follow(iter([finished(workdir)]), told) == 0
    assert drawn == [True]
    assert told.lines[0] == "drawing"


def test_reports_are_drawn_after_stacks_and_at_the_end(workdir, drawn):
    """Not at other boundaries, and for the last stack once only."""
    events = [boundary(workdir, 3, 2), boundary(workdir, 9, 6), boundary(workdir, 9, 12), finished(workdir)]
    told = Told()
    assert train.follow(iter(events), told) == 0
    assert drawn == [False, True]
    assert told.lines[1].startswith("w4 done, 6 of 12 runs: ")
    assert told.lines[3].startswith("all runs have ended: ")


def test_an_interrupted_sweep_says_how_to_go_on(workdir, drawn):
    told = Told()
    event = Interrupted(workdir=workdir, stack="w4", reason="SIGTERM received", runs_ended=0, **RECORDED)
    assert train.follow(iter([event]), told) == EXIT_STATUS
    assert told.lines == [f"SIGTERM received: everything is saved in {workdir}; run the same command again to go on"]
    assert drawn == []


def test_a_mistake_in_a_report_does_not_end_training(workdir, drawn, monkeypatch, capsys):
    def broken(workdir, then, *, final):
        drawn.append(final)
        raise AttributeError("a mistake")

    monkeypatch.setattr(commands, "redo", broken)
    told = Told()
    events = [boundary(workdir, 9, 6), boundary(workdir, 9, 12), finished(workdir)]
    assert train.follow(iter(events), told) == os.EX_SOFTWARE
    assert drawn == [False, True]
    assert told.lines[-1] == (
        f"all runs have ended: no report, because the analysis failed; to try again: python -m analysis {workdir}"
    )
    assert "AttributeError: a mistake" in capsys.readouterr().err


@pytest.mark.parametrize("fails", [ValueError("no token"), OSError(28, "full"), RuntimeError("out of memory")])
def test_samples_that_fail_cost_no_report(workdir, drawn, monkeypatch, fails):
    def write(path):
        raise fails

    monkeypatch.setattr(samples, "write", write)
    told = Told()
    assert train.follow(iter([boundary(workdir, 9, 3), finished(workdir)]), told) == 0
    assert f"no samples of text ({type(fails).__name__}: {fails})" in told.lines
    assert drawn[-1] is True


def test_samples_are_written_before_the_final_report(workdir, drawn, monkeypatch):
    calls = []
    monkeypatch.setattr(samples, "write", lambda path: calls.append((path, list(drawn))) or "a note")
    told = Told()
    train.follow(iter([boundary(workdir, 9, 3), finished(workdir)]), told)
    assert calls == [(workdir, drawn[:-1])]
    assert told.lines[-3:] == ["a note", "drawing", told.lines[-1]]
