"""What a model's fields have to fulfil together, beyond each by itself."""

import re
from typing import Any

from vsweep.config import fields
from vsweep.config.model_options import UNUSED
from vsweep.config.problems import Problem

NAME_OF_A_FILE = r"[A-Za-z0-9._-]{1,64}"


def problems(config: Any) -> list[Problem]:
    """Of the section `model` of a SweepConfig and its axes."""
    return [*_unused(config), *_odd_heads(config), *_too_few_experts(config)]


def name_problems(path: str, points: tuple) -> list[Problem]:
    """Texts of an axis become parts of run ids, which are names of files."""
    bad = [point for point in points if isinstance(point, str) and not re.fullmatch(NAME_OF_A_FILE, point)]
    allowed = "texts of at most 64 letters, digits, '.', '_' and '-', which can be a part of a run's name"
    return [Problem(path, "cannot be a part of a run's name", repr(point), allowed) for point in bad]


def _unused(config: Any) -> list[Problem]:
    name = config.model.name
    found = []
    for field in UNUSED.get(name, ()):
        default = fields.SWEPT[field].default
        if (values := config.axis(field)) != (default,):
            got, allowed = ", ".join(map(str, values)), f"its default, {default}"
            found.append(Problem(f"model.{field}", f"has no meaning in {name}", got, allowed))
    return found


def _odd_heads(config: Any) -> list[Problem]:
    """Rotary positions turn pairs of features."""
    if "rotary" not in _values(config, "positions"):
        return []
    odd = [head_dim for head_dim in config.axis("head_dim") if head_dim % 2]
    what = "odd, and rotary positions turn pairs"
    return [Problem("model.head_dim", what, str(head_dim), "even numbers") for head_dim in odd]


def _too_few_experts(config: Any) -> list[Problem]:
    experts, chosen = _values(config, "experts"), _values(config, "experts_per_token")
    if config.model.name != "moe" or max(chosen) <= min(experts):
        return []
    allowed = f"at most model.experts = {min(experts)}"
    return [Problem("model.experts_per_token", "more than there are experts", str(max(chosen)), allowed)]


def _values(config: Any, name: str) -> tuple:
    """Of an option, which a model may not have."""
    swept = dict(config.axes)
    return swept[name] if name in swept else (getattr(config.model, name, None),)
