"""A sum of power terms in any columns: L = E + sum over k of F_k / x_k^e_k.

With the columns N and D this is Chinchilla's law. With width, depth and tokens it is a law of shapes, as in McLeish et
al. 2025 (Gemstones). Each column may be anything positive that the loss falls with.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from vsweep.analysis.fitting.chinchilla import FLOOR_SHARES, LARGEST_LOG, Pullback
from vsweep.analysis.fitting.fit import Problem, best_fit, best_refits
from vsweep.analysis.fitting.objective import Objective
from vsweep.analysis.fitting.values import check_values

MOST_TERMS = 4  # the grid of starts has (number of exponents)^(number of terms) nodes
START_EXPONENTS = (0.05, 0.15, 0.35, 0.7, 1.2, 2.0)
SMALLEST_SHARE = 1e-3  # of the loss: what a term starts from where the linear solve makes it negative


@dataclass(frozen=True)
class PowerTermsFit:
    """The law at its optimum: `E` in the unit of the loss, `factors` and `exponents` by column.

    `value` is the objective; `rms_log` the root-mean-square residual in log loss over `points`.
    """

    E: float
    factors: dict[str, float]
    exponents: dict[str, float]
    value: float
    rms_log: float
    points: int

    def loss(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """L [m] in nats/token at the columns of the fit, [m] each."""
        terms = (
            self.factors[name] * np.asarray(columns[name], float) ** -self.exponents[name] for name in self.factors
        )
        return self.E + sum(terms)

    def describe(self) -> str:
        """The law as a formula with its numbers."""
        terms = (f"{self.factors[name]:.4g}/{name}^{self.exponents[name]:.3f}" for name in self.factors)
        return " + ".join([*([f"{self.E:.4g}"] if self.E else []), *terms])


def fit(
    columns: Mapping[str, np.ndarray],
    loss: np.ndarray,
    *,
    floor: float | None = None,
    objective: Objective | None = None,
    weight: np.ndarray | None = None,
) -> PowerTermsFit | None:
    """Fits the law to points [n]; None where no start leads to a law.

    Args:
      columns: by name the values [n] of each term, positive; one to four of them.
      loss: nats/token, positive.
      floor: None fits E; a number holds it there.
      objective: what is minimised; Huber's penalty of log residuals by default.
      weight: of each point [n], 0 or more; all one by default.

    Raises:
      ValueError: a value that is not finite and positive (all columns and rows are named), a column with a single
        value, too many terms, fewer points than parameters, or losses that are not above `floor`.
    """
    columns = {name: np.asarray(values, float) for name, values in columns.items()}
    problem = _problem(columns, loss, floor, objective, weight)
    best = best_fit(problem)
    return None if best is None else _described(problem, *best)


def fit_with_resamples(
    columns: Mapping[str, np.ndarray],
    loss: np.ndarray,
    resamples: np.ndarray,
    *,
    floor: float | None = None,
    objective: Objective | None = None,
    weight: np.ndarray | None = None,
) -> tuple[PowerTermsFit, dict[str, np.ndarray]] | None:
    """The fit, and E, factors and exponents by name in each of r resamples, [r] each; None as in `fit`.

    Args:
      resamples: weights [r, n] of the points in each resample, the weights of the points included.
      columns, loss, floor, objective, weight: as for `fit`, which says what is raised, too.
    """
    columns = {name: np.asarray(values, float) for name, values in columns.items()}
    problem = _problem(columns, loss, floor, objective, weight)
    best = best_fit(problem)
    if best is None:
        return None
    resampled = replace(problem, weight=np.asarray(resamples, float))
    theta, values = best_refits(resampled, best[0])
    floors = np.where(np.isfinite(values), problem.floor_value(theta), np.nan)
    return _described(problem, *best), {"E": floors, **problem.form.describe(theta, problem.data)}


def _problem(
    columns: Mapping[str, np.ndarray],
    loss: np.ndarray,
    floor: float | None,
    objective: Objective | None,
    weight: np.ndarray | None,
) -> Problem:
    loss = np.asarray(loss, float)
    weight = np.ones(np.shape(loss)) if weight is None else np.asarray(weight, float)
    check_values(weight, floor, **columns, **{"the loss": loss})
    _check_design(columns, loss, floor)
    logs = np.log(list(columns.values()))
    points = LogColumns(logs - logs.mean(axis=1, keepdims=True), logs.mean(axis=1))
    return Problem(PowerTerms(tuple(columns)), points, loss, weight, floor, objective or Objective())


def _described(problem: Problem, theta: np.ndarray, value: float) -> PowerTermsFit:
    columns, loss = problem.form.columns, problem.loss
    found = problem.form.describe(theta, problem.data)
    residual = np.log(problem.predict(theta) / loss)
    return PowerTermsFit(
        E=float(problem.floor_value(theta)),
        factors={name: float(found[f"factor of {name}"]) for name in columns},
        exponents={name: float(found[f"exponent of {name}"]) for name in columns},
        value=value,
        rms_log=float(np.sqrt((residual**2).mean())),
        points=len(loss),
    )


def _check_design(columns: Mapping[str, np.ndarray], loss: np.ndarray, floor: float | None) -> None:
    problems = []
    if not 1 <= len(columns) <= MOST_TERMS:
        problems.append(f"columns: one term each - got {len(columns)}; allowed 1 to {MOST_TERMS}")
    parameters = 2 * len(columns) + (floor is None)
    if len(loss) < parameters:
        problems.append(f"points: {len(loss)} for {parameters} parameters")
    problems += [
        f"{name}: a single value, which no exponent can be fitted to"
        for name, values in columns.items()
        if len(np.unique(values)) < 2
    ]
    if floor is not None and len(loss) and loss.min() <= floor:
        problems.append(f"the loss: {int((loss <= floor).sum())} values lie at or below the floor E = {floor:.6g}")
    if problems:
        raise ValueError("; ".join(problems))


@dataclass(frozen=True)
class LogColumns:
    """Where the points lie: `x` [k, n] are logarithms of k columns counted from their `mean` [k]."""

    x: np.ndarray
    mean: np.ndarray

    def some(self, rows: np.ndarray) -> "LogColumns":
        """The points of `rows` in the same coordinates."""
        return LogColumns(self.x[:, rows], self.mean)


@dataclass(frozen=True)
class PowerTerms:
    """theta = (k log factors, k exponents), the factors centred; behind the interface of `chinchilla.Form`."""

    columns: tuple[str, ...]
    name: str = "power_terms"
    formula: str = "E + sum of F_k / x_k^e_k"
    source: str = "as McLeish et al. 2025, Gemstones, fit width, depth and tokens"

    @property
    def parameters(self) -> tuple[str, ...]:
        return (*(f"factor of {name}" for name in self.columns), *(f"exponent of {name}" for name in self.columns))

    def core(self, theta: np.ndarray, data: LogColumns) -> tuple[np.ndarray, Pullback]:
        count = len(self.columns)
        log_factor, exponent = theta[..., :count, None], theta[..., count : 2 * count, None]
        terms = np.exp(np.minimum(log_factor - exponent * data.x, LARGEST_LOG))  # [..., k, n]

        def pullback(cotangent: np.ndarray) -> np.ndarray:
            pulled = cotangent[..., None, :] * terms
            return np.concatenate([pulled.sum(axis=-1), -(pulled * data.x).sum(axis=-1)], axis=-1)

        return terms.sum(axis=-2), pullback

    def starts(self, data: LogColumns, loss: np.ndarray, weight: np.ndarray, floor: float | None) -> np.ndarray:
        """At given exponents and floor the law is linear in its factors: least squares with weight / loss^2."""
        exponents = np.array(list(itertools.product(START_EXPONENTS, repeat=len(self.columns))))  # [s, k]
        terms = np.exp(-exponents[:, :, None] * data.x) / loss  # [s, k, n]
        gram = np.einsum("skn,sln,n->skl", terms, terms, weight)
        gram += 1e-12 * np.trace(gram, axis1=1, axis2=2)[:, None, None] * np.eye(len(self.columns))
        groups = []
        for value in [floor] if floor is not None else [share * loss.min() for share in FLOOR_SHARES]:
            target = np.einsum("skn,n->sk", terms, weight * (loss - value) / loss)
            factors = np.linalg.solve(gram, target[..., None])[..., 0]
            log_factors = np.log(np.maximum(factors, SMALLEST_SHARE * loss.min()))
            more = [] if floor is not None else [np.full((len(exponents), 1), value)]
            groups.append(np.concatenate([log_factors, exponents, *more], axis=1))
        return np.stack(groups)

    def describe(self, theta: np.ndarray, data: LogColumns) -> dict[str, np.ndarray]:
        count = len(self.columns)
        exponent = theta[..., count : 2 * count]
        factor = np.exp(theta[..., :count] + exponent * data.mean)
        values = np.moveaxis(np.concatenate([factor, exponent], axis=-1), -1, 0)
        return dict(zip(self.parameters, values, strict=True))
