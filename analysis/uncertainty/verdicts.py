"""What a fit is worth, in one word with its reasons: whether the runs show the law, and whether a forecast held.

A verdict is made of limits that are fixed before the data are seen. A law that is not shown is still reported with its
numbers, but no plan is made from it.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import bdtr, fdtrc, ndtri

from vsweep.analysis.approaches.parametric import ParametricFit, parameter_count
from vsweep.analysis.data.cells import cells
from vsweep.analysis.data.points import Points
from vsweep.analysis.data.source import LEVEL
from vsweep.analysis.formatting import count, metric, percent
from vsweep.analysis.uncertainty import intervals
from vsweep.analysis.uncertainty.approach import Approach
from vsweep.analysis.uncertainty.intervals import Uncertainty

DESCRIBES, DOUBTFUL, NOT_SHOWN = "describes", "doubtful", "not shown"
HELD, FAILED, CANNOT = "held", "failed", "cannot be judged"

NOISE_FACTOR = 2.0  # of the scatter between seeds: residuals and errors up to it are about the noise
NEGLIGIBLE_LOG = 0.01  # an error within 1 % is none, however quiet the runs are
TOLERANCE_LOG = 0.02  # of a forecast, where no seeds say how far runs scatter
LOUD_LOG = 0.2  # of the scatter between seeds: whatever lies within it is shown by luck
FEWEST_HELD_OUT = 5  # cells: of fewer no number inside their 90 % intervals would be too small
IMPROBABLE = 0.01  # of so few inside their intervals, if these held what they promise

FEWEST_VALUES = 3  # of N and of D: through two values every power passes
MOST_REFUSED = 0.1  # of the resamples
WIDE_A, SENSELESS_A = 0.25, 0.5  # of the interval of a: .23 is from Hoffmann et al. to Kaplan et al.
FAR, BY_ORDERS = 10.0, 100.0  # N_opt beyond the sizes, as a factor
POOR_R2, NO_R2 = 0.9, 0.5
LARGE_RESIDUAL_LOG = NOISE_FACTOR * TOLERANCE_LOG  # where no seeds say how far runs scatter
STRAY_FACTOR, STRAY_LOG, STRAY_SHARE = 6.0, 0.1, 0.05  # of the typical residual; least; most of the runs
CHANCE = 0.01  # of an F test: above it a dependence on N or D, or a pattern in the residuals, may be chance
PATTERN_LOG = 0.02  # a smaller pattern spoils no plan


@dataclass(frozen=True)
class Judgement:
    """A verdict and why it is no better one; without reasons where it is the best."""

    verdict: str
    reasons: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        """The reasons as one text."""
        return "; ".join(self.reasons)


# The law


def of_law(points: Points, approach: Approach, noise_log: float | None) -> Judgement:
    """Whether these points show the law that was fitted to them: `describes`, `doubtful` or `not shown`.

    Args:
      points: what the law was fitted to.
      approach: the parametric law with its ranges.
      noise_log: sd of log loss between seeds, None without repeats.
    """
    if approach.refused:
        return Judgement(NOT_SHOWN, (f"no law was fitted: {approach.result.reason}",))
    found = [
        *_by_values(points),
        *_by_interval(approach, points.convention.level),
        *_by_optimum(points, approach),
        *_by_residuals(points, approach.result, noise_log),
    ]
    return worst_of(found)


def worst_of(found: list[tuple[str, str]]) -> Judgement:
    """The worst of several verdicts, with all their reasons; `describes` where there are none."""
    worst = [verdict for verdict in (NOT_SHOWN, DOUBTFUL) if any(verdict == entry[0] for entry in found)]
    found = sorted(found, key=lambda entry: entry[0] != NOT_SHOWN)  # the worst first, else in order
    return Judgement(worst[0] if worst else DESCRIBES, tuple(reason for _, reason in found))


def _by_values(points: Points) -> list[tuple[str, str]]:
    names = {"size": "sizes", "budget": "amounts of data"}
    few = {label: points.table[name].nunique() for name, label in names.items()}
    return [
        (NOT_SHOWN, f"{number} {label} only, through which every power law passes")
        for label, number in few.items()
        if number < FEWEST_VALUES
    ]


def _interval(approach: Approach) -> Uncertainty | None:
    """From resamples; the spread over seeds is none."""
    made = [entry for entry in approach.uncertainty if entry.kind != intervals.SEED_FITS]
    return made[-1] if made else None


def _by_interval(approach: Approach, level: float) -> list[tuple[str, str]]:
    """By how well a is known. The limits are for intervals of 90 %: asking for others changes no verdict."""
    interval = _interval(approach)
    if interval is None:
        return []
    made = interval.fits + interval.failed
    refused = f"{interval.failed} of {made} resamples give no law"
    if "a" not in interval.ranges:
        return [(NOT_SHOWN, refused)]
    found = [(DOUBTFUL, refused)] if interval.failed > MOST_REFUSED * made else []
    width = interval.ranges["a"].high - interval.ranges["a"].low
    comparable = width * (ndtri((1 + LEVEL) / 2) / ndtri((1 + level) / 2) if interval.form != "min..max" else 1.0)
    if comparable > WIDE_A:
        found.append((NOT_SHOWN if comparable > SENSELESS_A else DOUBTFUL, f"a is known to within {width:.2f} only"))
    return found


def _by_optimum(points: Points, approach: Approach) -> list[tuple[str, str]]:
    """N_opt at the largest compute against the sizes trained."""
    sizes, best = points.column("params"), approach.quantities["N_opt"]
    if not np.isfinite(best):
        return [(NOT_SHOWN, "N_opt lies nowhere near the sizes")]
    below, factor = best < sizes.min(), max(sizes.min() / best, best / sizes.max())
    if factor <= FAR:
        return []
    where = f"{metric(factor)} x {'below the smallest' if below else 'above the largest'} size"
    return [(NOT_SHOWN if factor > BY_ORDERS else DOUBTFUL, f"N_opt at the largest compute lies {where}")]


def _by_residuals(points: Points, fitted: ParametricFit, noise_log: float | None) -> list[tuple[str, str]]:
    """Runs far from the law, R^2 and residual of the others, what N and D do to them, and patterns left over."""
    params, tokens, loss = points.law_columns
    residual = np.log(fitted.law.loss(params, tokens) / loss)
    far = np.abs(residual) > max(STRAY_FACTOR * 1.4826 * float(np.median(np.abs(residual))), STRAY_LOG)
    found = []
    if far.sum() > max(1, STRAY_SHARE * len(far)):
        found.append((DOUBTFUL, f"{far.sum()} of {count(len(far), 'run')} lie far from the law"))
        far = np.zeros(len(far), bool)  # too many to set aside
    near, residual = points.where(pd.Series(~far, index=points.table.index)), residual[~far]
    return [
        *found,
        *_by_effects(cells(near)),
        *by_size(residual, np.log(loss[~far]), noise_log),
        *_by_pattern(residual, near, parameter_count(fitted.floor_free)),
    ]


def by_size(residual: np.ndarray, log_loss: np.ndarray, noise_log: float | None) -> list[tuple[str, str]]:
    """What residuals [n] of log loss [n] say against a law: verdicts with reasons."""
    found = []
    rms = float(np.sqrt((residual**2).mean()))
    r2 = 1 - (residual**2).sum() / max(((log_loss - log_loss.mean()) ** 2).sum(), np.finfo(float).tiny)
    if r2 < POOR_R2:
        found.append((NOT_SHOWN if r2 < NO_R2 else DOUBTFUL, f"R^2 is {r2:.2f}"))
    if noise_log and rms > max(NOISE_FACTOR * noise_log, NEGLIGIBLE_LOG):
        times = f"{rms / noise_log:.1f} times the scatter between seeds"
        found.append((DOUBTFUL, f"the residual of {percent(rms)} is {times}"))
    if noise_log and noise_log > LOUD_LOG:
        found.append((DOUBTFUL, f"seeds scatter by {percent(noise_log)}"))
    if not noise_log and rms > LARGE_RESIDUAL_LOG:
        found.append((DOUBTFUL, f"the residual is {percent(rms)}"))
    return found


def powers(*axes: np.ndarray, degree: int) -> np.ndarray:
    """[n, terms] all products of the standardised axes [n] up to `degree`; constants first."""
    scaled = [(axis - axis.mean()) / max(float(axis.std()), 1e-12) for axis in axes]
    if len(scaled) == 1:
        return np.stack([scaled[0] ** power for power in range(degree + 1)], axis=1)
    x, y = scaled
    return np.stack([x**i * y**j for i in range(degree + 1) for j in range(degree + 1 - i)], axis=1)


def left(basis: np.ndarray, values: np.ndarray) -> tuple[float, int]:
    """The sum of squares that a least-squares fit leaves, and its degrees of freedom."""
    solution, _, rank, _ = np.linalg.lstsq(basis, values, rcond=None)
    return float(((values - basis @ solution) ** 2).sum()), len(values) - int(rank)


def by_chance(before: tuple[float, int], after: tuple[float, int]) -> float:
    """The chance that more terms take so much from a sum of squares, by an F test; 1 where there is nothing to test."""
    terms, freedom = before[1] - after[1], after[1]
    if terms < 1 or freedom < 1 or before[0] <= 0:
        return 1.0
    ratio = (before[0] - after[0]) / terms / max(after[0] / freedom, np.finfo(float).tiny)
    return float(fdtrc(terms, freedom, max(ratio, 0.0)))


def _by_effects(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Whether the loss depends on N at equal D, and on D at equal N, by curves of second degree in their logs."""
    x, y, log_loss = (np.log(table[name].to_numpy()) for name in ("params", "tokens", "loss"))
    full = left(powers(x, y, degree=2), log_loss)
    found = []
    for name, other in (("N", y), ("D", x)):
        alone = left(powers(other, degree=2), log_loss)
        if full[1] > 0 and by_chance(alone, full) > CHANCE:
            found.append((NOT_SHOWN, f"{name} hardly matters in these runs"))
    return found


def _by_pattern(residual: np.ndarray, points: Points, parameters: int) -> list[tuple[str, str]]:
    """Whether the residuals follow N and D, which they do where another law holds, or none throughout."""
    x, y = (np.log(points.column(name)) for name in ("params", "tokens"))
    basis = powers(x, y, degree=3)
    after, before = left(basis, residual), (float((residual**2).sum()), len(residual) - parameters)
    size = float(np.sqrt(max(before[0] - after[0], 0.0) / len(residual)))
    if size < PATTERN_LOG or by_chance(before, after) > CHANCE:
        return []
    return [(DOUBTFUL, f"the residuals are no noise: {percent(size)} of them follows N and D")]


# The forecast


def limit_log(noise_log: float | None) -> float:
    """How far a forecast may miss in log loss: twice the scatter between seeds, or a fixed tolerance without seeds."""
    return max(NOISE_FACTOR * noise_log, NEGLIGIBLE_LOG) if noise_log else TOLERANCE_LOG


def of_forecast(
    rms_log: float,
    fitted_rms_log: float,
    coverage: float | None,
    held_out: int,
    noise_log: float | None,
    law: Judgement,
    *,
    level: float = LEVEL,
) -> Judgement:
    """Whether a forecast `held`, `failed` or `cannot be judged`.

    Args:
      rms_log: error of the held-out runs in log loss; `fitted_rms_log` that of the fitted ones.
      coverage: share of held-out runs inside prediction intervals of `level`, None where it is not known.
      held_out: cells (N, D) held out. Runs of one cell share its error, so that they count once.
      noise_log: sd of log loss between seeds, None without repeats.
      law: the verdict on the law of all runs. A law that is not shown predicts by luck.
    """
    limit = limit_log(noise_log)
    failed, unclear = [], []
    if rms_log > limit:
        failed.append(f"its error of {percent(rms_log)} is above the limit of {percent(limit)}")
    if held_out < FEWEST_HELD_OUT:
        unclear.append(f"{count(held_out, 'cell')} held out are too few")
    elif coverage is None:
        unclear.append("without resamples there are no prediction intervals")
    # One-sided: intervals that cover more often than they promise mislead nobody.
    elif bdtr(round(coverage * held_out), held_out, level) < IMPROBABLE:
        failed.append(f"{100 * coverage:.0f} % inside their {intervals.in_percent(level)} intervals are too few")
    if noise_log and noise_log > LOUD_LOG:
        unclear.append(f"seeds scatter by {percent(noise_log)}")
    if fitted_rms_log > NOISE_FACTOR * limit:
        unclear.append(f"the fitted runs themselves lie {percent(fitted_rms_log)} off")
    if law.verdict == NOT_SHOWN:
        unclear.append(f"the law is not shown by these runs ({law.why})")
    if failed:
        return Judgement(FAILED, tuple(failed))
    return Judgement(CANNOT, tuple(unclear)) if unclear else Judgement(HELD)
