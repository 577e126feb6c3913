"""Several rows of one run: the last one is fitted, and all of them together are its loss curve.

A run is told by a column of run ids. Without one it is told by its N, seed and settings, and only where a column `step`
rises row by row. Rows of one N with rising D alone are runs of their own, because every grid is written so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from vsweep.analysis.formatting import count
from vsweep.analysis.tables import extra_columns, table_rows
from vsweep.analysis.tables.column_choices import NO_COLUMN, Choice, command
from vsweep.analysis.tables.column_names import Column, named, read_numbers
from vsweep.analysis.tables.formats import RawTable

IDS = (
    *("runid", "run", "runname", "runuuid", "rununiqueid", "id", "uid", "uuid", "wandbid"),
    *("experimentid", "experiment", "expid", "expname", "trialid", "trial", "jobid"),
)
LABELS = ("name", "label", "config", "configname", "displayname")  # of a run, or of a size that several runs have
GRID = 8  # rows of one label, from which on they are too many to be budgets of a grid
SAME_SIZE = 0.01  # relative difference of N within a run, where N is C / 6D
AXES = ("D", "step", "C")


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
    numbers = _numbers(raw, columns)
    if chosen:
        name, warning = chosen.column, ""
        _check_chosen(raw, numbers, name)
    else:
        name, warning = _id_column(raw, numbers)
    if name is None and not warning:
        keys, warning = _keys_without_ids(raw, columns, numbers)
    else:
        keys = None if name is None else _keys(raw, columns, numbers, name)
    if keys is None or not keys.duplicated().any():
        return None, warning
    return _split(raw, columns, numbers.assign(key=keys), name), ""


def names_of(raw: RawTable) -> np.ndarray:
    """What the rows [n] of a table without checkpoints are called: by their run's file, or by their number."""
    if raw.run_column:
        return _texts(raw, raw.run_column).to_numpy(object)
    return np.array([f"row {row}" for row in raw.rows], object)


def _numbers(raw: RawTable, columns: Mapping[str, Column]) -> pd.DataFrame:
    """N, D, C, step and loss of each row, in plain units, as far as they can be read; absent ones are NaN."""
    found = pd.DataFrame(index=range(len(raw.frame)))
    for quantity in ("N", "D", "C", "loss"):
        column = columns.get(quantity)
        found[quantity] = np.nan if column is None else _read(raw, column.at) * column.factor
    at = _step_at(raw, (*table_rows.STEPS, *table_rows.COUNTS))
    found["step"] = np.nan if at is None else _read(raw, at)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        found["size"] = found["N"] if "N" in columns else found["C"] / (6 * found["D"])
    return found


def _step_at(raw: RawTable, words: tuple[str, ...]) -> int | None:
    """The column of steps, if its values are numbers and vary."""
    at = table_rows.column_called(raw, words)
    return None if at is None or pd.Series(_read(raw, at)).nunique() < 2 else at


def _read(raw: RawTable, at: int) -> np.ndarray:
    return read_numbers(raw.frame.iloc[:, at], raw.rows, allow_zero=True)[0]


# Which rows are of one run


def _texts(raw: RawTable, name: str) -> pd.Series:
    cells = raw.frame.iloc[:, raw.columns.index(name)].reset_index(drop=True)
    return cells.where(cells.notna(), "").astype(str).str.strip()


def _ids(raw: RawTable, numbers: pd.DataFrame, name: str) -> pd.Series:
    """The run ids; those of several files apart, because each may count from 0, unless a log goes on in the next."""
    ids = _texts(raw, name)
    if not raw.file_column or raw.run_column or (ids == "").any():
        return ids
    files = _texts(raw, raw.file_column)
    if not _varies(files, ids).any():
        return ids
    axis = next((axis for axis in ("step", "D", "C") if numbers[axis].notna().any()), "D")
    parts = numbers[axis].groupby([ids, files]).agg(["min", "max", "size"]).sort_values("min", kind="stable")
    parts = parts[parts.index.get_level_values(0).duplicated(keep=False)]
    goes_on = parts["min"] > parts.groupby(level=0)["max"].shift(fill_value=-np.inf)
    if goes_on.all() and (parts["size"] > 1).all():
        return ids
    return ids + f", {raw.file_column} " + files


def _varies(values: pd.Series, keys: pd.Series) -> pd.Series:
    """Whether the values [n] vary within each of the keys that have several rows."""
    several = keys.duplicated(keep=False)
    return values[several].groupby(keys[several]).nunique() > 1


def _one_size(numbers: pd.DataFrame, ids: pd.Series) -> bool:
    sizes = numbers["size"].groupby(ids)
    return bool((sizes.max() <= sizes.min() * (1 + SAME_SIZE)).all())


def _id_column(raw: RawTable, numbers: pd.DataFrame) -> tuple[str | None, str]:
    """The column of run ids that repeats with rising progress; or None, and a warning where one may be.

    Such a column tells N: a number of a repetition or of a seed, which all sizes share, is none.
    """
    for word in (*IDS, *LABELS):
        for name in raw.columns:
            if table_rows.last_part(name) != word:
                continue
            ids = _ids(raw, numbers, name)
            if not ids.duplicated().any() or (ids == "").any() or not _one_size(numbers, ids):
                continue
            rising = [axis for axis in AXES if _varies(numbers[axis], ids).mean() > 0.5]
            if not rising:
                continue
            if word in LABELS and _may_be_grid(numbers, ids):
                return None, _undecided(name, "D")
            return name, ""
    return None, ""


def _may_be_grid(numbers: pd.DataFrame, ids: pd.Series) -> bool:
    """Whether the rows of each label have the same few D, as sizes in a grid have."""
    if numbers["step"].notna().any() or ids.groupby(ids).size().median() >= GRID:
        return False
    return numbers["D"].groupby(ids).agg(lambda tokens: tuple(sorted(set(tokens)))).nunique() == 1


def _undecided(name: str, axis: str) -> str:
    return (
        f"The rows of one {name} with rising {axis} may be runs of their own or checkpoints of one run. Every row was "
        f"read as a run. If they are checkpoints, say {command([Choice('run', name)])}."
    )


def _check_chosen(raw: RawTable, numbers: pd.DataFrame, name: str) -> None:
    ids = _ids(raw, numbers, name)
    if (ids == "").any():
        raise ValueError(f"column {name} (run): empty in {named(raw.rows[(ids == '').to_numpy(bool)])}")
    if not _one_size(numbers, ids):
        sizes = numbers["size"].groupby(ids).nunique()
        raise ValueError(f"column {name} (run): {sizes.idxmax()!r} has several N, so it names no run")


def _keys(raw: RawTable, columns: Mapping[str, Column], numbers: pd.DataFrame, name: str) -> pd.Series:
    """The run of each row as text: its id, with seed and plan where one id has several."""
    more = [columns["seed"].name] if "seed" in columns else []
    more += [each for each in raw.columns if table_rows.last_part(each) in _PLANS]
    keys = _refined(_ids(raw, numbers, name), raw, more)
    if not _has_ties(numbers, keys):
        return keys
    finer = _refined(keys, raw, [each for each in raw.columns if extra_columns.is_setting(each)])
    return keys if _has_ties(numbers, finer) else finer


_PLANS = (*table_rows.STEP_PLANS, *table_rows.TOKEN_PLANS)


def _refined(keys: pd.Series, raw: RawTable, more: list[str]) -> pd.Series:
    """The keys told apart by the columns `more`, save one that would leave no two rows of a key."""
    for name in more:
        cells = _texts(raw, name)
        if not _varies(cells, keys).any():
            continue
        finer = keys + f", {name} " + cells
        keys = finer if finer.duplicated().any() else keys
    return keys


def _keys_without_ids(
    raw: RawTable, columns: Mapping[str, Column], numbers: pd.DataFrame
) -> tuple[pd.Series | None, str]:
    """The run of each row by N, seed, settings and text, where the steps of each rise row by row; else a warning."""
    at = _step_at(raw, table_rows.STEPS)
    if at is None:
        return None, ""
    used = {column.name for quantity, column in columns.items() if quantity != "seed"} | {raw.columns[at]}
    more = [name for name in raw.columns if name and name not in used and _tells_runs(raw, columns, name)]
    keys = _refined(numbers["size"].map("{:.6g}".format), raw, more)
    if not _varies(numbers["step"], keys).any():
        return None, ""
    steps, tokens = (numbers[axis].groupby(keys).diff().dropna() for axis in ("step", "D"))
    rising = (steps > 0).all() and ((tokens > 0).all() or (tokens == 0).all())
    return (keys, "") if rising else (None, _undecided("N", raw.columns[at]))


def _tells_runs(raw: RawTable, columns: Mapping[str, Column], name: str) -> bool:
    if extra_columns.is_setting(name) or table_rows.last_part(name) in _PLANS:
        return True
    is_seed = "seed" in columns and columns["seed"].name == name
    return is_seed or pd.to_numeric(_texts(raw, name).replace("", np.nan), errors="coerce").isna().any()


# The last evaluation of each run


def _has_ties(numbers: pd.DataFrame, keys: pd.Series) -> bool:
    """Whether two evaluations of one run are at the same place of it."""
    evaluated = numbers.assign(key=keys)[np.isfinite(numbers["loss"])]
    return len(evaluated) > 0 and bool(evaluated.duplicated(["key", _axis(evaluated)]).any())


def _axis(evaluated: pd.DataFrame) -> str:
    """What orders the evaluations of a run: the first of D, step and C without ties, else the first that varies."""
    there = [axis for axis in AXES if evaluated[axis].notna().any()]
    free = [axis for axis in there if not evaluated.duplicated(["key", axis]).any()]
    varying = [axis for axis in there if _varies(evaluated[axis], evaluated["key"]).any()]
    return (free or varying or there)[0]


def _split(raw: RawTable, columns: Mapping[str, Column], numbers: pd.DataFrame, name: str | None) -> RunCurves:
    _check_losses(raw, columns["loss"], numbers)
    evaluated = numbers[np.isfinite(numbers["loss"])]
    axis = _axis(evaluated if len(evaluated) else numbers)
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


def _is_plan(rows: pd.DataFrame, quantity: str) -> bool:
    return not _varies(rows[quantity], rows["key"]).any()


def _reach(finals: RawTable, columns: Mapping[str, Column]) -> np.ndarray:
    found = table_rows.progress(finals, columns, tokens=False)
    return np.ones(len(finals.frame)) if found is None else np.minimum(found[0], 1.0)


def _marks(raw: RawTable, name: str | None) -> tuple[str, ...]:
    at = _step_at(raw, (*table_rows.STEPS, *table_rows.COUNTS))
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
    cells = _texts(raw, column.name)
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
