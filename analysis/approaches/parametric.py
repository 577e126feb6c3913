"""Approach 3: L(N, D) = E + A / N^alpha + B / D^beta (Hoffmann et al. 2022, section 3.3, equations 2 and 3).

The law of `laws.Chinchilla` in its own words, and the compute-optimal path that follows from it.
"""

from dataclasses import dataclass

import numpy as np

from vsweep.analysis.data.cells import membership
from vsweep.analysis.data.source import Refusal
from vsweep.analysis.fitting.chinchilla import Chinchilla, Data
from vsweep.analysis.fitting.fit import Problem, best_fit, best_refits
from vsweep.analysis.fitting.linear_refits import ResampledSums, expand
from vsweep.analysis.fitting.objective import Objective
from vsweep.analysis.fitting.values import check_values

METHOD = "parametric"
LARGEST_EXPONENT, SMALLEST_EXPONENT = 8.0, 1e-3
COLLINEAR_SCATTER = 0.02  # of log D about its line on log N
OUTLIER_SD, OUTLIER_LOG = 6.0, 0.02  # an outlier's residual exceeds both: robust sd, and log loss
MAD_TO_SD = 1.4826  # of a normal distribution
MOST_OUTLIERS = 0.2  # of the points: where there are more, they are no exceptions and the law has failed
CLEAR_R2 = 0.5  # of the other points, from which on outliers do not speak against the law
OPTIMUM_GRID, REACH_DECADES = 1000, 4  # sizes among which a numerical optimum is looked for, and how far from the data


@dataclass(frozen=True)
class Law:
    """L(N, D) = E + A / N^alpha + B / D^beta, losses in nats/token, N in parameters, D in tokens.

    The fields are numbers, or arrays [r] for r laws at once; everything below broadcasts over them.
    """

    E: float | np.ndarray
    A: float | np.ndarray
    B: float | np.ndarray
    alpha: float | np.ndarray
    beta: float | np.ndarray

    def loss(self, params: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """L(N, D) in nats/token (Hoffmann et al. 2022, equation 2)."""
        return self.E + self.A * np.power(params, -self.alpha) + self.B * np.power(tokens, -self.beta)

    def along(self, axes: int = 1) -> "Law":
        """The same laws [r] with `axes` more axes behind, to meet points or amounts of compute [m]."""
        fields = (self.E, self.A, self.B, self.alpha, self.beta)
        return Law(*(np.reshape(value, np.shape(value) + (1,) * axes) for value in fields))

    @property
    def a(self) -> float:
        """Exponent of N_opt(C) ~ C^a (Hoffmann et al. 2022, equation 4)."""
        return self.beta / (self.alpha + self.beta)

    @property
    def b(self) -> float:
        """Exponent of D_opt(C) ~ C^b (Hoffmann et al. 2022, equation 4)."""
        return self.alpha / (self.alpha + self.beta)

    @property
    def log_G(self) -> float:
        """log of G = (alpha A / (beta B))^(1 / (alpha + beta)) (Hoffmann et al. 2022, equation 4)."""
        factors = np.log(self.alpha) + np.log(self.A) - np.log(self.beta) - np.log(self.B)
        return factors / (self.alpha + self.beta)

    @property
    def G(self) -> float:
        """The factor of the optimal split: N_opt = G (C/6)^a."""
        return np.exp(self.log_G)

    def params_opt(self, flops: np.ndarray) -> np.ndarray:
        """N_opt = G (C/6)^a for C = 6ND."""
        return np.exp(self.log_G + self.a * np.log(np.asarray(flops) / 6))

    def tokens_opt(self, flops: np.ndarray) -> np.ndarray:
        """D_opt = (C/6)^b / G for C = 6ND."""
        return np.exp(self.b * np.log(np.asarray(flops) / 6) - self.log_G)


HOFFMANN = Law(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28)  # as printed in Hoffmann et al. 2022, equation 10


@dataclass(frozen=True)
class Outlier:
    """A point far from the law: its `row` (counted from 0), and log(loss / law), positive where it lies above."""

    row: int
    residual_log: float


@dataclass(frozen=True)
class ParametricFit:
    """A fitted law. `floor` is E where it was given and None where it was fitted.

    `value` is the objective at the optimum; `r2_log` and `rms_log` are of the log residuals. `outliers` are points
    beyond six robust standard deviations, the farthest first. `scored_without` says that both scores are of the other
    points: by all points the law would be no better than one constant, although the other points follow it.
    """

    law: Law
    floor: float | None
    objective: Objective
    value: float
    points: int
    r2_log: float
    rms_log: float
    theta: np.ndarray
    outliers: tuple[Outlier, ...] = ()
    scored_without: bool = False

    @property
    def scored(self) -> int:
        """How many points `r2_log` and `rms_log` are of."""
        return self.points - len(self.outliers) * self.scored_without

    @property
    def floor_free(self) -> bool:
        """Whether E was fitted."""
        return self.floor is None

    @property
    def residual_sd_log(self) -> float:
        """Scatter of a single run's log loss about the law; each parameter counts as a lost point."""
        freedom = max(1, self.scored - parameter_count(self.floor_free))
        return self.rms_log * float(np.sqrt(self.scored / freedom))


@dataclass(frozen=True)
class Refits:
    """The law of each resample that was accepted: `law` has fields [k], `rows` [k] names the resamples."""

    law: Law
    rows: np.ndarray
    failed: int


def parameter_count(floor_free: bool) -> int:
    """How many parameters the law has, E among them where it is fitted."""
    return 5 if floor_free else 4


def fit(
    params: np.ndarray,
    tokens: np.ndarray,
    loss: np.ndarray,
    *,
    floor: float | None = None,
    objective: Objective | None = None,
    weight: np.ndarray | None = None,
) -> ParametricFit | Refusal:
    """Fits the law to points [n] of N, D (tokens) and loss (nats/token, positive).

    Args:
      floor: None fits E; a number holds it there (0 where `loss` is the excess over an exactly known floor).
      objective: what is minimised; Huber's penalty of log residuals by default.
      weight: of each point [n], 0 or more; all one by default.

    Returns a `Refusal` where the data cannot determine the law, or where the optimum is no law (an exponent <= 0).

    Raises:
      ValueError: columns of different lengths, or a value that is not finite and positive. The message names every
        such column and its rows, counted from 0.
    """
    params, tokens, loss = (np.asarray(values, float) for values in (params, tokens, loss))
    weight = np.ones(np.shape(loss)) if weight is None else np.asarray(weight, float)
    check_values(weight, floor, params=params, tokens=tokens, loss=loss)
    reason = why_undetermined(params, tokens, floor is None) or _why_below(loss, floor)
    if reason:
        return Refusal(METHOD, reason)
    problem = Problem(Chinchilla(), Data.of(params, tokens), loss, weight, floor, objective or Objective())
    best = best_fit(problem)
    if best is None:
        return Refusal(METHOD, "no exponents with positive E, A and B describe these points")
    return _accept(problem, *best)


def _why_below(loss: np.ndarray, floor: float | None) -> str | None:
    if floor is None or loss.min() > floor:
        return None
    return f"{int((loss <= floor).sum())} losses lie at or below the floor E = {floor:.6g}"


def why_undetermined(params: np.ndarray, tokens: np.ndarray, floor_free: bool) -> str | None:
    """Why these points cannot determine the law, or None. Repeats of one (N, D), as by seeds, count once."""
    if not len(params):
        return "no points"
    cells = np.unique(np.round(np.stack([np.log(params), np.log(tokens)], axis=1), 6), axis=0)
    needed = parameter_count(floor_free)
    if len(np.unique(cells[:, 0])) < 2:
        return "a single N: the law needs several sizes"
    if len(np.unique(cells[:, 1])) < 2:
        return "a single D: the law needs several amounts of data"
    if len(cells) < needed:
        return f"{len(cells)} distinct (N, D) for {needed} parameters"
    slope, level = np.polyfit(*cells.T, 1)
    scatter = float(np.std(cells[:, 1] - level - slope * cells[:, 0]))
    # Along a falling line, as at one compute, the two terms change in opposite senses and can be told apart.
    if slope > 0 and scatter < COLLINEAR_SCATTER:
        return (
            f"N and D are collinear (D follows N^{slope:.3g} to within {scatter:.2%}), so alpha and beta cannot be "
            "told apart: train some sizes on more and on less data"
        )
    return None


def refit(params: np.ndarray, tokens: np.ndarray, loss: np.ndarray, weight: np.ndarray, whole: ParametricFit) -> Refits:
    """Fits each resample of the points [n] as `fit` does, but all at once.

    Args:
      weight: [r, n], how often resample r holds point n.
      whole: the fit to all points, whose floor and objective hold for the resamples too.
    """
    data, weight = Data.of(params, tokens), np.asarray(weight, float)
    problem = Problem(Chinchilla(), data, np.asarray(loss, float), weight, whole.floor, whole.objective)
    theta, values = best_refits(problem, whole.theta)
    good = is_law(theta) & np.isfinite(values) & _determined(weight, data, whole.floor_free)
    return Refits(_law(problem, theta[good]), np.flatnonzero(good), int((~good).sum()))


def refit_linearly(
    params: np.ndarray,
    tokens: np.ndarray,
    loss: np.ndarray,
    weight: np.ndarray,
    whole: ParametricFit,
    sums: ResampledSums,
) -> Refits:
    """What `refit` finds to first order in the weights, for more points than can be fitted again and again.

    Args:
      weight: of each point [n] in the fit to all points.
      sums: the resamples, as what they make of the sum of any values by point (`bootstrap.sums`).
    """
    data = Data.of(params, tokens)
    problem = Problem(Chinchilla(), data, np.asarray(loss, float), weight, whole.floor, whole.objective)
    theta = expand(problem, whole.theta).refits(sums)
    good = is_law(theta)
    return Refits(_law(problem, theta[good]), np.flatnonzero(good), int((~good).sum()))


def is_law(theta: np.ndarray) -> np.ndarray:
    """[...] whether theta [..., p] is a power law in both N and D."""
    exponents = theta[..., 2:4]
    inside = (exponents > SMALLEST_EXPONENT) & (exponents < LARGEST_EXPONENT)
    return inside.all(axis=-1) & np.isfinite(theta).all(axis=-1)


def _determined(weight: np.ndarray, data: Data, floor_free: bool) -> np.ndarray:
    """[r] whether the points that resample r holds have enough distinct N, D and (N, D)."""
    enough = np.ones(len(weight), bool)
    x, y = data.x.round(6), data.y.round(6)
    for values, needed in ((x, 2), (y, 2), (x + 1j * y, parameter_count(floor_free))):
        labels = np.unique(values, return_inverse=True)[1]
        enough &= ((weight > 0) @ membership(labels) > 0).sum(axis=1) >= needed
    return enough


def _law(problem: Problem, theta: np.ndarray) -> Law:
    return Law(E=problem.floor_value(theta), **problem.form.describe(theta, problem.data))


def _accept(problem: Problem, theta: np.ndarray, value: float) -> ParametricFit | Refusal:
    if not is_law(theta):
        exponents = f"alpha = {theta[2]:.3g}, beta = {theta[3]:.3g}"
        return Refusal(METHOD, f"the best fit is no power law in both N and D: {exponents}")
    law = _law(problem, theta)
    law = Law(*(float(getattr(law, name)) for name in ("E", "A", "B", "alpha", "beta")))
    log_loss = np.log(problem.loss)
    residual = np.log(problem.predict(theta)) - log_loss
    outliers = find_outliers(residual, parameter_count(problem.floor_free))
    scores, without = log_scores(log_loss, residual), False
    if scores[0] <= 0 and 0 < len(outliers) <= MOST_OUTLIERS * len(residual):
        others = np.delete(np.arange(len(residual)), [outlier.row for outlier in outliers])
        scores, without = log_scores(log_loss[others], residual[others]), True
    if scores[0] <= (CLEAR_R2 if without else 0):
        return Refusal(METHOD, "the law describes these losses no better than one constant: N and D hardly matter here")
    return ParametricFit(
        law, problem.floor, problem.objective, value, len(log_loss), *scores, theta, outliers, scored_without=without
    )


def find_outliers(residual: np.ndarray, parameters: int) -> tuple[Outlier, ...]:
    """Points whose residual log(law / loss) [n] is beyond six robust standard deviations, the farthest first.

    The standard deviation is that of a normal distribution with the same median absolute deviation. It is scaled up
    because a fit passes through nearly as many points as it has `parameters`.
    """
    spread = np.median(np.abs(residual - np.median(residual)))
    spread *= MAD_TO_SD * np.sqrt(len(residual) / max(1, len(residual) - parameters))
    far = np.flatnonzero(np.abs(residual) > max(OUTLIER_SD * spread, OUTLIER_LOG))
    return tuple(Outlier(int(row), float(-residual[row])) for row in sorted(far, key=lambda row: -abs(residual[row])))


def log_scores(log_loss: np.ndarray, residual: np.ndarray) -> tuple[float, float]:
    """(R^2, root mean square residual), both in log loss."""
    total = ((log_loss - log_loss.mean()) ** 2).sum()
    r2 = 1 - (residual**2).sum() / total if total > 0 else 0.0
    return float(r2), float(np.sqrt((residual**2).mean()))


def optimal_path(
    law: Law, flops: np.ndarray, sizes: np.ndarray, flops_per_token: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(N_opt, D_opt) [..., m] at `flops` [m] where C = D f(N), f known at `sizes` [s]: minimised numerically over N.

    log f is interpolated linearly in log N, and continued with its end slopes beyond the sizes; NaN where the optimum
    lies more than four decades away from them.
    """
    order = np.argsort(sizes)
    log_n, log_f = np.log(sizes[order]), np.log(flops_per_token[order])
    slopes = np.diff(log_f) / np.diff(log_n)
    reach = REACH_DECADES * np.log(10)
    log_n = np.concatenate([[log_n[0] - reach], log_n, [log_n[-1] + reach]])
    log_f = np.concatenate([[log_f[0] - reach * slopes[0]], log_f, [log_f[-1] + reach * slopes[-1]]])
    grid = np.linspace(log_n[0], log_n[-1], OPTIMUM_GRID)
    log_tokens = np.log(flops)[:, None] - np.interp(grid, log_n, log_f)  # [m, grid]
    with np.errstate(over="ignore"):  # where f is as steep as no sweep has it, four decades away is beyond any float
        loss = law.along(2).loss(np.exp(grid), np.exp(log_tokens))  # [..., m, grid]
    at = _vertex(loss)
    inside = (at > 0) & (at < OPTIMUM_GRID - 1)
    best = grid[0] + np.where(inside, at, np.nan) * (grid[1] - grid[0])
    with np.errstate(over="ignore"):
        return np.exp(best), np.exp(np.log(flops) - np.interp(best, log_n, log_f))


def _vertex(values: np.ndarray) -> np.ndarray:
    """Where the parabola through the lowest of values [..., g] and its neighbours has its minimum, in grid steps."""
    at = np.clip(values.argmin(axis=-1), 1, values.shape[-1] - 2)[..., None]
    left, middle, right = (np.take_along_axis(values, at + step, -1)[..., 0] for step in (-1, 0, 1))
    curvature = left - 2 * middle + right
    shift = np.divide(left - right, 2 * curvature, out=np.zeros_like(middle), where=curvature > 0)
    return at[..., 0] + np.clip(shift, -1, 1)
