"""What a model's fields have to fulfil together, beyond each by itself."""

import re
from typing import Any

from vsweep.config import fields
from vsweep.config.model_options import MUP, UNUSED
from vsweep.config.problems import Problem

NAME_OF_A_FILE = r"[A-Za-z0-9._-]{1,64}"


def problems(config: Any) -> list[Problem]:
    """Of the section `model` of a SweepConfig and its axes."""
    return [*_unused(config), *_heads(config), *_odd_heads(config), *_too_few_experts(config), *_mup(config)]


def uses_head_dim(config: Any) -> bool:
    """Whether some run takes `model.head_dim` for the size of its heads."""
    return "head_dim" not in UNUSED.get(config.model.name, ()) and not all(_values(config, "heads"))


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
    odd = [head_dim for head_dim in config.axis("head_dim") if head_dim % 2 and uses_head_dim(config)]
    odd += [width // heads for heads, width in _heads_and_widths(config) if width // heads % 2]
    what = "odd, and rotary positions turn pairs"
    return [Problem("model.head_dim", what, str(head_dim), "even numbers") for head_dim in dict.fromkeys(odd)]


def _heads(config: Any) -> list[Problem]:
    """A number of heads stands in place of their size."""
    pairs = _heads_and_widths(config)
    what, allowed = "does not divide the width", "a divisor of every width"
    found = [
        Problem("model.heads", what, f"{heads} heads at width {width}", allowed)
        for heads, width in pairs
        if width % heads
    ]
    default = fields.SWEPT["head_dim"].default
    if pairs and (given := config.axis("head_dim")) != (default,):
        got = f"head_dim {', '.join(map(str, given))} and {pairs[0][0]} heads"
        found.append(Problem("model.head_dim", "model.heads gives the heads their size", got, "one of the two"))
    return found


def _heads_and_widths(config: Any) -> list[tuple[int, int]]:
    return [(heads, width) for heads in _values(config, "heads") if heads for width in config.axis("width")]


def _mup(config: Any) -> list[Problem]:
    """muP has a base, and an optimizer for which its learning rates are known."""
    if MUP not in _values(config, "parametrization"):
        given = [(name, getattr(config.model, name, 0)) for name in ("base_width", "base_layers")]
        what, allowed = "has no meaning without model.parametrization = mup", "0"
        return [Problem(f"model.{name}", what, str(value), allowed) for name, value in given if value]
    found = []
    if not config.model.base_width:
        what, allowed = "muP needs the width that lr is for", "an integer from 1, such as the smallest width"
        found.append(Problem("model.base_width", what, "0", allowed))
    name = config.optimizer.name
    if name not in fields.OPTIMIZERS:
        found.append(Problem("optimizer.name", "muP has no rule for it", name, ", ".join(fields.OPTIMIZERS)))
    if name == "adam" and any(decays := config.axis("weight_decay")):
        what = "decay in the gradient, as adam has it, depends on the width; muP has no rule for it"
        got, allowed = ", ".join(f"{decay:g}" for decay in decays), "0, or optimizer.name = adamw"
        found.append(Problem("optimizer.weight_decay", what, got, allowed))
    return found


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
