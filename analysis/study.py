"""All three approaches on one loss convention, side by side, each with its ranges or the reason why it was refused."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import envelope, isoflop, parametric
from analysis.cells import cells, seed_noise_log
from analysis.forecast import Forecast, forecast
from analysis.lines import Lines, fit_lines
from analysis.path import PathFit
from analysis.points import Convention, Points, Refusal, Source, select
from analysis.uncertainty import Estimate, Refit, Uncertainty, assess

METHODS = (envelope.METHOD, isoflop.PARABOLA, isoflop.AKIMA, parametric.METHOD)
ENVELOPE_RESAMPLES = 50  # one costs ten times a resample of the others


@dataclass(frozen=True)
class Approach:
    """One approach to the law: its fit (or the refusal), the exponents of N_opt ~ C^a and D_opt ~ C^b, their ranges."""

    method: str
    result: PathFit | parametric.ParametricFit | Refusal
    a: float | None
    b: float | None
    uncertainty: tuple[Uncertainty, ...] = ()

    @property
    def refused(self) -> bool:
        return isinstance(self.result, Refusal)


@dataclass(frozen=True)
class LossStudy:
    """Everything that was fitted to one loss. `cells` are rows of `cells.cells`; `noise_log` is of single runs."""

    points: Points
    cells: pd.DataFrame
    noise_log: float | None
    approaches: tuple[Approach, ...]
    forecast: Forecast | Refusal
    lines: Lines

    @property
    def convention(self) -> Convention:
        return self.points.convention

    def approach(self, method: str) -> Approach:
        return next(approach for approach in self.approaches if approach.method == method)

    @property
    def law(self) -> parametric.Law | None:
        result = self.approach(parametric.METHOD).result
        return None if isinstance(result, Refusal) else result.law

    @property
    def refusals(self) -> list[Refusal]:
        found = [approach.result for approach in self.approaches if approach.refused]
        return found + [self.forecast] * isinstance(self.forecast, Refusal) + list(self.lines.refused)


def study_loss(source: Source, convention: Convention, *, bootstrap: int) -> LossStudy:
    """Fits all approaches to one loss of `source`; `bootstrap` resamples each, 0 for none."""
    points = select(source, convention)
    table = cells(points)
    return LossStudy(
        points=points,
        cells=table,
        noise_log=seed_noise_log(table),
        approaches=tuple(fit_approach(points, method, bootstrap=bootstrap) for method in METHODS),
        forecast=forecast(points),
        lines=fit_lines(points),
    )


def fit_approach(points: Points, method: str, *, bootstrap: int) -> Approach:
    if points.table.empty:
        return Approach(method, Refusal(method, "no points"), None, None)
    fit = _fitters(points)[method]
    result = fit(points)
    if isinstance(result, Refusal):
        return Approach(method, result, None, None)
    quantities = _quantities(points, result)
    resamples = (
        min(bootstrap, ENVELOPE_RESAMPLES) if method == envelope.METHOD and points.curves is not None else bootstrap
    )
    refit = _refit(points, result) if method == parametric.METHOD else None
    ranges = assess(points, _estimate(fit), bootstrap=resamples, refit=refit)
    return Approach(method, result, quantities["a"], quantities["b"], ranges)


def _fitters(points: Points) -> dict[str, Callable]:
    return {
        envelope.METHOD: envelope.fit,
        isoflop.PARABOLA: lambda points: isoflop.fit(points, isoflop.PARABOLA),
        isoflop.AKIMA: lambda points: isoflop.fit(points, isoflop.AKIMA),
        parametric.METHOD: fit_parametric,
    }


def fit_parametric(points: Points) -> parametric.ParametricFit | Refusal:
    """Approach 3 on every run of `points`."""
    columns = (points.column(name) for name in ("params", "tokens", "loss"))
    return parametric.fit(*columns, floor_free=points.convention.floor_free)


def _estimate(fit: Callable) -> Estimate:
    """What `assess` calls on each resample."""

    def estimate(points: Points) -> dict[str, float] | None:
        found = fit(points)
        return None if isinstance(found, Refusal) else _quantities(points, found)

    return estimate


def _refit(points: Points, whole: parametric.ParametricFit) -> Refit:
    """The same for all resamples of the parametric law at once."""
    columns = [points.column(name) for name in ("params", "tokens", "loss")]

    def refit(weight: np.ndarray) -> list[dict[str, float] | None]:
        fits = parametric.refit(*columns, weight, whole.law, floor_free=whole.floor_free)
        return [None if isinstance(found, Refusal) else _quantities(points, found) for found in fits]

    return refit


def _quantities(points: Points, fit: PathFit | parametric.ParametricFit) -> dict[str, float]:
    if isinstance(fit, PathFit):
        return {"a": fit.a, "b": fit.b}
    law = fit.law
    slopes = path_exponents(law, points)
    found = {"a": slopes[0], "b": slopes[1], "alpha": law.alpha, "beta": law.beta, "A": law.A, "B": law.B}
    return {**found, "E": law.E} if fit.floor_free else found


def path_exponents(law: parametric.Law, points: Points) -> np.ndarray:
    """[2] a and b: in closed form for C = 6ND; for counted FLOPs the slopes of the numerical optimum over the data."""
    if points.convention.flops == "flops_6nd":
        return np.array([law.a, law.b])
    flops = np.geomspace(points.column("flops").min(), points.column("flops").max(), 25)
    params, tokens = optimal_sizes(law, points, flops)
    return np.array([np.polyfit(np.log(flops), np.log(values), 1)[0] for values in (params, tokens)])


def optimal_sizes(law: parametric.Law, points: Points, flops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N_opt, D_opt) [m] of the law at `flops` [m] in the convention of `points`."""
    if points.convention.flops == "flops_6nd":
        return law.params_opt(flops), law.tokens_opt(flops)
    table = points.table.assign(per_token=points.table["flops"] / points.table["tokens"])
    per_token = table.groupby("size")["per_token"].mean()
    if len(per_token) < 2:
        return law.params_opt(flops), law.tokens_opt(flops)
    return parametric.optimal_path(law, flops, per_token.index.to_numpy(float), per_token.to_numpy())
