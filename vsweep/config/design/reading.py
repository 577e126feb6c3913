"""Reads the part of the section `sweep` that is no axis. Each option by itself; `checks.py` looks at all together."""

from collections.abc import Mapping, Sequence
from typing import Any

from vsweep.config.design import explicit_runs
from vsweep.config.design.options import BY_NAME, NEEDS, RATIO_AXES, SCALES, Design, Side
from vsweep.config.field import OPTIONAL, STACKED, Field
from vsweep.config.problems import Problem, closest
from vsweep.config.values import as_type, split_words, value_problem

ONE_VALUE = ("flops_convention", "random_points", "random_method", "random_seed")


def is_empty(value: object) -> bool:
    """Whether an axis or an option of a design is not used."""
    return value is None or (isinstance(value, list | tuple | dict | str) and not value)


def read(values: Mapping, sweepable: Mapping[str, Field], problems: list[Problem]) -> Design:
    """The design of a section `sweep`; `sweepable` are the fields that may be swept. Adds to `problems`."""
    given = {name: values[name] for name in BY_NAME if not is_empty(values.get(name))}
    found: dict[str, Any] = {}
    for name in (*RATIO_AXES, "tokens_per_param_bounds"):
        if name in given:
            found[name] = _numbers(BY_NAME[name], given[name], problems)
    for name in ONE_VALUE:
        if name in given:
            found |= _one_value(BY_NAME[name], given[name], problems)
    if "paired" in given:
        found["paired"] = _groups(given["paired"], problems)
    if "random" in given:
        found["random"] = _sides(given["random"], sweepable, problems)
    if "runs_csv" in given:
        columns = {**sweepable, **{name: BY_NAME[name] for name in RATIO_AXES}}
        found["runs_csv"] = explicit_runs.read(given["runs_csv"], columns, problems)
    faulty = {name for name in given if is_empty(found.get(name))}
    alone = {name for name, needs in NEEDS.items() if faulty & set(needs)}  # told with what they need
    return Design(**{name: value for name, value in found.items() if name not in alone})


def _numbers(field: Field, given: Any, problems: list[Problem]) -> tuple[float, ...]:
    points = split_words(given if isinstance(given, list | tuple) else (given,), float)
    found = [problem for point in points if (problem := value_problem(field, point, field.path))]
    if not found and len(set(points)) < len(points) and field.name != "tokens_per_param_bounds":
        found = [Problem(field.path, "duplicates", str(points), "each value once")]
    if not found and field.name == "tokens_per_param_bounds" and not (len(points) == 2 and points[0] < points[1]):
        found = [Problem(field.path, "no bounds", str(points), "two numbers, the lower one first")]
    problems += found
    return () if found else tuple(map(float, points))


def _one_value(field: Field, given: Any, problems: list[Problem]) -> dict[str, Any]:
    if problem := value_problem(field, given, field.path):
        problems.append(problem)
        return {}
    return {field.name: as_type(field, given)}


def _groups(given: Any, problems: list[Problem]) -> tuple[tuple[str, ...], ...]:
    """Groups of names: `(("width", "lr"), ("width", "layers"))`, or of a command line `width,lr;width,layers`."""
    texts = [given] if isinstance(given, str) else list(given) if isinstance(given, Sequence) else [given]
    words = [part for each in texts for part in (each.split(";") if isinstance(each, str) else [each])]
    if words and all(isinstance(word, str) and "," not in word for word in words):
        words = [words]  # one group, written flat
    groups = [word.split(",") if isinstance(word, str) else word for word in words]
    good = all(isinstance(g, Sequence) and len(g) > 1 and all(isinstance(name, str) for name in g) for g in groups)
    if not good:
        allowed = "groups of two or more axes, such as (('width', 'lr'), ('width', 'layers'))"
        problems.append(Problem("sweep.paired", "no groups of axes", repr(given), allowed))
        return ()
    return tuple(tuple(name.strip() for name in group) for group in groups)


def _sides(given: Any, sweepable: Mapping[str, Field], problems: list[Problem]) -> tuple[Side, ...]:
    if not isinstance(given, Mapping):
        allowed = "field -> (low, high, 'linear' or 'log')"
        problems.append(Problem("sweep.random", "no box", repr(given), allowed))
        return ()
    possible = [
        name
        for name, field in sweepable.items()
        if field.kind in (STACKED, OPTIONAL) and field.values.type in (int, float)
    ]
    found: list[Problem] = []
    sides = [_side(name, side, possible, sweepable, found) for name, side in given.items()]
    problems += found
    return () if found else tuple(side for side in sides if side)


def _side(
    name: str, given: Any, possible: list[str], sweepable: Mapping[str, Field], problems: list[Problem]
) -> Side | None:
    path = f"sweep.random.{name}"
    if name not in possible:
        what = "cannot be drawn: it fixes the shape of a model" if name in sweepable else "unknown field"
        problems.append(Problem(path, what, repr(given), ", ".join(possible), closest(name, possible)))
        return None
    words = split_words(given if isinstance(given, list | tuple) else (given,), float)
    low, high, scale = words if len(words) == 3 else (*words, "linear") if len(words) == 2 else (None, None, None)
    if scale not in SCALES:
        problems.append(Problem(path, "no range", repr(given), "(low, high), or (low, high, 'linear' or 'log')"))
        return None
    field = sweepable[name]
    if found := [problem for end in (low, high) if (problem := value_problem(field, end, path))]:
        problems += found
        return None
    if not low < high or (scale == "log" and low <= 0):
        allowed = "low below high" if low >= high else "low above 0, where the scale is log"
        problems.append(Problem(path, "no range", repr(given), allowed))
        return None
    return Side(name, as_type(field, low), as_type(field, high), scale)
