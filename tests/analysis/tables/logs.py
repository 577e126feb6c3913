"""Tables as trackers export them: several rows of one run, with the law of `LAW` at the end of each."""

import numpy as np
import pandas as pd

from vsweep.analysis.approaches.parametric import Law

LAW = Law(E=1.82, A=482.0, B=2085.0, alpha=0.348, beta=0.366)
A = 0.366 / (0.348 + 0.366)
SIZES = tuple(float(size) for size in np.geomspace(1e6, 1e8, 7).round())
RATIOS = (5.0, 20.0, 80.0, 320.0)  # tokens per parameter
BATCH = 1e5  # tokens of a step
EVALUATIONS = 30


def log_of(size: float, tokens: float, run: str) -> pd.DataFrame:
    """The log of one run: up to 5 % above the law before its end, because it has not annealed."""
    steps = np.unique(np.geomspace(1, tokens / BATCH, EVALUATIONS).round())
    seen = steps * BATCH
    loss = LAW.loss(size, seen) * (1 + 0.05 * (1 - seen / seen[-1]))
    return pd.DataFrame({"run_id": run, "N": size, "step": steps, "tokens": seen, "loss": loss})


def logs(sizes: tuple[float, ...] = SIZES, ratios: tuple[float, ...] = RATIOS) -> pd.DataFrame:
    """The logs of a grid of runs, called r0, r1, ..."""
    pairs = [(size, size * ratio) for size in sizes for ratio in ratios]
    return pd.concat([log_of(*pair, f"r{at}") for at, pair in enumerate(pairs)], ignore_index=True)


def finals(table: pd.DataFrame) -> pd.DataFrame:
    """The last row of each run."""
    return table.groupby("run_id", sort=False).tail(1).reset_index(drop=True)
