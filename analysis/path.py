"""The compute-optimal path: optima at several amounts of compute, and N_opt = k C^a, D_opt = k' C^b through them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.points import Refusal

INTERIOR, EDGE_SMALL, EDGE_LARGE = "interior", "edge: smallest size", "edge: largest size"
NO_MINIMUM = "no minimum"
MIN_OPTIMA = 3


@dataclass(frozen=True)
class PathFit:
    """N_opt = k C^a and D_opt = k_tokens C^b, least squares in logs through the interior optima.

    `optima` has the columns flops, params, tokens, loss, status; rows that are not `interior` are shown, never fitted.
    """

    method: str
    k: float
    a: float
    k_tokens: float
    b: float
    optima: pd.DataFrame
    note: str = ""

    @property
    def used(self) -> pd.DataFrame:
        return self.optima[self.optima["status"] == INTERIOR]

    @property
    def left_out(self) -> pd.DataFrame:
        return self.optima[self.optima["status"] != INTERIOR]

    def params_opt(self, flops: np.ndarray) -> np.ndarray:
        return self.k * np.power(flops, self.a)


def fit_path(method: str, optima: pd.DataFrame, *, min_sizes: int = 1, note: str = "") -> PathFit | Refusal:
    """Fits both lines (Hoffmann et al. 2022, sections 3.1 and 3.2), or refuses with the count of what was there."""
    used = optima[optima["status"] == INTERIOR]
    if len(used) < MIN_OPTIMA:
        counts = optima["status"].value_counts()
        what = ", ".join(f"{count} {status}" for status, count in counts.items()) or "none"
        return Refusal(method, f"{len(used)} interior minima, {MIN_OPTIMA} needed (compute levels: {what})")
    if used["params"].round(6).nunique() < min_sizes:
        return Refusal(
            method,
            f"only {used['params'].round(6).nunique()} distinct interior sizes are ever the best, {min_sizes} needed",
        )
    log_c = np.log(used["flops"].to_numpy())
    if np.ptp(log_c) < np.log(1.5):
        return Refusal(method, f"the interior minima span a factor of {np.exp(np.ptp(log_c)):.2f} in compute only")
    a, log_k = np.polyfit(log_c, np.log(used["params"].to_numpy()), 1)
    b, log_k_tokens = np.polyfit(log_c, np.log(used["tokens"].to_numpy()), 1)
    return PathFit(method, float(np.exp(log_k)), float(a), float(np.exp(log_k_tokens)), float(b), optima, note)


def thinned(optima: pd.DataFrame, at_most: int = 60) -> pd.DataFrame:
    """At most 60 rows, evenly taken: an envelope alone has more than a figure or a file needs."""
    return optima.iloc[np.unique(np.linspace(0, len(optima) - 1, at_most).astype(int))]
