"""What the fields of one model have to fulfil together, beyond each by itself."""

import re
from collections.abc import Mapping

from vsweep.config import fields
from vsweep.config.model_options import UNUSED
from vsweep.config.problems import Problem

PART_OF_A_NAME = r"[A-Za-z0-9._-]{1,64}"


def problems(name: str, values: Mapping) -> list[Problem]:
    """Of a model called `name`; `values` are its static fields and options."""
    return [*_unused(name, values), *_heads(name, values), *_experts(name, values)]


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
    width, head_dim = values["width"], values["head_dim"]
    if "head_dim" in UNUSED.get(name, ()):
        return []
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
