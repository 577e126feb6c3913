"""Which rows of a table are of one run: by a column of run ids, or by N, seed and settings where steps rise."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from vsweep.analysis.tables import extra_columns, table_rows
from vsweep.analysis.tables.column_choices import NO_COLUMN, Choice, command
from vsweep.analysis.tables.column_names import Column, named, read_numbers
from vsweep.analysis.tables.formats import RawTable

IDS = (
    *("runid", "run", "runname", "runuuid", "rununiqueid", "id", "uid", "uuid", "wandbid"),
    *("trialid", "jobid"),
)
LABELS = (  # of a run, or of a size that several runs have
    *("name", "displayname", "label", "experiment", "experimentid", "expid", "expname", "trial"),
    *("config", "configname"),
)
GRID = 20  # rows of one label, from which on they are too many to be budgets of a grid
SAME_SIZE = 0.01  # relative difference of N within a run, where N is C / 6D
AXES = ("D", "step", "C")


def names_of(raw: RawTable) -> np.ndarray:
    """What the rows [n] of a table without checkpoints are called: by their run's file, or by their number."""
    if raw.run_column:
        return texts(raw, raw.run_column).to_numpy(object)
    return np.array([f"row {row}" for row in raw.rows], object)


def numbers_of(raw: RawTable, columns: Mapping[str, Column]) -> pd.DataFrame:
    """N, D, C, step and loss of each row, in plain units, as far as they can be read; absent ones are NaN."""
    found = pd.DataFrame(index=range(len(raw.frame)))
    for quantity in ("N", "D", "C", "loss"):
        column = columns.get(quantity)
        found[quantity] = np.nan if column is None else _read(raw, column.at) * column.factor
    at = step_at(raw, (*table_rows.STEPS, *table_rows.COUNTS))
    found["step"] = np.nan if at is None else _read(raw, at)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        found["size"] = found["N"] if "N" in columns else found["C"] / (6 * found["D"])
    return found


def step_at(raw: RawTable, words: tuple[str, ...]) -> int | None:
    """The column of steps, if its values are numbers and vary."""
    at = table_rows.column_called(raw, words)
    return None if at is None or pd.Series(_read(raw, at)).nunique() < 2 else at


def _read(raw: RawTable, at: int) -> np.ndarray:
    return read_numbers(raw.frame.iloc[:, at], raw.rows, allow_zero=True)[0]


def texts(raw: RawTable, name: str) -> pd.Series:
    """The cells [n] of a column as text without spaces around it; an empty one is the empty text."""
    cells = raw.frame.iloc[:, raw.columns.index(name)].reset_index(drop=True)
    return cells.where(cells.notna(), "").astype(str).str.strip()


def run_of_each_row(
    raw: RawTable, columns: Mapping[str, Column], numbers: pd.DataFrame, chosen: str | None
) -> tuple[pd.Series | None, str | None, str]:
    """The run of each row [n] as text, the column of run ids if there is one, and a warning where that is in doubt.

    None for the runs: every row is one.

    Raises:
      ValueError: the `chosen` column of run ids is empty somewhere, or tells no N.
    """
    if chosen is not None:
        _check_chosen(raw, numbers, chosen)
        return _keys(raw, columns, numbers, chosen), chosen, ""
    name, warning = _id_column(raw, columns, numbers)
    if name is not None:
        return _keys(raw, columns, numbers, name), name, warning
    keys, doubt = (None, warning) if warning else _keys_without_ids(raw, columns, numbers)
    return keys, None, doubt


def _ids(raw: RawTable, numbers: pd.DataFrame, name: str) -> pd.Series:
    """The run ids; those of several files apart, because each may count from 0, unless a log goes on in the next."""
    ids = texts(raw, name)
    if not raw.file_column or raw.run_column or (ids == "").any():
        return ids
    files = texts(raw, raw.file_column)
    if not varies(files, ids).any():
        return ids
    axis = next((axis for axis in ("step", "D", "C") if numbers[axis].notna().any()), "D")
    parts = numbers[axis].groupby([ids, files]).agg(["min", "max", "size"]).sort_values("min", kind="stable")
    parts = parts[parts.index.get_level_values(0).duplicated(keep=False)]
    goes_on = parts["min"] > parts.groupby(level=0)["max"].shift(fill_value=-np.inf)
    if goes_on.all() and (parts["size"] > 1).all():
        return ids
    return ids + f", {raw.file_column} " + files


def varies(values: pd.Series, keys: pd.Series) -> pd.Series:
    """Whether the values [n] vary within each of the keys that have several rows."""
    several = keys.duplicated(keep=False)
    return values[several].groupby(keys[several]).nunique() > 1


def _one_size(numbers: pd.DataFrame, ids: pd.Series) -> bool:
    sizes = numbers["size"].groupby(ids)
    return bool((sizes.max() <= sizes.min() * (1 + SAME_SIZE)).all())


def _id_column(raw: RawTable, columns: Mapping[str, Column], numbers: pd.DataFrame) -> tuple[str | None, str]:
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
            rising = [axis for axis in AXES if varies(numbers[axis], ids).mean() > 0.5]
            if not rising:
                continue
            if word in LABELS and _may_be_grid(raw, columns, numbers, ids):
                return None, _undecided(name, "D")
            return name, ""
    return None, ""


def _may_be_grid(raw: RawTable, columns: Mapping[str, Column], numbers: pd.DataFrame, ids: pd.Series) -> bool:
    """Whether labels tell no more than N, seed and settings do, without steps: they may be sizes of a grid."""
    if numbers["step"].notna().any() or ids.groupby(ids).size().median() >= GRID:
        return False
    more = [name for name in raw.columns if extra_columns.is_setting(name)]
    more += [columns["seed"].name] if "seed" in columns else []
    told = numbers[["size"]].assign(**{name: texts(raw, name) for name in more})
    return ids.nunique() <= len(told.drop_duplicates())


def _each_row_is_a_run(raw: RawTable) -> bool:
    """Whether names of runs are all different, as in a summary of runs; a row's own number is no name."""
    for name in raw.columns:
        if table_rows.last_part(name) in (*IDS, *LABELS):
            ids = texts(raw, name)
            numbers = pd.to_numeric(ids, errors="coerce")
            if not ids.duplicated().any() and not (numbers.notna().all() and (numbers.diff().dropna() == 1).all()):
                return True
    return False


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
        cells = texts(raw, name)
        if not varies(cells, keys).any():
            continue
        finer = keys + f", {name} " + cells
        keys = finer if finer.duplicated().any() else keys
    return keys


def _keys_without_ids(
    raw: RawTable, columns: Mapping[str, Column], numbers: pd.DataFrame
) -> tuple[pd.Series | None, str]:
    """The run of each row by N, seed, settings and text, where the steps of each rise row by row; and a warning."""
    at = step_at(raw, table_rows.STEPS)
    if at is None or _each_row_is_a_run(raw):
        return None, ""
    used = {column.name for quantity, column in columns.items() if quantity != "seed"} | {raw.columns[at]}
    more = [name for name in raw.columns if name and name not in used and _tells_runs(raw, columns, name)]
    keys = _refined(numbers["size"].map("{:.6g}".format), raw, more)
    if not varies(numbers["step"], keys).any():
        return None, ""
    steps, tokens = (numbers[axis].groupby(keys).diff().dropna() for axis in ("step", "D"))
    rising = (steps > 0).all() and ((tokens > 0).all() or (tokens == 0).all())
    if not rising:
        return None, _undecided("N", raw.columns[at])
    return keys, (
        f"Rows of one N with rising {raw.columns[at]} were read as checkpoints of one run. If each row is a run, say "
        f"{command([Choice('run', NO_COLUMN)])}."
    )


def _tells_runs(raw: RawTable, columns: Mapping[str, Column], name: str) -> bool:
    if extra_columns.is_setting(name) or table_rows.last_part(name) in _PLANS:
        return True
    is_seed = "seed" in columns and columns["seed"].name == name
    return is_seed or pd.to_numeric(texts(raw, name).replace("", np.nan), errors="coerce").isna().any()


def _has_ties(numbers: pd.DataFrame, keys: pd.Series) -> bool:
    """Whether two evaluations of one run are at the same place of it."""
    evaluated = numbers.assign(key=keys)[np.isfinite(numbers["loss"])]
    return len(evaluated) > 0 and bool(evaluated.duplicated(["key", axis_of(evaluated)]).any())


def axis_of(evaluated: pd.DataFrame) -> str:
    """What orders the evaluations of a run: the first of D, step and C without ties, else the first that varies."""
    there = [axis for axis in AXES if evaluated[axis].notna().any()]
    free = [axis for axis in there if not evaluated.duplicated(["key", axis]).any()]
    varying = [axis for axis in there if varies(evaluated[axis], evaluated["key"]).any()]
    return (free or varying or there)[0]
