"""The law of repeated data as a formula: what N parameters reach on D tokens of which U are unique.

Muennighoff et al. 2023, equations 5 to 7. Up to the unique tokens, and to the parameters that these can use, it is the
law of Hoffmann et al.; beyond them, tokens and parameters are worth less and less.
"""

from dataclasses import dataclass

import numpy as np

from vsweep.analysis.approaches.parametric import Law
from vsweep.analysis.fitting.alternative_laws import log_worth

MUENNIGHOFF = (15.387756, 5.309743)  # R_D* and R_N* as published (Muennighoff et al. 2023, section 5 and appendix A)
STEPS, ZOOMS = 400, 3  # of the search for the best split of a compute


@dataclass(frozen=True)
class RepeatedLaw:
    """L(N, D, U) = E + A/N'^alpha + B/D'^beta with the constants of `law` and the worth of repeats R_D*, R_N*.

    The fields are numbers, or arrays [r] for r laws at once; everything below broadcasts over them.
    """

    law: Law
    R_D: float | np.ndarray
    R_N: float | np.ndarray

    @property
    def alpha(self) -> float | np.ndarray:
        """The exponent of N."""
        return self.law.alpha

    def along(self, axes: int = 1) -> "RepeatedLaw":
        """The same laws [r] with `axes` more axes behind."""
        repeats = (np.reshape(value, np.shape(value) + (1,) * axes) for value in (self.R_D, self.R_N))
        return RepeatedLaw(self.law.along(axes), *repeats)

    def log_params_used(self, tokens: np.ndarray) -> np.ndarray:
        """log of the N for which `tokens` unique tokens are compute-optimal, U_N of the paper."""
        law = self.law
        return law.log_G + law.beta / law.alpha * (np.log(tokens) + law.log_G)

    def loss(self, params: np.ndarray, tokens: np.ndarray, unique: float) -> np.ndarray:
        """The loss at N and D, in the unit of the fit, where no more than `unique` tokens are distinct."""
        log_n, log_d = np.log(params), np.log(tokens)
        fresh_d = np.minimum(log_d, np.log(unique))
        fresh_n = np.minimum(log_n, self.log_params_used(np.exp(fresh_d)))
        worth_n = fresh_n + log_worth(log_n - fresh_n, np.log(self.R_N))
        worth_d = fresh_d + log_worth(log_d - fresh_d, np.log(self.R_D))
        law = self.law
        return law.E + law.A * np.exp(-law.alpha * worth_n) + law.B * np.exp(-law.beta * worth_d)

    def params_opt(self, flops: float, unique: float) -> np.ndarray:
        """The N with the lowest loss at C = 6ND and `unique` tokens.

        With enough data that is the optimum of Hoffmann et al. With less it lies between the size that the unique
        tokens can use, which is worth any repetition, and the size that sees each token once. A loss that is flat to
        the last digit gives the smallest such size.
        """
        enough = np.log(self.law.params_opt(flops))
        first, last = np.broadcast_arrays(self.log_params_used(unique), np.log(flops / 6) - np.log(unique))
        scarce = first < last
        low, high = np.where(scarce, first, 0.0), np.where(scarce, last, 1.0)
        laws = self.along()
        for _ in range(ZOOMS):
            grid = np.moveaxis(np.linspace(low, high, STEPS), 0, -1)
            at = laws.loss(np.exp(grid), flops / (6 * np.exp(grid)), unique).argmin(axis=-1)[..., None]
            ends = (np.maximum(at - 1, 0), np.minimum(at + 1, STEPS - 1))
            best, low, high = (np.take_along_axis(grid, index, axis=-1)[..., 0] for index in (at, *ends))
        return np.exp(np.where(scarce, best, enough))
