"""L(N), L(D) or L(C) of a table that has one variable only: the law, its forecast, and whether the runs show it."""

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import pandas as pd

from vsweep.analysis import plotting
from vsweep.analysis.data.source import Refusal
from vsweep.analysis.formatting import metric, percent
from vsweep.analysis.plotting import Drawing
from vsweep.analysis.sections.base import HEADLINE, Finding, LossStudy, Section, Table, or_refused
from vsweep.analysis.sections.law import ranges_json
from vsweep.analysis.sections.runs import about_runs, about_seeds, convention_texts
from vsweep.analysis.uncertainty import one_variable, verdicts
from vsweep.analysis.uncertainty.approach import describe_range, numbers
from vsweep.analysis.uncertainty.intervals import in_percent, resamples_needed
from vsweep.analysis.uncertainty.one_variable import COLUMN, Forecast, OneVariable
from vsweep.analysis.uncertainty.verdicts import DESCRIBES, NOT_SHOWN, Judgement

LABELS = {"N": "N (parameters)", "D": plotting.TOKENS_LABEL, "C": "C (FLOP)"}
BEYOND = 10.0  # times the largest x: how far the figure and one sentence go


class OneVariableLaw(Section[OneVariable]):
    """The law of the loss against the only variable of a table."""

    name, title = "one_variable", "The law of one variable"

    def compute(self, study: LossStudy) -> OneVariable | Refusal:
        return one_variable.fit(study.points, study.source.variable, study.bootstrap)

    def findings(self, study: LossStudy, result: OneVariable | Refusal) -> list[Finding]:
        of_source = [Finding(None, self.name, 20, text) for text in about_runs(study.source)]
        if isinstance(result, Refusal):
            text = f"No law L({study.source.variable}) was fitted: {result.reason}."
            return [Finding(None, self.name, HEADLINE, text), *of_source]
        return [
            Finding(None, self.name, HEADLINE, headline(result)),
            *of_source,
            *self.about(study, 30, [*_about_fit(study, result), _about_beyond(study, result)]),
            *self.about(study, 40, [_about_forecast(result)]),
            *self.about(study, 80, about_seeds(study)),
        ]

    def figures(self, study: LossStudy, result: OneVariable | Refusal) -> Iterator[Drawing | Refusal]:
        yield Refusal(self.name, result.reason) if isinstance(result, Refusal) else _figure(study, result)

    def tables(self, study: LossStudy, result: OneVariable | Refusal) -> list[Table]:
        if isinstance(result, Refusal):
            return []
        rows = tuple((name, f"{value:.4g}", _range(result, name)) for name, value in result.values.items())
        note = f"L({result.variable}) = E + A / {result.variable}^alpha. Source: Hoffmann et al. 2022, equation 2."
        return [Table("Constants", ("quantity", "value", "range"), rows, note)]

    def refusals(self, study: LossStudy, result: OneVariable | Refusal) -> list[Refusal]:
        if isinstance(result, Refusal):
            return [result]
        return [result.forecast] if isinstance(result.forecast, Refusal) else []

    def to_json(self, study: LossStudy, result: OneVariable | Refusal) -> dict:
        points, column = study.points, COLUMN[study.source.variable]
        values = points.column(column)
        refused = f"the table has {study.source.variable} only; its law is in one_variable"
        return {
            "convention": convention_texts(study),
            "floor_value": None,
            "range": {column: [values.min(), values.max()]} if len(values) else {},
            "points": len(points.table),
            "seeds": len(points.seeds),
            "seed_noise_log": study.noise_log,
            "parametric": {"refused": refused},
            "standing": asdict(standing(result)),
            self.name: or_refused(result, _to_json),
        }


SECTION = OneVariableLaw()


def standing(result: OneVariable | Refusal) -> Judgement:
    """Whether the runs show the law, and why not."""
    if isinstance(result, Refusal):
        return Judgement(NOT_SHOWN, (f"no law was fitted: {result.reason}",))
    return result.standing


def formula(result: OneVariable) -> str:
    """The law with its numbers."""
    values, name = result.values, result.variable
    floor = f"{values['E']:.4g} + " if values["E"] else ""
    return f"L({name}) = {floor}{values['A']:.4g}/{name}^{values['alpha']:.4f}"


def headline(result: OneVariable) -> str:
    """The law, its exponent with its range, and what the runs say of it."""
    known = result.uncertainty
    bounds = f" ({numbers(known, 'alpha')}, {known.form})" if known and "alpha" in known.ranges else ""
    text = f"{formula(result)}, with the exponent {result.values['alpha']:.3f}{bounds}."
    judged = result.standing
    if judged.verdict == DESCRIBES:
        return f"{text} The law describes these runs."
    verdict = "is not shown by these runs" if judged.verdict == NOT_SHOWN else "is doubtful"
    return f"{text} The law {verdict}: {judged.why}."


# Sentences


def _about_fit(study: LossStudy, result: OneVariable) -> list[str]:
    sentences = [
        f"over {result.points} points R^2 is {result.r2_log:.4f} in log loss, and the root-mean-square residual is "
        f"{percent(result.rms_log)}."
    ]
    if study.noise_log:
        ratio = result.rms_log / study.noise_log
        sentences.append(f"that residual is {ratio:.1f} times the scatter between seeds ({percent(study.noise_log)}).")
    if study.convention.floor_free and result.values["E"] == 0:
        sentences.append("the fitted floor E went to zero: these points do not show where the loss levels off.")
    return sentences


def _about_beyond(study: LossStudy, result: OneVariable) -> str:
    x = BEYOND * float(study.points.column(COLUMN[result.variable]).max())
    bounds = ""
    band = _band(study, result, np.array([x]))
    if band is not None:
        held = in_percent(study.convention.level)
        bounds = f" ({band[0][0]:.4g} to {band[1][0]:.4g} in {held} of the resampled laws)"
    at = f"{result.variable} = {metric(x) if result.variable != 'C' else f'{x:.3g} FLOP'}"
    return (
        f"at {at} the law predicts {float(result.loss(x)):.4g}{bounds} [extrapolated, {BEYOND:g} x above the largest]."
    )


def _about_forecast(result: OneVariable) -> str:
    made = result.forecast
    if isinstance(made, Refusal):
        return f"the largest {result.variable} could not be forecast: {made.reason}."
    inside = "" if made.coverage is None else f"; {100 * made.coverage:.0f} % lie inside their intervals"
    why = f" ({made.verdict.why})" if made.verdict.reasons else ""
    outcome = {verdicts.HELD: "held", verdicts.FAILED: "failed"}.get(made.verdict.verdict, "cannot be judged")
    return (
        f"a law of the {made.fitted} points of smaller {result.variable} predicts the {len(made.x)} largest within "
        f"{percent(made.rms_log)}{inside}. The forecast {outcome}{why}."
    )


def _range(result: OneVariable, name: str) -> str:
    known = result.uncertainty
    return describe_range(known, name) if known and name in known.ranges else "not assessed"


# Figure


def _band(study: LossStudy, result: OneVariable, x: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """[m] low and high of the resampled laws at x; None where these are too few."""
    level = study.convention.level
    if not result.resamples or len(result.resamples["alpha"]) < resamples_needed(level):
        return None
    low, high = np.quantile(result.resampled_loss(x), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def _figure(study: LossStudy, result: OneVariable) -> Drawing:
    x, loss = study.points.column(COLUMN[result.variable]), study.points.column("loss")
    grid = np.geomspace(x.min(), BEYOND * x.max(), 200)
    inside, band = grid <= x.max(), _band(study, result, grid)
    figure, (axes,) = plotting.new_figure()
    axes.scatter(x, loss, color=plotting.BLUE, s=16, zorder=3, label="runs")
    axes.plot(grid[inside], result.loss(grid[inside]), color=plotting.RED, lw=1.6, label="law")
    axes.plot(grid[~inside], result.loss(grid[~inside]), color=plotting.RED, lw=1.2, ls=":", label="extrapolated")
    law = pd.DataFrame({"kind": "law", "x": grid, "loss": result.loss(grid)})
    if band is not None:
        axes.fill_between(grid, *band, color=plotting.RED, alpha=0.15, lw=0)
        law = law.assign(low=band[0], high=band[1])
    if not isinstance(result.forecast, Refusal):
        axes.scatter(result.forecast.x, result.forecast.predicted, **_FORECAST)
    plotting.log_axis(axes, "x", LABELS[result.variable], units=result.variable != "C")
    plotting.log_axis(axes, "y", plotting.loss_label(study.loss, study.source.loss_unit))
    plotting.legend_above(figure, 4)
    level = in_percent(study.convention.level)
    held = f" The band holds {level} of the resampled laws." if band is not None else ""
    caption = f"Loss against {result.variable}. {formula(result)}.{held} Crosses are forecasts from smaller runs."
    numbers_ = pd.concat([pd.DataFrame({"kind": "run", "x": x, "loss": loss}), law])
    return Drawing("one_variable", f"L({result.variable})", caption, figure, numbers_)


_FORECAST = {"color": plotting.ORANGE, "marker": "x", "s": 28, "zorder": 4, "label": "forecast"}


# fits.json


def _to_json(result: OneVariable) -> dict:
    known = (result.uncertainty,) if result.uncertainty else ()
    scores = ("r2_log", "rms_log", "residual_sd_log", "points", "distinct", "broken_wins")
    return {
        "variable": result.variable,
        **result.values,
        **{name: getattr(result, name) for name in scores},
        "ranges": {name: entries for name in result.values if (entries := ranges_json(known, name))},
        "resamples": result.resamples,
        "forecast": or_refused(result.forecast, _forecast_json),
    }


def _forecast_json(made: Forecast) -> dict:
    values = {name: value for name, value in vars(made).items() if name != "verdict"}
    return {**values, "verdict": made.verdict.verdict, "reasons": list(made.verdict.reasons)}
