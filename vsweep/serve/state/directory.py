"""One work directory as the page shows it: read again when a file has changed, and never written."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

from vsweep.schema import CURVES_FILE, DIVERGED, LIVE_FILE, RUNNING, RUNS_FILE
from vsweep.serve import live_file
from vsweep.serve.state import drift, files, forecast, stacks, summary, tables
from vsweep.serve.state.summary import State, Verdicts

PLAN, CONFIG, REPORT = "plan.json", "config.json", ("analysis", "report.html")
WATCHED = ((RUNS_FILE,), (CURVES_FILE,), (PLAN,), (CONFIG,), (LIVE_FILE,), REPORT, forecast.FITS)
MOST_CURVES = 300  # that a page draws at once


class Directory:
    """What is known about the sweep in `path`; `version` grows with every change."""

    def __init__(self, path: Path):
        self.state = State(Path(path))
        self.version = 0
        self.summary: dict = {}
        self._curves: dict[str, list] = {}  # run_id -> its points, of the runs that are drawn
        self._changed_at: dict[str, int] = {}  # run_id -> the version with which its points came
        self._forecasts = forecast.Forecasts()
        self._stamps: tuple = (None,) * len(WATCHED)
        self._alive = False

    def report(self) -> bytes:
        """The report as it stands. Raises OSError before there is one."""
        return files.read(self.state.path, *REPORT)

    def refresh(self) -> bool:
        """Reads what has changed; returns whether there is something new to show."""
        stamps = tuple(files.stamp(self.state.path, *names) for names in WATCHED)
        if self.version and stamps == self._stamps and live_file.is_alive(self.state.live) == self._alive:
            return False
        before, self._stamps = self._stamps, stamps
        self.version += 1
        self._read(tables_changed=stamps[:2] != before[:2])
        self._alive = live_file.is_alive(self.state.live)
        with self._telling():
            self._judge()
        self.summary["problems"] = self.state.problems
        return True

    def curves_after(self, version: int) -> dict[str, list]:
        """The curves that are new or longer since `version`."""
        return {run_id: points for run_id, points in self._curves.items() if self._changed_at[run_id] > version}

    def _read(self, *, tables_changed: bool) -> None:
        """Problems are said on the page; what was read before stays, so that a page in use does not go empty."""
        state, path = self.state, self.state.path
        state.problems, state.live = [], {}
        with self._telling():
            state.live = live_file.read(path)
        with self._telling():
            if tables_changed and self._stamps[0] and self._stamps[1]:
                state.runs = tables.read(files.read(path, RUNS_FILE), files.read(path, CURVES_FILE))
        with self._telling():
            if self._stamps[2]:
                state.stacks = stacks.read(files.read(path, PLAN))
        self._add_planned()
        with self._telling():
            self._add_live()

    def _add_planned(self) -> None:
        """The steps of every run, and runs that the tables do not have yet."""
        runs, batch_size = self.state.runs, self.state.live.get("batch_size")
        for stack in self.state.stacks:
            for place in stack.places:
                if place.run_id not in runs:
                    known = batch_size if stack.name == self.state.live.get("stack") else None
                    runs[place.run_id] = tables.planned(place.run_id, stack.name, known or 1)
                runs[place.run_id].horizon = place.horizon

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, TypeError, ArithmeticError, LookupError) as error:  # of files that anybody wrote
            self.state.problems.append(f"{type(error).__name__}: {error}"[:300])

    def _add_live(self) -> None:
        """What was measured since the last checkpoint."""
        runs, live = self.state.runs, self.state.live
        for run_id, points in live.get("points", {}).items():
            for step, *values in points if run_id in runs else ():
                measured = dict(zip(live_file.MEASURES, values, strict=True))
                runs[run_id].add(int(step), {name: _number(measured[name]) for name in tables.LOSSES})
        for run_id, step in live.get("diverged", {}).items():
            if run_id in runs and not runs[run_id].has_ended:
                runs[run_id].status, runs[run_id].diverged_at = DIVERGED, int(step)

    def _judge(self) -> None:
        runs = list(self.state.runs.values())
        loss = tables.judged_loss(self.state.runs)
        law = forecast.law_of(self.state.path, loss)
        self._forecasts.update(runs, law)
        verdicts = Verdicts(
            loss=loss,
            judged=drift.judge(runs, loss),
            misses=self._forecasts.misses(runs, loss),
            by_law=self._forecasts.judged(runs),
            why_no_law=law if isinstance(law, str) else "",
        )
        self.summary = summary.of(self.state, verdicts)
        self._choose_curves({each["run"] for each in self.summary["wrong"]})

    def _choose_curves(self, first: set[str]) -> None:
        """Those that look wrong, those under way, and then the newest of the others."""
        runs = [run for run in self.state.runs.values() if run.curve]
        newest = {stack: -place for place, stack in enumerate(dict.fromkeys(run.stack for run in runs))}
        runs.sort(key=lambda run: (run.run_id not in first, run.status != RUNNING, newest[run.stack]))
        drawn = {run.run_id: _points(run) for run in runs[:MOST_CURVES]}
        for run_id, points in drawn.items():
            if self._curves.get(run_id) != points:
                self._changed_at[run_id] = self.version
        self._curves = drawn
        status = self.state.runs
        self.summary["drawn"] = {run_id: [status[run_id].stack, status[run_id].status] for run_id in drawn}
        self.summary["with_curves"] = len(runs)


def _points(run: tables.Run) -> list:
    """[[examples seen, excess, val, answer], ...] by step; None for what was not measured."""
    return [
        [step * run.batch_size, *(value if math.isfinite(value) else None for value in point.values())]
        for step, point in sorted(run.curve.items())
    ]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")
