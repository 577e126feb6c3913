"""What it costs one set of runs to keep the exponents of the other: a second view on whether they differ."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from vsweep.analysis.approaches.parametric import Law, ParametricFit
from vsweep.analysis.compare.paired_bootstrap import Pair, difference
from vsweep.analysis.data.points import Points
from vsweep.analysis.fitting.batched_bfgs import minimise_together
from vsweep.analysis.fitting.chinchilla import Chinchilla, Data, Pullback
from vsweep.analysis.fitting.fit import FACTORS, Problem
from vsweep.analysis.fitting.objective import HUBER, SQUARED


@dataclass(frozen=True)
class Held:
    """What it costs the second set to keep the exponents of the first, with only A, B (and E) fitted again.

    `rise` is the relative rise of the objective; `by_chance` the share of rises at least as large where both sets have
    the same exponents and only err as their resamples do.
    """

    rise: float
    by_chance: float


@dataclass(frozen=True)
class _HeldExponents(Chinchilla):
    """The law with alpha and beta where they are: they have no gradient, so that no descent moves them."""

    def core(self, theta: np.ndarray, data: Data) -> tuple[np.ndarray, Pullback]:
        value, pullback = super().core(theta, data)
        moves = np.array([1.0, 1.0, 0.0, 0.0])
        return value, lambda cotangent: pullback(cotangent) * moves


def hold_exponents(pair: Pair, laws: tuple[Law, Law], stretch: pd.Series) -> Held:
    """The runs of the second set under the exponents of the first, and under its own as they err by chance.

    Args:
      laws: the laws of both sets by r resamples of the cells, fields [r].
      stretch: by column of `compared_numbers`, the factor on an error for what runs of one seed share.
    """
    first, second = (np.array([fit.law.alpha, fit.law.beta]) for fit in pair.fits)
    drawn = np.stack([laws[1].alpha - laws[0].alpha, laws[1].beta - laws[0].beta], axis=1)
    factor = stretch[[difference("alpha"), difference("beta")]].to_numpy()
    by_chance = second + factor * (drawn - (second - first))
    values = _lowest_objectives(pair.points[1], pair.fits[1], np.vstack([second, first, by_chance]))
    rise = (values[1:] - values[0]) / max(values[0], np.finfo(float).tiny)
    return Held(float(rise[0]), float((rise[1:] >= rise[0]).mean()))


def _lowest_objectives(points: Points, fit: ParametricFit, exponents: np.ndarray) -> np.ndarray:
    """The lowest objectives [r] with (alpha, beta) [r, 2] held and A, B (and E) free."""
    params, tokens, loss = points.law_columns
    problem = Problem(_HeldExponents(), Data.of(params, tokens), loss, points.weights, fit.floor, fit.objective)
    theta = np.tile(fit.theta, (len(exponents), 1))
    theta[:, 2:4] = exponents
    # As in `fitting.fit`: a larger threshold first rounds off the kinks that a descent gets stuck in.
    squared = fit.objective.penalty == SQUARED
    for factor in (1.0,) if squared else FACTORS:
        penalty = SQUARED if squared else HUBER
        smooth = replace(fit.objective, penalty=penalty, delta=factor * fit.objective.delta)
        step = replace(problem, objective=smooth)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # a step of a line search may go anywhere
            theta, _ = minimise_together(lambda theta, _, step=step: step.value_and_gradient(theta), theta)
    return problem.values(theta)
