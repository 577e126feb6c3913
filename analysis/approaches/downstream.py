"""Accuracy of runs too expensive to train, predicted in two steps or directly.

Two steps (Bhagia et al. 2024, the OLMo ladder): a law gives the loss of N and D, and a sigmoid gives the accuracy of
the loss. Gadre et al. 2024 take an exponential in the place of the sigmoid. Directly: the error, one minus the
accuracy, falls as a power law in compute, or in N and D. All are fitted to the runs below a compute cut by least
squares in accuracy, and judged on the cells above it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.optimize import least_squares
from scipy.special import expit

from vsweep.analysis.approaches import parametric
from vsweep.analysis.data.points import Points
from vsweep.analysis.data.source import Refusal
from vsweep.analysis.tables.extra_columns import Metric

HELD_OUT_SHARE = 0.2  # of the cells, by compute
MIN_FITTED, MIN_HELD_OUT = 6, 5  # cells below the cut, for four constants; and above it, for a verdict
MIN_RANGE = 0.02  # of the accuracies below the cut, without which there is no rise to fit
BEST_STARTS = 4  # of all starts, from which least squares descend
ENOUGH = 2_000  # runs that choose among the starts
SAME = 1.001  # a factor in compute that parts no cells: seeds see slightly different numbers of tokens
LARGEST_LOG = 300.0
TWO_STEPS, DIRECT = "two steps", "direct"
Columns = dict[str, np.ndarray]  # loss, params, tokens, flops: [n] each


@dataclass(frozen=True)
class Form:
    """A curve of accuracy. `of` takes columns and constants by name.

    `bounds` gives lowest and highest of each constant. A constant of reference has equal bounds: it is held there.
    """

    name: str
    family: str
    formula: str
    source: str
    of: Callable[..., np.ndarray]
    bounds: Callable[[Columns], dict[str, tuple[float, float]]]


@dataclass(frozen=True)
class Way:
    """One way to predict: the constants fitted below the cut, and what they say above it, or why there are none.

    `accuracy` [m] is predicted for each held-out cell. `error` is its mean distance from the measured one, and
    `fitted_error` that of the runs fitted.
    """

    name: str
    family: str
    formula: str
    source: str
    constants: dict[str, float]
    fitted_error: float | None = None
    accuracy: np.ndarray | None = None
    error: float | None = None
    refused: str | None = None


@dataclass(frozen=True)
class Downstream:
    """One metric: a sigmoid of the loss over all runs, and a forecast of the most expensive fifth of the cells.

    `runs` has loss, accuracy, flops and held_out of each run, `cells` a row a held-out cell.

    `cells` has params, tokens, flops, accuracy, seeds, and loss_predicted by the law of the runs below the cut.
    `sigmoid` is fitted to all runs. `link_error` is the mean error of the two-step sigmoid if it is given the held-out
    runs' own losses. `noise` is the scatter of a cell's mean accuracy between seeds, None without repeats. `better` is
    the family that predicts better, None where neither does by more than `scatter` or where that cannot be judged.
    `no_forecast` says why there are no `ways`, if so.
    """

    metric: str
    notes: tuple[str, ...]
    cut_flops: float
    runs: pd.DataFrame
    cells: pd.DataFrame
    sigmoid: dict[str, float]
    ways: tuple[Way, ...] = ()
    link_error: float | None = None
    noise: float | None = None
    better: str | None = None
    scatter: float | None = None
    no_forecast: str | None = None

    def best(self, family: str) -> Way | None:
        """The way of a family with the lowest held-out error; None where all are refused."""
        return best_of(self.ways, family)


def best_of(ways: tuple[Way, ...], family: str) -> Way | None:
    """The way of a family with the lowest held-out error; None where all are refused."""
    made = [way for way in ways if way.family == family and way.error is not None]
    return min(made, key=lambda way: way.error, default=None)


def sigmoid(columns: Columns, floor: float, ceiling: float, middle: float, slope: float) -> np.ndarray:
    """Accuracy of a loss: floor + (ceiling - floor) / (1 + exp(slope (L - middle)))."""
    return floor + (ceiling - floor) * expit(slope * (middle - columns["loss"]))


def _exponential(columns: Columns, e: float, k: float, gamma: float, L_ref: float) -> np.ndarray:
    return 1 - e + k * np.exp(np.minimum(-gamma * (columns["loss"] - L_ref), LARGEST_LOG))


def _in_compute(columns: Columns, e: float, k: float, gamma: float, C_ref: float) -> np.ndarray:
    return 1 - e - k * (columns["flops"] / C_ref) ** -gamma


def _in_size_and_data(
    columns: Columns, e: float, A: float, B: float, alpha: float, beta: float, N_ref: float, D_ref: float
) -> np.ndarray:
    return 1 - e - A * (columns["params"] / N_ref) ** -alpha - B * (columns["tokens"] / D_ref) ** -beta


SHARE, POWER = (0.0, 1.0), (0.0, 5.0)


def _middle(values: np.ndarray) -> tuple[float, float]:
    """A constant of reference, which is not fitted."""
    at = float(np.exp(np.log(values).mean()))
    return at, at


def _sigmoid_bounds(columns: Columns) -> dict[str, tuple[float, float]]:
    low, high = float(columns["loss"].min()), float(columns["loss"].max())
    wide = high - low
    return {"floor": SHARE, "ceiling": SHARE, "middle": (low - wide, high + wide), "slope": (0.1 / wide, 200 / wide)}


def _exponential_bounds(columns: Columns) -> dict[str, tuple[float, float]]:
    steep = (0.01 / np.ptp(columns["loss"]), 50 / np.ptp(columns["loss"]))
    return {"e": SHARE, "k": SHARE, "gamma": steep, "L_ref": _middle(columns["loss"])}


FORMS = (
    Form(
        "sigmoid of the loss",
        TWO_STEPS,
        "accuracy = floor + (ceiling - floor) / (1 + exp(slope (L - middle)))",
        "Bhagia et al. 2024, arXiv:2412.04403",
        sigmoid,
        _sigmoid_bounds,
    ),
    Form(
        "exponential of the loss",
        TWO_STEPS,
        "error = e - k exp(-gamma (L - L_ref))",
        "Gadre et al. 2024, arXiv:2403.08540",
        _exponential,
        _exponential_bounds,
    ),
    Form(
        "power law in compute",
        DIRECT,
        "error = e + k (C / C_ref)^-gamma",
        "",
        _in_compute,
        lambda columns: {"e": SHARE, "k": SHARE, "gamma": POWER, "C_ref": _middle(columns["flops"])},
    ),
    Form(
        "power law in N and D",
        DIRECT,
        "error = e + A (N / N_ref)^-alpha + B (D / D_ref)^-beta",
        "",
        _in_size_and_data,
        lambda columns: {
            **{"e": SHARE, "A": SHARE, "B": SHARE, "alpha": POWER, "beta": POWER},
            **{"N_ref": _middle(columns["params"]), "D_ref": _middle(columns["tokens"])},
        },
    ),
)


def fit_form(form: Form, columns: Columns, accuracy: np.ndarray) -> dict[str, float]:
    """The constants of `form` that minimise squared errors of `accuracy` [n]."""
    bounds = form.bounds(columns)
    fixed = {name: low for name, (low, high) in bounds.items() if low == high}
    free = {name: span for name, span in bounds.items() if name not in fixed}
    low, high = np.array(list(free.values())).T

    def residuals(theta: np.ndarray) -> np.ndarray:
        return form.of(columns, **dict(zip(free, theta, strict=True)), **fixed) - accuracy

    # Starts within the bounds, the same every time; wide spans of positive numbers are drawn in logs.
    draws = np.random.default_rng(0).random((60 * len(free), len(free)))
    log = (low > 0) & (high > 20 * low)
    base, top = np.where(log, np.log(np.where(log, low, 1)), low), np.where(log, np.log(np.where(log, high, 1)), high)
    starts = base + draws * (top - base)
    starts = np.where(log, np.exp(np.where(log, starts, 0)), starts)
    thinned = {name: column[:: 1 + len(column) // ENOUGH] for name, column in columns.items()}
    target = accuracy[:: 1 + len(accuracy) // ENOUGH]
    costs = [_cost(form, thinned, target, dict(zip(free, start, strict=True)) | fixed) for start in starts]
    best = [starts[at] for at in np.argsort(costs)[:BEST_STARTS]]
    fits = [least_squares(residuals, np.clip(start, low, high), bounds=(low, high), x_scale="jac") for start in best]
    theta = min(fits, key=lambda fitted: fitted.cost).x
    return {**dict(zip(free, map(float, theta), strict=True)), **fixed}


def _cost(form: Form, columns: Columns, accuracy: np.ndarray, constants: dict[str, float]) -> float:
    return float(((form.of(columns, **constants) - accuracy) ** 2).sum())


def predict(points: Points, metric: Metric) -> Downstream | Refusal:
    """Each way fitted to the runs of `points` below a compute cut, with its error above it.

    `metric` has an accuracy a row of `points.table`. Refused are metrics that hardly vary, and too few runs.
    """
    method = f"downstream {metric.name}"
    reason = why_not(metric.values)
    if reason:
        return Refusal(method, reason)
    notes = list(metric.notes)
    known = np.isfinite(metric.values)
    if not known.all():
        notes.append(f"{(~known).sum()} of {len(known)} runs have no {metric.name} and are not used here.")
    points = points.where(pd.Series(known, points.table.index))
    table = points.table.assign(accuracy=metric.values[known])
    reason = _why_no_curve(table)
    if reason:
        return Refusal(method, reason)
    of_cell = table.groupby(["size", "budget"])["flops"].transform("max")
    cut = _cut(of_cell)
    table["held_out"] = of_cell > cut * SAME
    made = Downstream(
        metric=metric.name,
        notes=tuple(notes),
        cut_flops=cut,
        runs=table[["run_id", "size", "budget", "flops", "loss", "accuracy", "held_out"]].reset_index(drop=True),
        cells=_cells(table[table["held_out"]]),
        sigmoid=fit_form(FORMS[0], columns_of(table), table["accuracy"].to_numpy()),
    )
    reason = _why_no_forecast(table)
    if reason:
        return replace(made, no_forecast=reason)
    return replace(made, **_forecast(made.cells, points.where(~table["held_out"]), table))


def why_not(accuracy: np.ndarray) -> str | None:
    """Why no curve can be fitted to these accuracies [n] (NaN where there is none), if so."""
    known = accuracy[np.isfinite(accuracy)]
    if not len(known):
        return "no finished run has a value"
    if np.ptp(known) == 0:
        return f"all {len(known)} values are {known[0]:.4g}"
    if np.isin(known, (0, 1)).all():
        return f"all {len(known)} values are 0 or 1: these are single answers and no rates"
    return None


def _cut(of_cell: pd.Series) -> float:
    """The compute up to which cells are fitted. Above it lies at most a fifth of them, or the most expensive group.

    `of_cell` [runs] is the compute of each run's cell; cells are held out or fitted whole.
    """
    flops = np.sort(of_cell.unique())
    cut = flops[max(0, len(flops) - 1 - int(np.ceil(HELD_OUT_SHARE * len(flops))))]
    cheaper = flops[flops * SAME < flops[-1]]
    return float(min(cut, cheaper[-1]) if len(cheaper) else flops[-1])


def _why_no_curve(table: pd.DataFrame) -> str | None:
    """Why no curve of accuracy against loss can be fitted to these runs, if so."""
    cells = len(table.groupby(["size", "budget"]))
    if cells < MIN_FITTED:
        return f"{cells} cells, and {MIN_FITTED} are needed"
    low, high = float(table["accuracy"].min()), float(table["accuracy"].max())
    if high - low < MIN_RANGE:
        return f"it stays between {low:.4g} and {high:.4g}, so there is no rise to fit"
    return "all losses are equal" if np.ptp(table["loss"]) == 0 else None


def _why_no_forecast(table: pd.DataFrame) -> str | None:
    if not table["held_out"].any():
        return "all runs have the same compute"
    reason = _why_no_curve(table[~table["held_out"]])
    return f"below the compute cut: {reason}" if reason else None


def columns_of(table: pd.DataFrame) -> Columns:
    """What accuracy may be a function of."""
    return {name: table[name].to_numpy(float) for name in ("loss", "params", "tokens", "flops")}


def _forecast(cells: pd.DataFrame, below: Points, table: pd.DataFrame) -> dict:
    """The fields of `Downstream` that a forecast fills: what the runs `below` the cut say of the held-out `cells`."""
    cheap, held = table[~table["held_out"]], table[table["held_out"]]
    law = parametric.fit(
        *below.law_columns,
        floor=below.convention.floor_value,
        objective=below.convention.objective,
        weight=below.weights,
    )
    at = cells["params"].to_numpy(), cells["tokens"].to_numpy()
    cells = cells.assign(loss_predicted=np.nan if isinstance(law, Refusal) else law.law.loss(*at))
    refused = f"no law of the loss below the cut ({law.reason})" if isinstance(law, Refusal) else None
    ways = tuple(_way(form, cheap, cells, refused if form.family == TWO_STEPS else None) for form in FORMS)
    link = sigmoid(columns_of(held), **fit_form(FORMS[0], columns_of(cheap), cheap["accuracy"].to_numpy()))
    noise = _noise(held)
    return {
        "cells": cells,
        "ways": ways,
        "link_error": float(np.abs(link - held["accuracy"]).mean()),
        "noise": noise,
        **_comparison(ways, cells, noise),
    }


def _cells(held: pd.DataFrame) -> pd.DataFrame:
    grouped = held.groupby(["size", "budget"])
    return grouped[["params", "tokens", "flops", "accuracy"]].mean().assign(seeds=grouped.size()).reset_index()


def _noise(held: pd.DataFrame) -> float | None:
    """Standard error of a cell's mean accuracy, pooled over the held-out cells that have several runs."""
    grouped = held.groupby(["size", "budget"])["accuracy"]
    errors = (grouped.var(ddof=1) / grouped.size()).dropna()
    return float(np.sqrt(errors.mean())) if len(errors) else None


def _way(form: Form, cheap: pd.DataFrame, cells: pd.DataFrame, refused: str | None) -> Way:
    same = (form.name, form.family, form.formula, form.source)
    if refused:
        return Way(*same, {}, refused=refused)
    columns, accuracy = columns_of(cheap), cheap["accuracy"].to_numpy()
    constants = fit_form(form, columns, accuracy)
    fitted_error = float(np.abs(form.of(columns, **constants) - accuracy).mean())
    # An accuracy is a share, whatever a power law says of it.
    predicted = np.clip(form.of(columns_of(cells.assign(loss=cells["loss_predicted"])), **constants), 0, 1)
    error = float(np.abs(predicted - cells["accuracy"]).mean())
    return Way(*same, constants, fitted_error, predicted, error)


def _comparison(ways: tuple[Way, ...], cells: pd.DataFrame, noise: float | None) -> dict:
    """`better` and `scatter`: the better family, and what its lead must exceed.

    That is two standard errors of the paired difference of errors over the held-out cells, and the noise of a cell.
    """
    of = {family: best_of(ways, family) for family in (TWO_STEPS, DIRECT)}
    if None in of.values() or len(cells) < MIN_HELD_OUT:
        return {"better": None, "scatter": None}
    first, second = (np.abs(way.accuracy - cells["accuracy"].to_numpy()) for way in of.values())
    lead = first - second
    scatter = max(2 * float(lead.std(ddof=1) / np.sqrt(len(lead))), noise or 0.0)
    better = None if abs(lead.mean()) <= scatter else TWO_STEPS if lead.mean() < 0 else DIRECT
    return {"better": better, "scatter": scatter}
