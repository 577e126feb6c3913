"""Approach 3: L(N, D) = E + A / N^alpha + B / D^beta, fitted with a Huber loss on log residuals.

Hoffmann et al. 2022, section 3.3, equations 2 and 3; Besiroglu et al. 2024. Given (alpha, beta) the law is linear in
(E, A, B): a coarse grid over the two exponents with a weighted linear solve inside finds the basin, and a polish of all
parameters together ends there. log N and log D are centred first, which takes the worst of the conditioning away.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize

from analysis.minimise import minimise_together
from analysis.points import Refusal

DELTA = 1e-3  # Huber's threshold, Hoffmann et al. 2022, section 3.3
GRID = np.geomspace(0.03, 2.5, 18)  # exponents tried; the polish is free to leave it
STARTS = 3
RESTARTS = 4
METHOD = "parametric"


@dataclass(frozen=True)
class Law:
    """L(N, D) = E + A / N^alpha + B / D^beta, losses in nats/token, N in parameters, D in tokens."""

    E: float
    A: float
    B: float
    alpha: float
    beta: float

    def loss(self, params: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        return self.E + self.A * np.power(params, -self.alpha) + self.B * np.power(tokens, -self.beta)

    @property
    def a(self) -> float:
        """Exponent of N_opt(C) ~ C^a (Hoffmann et al. 2022, equation 4)."""
        return self.beta / (self.alpha + self.beta)

    @property
    def b(self) -> float:
        """Exponent of D_opt(C) ~ C^b (Hoffmann et al. 2022, equation 4)."""
        return self.alpha / (self.alpha + self.beta)

    @property
    def G(self) -> float:
        return (self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta))

    def params_opt(self, flops: np.ndarray) -> np.ndarray:
        """N_opt = G (C/6)^a for C = 6ND."""
        return self.G * np.power(np.asarray(flops) / 6, self.a)

    def tokens_opt(self, flops: np.ndarray) -> np.ndarray:
        """D_opt = (C/6)^b / G for C = 6ND."""
        return np.power(np.asarray(flops) / 6, self.b) / self.G


HOFFMANN = Law(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28)  # as printed in Hoffmann et al. 2022, equation 10


@dataclass(frozen=True)
class ParametricFit:
    """A fitted law; `objective` is the sum of Huber losses, `r2_log` and `rms_log` are of the log residuals."""

    law: Law
    objective: float
    points: int
    floor_free: bool
    r2_log: float
    rms_log: float


@dataclass(frozen=True)
class _Problem:
    """Centred data, each [n]: x = log N - mean, y = log D - mean.

    `weight` counts how often a point is taken: [n], or [r, n] for r resamples at once.
    """

    x: np.ndarray
    y: np.ndarray
    log_loss: np.ndarray
    weight: np.ndarray
    x_mean: float
    y_mean: float
    floor_free: bool


def parameter_count(floor_free: bool) -> int:
    return 5 if floor_free else 4


def fit(
    params: np.ndarray,
    tokens: np.ndarray,
    loss: np.ndarray,
    *,
    floor_free: bool,
) -> ParametricFit | Refusal:
    """Fits the law to points [n] of N, D (tokens) and loss (nats/token, positive).

    Args:
      floor_free: whether E is fitted; otherwise E = 0 and `loss` is the excess over an exactly known floor.

    Returns a `Refusal` where the data cannot determine the law, or where the optimum is no law (an exponent <= 0).
    """
    params, tokens, loss = (np.asarray(values, float) for values in (params, tokens, loss))
    reason = why_undetermined(params, tokens, floor_free)
    if reason:
        return Refusal(METHOD, reason)
    problem = _centre(params, tokens, loss, np.ones(len(loss)), floor_free)
    starts = _grid_starts(problem)
    if not len(starts):
        return Refusal(METHOD, "no exponents with positive E, A and B describe these points")
    theta, objective = min((_polish(problem, theta) for theta in starts), key=lambda found: found[1])
    return _accept(problem, theta, objective)


def why_undetermined(params: np.ndarray, tokens: np.ndarray, floor_free: bool) -> str | None:
    """Why these points cannot determine the law, or None. Repeats of one (N, D), as by seeds, count once."""
    cells = np.unique(np.round(np.stack([np.log(params), np.log(tokens)], axis=1), 6), axis=0)
    needed = parameter_count(floor_free)
    if len(cells) < needed:
        return f"{len(cells)} distinct (N, D) for {needed} parameters"
    if len(np.unique(cells[:, 0])) < 2:
        return "a single N: the law needs several sizes"
    if len(np.unique(cells[:, 1])) < 2:
        return "a single D: the law needs several amounts of data"
    correlation = np.corrcoef(cells.T)[0, 1]
    if abs(correlation) > 0.9999:
        return f"N and D are collinear (correlation of their logarithms {correlation:.5f})"
    return None


def _centre(params, tokens, loss, weight, floor_free: bool) -> _Problem:
    x, y = np.log(params), np.log(tokens)
    x_mean, y_mean = float(x.mean()), float(y.mean())
    return _Problem(x - x_mean, y - y_mean, np.log(loss), weight, x_mean, y_mean, floor_free)


def _grid_starts(problem: _Problem) -> np.ndarray:
    """The best starts [s, p] of the whole grid."""
    theta = np.concatenate(_grid_by_basin(problem))
    return theta[np.argsort(_objectives(problem, theta))[:STARTS]] if len(theta) else theta


def _grid_by_basin(problem: _Problem) -> list[np.ndarray]:
    """Starts [s, p] from the grid, best first: for each (alpha, beta), A, B >= 0 by least squares weighted 1/L^2.

    One basin has E = 0; where E is free another one has E > 0. No descent leads from the first to the second, for the
    gradient in log E vanishes with E.
    """
    # Weighted by 1/L, the residuals in L become relative ones, which is what the log residuals are to first order.
    scale = np.sqrt(problem.weight) * np.exp(-problem.log_loss)
    by_n = np.exp(-GRID[:, None] * problem.x) * scale  # [g, n]
    by_d = np.exp(-GRID[:, None] * problem.y) * scale  # [g, n]
    starts = [_solve_grid(by_n, by_d, np.sqrt(problem.weight), None)]
    if problem.floor_free:
        starts.append(_solve_grid(by_n, by_d, np.sqrt(problem.weight), scale))
    columns = [0, 1, 2, 3, 4] if problem.floor_free else [0, 1, 3, 4]
    finite = [theta[np.isfinite(theta).all(axis=1)][:, columns] for theta in starts]
    return [theta[np.argsort(_objectives(problem, theta))] if len(theta) else theta for theta in finite]


def _solve_grid(by_n: np.ndarray, by_d: np.ndarray, target: np.ndarray, one: np.ndarray | None) -> np.ndarray:
    """theta [g*g, 5] = (log A, log B, log E, alpha, beta); NaN where a coefficient is negative. `one` None: E = 0."""
    g = len(GRID)
    k = 2 if one is None else 3
    gram = np.empty((g, g, k, k))
    right = np.empty((g, g, k))
    gram[..., 0, 0] = (by_n**2).sum(axis=1)[:, None]
    gram[..., 1, 1] = (by_d**2).sum(axis=1)[None, :]
    gram[..., 0, 1] = gram[..., 1, 0] = by_n @ by_d.T
    right[..., 0] = (by_n @ target)[:, None]
    right[..., 1] = (by_d @ target)[None, :]
    if one is not None:
        gram[..., 0, 2] = gram[..., 2, 0] = (by_n @ one)[:, None]
        gram[..., 1, 2] = gram[..., 2, 1] = (by_d @ one)[None, :]
        gram[..., 2, 2] = one @ one
        right[..., 2] = one @ target
    ridge = 1e-12 * np.trace(gram, axis1=-2, axis2=-1)[..., None, None] * np.eye(k)
    coefficients = np.linalg.solve(gram + ridge, right[..., None])[..., 0]
    coefficients = np.where(coefficients > 0, coefficients, np.nan)
    if one is None:
        # A start with E = 0 for a law with E free: a thousandth of the loss is small and still has a gradient.
        tiny = np.nansum(coefficients, axis=-1, keepdims=True) * 1e-3
        coefficients = np.concatenate([coefficients, np.where(tiny > 0, tiny, np.nan)], axis=-1)
    exponents = np.stack(np.meshgrid(GRID, GRID, indexing="ij"), axis=-1)
    return np.concatenate([np.log(coefficients), exponents], axis=-1).reshape(g * g, 5)


def _terms(problem: _Problem, theta: np.ndarray) -> np.ndarray:
    """Logarithms of the law's terms [..., terms, n] for theta [..., p]."""
    alpha, beta = theta[..., -2, None], theta[..., -1, None]
    terms = [theta[..., 0, None] - alpha * problem.x, theta[..., 1, None] - beta * problem.y]
    if problem.floor_free:
        terms.append(np.broadcast_to(theta[..., 2, None], terms[0].shape))
    return np.stack(terms, axis=-2)


def _log_sum(terms: np.ndarray) -> np.ndarray:
    top = terms.max(axis=-2, keepdims=True)
    return top[..., 0, :] + np.log(np.exp(terms - top).sum(axis=-2))


def _huber(residual: np.ndarray) -> np.ndarray:
    size = np.abs(residual)
    return np.where(size <= DELTA, 0.5 * residual**2, DELTA * (size - 0.5 * DELTA))


def _objectives(problem: _Problem, theta: np.ndarray) -> np.ndarray:
    """Objectives [s] of several theta [s, p]."""
    residual = _log_sum(_terms(problem, theta)) - problem.log_loss
    return (problem.weight * _huber(residual)).sum(axis=-1)


def _objective_and_gradient(theta: np.ndarray, problem: _Problem) -> tuple[np.ndarray, np.ndarray]:
    """Objective [...] over delta (about the summed absolute residual) and its gradient [..., p] at theta [..., p]."""
    terms = _terms(problem, theta)
    prediction = _log_sum(terms)
    residual = prediction - problem.log_loss
    share = np.exp(terms - prediction[..., None, :])  # [..., terms, n]
    share *= (problem.weight * np.clip(residual / DELTA, -1, 1))[..., None, :]
    by_exponent = [-(share[..., 0, :] @ problem.x)[..., None], -(share[..., 1, :] @ problem.y)[..., None]]
    objective = (problem.weight * _huber(residual)).sum(axis=-1) / DELTA
    return objective, np.concatenate([share.sum(axis=-1), *by_exponent], axis=-1)


def _polish(problem: _Problem, theta: np.ndarray) -> tuple[np.ndarray, float]:
    """All parameters together by BFGS. Restarted, because near the kinks of the Huber loss its Hessian goes stale."""
    best = np.inf
    for _ in range(RESTARTS):
        found = optimize.minimize(
            _objective_and_gradient, theta, args=(problem,), jac=True, method="BFGS", options={"gtol": 1e-7}
        )
        gained = best - found.fun
        theta, best = found.x, min(best, found.fun)
        if gained < 1e-9 * best:
            break
    return theta, best * DELTA


def refit(
    params: np.ndarray, tokens: np.ndarray, loss: np.ndarray, weight: np.ndarray, law: Law, *, floor_free: bool
) -> list[ParametricFit | Refusal]:
    """Fits each resample of the points [n] as `fit` does, but all at once.

    Every resample starts at the law of all points and at the best of the grid in each basin, and keeps the lowest.

    Args:
      weight: [r, n], how often resample r holds point n.
      law: the fit to all points.
    """
    problem = _centre(params, tokens, loss, np.asarray(weight, float), floor_free)
    whole = replace(problem, weight=np.ones(len(loss)))
    starts = [_to_theta(problem, law), *(basin[0] for basin in _grid_by_basin(whole) if len(basin))]

    def objective_of(theta: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _objective_and_gradient(theta, replace(problem, weight=problem.weight[rows]))

    descents = [minimise_together(objective_of, np.tile(start, (len(weight), 1))) for start in starts]
    thetas, objectives = (np.stack(parts) for parts in zip(*descents, strict=True))  # [starts, r, p], [starts, r]
    best = objectives.argmin(axis=0)
    theta, objective = thetas[best, np.arange(len(weight))], objectives.min(axis=0)
    found = []
    for row, counts in enumerate(problem.weight):
        used = counts > 0
        reason = why_undetermined(params[used], tokens[used], floor_free)
        one = replace(problem, weight=counts)
        found.append(Refusal(METHOD, reason) if reason else _accept(one, theta[row], float(objective[row]) * DELTA))
    return found


def _to_theta(problem: _Problem, law: Law) -> np.ndarray:
    terms = [np.log(law.A) - law.alpha * problem.x_mean, np.log(law.B) - law.beta * problem.y_mean]
    if problem.floor_free:
        terms.append(np.log(max(law.E, 1e-12)))
    return np.array([*terms, law.alpha, law.beta])


def _accept(problem: _Problem, theta: np.ndarray, objective: float) -> ParametricFit | Refusal:
    alpha, beta = float(theta[-2]), float(theta[-1])
    if not np.isfinite(theta).all() or min(alpha, beta) <= 1e-3 or max(alpha, beta) > 8:
        return Refusal(METHOD, f"the best fit is no power law in both N and D: alpha = {alpha:.3g}, beta = {beta:.3g}")
    log_a, log_b = theta[0] + alpha * problem.x_mean, theta[1] + beta * problem.y_mean
    floor = float(np.exp(theta[2])) if problem.floor_free else 0.0
    law = Law(floor, float(np.exp(log_a)), float(np.exp(log_b)), alpha, beta)
    used = problem.weight > 0
    residual = _log_sum(_terms(problem, theta)) - problem.log_loss
    r2, rms = log_scores(problem.log_loss[used], residual[used])
    return ParametricFit(law, float(objective), int(problem.weight.sum()), problem.floor_free, r2, rms)


def log_scores(log_loss: np.ndarray, residual: np.ndarray) -> tuple[float, float]:
    """(R^2, root mean square residual), both in log loss."""
    total = ((log_loss - log_loss.mean()) ** 2).sum()
    r2 = 1 - (residual**2).sum() / total if total > 0 else 0.0
    return float(r2), float(np.sqrt((residual**2).mean()))


def optimal_path(
    law: Law, flops: np.ndarray, sizes: np.ndarray, flops_per_token: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(N_opt, D_opt) [m] at `flops` [m] where C = D f(N), f known at `sizes` [s]: minimised numerically over N.

    log f is interpolated linearly in log N, and continued with its end slopes a decade beyond the sizes.
    """
    order = np.argsort(sizes)
    log_n, log_f = np.log(sizes[order]), np.log(flops_per_token[order])
    slopes = np.diff(log_f) / np.diff(log_n)
    decade = np.log(10)
    log_n = np.concatenate([[log_n[0] - decade], log_n, [log_n[-1] + decade]])
    log_f = np.concatenate([[log_f[0] - decade * slopes[0]], log_f, [log_f[-1] + decade * slopes[-1]]])
    grid = np.linspace(log_n[0], log_n[-1], 4000)  # steps well below 1 % in N
    log_tokens = np.log(flops)[:, None] - np.interp(grid, log_n, log_f)  # [m, grid]
    best = law.loss(np.exp(grid), np.exp(log_tokens)).argmin(axis=1)
    return np.exp(grid[best]), np.exp(log_tokens[np.arange(len(best)), best])
