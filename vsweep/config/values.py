"""What is wrong with values of fields, and with names of fields that nobody knows."""

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

from vsweep.config import fields
from vsweep.config.field import Field
from vsweep.config.problems import Problem, closest


def value_problem(field: Field, value: object, path: str) -> Problem | None:
    """What is wrong with one value of a field, which is called `path`: by itself, or in float32."""
    values = field.values
    if not values.fits_type(value) or not values.test(value):
        hint = closest(value, values.allowed.split(", ")) if isinstance(value, str) else ""
        return Problem(path, "not a valid value", repr(value), values.allowed, hint)
    held = values.held(value)
    if not values.test(held) or (held == values.off != value):
        return Problem(path, "not a valid value in float32", f"{value!r}, there {held!r}", values.allowed)
    return None


def as_type(field: Field, value: Any) -> Any:
    """A good value in the type of its field: an int where a whole float was given."""
    if field.values.type in (float, int):
        return field.values.type(value)
    return int(value) if isinstance(value, str) and value.isdigit() else value


def split_words(points: Iterable, kind: type, separator: str = ",") -> tuple:
    """Words arrive from a command line as one: `--config.sweep.schedule=cosine,linear`; so do numbers with a typo.

    A call, such as `range(4,20,4)`, is one word.
    """
    split = ([point] if not isinstance(point, str) or "(" in point else point.split(separator) for point in points)
    return tuple(word(each, kind if len(words) > 1 else str) for words in split for each in words)


def word(text: Any, kind: type) -> Any:
    """What one word means for a field of this type: a number, a switch, or the word itself."""
    if not isinstance(text, str):
        return text
    if kind is bool and text.strip().lower() in ("true", "false"):
        return text.strip().lower() == "true"
    for read in (int, float) if kind in (int, float) else ():
        with contextlib.suppress(ValueError):
            return read(text)
    return text.strip()


def unknown(values: Mapping, known: list[str], prefix: str, of: str = "", more: Iterable[str] = ()) -> list[Problem]:
    """A problem for each name that is not `known`; `more` names are possible and shown only as a hint."""
    names = [*known, *more]
    return [_unknown_problem(name, values[name], known, prefix, of, names) for name in values if name not in known]


def _unknown_problem(name: object, value: object, known: list[str], prefix: str, of: str, names: list[str]) -> Problem:
    """Says where a field is that stands in a wrong section, and which fields a sweep may vary."""
    elsewhere = fields.paths_of(name)
    path, got, allowed = f"{prefix}{name}", repr(value), ", ".join(known)
    if prefix == "sweep." and elsewhere:
        one = f"{allowed} (one value for all runs: {' or '.join(elsewhere)})"
        return Problem(path, "cannot be swept", got, one)
    if path in elsewhere:
        return Problem(path, f"not an option of {of}", got, allowed)
    if hint := closest(name, names):
        return Problem(path, "unknown field", got, allowed, hint)
    return Problem(path, "unknown field", got, allowed, elsewhere[0] if len(elsewhere) == 1 else "")
