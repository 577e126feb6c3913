"""What a repeated token is worth: the law of repeated data (Muennighoff et al. 2023, equations 5 to 7) with intervals.

A token seen again is worth less than a new one. After R_D* repetitions its worth has fallen to 1/e; R_N* says the same
of parameters beyond those that the unique tokens can use.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from vsweep.analysis.approaches.parametric import SMALLEST_EXPONENT, Law, why_undetermined
from vsweep.analysis.approaches.repeated_law import RepeatedLaw
from vsweep.analysis.data.points import Points, select
from vsweep.analysis.data.source import Convention, Refusal, Source
from vsweep.analysis.fitting.alternative_laws import DataConstrained
from vsweep.analysis.fitting.chinchilla import Data
from vsweep.analysis.fitting.fit import FormFit, fit_form
from vsweep.analysis.uncertainty import bootstrap, intervals
from vsweep.analysis.uncertainty.intervals import Range, Uncertainty

METHOD = "repeated_data"
REPEATS = "unique_examples"  # the column of a sweep
REPEATED = 1.5  # epochs from which the law of repeated data is asked
RESAMPLES = 200  # its gradient is numerical: more resamples would take longer than they are worth
UNBOUNDED = 1e3  # repetitions: no table shows whether a worth falls more slowly than this
WORTH = 0.9  # of a new token, on average: Muennighoff et al. find four epochs nearly as good as new data


@dataclass(frozen=True)
class RepeatedData:
    """The law of repeated data: `values` by name (E, A, B, alpha, beta, R_D, R_N), `rms_log` over `points`.

    `residual_sd_log` is the scatter of single runs about the law, each parameter counted as a lost point; `resamples`
    holds the values [r] of each resample that has such a law. `most_epochs` is the largest D / U of a run. `runs` has
    params, tokens, unique_tokens and loss of the points.
    """

    values: dict[str, float]
    rms_log: float
    points: int
    uncertainty: Uncertainty | None
    residual_sd_log: float
    resamples: dict[str, np.ndarray]
    most_epochs: float
    runs: pd.DataFrame

    @property
    def law(self) -> RepeatedLaw:
        """The law as a formula."""
        constants = {name: self.values[name] for name in ("E", "A", "B", "alpha", "beta")}
        return RepeatedLaw(Law(**constants), self.values["R_D"], self.values["R_N"])

    @property
    def worth_range(self) -> Range | None:
        """Of `epochs_at_worth`: that grows with R_D* alone, so the ends of its interval are those of R_D*."""
        known = self.uncertainty.ranges.get("R_D") if self.uncertainty else None
        return None if known is None else Range(epochs_at_worth(known.low), epochs_at_worth(known.high))

    @property
    def is_worth_known(self) -> bool:
        """Whether the runs show where repeats lose their worth: that they repeated so often, and there is an interval.

        Beyond their epochs the law is flat in R_D*, and no interval of it means anything.
        """
        return self.worth_range is not None and epochs_at_worth(self.values["R_D"]) <= self.most_epochs


def epochs_at_worth(r_d: float, worth: float = WORTH) -> float:
    """Epochs after which the repeated tokens were worth the share `worth` of new ones, on average.

    R repetitions of U tokens are worth R_D* (1 - exp(-R / R_D*)) U (equation 5), so with x = R / R_D* the average is
    (1 - exp(-x)) / x. At R_D* = 15.4 that is .9 after 4.3 epochs.
    """
    low, high = 0.0, 1 / worth  # the average is below 1 / x
    for _ in range(60):
        x = (low + high) / 2
        low, high = (x, high) if -np.expm1(-x) / x > worth else (low, x)
    return 1 + r_d * low


def of_all_repeats(source: Source, convention: Convention) -> Points | None:
    """The runs of a sweep that varies its unique examples: of each number of them the runs of the best other settings.

    The other laws keep the best setting of each cell only, which repeats least. A cell is a size, a budget and a number
    of unique tokens here. None for a sweep, or a table, where all runs have the same unique examples.
    """
    if not source.is_workdir or "unique_tokens" not in source.runs or source.runs[REPEATS].nunique() < 2:
        return None
    parts = [select(replace(source, runs=runs), convention) for _, runs in source.runs.groupby(REPEATS, sort=True)]
    table = pd.concat([part.table for part in parts], ignore_index=True)
    if table.empty:
        return None
    cells = table.groupby(["budget", "unique_tokens"]).ngroup()
    return replace(parts[0], table=table.assign(budget=cells.astype(float)), exclusions=(), curves=None)


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
    most = float((tokens / points.column("unique_tokens")).max())
    runs = points.table[["params", "tokens", "unique_tokens", "loss"]]
    if not count:
        return RepeatedData(values, rms, len(loss), None, sd, {}, most, runs)
    made = min(count, max(RESAMPLES, intervals.resamples_needed(convention.level)))
    resamples = _resamples(points, fitted, made)
    ranges = _interval(points, values, resamples, made)
    return RepeatedData(values, rms, len(loss), ranges, sd, resamples, most, runs)


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
