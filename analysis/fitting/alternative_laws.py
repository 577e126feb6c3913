"""Rivals of the Chinchilla law, behind the same interface: tied exponents, the power mean, Kaplan's law, repeated data.

All are cores of the form ((A/N^alpha)^p + (B/D^beta)^p)^(1/p): Chinchilla's has p = 1, Kaplan's p = 1/beta and no
floor, and with repeated data N and D are replaced by what they are still worth.
"""

from dataclasses import dataclass

import numpy as np

from vsweep.analysis.fitting.chinchilla import (
    EXPONENTS,
    FLOOR_SHARES,
    LARGEST_LOG,
    Chinchilla,
    Data,
    LinearGrid,
    Pullback,
)

SOME_EXPONENTS = EXPONENTS[::2]
LARGEST_LOG_POWER = 2.0
POWERS = (0.25, 0.5, 1.0, 2.0, 4.0)
WORTH_IN_EPOCHS = (2.0, 5.0, 15.0, 50.0)  # starts for R_D*: epochs until repeated data is worth little
SIZE_WORTH = (2.0, 10.0, 1e3)  # starts for R_N*
STEP = 1e-6  # of the central differences of `DataConstrained`


def _log_mean(theta: np.ndarray, power: np.ndarray, data: Data) -> tuple[np.ndarray, ...]:
    """(core, share of the N term, u, v), each [..., n]: u and v are the logarithms of the two terms before the mean."""
    u = theta[..., 0, None] - theta[..., 2, None] * data.x
    v = theta[..., 1, None] - theta[..., 3, None] * data.y
    difference = np.clip(power[..., None] * (v - u), -500, 500)
    log_core = u + np.logaddexp(0, difference) / power[..., None]
    return np.exp(np.minimum(log_core, 300)), 1 / (1 + np.exp(difference)), u, v


def _pull(cotangent: np.ndarray, core: np.ndarray, share: np.ndarray, data: Data) -> list[np.ndarray]:
    """Gradient with respect to (log A, log B, alpha, beta) at fixed power, each [...]."""
    left, right = cotangent * core * share, cotangent * core * (1 - share)
    return [left.sum(-1), right.sum(-1), -(left @ data.x), -(right @ data.y)]


def _by_log_power(cotangent, core, share, u, v) -> np.ndarray:
    """Gradient [...] with respect to log p."""
    return (cotangent * core * (share * u + (1 - share) * v - np.log(core))).sum(-1)


@dataclass(frozen=True)
class TiedExponents:
    """theta = (log A, log B, alpha): Chinchilla's law with beta = alpha, so that N_opt and D_opt grow alike, a = 1/2.

    For grids that are too small to tell two exponents apart, and to test whether they differ.
    """

    name: str = "tied_exponents"
    formula: str = "E + A/N^alpha + B/D^alpha"
    source: str = "Hoffmann et al. 2022, equation 2, with beta = alpha"
    parameters: tuple[str, ...] = ("A", "B", "alpha")

    def core(self, theta: np.ndarray, data: Data) -> tuple[np.ndarray, Pullback]:
        core, pullback = Chinchilla().core(theta[..., [0, 1, 2, 2]], data)

        def tied(cotangent: np.ndarray) -> np.ndarray:
            by_log_a, by_log_b, by_alpha, by_beta = np.moveaxis(pullback(cotangent), -1, 0)
            return np.stack([by_log_a, by_log_b, by_alpha + by_beta], axis=-1)

        return core, tied

    def starts(self, data: Data, loss: np.ndarray, weight: np.ndarray, floor: float | None) -> np.ndarray:
        # The diagonal of Chinchilla's grid; three neighbours are a group.
        diagonal = np.arange(len(EXPONENTS))
        theta = Chinchilla().starts(data, loss, weight, floor)[diagonal, diagonal]
        return np.delete(theta, 3, axis=-1).reshape(-1, 3, theta.shape[-1] - 1)

    def describe(self, theta: np.ndarray, data: Data) -> dict[str, float]:
        values = Chinchilla().describe(theta[..., [0, 1, 2, 2]], data)
        return {name: values[name] for name in self.parameters}


@dataclass(frozen=True)
class PowerMean:
    """theta = (log A, log B, alpha, beta, t); p = 1 is Chinchilla's law, a large p takes the worse of both terms.

    log p = 2 tanh(t / 2), so that p stays between 1/7.4 and 7.4: beyond, the law hardly changes, and a descent would
    wander for ever.
    """

    name: str = "power_mean"
    formula: str = "E + ((A/N^alpha)^p + (B/D^beta)^p)^(1/p)"
    source: str = "with p = 1/gamma Busbridge et al. 2025, Distillation Scaling Laws, equation 1"
    parameters: tuple[str, ...] = ("A", "B", "alpha", "beta", "p")

    def core(self, theta: np.ndarray, data: Data) -> tuple[np.ndarray, Pullback]:
        bend = np.tanh(theta[..., 4] / LARGEST_LOG_POWER)
        power = np.exp(LARGEST_LOG_POWER * bend)
        core, share, u, v = _log_mean(theta, power, data)

        def pullback(cotangent: np.ndarray) -> np.ndarray:
            parts = _pull(cotangent, core, share, data)
            return np.stack([*parts, (1 - bend**2) * _by_log_power(cotangent, core, share, u, v)], axis=-1)

        return core, pullback

    def starts(self, data: Data, loss: np.ndarray, weight: np.ndarray, floor: float | None) -> np.ndarray:
        floors = [share * loss.min() for share in FLOOR_SHARES] if floor is None else [floor]
        groups = []
        for value in floors:
            for power in POWERS:
                theta = _linear_in_power(data, loss, weight, value, power)
                bend = LARGEST_LOG_POWER * np.arctanh(np.log(power) / LARGEST_LOG_POWER)
                more = [bend] if floor is not None else [bend, value]
                groups.append(np.insert(theta, [4] * len(more), more, axis=-1))
        return np.stack(groups)

    def describe(self, theta: np.ndarray, data: Data) -> dict[str, float]:
        power = np.exp(LARGEST_LOG_POWER * np.tanh(theta[..., 4] / LARGEST_LOG_POWER))
        return {**Chinchilla().describe(theta, data), "p": power}


def _linear_in_power(data: Data, loss: np.ndarray, weight: np.ndarray, floor: float, power: float) -> np.ndarray:
    """Starts [s, 4] at one floor and power, where (L - E)^p is linear in A^p and B^p."""
    grid = LinearGrid.of(data, np.maximum(loss - floor, 1e-9 * loss) ** power, SOME_EXPONENTS * power)
    return grid.solve(weight, 0.0).reshape(-1, 4) / power


@dataclass(frozen=True)
class Kaplan:
    """theta = (log A, log B, alpha_N, alpha_D) with Nc = A^(1/alpha_N) and Dc = B^(1/alpha_D)."""

    name: str = "kaplan"
    formula: str = "((Nc/N)^(alpha_N/alpha_D) + Dc/D)^alpha_D"
    source: str = "Kaplan et al. 2020, equation 1.5"
    parameters: tuple[str, ...] = ("Nc", "Dc", "alpha_N", "alpha_D")

    def core(self, theta: np.ndarray, data: Data) -> tuple[np.ndarray, Pullback]:
        power = 1 / np.clip(theta[..., 3], 1e-2, 1e2)
        core, share, u, v = _log_mean(theta, power, data)

        def pullback(cotangent: np.ndarray) -> np.ndarray:
            parts = _pull(cotangent, core, share, data)
            parts[3] = parts[3] - power * _by_log_power(cotangent, core, share, u, v)
            return np.stack(parts, axis=-1)

        return core, pullback

    def starts(self, data: Data, loss: np.ndarray, weight: np.ndarray, floor: float | None) -> np.ndarray:
        # At a given alpha_D the law to the power 1/alpha_D is linear in its two terms, the second one being Dc/D.
        groups = []
        for beta in SOME_EXPONENTS:
            theta = _linear_in_power(data, loss, weight, floor or 0.0, 1 / beta).reshape(len(SOME_EXPONENTS), -1, 4)
            groups.append(theta[:, np.abs(SOME_EXPONENTS - beta).argmin()])
        return np.stack(groups)

    def describe(self, theta: np.ndarray, data: Data) -> dict[str, float]:
        plain = Chinchilla().describe(theta, data)
        alpha, beta = plain["alpha"], plain["beta"]
        return {"Nc": plain["A"] ** (1 / alpha), "Dc": plain["B"] ** (1 / beta), "alpha_N": alpha, "alpha_D": beta}


@dataclass(frozen=True)
class DataConstrained:
    """theta = (log A, log B, alpha, beta, log R_D*, log R_N*); needs the unique tokens of every point."""

    name: str = "data_constrained"
    formula: str = "E + A/N'^alpha + B/D'^beta, D' = U + U R_D* (1 - exp(-(D/U - 1)/R_D*)), N' likewise"
    source: str = "Muennighoff et al. 2023, equations 5 to 7"
    parameters: tuple[str, ...] = ("A", "B", "alpha", "beta", "R_D", "R_N")

    def core(self, theta: np.ndarray, data: Data) -> tuple[np.ndarray, Pullback]:
        core = self._core(theta, data)

        def pullback(cotangent: np.ndarray) -> np.ndarray:
            steps = STEP * np.eye(theta.shape[-1])[: len(self.parameters)]
            slopes = [(self._core(theta + step, data) - self._core(theta - step, data)) / (2 * STEP) for step in steps]
            return np.stack([(cotangent * slope).sum(-1) for slope in slopes], axis=-1)

        return core, pullback

    def _core(self, theta: np.ndarray, data: Data) -> np.ndarray:
        log_a, log_b, alpha, beta, log_rd, log_rn = (theta[..., i, None] for i in range(6))
        log_n, log_d = data.x + data.x_mean, data.y + data.y_mean
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            log_unique_n = np.minimum(log_n, self._optimal_log_params(log_a, log_b, alpha, beta, data))
            worth_n = log_unique_n + _log_worth(log_n - log_unique_n, log_rn)
            log_unique_d = np.minimum(log_d, np.log(data.unique))
            worth_d = log_unique_d + _log_worth(log_d - log_unique_d, log_rd)
            by_n = np.exp(log_a - alpha * (worth_n - data.x_mean))
            return by_n + np.exp(log_b - beta * (worth_d - data.y_mean))

    @staticmethod
    def _optimal_log_params(log_a, log_b, alpha, beta, data: Data) -> np.ndarray:
        """log N for which the unique tokens are the compute-optimal data, G (U G)^(beta/alpha)."""
        factors = (log_a + alpha * data.x_mean) - (log_b + beta * data.y_mean)
        log_g = (np.log(alpha / beta) + factors) / (alpha + beta)
        return log_g + beta / alpha * (np.log(data.unique) + log_g)

    def starts(self, data: Data, loss: np.ndarray, weight: np.ndarray, floor: float | None) -> np.ndarray:
        groups = []
        for epochs in WORTH_IN_EPOCHS:
            log_unique = np.minimum(data.y, np.log(data.unique) - data.y_mean)
            y = log_unique + _log_worth(data.y - log_unique, np.log(epochs))
            worth = Data(data.x, y, data.x_mean, data.y_mean)
            theta = Chinchilla().starts(worth, loss, weight, floor).reshape(-1, 4 + (floor is None))
            for size in SIZE_WORTH:
                groups.append(np.insert(theta, [4, 4], [np.log(epochs), np.log(size)], axis=-1))
        return np.stack(groups)

    def describe(self, theta: np.ndarray, data: Data) -> dict[str, float]:
        worth = np.exp(np.minimum(theta[..., 4:6], LARGEST_LOG))
        return {**Chinchilla().describe(theta, data), "R_D": worth[..., 0], "R_N": worth[..., 1]}


def _log_worth(log_ratio: np.ndarray, log_r: np.ndarray) -> np.ndarray:
    """log of 1 + R (1 - exp(-(ratio - 1) / R)): what `ratio` times the unique amount is worth, in unique amounts."""
    r = np.exp(np.clip(log_r, -20, 20))
    return np.log1p(-r * np.expm1(-np.expm1(np.minimum(log_ratio, 300)) / r))
