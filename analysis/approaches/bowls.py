"""Loss against one setting within each cell: a bowl, and the value of the setting at its lowest point.

Minima are those of a parabola in log loss and log setting, through the lowest value and its neighbours. A minimum at
the smallest or largest value that was tried is none: it is named and not fitted.

Where several settings vary, a bowl is cut through the runs that have the other settings of the cell's best run. Where
one other setting takes the same values beside each value of this one (a product design), a point of the bowl is the
lowest loss over that other setting, found in the same way: a cut at one of the values tried would bend the minimum
towards it. A learning rate has one bowl for each batch size, because its optimum depends on it.
"""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vsweep.analysis.data.points import Points
from vsweep.analysis.data.source import Refusal
from vsweep.analysis.tables.column_names import plain, read_numbers

INTERIOR, NO_MINIMUM = "interior", "no minimum"
EDGE_SMALL, EDGE_LARGE, EDGE_ZERO = "edge: smallest value", "edge: largest value", "edge: zero"
TOO_FEW = "fewer than three values"
MIN_VALUES = 3
WINDOW = np.log(3.0)  # a parabola sees the values within a factor of three of the lowest, and one each side at least
LEARNING_RATES = {"lr", "learningrate", "peaklr", "maxlr", "baselr", "initlr"}
BATCH_SIZES = {"batchsize", "bs", "globalbatchsize", "trainbatchsize", "batch", "batchtokens"}


@dataclass(frozen=True)
class Bowls:
    """The bowls of one setting.

    `runs` has a row a run of a bowl: run_id (None where a point is the lowest over another setting, which is no run),
    size, budget, batch, value, seed, loss. `minima` has a row a bowl: size, budget,
    params, tokens, batch (NaN where the bowls are not parted by it), values (how many were tried), best, loss (both NaN
    but for interior minima and edges), curvature (of log loss in log setting; NaN where there is no parabola), status
    and held (the other settings, in words). `batch` names the column of batch sizes that parts the bowls.
    """

    setting: str
    batch: str | None
    runs: pd.DataFrame
    minima: pd.DataFrame
    notes: tuple[str, ...] = ()

    @property
    def interior(self) -> pd.DataFrame:
        return self.minima[self.minima["status"] == INTERIOR]


def find(points: Points, setting: str, settings: list[str]) -> Bowls | Refusal:
    """The bowls of `setting`; `points` has all runs, with the columns `settings` that vary (as they were read).

    Refused are settings that are no numbers, and those that take a single value in each cell.
    """
    method, table = f"optimal {setting}", points.table
    values = _numbers(table[setting])
    if isinstance(values, str):
        return Refusal(method, values)
    batch = _batch(setting, settings, table)
    tied = [other for other in settings if other not in (setting, batch) and _moves_along(table, values, other)]
    others = [other for other in settings if other not in (setting, batch, *tied)]
    table = table.assign(
        value=values,
        log_loss=np.log(points.column("loss")),
        batch=np.nan if batch is None else _numbers(table[batch]),
        held=_in_words(table, others),
    )
    keys = ["size", "budget"] + (["batch"] if batch else [])
    if table.groupby(keys)["value"].nunique().max() < 2:
        return Refusal(method, f"no cell has two values of {setting}: it varies between cells only")
    product = _product(table, keys, others)
    if product:
        table = table.assign(other=_numbers(table[product]), held=f"the best {product}")
    cut = _profiles(table, keys) if product else _cuts(table, keys)
    runs = cut[["run_id", "size", "budget", "batch", "value", "seed", "loss"]].reset_index(drop=True)
    return Bowls(setting, batch, runs, _minima(cut, keys), tuple(_notes(setting, tied, others, batch, table, product)))


def is_learning_rate(name: str) -> bool:
    """Whether a column's name is one of a learning rate."""
    return _last(name) in LEARNING_RATES


def _last(name: str) -> str:
    return plain(re.split(r"[./]", name)[-1])


def _numbers(cells: pd.Series) -> np.ndarray | str:
    """The values [n] of a setting, or why they are none."""
    values, problem = read_numbers(cells, cells.index.to_numpy(), allow_zero=True)
    if not problem:
        return values
    wrong = int((~np.isfinite(values) | (values < 0)).sum())
    if wrong == len(values):
        return "its values are no numbers, so nothing lies between them"
    return f"{wrong} of {len(values)} runs have no number that is zero or more there"


def _batch(setting: str, settings: list[str], table: pd.DataFrame) -> str | None:
    """The column of batch sizes, where the setting is a learning rate and the batch size varies beside it."""
    if not is_learning_rate(setting):
        return None
    known = [name for name in settings if _last(name) in BATCH_SIZES and not isinstance(_numbers(table[name]), str)]
    return known[0] if known and (_numbers(table[known[0]]) > 0).all() else None


def _moves_along(table: pd.DataFrame, values: np.ndarray, other: str) -> bool:
    """Whether the setting `other` rises or falls with the `values` [n] in every cell, so that both are one choice."""
    numbers = _numbers(table[other])
    if isinstance(numbers, str):
        return False
    pairs = pd.DataFrame({"size": table["size"], "budget": table["budget"], "value": values, "other": numbers})
    seen = False
    for _, cell in pairs.drop_duplicates().groupby(["size", "budget"]):
        cell = cell.sort_values("value")
        if len(cell) < MIN_VALUES:
            continue
        steps = np.diff(cell["other"])
        if (np.diff(cell["value"]) <= 0).any() or not ((steps > 0).all() or (steps < 0).all()):
            return False
        seen = True
    return seen


def _in_words(table: pd.DataFrame, others: list[str]) -> list[str]:
    rows = table[others].itertuples(index=False, name=None)
    return [", ".join(f"{name} = {value}" for name, value in zip(others, row, strict=True)) for row in rows]


def _cuts(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The runs of each bowl: those whose other settings are the ones of the lowest mean loss in their cell."""
    if table["held"].nunique() == 1:
        return table
    means = table.groupby([*keys, "held", "value"])["log_loss"].mean()
    best = means[means.groupby(level=keys).idxmin()].reset_index()[[*keys, "held"]]
    return table.merge(best, on=[*keys, "held"])


def _product(table: pd.DataFrame, keys: list[str], others: list[str]) -> str | None:
    """The only other setting, where it takes the same three or more values beside each value of this one."""
    if len(others) != 1 or isinstance(_numbers(table[others[0]]), str):
        return None
    for _, cell in table.groupby(keys):
        sets = cell.groupby("value")[others[0]].agg(frozenset)
        if sets.nunique() > 1 or len(sets.iloc[0]) < MIN_VALUES:
            return None
    return others[0]


def _profiles(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """One row a bowl and value of the setting: the lowest loss over the column `other`."""
    means = table.groupby([*keys, "value", "other"])["log_loss"].mean().reset_index()
    lowest = []
    for _, group in means.groupby([*keys, "value"]):
        mean = group["log_loss"].to_numpy()
        found = lowest_point(group["other"].to_numpy(), mean)
        lowest.append(np.log(found["loss"]) if found["status"] == INTERIOR else mean.min())
    first = table.groupby([*keys, "value"], as_index=False).first()
    no_run = {"run_id": None, "seed": None, "batch": first["batch"].astype(float)}
    return first.assign(**no_run, log_loss=lowest, loss=np.exp(lowest))


def _minima(cut: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """`Bowls.minima` of the runs `cut`, a row a bowl."""
    cut = cut.assign(bowl=cut.groupby(keys).ngroup())
    means = cut.groupby(["bowl", "value"])["log_loss"].mean()
    values, losses = means.index.get_level_values("value").to_numpy(float), means.to_numpy()
    starts = np.flatnonzero(np.diff(means.index.get_level_values("bowl"))) + 1
    bowls = list(zip(np.split(values, starts), np.split(losses, starts), strict=True))
    found = pd.DataFrame([{"values": len(value), **lowest_point(value, loss)} for value, loss in bowls])
    of_cell = cut.groupby("bowl").agg(
        size=("size", "first"),
        budget=("budget", "first"),
        params=("params", "mean"),
        tokens=("tokens", "mean"),
        batch=("batch", "first"),
        held=("held", "first"),
    )
    return pd.concat([of_cell.reset_index(drop=True), found], axis=1)


def lowest_point(value: np.ndarray, log_loss: np.ndarray) -> dict:
    """The minimum of `log_loss` [s] over the setting `value` [s], which rises: best, loss, curvature, status."""
    at = int(log_loss.argmin())
    edge = {"best": float(value[at]), "loss": float(np.exp(log_loss[at])), "curvature": np.nan}
    if len(value) < MIN_VALUES:
        return {"best": np.nan, "loss": np.nan, "curvature": np.nan, "status": TOO_FEW}
    if value[at] == 0:
        return {**edge, "status": EDGE_ZERO}
    positive = value > 0  # zero has no logarithm
    at -= int((~positive).sum())
    x, y = np.log(value[positive]), log_loss[positive]
    if at in (0, len(x) - 1):
        return {**edge, "status": EDGE_SMALL if at == 0 else EDGE_LARGE}
    near = (np.abs(x - x[at]) <= WINDOW + 1e-9) | (np.abs(np.arange(len(x)) - at) <= 1)
    u = x[near] - x[at]
    curvature, slope, level = np.polyfit(u, y[near], 2)
    vertex = -slope / (2 * curvature) if curvature > 0 else np.inf
    if not u.min() <= vertex <= u.max():
        return {"best": np.nan, "loss": np.nan, "curvature": np.nan, "status": NO_MINIMUM}
    bottom = level + slope * vertex / 2
    best = {"best": float(np.exp(x[at] + vertex)), "loss": float(np.exp(bottom)), "curvature": float(curvature)}
    return {**best, "status": INTERIOR}


def _notes(
    setting: str, tied: list[str], others: list[str], batch: str | None, table: pd.DataFrame, product: str | None
) -> list[str]:
    """How the bowls were cut where more than one setting varies, and what a logarithm cannot hold."""
    notes = []
    if product:
        notes.append(f"Each point of a bowl is the lowest loss over {product}, interpolated in the same way.")
    elif others:
        notes.append(f"Each bowl keeps {', '.join(others)} at the values of the lowest loss in its cell.")
    if batch:
        notes.append(f"There is one bowl for each {batch}.")
    if tied:
        notes.append(f"In every cell {', '.join(tied)} moves along with {setting}, so both are one choice here.")
    zeros = int((table["value"] == 0).sum())
    if zeros:
        notes.append(f"Zero has no logarithm, so {zeros} runs with {setting} = 0 are beside the parabolas.")
    return notes
