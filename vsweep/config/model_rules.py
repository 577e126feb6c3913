"""What the fields of one model have to fulfil together, beyond each by itself."""

import re
from collections.abc import Mapping
from typing import Any

from vsweep.config import fields
from vsweep.config.model_options import MUP, STANDARD, UNUSED
from vsweep.config.problems import Problem

PART_OF_A_NAME = r"[A-Za-z0-9._-]{1,64}"


def problems(name: str, values: Mapping) -> list[Problem]:
    """Of a model called `name`; `values` are its static fields and options."""
    return [*_unused(name, values), *_heads(name, values), *_experts(name, values)]


def mup_problems(config: Any) -> list[Problem]:
    """Of a SweepConfig: muP has a base, and an optimizer for which its learning rates are known."""
    parametrizations = dict(config.axes).get("parametrization", (getattr(config.model, "parametrization", STANDARD),))
    if MUP not in parametrizations:
        given = [(name, getattr(config.model, name, 0)) for name in ("base_width", "base_layers")]
        what, allowed = "has no meaning without model.parametrization = mup", "0"
        return [Problem(f"model.{name}", what, str(value), allowed) for name, value in given if value]
    found = []
    if not config.model.base_width:
        what, allowed = "muP needs the width that lr is for", "an integer from 1, such as the smallest width"
        found.append(Problem("model.base_width", what, "0", allowed))
    name, decays = config.optimizer.name, config.axis("weight_decay")
    if name not in fields.OPTIMIZERS:
        found.append(Problem("optimizer.name", "muP has no rule for it", name, ", ".join(fields.OPTIMIZERS)))
    if name == "adam" and any(decays):
        what = "decay in the gradient, as adam has it, depends on the width; muP has no rule for it"
        got, allowed = ", ".join(map(str, decays)), "0, or optimizer.name = adamw"
        found.append(Problem("optimizer.weight_decay", what, got, allowed))
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
    width, head_dim, heads = values["width"], values["head_dim"], values.get("heads", 0)
    if "head_dim" in UNUSED.get(name, ()):
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
    if values.get("positions") == "rotary" and head_dim % 2:
        what = "odd, and rotary positions turn pairs of features"
        return [Problem("model.head_dim", what, str(head_dim), "even numbers")]
    return []


def _experts(name: str, values: Mapping) -> list[Problem]:
    if name != "moe" or values["experts_per_token"] <= values["experts"]:
        return []
    got, allowed = str(values["experts_per_token"]), f"at most model.experts = {values['experts']}"
    return [Problem("model.experts_per_token", "more than there are experts", got, allowed)]
