"""Held-out forecasts: fit the cheap runs, predict the expensive ones. In-sample R^2 says nothing.

Every law is asked the same question, so that a table compares them by what they predict. The error against the
compute that the fit was given says whether more runs would help.
"""

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd

from vsweep.analysis import plotting
from vsweep.analysis.approaches import optimal_path
from vsweep.analysis.approaches.parametric import is_law
from vsweep.analysis.data.cells import cells, seed_noise_log
from vsweep.analysis.data.points import Points
from vsweep.analysis.data.source import LEVEL, Refusal
from vsweep.analysis.fitting.chinchilla import Chinchilla
from vsweep.analysis.fitting.fit import MANY_POINTS, FormFit
from vsweep.analysis.fitting.linear_refits import expand
from vsweep.analysis.formatting import percent
from vsweep.analysis.plotting import LAW_STYLES, Drawing
from vsweep.analysis.sections.base import Finding, LossStudy, Section, Table, or_refused
from vsweep.analysis.sections.checks.contenders import Contender, contenders, fit_contender, where_of, why_not
from vsweep.analysis.sections.law import standing
from vsweep.analysis.uncertainty import verdicts
from vsweep.analysis.uncertainty.bootstrap import CELLS, sums, weights
from vsweep.analysis.uncertainty.intervals import in_percent, resamples_needed
from vsweep.analysis.uncertainty.verdicts import Judgement

METHOD, LEARNING_CURVE = "forecast", "learning_curve"
EXPENSIVE_SHARE = 0.2  # of the points, by compute, where a table has no few distinct budgets
CELLS_A_BUDGET = 3  # at least, where a budget is held out
CURVE_SHARES = (0.4, 0.55, 0.7, 0.85, 1.0)  # of the runs that are not held out, cheapest first
RESAMPLES = 200  # are enough for the share of points inside an interval
FAR_BELOW, LEAST_SPAN = 4.0, 2.0  # of a figure of errors: a line farther below is not drawn; what its axis spans
CLEARLY_BETTER = 0.9  # of the error of the parametric law: below it another law predicts better


@dataclass(frozen=True)
class LawForecast:
    """Errors in log loss (prediction minus truth) of one law on the held-out runs.

    `coverage` is the share of held-out runs inside prediction intervals of `level`, None without resamples.
    """

    law: str
    formula: str
    parameters: int
    rms_log: float
    mean_log: float
    fitted_rms_log: float
    coverage: float | None
    level: float = LEVEL


@dataclass(frozen=True)
class Forecast:
    """How well the runs of `held_out` are predicted from all the others; `laws` begins with the parametric law.

    `predicted` counts runs and `cells` their distinct (N, D). `noise_log` is the sd of log loss between seeds of the
    runs held out, None without repeats.
    """

    held_out: str
    fitted: int
    predicted: int
    cells: int
    noise_log: float | None
    yardstick_log: float
    yardstick: str
    laws: tuple[LawForecast, ...]

    @property
    def main(self) -> LawForecast:
        return self.laws[0]

    @property
    def best(self) -> LawForecast:
        return min(self.laws, key=lambda law: law.rms_log)

    @property
    def better(self) -> LawForecast | None:
        """The law with the lowest error, where that is clearly lower than that of the parametric law."""
        return self.best if self.best.rms_log < CLEARLY_BETTER * self.main.rms_log else None

    @property
    def rms_log(self) -> float:
        return self.main.rms_log

    @property
    def mean_log(self) -> float:
        return self.main.mean_log

    def judged(self, law: Judgement) -> Judgement:
        """Whether it held; `law` is the verdict on the parametric law of all runs."""
        main = self.main
        numbers = (main.rms_log, main.fitted_rms_log, main.coverage, self.cells, self.noise_log)
        return verdicts.of_forecast(*numbers, law, level=main.level)


@dataclass(frozen=True)
class Forecasts:
    """The forecast of the held-out runs, and its error against the compute of the fit (columns of `learning_curve`).

    `judgement` says whether the forecast held; None where there is none.
    """

    forecast: Forecast | Refusal
    learning_curve: pd.DataFrame | Refusal
    judgement: Judgement | None


class HeldOut(Section[Forecasts]):
    """Whether laws fitted to the cheap runs predict the expensive ones."""

    name, title = "forecast", "Forecasts of held-out runs"

    def compute(self, study: LossStudy) -> Forecasts:
        made = forecast(study.points, bootstrap=study.bootstrap)
        # The learning curve takes longer than all other forecasts, so it is drawn for one loss only.
        curve = learning_curve(study.points) if study.first else Refusal(LEARNING_CURVE, "not asked for")
        judgement = None if isinstance(made, Refusal) else made.judged(standing(study))
        return Forecasts(made, curve, judgement)

    def findings(self, study: LossStudy, result: Forecasts) -> list[Finding]:
        return self.about(study, 60, about_forecast(result))

    def figures(self, study: LossStudy, result: Forecasts) -> Iterator[Drawing | Refusal]:
        yield forecast_error(study, result)

    def tables(self, study: LossStudy, result: Forecasts) -> list[Table]:
        return [] if isinstance(result.forecast, Refusal) else [_by_law(result.forecast)]

    def refusals(self, study: LossStudy, result: Forecasts) -> list[Refusal]:
        return [result.forecast] if isinstance(result.forecast, Refusal) else []

    def to_json(self, study: LossStudy, result: Forecasts) -> dict:
        curve = or_refused(result.learning_curve, lambda table: table.to_dict("records"))
        made = or_refused(result.forecast, lambda made: _json(made, result.judgement))
        return {"forecast": made, "learning_curve": curve}


SECTION = HeldOut()


def _json(made: Forecast, judgement: Judgement) -> dict:
    content = asdict(made)
    laws = content.pop("laws")
    failed = judgement.verdict == verdicts.FAILED
    limit = verdicts.limit_log(made.noise_log)
    return {**content, "limit_log": limit, "failed": failed, **asdict(judgement), "laws": list(laws)}


def forecast(points: Points, *, bootstrap: int = 0) -> Forecast | Refusal:
    """Leaves out the largest budget (or the most expensive fifth of the points) and predicts it.

    Args:
      bootstrap: resamples for the coverage of prediction intervals; 0 for none.
    """
    split = _split(points)
    if isinstance(split, Refusal):
        return split
    held_out, expensive = split
    cheap, held = points.where(~expensive), points.where(expensive)
    laws = contenders(points)
    reason = why_not(laws[0], cheap)
    if reason:
        return Refusal(METHOD, f"without {held_out}: {reason}")
    found = [_law_forecast(contender, cheap, held, bootstrap) for contender in laws]
    if found[0] is None:
        return Refusal(METHOD, f"without {held_out}: no parametric law describes the other points")
    table = cells(held)
    noise = seed_noise_log(table)
    yardstick = "seed noise" if noise else "residual of the fitted points"
    rows = tuple(row for row in found if row is not None)
    return Forecast(
        held_out,
        len(cheap.table),
        len(held.table),
        len(table),
        noise,
        noise or rows[0].fitted_rms_log,
        yardstick,
        rows,
    )


def _split(points: Points) -> tuple[str, pd.Series] | Refusal:
    """What is held out, in words and as a mask over the table: a whole budget, a whole IsoFLOP group, or a fifth."""
    table = points.table
    if table.empty:
        return Refusal(METHOD, "no points")
    distinct = len(table.groupby(["size", "budget"]))
    if optimal_path.is_labelled(points):
        held_out, expensive = "the largest IsoFLOP group", table["isoflop"] == table["isoflop"].max()
    elif table["budget"].nunique() <= distinct / CELLS_A_BUDGET:
        held_out, expensive = "the largest budget", table["budget"] == table["budget"].max()
    else:
        held_out = f"the most expensive {EXPENSIVE_SHARE:.0%} of the points"
        expensive = table["flops"] >= table["flops"].quantile(1 - EXPENSIVE_SHARE)
    if expensive.all():
        return Refusal(METHOD, "a single budget: nothing to hold out")
    return held_out, expensive


def _law_forecast(contender: Contender, cheap: Points, held: Points, bootstrap: int) -> LawForecast | None:
    fitted = fit_contender(contender, cheap)
    if fitted is None or (isinstance(contender.form, Chinchilla) and not is_law(fitted.theta)):
        return None
    where = where_of(contender, held)
    error = np.log(fitted.loss(*where) / held.column("loss"))
    return LawForecast(
        law=contender.label,
        formula=contender.form.formula,
        parameters=contender.parameters,
        rms_log=float(np.sqrt((error**2).mean())),
        mean_log=float(error.mean()),
        fitted_rms_log=float(np.sqrt((fitted.log_residuals**2).mean())),
        coverage=_coverage(fitted, cheap, held, where, bootstrap) if bootstrap else None,
        level=cheap.convention.level,
    )


def _coverage(fitted: FormFit, cheap: Points, held: Points, where: tuple, bootstrap: int) -> float:
    """Share of the held-out losses inside their prediction intervals."""
    level = cheap.convention.level
    count = min(bootstrap, max(RESAMPLES, resamples_needed(level)))
    low, high = prediction_interval(_refits(fitted, cheap, count), fitted, where, level)
    loss = held.column("loss")
    return float(((low <= loss) & (loss <= high)).mean())


def _refits(fitted: FormFit, cheap: Points, count: int) -> FormFit:
    """The law of each resample of the cells; to first order where there are too many points to fit them again."""
    if len(cheap.table) <= MANY_POINTS:
        return fitted.refit(cheap.weights * weights(cheap, CELLS, count))
    theta = expand(fitted.problem, fitted.theta).refits(lambda values: sums(cheap, CELLS, count, values))
    return FormFit(fitted.problem, theta, np.full(count, np.nan))


def prediction_interval(
    resampled: FormFit, whole: FormFit, where: tuple, level: float = LEVEL
) -> tuple[np.ndarray, np.ndarray]:
    """[m] low and high of single runs at `where`: a law of the resamples, and a residual drawn at random.

    Residuals are a little too small, because the parameters were fitted to them; they are scaled up accordingly.
    """
    rng = np.random.default_rng(0)
    residual = whole.log_residuals
    freedom = max(1, len(residual) - whole.problem.parameters)
    drawn = rng.choice(residual, size=(len(resampled.theta), len(where[0]))) * np.sqrt(len(residual) / freedom)
    # A residual is log(law / loss): a run lies below the law by it.
    runs = resampled.loss(*where) * np.exp(-drawn)
    return tuple(np.quantile(runs, [(1 - level) / 2, (1 + level) / 2], axis=0))


def learning_curve(points: Points) -> pd.DataFrame | Refusal:
    """Forecast error of the held-out runs against the compute of the runs that were fitted, cheapest first.

    Columns: law, runs, flops (their sum), rms_log.
    """
    split = _split(points)
    if isinstance(split, Refusal):
        return replace(split, method=LEARNING_CURVE)
    cheap, held = points.where(~split[1]), points.where(split[1])
    flops = cheap.column("flops")
    rows = []
    for share in CURVE_SHARES:
        kept = cheap.where(cheap.table["flops"] <= np.quantile(flops, share))
        for contender in contenders(points):
            found = _law_forecast(contender, kept, held, 0)
            if found is not None:
                rows.append((found.law, len(kept.table), float(kept.column("flops").sum()), found.rms_log))
    if not rows:
        return Refusal(LEARNING_CURVE, "too few cheap runs to fit any law to")
    return pd.DataFrame(rows, columns=["law", "runs", "flops", "rms_log"])


# Sentences


def about_forecast(result: Forecasts) -> list[str]:
    """Sentences on the forecast of the largest budget and its verdict; none where there is no forecast."""
    made, judgement = result.forecast, result.judgement
    if isinstance(made, Refusal) or judgement is None:
        return []
    how = "too high" if made.mean_log > 0 else "too low"
    because = f", because {judgement.why}" if judgement.reasons else ""
    sentences = [
        f"the forecast {judgement.verdict}{because}. The law fitted without {made.held_out} misses those "
        f"{made.predicted} runs by {percent(made.rms_log)}, on average {percent(abs(made.mean_log))} {how}. "
        f"The {made.yardstick} is {percent(made.yardstick_log)}{_inside(made.main)}."
    ]
    return sentences + ([] if made.better is None else [_about_best(made, made.better)])


def _about_best(made: Forecast, best: LawForecast) -> str:
    """The law with the lowest error, which is not a forecast that held: it was chosen after the fact."""
    limit = verdicts.limit_log(made.noise_log)
    verdict = "It was chosen after the fact, so this is no forecast that held."
    if best.rms_log > limit:
        verdict = f"That too is above the limit of {percent(limit)}."
    found = f"of {len(made.laws)} laws {best.law} predicts them best, within {percent(best.rms_log)}"
    return f"{found}{_inside(best)}. {verdict}"


def _inside(law: LawForecast) -> str:
    if law.coverage is None:
        return ""
    return f"; {100 * law.coverage:.0f} % of the runs lie inside their {in_percent(law.level)} prediction intervals"


# Table


def _by_law(made: Forecast) -> Table:
    """Every law's held-out error, the best first."""
    rows = tuple(_row(law) for law in sorted(made.laws, key=lambda law: law.rms_log))
    head = ("law", "L(N, D)", "parameters", "held-out error", "mean error", "error of the fit")
    head = (*head, f"inside {in_percent(made.main.level)} intervals")
    note = (
        f"Each law is fitted to {made.fitted} runs, without {made.held_out}, and predicts those {made.predicted} runs. "
        f"The {made.yardstick} is {percent(made.yardstick_log)}. Errors are root mean squares of log loss. A mean "
        "error above zero means that the law predicts too high a loss."
    )
    return Table("Forecasts by law", head, rows, note)


def _row(law: LawForecast) -> tuple[str, ...]:
    return (
        law.law,
        law.formula,
        str(law.parameters),
        percent(law.rms_log),
        ("+" if law.mean_log > 0 else "−") + percent(abs(law.mean_log)),
        percent(law.fitted_rms_log),
        "" if law.coverage is None else f"{100 * law.coverage:.0f} %",
    )


# Figure


def forecast_error(study: LossStudy, result: Forecasts) -> Drawing | Refusal:
    """Error of the forecast of the most expensive runs against the compute that the fit was given, a line a law."""
    if study.empty:
        return Refusal("forecast_error", "no points")
    curve, made = result.learning_curve, result.forecast
    for refused in (curve, made):
        if isinstance(refused, Refusal):
            return Refusal("forecast_error", refused.reason)
    figure, (axes,) = plotting.new_figure()
    for (law, line), (colour, marker) in zip(curve.groupby("law", sort=False), itertools.cycle(LAW_STYLES)):
        axes.plot(line["flops"], line["rms_log"], color=colour, marker=marker, ms=4.5, lw=1.4, label=law)
    far_below = curve["rms_log"].min() / made.yardstick_log
    if far_below < FAR_BELOW:  # else the figure would be empty but for a line at its end
        axes.axhline(made.yardstick_log, color=plotting.BLACK, lw=1, ls=":", label=made.yardstick)
    plotting.log_axis(axes, "x", "compute of the runs that were fitted (FLOP)")
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(low, max(high, LEAST_SPAN * low))
    plotting.log_axis(axes, "y", "error of the forecast (log loss)")
    plotting.legend_above(figure, 2)
    caption = (
        f"Root-mean-square error of {made.predicted} held-out runs ({made.held_out}) for laws fitted to the cheapest "
        "40 % to 100 % of the others. Where a line no longer falls, more cheap runs do not help."
    )
    if far_below >= FAR_BELOW:
        caption += f" The {made.yardstick}, {made.yardstick_log:.2g}, lies far below."
    return Drawing("forecast_error", "Forecast error against the compute of the fit", caption, figure, curve)
