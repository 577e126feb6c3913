"""What a fit minimises: a penalty on the residuals, summed over the points with their weights."""

from dataclasses import dataclass

import numpy as np

LOG, LOSS = "log", "loss"
HUBER, SQUARED, ABSOLUTE = "huber", "squared", "absolute"
RESIDUALS, PENALTIES = (LOG, LOSS), (HUBER, SQUARED, ABSOLUTE)


@dataclass(frozen=True)
class Objective:
    """Sum of weight x penalty(residual); the default is that of Hoffmann et al. 2022, equation 3.

    Attributes:
      residual: `log` (log of prediction over loss) or `loss` (prediction minus loss, nats/token).
      penalty: `huber` (quadratic up to `delta`, linear beyond), `squared` (half the square) or `absolute`.
      delta: threshold of `huber`, in units of the residual.
      overestimate: factor on points that the law lies above. 1 is symmetric; above 1 the law becomes a lower bound,
        for a run can be trained badly but not better than its law.
    """

    residual: str = LOG
    penalty: str = HUBER
    delta: float = 1e-3
    overestimate: float = 1.0

    def __post_init__(self) -> None:
        for name, value, allowed in (("residual", self.residual, RESIDUALS), ("penalty", self.penalty, PENALTIES)):
            if value not in allowed:
                raise ValueError(f"{name}: unknown - got {value!r}; allowed {', '.join(allowed)}")
        for name in ("delta", "overestimate"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name}: a positive number - got {value!r}")

    def penalties(self, residual: np.ndarray) -> np.ndarray:
        """The penalty of each residual, of any shape."""
        return self.penalties_and_slopes(residual)[0]

    def penalties_and_slopes(self, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Penalties and their derivatives (of `absolute` the sign), of the residuals' shape."""
        if self.penalty == HUBER:
            slope = np.clip(residual, -self.delta, self.delta)
            penalty = slope * (residual - 0.5 * slope)
        elif self.penalty == SQUARED:
            slope, penalty = residual, 0.5 * residual**2
        else:
            slope, penalty = np.sign(residual), np.abs(residual)
        if self.overestimate == 1:
            return penalty, slope
        factor = np.where(residual > 0, self.overestimate, 1.0)
        return factor * penalty, factor * slope

    def describe(self) -> str:
        """The objective in words."""
        of = {LOG: "log(prediction / loss)", LOSS: "prediction - loss"}[self.residual]
        how = {HUBER: f"Huber, delta = {self.delta:g}", SQUARED: "half the squares", ABSOLUTE: "absolute values"}
        weighted = "" if self.overestimate == 1 else f", {self.overestimate:g} times where the law lies above"
        return f"sum of {how[self.penalty]} of {of}{weighted}"
