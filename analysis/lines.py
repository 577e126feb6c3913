"""One-dimensional laws - loss against N at each budget, against D at each size - and where no power law holds.

Where L = E + A/N^alpha + B/D^beta holds, the loss at one D falls towards an offset that more size cannot lower, so each
line is k x^-exponent plus an offset. Such a curve through five points almost always has a fine R^2: so it is judged
against the noise between seeds and by a forecast of its last point from the others, and a plateau or a sudden fall,
which no offset can describe, is named.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.cells import cells, seed_noise_log
from analysis.parametric import log_scores
from analysis.points import Points, Refusal

MIN_X = 4
EXPONENTS = np.geomspace(0.01, 4, 200)
NOISE_FACTOR = 3.0  # residuals beyond three standard errors of a cell's mean are more than noise
NEGLIGIBLE_LOG = 0.005
FLAT_RATIO = 1.2  # on a plateau the loss stays within 20 % ...
PLATEAU_SPAN, LINE_SPAN = 1.9, 4.0  # ... over about a doubling of x before a fall, or over a whole line
STEEP = 0.8  # local slope of a fall, -d log L / d log x


@dataclass(frozen=True)
class Plateau:
    """A stretch of `x` on which the loss hardly moves, and the steepest fall after it (local slope, between two x)."""

    first_x: float
    last_x: float
    low: float
    high: float
    fall_slope: float
    fall_from: float
    fall_to: float


@dataclass(frozen=True)
class Line:
    """L = offset + k x^-exponent over one axis (`N` or `D`), the other held at `at`.

    `offset` is the floor and whatever the held quantity costs.

    `x`, `loss` (geometric mean over seeds), `low`, `high`, `local_slope` (d log L / d log x, one less) are arrays.
    `noise_log` is the standard error of a cell's mean log loss (None without seeds), `forecast_log` the error of log
    loss at the last x when the line is fitted to the others, `holds` None where there is no noise to judge by.
    """

    axis: str
    at: float
    x: np.ndarray
    loss: np.ndarray
    low: np.ndarray
    high: np.ndarray
    offset: float
    k: float
    exponent: float
    r2_log: float
    rms_log: float
    noise_log: float | None
    forecast_log: float | None
    holds: bool | None
    local_slope: np.ndarray
    plateau: Plateau | None

    @property
    def flat(self) -> bool:
        """Whether the whole line is a plateau: nothing is gained along it."""
        return is_flat(self.x, self.loss, LINE_SPAN)


@dataclass(frozen=True)
class Lines:
    """All lines of one convention, those along N first."""

    lines: tuple[Line, ...]
    refused: tuple[Refusal, ...]

    def along(self, axis: str) -> list[Line]:
        return [line for line in self.lines if line.axis == axis]


def fit_lines(points: Points) -> Lines:
    """The law against N at each budget and against D at each size, where at least four values are there."""
    table = cells(points)
    noise = seed_noise_log(table)
    found = []
    for axis, held, moving in (("N", "budget", "size"), ("D", "size", "tokens")):
        for at, group in table.groupby(held):
            group = group.sort_values(moving)
            if len(group) >= MIN_X:
                found.append(_line(axis, float(at), group, group[moving].to_numpy(), noise))
    refused = [
        Refusal(f"loss against {axis}", f"no {held} with {MIN_X} values of {axis}")
        for axis, held in (("N", "budget"), ("D", "size"))
        if not any(line.axis == axis for line in found)
    ]
    return Lines(tuple(found), tuple(refused))


def _line(axis: str, at: float, group: pd.DataFrame, x: np.ndarray, noise: float | None) -> Line:
    loss = group["loss"].to_numpy()
    offset, k, exponent = fit_power(x, loss)
    residual = np.log(offset + k * x**-exponent) - np.log(loss)
    r2, rms = log_scores(np.log(loss), residual)
    spread = None if noise is None else noise / float(np.sqrt(group["seeds"].mean()))
    # Three parameters were fitted to these few points: the residual that is left is that much too small.
    unbiased = rms * np.sqrt(len(x) / (len(x) - 3))
    slope = np.diff(np.log(loss)) / np.diff(np.log(x))
    return Line(
        axis=axis,
        at=at,
        x=x,
        loss=loss,
        low=group["low"].to_numpy(),
        high=group["high"].to_numpy(),
        offset=offset,
        k=k,
        exponent=exponent,
        r2_log=r2,
        rms_log=rms,
        noise_log=spread,
        forecast_log=_forecast(x, loss),
        holds=None if spread is None else bool(unbiased <= max(NOISE_FACTOR * spread, NEGLIGIBLE_LOG)),
        local_slope=slope,
        plateau=find_plateau(x, loss) if spread is not None else None,
    )


def fit_power(x: np.ndarray, loss: np.ndarray) -> tuple[float, float, float]:
    """(offset, k, exponent) of L = offset + k x^-exponent: a search over exponents, linear least squares inside.

    Weighted 1/L^2 and kept where offset >= 0 and k > 0; a straight line in log-log where that is better.
    """
    slope, log_k = np.polyfit(np.log(x), np.log(loss), 1)
    best = (0.0, float(np.exp(log_k)), float(-slope))
    best_cost = float(((log_k + slope * np.log(x) - np.log(loss)) ** 2).sum())
    middle = np.exp(np.log(x).mean())
    for exponent in EXPONENTS:
        design = np.stack([np.ones_like(x), (x / middle) ** -exponent], axis=1)
        offset, k = np.linalg.lstsq(design / loss[:, None], np.ones_like(x), rcond=None)[0]
        if offset < 0 or k <= 0:
            continue
        cost = float((np.log(design @ [offset, k] / loss) ** 2).sum())
        if cost < best_cost:
            best, best_cost = (float(offset), float(k * middle**exponent), float(exponent)), cost
    return best


def _forecast(x: np.ndarray, loss: np.ndarray) -> float | None:
    """Error of log loss at the last x; None where three parameters would go through all the other points."""
    if len(x) < MIN_X + 1:
        return None
    offset, k, exponent = fit_power(x[:-1], loss[:-1])
    return float(np.log(offset + k * x[-1] ** -exponent) - np.log(loss[-1]))


def find_plateau(x: np.ndarray, loss: np.ndarray) -> Plateau | None:
    """The longest stretch of x [n] on which the loss stays within 20 % before a steep fall; None if there is none.

    A stretch is judged by its range and not by local slopes, for between neighbours those are mostly seed noise.
    """
    slope = np.diff(np.log(loss)) / np.diff(np.log(x))
    stretches = [(i, j) for i in range(len(x)) for j in range(i + 1, len(x) - 1)]
    found = [
        (i, j)
        for i, j in stretches
        if is_flat(x[i : j + 1], loss[i : j + 1], PLATEAU_SPAN) and slope[j:].min() <= -STEEP
    ]
    if not found:
        return None
    first, last = max(found, key=lambda stretch: x[stretch[1]] / x[stretch[0]])
    fall = last + int(slope[last:].argmin())
    on = loss[first : last + 1]
    return Plateau(
        first_x=float(x[first]),
        last_x=float(x[last]),
        low=float(on.min()),
        high=float(on.max()),
        fall_slope=float(slope[fall]),
        fall_from=float(x[fall]),
        fall_to=float(x[fall + 1]),
    )


def is_flat(x: np.ndarray, loss: np.ndarray, span: float) -> bool:
    """Whether `loss` [n] stays within 20 % while x grows by a factor of `span` at least."""
    return bool(loss.max() <= FLAT_RATIO * loss.min() and x[-1] >= span * x[0])
