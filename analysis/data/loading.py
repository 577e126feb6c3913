"""Loads a work directory or a table, each number checked, as one `Source`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from vsweep import schema, tables
from vsweep.analysis.data.source import SEED_COLUMNS, Source
from vsweep.analysis.tables import conditions, foreign_tables
from vsweep.analysis.tables.column_names import named, read_numbers
from vsweep.analysis.tables.foreign_tables import BadTable

TEXT_COLUMNS = (
    *("run_id", "stack", "task", "schedule", "precision", "tied_embeddings"),
    *("status", "device", "matmul_precision", "versions"),
)
PLANNED_COLUMNS = ("params", "params_non_embedding", "budget")  # known before a run has begun
COUNTED_COLUMNS = (*PLANNED_COLUMNS, "tokens", "flops_6nd", "flops_counted")
# What a diverging run may make infinite, and noise negative. All other numbers are counts, times and settings.
MEASURED_COLUMNS = tuple(name for name in schema.RUN_COLUMNS if name.endswith(("_loss", "_se", "_match")))
SEEDS_END = 2.0**63  # of 64-bit integers
LARGEST = 1e60  # of any number: float32 ends at 3.4e38, and a fit may square one


def load(
    source: str | Path | pd.DataFrame,
    *,
    columns: Iterable[str] | Mapping[str, str] = (),
    loss_unit: str | None = None,
    where: Iterable[str] = (),
) -> Source:
    """Loads a vsweep work directory or a table with a loss and two of N, D, C (seed, budget and more are optional).

    Args:
      source: the directory, a file in any format of `formats`, or a DataFrame.
      columns: which column of a table is what, such as `{"D": "tokens_B*1e9"}` or `["D=tokens_B*1e9"]`.
      loss_unit: unit of a table's loss, one of `units.LOSS_UNITS` (default: what its name says, else nats/token).
      where: conditions on the runs to keep, such as `dataset == "web"` or `layers=4,8` (`conditions.parse`).

    Raises:
      BadTable: nothing is there, a column is missing or doubtful, or a value is missing, not a number, or not positive.
      ValueError: columns or a unit for a work directory, which has its own, or a condition that no run of it meets.
    """
    if not isinstance(source, pd.DataFrame) and (source := Path(source)).is_dir():
        if columns or loss_unit:
            raise ValueError(f"{source}: a work directory has its own columns; leave out --column and --loss-unit")
        return keep(_load_workdir(source), where)
    table = foreign_tables.read(source, columns=columns, loss_unit=loss_unit, where=where)
    path = foreign_tables.IN_MEMORY if isinstance(source, pd.DataFrame) else source
    return Source(
        path,
        is_workdir=False,
        runs=table.runs,
        curves=None,
        notes=table.notes,
        loss_unit=table.loss_unit,
        warnings=table.warnings,
        settings=table.settings,
        variable=table.variable,
    )


def keep(source: Source, where: Iterable[str]) -> Source:
    """The runs of a loaded source that meet every condition, such as `layers=4` or `width=8,16`.

    Raises:
      ValueError: no such column, no value, or a value that no run has.
    """
    for text in [where] if isinstance(where, str) else where:
        condition = conditions.parse(text, list(source.runs.columns), str(source.path))
        source = replace(
            source, runs=source.runs[conditions.met(condition, source.runs[condition.column], str(source.path))]
        )
    return source


def _load_workdir(path: Path) -> Source:
    if not (path / schema.RUNS_FILE).is_file():
        raise BadTable(f"{path}: no {schema.RUNS_FILE} here - is this the work directory of a sweep?")
    try:
        runs = tables.read_runs(path)
        curves = tables.read_curves(path) if (path / schema.CURVES_FILE).is_file() else None
        times = tables.read_times(path)
    except ValueError as error:
        raise BadTable(str(error)) from error
    _check_runs(path / schema.RUNS_FILE, runs)
    runs = _as_floats(runs)
    if curves is not None:
        _raise(path / schema.CURVES_FILE, _no_numbers(curves))
        curves = _as_floats(curves)
    if times is not None:
        _raise(path / schema.TIMES_FILE, list(_wrong(times, schema.ACTIVITIES, allow_zero=True).values()))
    runs["seed_block"] = _seed_blocks(runs)
    return Source(path, True, runs, curves, times=times)


def _check_runs(path: Path, runs: pd.DataFrame) -> None:
    if runs.empty:
        raise BadTable(f"{path}: the table has no rows")
    wrong = _wrong(runs, PLANNED_COLUMNS)
    _raise(path, [*wrong.values(), *_no_numbers(runs.drop(columns=list(wrong))), *_no_names(runs["run_id"])])
    more = runs["params_non_embedding"].astype(float) > runs["params"].astype(float)
    _raise(path, [f"column params_non_embedding: more than params in {_rows(more)}"] if more.any() else [])


def _wrong(frame: pd.DataFrame, columns: Sequence[str], *, allow_zero: bool = False) -> dict[str, str]:
    """What is wrong, by column, in columns of positive numbers, none of which may be empty."""
    rows = np.arange(2, len(frame) + 2)  # the header is row 1
    checked = {name: read_numbers(frame[name], rows, allow_zero=allow_zero)[1] for name in columns}
    return {name: f"column {name}: {problem}" for name, problem in checked.items() if problem}


def _no_names(run_ids: pd.Series) -> list[str]:
    wrong = {"empty": run_ids.isna(), "not the only run of its name": run_ids.notna() & run_ids.duplicated(keep=False)}
    return [f"column run_id: {what} in {_rows(rows)}" for what, rows in wrong.items() if rows.any()]


def _no_numbers(frame: pd.DataFrame) -> list[str]:
    """Cells that no sweep writes into a column of numbers; an empty one has not been measured yet."""
    problems = []
    for name in _number_columns(frame):
        values = _floats(frame[name])
        wrong = {"not a number": frame[name].notna().to_numpy() & np.isnan(values)}
        if name in MEASURED_COLUMNS:
            wrong["too large"] = (np.abs(values) > LARGEST) & np.isfinite(values)
        else:
            wrong["negative, too large or infinite"] = (values < 0) | (values > LARGEST)
        if name in COUNTED_COLUMNS:
            wrong["below one"] = (values > 0) & (values < 1)
        if name in SEED_COLUMNS:
            whole = np.isfinite(values) & (values < SEEDS_END) & (np.floor(values) == values)
            wrong["no seed"] = np.isfinite(values) & ~whole
        problems += [
            f"column {name}: {what} in {_rows(rows)} (such as {str(frame[name][rows].iloc[0])[:20]!r})"
            for what, rows in wrong.items()
            if rows.any()
        ]
    return problems


def _floats(column: pd.Series) -> np.ndarray:
    """Its numbers, and NaN for text; an integer of hundreds of digits is infinite."""
    try:
        return pd.to_numeric(column, errors="coerce").to_numpy(float)
    except OverflowError:
        return read_numbers(column, np.arange(len(column)))[0]


def _number_columns(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame if name in schema.RUN_COLUMNS and name not in TEXT_COLUMNS]


def _as_floats(frame: pd.DataFrame) -> pd.DataFrame:
    """The checked table, its numbers as numpy's: pandas leaves a column with one too large for 64 bits as objects."""
    objects = [name for name in _number_columns(frame) if frame[name].dtype == object]
    return frame.astype(dict.fromkeys(objects, float))


def _rows(wrong: np.ndarray | pd.Series) -> str:
    return named(np.flatnonzero(wrong) + 2)


def _raise(path: Path, problems: list[str]) -> None:
    if problems:
        raise BadTable(f"{path}: {'; '.join(problems)}")


def _seed_blocks(runs: pd.DataFrame) -> pd.Series:
    """One label a block of runs that share randomness: the seed, or all four seeds where they are separate axes."""
    seeds = runs[SEED_COLUMNS].astype("Int64").astype(str)
    if len(seeds.drop_duplicates()) == seeds["seed"].nunique():
        return seeds["seed"]
    return seeds.agg("/".join, axis=1)
