"""Tables of other people's runs, in and out.

Any file that `formats` reads, or a DataFrame. A bad table gets one message with all of its problems. Values are
only ever read as numbers or text: nothing in a table is evaluated or unpickled.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from vsweep import schema
from vsweep.analysis.tables import extra_columns, formats, pivot, table_rows, units
from vsweep.analysis.tables.checkpoints import run_curves, run_ids
from vsweep.analysis.tables.checkpoints.run_curves import RunCurves
from vsweep.analysis.tables.column_choices import Choice, command, parse
from vsweep.analysis.tables.column_names import (
    OPTIONAL,
    Column,
    ColumnReading,
    named,
    read_labels,
    read_numbers,
    recognise,
)
from vsweep.analysis.tables.compute import complete, group_close
from vsweep.analysis.tables.formats import RawTable

IN_MEMORY = Path("the table")  # what messages and titles call a DataFrame, which has no file
OWN_COLUMNS = {"run_id", "params", "params_non_embedding"}  # together only in a sweep's runs.csv


class BadTable(ValueError):
    """The table cannot be analysed; the message names the file, the column and the rows."""


@dataclass(frozen=True)
class Table:
    """Checked runs of a foreign table, one row each, and sentences on how its columns were read.

    `runs` has the columns run_id (such as `row 2`), params, tokens, flops_6nd (FLOP), loss, seed_block (None without
    seeds), budget (tokens), status, and where the table has them isoflop (FLOP), unique_tokens and weight. Columns that
    hold no quantity follow as they are. `warnings` are for the top of a report. `settings` names hyperparameters.
    `curves` has the checkpoints of the runs, where the table has several rows of one run (`run_curves`).
    `variable` is `N`, `D` or `C` where the table has this one only; the others are NaN, and `budget` holds its values.
    """

    runs: pd.DataFrame
    notes: tuple[str, ...]
    loss_unit: str = units.NATS
    warnings: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    curves: pd.DataFrame | None = None
    variable: str = ""


@dataclass(frozen=True)
class Wish:
    """What the user says about a table as a whole: the unit of its loss, and which runs and rows count.

    `final_only` drops the checkpoints of runs; `min_progress` leaves out runs that reached less of their plan.
    """

    loss_unit: str | None = None
    final_only: bool = False
    min_progress: float | None = None


def read(
    source: Path | pd.DataFrame | RawTable,
    *,
    columns: Iterable[str] | Mapping[str, str] = (),
    where: Iterable[str] = (),
    wish: Wish | None = None,
) -> Table:
    """The runs of a table with a loss and any two of N, D and C (C = 6ND gives the third), under their usual names.

    A table with one of them is read for a law of this one variable.

    Args:
      source: a file that `formats` reads, a DataFrame, or a table as it was found.
      columns: the user's own word on columns, as `column_choices.parse` takes it.
      where: conditions on the rows to keep, as `conditions.parse` takes them.
      wish: what else the user says. The unit is one of `units.LOSS_UNITS`; what the loss's name says by default.

    Raises:
      BadTable: it cannot be read, a column is missing or doubtful, or values are missing, no numbers or not positive.
        A magnitude that no such quantity has is doubtful too. The message gives the option that answers it.
    """
    raw = source if isinstance(source, RawTable) else read_raw(source)
    if set(raw.columns) >= OWN_COLUMNS:
        raise BadTable(f"{raw.name}: this is a sweep's own table - give the work directory that holds it")
    try:
        choices = parse(columns, raw.columns)
        return _read_runs(table_rows.kept(raw, where), choices, wish or Wish())
    except ValueError as error:
        raise BadTable(f"{raw.name}: {error}{pivot.hint(raw)}") from error


def _read_runs(raw: RawTable, choices: dict[str, Choice], wish: Wish) -> Table:
    if wish.loss_unit is not None and wish.loss_unit not in units.LOSS_UNITS:
        raise ValueError(f"loss_unit: unknown - got {wish.loss_unit!r}; allowed {', '.join(units.LOSS_UNITS)}")
    reading = recognise(raw.columns, choices)
    split, doubt = (None, "") if reading.problems else run_curves.split(raw, reading.columns, choices)
    split, raw, short = _far_enough(split, raw, reading.columns, wish.min_progress)
    values = _checked_values(raw, reading)
    again, note = table_rows.repeated(raw)
    raw, values = table_rows.only(raw, ~again, note), {name: column[~again] for name, column in values.items()}
    _raise_doubts(values, reading.columns)
    loss, unit, loss_notes = _loss(values["loss"], reading.columns["loss"], wish.loss_unit, raw.rows)
    values, notes = complete(_reached({**values, "loss": loss}, split), reading.columns, raw.rows)
    runs = _runs(values, run_ids.names_of(raw) if split is None else split.names)
    extra = _extra(raw, reading.columns)
    settings = tuple(name for name in extra if extra_columns.is_setting(name))
    used = {*settings, *(split.marks if split else ()), *((raw.run_column, raw.file_column) if raw.run_column else ())}
    used |= set(filter(extra_columns.is_metric, extra))
    unused = extra.drop(columns=[name for name in extra if name in used])
    variable = _only_variable(values)
    cells = runs.groupby(["budget"] if variable else [group_close(values["N"]), "budget"]).ngroup()
    notes += [_about_variable(variable), _about_settings(extra, settings, cells), extra_columns.about_unused(unused)]
    notes = [note for note in (*raw.notes, *reading.notes, *loss_notes, *notes) if note]
    one_end = "" if split is None else run_curves.about_one_end(runs["tokens"])
    warnings = [text for text in (doubt, short, one_end) if text]
    warnings += extra_columns.about_studies(unused, cells, values["loss"])
    curves = None
    if split and not wish.final_only:
        curves = split.curves(runs, _curve_losses(split, reading.columns["loss"], wish.loss_unit))
    elif split:
        notes.append("The checkpoints were left out: only the last evaluation of each run counts.")
    more = extra[[name for name in extra if name not in runs]]
    return Table(pd.concat([runs, more], axis=1), tuple(notes), unit, tuple(warnings), settings, curves, variable)


def _far_enough(
    split: RunCurves | None, raw: RawTable, columns: dict[str, Column], least: float | None
) -> tuple[RunCurves | None, RawTable, str]:
    """The runs (`split` with its finals, or the rows of `raw`) that reached the share `least` of their plan.

    Without `least` all of them, and a warning where the checkpoints of a run end before its plan.
    """
    raw = raw if split is None else split.finals
    names = run_ids.names_of(raw) if split is None else split.names
    tokens = split is None or "D" not in split.planned
    if least is None:
        return split, raw, "" if split is None else table_rows.about_unfinished(raw, columns, names, tokens=tokens)
    short, note = table_rows.unfinished(raw, columns, names, least, tokens=tokens)
    if split is None:
        return None, table_rows.only(raw, ~short, note), ""
    split = split.only(~short, note)
    return split, split.finals, ""


def _reached(values: dict[str, np.ndarray], split: RunCurves | None) -> dict[str, np.ndarray]:
    """`values` with the D and C that were planned, and are the same in all rows of a run, as far as it was trained."""
    return values if split is None else values | {name: values[name] * split.reach for name in split.planned}


def _curve_losses(split: RunCurves, column: Column, given: str | None) -> np.ndarray:
    """The losses of all evaluations in the unit of the runs."""
    loss = split.rows["loss"].to_numpy(float)
    if (given or column.unit) != units.PERPLEXITY:
        return loss
    if (loss < 1).any():
        raise ValueError(f"column {column.label}: below one in {(loss < 1).sum()} checkpoints, so it is no perplexity")
    return np.log(loss)


def _only_variable(values: dict[str, np.ndarray]) -> str:
    """N, D or C where only this one has values; empty where there are all three."""
    known = [name for name in "NDC" if not np.isnan(values[name]).all()]
    return known[0] if len(known) == 1 else ""


def _about_variable(variable: str) -> str:
    if not variable:
        return ""
    others = " and ".join(name for name in "NDC" if name != variable)
    return (
        f"Of N, D and C the table has {variable} only: a law L({variable}) is fitted, and nothing is said of {others}."
    )


def _extra(raw: RawTable, used: dict[str, Column]) -> pd.DataFrame:
    """The columns that hold no quantity, with a name each, and rows counted from 0."""
    names, positions = raw.columns, {column.at for column in used.values()}
    left = [at for at, name in enumerate(names) if at not in positions and name and names.index(name) == at]
    return raw.frame.iloc[:, left].set_axis([names[at] for at in left], axis=1).reset_index(drop=True)


def _about_settings(extra: pd.DataFrame, settings: tuple[str, ...], cells: pd.Series) -> str:
    varying = [name for name in settings if extra[name].astype(str).groupby(cells).nunique().max() > 1]
    if not varying:
        return ""
    return (
        f"The table also varies {', '.join(varying)}. Each cell of N and D keeps the setting with the lowest mean "
        "loss. The others are listed under excluded runs. The best of several is slightly optimistic."
    )


def _checked_values(raw: RawTable, reading: ColumnReading) -> dict[str, np.ndarray]:
    """The values [n] of each column in plain units; raises ValueError with everything that is wrong with them."""
    problems, values = list(reading.problems), {}
    for quantity, column in reading.columns.items():
        values[quantity], problem = _values(raw, column)
        problems += [problem] if problem else []
    if raw.frame.empty:
        problems.append("the table has no rows")
    if problems:
        raise ValueError("; ".join(problems))
    return values


def _values(raw: RawTable, column: Column) -> tuple[np.ndarray, str]:
    cells = raw.frame.iloc[:, column.at]
    if column.quantity == "seed":
        values, problem = read_labels(cells, raw.rows)
    else:
        values, problem = read_numbers(cells, raw.rows, allow_zero=column.quantity == "loss")
        values = values if column.factor == 1.0 else values * column.factor
    hint = " (this column may be left out)" if column.quantity in OPTIONAL else ""
    return values, f"column {column.label}: {problem}{hint}" if problem else ""


def _raise_doubts(values: dict[str, np.ndarray], columns: dict[str, Column]) -> None:
    """Raises ValueError for magnitudes that cannot be meant, with the options that answer the question."""
    counts = {name: values[name] for name in "NDC" if name in values}
    chosen = {name for name in counts if columns[name].chosen}
    for doubt in units.doubts(counts) if chosen < set(counts) else []:
        concerned = doubt.factors or counts
        if set(concerned) <= chosen:
            continue
        scaled = [
            Choice(name, columns[name].name, columns[name].factor * factor) for name, factor in doubt.factors.items()
        ]
        as_it_is = command(columns[name].choice for name in concerned)
        if scaled:
            raise ValueError(
                f"{doubt.text} - read it with {command(scaled)} or, if it is right as it stands, {as_it_is}"
            )
        raise ValueError(
            f"{doubt.text} - are N and D plain counts, and C in FLOP? A factor behind a column gives its unit, such as "
            f"{command([Choice(name, columns[name].name, 1e9) for name in list(concerned)[-1:]])}. "
            f"If they are right as they stand: {as_it_is}"
        )


def _loss(
    loss: np.ndarray, column: Column, given: str | None, rows: np.ndarray
) -> tuple[np.ndarray, str, tuple[str, ...]]:
    """The loss [n], its unit, and notes: perplexities become nats per token, other units stay as they are."""
    unit = given or column.unit or units.NATS
    if unit == units.PERPLEXITY:
        if (loss < 1).any():
            raise ValueError(f"column {column.label}: below one in {named(rows[loss < 1])}, so it is no perplexity")
        return np.log(loss), units.NATS, (f"The loss is ln {column.name}: a perplexity as nats per token.",)
    middle = float(np.quantile(loss, 0.5, method="lower"))  # no sum of two losses, which may overflow
    if unit == units.NATS and given is None and not column.chosen and middle > units.LARGEST_LOSS:
        raise ValueError(
            f"column {column.label}: {middle:.4g} in the median row is more nats per token than a vocabulary allows - "
            f"is it a perplexity? Say --loss-unit {units.PERPLEXITY}, or --loss-unit {units.NATS} if it is right"
        )
    return loss, unit, () if unit == units.NATS else (f"The loss is in {unit}, and so are E and every loss below.",)


def _runs(values: dict[str, np.ndarray], names: Sequence[str]) -> pd.DataFrame:
    runs = pd.DataFrame({"run_id": list(names)})
    runs["params"], runs["tokens"], runs["loss"] = values["N"], values["D"], values["loss"]
    runs["flops_6nd"] = values["C"]
    runs["seed_block"] = values.get("seed")
    runs["budget"] = values.get("token_budget", group_close(values["D"]))
    for name in ("isoflop", "unique_tokens", "weight"):
        if name in values:
            runs[name] = values[name]
    runs["status"] = schema.FINISHED
    return runs


# Files


def read_raw(source: Path | pd.DataFrame) -> RawTable:
    """The table as it was found; raises BadTable where it cannot be read."""
    if not isinstance(source, pd.DataFrame) and not source.is_file():
        raise BadTable(f"{source}: no such work directory or table")
    try:
        if isinstance(source, pd.DataFrame):
            return pivot.melted(formats.of_frame(str(IN_MEMORY), source))
        return pivot.melted(formats.read_file(source))
    except (OSError, ValueError) as error:
        raise BadTable(f"{IN_MEMORY if isinstance(source, pd.DataFrame) else source}: {error}") from error
