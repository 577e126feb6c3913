"""Laws of the loss against one variable x: parameters, tokens or training examples.

A power law with an offset is what a scaling law leaves when all else is held fixed. Where the loss lies on a plateau
and then falls, no such law fits; the broken power law has one exponent before the break and another after it.

The forms are those of `laws` with `Data.of(x, np.ones_like(x))`: data.x [n] is log x counted from its mean. Here it may
be [m, n], a row for each theta [m, p], so that many curves are fitted at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from vsweep.analysis.fitting.batched_bfgs import minimise_together
from vsweep.analysis.fitting.chinchilla import EXPONENTS, FLOOR_SHARES, LARGEST_LOG, Data, Form, Pullback
from vsweep.analysis.fitting.fit import RESTARTS, STARTS, STATIONARY, FormFit, Problem, best_starts, values_of_laws
from vsweep.analysis.fitting.objective import SQUARED, Objective

OBJECTIVE = Objective(penalty=SQUARED)
SLOPE_UNIT, BREAK_UNIT = 10.0, 0.1
SMALLEST_LOG_F, LARGEST_LOG_F = -7.0, 1.0  # from a kink to a bend that takes five decades of x
LARGEST_BEND = 0.9 * np.exp(LARGEST_LOG_F)  # among the starts: at the bound itself a descent could not leave it
BREAKS, BENDS = 12, (0.01, 0.03, 0.1, 0.3)  # starts: how many breaks; widths of the bend as shares of the span of log x


@dataclass(frozen=True)
class PowerOffset:
    """theta = (log k, c), k centred; the offset is the floor of the fit."""

    name: str = "power_offset"
    formula: str = "E + k x^-c"
    source: str = "Hoffmann et al. 2022, equation 2, at a fixed N or D"
    parameters: tuple[str, ...] = ("k", "c")

    def core(self, theta: np.ndarray, data: Data) -> tuple[np.ndarray, Pullback]:
        core = _exp(theta[..., 0, None] - theta[..., 1, None] * data.x)

        def pullback(cotangent: np.ndarray) -> np.ndarray:
            by_log = cotangent * core
            return np.stack([by_log.sum(-1), -(by_log * data.x).sum(-1)], axis=-1)

        return core, pullback

    def starts(self, data: Data, loss: np.ndarray, weight: np.ndarray, floor: float | None) -> np.ndarray:
        if floor is not None:
            return _log_linear(np.stack([np.ones_like(data.x), -data.x], -1), loss, weight, floor)[None, None]
        # At a given exponent the law is linear in k and E; relative residuals are log residuals to first order.
        design = np.stack([_exp(-EXPONENTS[:, None] * data.x), np.ones((len(EXPONENTS), len(loss)))], axis=-1)
        k, offset = _least_squares(design, loss, np.sqrt(weight) / loss).T
        log_k = np.log(np.where(k > 0, k, np.nan))
        return np.stack([log_k, EXPONENTS, offset], axis=-1).reshape(STARTS, -1, 3)

    def describe(self, theta: np.ndarray, data: Data) -> dict[str, float]:
        log_k, c = theta[..., :2].T
        return {"k": _exp(log_k + c * data.x_mean), "c": c}


@dataclass(frozen=True)
class Broken:
    """One break: log-log slopes -c0 before d1 and -(c0 + c1) after it; the bend takes about 4 f1 of log x.

    theta = (log b, c0, c1, log d1, log f1), b and d1 centred, c1 in tens and log d1 in tenths: the data place a break
    far more exactly than they tell the slope after it, and steps should be of equal worth. f1 is kept within bounds,
    beyond which it changes nothing (a kink between two points) or lets c1 and d1 grow without end (a bend wider than
    the data).
    """

    name: str = "broken"
    formula: str = "E + b x^-c0 (1 + (x/d1)^(1/f1))^(-c1 f1)"
    source: str = "Caballero et al. 2022, Broken Neural Scaling Laws, equation 1 with one break"
    parameters: tuple[str, ...] = ("b", "c0", "c1", "d1", "f1")

    def core(self, theta: np.ndarray, data: Data) -> tuple[np.ndarray, Pullback]:
        log_b, c0, c1, log_d, log_f = (part[..., None] for part in _in_plain_units(theta))
        f = _width(log_f)
        z = (data.x - log_d) / f
        passed, share = np.logaddexp(0, z), expit(z)  # how far x is past the break, and its derivative
        core = _exp(log_b - c0 * data.x - c1 * f * passed)

        def pullback(cotangent: np.ndarray) -> np.ndarray:
            free = (log_f > SMALLEST_LOG_F) & (log_f < LARGEST_LOG_F)
            by_log_f = -c1 * f * (passed - z * share) * free
            slopes = (1.0, -data.x, -SLOPE_UNIT * f * passed, BREAK_UNIT * c1 * share, by_log_f)
            by_log = cotangent * core
            return np.stack([(by_log * slope).sum(-1) for slope in slopes], axis=-1)

        return core, pullback

    def starts(self, data: Data, loss: np.ndarray, weight: np.ndarray, floor: float | None) -> np.ndarray:
        # At a given break and floor the law is linear in log b, c0 and c1.
        floors = np.array([floor]) if floor is not None else np.multiply(FLOOR_SHARES, loss.min())
        breaks = np.linspace(data.x.min(), data.x.max(), BREAKS + 2)[1:-1]
        bends = np.minimum(np.multiply(BENDS, np.ptp(data.x)), LARGEST_BEND)
        log_d, f, floors = np.meshgrid(breaks, bends, floors, indexing="ij")
        passed = f[..., None] * np.logaddexp(0, (data.x - log_d[..., None]) / f[..., None])
        design = np.stack([np.ones_like(passed), np.broadcast_to(-data.x, passed.shape), -passed], axis=-1)
        log_b, c0, c1 = np.moveaxis(_log_linear(design, loss, weight, floors), -1, 0)
        theta = [log_b, c0, c1 / SLOPE_UNIT, log_d / BREAK_UNIT, np.log(f)]
        if floor is None:
            theta.append(floors)
        return np.stack(theta, axis=-1).reshape(BREAKS, -1, len(theta))

    def describe(self, theta: np.ndarray, data: Data) -> dict[str, float]:
        log_b, c0, c1, log_d, log_f = _in_plain_units(theta)
        d1 = _exp(log_d + data.x_mean)
        return {"b": _exp(log_b + c0 * data.x_mean), "c0": c0, "c1": c1, "d1": d1, "f1": _width(log_f)}


FORMS = (PowerOffset(), Broken())


def _in_plain_units(theta: np.ndarray) -> tuple[np.ndarray, ...]:
    """(log b, c0, c1, log d1, log f1), each [...], of a `Broken` theta [..., p]."""
    return tuple(theta[..., i] * unit for i, unit in enumerate((1.0, 1.0, SLOPE_UNIT, BREAK_UNIT, 1.0)))


def _width(log_f: np.ndarray) -> np.ndarray:
    return np.exp(np.clip(log_f, SMALLEST_LOG_F, LARGEST_LOG_F))


def _exp(log: np.ndarray) -> np.ndarray:
    return np.exp(np.minimum(log, LARGEST_LOG))


def _log_linear(design: np.ndarray, loss: np.ndarray, weight: np.ndarray, floor: float | np.ndarray) -> np.ndarray:
    """Coefficients [..., q] of log(loss - floor) on design [..., n, q]; floor [...].

    Weighted ((loss - floor) / loss)^2, which makes of residuals of log(loss - floor) those of log loss, to first order.
    """
    above = loss - np.asarray(floor)[..., None]  # [..., n]
    return _least_squares(design, np.log(above), np.sqrt(weight) * above / loss)


def _least_squares(design: np.ndarray, target: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """[..., q] least squares of scale x (design . coefficients - target); design [..., n, q], the others [..., n].

    By normal equations with a trace of a ridge, so that a break that the points do not show is no error.
    """
    left = design * scale[..., None]
    gram = np.swapaxes(left, -1, -2) @ left
    ridge = 1e-12 * np.trace(gram, axis1=-2, axis2=-1)[..., None, None] * np.eye(gram.shape[-1])
    right = np.swapaxes(left, -1, -2) @ (scale * target)[..., None]
    return np.linalg.solve(gram + ridge, right)[..., 0]


def fit_together(
    form: Form, curves: Sequence[tuple[np.ndarray, np.ndarray]], *, floor: float | None = None
) -> list[FormFit]:
    """What `fitting.fit_form` finds by least squares of log loss on each curve (x [n], loss [n]), all of them at once.

    The laws of a study's lines are many small problems: one after the other they would mostly wait for numpy's
    overhead. `floor` None fits an offset; one that vanishes is 0 exactly.
    """
    problems = [
        Problem(form, Data.of(x, np.ones_like(x)), np.asarray(loss, float), np.ones(len(loss)), floor, OBJECTIVE)
        for x, loss in curves
    ]
    if floor is not None:
        return _lowest(problems)
    # A descent is given up once E is negative, so E = 0 is a fit of its own.
    without = _lowest([replace(problem, floor=0.0) for problem in problems])
    return [min(pair, key=lambda fitted: fitted.value) for pair in zip(without, _lowest(problems), strict=True)]


def _lowest(problems: list[Problem]) -> list[FormFit]:
    """The lowest end of the descents of each problem; its value is inf where none ended with a floor >= 0."""
    starts = [best_starts(problem) for problem in problems]  # [s, p] each
    lowest = [FormFit(problem, np.full(problem.parameters, np.nan), np.inf) for problem in problems]
    owner = np.repeat(np.arange(len(starts)), [len(theta) for theta in starts])
    if not len(owner):
        return lowest
    thetas = np.concatenate(starts)
    for _ in range(RESTARTS):
        improved = np.zeros(len(problems), bool)
        for number, theta, value in zip(owner, *_descend(problems, owner, thetas), strict=True):
            if value < lowest[number].value:
                improved[number] |= value < (1 - STATIONARY) * lowest[number].value
                lowest[number] = FormFit(problems[number], theta, float(value))
        # Only the lowest end of each curve is worth another descent, and only while these still gain.
        owner = np.flatnonzero(improved)
        if not len(owner):
            break
        thetas = np.stack([lowest[number].theta for number in owner])
    return lowest


def _descend(problems: list[Problem], owner: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends [m, p] of the descents from theta [m, p] on the curves `owner` [m], and their objectives [m]."""
    unit = np.array([problem.loss.min() if problem.floor_free else 1.0 for problem in problems])[owner]
    stacked = _stacked(problems, owner, unit)

    def objective_of(theta: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        data = replace(stacked.data, x=stacked.data.x[rows])
        some = replace(stacked, data=data, loss=stacked.loss[rows], weight=stacked.weight[rows])
        return some.value_and_gradient(theta)

    shift = np.log(unit)[:, None] * np.eye(theta.shape[1])[0]  # of the logarithm of the factor, which theta begins with
    negative = (lambda theta: theta[:, -1] < 0) if stacked.floor_free else None
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        ends, _ = minimise_together(objective_of, theta - shift, negative)
    return ends + shift, values_of_laws(stacked, ends)


def _stacked(problems: list[Problem], owner: np.ndarray, unit: np.ndarray) -> Problem:
    """One problem with a row of log x, loss and weight [m, n] for each descent, losses in units of `unit` [m].

    The lowest loss of each row is then 1 and so is the unit of E. Short curves repeat a point without weight.
    """
    longest = max(len(problem.loss) for problem in problems)

    def rows(values: list[np.ndarray], mode: str) -> np.ndarray:
        return np.stack([np.pad(row, (0, longest - len(row)), mode=mode) for row in values])[owner]

    x, loss = (rows(values, "edge") for values in zip(*((p.data.x, p.loss) for p in problems), strict=True))
    weight = rows([problem.weight for problem in problems], "constant")
    return replace(problems[0], data=Data(x, np.zeros_like(x), 0.0, 0.0), loss=loss / unit[:, None], weight=weight)
