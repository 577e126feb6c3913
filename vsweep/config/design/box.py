"""Points in a box of hyperparameters: Sobol's, uniform ones, or a Latin hypercube."""

import functools
import math

from vsweep.config.design.options import Design, Side

DIGITS = 6  # of a value: so the last digits of a logarithm, which depend on the machine, are in no result


@functools.lru_cache(maxsize=16)
def _drawn(method: str, dimensions: int, count: int, seed: int) -> tuple[tuple[float, ...], ...]:
    """[count][dimensions] numbers from 0 to 1. The first points stay the same when more are drawn, but in a hypercube.

    Sobol' (1967), scrambled (Owen 1998), in scipy.stats.qmc.
    """
    import numpy as np  # here: reading a config loads neither
    from scipy.stats import qmc

    if method == "uniform":
        return tuple(map(tuple, np.random.default_rng(seed).random((count, dimensions)).tolist()))
    if method == "latin_hypercube":
        return tuple(map(tuple, qmc.LatinHypercube(dimensions, rng=seed).random(count).tolist()))
    exponent = math.ceil(math.log2(count))  # whole powers of two are balanced, and their first points the same
    drawn = qmc.Sobol(dimensions, rng=seed).random_base2(exponent)
    return tuple(map(tuple, drawn[:count].tolist()))


def points(design: Design) -> list[dict[str, object]]:
    """The values of each point, with its number as `point`."""
    drawn = _drawn(design.random_method, len(design.random), design.random_points, design.random_seed)
    sides = design.random
    return [
        {**{side.name: _value(side, share) for side, share in zip(sides, shares, strict=True)}, "point": number}
        for number, shares in enumerate(drawn)
    ]


def _value(side: Side, share: float) -> float | int:
    low, high = side.low, side.high
    found = low * (high / low) ** share if side.scale == "log" else low + (high - low) * share
    if isinstance(low, int):
        return min(max(round(found), low), high)
    return min(max(float(f"{found:.{DIGITS}g}"), low), high)
