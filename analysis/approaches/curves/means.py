"""One curve a cell: the mean over its seeds, smoothed."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from vsweep.analysis.data.points import Points


@dataclass(frozen=True)
class Run:
    """The smoothed mean curve of one cell: `tokens`, `flops`, `log_loss` [evaluations]."""

    size: float
    budget: float
    tokens: np.ndarray
    flops: np.ndarray
    log_loss: np.ndarray


def mean_curves(points: Points) -> pd.DataFrame:
    """One curve a (size, budget): log loss averaged over its seeds, columns size, budget, tokens, flops, log_loss.

    Seeds are joined by step: each has seen other examples by then, and so a slightly different number of tokens. The
    mean and not the minimum over seeds: the luckiest of three seeds is no property of a size. An evaluation where a
    seed is missing or has a loss <= 0 is dropped, because a mean over the other seeds would be biased.
    """
    curves = points.curves[points.curves["loss"] > 0]
    curves = curves.assign(log_loss=np.log(curves["loss"]))
    grouped = curves.groupby(["size", "budget", "steps"])
    mean = grouped[["tokens", "flops", "log_loss"]].mean().assign(n=grouped.size())
    runs = points.table.groupby(["size", "budget"]).size().rename("runs")
    mean = mean.reset_index().merge(runs, on=["size", "budget"])
    return mean[mean["n"] == mean["runs"]].drop(columns=["n", "runs"]).reset_index(drop=True)


def smooth(log_loss: np.ndarray) -> np.ndarray:
    """Weights 1, 2, 1 over neighbouring evaluations; both ends stay, because the last one is the annealed loss."""
    if len(log_loss) < 3:
        return log_loss
    inner = (log_loss[:-2] + 2 * log_loss[1:-1] + log_loss[2:]) / 4
    return np.concatenate([log_loss[:1], inner, log_loss[-1:]])


def smoothed_runs(points: Points) -> list[Run]:
    """The mean curves that have two evaluations or more."""
    curves = mean_curves(points)
    columns = [curves[name].to_numpy(float) for name in ("tokens", "flops", "log_loss")]
    keys = curves[["size", "budget"]].to_numpy(float)
    starts = np.flatnonzero(np.any(keys[1:] != keys[:-1], axis=1)) + 1
    runs = zip(*(np.split(values, starts) for values in (keys, *columns)), strict=True)
    return [Run(*key[0], tokens, flops, smooth(log_loss)) for key, tokens, flops, log_loss in runs if len(log_loss) > 1]
