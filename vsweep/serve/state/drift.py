"""Which runs under way have left the line: compared with other seeds of the same settings at the same step.

The yardstick is the scatter between seeds, pooled over all settings at about the same share of their training. A run
itself is never part of its own yardstick. A verdict needs two other seeds, four degrees of freedom of scatter, and two
evaluations in a row beyond the limit on the same side: everything else is `cannot tell`, with the reason.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from vsweep.schema import DIVERGED, RUNNING
from vsweep.serve.state.tables import Run

SIGMAS = 3.0
ONE_SIDED = 0.5 * (1.0 + math.erf(SIGMAS / math.sqrt(2.0)))  # the limit is as rare as three sigmas of a normal
FEWEST_PEERS = 2
FEWEST_FREEDOMS = 4
SAME_SHARE = 1.5  # scatter is pooled over steps whose share of the training is alike within this factor
IN_A_ROW = 2

Curve = dict[int, float]  # step -> logarithm of the loss


@dataclass(frozen=True)
class Comparison:
    """One evaluation against those of the other seeds; losses in nats per token, `off` and `limit` of log loss."""

    step: int
    loss: float
    expected: float
    peers: int
    off: float
    limit: float

    @property
    def beyond(self) -> int:
        """1 above the limit, -1 below it, 0 within."""
        return int(math.copysign(1, self.off)) if abs(self.off) > self.limit else 0


@dataclass(frozen=True)
class Judged:
    """A run under way: the newest comparison and whether it has drifted, or why nothing can be told."""

    run_id: str
    newest: Comparison | None = None
    drifts: bool = False
    why_not: str = ""


def judge(runs: Iterable[Run], loss: str) -> list[Judged]:
    """A judgement of each run under way. `loss` is a column of curves.csv; only values above 0 are compared."""
    sound = [run for run in runs if run.status != DIVERGED and run.horizon]
    logs = {run.run_id: _logs(run, loss) for run in sound}
    groups: dict[tuple, list[Run]] = {}
    for run in sound:
        groups.setdefault((run.settings, run.budget, run.horizon), []).append(run)
    scatter = _Scatter([[logs[run.run_id] for run in of] for of in groups.values()], [key[2] for key in groups])
    return [
        _judge(run, [other.run_id for other in of if other is not run], place, logs, scatter)
        for place, of in enumerate(groups.values())
        for run in of
        if run.status == RUNNING and logs[run.run_id]
    ]


def _logs(run: Run, loss: str) -> dict[int, float]:
    return {step: math.log(point[loss]) for step, point in sorted(run.curve.items()) if point[loss] > 0}


def _judge(run: Run, others: list[str], place: int, logs: dict, scatter: "_Scatter") -> Judged:
    if len(others) < FEWEST_PEERS:
        return Judged(run.run_id, why_not=f"fewer than {FEWEST_PEERS} other seeds of the same settings")
    shared = [step for step in logs[run.run_id] if sum(step in logs[other] for other in others) >= FEWEST_PEERS]
    if len(shared) < IN_A_ROW:
        return Judged(run.run_id, why_not="too few steps yet at which other seeds were evaluated too")
    newest = shared[-IN_A_ROW:]
    compared = [_compare(run, step, [logs[other] for other in others], place, logs, scatter) for step in newest]
    if None in compared:
        return Judged(run.run_id, why_not="too few seeds so far to say how far they scatter")
    sides = {comparison.beyond for comparison in compared}
    return Judged(run.run_id, compared[-1], drifts=len(sides) == 1 and sides != {0})


def _compare(
    run: Run, step: int, others: list[Curve], place: int, logs: dict, scatter: "_Scatter"
) -> Comparison | None:
    known = [curve[step] for curve in others if step in curve]
    squares, freedoms = scatter.at(step / run.horizon, place, others)
    if freedoms < FEWEST_FREEDOMS:
        return None
    here, expected = logs[run.run_id][step], float(np.mean(known))
    spread = math.sqrt(squares / freedoms * (1 + 1 / len(known)))
    limit = float(stdtrit(freedoms, ONE_SIDED)) * spread
    return Comparison(step, math.exp(here), math.exp(expected), len(known), here - expected, limit)


class _Scatter:
    """Sums of squares around the mean of a group of seeds, at every step at which two of them were evaluated."""

    def __init__(self, groups: list[list[Curve]], horizons: list[int]):
        self.horizons = horizons
        found = [
            (place, math.log(step / horizon), *_spread(curves, step))
            for place, (curves, horizon) in enumerate(zip(groups, horizons, strict=True))
            for step in _shared_steps(curves)
        ]
        columns = np.array(found, float).reshape(-1, 4).T
        self.places, self.log_shares, self.squares, self.freedoms = columns

    def at(self, share: float, place: int, others: list[Curve]) -> tuple[float, int]:
        """(sum of squares, degrees of freedom) at about this share of the training.

        Every group counts once; of the one at `place` only `others` do.
        """
        distances = np.abs(self.log_shares - math.log(share))
        near = np.flatnonzero((distances <= math.log(SAME_SHARE)) & (self.places != place))
        near = near[np.argsort(distances[near], kind="stable")]
        first = near[np.unique(self.places[near], return_index=True)[1]]
        squares, freedoms = float(self.squares[first].sum()), int(self.freedoms[first].sum())
        if steps := _shared_steps(others):
            closest = min(steps, key=lambda step: abs(math.log(step / self.horizons[place] / share)))
            own_squares, own_freedoms = _spread(others, closest)
            squares, freedoms = squares + own_squares, freedoms + own_freedoms
        return squares, freedoms


def _shared_steps(curves: list[Curve]) -> list[int]:
    counts = Counter(step for curve in curves for step in curve if step > 0)
    return [step for step, count in counts.items() if count >= 2]


def _spread(curves: list[Curve], step: int) -> tuple[float, int]:
    values = np.array([curve[step] for curve in curves if step in curve])
    return float(np.sum((values - values.mean()) ** 2)), len(values) - 1
