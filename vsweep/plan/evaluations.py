"""When a run is evaluated: on a log-spaced grid of its own steps."""

import functools
import itertools

FIRST_EVALUATION_SHARE = 1 / 64  # of the smallest horizon: where a run's grid of evaluations begins


@functools.lru_cache(maxsize=1024)  # the runs of a sweep have few horizons
def evaluation_steps(horizon: int, smallest_horizon: int, points: int) -> tuple[int, ...]:
    """A run's own log-spaced grid of steps, its horizon among them: `points` of them for the smallest horizon.

    Larger horizons go on with the same ratio, so the grid depends on the sweep and the run, never on its neighbours.
    """
    first = max(1, round(smallest_horizon * FIRST_EVALUATION_SHARE))
    wanted = min(points, smallest_horizon - first + 1)
    for spaces in itertools.count(points - 1):  # rounding to whole steps merges points: space them closer until enough
        ratio = (smallest_horizon / first) ** (1 / spaces) if smallest_horizon > first else 2.0
        if len(_log_grid(smallest_horizon, first, ratio)) >= wanted:
            return _log_grid(horizon, first, ratio)


def _log_grid(horizon: int, first: int, ratio: float) -> tuple[int, ...]:
    steps = {horizon}
    for power in itertools.count(1):
        step = round(horizon / ratio**power)
        if step < first:
            return tuple(sorted(steps))
        steps.add(step)
