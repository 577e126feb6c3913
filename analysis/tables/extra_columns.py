"""Columns of a foreign table beside N, D, C and the loss: settings, downstream metrics, marks of studies, the unused.

Accuracies may be shares or percentages: the name says it, or the magnitude, with a note. A rate of errors is one minus
an accuracy. What is neither is refused by name.
"""

import json
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

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
ACCURACIES = {"acc", "accuracy", "match", "em", "top1", "top5"}  # the last word of a name
AFTER = {"norm", "none", "mean", "avg", "pct", "percent", "%", "share", "rate"}  # words that may follow it
ERRORS = {"error", "err"}
# Before these words an error is a misfit, a scatter or a difference, and no share of wrong answers.
NO_SHARE = {"loss", "std", "standard", "se", "squared", "mean", "absolute", "relative", "fit", "prediction", "rms"}
NO_SHARE |= {"train", "training", "log"}
PERCENT = {"pct", "percent", "%"}
SURELY_PERCENT = 5.0  # a largest value from here on is a percentage, where the name says nothing


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


# Downstream metrics


@dataclass(frozen=True)
class Metric:
    """One column as accuracies [runs] between 0 and 1, NaN where it was not measured; `notes` say how it was read."""

    name: str
    values: np.ndarray
    notes: tuple[str, ...] = ()


def is_metric(name: str) -> bool:
    """Whether a column's name is that of an accuracy or of a rate of errors: `hellaswag_acc`, `eval/exact_match`."""
    return _kind(name) is not None


def read_metric(name: str, cells: pd.Series) -> Metric:
    """The column as accuracies between 0 and 1.

    Raises:
      ValueError: a value that is no number, or values that are neither shares nor percentages.
    """
    values = pd.to_numeric(cells, errors="coerce").to_numpy(float)
    missing = cells.isna().to_numpy() | (cells.astype(str).str.strip() == "").to_numpy()
    text = np.isnan(values) & ~missing
    if text.any():
        raise ValueError(f"column {name}: no number in {int(text.sum())} runs (such as {str(cells[text].iloc[0])!r})")
    known = values[~np.isnan(values)]
    if not len(known):
        raise ValueError(f"column {name}: no value")
    scale, notes = _scale(name, known)
    values = values / scale
    if _kind(name) == "error":
        values, notes = 1 - values, [*notes, f"{name} holds errors: its accuracy is 1 - {name}."]
    return Metric(name, values, tuple(notes))


def _scale(name: str, known: np.ndarray) -> tuple[float, list[str]]:
    """What the values [n] are divided by, and a note where that is not 1."""
    low, high = float(known.min()), float(known.max())
    says = bool(PERCENT & set(_words(name)))
    if says and low >= 0 and 1 < high <= 100:
        return 100.0, [f"{name} is in percent, as its name says."]
    if says:
        raise ValueError(f"column {name}: its name says percent, and its values are {low:.4g} to {high:.4g}")
    if low >= 0 and high <= 1:
        return 1.0, []
    if low >= 0 and SURELY_PERCENT <= high <= 100:
        return 100.0, [f"{name} was read as percent, because its values reach {high:.4g}."]
    raise ValueError(
        f"column {name}: its values are {low:.4g} to {high:.4g}, and an accuracy lies between 0 and 1 (between 0 and "
        "100 where its name ends in _percent)"
    )


def _words(name: str) -> list[str]:
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", str(name))
    return re.findall(r"[a-z0-9]+|%", apart.casefold())


def _kind(name: str) -> str | None:
    """`accuracy`, `error` or None, by the last words of a name."""
    words = _words(name)
    while len(words) > 1 and words[-1] in AFTER:
        words.pop()
    if not words or "stderr" in words:
        return None
    last, before = words[-1], set(words[:-1])
    if last in ACCURACIES and not before & {"train", "training", "stderr"}:
        return "accuracy"
    return "error" if last in ERRORS and not before & NO_SHARE else None
