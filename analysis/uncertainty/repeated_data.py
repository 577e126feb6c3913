"""What a repeated token is worth: the law of repeated data (Muennighoff et al. 2023, equations 5 to 7) with intervals.

A token seen again is worth less than a new one. After R_D* repetitions its worth has fallen to 1/e; R_N* says the same
of parameters beyond those that the unique tokens can use.
"""

from dataclasses import dataclass

import numpy as np

from vsweep.analysis.approaches.parametric import SMALLEST_EXPONENT, why_undetermined
from vsweep.analysis.data.points import Points
from vsweep.analysis.data.source import Refusal
from vsweep.analysis.fitting.alternative_laws import DataConstrained
from vsweep.analysis.fitting.chinchilla import Data
from vsweep.analysis.fitting.fit import FormFit, fit_form
from vsweep.analysis.uncertainty import bootstrap, intervals
from vsweep.analysis.uncertainty.intervals import Uncertainty

METHOD = "repeated_data"
REPEATED = 1.5  # epochs from which the law of repeated data is asked
RESAMPLES = 200  # its gradient is numerical: more resamples would take longer than they are worth
UNBOUNDED = 1e3  # repetitions: no table shows whether a worth falls more slowly than this


@dataclass(frozen=True)
class RepeatedData:
    """The law of repeated data: `values` by name (E, A, B, alpha, beta, R_D, R_N), `rms_log` over `points`.

    `residual_sd_log` is the scatter of single runs about the law, each parameter counted as a lost point; `resamples`
    holds the values [r] of each resample that has such a law.
    """

    values: dict[str, float]
    rms_log: float
    points: int
    uncertainty: Uncertainty | None
    residual_sd_log: float
    resamples: dict[str, np.ndarray]


def repeats_data(points: Points) -> bool:
    """Whether the unique tokens of every point are known, and some point saw them more than once and a half."""
    if "unique_tokens" not in points.table:
        return False
    unique = points.column("unique_tokens")
    return bool(np.isfinite(unique).all() and (points.column("tokens") > REPEATED * unique).any())


def fit(points: Points, count: int) -> RepeatedData | Refusal | None:
    """The law on every run of `points`, with intervals from `count` resamples; 0 for none.

    At most 200 resamples are made, or as many as the level of the intervals needs.

    Returns None where no data is repeated, and a Refusal where the points do not determine the law.
    """
    if points.table.empty or not repeats_data(points):
        return None
    params, tokens, loss = points.law_columns
    convention = points.convention
    needed = len(DataConstrained().parameters) + convention.floor_free
    distinct = len(points.table.groupby(["params", "tokens", "unique_tokens"]))
    reason = why_undetermined(params, tokens, convention.floor_free)
    if not reason and distinct < needed:
        reason = f"{distinct} distinct (N, D, unique tokens) for {needed} parameters"
    if reason:
        return Refusal(METHOD, reason)
    data = Data.of(params, tokens, points.column("unique_tokens"))
    fitted = fit_form(
        DataConstrained(),
        data,
        loss,
        floor=convention.floor_value,
        objective=convention.objective,
        weight=points.weights,
    )
    if fitted is None or not _is_law(fitted.parameters):
        return Refusal(METHOD, "no law of repeated data describes these points")
    values = {name: float(value) for name, value in fitted.parameters.items()}
    rms = float(np.sqrt((fitted.log_residuals**2).mean()))
    sd = rms * float(np.sqrt(len(loss) / max(1, len(loss) - needed)))
    if not count:
        return RepeatedData(values, rms, len(loss), None, sd, {})
    made = min(count, max(RESAMPLES, intervals.resamples_needed(convention.level)))
    resamples = _resamples(points, fitted, made)
    ranges = _interval(points, values, resamples, made)
    return RepeatedData(values, rms, len(loss), ranges, sd, resamples)


def _resamples(points: Points, fitted: FormFit, count: int) -> dict[str, np.ndarray]:
    """By name the values of the law in each resample of the cells that has one."""
    refits = fitted.refit(points.weights * bootstrap.weights(points, bootstrap.CELLS, count))
    found = {name: np.broadcast_to(column, count) for name, column in refits.parameters.items()}
    good = _is_law(found) & np.isfinite(refits.value)
    return {name: column[good] for name, column in found.items()}


def _interval(points: Points, values: dict[str, float], resamples: dict[str, np.ndarray], count: int) -> Uncertainty:
    kind = intervals.CELLS if points.seeds else intervals.POINTS
    failed = count - len(resamples["alpha"])
    return intervals.interval(kind, values, resamples, failed=failed, level=points.convention.level)


def _is_law(values: dict[str, np.ndarray]) -> np.ndarray:
    finite = np.all([np.isfinite(value) for value in values.values()], axis=0)
    return finite & (values["alpha"] > SMALLEST_EXPONENT) & (values["beta"] > SMALLEST_EXPONENT)
