"""The intervals that a fit to a design would have, to first order: Fisher information in log loss.

A study fits log loss with Huber's penalty (Hoffmann et al. 2022, equation 3). With normal noise of deviation s around
the law, the covariance of its constants is v (J^T W J)^-1. J [cells, p] is the gradient of log L, W the number of runs,
and v the variance of Huber's estimate of one location (Huber 1964, section 4). Simulated refits in the tests agree.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from vsweep.analysis.approaches.parametric import Law, why_undetermined
from vsweep.analysis.designer.assumption import Assumption
from vsweep.analysis.designer.runs import Runs
from vsweep.analysis.fitting.objective import Objective
from vsweep.analysis.uncertainty.verdicts import SENSELESS_A

LEVEL = 0.9
WORST_CONDITION = 1e6  # of the gradients, each of unit length: beyond it a combination of constants is not seen
ALPHA, BETA = 2, 3  # columns of the gradient


@dataclass(frozen=True)
class CannotTell:
    """The design does not determine the exponents; `reason` says why, and what would help."""

    reason: str


@dataclass(frozen=True)
class Precision:
    """Expected widths of the 90 % intervals of a = beta / (alpha + beta), alpha and beta.

    `covariance` [p, p] is that of (log A, log B, alpha, beta, and E over the assumed E), A and B counted from the
    `centre` of log N and log D.
    """

    a: float
    alpha: float
    beta: float
    covariance: np.ndarray
    centre: tuple[float, float]
    assumption: Assumption

    def forecast(self, flops: float) -> float:
        """Width of the 90 % interval of log loss at the compute-optimal (N, D) for `flops`, by the assumed law."""
        law = self.assumption.law
        at = np.array([law.params_opt(flops)]), np.array([law.tokens_opt(flops)])
        row = gradient(law, *at, self.centre, floor_free=self.assumption.floor_free)[0]
        return _width(row @ self.covariance @ row)


def expected(runs: Runs, assumption: Assumption) -> Precision | CannotTell:
    """How well a fit to `runs` would know the exponents if `assumption` held, or why it could not."""
    if reason := why_undetermined(runs.params, runs.tokens, assumption.floor_free) or _too_few_sizes(runs, assumption):
        return CannotTell(reason)
    return by_information(runs, assumption)


def by_information(runs: Runs, assumption: Assumption) -> Precision | CannotTell:
    """As `expected`, without the checks that name what a bad design lacks: for many designs that are none."""
    centre = float(np.log(runs.params).mean()), float(np.log(runs.tokens).mean())
    covariance = _covariance(runs, assumption, centre)
    if covariance is None:
        return CannotTell("the terms of size and data cannot be told apart here: spread N and D further apart")
    alpha, beta = assumption.law.alpha, assumption.law.beta
    by_exponents = np.array([-beta, alpha]) / (alpha + beta) ** 2  # of a
    block = covariance[ALPHA : BETA + 1, ALPHA : BETA + 1]
    widths = [_width(variance) for variance in (by_exponents @ block @ by_exponents, block[0, 0], block[1, 1])]
    found = Precision(*widths, covariance, centre, assumption)
    return _too_wide(found) or found


def _too_few_sizes(runs: Runs, assumption: Assumption) -> str:
    """A floor and a power law have three constants along each axis."""
    if not assumption.floor_free:
        return ""
    for name, axis, values in (("sizes", "N", runs.params), ("amounts of data", "D", runs.tokens)):
        if len(np.unique(values.round(6))) < 3:
            return f"two {name} cannot tell E from a power of {axis}: with E fitted, the law needs a third"
    return ""


def _too_wide(found: Precision) -> CannotTell | None:
    """Beyond these limits a fit is senseless, and so is a straight line through it."""
    law = found.assumption.law
    if found.a > SENSELESS_A:
        return CannotTell(f"a would be known to within {found.a:.2f} only, and above {SENSELESS_A} that says nothing")
    low = [name for name in ("alpha", "beta") if getattr(found, name) / 2 >= getattr(law, name)]
    return CannotTell(f"the interval of {' and of '.join(low)} would include 0") if low else None


def gradient(
    law: Law, params: np.ndarray, tokens: np.ndarray, centre: tuple[float, float], *, floor_free: bool
) -> np.ndarray:
    """d log L / d (log A, log B, alpha, beta[, log E]) [n, p] at N, D [n]; where E is 0, d / dE in its place."""
    by_n, by_d = law.A * params**-law.alpha, law.B * tokens**-law.beta
    columns = [by_n, by_d, -(np.log(params) - centre[0]) * by_n, -(np.log(tokens) - centre[1]) * by_d]
    if floor_free:
        columns.append(np.full(len(params), law.E or 1.0))
    return np.stack(columns, axis=1) / law.loss(params, tokens)[:, None]


def _covariance(runs: Runs, assumption: Assumption, centre: tuple[float, float]) -> np.ndarray | None:
    rows = gradient(assumption.law, runs.params, runs.tokens, centre, floor_free=assumption.floor_free)
    rows = rows * np.sqrt(runs.counts)[:, None]
    lengths = np.linalg.norm(rows, axis=0)
    _, values, directions = np.linalg.svd(rows / lengths, full_matrices=False)
    if len(values) < len(lengths) or values[-1] * WORST_CONDITION < values[0]:
        return None
    inverse = (directions.T / values**2) @ directions
    return huber_variance(assumption.sd_log) * inverse / np.outer(lengths, lengths)


def huber_variance(sd: float, delta: float = Objective().delta) -> float:
    """Variance of Huber's estimate from one observation with normal noise: E[psi^2] / E[psi']^2 (Huber 1964).

    Between that of the mean, sd^2, where delta is large, and that of the median, pi sd^2 / 2.
    """
    c = delta / sd
    inside, outside = special.erf(c / np.sqrt(2)), special.ndtr(-c)
    density = np.exp(-(c**2) / 2) / np.sqrt(2 * np.pi)
    squares = sd**2 * (inside - 2 * c * density + 2 * c**2 * outside)
    return float(squares / inside**2)


def _width(variance: float) -> float:
    return float(2 * special.ndtri((1 + LEVEL) / 2) * np.sqrt(max(variance, 0.0)))
