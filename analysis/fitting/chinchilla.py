"""Laws of the loss behind one interface: a floor E plus a core that falls with size and data.

A law is fitted in coordinates theta [p] in which it is nearly linear: logarithms of its factors, and log N and log D
counted from their means, which takes the worst of the conditioning away. Everything broadcasts over leading axes of
theta, so that thousands of resamples are one call.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

EXPONENTS = np.geomspace(0.02, 3.0, 36)  # alpha and beta tried as starts; the descent is free to leave them
FLOOR_SHARES = (0.3, 0.6, 0.8, 0.9, 0.97)  # of the lowest loss, for laws whose floor no linear solve gives
LARGEST_LOG = 300.0  # exp() overflows beyond 709; a step of a line search may go anywhere

# cotangent [..., n] of the core -> gradient [..., p]
Pullback = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Data:
    """Where the points lie, each [n]: `x` = log N - x_mean, `y` = log D - y_mean, `unique` in tokens (or None)."""

    x: np.ndarray
    y: np.ndarray
    x_mean: float
    y_mean: float
    unique: np.ndarray | None = None

    @classmethod
    def of(cls, params: np.ndarray, tokens: np.ndarray, unique: np.ndarray | None = None) -> "Data":
        """The coordinates of points at N, D and, where they are known, unique tokens [n]."""
        x, y = np.log(np.asarray(params, float)), np.log(np.asarray(tokens, float))
        unique = None if unique is None else np.asarray(unique, float)
        return cls(x - x.mean(), y - y.mean(), float(x.mean()), float(y.mean()), unique)

    def other_points(self, params: np.ndarray, tokens: np.ndarray, unique: np.ndarray | None = None) -> "Data":
        """Other points in the same coordinates, to predict at."""
        x, y = np.log(np.asarray(params, float)) - self.x_mean, np.log(np.asarray(tokens, float)) - self.y_mean
        return Data(x, y, self.x_mean, self.y_mean, None if unique is None else np.asarray(unique, float))

    def some(self, rows: np.ndarray) -> "Data":
        """The points of `rows` in the same coordinates."""
        return replace(self, x=self.x[rows], y=self.y[rows], unique=None if self.unique is None else self.unique[rows])


class Form(Protocol):
    """A law without its floor."""

    name: str
    formula: str
    source: str
    parameters: tuple[str, ...]

    def core(self, theta: np.ndarray, data: Data) -> tuple[np.ndarray, Pullback]:
        """The core [..., n] at theta [..., p], and what turns a cotangent into a gradient."""

    def starts(self, data: Data, loss: np.ndarray, weight: np.ndarray, floor: float | None) -> np.ndarray:
        """Where descents may begin [groups, s, p]; p + 1 with E > 0 last where `floor` is None. NaN is no start.

        The best of each group is tried first, so that not all of them are neighbours.
        """

    def describe(self, theta: np.ndarray, data: Data) -> dict[str, float]:
        """theta [p] in the units of the formula."""


def _power(log_factor: np.ndarray, exponent: np.ndarray, at: np.ndarray) -> np.ndarray:
    """exp(log_factor - exponent x at) [..., n]."""
    exponents = log_factor[..., None] - exponent[..., None] * at
    return np.exp(np.minimum(exponents, LARGEST_LOG, out=exponents), out=exponents)


@dataclass(frozen=True)
class Chinchilla:
    """theta = (log A, log B, alpha, beta), A and B centred."""

    name: str = "chinchilla"
    formula: str = "E + A/N^alpha + B/D^beta"
    source: str = "Hoffmann et al. 2022, equation 2"
    parameters: tuple[str, ...] = ("A", "B", "alpha", "beta")

    def core(self, theta: np.ndarray, data: Data) -> tuple[np.ndarray, Pullback]:
        by_n = _power(theta[..., 0], theta[..., 2], data.x)
        by_d = _power(theta[..., 1], theta[..., 3], data.y)

        def pullback(cotangent: np.ndarray) -> np.ndarray:
            left, right = cotangent * by_n, cotangent * by_d
            return np.stack([left.sum(-1), right.sum(-1), -(left @ data.x), -(right @ data.y)], axis=-1)

        return by_n + by_d, pullback

    def starts(self, data: Data, loss: np.ndarray, weight: np.ndarray, floor: float | None) -> np.ndarray:
        grid = LinearGrid.of(data, loss, EXPONENTS)
        return grid.solve_with_floor(weight) if floor is None else grid.solve(weight, floor)

    def describe(self, theta: np.ndarray, data: Data) -> dict[str, float]:
        log_a, log_b, alpha, beta = theta[..., :4].T
        # A law that a damaged table asks for may have factors beyond any float; they stay finite, and absurd.
        log_factors = {"A": log_a + alpha * data.x_mean, "B": log_b + beta * data.y_mean}
        factors = {name: np.exp(np.minimum(log_factor, LARGEST_LOG)) for name, log_factor in log_factors.items()}
        return {**factors, "alpha": alpha, "beta": beta}


@dataclass(frozen=True)
class LinearGrid:
    """For each (alpha, beta) of a grid the law is linear in (A, B) and in E: least squares with weight / loss^2.

    Divided by the loss, residuals in L become relative ones, which is what log residuals are to first order. Only the
    two exponents are searched (variable projection).

    Shapes: g exponents, n points; theta [g, g, 4] = (log A, log B, alpha, beta), NaN where a coefficient is not
    positive.
    """

    exponents: np.ndarray
    loss: np.ndarray
    by_n: np.ndarray  # [g, n]
    by_d: np.ndarray  # [g, n]

    @classmethod
    def of(cls, data: Data, loss: np.ndarray, exponents: np.ndarray) -> "LinearGrid":
        """The grid for losses [n] at the points of `data`, with exponents [g]."""
        return cls(exponents, loss, np.exp(-exponents[:, None] * data.x), np.exp(-exponents[:, None] * data.y))

    def _grams(self, weight: np.ndarray) -> tuple[np.ndarray, ...]:
        """Sums over the points of n.n [g, 1], d.d [1, g] and n.d [g, g]: the left side of the normal equations."""
        scaled = weight * self.loss**-2.0
        return (self.by_n**2 @ scaled)[:, None], (self.by_d**2 @ scaled)[None, :], (self.by_n * scaled) @ self.by_d.T

    def solve(self, weight: np.ndarray, floor: float) -> np.ndarray:
        """Starts with E = `floor`: theta [g, g, 4]."""
        nn, dd, nd = self._grams(weight)
        target = weight * (self.loss - floor) * self.loss**-2.0
        return self._theta(*_solve_two(nn, dd, nd, (self.by_n @ target)[:, None], (self.by_d @ target)[None, :]))

    def solve_with_floor(self, weight: np.ndarray) -> np.ndarray:
        """Starts with E > 0: theta [g, g, 5], E last."""
        nn, dd, nd = self._grams(weight)
        scaled, target = weight * self.loss**-2.0, weight / self.loss
        ns, n1 = ((self.by_n @ by)[:, None] for by in (scaled, target))
        ds, d1 = ((self.by_d @ by)[None, :] for by in (scaled, target))
        ss, s1 = scaled.sum(), target.sum()
        # E is eliminated: what is left are the equations of (A, B) with centred columns.
        nn, dd, nd = nn - ns**2 / ss, dd - ds**2 / ss, nd - ns * ds / ss
        by_n, by_d = _solve_two(nn, dd, nd, n1 - ns * s1 / ss, d1 - ds * s1 / ss)
        return self._theta(by_n, by_d, (s1 - by_n * ns - by_d * ds) / ss)

    def _theta(self, *coefficients: np.ndarray) -> np.ndarray:
        positive = np.all([values > 0 for values in coefficients], axis=0)
        by_n, by_d, *floor = (np.where(positive, values, np.nan) for values in coefficients)
        alpha, beta = np.meshgrid(self.exponents, self.exponents, indexing="ij")
        return np.stack([np.log(by_n), np.log(by_d), alpha, beta, *floor], axis=-1)


def _solve_two(nn, dd, nd, n1, d1) -> tuple[np.ndarray, np.ndarray]:
    """The two unknowns of symmetric normal equations, by Cramer's rule; NaN where they are singular."""
    determinant = nn * dd - nd**2
    determinant = np.where(np.abs(determinant) > 1e-13 * np.abs(nn * dd), determinant, np.nan)
    return (n1 * dd - d1 * nd) / determinant, (d1 * nn - n1 * nd) / determinant
