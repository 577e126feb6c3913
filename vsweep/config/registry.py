"""Tasks and optimizers by name: built-in ones, and a user's own by import path, `package.module:Attribute`.

What a name brings are options: fields of its section, checked and listed like all others. Those of the built-in ones
stand in the table of fields, so a config that names no other code is read without loading any library.
"""

import ast
import dataclasses
import functools
import hashlib
import importlib
import inspect
import math
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vsweep.config import fields
from vsweep.config.field import FIXED, IMPORT_PATH, OPTIONAL, RESUMABLE, SPLITTING, Field, Values, in_float32
from vsweep.config.problems import Problem, closest

# Built-in tasks whose options stand in their own files, as those of a user's own do. They load numpy alone.
BUILT_IN_TASKS = {
    "modular_arithmetic": "vsweep.tasks.modular_arithmetic:ModularArithmetic",
    "markov": "vsweep.tasks.markov:Markov",
    "text": "vsweep.tasks.text:Text",
}
TYPES = (bool, int, float, str)
ANYTHING = {bool: "True or False", int: "an integer", float: "a finite number", str: "a text"}
# What the trainer gives to an optimizer, so that it can be no option of its own.
GIVEN = ("weight_decay", "specs")
# What the trainer gives to a Linen module, where it has fields of these names; `dtype` is that of train.precision.
GIVEN_FIELDS = ("vocabulary", "positions", "width", "layers", "head_dim", "ff_multiple", "tied_embeddings", "dtype")
OF_EVERY_MODULE = ("parent", "name")


class CannotLoad(Exception):
    """An import path that leads to nothing, or to something else than it should; `problem` says why."""

    def __init__(self, problem: Problem):
        super().__init__(str(problem))
        self.problem = problem


def is_import_path(name: object) -> bool:
    """Whether a name means a user's own code."""
    return isinstance(name, str) and bool(re.fullmatch(IMPORT_PATH, name))


def in_short(error: BaseException) -> str:
    """One line about what a user's code raised."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def is_linen(found: object) -> bool:
    """Whether this is a class of `flax.linen.Module`; by its name, so that nothing loads flax to ask."""
    bases = found.__mro__ if isinstance(found, type) else ()
    return any((base.__module__, base.__qualname__) == ("flax.linen.module", "Module") for base in bases)


def linen_module(name: str) -> type | None:
    """The Linen class that a model's name means; None where it means something else. Raises CannotLoad."""
    found = attribute("model", name) if is_import_path(name) else None
    return found if is_linen(found) else None


def attribute(section: str, path: str) -> Any:
    """What `package.module:Attribute` means. Raises CannotLoad; the code there is a user's and may raise anything."""
    module_name, _, name = path.partition(":")
    where = f"{section}.name"
    if str(Path.cwd()) not in sys.path:  # an installed command has only its own folder there
        sys.path.append(str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        allowed = "a module in the config file's folder, the current folder or PYTHONPATH, which can be imported"
        raise CannotLoad(
            Problem(where, f"cannot import {module_name} ({in_short(error)})", repr(path), allowed)
        ) from error
    if not hasattr(module, name):
        names = [each for each in vars(module) if not each.startswith("_")]
        allowed = f"an attribute of {getattr(module, '__file__', None) or module_name}"
        raise CannotLoad(Problem(where, f"{module_name} has no {name}", repr(path), allowed, closest(name, names)))
    return getattr(module, name)


def known_fields(section: str, name: str | None = None) -> dict[str, Field]:
    """Name -> field of a section, with the options of the task or optimizer `name`. Raises CannotLoad."""
    path = BUILT_IN_TASKS.get(name, name) if section == "task" else name
    if not is_import_path(path):
        return fields.of_section(section, name)
    core = {each: field for each, field in fields.of_section(section).items() if not field.of}
    options = _options(section, path)
    if both := sorted(core.keys() & options.keys()):
        what = f"{', '.join(both)}: an option with the name of a field of {section}"
        raise CannotLoad(Problem(f"{section}.name", what, repr(name), "other names of options"))
    return {**core, **options}


def of_any_name(section: str) -> dict[str, Field]:
    """Name -> field: those that a section has under any built-in name."""
    names = {name for field in (*fields.FIELDS, *fields.MORE_OPTIONS) if field.section == section for name in field.of}
    names |= set(BUILT_IN_TASKS) if section == "task" else set()
    found = fields.of_section(section)
    for name in sorted(names):
        found = {**known_fields(section, name), **found}
    return found


def resumable_options(task: object) -> set[str]:
    """Paths of the options of a built-in task (its section of a config) that may differ when a sweep goes on."""
    name = task.get("name") if isinstance(task, Mapping) else None
    known = known_fields("task", name) if isinstance(name, str) and name in BUILT_IN_TASKS else {}
    return {field.path for field in known.values() if field.of and field.kind == RESUMABLE}


def source_digest(section: str, name: str) -> str | None:
    """Of the code of a user's own, as SHA-256: comments and layout do not count. None where there is no source."""
    if not is_import_path(name):
        return None
    try:
        file = inspect.getsourcefile(inspect.getmodule(attribute(section, name)))
        source = Path(file or "").read_text(encoding="utf-8")
    except (TypeError, OSError):  # built-in code, and what was typed into a notebook
        return None
    return hashlib.sha256(ast.unparse(ast.parse(source)).encode()).hexdigest()


@functools.cache
def _options(section: str, path: str) -> dict[str, Field]:
    found = attribute(section, path)
    of_section: Mapping[str, Callable[[str, Any], dict[str, Field]]] = {
        "task": _options_of_class,
        "model": _options_of_module if is_linen(found) else functools.partial(_options_of_function, "model", "shape"),
        "optimizer": functools.partial(_options_of_function, "optimizer", "learning_rate"),
    }
    return of_section[section](path, found)


def _options_of_function(section: str, first: str, path: str, function: Any) -> dict[str, Field]:
    """The keyword arguments of a model or an optimizer that have a number, a switch or a text as default.

    Floats of an optimizer may be swept, because they fix no shape. Of a model all but floats may: they split stacks.
    """

    def refuse(what: str) -> CannotLoad:
        module = ", or a flax.linen.Module" if section == "model" else ""
        allowed = f"a function of {first} and keyword arguments with numbers as defaults{module}"
        return CannotLoad(Problem(f"{section}.name", what, repr(path), allowed))

    if not callable(function):
        raise refuse(f"{path} cannot be called")
    options = {}
    parameters = inspect.signature(function).parameters
    if first not in parameters:
        raise refuse(f"{path} takes no {first}")
    for name, parameter in parameters.items():
        if name in (first, *GIVEN) or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if parameter.default is parameter.empty:
            raise refuse(f"the argument {name} of {path} has no default")
        if type(parameter.default) in TYPES:
            options[name] = _option(section, name, parameter.default, path)
    return options


def _options_of_module(path: str, module: Any) -> dict[str, Field]:
    """The fields of a Linen module that have a number, a switch or a text as default, but for GIVEN_FIELDS."""
    options = {}
    for each in dataclasses.fields(module):
        if not each.init or each.name in (*GIVEN_FIELDS, *OF_EVERY_MODULE):
            continue
        if each.name == "dropout":
            what = f"{path} has a field dropout, but runs of one program may differ in their rate"
            allowed = "an argument `dropout` of its __call__, which gets the rate of model.dropout"
            raise CannotLoad(Problem("model.name", what, repr(path), allowed))
        if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
            allowed = f"fields with defaults, or named {', '.join(GIVEN_FIELDS)}"
            raise CannotLoad(
                Problem("model.name", f"the field {each.name} of {path} has no default", repr(path), allowed)
            )
        if type(each.default) in TYPES:
            options[each.name] = _option("model", each.name, each.default, path)
    return options


def _option(section: str, name: str, default: Any, path: str) -> Field:
    is_float = type(default) is float
    swept = OPTIONAL if section == "optimizer" else SPLITTING
    kind = swept if is_float == (section == "optimizer") else FIXED
    return Field(section, name, default, _any_of(type(default)), path, kind=kind, of=(path,))


def _options_of_class(path: str, kind: Any) -> dict[str, Field]:
    """The fields of a task's `Options`, a frozen dataclass; rules stand in their metadata (`option`)."""

    def refuse(what: str) -> CannotLoad:
        allowed = "a class whose Options is a frozen dataclass of numbers, switches and texts with defaults"
        return CannotLoad(Problem("task.name", what, repr(path), allowed))

    if not isinstance(kind, type):
        raise refuse(f"{path} is no class")
    options = getattr(kind, "Options", None)
    if options is None:
        return {}
    if not dataclasses.is_dataclass(options):
        raise refuse(f"{path}.Options is no dataclass")
    found = {}
    for each in dataclasses.fields(options):
        if type(each.default) not in TYPES:
            raise refuse(f"{path}.Options.{each.name} has no default that is a number, a switch or a text")
        values = each.metadata.get("values") or _any_of(type(each.default))
        meaning, unit = each.metadata.get("meaning", path), each.metadata.get("unit", "")
        of_field = {"unit": unit, "kind": each.metadata.get("kind", FIXED), "of": (path,)}
        found[each.name] = Field("task", each.name, each.default, values, meaning, **of_field)
    return found


def option(
    default: Any,
    meaning: str,
    *,
    allowed: str | None = None,
    test: Callable[[Any], bool] = lambda value: True,
    unit: str = "",
    kind: str = FIXED,
) -> Any:
    """A field of a task's `Options`, with its rule: `length: int = option(8, "tokens", test=lambda n: n > 1)`.

    `test` says whether a value is good, and `allowed` says the same in words. Numbers are always finite. No device
    computes with them, so they are not judged in float32. The kind RESUMABLE is for what may differ when a sweep goes
    on, because the task's digest says what results depend on.
    """
    plain = _any_of(type(default))
    values = Values(plain.type, allowed or plain.allowed, lambda value: plain.test(value) and test(value))
    return dataclasses.field(
        default=default, metadata={"meaning": meaning, "unit": unit, "values": values, "kind": kind}
    )


def _any_of(kind: type) -> Values:
    if kind is float:
        return Values(float, ANYTHING[float], math.isfinite, held=in_float32)
    return Values(kind, ANYTHING[kind])
