"""Columns of a foreign table beside N, D, C and the loss: settings, marks of several studies, and what is not used."""

import json
import re
import shlex
from collections.abc import Iterable

import numpy as np
import pandas as pd

from vsweep.analysis.tables.column_names import AT_MOST, plain
from vsweep.analysis.tables.units import is_time

# Hyperparameters by the last part of their names, in small letters and without punctuation.
SETTINGS = set(
    "|".join(
        (
            "lr|learningrate|peaklr|maxlr|baselr|minlr|initlr|batchsize|bs|globalbatchsize|trainbatchsize|batch",
            "batchtokens|warmup|warmupsteps|warmuptokens|warmupratio|warmupfraction|weightdecay|wd|dropout|momentum",
            "beta1|beta2|adambeta1|adambeta2|eps|epsilon|adameps|clip|gradclip|gradientclip|gradclipnorm|maxgradnorm",
            "schedule|lrschedule|scheduler|lrscheduler|optimizer|optim|labelsmoothing|initstd|initscale|emadecay",
            "cooldown|decaysteps",
        )
    ).split("|")
)
FEW = 20  # values of a column that can mark studies
LEAST_CELLS = 3  # (N, D) that hold several values of such a column, below which chance could part them
FAR_APART = 0.05  # in log loss, between the values of a column of text at one (N, D)
NUMBERS_APART = 0.2  # the same for a column of numbers: a shape such as depth moves the loss by less
EXPLAINED = 0.5  # share of the scatter within cells that such a column must explain
MANY = 30  # unused columns that a note names


def is_setting(name: str) -> bool:
    """Whether a column holds a hyperparameter: `lr`, `train.batch_size`, `Weight Decay`."""
    return plain(re.split(r"[./]", name)[-1]) in SETTINGS


def worse_settings(runs: pd.DataFrame, usable: pd.DataFrame, settings: list[str]) -> dict[int, str]:
    """By row of `usable`: why it is left out, where another setting of its cell has a lower mean log loss over seeds.

    `usable` has the columns size, budget and loss, and `runs` the columns `settings` at the same rows.
    """
    # Not agg(", ".join): an empty cell (None examples, no clipping) is NaN, and no text to join.
    keys = [", ".join(map(str, row)) for row in runs.loc[usable.index, settings].itertuples(index=False)]
    usable = usable.assign(setting=keys, log_loss=np.log(usable["loss"]))
    means = usable.groupby(["size", "budget", "setting"])["log_loss"].mean()
    best = means[means.groupby(level=["size", "budget"]).idxmin()].reset_index()[["size", "budget", "setting"]]
    best = usable[["size", "budget"]].merge(best, on=["size", "budget"], how="left")["setting"].to_numpy()
    reason = f"another setting of {', '.join(settings)} has a lower loss in this cell"
    worse = usable["setting"].to_numpy() != best
    return {row: f"{reason} ({than})" for row, than in zip(usable.index[worse], best[worse], strict=True)}


def about_unused(frame: pd.DataFrame) -> str:
    """A note on the columns of `frame`, none of which was used, that vary; empty where none does."""
    varying = {name: frame[name].astype(str).nunique() for name in frame}
    varying = {name: values for name, values in varying.items() if values > 1}
    if not varying:
        return ""
    shown = [
        f"{name} ({values} values{', time and no FLOP' if is_time(name) else ''})" for name, values in varying.items()
    ][:MANY]
    more = f" and {len(varying) - MANY} more" if len(varying) > MANY else ""
    return f"Not used, though {'it varies' if len(varying) == 1 else 'they vary'}: {', '.join(shown)}{more}."


def about_studies(frame: pd.DataFrame, cells: pd.Series, loss: np.ndarray) -> Iterable[str]:
    """Warnings on columns of `frame` whose values part the losses [n] of one (N, D), `cells` [n], for good.

    Scatter between seeds is not taken for it: the values of the column must be apart in the same way in every cell.
    """
    usable = loss > 0
    logs = pd.Series(np.log(np.where(usable, loss, 1.0)), index=frame.index)[usable]
    for name in frame:
        labels = frame[name].astype(str)[usable]
        if 2 <= labels.nunique() <= min(FEW, len(labels) // 2):
            numbers = pd.to_numeric(labels, errors="coerce").notna().all()
            apart = _apart(logs, labels, cells[usable])
            if apart > (NUMBERS_APART if numbers else FAR_APART):
                yield _warning(name, labels, apart)


def _apart(logs: pd.Series, labels: pd.Series, cells: pd.Series) -> float:
    """How far apart in log loss the values of a column are within cells; 0 where that may be chance."""
    mixed = labels.groupby(cells).transform("nunique") > 1
    if cells[mixed].nunique() < LEAST_CELLS:
        return 0.0
    # Means of (cell, value) first, so that a value with many runs does not become the cell's mean.
    means = logs[mixed].groupby([cells[mixed], labels[mixed]]).mean()
    off = means - means.groupby(level=0).transform("mean")
    by_value = off.groupby(level=1).mean()
    left = off - off.index.get_level_values(1).map(by_value).to_numpy(float)
    runs = logs[mixed] - logs[mixed].groupby([cells[mixed], labels[mixed]]).transform("mean")
    far = float(by_value.max() - by_value.min())
    explains = (left**2).sum() < (1 - EXPLAINED) * (off**2).sum() and far > 2 * float(np.sqrt((runs**2).mean()))
    return far if explains else 0.0


def _warning(name: str, labels: pd.Series, apart: float) -> str:
    values = labels.value_counts(sort=False).index.tolist()
    shown = ", ".join(values[:AT_MOST]) + (" and more" if len(values) > AT_MOST else "")
    pair = f"{name}={values[0]},{values[1]}"
    keep = f"{name} == {json.dumps(values[0], ensure_ascii=False)}"
    return (
        f"These look like several studies: {name} ({shown}) parts the losses of one (N, D) by {np.expm1(apart):.0%}. "
        f"Give each a law of its own with --by {shlex.quote(name)}, keep one with --where {shlex.quote(keep)}, or "
        f"compare two with: compare TABLE --by {shlex.quote(pair)}"
    )
