"""The axes of a sweep, read from its section `sweep`."""

import ast
import contextlib
import dataclasses
import re
from collections.abc import Mapping

from vsweep.config import registry
from vsweep.config.design import formula
from vsweep.config.design.options import BY_NAME
from vsweep.config.design.reading import is_empty
from vsweep.config.field import OPTIONAL, SPLITTING, Field
from vsweep.config.fields import SWEPT
from vsweep.config.problems import Problem
from vsweep.config.values import as_type, split_words, unknown, value_problem, word

MOST_HINTED = 32  # values of a range that are written out


def read(
    values: Mapping, known: Mapping[str, dict[str, Field] | None], names: Mapping[str, object], problems: list[Problem]
) -> tuple[tuple[str, tuple], ...]:
    """The axes of a section `sweep`: (name, values), in the order of `fields.AXES`, then of the optional ones.

    `known` are the fields of each section, None where its `name` leads to nothing. Adds to `problems`.
    """
    fields = sweepable(known)
    swept = {axis: points for axis, points in values.items() if not is_empty(points) and axis not in BY_NAME}
    unclear = [section for section, columns in known.items() if columns is None]
    possible = [name for section in unclear for name, field in registry.of_any_name(section).items() if field.swept]
    if not any(registry.is_import_path(names.get(section)) for section in unclear):
        problems += unknown(swept, list(dict.fromkeys([*fields, *possible])), "sweep.", more=list(BY_NAME))
    paired = str(values.get("paired") or "")
    axes = []
    for axis, field in fields.items():
        if axis not in swept:
            continue
        places = dict.fromkeys(each.section for each in _of_sections(known) if each.name == axis and each.swept)
        if len(places) > 1:
            what, allowed = "a field of two sections", "an axis whose name one section has"
            problems.append(Problem(f"sweep.{axis}", what, " and ".join(places), allowed))
        points = _points(swept[axis], field)
        if found := _axis_problems(field, points, paired=axis in re.split(r"\W+", paired)):
            problems += found
        else:
            axes.append((axis, tuple(_held(field, point) for point in points)))
    return tuple(axes)


def sweepable(known: Mapping[str, dict[str, Field] | None]) -> dict[str, Field]:
    """Name -> field of what a sweep may vary: the axes of every sweep, and optional ones of its sections."""
    of_names = _of_sections(known)
    return {**SWEPT, **{field.name: field for field in of_names if field.kind in (OPTIONAL, SPLITTING)}}


def _of_sections(known: Mapping[str, dict[str, Field] | None]) -> list[Field]:
    return [field for columns in known.values() for field in (columns or {}).values()]


def _points(given: object, field: Field) -> tuple:
    """The values of an axis as they were written: one, several, or words of a command line."""
    texts = list(given) if isinstance(given, list | tuple) else [given]
    parts = [part for text in texts for part in _parts(text, field)]
    return split_words(parts, field.values.type, field.values.separator)


def _parts(text: object, field: Field) -> list:
    """The values in `0.1, min(0.2, 1 / width)`: where there are parentheses, not every comma parts two values."""
    if not isinstance(text, str) or "(" not in text or not formula.is_number(field):
        return [text]
    parts = formula.parts(text)
    return [word(part, field.values.type) for part in parts] if len(parts) > 1 else parts


def _held(field: Field, point: object) -> object:
    return point.strip() if formula.is_formula(point, field) else as_type(field, point)


def _axis_problems(field: Field, points: tuple, *, paired: bool) -> list[Problem]:
    """Of its values, each by itself; else of all of them together. Formulas are judged by `design.checks`.

    A paired axis may hold a value several times, in any order.
    """
    path, held = f"sweep.{field.name}", field.values.held
    plain = tuple(point for point in points if not formula.is_formula(point, field))
    if found := [problem for point in plain if (problem := value_problem(field, point, path))]:
        return [_with_range(problem) for problem in found]
    if paired:
        return []
    if len(set(points)) < len(points):
        return [Problem(path, "duplicates", str(points), "each value once")]
    if len(set(map(held, plain))) < len(plain):
        got = f"{plain}, to the programs {tuple(map(held, plain))}"
        return [Problem(path, "the same run twice", got, "each value once")]
    if field.name == "budget" and list(plain) != sorted(plain):
        return [Problem(path, "not increasing", str(points), "budgets from small to large")]
    return []


def _with_range(problem: Problem) -> Problem:
    """`range(4,20,4)` is Python, and the answer says what it means."""
    bounds = re.fullmatch(r"'range\(([\d, ]+)\)'", problem.got)
    with contextlib.suppress(ValueError, TypeError):
        values = range(*ast.literal_eval(f"({bounds[1]},)")) if bounds else ()
        if 0 < len(values) <= MOST_HINTED:
            return dataclasses.replace(problem, hint=",".join(map(str, values)))
    return problem
