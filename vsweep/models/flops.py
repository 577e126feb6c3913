"""FLOPs of a program's matrix products, counted from its jaxpr: a model needs no formula of its own."""

import math
from typing import Any


def count(jaxpr: Any) -> int:
    """FLOPs of all products and convolutions in a (closed) jaxpr: two a multiplication with its addition.

    A scan counts once for each step, and of a conditional the dearest branch. The steps of a while loop are not known;
    they count once.
    """
    return sum(_of_equation(equation) for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns)


def _of_equation(equation: Any) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        sides = equation.invars[0].aval.shape
        return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(sides[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel, out = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
        features_out = kernel[params["dimension_numbers"].rhs_spec[0]]
        return 2 * math.prod(out) * math.prod(kernel) // features_out
    if name == "cond":
        return max(count(branch) for branch in params["branches"])
    inside = sum(count(value) for value in params.values() if hasattr(value, "eqns") or hasattr(value, "jaxpr"))
    return params["length"] * inside if name == "scan" else inside
