"""Loads a work directory or a table, each number checked, as one `Source`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from vsweep import schema, tables
from vsweep.analysis.data import language, samples, several_workdirs
from vsweep.analysis.data.source import SEED_COLUMNS, SETTING_COLUMNS, Source, seed_blocks
from vsweep.analysis.tables import conditions, foreign_tables, several_files
from vsweep.analysis.tables.column_names import named, read_numbers
from vsweep.analysis.tables.foreign_tables import BadTable, Table
from vsweep.analysis.tables.several_files import Paths

TEXT_COLUMNS = (
    *("run_id", "stack", "task", "schedule", "precision", "tied_embeddings"),
    *("status", "device", "matmul_precision", "versions"),
)
COUNTED_COLUMNS = ("params", "params_non_embedding", "budget", "tokens", "flops_6nd", "flops_counted")
# What a diverging run may make infinite, and noise negative. All other numbers are counts, times and settings.
MEASURED_COLUMNS = tuple(name for name in schema.RUN_COLUMNS if name.endswith(("_loss", "_se", "_match")))
SEEDS_END = 2.0**63  # of 64-bit integers
LARGEST = 1e60  # of any number: float32 ends at 3.4e38, and a fit may square one


def load(
    source: Paths | pd.DataFrame,
    *,
    columns: Iterable[str] | Mapping[str, str] = (),
    loss_unit: str | None = None,
    where: Iterable[str] = (),
    final_only: bool = False,
    min_progress: float | None = None,
    run_from_filename: bool = False,
) -> Source:
    """Loads a vsweep work directory or a table with a loss and two of N, D, C (seed, budget and more are optional).

    Args:
      source: the directory, a file in any format of `formats`, or a DataFrame; or several directories of one task, or
        several files: a list of them or a pattern such as `runs/*.csv`.
      columns: which column of a table is what, such as `{"D": "tokens_B*1e9"}` or `["D=tokens_B*1e9"]`.
      loss_unit: unit of a table's loss, one of `units.LOSS_UNITS` (default: what its name says, else nats/token).
      where: conditions on the runs to keep, such as `dataset == "web"` or `layers=4,8` (`conditions.parse`).
      final_only: drop loss curves and checkpoints, so that finished losses alone are fitted.
      min_progress: leave out the runs of a table that reached less than this share of their plan, such as 0.99. A
        column must say the plan: `max_steps`, `target_tokens` and the like.
      run_from_filename: each file is one run, called as the file (`several_files.read`).

    Raises:
      BadTable: nothing is there, a column is missing or doubtful, or a value is missing, not a number, or not positive.
      ValueError: columns or a unit for a work directory, which has its own, or a condition that no run of it meets.
    """
    source = source if isinstance(source, pd.DataFrame) else several_files.expanded(source)
    wish = foreign_tables.Wish(loss_unit, final_only, min_progress)
    folders = [path for path in source if path.is_dir()] if isinstance(source, list) else []
    if folders and folders == source:
        _refuse_table_options("source", columns, loss_unit, min_progress, run_from_filename)
        loaded = _warned(keep(several_workdirs.together([_load_workdir(path) for path in folders]), where))
        return replace(loaded, curves=None) if final_only else loaded
    if folders:
        mixed = ", ".join(map(str, folders))
        raise ValueError(
            f"source: a work directory and a table have other columns - got {mixed}; analyse each by itself"
        )
    if isinstance(source, list) or (run_from_filename and isinstance(source, Path) and source.is_file()):
        paths = source if isinstance(source, list) else [source]
        return _load_files(paths, run_from_filename, columns=columns, where=where, wish=wish)
    if isinstance(source, Path) and source.is_dir():
        _refuse_table_options(str(source), columns, loss_unit, min_progress, run_from_filename)
        loaded = _warned(keep(_load_workdir(source), where))
        return replace(loaded, curves=None) if final_only else loaded
    if run_from_filename:
        raise ValueError("run_from_filename: each file is one run - needed are files, such as 'runs/*.csv'")
    table = foreign_tables.read(source, columns=columns, where=where, wish=wish)
    return _of_table(foreign_tables.IN_MEMORY if isinstance(source, pd.DataFrame) else source, table)


def _refuse_table_options(
    name: str, columns: object, loss_unit: str | None, min_progress: float | None, run_from_filename: bool
) -> None:
    """A work directory has its own columns and knows its runs."""
    given = {"--column": columns, "--loss-unit": loss_unit}
    given |= {"--min-progress": min_progress, "--run-from-filename": run_from_filename}
    if wrong := [option for option, value in given.items() if value or (value == 0.0 and value is not False)]:
        raise ValueError(
            f"{name}: a work directory has its own columns and knows its runs; leave out {', '.join(wrong)}"
        )


def _load_files(paths: list[Path], run_from_filename: bool, **reading: object) -> Source:
    """Several tables as one, or one table that is one run."""
    table = foreign_tables.read(several_files.read(paths, run_from_filename=run_from_filename), **reading)
    return _of_table(several_files.title_of(paths) if len(paths) > 1 else paths[0], table)


def _of_table(path: Path, table: Table) -> Source:
    shared = ("runs", "curves", "notes", "loss_unit", "warnings", "settings", "variable")
    return Source(path, is_workdir=False, **{name: getattr(table, name) for name in shared})


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
    axes, warning = _own_axes(path, runs)
    text, unread = language.read(path)
    written, no_samples = samples.read(path)
    runs["seed_block"] = seed_blocks(runs)
    settings, warnings = (*SETTING_COLUMNS, *axes), tuple(filter(None, (warning, unread, no_samples)))
    of_text = {"language": text, "samples": written}
    return Source(path, True, runs, curves, times=times, warnings=warnings, settings=settings, **of_text)


def _warned(source: Source) -> Source:
    """With a warning about runs of a sweep whose config has them no more, if there are any."""
    runs = source.runs
    if "in_config" not in runs or not (out := int((runs["in_config"] == 0).sum())):
        return source
    told = (
        f"{out} of {len(runs)} runs are no longer in the sweep's config (in_config is 0); the fits have them too. "
        "Leave them out with the condition in_config=1 (--where)."
    )
    return replace(source, warnings=(*source.warnings, told))


def _own_axes(path: Path, runs: pd.DataFrame) -> tuple[list[str], str]:
    """Columns behind the usual ones that are axes of the sweep, such as of a user's own optimizer, and a warning.

    config.json tells them from metrics. It is read only where there are such columns.
    """
    known = [name for name in runs if name in schema.OPTIONAL_COLUMNS]
    others = [name for name in runs if name not in {*schema.RUN_COLUMNS, *schema.EXTENSION_COLUMNS, *known}]
    varying = [name for name in others if runs[name].nunique(dropna=False) > 1]
    if not varying:
        return known, ""
    try:
        sweep = json.loads((path / "config.json").read_text(encoding="utf-8"))["sweep"]
        swept = {*sweep, *sweep.get("random", ()), *(sweep.get("runs_csv") or [{}])[0]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return known, f"config.json cannot be read, so no column is taken for a setting of: {', '.join(varying)}."
    return [*known, *(name for name in others if name in swept)], ""


def _check_runs(path: Path, runs: pd.DataFrame) -> None:
    if runs.empty:
        raise BadTable(f"{path}: the table has no rows")
    wrong = _wrong(runs, ("params", "budget")) | _wrong(runs, ("params_non_embedding",), allow_zero=True)
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
