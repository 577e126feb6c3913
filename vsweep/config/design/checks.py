"""What is wrong with a design as a whole: fields that are given twice, pairs, formulas, options that nothing uses."""

from collections.abc import Iterable, Mapping

from vsweep.config.design import formula, points
from vsweep.config.design.options import BY_NAME, NEEDS, RATIO_AXES, Design
from vsweep.config.field import Field
from vsweep.config.fields import SWEPT
from vsweep.config.problems import Problem

FIXES = {"flops": "budget", "tokens_per_param": "budget", "aspect_ratio": "layers"}


def problems(config, sweepable: Mapping[str, Field]) -> list[Problem]:
    """Of a config whose options are good by themselves; `sweepable` are the fields that it may sweep."""
    found = [*_unused(config.design), *_given_twice(config), *_pair_problems(config)]
    return found + _formula_problems(config, sweepable)


def formulas(config, sweepable: Mapping[str, Field]) -> dict[str, list[tuple[str, str]]]:
    """Field -> (where, text) of each formula: of an axis, of explicit runs, or of the field in its section."""
    given: list[tuple[str, str, object]] = []
    for name, values in config.axes:
        given += [(name, f"sweep.{name}", value) for value in values]
    for row in config.design.runs_csv:
        given += [(name, "sweep.runs_csv", value) for name, value in row]
    replaced = {name for name, _, _ in given}
    given += [(name, SWEPT[name].path, config.axis(name)[0]) for name in SWEPT if name not in replaced]
    found: dict[str, list[tuple[str, str]]] = {}
    for name, where, value in dict.fromkeys(given):
        if formula.is_formula(value, sweepable.get(name) or BY_NAME[name]):
            found.setdefault(name, []).append((where, value))
    return found


def _unused(design: Design) -> list[Problem]:
    default = Design()
    given = [name for name in BY_NAME if getattr(design, name) != getattr(default, name)]
    if any(name in design.columns for name in ("flops", "tokens_per_param")):
        given.append("flops")
    return [
        Problem(f"sweep.{name}", "nothing uses it", repr(getattr(design, name)), f"beside {' or '.join(needs)}")
        for name, needs in NEEDS.items()
        if name in given and not any(need in given for need in needs)
    ]


def _given_twice(config) -> list[Problem]:
    """A field has its values from one place of the section `sweep`."""
    sources: dict[str, list[str]] = {}
    in_rows = [(name, f"sweep.runs_csv ({name})") for name in config.design.columns]
    in_box = [(name, "sweep.random") for name in config.design.box]
    for name, where in (*((name, f"sweep.{name}") for name in points.crossed(config)), *in_rows, *in_box):
        sources.setdefault(FIXES.get(name, name), []).append(where)
    if config.model.aspect_ratio:
        layers = config.model.layers
        default = layers == SWEPT["layers"].default
        sources.setdefault("layers", []).extend(["model.aspect_ratio", *([] if default else ["model.layers"])])
        if any("aspect_ratio" in where for where in sources["layers"] if where.startswith("sweep")):
            sources["layers"].remove("model.aspect_ratio")  # which an axis replaces
    return [
        Problem(
            f"sweep.{name}" if where[0].startswith("sweep") else where[0],
            "given more than once",
            ", ".join(where),
            "one of them (a field that is not swept: its default)",
        )
        for name, where in sources.items()
        if len(where) > 1
    ]


def _pair_problems(config) -> list[Problem]:
    axes, path = points.crossed(config), "sweep.paired"
    unknown = dict.fromkeys(name for group in config.design.paired for name in group if name not in axes)
    found = [Problem(path, "no axis of this sweep", repr(name), ", ".join(axes) or "none is swept") for name in unknown]
    for group in points.groups(config) if not unknown else ():
        lengths = {name: len(axes[name]) for name in group}
        if len(set(lengths.values())) > 1:
            got = ", ".join(f"{name} {length}" for name, length in lengths.items())
            found.append(Problem(path, "axes of different lengths", got, "as many values of each"))
        elif repeated := _repeated(zip(*(axes[name] for name in group), strict=True)):
            got = f"{repeated[0]} of {', '.join(group)}"
            found.append(Problem(path, "the same values twice", got, "each combination once"))
    return found


def _repeated(entries: Iterable[tuple]) -> list[tuple]:
    seen: set[tuple] = set()
    return [entry for entry in entries if entry in seen or seen.add(entry)]


def _formula_problems(config, sweepable: Mapping[str, Field]) -> list[Problem]:
    there = formulas(config, sweepable)
    ratios = tuple(name for name in RATIO_AXES if name in points.crossed(config) or name in config.design.columns)
    found = []
    for name, texts in there.items():
        field = sweepable.get(name)
        for where, text in texts:
            known = formula.known_names(field, sweepable, ratios) if field else ()
            found += filter(None, [formula.problem(text, where, known)])
    uses = {name: set().union(*(formula.names(text) for _, text in texts)) for name, texts in there.items()}
    if config.model.aspect_ratio or "aspect_ratio" in ratios:
        uses["layers"] = {"width"}
    return found or formula.circles(uses)
