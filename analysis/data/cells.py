"""Cells: the runs of one size and one budget, which differ by their seed only."""

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.special import gammaincinv

from vsweep.analysis.data.points import Points

LARGEST_DENSE = 2**20  # values of a matrix of rows by groups: a larger one is mostly zeros
MANY_SEEDS = 8  # from here on a distribution says more than a band
COLUMNS = ["size", "budget", "params", "tokens", "flops", "width", "loss", "low", "high", "ratio", "sd_log", "seeds"]


def cells(points: Points) -> pd.DataFrame:
    """One row a (size, budget), sorted so: geometric mean `loss`, `low`, `high`, `ratio` = high/low over its seeds.

    `sd_log` is the standard deviation of log loss over the cell's seeds (NaN for a single one).
    """
    table = points.table.assign(log_loss=np.log(points.table["loss"]))
    grouped = table.groupby(["size", "budget"])
    table_of_cells = grouped[["params", "tokens", "flops", "width"]].mean()
    table_of_cells["loss"] = np.exp(grouped["log_loss"].mean())
    table_of_cells["low"], table_of_cells["high"] = grouped["loss"].min(), grouped["loss"].max()
    table_of_cells["ratio"] = table_of_cells["high"] / table_of_cells["low"]
    table_of_cells["sd_log"] = grouped["log_loss"].std(ddof=1)
    # Without seed labels, points of one cell are neighbours in a table and their scatter is no noise between seeds.
    table_of_cells["seeds"] = grouped.size() if points.seeds else 1
    return table_of_cells.reset_index()[COLUMNS]


def membership(group: np.ndarray, values: np.ndarray | None = None) -> np.ndarray | sparse.csr_array:
    """[n, groups] `values` [n], or 1, where a row belongs to a group, from the number of each row's group [n].

    It is sparse where a dense one would fill the memory. Sums of a few runs differ in the last bit between the two.
    """
    values, groups = np.ones(len(group)) if values is None else values, int(group.max()) + 1
    if len(group) * groups <= LARGEST_DENSE:
        return np.eye(groups)[group] * values[:, None]
    return sparse.csr_array((values, (np.arange(len(group)), group)))


def seed_noise_log(table: pd.DataFrame) -> float | None:
    """Standard deviation of log loss of one run within a typical cell, from rows of `cells`; None without repeats.

    The median over cells and not the mean: near a break a few cells scatter ten times more than all others, and a
    pooled scatter would pass any law as right to within the noise. Each cell's deviation is divided by the median that
    its number of seeds makes it have.
    """
    repeated = table[table["seeds"] > 1]
    if repeated.empty:
        return None
    freedom = repeated["seeds"] - 1
    chi2_median = 2 * gammaincinv(freedom / 2, 0.5)  # scipy.stats has it too, and takes a second to import
    return float(np.median(repeated["sd_log"] / np.sqrt(chi2_median / freedom)))
