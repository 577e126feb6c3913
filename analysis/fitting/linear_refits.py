"""Refits of a law to the resamples of many points, to first order in the weights.

A resample changes the weights of the points, and so the gradient of the objective at the fit to all points. One step of
Newton's method from there is the refit, but for terms that shrink as the number of resampled units grows (the
infinitesimal jackknife: Efron 1982, chapter 6). A hundred thousand points then cost one pass instead of thousands.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vsweep.analysis.fitting.fit import Problem
from vsweep.analysis.fitting.objective import HUBER, SQUARED, Objective

STEP = 1e-5  # of the central differences of the residuals
MAD_TO_SD = 1.4826  # of a normal distribution

# values [n, p] by point -> their sums over the points, each counted as often as a resample holds it [r, p]
ResampledSums = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Expansion:
    """The objective about the fit `theta` [p]: `scores` [n, q] are gradients by point, `hessian` is [q, q].

    Of the p parameters only the first q move: E stays where the fit has it at zero.
    """

    theta: np.ndarray
    scores: np.ndarray
    hessian: np.ndarray
    floor_moves: bool

    def refits(self, sums: ResampledSums) -> np.ndarray:
        """theta [r, p] of each resample. Where E would be negative the law with E = 0 takes its place."""
        count = self.scores.shape[1]
        moved = np.linalg.solve(self.hessian, (sums(self.scores) - self.scores.sum(axis=0)).T).T  # [r, q]
        theta = np.tile(self.theta, (len(moved), 1))
        theta[:, :count] -= moved
        if self.floor_moves:
            below = theta[:, -1] < 0
            others = np.linalg.solve(self.hessian[:-1, :-1], self.hessian[:-1, -1])
            theta[below, :-1] += theta[below, -1:] * others
            theta[below, -1] = 0.0
        return theta


def expand(problem: Problem, theta: np.ndarray) -> Expansion:
    """The expansion of the objective of `problem` about its optimum `theta` [p]."""
    moving = len(theta) - (problem.floor_free and theta[-1] == 0)
    steps = STEP * np.eye(len(theta))[:moving]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        apart = problem.residuals(theta + steps) - problem.residuals(theta - steps)  # [q, n]
        slope = (apart / (2 * STEP)).T  # [n, q]
        residual = problem.residuals(theta)
    _, force = problem.objective.penalties_and_slopes(residual)
    scores = (problem.weight * force)[:, None] * slope
    stiffness = problem.weight * _curvature(problem.objective, residual)
    return Expansion(theta, scores, (slope * stiffness[:, None]).T @ slope, bool(problem.floor_free and theta[-1] > 0))


def _curvature(objective: Objective, residual: np.ndarray) -> np.ndarray:
    """[n] second derivatives of the penalty, for penalties with a kink as an average over residuals nearby.

    The window shrinks with the number of points (Powell 1991; Koenker 2005, section 3.4.2). Huber's penalty has a
    window of its own, its threshold, which is taken where it is the wider one.
    """
    sign = np.where(residual > 0, objective.overestimate, 1.0)
    if objective.penalty == SQUARED:
        return sign
    sd = MAD_TO_SD * float(np.median(np.abs(residual)))
    window = max(sd * len(residual) ** -0.2, np.finfo(float).tiny)
    if objective.penalty == HUBER:
        window, height = max(window, objective.delta), objective.delta
        return sign * (np.abs(residual) < window) * min(1.0, height / window)
    return sign * (np.abs(residual) < window) / window
