"""Explicit runs: a CSV file with a row for each run and a column for each field.

A sweep keeps the rows in its config.json. That file can stand in the place of the CSV, so nothing is lost with it.
"""

import ast
import contextlib
import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vsweep.config.design import formula
from vsweep.config.design.options import Row
from vsweep.config.field import Field
from vsweep.config.problems import Problem, closest
from vsweep.config.values import as_type, value_problem

PATH = "sweep.runs_csv"
MOST_TOLD = 20  # problems of one file
SWITCHES = {"true": True, "false": False}


def locate(path: str, folder: Path) -> str | Problem:
    """The whole path of a file that stands in the config file's `folder` or in the current one."""
    there = dict.fromkeys(place.absolute() for place in (folder / path, Path(path)) if place.is_file())
    if len({place.read_bytes() for place in there}) > 1:
        got, allowed = " and ".join(map(str, there)), "one of them, by its whole path"
        return Problem(PATH, "two files of this name", got, allowed)
    return str(next(iter(there))) if there else path


def read(source: object, known: Mapping[str, Field], problems: list[Problem]) -> tuple[Row, ...]:
    """The runs of a file, or of rows as config.json holds them; `known` are the fields that a sweep may vary."""
    if isinstance(source, str) and source.endswith(".json"):
        source = _kept_rows(source)
    rows = _rows_of_file(source, problems) if isinstance(source, str) else _rows_of_json(source, problems)
    if not rows:
        return ()
    found = _column_problems([name for name, _ in rows[0][1]], known)
    runs = []
    for place, cells in rows if not found else ():
        row = []
        for name, cell in cells:
            value = _value(known[name], cell) if isinstance(source, str) else cell
            if problem := _cell_problem(known[name], value, place):
                found.append(problem)
            else:
                row.append((name, value if _is_formula(known[name], value) else as_type(known[name], value)))
        runs.append((place, tuple(row)))
    found = found or _repeats(runs)
    problems += found[:MOST_TOLD]
    if len(found) > MOST_TOLD:
        problems.append(Problem(PATH, f"{len(found) - MOST_TOLD:,} more problems", str(source), "values of the fields"))
    return () if found else tuple(row for _, row in runs)


def _kept_rows(path: str) -> object:
    """The rows in a config.json; the path itself where there are none, which is then no table."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))["sweep"]["runs_csv"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return path


def _rows_of_file(path: str, problems: list[Problem]) -> list[tuple[str, list[tuple[str, str]]]]:
    """(where, [(column, cell)]) of each row; nothing where the file is no table."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        rows = [(lines.line_num, [cell.strip() for cell in row]) for row in lines if any(map(str.strip, row))]
    except (OSError, ValueError, csv.Error) as error:
        allowed = "a CSV file in the folder of the config file or in the current one"
        told = getattr(error, "strerror", None) or str(error)
        problems.append(Problem(PATH, f"cannot be read ({told})", repr(path), allowed))
        return []
    if len(rows) < 2:
        problems.append(Problem(PATH, "no runs", repr(path), "a line with names of fields, and a line for each run"))
        return []
    (_, names), *rows = rows
    if twice := sorted({name for name in names if names.count(name) > 1}):
        problems.append(Problem(PATH, "columns of one name", ", ".join(map(repr, twice)), "each column once"))
        return []
    wrong = [(line, row) for line, row in rows if len(row) != len(names)]
    problems += [
        Problem(PATH, f"line {line}: another number of cells", str(len(row)), f"{len(names)}, as in the first line")
        for line, row in wrong[:MOST_TOLD]
    ]
    return [] if wrong else [(f"line {line}", list(zip(names, row, strict=True))) for line, row in rows]


def _rows_of_json(rows: object, problems: list[Problem]) -> list[tuple[str, list[tuple[str, Any]]]]:
    good = isinstance(rows, Sequence) and all(isinstance(row, Mapping) and row for row in rows)
    if not good or any(list(row) != list(rows[0]) for row in rows):
        allowed = "the path of a CSV file, or rows with the same fields"
        problems.append(Problem(PATH, "no runs", repr(rows)[:200], allowed))
        return []
    return [(f"run {number}", list(row.items())) for number, row in enumerate(rows, 1)]


def _column_problems(names: list[str], known: Mapping[str, Field]) -> list[Problem]:
    return [
        Problem(PATH, "unknown column", repr(name), ", ".join(known), closest(name, known))
        for name in names
        if name not in known
    ]


def _value(field: Field, cell: str) -> Any:
    """What a cell means: a number, a switch or a text, as the field has it; else the text of the cell."""
    if field.values.type is bool:
        return SWITCHES.get(cell.lower(), cell)
    if formula.is_number(field):
        with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            return ast.literal_eval(cell)
        with contextlib.suppress(ValueError):
            return float(cell)
    return cell


def _cell_problem(field: Field, value: Any, place: str) -> Problem | None:
    where = f"{place}, column {field.name}"
    if value == "":
        return Problem(PATH, f"{where}: an empty cell", "''", field.values.allowed)
    if _is_formula(field, value):
        return None  # judged with all other formulas
    problem = value_problem(field, value, PATH)
    return problem and Problem(PATH, f"{where}: {problem.what}", problem.got, problem.allowed, problem.hint)


def _is_formula(field: Field, value: Any) -> bool:
    return field.swept and formula.is_formula(value, field)


def _repeats(runs: list[tuple[str, Row]]) -> list[Problem]:
    first: dict[Row, str] = {}
    return [
        Problem(PATH, f"{place}: the same run as {first[row]}", str(dict(row)), "each run once")
        for place, row in runs
        if first.setdefault(row, place) != place
    ]
