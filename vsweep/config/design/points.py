"""The points of a sweep: the product of its axes, of which some go together, and of what else its design holds.

A factor is what is crossed with the others: an axis, a group of paired axes, the explicit runs, the points in a box.
Each of its entries gives values to some fields, and a point of the sweep is one entry of every factor.
"""

import itertools
from collections.abc import Iterator, Mapping

from vsweep.config.design import box, formula
from vsweep.config.design.options import RATIO_AXES
from vsweep.config.field import Field
from vsweep.config.fields import AXES

POINT = "point"  # the number of a point in the box
Point = dict[str, object]
BEFORE = {"budget": ("flops", "tokens_per_param"), "layers": ("aspect_ratio",)}  # where these stand in run ids
ORDER = tuple(name for axis in AXES for name in (*BEFORE.get(axis, ()), axis))


def crossed(config) -> dict[str, tuple]:
    """Every axis of a sweep, those of its design among them, and its values."""
    ratios = {name: getattr(config.design, name) for name in RATIO_AXES}
    return {**dict(config.axes), **{name: values for name, values in ratios.items() if values}}


def groups(config) -> list[tuple[str, ...]]:
    """The axes that go together, each axis once: groups that share an axis are one."""
    found: list[list[str]] = []
    for group in config.design.paired:
        joined = [each for each in found if set(each) & set(group)]
        found = [each for each in found if each not in joined]
        found.append(list(dict.fromkeys([name for each in (*joined, group) for name in each])))
    return [tuple(group) for group in found]


def named(config) -> tuple[str, ...]:
    """What a run id is made of, in its order: the axes, the fields of explicit runs, and the number of a point."""
    swept = {*crossed(config), *config.design.columns}
    last = (POINT,) if config.design.random else ()
    return (*(name for name in (*ORDER, *config.optional_axes) if name in swept), *last)


def points(config) -> Iterator[Point]:
    """Every point of a sweep: what it gives to the fields that vary. Formulas are not computed yet."""
    for entries in itertools.product(*_factors(config)):
        yield dict(itertools.chain(*(entry.items() for entry in entries)))


def static_points(config, names: tuple[str, ...]) -> list[Point]:
    """The different values of the fields `names`, which fix the shape of a model, in the order of the points."""
    wanted = {*names, "aspect_ratio"}
    different = [
        dict.fromkeys(tuple((name, value) for name, value in entry.items() if name in wanted) for entry in factor)
        for factor in _factors(config, with_box=False)
    ]
    return [dict(itertools.chain(*entries)) for entries in itertools.product(*different)]


def static_values(point: Mapping, config, names: tuple[str, ...], known: Mapping[str, Field]) -> Point:
    """The values of the fields `names` at a point, formulas computed. Raises formula.CannotCompute.

    With an aspect ratio, layers = max(1, round(width / aspect ratio)).
    """
    ratio = point.get("aspect_ratio", config.model.aspect_ratio)
    found: Point = {}

    def value(name: str) -> object:
        if name not in found:
            given = point[name] if name in point else config.axis(name)[0]
            if name == "layers" and ratio:
                given = max(1, round(value("width") / ratio))
            elif formula.is_formula(given, known[name]):
                numbers = {each: value(each) for each in sorted(formula.names(given))}
                given = whole(formula.value(given, numbers), known[name])
            found[name] = given
        return found[name]

    return {name: value(name) for name in names}


def whole(number: float, field: Field) -> float | int:
    """A result of a formula as the field holds it: a whole float is an int there. The budget is rounded."""
    if field.name == "budget":
        return round(number)
    return int(number) if field.values.type is int and number.is_integer() else number


def _factors(config, *, with_box: bool = True) -> list[tuple[Point, ...]]:
    """In the order of the axes, the points in the box last."""
    axes, order = crossed(config), (*ORDER, *config.optional_axes)
    together = groups(config)
    alone = [(name,) for name in axes if not any(name in group for group in together)]
    factors = [
        (group, tuple(dict(zip(group, values, strict=True)) for values in zip(*(axes[n] for n in group), strict=True)))
        for group in (*alone, *together)
    ]
    if rows := config.design.runs_csv:
        factors.append((config.design.columns, tuple(map(dict, rows))))
    factors.sort(key=lambda factor: min(order.index(name) for name in factor[0]))
    if config.design.random and with_box:
        factors.append(((POINT,), tuple(box.points(config.design))))
    return [entries for _, entries in factors]
