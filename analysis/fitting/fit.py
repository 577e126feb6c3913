"""Fits any law of `laws` to points, and to thousands of resamples of them at once.

From the best starts of a grid, with E = 0 and with E > 0, descents of all parameters together go to their ends.
"""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

import numpy as np

from vsweep.analysis.fitting.batched_bfgs import GAIN_TOLERANCE, minimise_together
from vsweep.analysis.fitting.chinchilla import Data, Form
from vsweep.analysis.fitting.objective import HUBER, LOG, LOSS, SQUARED, Objective

STARTS = 6  # descents of one fit, with E = 0 and with E > 0 each
RESTARTS = 4
BLOCK_VALUES = 2**17  # resamples x points that descend at once: more do not stay in a core's cache
FACTORS = (16.0, 1.0)  # of Huber's threshold, one descent after the other
# Absolute values are minimised as Huber's penalty with this threshold, and with larger ones before.
ABSOLUTE_DELTA, ABSOLUTE_FACTORS = 1e-7, (1e4, 1e3, 1e2, 1e1, 1.0)
ROUGH_GAIN = 1e-6  # relative gain of a step below which a descent with a larger threshold has ended
STATIONARY = 1e-9  # relative gain of a restart below which a descent has ended
# From so many points on, starts are looked for among a selection of them. The last descent sees every point.
MANY_POINTS = 2_000
FEW_POINTS, MORE_POINTS = 500, 8_000
ALIKE = 1e-3  # ends on a selection whose objectives are so close in relative terms may change places on all points
_KEPT: ContextVar[dict[bytes, tuple[np.ndarray, float] | None] | None] = ContextVar("kept", default=None)


@dataclass(frozen=True)
class Problem:
    """Points to be fitted. `weight` is [n], or [r, n] for r resamples; `floor` None means that E is fitted.

    theta [..., p] is that of the form, followed by E over the lowest loss where E is fitted.
    """

    form: Form
    data: Data
    loss: np.ndarray
    weight: np.ndarray
    floor: float | None
    objective: Objective

    @property
    def floor_free(self) -> bool:
        """Whether E is fitted."""
        return self.floor is None

    @property
    def parameters(self) -> int:
        """How many numbers are fitted, E among them where it is."""
        return len(self.form.parameters) + self.floor_free

    @property
    def scale(self) -> float:
        """What the objective is divided by before it is minimised, so that tolerances mean the same for every loss."""
        unit = self.loss.min() if self.objective.residual == LOSS else 1.0
        return unit**2 if self.objective.penalty == SQUARED else self.objective.delta * unit

    @property
    def digest(self) -> bytes:
        """Equal for problems with the same law, points and objective, to the last bit."""
        content = hashlib.sha256()
        for value in (self.form, self.floor, self.objective, *vars(self.data).values(), self.loss, self.weight):
            if isinstance(value, np.ndarray):
                content.update(f"{value.dtype}{value.shape}".encode())
                content.update(np.ascontiguousarray(value).data)
            else:
                content.update(f"{value!r};".encode())
        return content.digest()

    def predict(self, theta: np.ndarray, data: Data | None = None) -> np.ndarray:
        """The law [..., n] at theta [..., p]."""
        core, _ = self.form.core(theta, self.data if data is None else data)
        return core + self.floor_value(theta)[..., None]

    def floor_value(self, theta: np.ndarray) -> np.ndarray:
        """E [...] of theta [..., p]."""
        return self.loss.min() * theta[..., -1] if self.floor_free else np.full(theta.shape[:-1], self.floor)

    def residuals(self, theta: np.ndarray) -> np.ndarray:
        """Residuals [..., n] at theta [..., p], in log loss or in nats/token as the objective says."""
        return self._residual(self.predict(theta))

    def _residual(self, prediction: np.ndarray) -> np.ndarray:
        if self.objective.residual == LOG:
            return np.log(prediction / self.loss)
        return prediction - self.loss

    def values(self, theta: np.ndarray) -> np.ndarray:
        """Objectives [...] at theta [..., p]."""
        return (self.weight * self.objective.penalties(self.residuals(theta))).sum(axis=-1)

    def value_and_gradient(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scaled objectives [...] and their gradients [..., p] at theta [..., p]."""
        core, pullback = self.form.core(theta, self.data)
        prediction = core + self.floor_value(theta)[..., None]
        penalties, slopes = self.objective.penalties_and_slopes(self._residual(prediction))
        cotangent = self.weight * slopes
        if self.objective.residual == LOG:
            cotangent /= prediction
        value = np.einsum("...n,...n->...", self.weight, penalties)
        gradient = pullback(cotangent)
        if self.floor_free:
            gradient = np.concatenate([gradient, self.loss.min() * cotangent.sum(-1, keepdims=True)], axis=-1)
        return value / self.scale, gradient / self.scale


@dataclass(frozen=True)
class FormFit:
    """A law of any form at its optimum: `theta` [p], or [r, p] for r resamples at once."""

    problem: Problem
    theta: np.ndarray
    value: float | np.ndarray

    def loss(self, params: np.ndarray, tokens: np.ndarray, unique: np.ndarray | None = None) -> np.ndarray:
        """The law [..., m] at N, D (and unique tokens) [m]."""
        return self.problem.predict(self.theta, self.problem.data.other_points(params, tokens, unique))

    @property
    def log_residuals(self) -> np.ndarray:
        """log of prediction over loss [..., n] at the points of the fit."""
        return np.log(self.problem.predict(self.theta) / self.problem.loss)

    @property
    def parameters(self) -> dict[str, float]:
        """By name, E first."""
        return {"E": self.problem.floor_value(self.theta), **self.problem.form.describe(self.theta, self.problem.data)}

    def refit(self, weight: np.ndarray) -> "FormFit":
        """The same law of each resample, weight [r, n]."""
        resampled = replace(self.problem, weight=np.asarray(weight, float))
        return FormFit(resampled, *best_refits(resampled, self.theta))


def fit_form(
    form: Form, data: Data, loss: np.ndarray, *, floor: float | None, objective: Objective | None = None, weight=None
) -> FormFit | None:
    """Fits one form to points [n]; None where no start of its grid is possible."""
    weight = np.ones(len(loss)) if weight is None else np.asarray(weight, float)
    problem = Problem(form, data, np.asarray(loss, float), weight, floor, objective or Objective())
    best = best_fit(problem)
    return None if best is None else FormFit(problem, *best)


@contextmanager
def keeping() -> Iterator[None]:
    """Inside, the same problem is fitted once: sections of a study ask for the same law on the same points."""
    token = _KEPT.set({})
    try:
        yield
    finally:
        _KEPT.reset(token)


def best_fit(problem: Problem) -> tuple[np.ndarray, float] | None:
    """(theta [p], objective) of the lowest end of all descents; None where the grid holds no start."""
    kept = _KEPT.get()
    if kept is None:
        return _best_fit(problem)
    key = problem.digest
    if key not in kept:
        kept[key] = _best_fit(problem)
    return kept[key]


def _best_fit(problem: Problem) -> tuple[np.ndarray, float] | None:
    ends, values = _ends(problem) if len(problem.loss) <= MANY_POINTS else _ends_of_many(problem)
    if not len(ends):
        return None
    best = int(values.argmin())
    return (ends[best], float(values[best])) if np.isfinite(values[best]) else None


def _ends(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Ends [s, p] of descents from the form's grid, and their objectives [s].

    Where E is free a descent from E > 0 is given up once E is negative; E = 0 is fitted as a law of its own.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        ends = _descend(problem, best_starts(problem), RESTARTS)
        if problem.floor_free:
            without = replace(problem, floor=0.0)
            at_zero = _descend(without, best_starts(without), RESTARTS)
            ends = np.concatenate([ends, np.insert(at_zero, at_zero.shape[1], 0.0, axis=1)])
        return ends, values_of_laws(problem, ends)


def _ends_of_many(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """The same for thousands of points, whose grid would take minutes.

    1. The grid and its descents see `FEW_POINTS` of the points. With E = 0 and with E > 0 the two lowest ends go on.
    2. Descents from these see `MORE_POINTS`.
    3. The lowest one, and those that are nearly as low, go on with all points.
    """
    part = _selection(problem, FEW_POINTS)
    ends, values = _ends(part)
    order = np.argsort(values)[: int(np.isfinite(values).sum())]
    zero = part.floor_value(ends[order]) == 0
    ends = ends[np.concatenate([order[zero][:2], order[~zero][:2]])]
    more = _selection(problem, MORE_POINTS)
    ends, values = _onward(more, _in_units(ends, part, more), RESTARTS)
    near = values <= values.min(initial=np.inf) * (1 + ALIKE)
    return _onward(problem, _in_units(ends[near & np.isfinite(values)], more, problem), 1)


def _selection(problem: Problem, count: int) -> Problem:
    """The problem with `count` of its points, drawn at random but always the same; all where there are fewer."""
    if len(problem.loss) <= count:
        return problem
    rows = np.sort(np.random.default_rng(0).choice(len(problem.loss), count, replace=False))
    data = problem.data.some(rows)
    return replace(problem, data=data, loss=problem.loss[rows], weight=problem.weight[rows])


def _in_units(theta: np.ndarray, old: Problem, new: Problem) -> np.ndarray:
    """theta [s, p] of one selection as that of another one: E is counted in lowest losses."""
    if not old.floor_free:
        return theta
    return np.concatenate([theta[:, :-1], theta[:, -1:] * old.loss.min() / new.loss.min()], axis=1)


def _onward(problem: Problem, starts: np.ndarray, restarts: int) -> tuple[np.ndarray, np.ndarray]:
    """Ends [s, p] of descents from `starts`, and their objectives [s]; a start at E = 0 stays there."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        zero = starts[:, -1] == 0 if problem.floor_free else np.zeros(len(starts), bool)
        ends = _descend(problem, starts[~zero], restarts)
        if zero.any():
            at_zero = _descend(replace(problem, floor=0.0), starts[zero][:, :-1], restarts)
            ends = np.concatenate([ends, np.insert(at_zero, at_zero.shape[1], 0.0, axis=1)])
        return ends, values_of_laws(problem, ends)


def values_of_laws(problem: Problem, theta: np.ndarray) -> np.ndarray:
    """Objectives [...] at theta [..., p]; infinite where there is no law: not a number, or E below zero."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        values = problem.values(theta)
    allowed = np.isfinite(values) & (problem.floor_value(theta) >= 0)
    return np.where(allowed, values, np.inf)


def best_starts(problem: Problem) -> np.ndarray:
    """At most `STARTS` starts [s, p], best first: the best of each group of the form's grid."""
    grid = problem.form.starts(problem.data, problem.loss, problem.weight, problem.floor)  # [groups, s, p]
    if problem.floor_free:
        grid[..., -1] /= problem.loss.min()
    values = np.stack([values_of_laws(problem, group) for group in grid])
    best, lowest = values.argmin(axis=1), values.min(axis=1)
    order = np.argsort(lowest)[: min(STARTS, int(np.isfinite(lowest).sum()))]
    return grid[order, best[order]]


def best_refits(problem: Problem, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(theta [r, p], objective [r]) for every row of `problem.weight` [r, n].

    Each resample descends from `theta`, the fit to all points; from E = 0 and from E > 0 where either may be lower.
    """
    rows = max(1, BLOCK_VALUES // len(problem.loss))
    weights = np.array_split(problem.weight, -(-len(problem.weight) // rows))
    starts = _refit_starts(replace(problem, weight=np.ones(len(problem.loss))), theta)

    def block(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return _refit_block(replace(problem, weight=weight), starts)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        thetas, values = zip(*pool.map(block, weights), strict=True)
    return np.concatenate(thetas), np.concatenate(values)


def _refit_starts(whole: Problem, theta: np.ndarray) -> np.ndarray:
    """Starts [s, p]: `theta`, and the best start with E > 0 where `theta` has lost its floor."""
    lost = whole.floor_free and whole.floor_value(theta) == 0
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return np.concatenate([theta[None], best_starts(whole)[:1]]) if lost else theta[None]


def _refit_block(problem: Problem, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    thetas = np.stack([_refit_from(problem, start) for start in starts])  # [starts, r, p]
    values = np.stack([values_of_laws(problem, theta) for theta in thetas])
    best, rows = values.argmin(axis=0), np.arange(len(problem.weight))
    theta, lowest = thetas[best, rows], values[best, rows]
    lost = ~np.isfinite(lowest)
    if problem.floor_free and lost.any():
        # Every descent of these resamples lost its floor: their law is at E = 0.
        left = replace(problem, weight=problem.weight[lost])
        theta[lost] = _refit_from(left, np.append(starts[0][:-1], 0.0))
        lowest[lost] = values_of_laws(left, theta[lost])
    return theta, lowest


def _refit_from(problem: Problem, start: np.ndarray) -> np.ndarray:
    """Ends [r, p] of descents from one start; from one at E = 0 that stays."""
    descend = _descend_to_the_end if len(problem.loss) > MANY_POINTS else _descend
    if problem.floor_free and start[-1] == 0:
        starts = np.tile(start[:-1], (len(problem.weight), 1))
        ends = descend(replace(problem, floor=0.0), starts, restarts=1)
        return np.insert(ends, ends.shape[1], 0.0, axis=1)
    return descend(problem, np.tile(start, (len(problem.weight), 1)), restarts=1)


def _descend(problem: Problem, theta: np.ndarray, restarts: int) -> np.ndarray:
    """The ends of descents from theta [s, p], each with its own weights where the problem has a row for each.

    Huber's penalty is nearly a kink where residuals are many times its threshold, and a descent gets stuck in such
    kinks. So it begins with a larger threshold, which rounds them off.
    """
    if not len(theta):
        return theta
    *rounded, last = _stages(problem.objective)
    for objective in rounded:
        theta = _descend_once(replace(problem, objective=objective), theta, 1, ROUGH_GAIN)
    return _descend_once(replace(problem, objective=last), theta, restarts)


def _descend_to_the_end(problem: Problem, theta: np.ndarray, restarts: int) -> np.ndarray:
    """As `_descend`, from theta near the ends: among thousands of points no kink holds a descent up.

    The ends are the same to less than a thousandth of what resamples differ by, in half of the time.
    """
    if problem.objective.penalty != HUBER:
        return _descend(problem, theta, restarts)
    return _descend_once(problem, theta, restarts) if len(theta) else theta


def _stages(objective: Objective) -> list[Objective]:
    """What is minimised, one after the other; the last is what was asked for, or nearly so for absolute values."""
    if objective.penalty == SQUARED:
        return [objective]
    huber = objective.penalty == HUBER
    smallest, factors = (objective.delta, FACTORS) if huber else (ABSOLUTE_DELTA, ABSOLUTE_FACTORS)
    return [replace(objective, penalty=HUBER, delta=smallest * factor) for factor in factors]


def _descend_once(problem: Problem, theta: np.ndarray, restarts: int, gain: float = GAIN_TOLERANCE) -> np.ndarray:
    shared = problem.weight.ndim == 1

    def objective_of(theta: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        one = problem if shared else replace(problem, weight=problem.weight[rows])
        return one.value_and_gradient(theta)

    given_up = (lambda theta: theta[:, -1] < 0) if problem.floor_free else None
    best = np.full(len(theta), np.inf)
    for _ in range(restarts):
        theta, value = minimise_together(objective_of, theta, given_up, gain)
        if not (best - value > STATIONARY * np.abs(value)).any():
            break
        best = value
    return theta
