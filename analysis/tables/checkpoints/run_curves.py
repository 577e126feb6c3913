"""Several rows of one run: the last one is fitted, and all of them together are its loss curve.

A run is told by a column of run ids. Without one it is told by its N, seed and settings, and only where a column `step`
rises row by row. Rows of one N with rising D alone are runs of their own, because every grid is written so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from vsweep.analysis.formatting import count
from vsweep.analysis.tables import table_rows
from vsweep.analysis.tables.checkpoints import run_ids
from vsweep.analysis.tables.column_choices import NO_COLUMN, Choice, command
from vsweep.analysis.tables.column_names import Column, named
from vsweep.analysis.tables.formats import RawTable

SAME_END = 0.1  # in log tokens


@dataclass(frozen=True)
class RunCurves:
    """A table with checkpoints, split: `finals` holds one row a run, and `rows` one row an evaluation of them.

    `names` [runs] are the runs' ids. `rows` has the columns run (position in `names`), step (NaN without one),
    progress (the column `axis`: D, step or C), loss as in the table, and C where it rises within runs.
    `planned` are those of D and C that hold one value in each run: its plan, of which it reached `reach` [runs].
    `marks` are the names of the columns that tell runs and steps.
    """

    finals: RawTable
    names: np.ndarray
    rows: pd.DataFrame
    axis: str
    planned: tuple[str, ...]
    reach: np.ndarray
    marks: tuple[str, ...]

    def only(self, keep: np.ndarray, note: str) -> "RunCurves":
        """The runs of `keep` [runs], with one note more."""
        rows = self.rows[keep[self.rows["run"]]]
        rows = rows.assign(run=(np.cumsum(keep) - 1)[rows["run"]]).reset_index(drop=True)
        finals = table_rows.only(self.finals, keep, note)
        return replace(self, finals=finals, names=self.names[keep], rows=rows, reach=self.reach[keep])

    def curves(self, runs: pd.DataFrame, loss: np.ndarray) -> pd.DataFrame:
        """The evaluations of `runs`, which are in the order of `names`, in the columns of `Source.curves`.

        Tokens are those of the table where its D rises. Otherwise they are the share of the run's tokens that its
        steps (or its FLOP) tell. `loss` [rows] is in the unit of the runs.
        """
        final = runs.iloc[self.rows["run"]].reset_index(drop=True)
        last = self.rows.groupby("run")["progress"].transform("max")
        tokens = self.rows["progress"] if self.axis == "D" else final["tokens"] * self.rows["progress"] / last
        flops = self.rows["C"] if "C" in self.rows else final["flops_6nd"] * tokens / final["tokens"]
        counts = {"tokens": tokens, "flops_6nd": flops, "flops_counted": flops}
        return pd.DataFrame(
            {"run_id": final["run_id"], "steps": self.rows["step"].fillna(tokens), **counts, "loss": loss}
        )


def split(raw: RawTable, columns: Mapping[str, Column], choices: Mapping[str, Choice]) -> tuple[RunCurves | None, str]:
    """The runs of a table that has several rows of one run, or None; and a warning where that is in doubt.

    Args:
      columns: the column of each quantity, with a loss and two of N, D, C among them.
      choices: the user's own; `run` names the column of run ids, and NO_COLUMN says that every row is a run.

    Raises:
      ValueError: several losses of one run at one point of it, or numbers that cannot be read.
    """
    chosen = choices.get("run") or (Choice("run", raw.run_column) if raw.run_column else None)
    if (chosen and chosen.column == NO_COLUMN) or len(raw.frame) < 2:
        return None, ""
    again, note = table_rows.repeated(raw)
    raw = table_rows.only(raw, ~again, note) if note else raw
    numbers = run_ids.numbers_of(raw, columns)
    keys, name, warning = run_ids.run_of_each_row(raw, columns, numbers, chosen.column if chosen else None)
    if keys is None or not keys.duplicated().any():
        return None, warning
    return _split(raw, columns, numbers.assign(key=keys), name), warning


# The last evaluation of each run


def _split(raw: RawTable, columns: Mapping[str, Column], numbers: pd.DataFrame, name: str | None) -> RunCurves:
    _check_losses(raw, columns["loss"], numbers)
    evaluated = numbers[np.isfinite(numbers["loss"])]
    axis = run_ids.axis_of(evaluated if len(evaluated) else numbers)
    rows = numbers.assign(progress=numbers[axis])
    _check_progress(raw, rows, axis, columns)
    lost, lost_note = _without_end(rows)
    rows = rows[np.isfinite(rows["loss"]) & ~rows["key"].isin(lost)]
    if rows.empty:
        raise ValueError(f"no run has a loss at its end ({named(lost, 'run')})")
    rows, resumed_note = _once(raw, rows, axis)
    rows = rows.assign(at=rows.index).sort_values(["key", "progress"], kind="stable")
    last = rows.groupby("key")["at"].last().sort_values()
    keep = np.isin(np.arange(len(raw.frame)), last)
    empty = int((~np.isfinite(numbers["loss"])).sum())
    marks = _marks(raw, name)
    notes = [_done(len(last), len(rows), marks, name), resumed_note, lost_note]
    notes.append(f"{count(empty, 'row')} without a loss made no evaluation." if empty else "")
    finals = table_rows.only(raw, keep, " ".join(note for note in notes if note))
    planned = tuple(each for each in ("D", "C") if each in columns and each != axis and _is_plan(rows, each))
    rows["run"] = rows["key"].map({key: place for place, key in enumerate(last.index)})
    kept = ["run", "step", "progress", "loss", *(["C"] if "C" in columns and "C" not in planned else [])]
    names = [key if name else f"row {row}" for key, row in zip(last.index, finals.rows, strict=True)]
    rows = rows.sort_values(["run", "progress"], kind="stable")[kept].reset_index(drop=True)
    reach = _reach(finals, columns) if planned else np.ones(len(last))
    return RunCurves(finals, np.array(names, object), rows, axis, planned, reach, marks)


def about_one_end(tokens: pd.Series) -> str:
    """What to do where all runs end at one D [n], which tells no law; empty where they do not."""
    if np.ptp(np.log(tokens.to_numpy(float))) > SAME_END:
        return ""
    return (
        f"All runs end at about D = {tokens.max():.3g}, so their last losses alone tell nothing about D. Where the "
        "learning rate was constant, each checkpoint is a point of the law: --column run=none"
    )


def _is_plan(rows: pd.DataFrame, quantity: str) -> bool:
    return not run_ids.varies(rows[quantity], rows["key"]).any()


def _reach(finals: RawTable, columns: Mapping[str, Column]) -> np.ndarray:
    found = table_rows.progress(finals, columns, tokens=False)
    return np.ones(len(finals.frame)) if found is None else np.minimum(found[0], 1.0)


def _marks(raw: RawTable, name: str | None) -> tuple[str, ...]:
    at = run_ids.step_at(raw, (*table_rows.STEPS, *table_rows.COUNTS))
    return tuple(dict.fromkeys([*([name] if name else []), *([raw.columns[at]] if at is not None else [])]))


def _done(runs: int, evaluations: int, marks: tuple[str, ...], name: str | None) -> str:
    by = f"the column {name}" if name else f"N, seed and settings, with rising {marks[0]}"
    return (
        f"Several rows are of one run, by {by}: {count(runs, 'run')} with {count(evaluations, 'evaluation')}. The last "
        "evaluation of each run is fitted, and all of them are its loss curve "
        f"({command([Choice('run', NO_COLUMN)])} reads every row as a run)."
    )


def _check_losses(raw: RawTable, column: Column, numbers: pd.DataFrame) -> None:
    """Raises ValueError for a loss that is text; an empty one only means that nothing was measured there."""
    cells = run_ids.texts(raw, column.name)
    text = numbers["loss"].isna() & ~cells.str.casefold().isin(["", "nan", "none", "null", "n/a", "na"])
    if text.any():
        raise ValueError(
            f"column {column.label}: not a number in {named(raw.rows[text.to_numpy(bool)])} "
            f"(such as {cells[text].iloc[0][:20]!r})"
        )


def _check_progress(raw: RawTable, rows: pd.DataFrame, axis: str, columns: Mapping[str, Column]) -> None:
    wrong = np.isfinite(rows["loss"]) & ~(np.isfinite(rows["progress"]) & (rows["progress"] >= 0))
    if wrong.any():
        label = columns[axis].label if axis in columns else axis
        where = named(raw.rows[wrong.to_numpy(bool)])
        raise ValueError(f"column {label}: empty or no positive number in {where}, which have a loss")


def _without_end(rows: pd.DataFrame) -> tuple[list[str], str]:
    """The runs that were logged on, by an evaluation or more, after their last loss: they diverged or broke off."""
    measured = rows[np.isfinite(rows["loss"])].sort_values(["key", "progress"], kind="stable")
    before = measured.groupby("key")["progress"].shift(fill_value=0.0)
    largest_gap = (measured["progress"] - before).groupby(measured["key"]).max()
    ends = rows.groupby("key", sort=False)["progress"].max()
    after = ends - measured.groupby("key")["progress"].max().reindex(ends.index)
    # One of no measured loss at all has NaN here.
    kept = (after < largest_gap.reindex(ends.index)) | (after == 0)
    lost = [str(key) for key in ends.index[~kept]]
    note = f"Left out, because there is no loss at the end of training: {named(lost, 'run')}." if lost else ""
    return lost, note


def _once(raw: RawTable, rows: pd.DataFrame, axis: str) -> tuple[pd.DataFrame, str]:
    """One evaluation a place of each run. A run that was resumed counts from there on as it was trained again.

    Raises:
      ValueError: several losses of one run at one place, which no resuming explains.
    """
    rows = rows[~rows.duplicated(["key", "progress", "loss"], keep="last")]
    tied = rows["key"][rows.duplicated(["key", "progress"])].unique()
    replaced = []
    for key in tied:
        run = rows[rows["key"] == key]
        old = _trained_again(run["progress"].to_numpy(float))
        if old is None:
            places = run.duplicated("progress", keep=False)
            where = named(raw.rows[run.index[places]])
            raise ValueError(
                f"run {key!r} has several losses at one {axis} ({where}) - keep one with --where, or name the column "
                f"that tells runs apart with {command([Choice('run', 'COLUMN')])}"
            )
        replaced += list(run.index[old])
    rows = rows.drop(index=replaced)
    note = f"Resumed: {named(list(tied), 'run')}. Replaced were {count(len(replaced), 'evaluation')} trained again."
    return rows, note if replaced else ""


def _trained_again(progress: np.ndarray) -> np.ndarray | None:
    """Whether each evaluation [n], as logged, was trained again by a later part of the log; None if no run does so.

    Each part begins after the beginning of the first one, and goes on beyond the end of the one before.
    """
    starts = np.flatnonzero(np.diff(progress, prepend=np.inf) <= 0)
    ends = np.append(starts[1:], len(progress)) - 1
    first, last = progress[starts], progress[ends]
    if not ((first[1:] > first[0]).all() and (np.diff(last) > 0).all()):
        return None
    later = np.minimum.accumulate(np.append(first[1:], np.inf)[::-1])[::-1]
    part = np.searchsorted(starts, np.arange(len(progress)), side="right") - 1
    return progress >= later[part]
