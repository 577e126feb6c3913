"""L(C) = (C / C0)^-a: the loss that an amount of compute can buy, as a line under all points in log-log.

Kaplan et al. 2020, figure 1 and equation 1.3. The line is the least-squares one through the vertices of the lower
convex hull, so that points far above the frontier have no say; a line through two corners has the noise of two points.
A loss with a floor bends away from any line: give the floor where it is known exactly, or losses that are an excess.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from vsweep.analysis.approaches import envelope, optimal_path
from vsweep.analysis.approaches.lower_hull import convex_hull, falling
from vsweep.analysis.data.points import Points
from vsweep.analysis.data.source import Refusal

METHOD = "compute_line"
PF_DAY = 8.64e19  # FLOP: 1e15 a second for a day
MIN_VERTICES = 3
# Behind its lowest vertex a hull rises. By a tenth of a percent in loss that is the noise of an evaluation, by more it
# is a run that made nothing of its compute.
MAX_RISE_LOG = 1e-3
TOUCHES_LOG = 1e-9  # losses that follow a law exactly lie on chords: rounding must not choose among them


@dataclass(frozen=True)
class ComputeLine:
    """L(C) = floor + (C / C0)^-a, C and C0 in FLOP, losses in nats/token.

    `vertices` has the columns flops and loss (as given, with the floor); `rms_log` is their distance from the line in
    log (loss - floor).
    """

    a: float
    C0: float
    floor: float
    rms_log: float
    vertices: pd.DataFrame
    method: str = METHOD

    @property
    def C0_pf_days(self) -> float:
        """C0 in PF-days."""
        return self.C0 / PF_DAY

    def loss(self, flops: np.ndarray) -> np.ndarray:
        """L(C) [m] in nats/token at `flops` [m]."""
        return self.floor + np.power(np.asarray(flops, float) / self.C0, -self.a)

    def describe(self) -> str:
        """The line as a formula, with C0 in PF-days."""
        floor = f"{self.floor:.4g} + " if self.floor else ""
        return f"L(C) = {floor}(C / {self.C0_pf_days:.4g} PF-days)^-{self.a:.4f}"


def fit(flops: np.ndarray, loss: np.ndarray, *, floor: float = 0.0) -> ComputeLine | Refusal:
    """The line through the lower hull of points [n]; refused where the hull has no three vertices or does not fall.

    Args:
      flops: C of each point in FLOP, positive.
      loss: nats/token.
      floor: what no loss can be below, known exactly; 0 where `loss` is an excess already.
    """
    flops, loss = np.asarray(flops, float), np.asarray(loss, float)
    below = int((loss <= floor).sum())
    if below:
        return Refusal(METHOD, f"{below} of {len(loss)} losses are not above the floor of {floor:.6g}: no logarithm")
    if not len(loss):
        return Refusal(METHOD, "no points")
    x, y = np.log(flops), np.log(loss - floor)
    vertices = _on_hull(x, y)
    if len(vertices) < MIN_VERTICES:
        return Refusal(
            METHOD, f"the lower hull of {len(loss)} points has {len(vertices)} vertices, {MIN_VERTICES} needed"
        )
    slope, intercept = np.polyfit(x[vertices], y[vertices], 1)
    log_c0 = -intercept / slope if slope < 0 else np.inf
    if abs(log_c0) > np.log(np.finfo(float).max):
        return Refusal(METHOD, f"the loss hardly falls with compute: slope {slope:.3g} in log-log")
    residual = y[vertices] - (intercept + slope * x[vertices])
    rms = float(np.sqrt((residual**2).mean()))
    table = pd.DataFrame({"flops": flops[vertices], "loss": loss[vertices]})
    return ComputeLine(float(-slope), float(np.exp(log_c0)), floor, rms, table)


def _on_hull(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Indices by rising `x` [n] of the points on the falling hull: its vertices, or all of them if they make a line."""
    vertices = falling(convex_hull(x, y), y, MAX_RISE_LOG)
    chord = np.interp(x, x[vertices], y[vertices], right=-np.inf)
    on_hull = np.flatnonzero(y <= chord + TOUCHES_LOG)
    return on_hull[np.argsort(x[on_hull])]


def of_runs(points: Points, *, floor: float = 0.0) -> ComputeLine | Refusal:
    """The line under the finished runs, each annealed to its own budget; seeds of one cell are one mean."""
    table = optimal_path.units(points)
    return fit(table["flops"].to_numpy(), table["loss"].to_numpy(), floor=floor)


def of_curves(points: Points, *, floor: float = 0.0, annealed_only: bool = False) -> ComputeLine | Refusal:
    """The line under the loss curves, as Kaplan et al. draw it; without curves that under the runs.

    Args:
      annealed_only: whether to take the last 15 % of each run only. Elsewhere most curves have not annealed.
    """
    if points.curves is None:
        return of_runs(points, floor=floor)
    table = envelope.curve_points(points, annealed_only=annealed_only)
    return fit(table["flops"].to_numpy(), table["loss"].to_numpy(), floor=floor)
