"""The words of a command line, sorted: overrides of the config, flags, and what is neither.

ml_collections reads overrides too, but it stops at the first mistake. Here each override is set where the ConfigDict
takes it, so that references between fields hold. The others are put into a plain mapping, and reading the config names
all of them at once, with every other problem.
"""

import ast
import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from vsweep.config import registry
from vsweep.config.design.options import BY_NAME, RATIO_AXES
from vsweep.config.field import Field
from vsweep.config.fields import DEFAULT_NAMES, FIELDS, SWEPT
from vsweep.config.more_options import MORE_OPTIONS
from vsweep.config.problems import Problem, closest

BY_PATH = {field.path: field for field in (*MORE_OPTIONS, *FIELDS)}
OPTIONAL = {field.name for field in BY_PATH.values() if field.swept} - set(SWEPT)
SEVERAL_VALUES = (*RATIO_AXES, "tokens_per_param_bounds", "paired")  # of a design: with several values, as axes
AXIS_PATHS = {f"sweep.{axis}" for axis in (*SWEPT, *OPTIONAL, *SEVERAL_VALUES)}
DESIGN_PATHS = {field.path for field in BY_NAME.values()}
TAKES_VALUE = {*BY_PATH, *AXIS_PATHS, *DESIGN_PATHS}
BOX = "sweep.random"  # its sides are fields of their own: --config.sweep.random.lr=1e-3,1e-1,log
HELP = ("help", "helpshort", "helpfull", "helpxml", "?")
SWITCHES = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}  # as absl reads them


@dataclasses.dataclass
class CommandLine:
    """`overrides`: field -> its texts, one for each time it is given. `flags`: name -> words of a flag that exists."""

    overrides: dict[str, list[str]]
    flags: list[tuple[str, list[str]]]
    problems: list[Problem]
    help: str | None = None


def read(words: Sequence[str]) -> CommandLine:
    """Sorts the words after the program's name; names unknown flags, stray words and missing values."""
    line = CommandLine({}, [], [])
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, text = word.lstrip("-").partition("=")
        if word == "--" or not word.startswith("-") or not name:
            stray, rest = (rest, []) if word == "--" else ([word], rest)
            line.problems += [Problem("command line", "stray argument", repr(w), "flags, --name=value") for w in stray]
        elif name.startswith(("config.", "noconfig.")):
            _add_override(line, name, text if equals else None, rest)
        elif name in HELP:
            line.help = name
        else:
            _add_flag(line, word, name, bool(equals), rest)
    return line


def _add_override(line: CommandLine, name: str, text: str | None, rest: list[str]) -> None:
    path = name.partition(".")[2]
    if text is None and name.startswith("noconfig."):
        text = "false"
    elif text is None and path in BY_PATH and BY_PATH[path].values.type is bool:
        text = "true"
    elif text is None and rest and (path in TAKES_VALUE or not rest[0].startswith("-")):
        text = rest.pop(0)
    if text is None:
        line.problems.append(Problem(path, "no value", repr(f"--{name}"), f"--config.{path}=VALUE"))
    else:
        line.overrides.setdefault(path, []).append(text)


def _add_flag(line: CommandLine, word: str, name: str, has_text: bool, rest: list[str]) -> None:
    known = flags.FLAGS
    switch = known[name] if name in known else known[name[2:]] if name[:2] == "no" and name[2:] in known else None
    if switch is None or (name not in known and not switch.boolean):
        own = [flag.name for flag in known.get_key_flags_for_module("vsweep.cli.train")]
        hint = closest(name, own) or closest(name, known)
        allowed = ", ".join(f"--{one}" for one in own)
        line.problems.append(Problem(f"--{name}", "unknown flag", repr(word), allowed, hint and f"--{hint}"))
        meant_switch = hint and known[hint].boolean
        if not (has_text or meant_switch) and rest and not rest[0].startswith("-"):
            rest.pop(0)  # its value, as it seems
        return
    takes_word = not has_text and not switch.boolean and rest
    line.flags.append((switch.name, [word, rest.pop(0)] if takes_word else [word]))


def with_overrides(config: ConfigDict, overrides: Mapping[str, Sequence[str]]) -> ConfigDict | dict:
    """The config with its overrides: a ConfigDict, or a plain mapping where that cannot hold one of them."""
    faulty, known = {}, _known(config, overrides)
    values = {path: _value(path, texts, known) for path, texts in overrides.items()}
    for path, value in _with_box(config, values).items():
        section, _, name = path.rpartition(".")
        try:
            (config[section] if section else config)[name] = value
        except (KeyError, TypeError, AttributeError, ValueError):
            faulty[path] = value
    if not faulty:
        return config
    plain = config.to_dict()
    for path, value in faulty.items():
        section, _, name = path.partition(".")
        if not name or not isinstance(plain.setdefault(section, {}), dict):
            plain[path] = value
        else:
            plain[section][name] = value
    return plain


def _with_box(config: ConfigDict, values: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides with those of sides of the box put into the box: the one of the config, or one that is given."""
    sides = {path.removeprefix(f"{BOX}."): value for path, value in values.items() if path.startswith(f"{BOX}.")}
    rest = {path: value for path, value in values.items() if not path.startswith(f"{BOX}.")}
    if not sides:
        return rest
    stands = config.get("sweep")
    box = rest.get(BOX, stands.get("random") if isinstance(stands, Mapping | ConfigDict) else None) or {}
    return {**rest, BOX: {**box, **sides} if isinstance(box, Mapping | ConfigDict) else sides}


def _known(config: ConfigDict, overrides: Mapping[str, Sequence[str]]) -> dict[str, Field]:
    """Path -> field, with the options of the tasks and optimizers that are named; a bad name is reported later."""
    known = dict(BY_PATH)
    for section in DEFAULT_NAMES:
        stands = config.get(section)
        stands = stands.get("name") if isinstance(stands, Mapping | ConfigDict) else None
        name = overrides.get(f"{section}.name", [stands])[-1]
        with contextlib.suppress(registry.CannotLoad):
            known |= {field.path: field for field in registry.known_fields(section, name).values()}
    return known


def _value(path: str, texts: Sequence[str], known: Mapping[str, Field]) -> Any:
    """What a field's texts mean: all of them for an axis, else the last one. What cannot be read stays a text."""
    section, _, name = path.partition(".")
    if path in AXIS_PATHS or (section == "sweep" and name in {field.name for field in known.values()}):
        return tuple(value for text in texts for value in _axis_values(text))
    text = texts[-1]
    if path.startswith(f"{BOX}."):
        return _axis_values(text)
    if path in DESIGN_PATHS:
        return text if path == "sweep.runs_csv" else _literal(text)
    if path not in known:
        literal = _literal(text)
        return literal if isinstance(literal, dict) else text
    kind = known[path].values.type
    if kind is bool:
        return SWITCHES.get(text.lower(), text)
    if kind in (int, float):
        literal = _literal(text, float)
        return int(literal) if kind is int and isinstance(literal, float) and literal.is_integer() else literal
    return text


def _axis_values(text: str) -> tuple:
    literal = _literal(text)
    return tuple(literal) if isinstance(literal, tuple | list) else (literal,)


def _literal(text: str, number: type = str) -> Any:
    """A Python literal; else what `number` reads; else the text itself."""
    for reader in (ast.literal_eval, number):
        try:
            return reader(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    return text
