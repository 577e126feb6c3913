"""A fitted law with its resamples: any quantity of it as a number with an interval."""

from collections.abc import Callable
from dataclasses import astuple, dataclass

import numpy as np
from scipy import special

from vsweep.analysis.approaches.parametric import Law
from vsweep.analysis.approaches.repeated_law import RepeatedLaw
from vsweep.analysis.planner.results import Estimate
from vsweep.analysis.uncertainty.intervals import resamples_needed

QUANTILES_OF_ONE_RUN = 199
AnyLaw = Law | RepeatedLaw


@dataclass(frozen=True)
class Laws:
    """The fitted law, the resampled ones (the same with arrays [r]) and the share `level` that an interval covers."""

    law: AnyLaw
    resamples: AnyLaw | None
    residual_sd_log: float | None
    level: float

    @classmethod
    def of(cls, law: AnyLaw, resamples: AnyLaw | None, residual_sd_log: float | None, level: float) -> "Laws":
        """Without the resamples where they are too few for an interval."""
        count = 0 if resamples is None else np.size(resamples.alpha)
        return cls(law, resamples if count >= resamples_needed(level) else None, residual_sd_log, level)

    def estimate(self, quantity: Callable[[AnyLaw], np.ndarray]) -> Estimate:
        value = float(_no_nan(quantity(self.law)))
        return Estimate(value) if self.resamples is None else Estimate(value, *self.interval(quantity(self.resamples)))

    def interval(self, values: np.ndarray) -> tuple[float, float]:
        """Quantiles outward to the next value, so that infinite ones do no harm."""
        tail, values = (1 - self.level) / 2, _no_nan(values)
        return (
            float(np.quantile(values, tail, method="lower")),
            float(np.quantile(values, 1 - tail, method="higher")),
        )

    def single_run(self, loss: Callable[[AnyLaw], np.ndarray]) -> tuple[float, float] | None:
        """The interval of one run: the scatter of runs around each law, on top of the spread of the laws."""
        if self.residual_sd_log is None:
            return None
        tail = (1 - self.level) / 2
        if self.resamples is None:
            scatter = self.residual_sd_log * special.ndtri(1 - tail)
            return float(loss(self.law) * np.exp(-scatter)), float(loss(self.law) * np.exp(scatter))
        scatter = special.ndtri((np.arange(QUANTILES_OF_ONE_RUN) + 0.5) / QUANTILES_OF_ONE_RUN)
        losses = loss(self.resamples)
        runs = self.interval(np.exp(self.residual_sd_log * scatter) * losses[:, None])
        law = self.interval(losses)
        # Few laws and little scatter: the law's own interval, rounded outward, may be the wider one.
        return min(runs[0], law[0]), max(runs[1], law[1])


def _no_nan(values: np.ndarray) -> np.ndarray:
    if np.isnan(values).any():  # a search for a root, too, may end without one
        raise FloatingPointError("no number")
    return values


def as_numpy(law: Law) -> Law:
    """The same law in numpy's floats: Python's raise where they overflow."""
    return Law(*(np.float64(constant) for constant in astuple(law)))
