"""A held-out forecast of the parametric law: fit the cheap runs, predict the dear ones. In-sample R^2 says nothing."""

from dataclasses import dataclass

import numpy as np

from analysis import parametric
from analysis.cells import cells, seed_noise_log
from analysis.points import Points, Refusal

METHOD = "forecast"
DEAR_SHARE = 0.2  # of the points, by compute, where a table has no few distinct budgets
NEGLIGIBLE_LOG = 0.01  # a forecast within 1 % has not failed, however quiet the runs are
FAILS_BEYOND = 2.0  # times the noise between seeds (or the residual of the fitted runs, where there are no seeds)


@dataclass(frozen=True)
class Forecast:
    """Errors in log loss (prediction minus truth) of the law fitted without the runs of `held_out`."""

    held_out: str
    fitted: int
    predicted: int
    rms_log: float
    mean_log: float
    yardstick_log: float
    yardstick: str

    @property
    def failed(self) -> bool:
        return self.rms_log > max(FAILS_BEYOND * self.yardstick_log, NEGLIGIBLE_LOG)

    @property
    def factor(self) -> float:
        """Typical factor by which a held-out loss was missed."""
        return float(np.exp(self.rms_log))


def forecast(points: Points) -> Forecast | Refusal:
    """Leaves out the largest budget (or the dearest fifth of the points) and predicts it."""
    table = points.table
    budgets = table["budget"].nunique()
    if budgets < 2:
        return Refusal(METHOD, "no points" if table.empty else "a single budget: nothing to hold out")
    if budgets <= len(table) / 3:
        dear = table["budget"] == table["budget"].max()
        held_out = "the largest budget"
    else:
        dear = table["flops"] > table["flops"].quantile(1 - DEAR_SHARE)
        held_out = f"the dearest {DEAR_SHARE:.0%} of the points"
    cheap = table[~dear]
    floor_free = points.convention.floor_free
    fit = parametric.fit(cheap["params"], cheap["tokens"], cheap["loss"], floor_free=floor_free)
    if isinstance(fit, Refusal):
        return Refusal(METHOD, f"without {held_out}: {fit.reason}")
    held = table[dear]
    error = np.log(fit.law.loss(held["params"].to_numpy(), held["tokens"].to_numpy()) / held["loss"].to_numpy())
    noise = seed_noise_log(cells(points.where(dear)))
    yardstick = "seed noise" if noise else "residual of the fitted points"
    rms = float(np.sqrt((error**2).mean()))
    return Forecast(held_out, len(cheap), len(held), rms, float(error.mean()), noise or fit.rms_log, yardstick)
