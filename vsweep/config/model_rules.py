"""What the fields of one model have to fulfil together, beyond each by itself."""

import dataclasses
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

from vsweep.config import fields, registry
from vsweep.config.model_options import ATTENDING, MUP, STANDARD, UNUSED
from vsweep.config.problems import Problem

PART_OF_A_NAME = r"[A-Za-z0-9._-]{1,64}"


def problems(name: str, values: Mapping) -> list[Problem]:
    """Of a model called `name`; `values` are its static fields and options."""
    return [*_unused(name, values), *_heads(name, values), *_experts(name, values)]


def mup_problems(config: Any) -> list[Problem]:
    """Of a SweepConfig: muP has a base, and an optimizer for which its learning rates are known."""
    parametrizations = _values(config, "parametrization", getattr(config.model, "parametrization", STANDARD))
    if MUP not in parametrizations:
        given = [(name, getattr(config.model, name, 0)) for name in ("base_width", "base_layers")]
        what, allowed = "has no meaning without model.parametrization = mup", "0"
        return [Problem(f"model.{name}", what, str(value), allowed) for name, value in given if value]
    found = []
    if not config.model.base_width:
        what, allowed = "muP needs the width that lr is for", "an integer from 1, such as the smallest width"
        found.append(Problem("model.base_width", what, "0", allowed))
    name, decays = config.optimizer.name, _values(config, "weight_decay", config.optimizer.weight_decay)
    if name not in fields.OPTIMIZERS:
        found.append(Problem("optimizer.name", "muP has no rule for it", name, ", ".join(fields.OPTIMIZERS)))
    if name == "adam" and any(decays):
        what = "decay in the gradient, as adam has it, depends on the width; muP has no rule for it"
        got, allowed = ", ".join(map(str, decays)), "0, or optimizer.name = adamw"
        found.append(Problem("optimizer.weight_decay", what, got, allowed))
    return found


def with_base(config: Any) -> Any:
    """A faulty SweepConfig, with some base for muP where it has none: what else is wrong can be told then."""
    if getattr(config.model, "base_width", None) != 0:
        return config
    parametrizations = _values(config, "parametrization", getattr(config.model, "parametrization", STANDARD))
    model = dataclasses.replace(config.model, base_width=1) if MUP in parametrizations else config.model
    return dataclasses.replace(config, model=model)


def mup_head_problems(name: str, shapes: Sequence[Mapping]) -> list[Problem]:
    """Of all shapes of a sweep. Under muP a head dim that follows the width would need the one of the base width."""
    widths: dict[int, set[int]] = {}
    for values in shapes:
        if name in ATTENDING and values.get("parametrization") == MUP and not values["heads"]:
            widths.setdefault(values["head_dim"], set()).add(values["width"])
    all_widths = set().union(*widths.values())
    if not widths or all_widths in widths.values():
        return []
    got, allowed = ", ".join(map(str, sorted(widths))), "one at all widths, or model.heads in its place"
    return [Problem("model.head_dim", "follows the width, and muP scales attention by model.heads", got, allowed)]


def _values(config: Any, name: str, otherwise: Any) -> tuple:
    """What explicit runs, a box (its upper end) or an axis give a field, or `otherwise`."""
    rows = [dict(row)[name] for row in config.design.runs_csv if name in config.design.columns]
    sides = [side.high for side in config.design.random if side.name == name]
    return tuple(dict.fromkeys(rows or sides)) or dict(config.axes).get(name, (otherwise,))


def module_problems(config: Any) -> list[Problem]:
    """Of a SweepConfig with a Linen module of the user's: what that cannot take has to keep its default."""
    name, module = config.model.name, registry.linen_module(config.model.name)
    if module is None:
        return []
    found, has = [], {field.name for field in dataclasses.fields(module)}
    designed = (*config.design.columns, *config.design.box)
    given = {"precision": "dtype", **{each: each for each in registry.GIVEN_FIELDS if each in fields.SWEPT}}
    for axis, field in given.items():
        default, path = fields.SWEPT[axis].default, fields.SWEPT[axis].path
        others = [value for value in config.axis(axis) if value != default]
        if field not in has and (others or axis in designed):
            allowed = f"its default, {default}, or a module with a field {field}"
            found.append(Problem(path, f"{name} has no field {field}", ", ".join(map(str, others)) or axis, allowed))
    drops = any(config.axis("dropout")) or "dropout" in designed
    if drops and "dropout" not in inspect.signature(module.__call__).parameters:
        got = ", ".join(map(str, config.axis("dropout")))
        allowed = "0, or a module whose __call__ takes `dropout`"
        found.append(Problem("model.dropout", f"{name} takes no rate of dropout", got, allowed))
    return found


def name_problems(options: Mapping) -> list[Problem]:
    """Of options that a sweep varies: texts become parts of run ids, which are names of files."""
    allowed = "at most 64 letters, digits, '.', '_' and '-', because run ids hold it"
    return [
        Problem(f"sweep.{name}", "cannot be a part of a run's name", repr(value), allowed)
        for name, value in options.items()
        if isinstance(value, str) and not re.fullmatch(PART_OF_A_NAME, value)
    ]


def _unused(name: str, values: Mapping) -> list[Problem]:
    """Fields that have no meaning in this model have to keep their defaults."""
    return [
        Problem(f"model.{field}", f"has no meaning in {name}", str(values[field]), f"its default, {default}")
        for field in UNUSED.get(name, ())
        if values[field] != (default := fields.SWEPT[field].default)
    ]


def _heads(name: str, values: Mapping) -> list[Problem]:
    """Their size, or their number in its place, divides the width."""
    width, head_dim = values["width"], values["head_dim"]
    heads = values.get("heads", 0) if name in ATTENDING else 0  # what it means in a user's own model is not known
    if "head_dim" in UNUSED.get(name, ()) or registry.linen_module(name):
        return []
    if heads and width % heads:
        return [
            Problem(
                "model.heads",
                "does not divide the width",
                f"{heads} heads at width {width}",
                "a divisor of every width",
            )
        ]
    if heads and head_dim != fields.SWEPT["head_dim"].default:
        got = f"head_dim {head_dim} and {heads} heads"
        return [Problem("model.head_dim", "model.heads gives the heads their size", got, "one of the two")]
    head_dim = width // heads if heads else head_dim
    if width % head_dim:
        got = f"head_dim {head_dim} at width {width}"
        return [Problem("model.head_dim", "does not divide the width", got, "a divisor of every width")]
    if name in ATTENDING and values["positions"] == "rotary" and head_dim % 2:
        what = "odd, and rotary positions turn pairs of features"
        return [Problem("model.head_dim", what, str(head_dim), "even numbers")]
    return []


def _experts(name: str, values: Mapping) -> list[Problem]:
    if name != "moe" or values["experts_per_token"] <= values["experts"]:
        return []
    got, allowed = str(values["experts_per_token"]), f"at most model.experts = {values['experts']}"
    return [Problem("model.experts_per_token", "more than there are experts", got, allowed)]
