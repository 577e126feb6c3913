"""L(x) = E + A / x^alpha for a table with one of N, D and C: the law, its intervals, a forecast, and a verdict.

Hoffmann et al. 2022, equation 2, with the other variable held fixed or growing with x; E is then whatever more of x
alone cannot lower. Limits are those of `verdicts`, because three parameters follow almost any smooth curve.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from vsweep.analysis.approaches.parametric import SMALLEST_EXPONENT
from vsweep.analysis.data.cells import cells, seed_noise_log
from vsweep.analysis.data.points import Points
from vsweep.analysis.data.source import LEVEL, Refusal
from vsweep.analysis.fitting.breaks import Curve, judge, winner
from vsweep.analysis.fitting.chinchilla import Data
from vsweep.analysis.fitting.fit import FormFit, fit_form
from vsweep.analysis.fitting.one_variable import Broken, PowerOffset
from vsweep.analysis.formatting import percent
from vsweep.analysis.uncertainty import bootstrap, intervals, verdicts
from vsweep.analysis.uncertainty.intervals import Uncertainty
from vsweep.analysis.uncertainty.verdicts import DOUBTFUL, NOT_SHOWN, Judgement

METHOD = "one_variable"
COLUMN = {"N": "params", "D": "tokens", "C": "flops"}
MIN_VALUES = 4  # of x: one more than the law has parameters
HELD_SHARE = 4  # the largest fourth of the values of x is forecast from the others
WIDE, SENSELESS = 2.0, 4.0  # highest over lowest exponent of an interval of 90 %
FEW_STRETCH = 3.0  # largest over smallest x: below, almost any power passes


@dataclass(frozen=True)
class Forecast:
    """The largest x predicted from the others: errors in log loss, and the share inside intervals of `level`.

    `low` and `high` [held out] bound a single run, None without resamples; `x`, `loss` and `predicted` are [held out].
    """

    x: np.ndarray
    loss: np.ndarray
    predicted: np.ndarray
    low: np.ndarray | None
    high: np.ndarray | None
    cells: int
    fitted: int
    rms_log: float
    fitted_rms_log: float
    coverage: float | None
    verdict: Judgement


@dataclass(frozen=True)
class OneVariable:
    """L(x) = E + A / x^alpha over `variable` (N, D or C), `values` by name, with what is known of it.

    `resamples` holds the values [r] of each resample that has such a law; `noise_log` is the sd of log loss between
    seeds, None without repeats; `broken_wins` says that a broken power law predicts the largest x better.
    """

    variable: str
    values: dict[str, float]
    r2_log: float
    rms_log: float
    residual_sd_log: float
    points: int
    distinct: int
    noise_log: float | None
    uncertainty: Uncertainty | None
    resamples: dict[str, np.ndarray]
    forecast: Forecast | Refusal
    broken_wins: bool
    standing: Judgement

    def loss(self, x: np.ndarray) -> np.ndarray:
        """L at x [m]."""
        return _loss(self.values, np.asarray(x, float))

    def resampled_loss(self, x: np.ndarray) -> np.ndarray:
        """L [r, m] of the resampled laws at x [m]."""
        return _loss({name: column[:, None] for name, column in self.resamples.items()}, np.asarray(x, float))


def _loss(values: dict, x: np.ndarray) -> np.ndarray:
    return values["E"] + values["A"] * np.power(x, -values["alpha"])


def fit(points: Points, variable: str, count: int) -> OneVariable | Refusal:
    """The law of every run of `points` against `variable`, with intervals from `count` resamples; 0 for none.

    Returns a Refusal where the points do not determine it, or the loss does not fall.
    """
    x, loss = points.column(COLUMN[variable]), points.column("loss")
    if reason := _why_not(points, variable):
        return Refusal(METHOD, reason)
    fitted = _fit(points, variable)
    if fitted is None or not _is_law(fitted.parameters).all():
        return Refusal(METHOD, f"the loss does not fall with {variable} as a power law with an offset")
    values = _values(fitted)
    resampled = _refit(points, fitted, count) if count else {}
    noise, residual = seed_noise_log(cells(points)), fitted.log_residuals
    rms = float(np.sqrt((residual**2).mean()))
    found = OneVariable(
        variable=variable,
        values={name: float(value) for name, value in values.items()},
        r2_log=float(1 - (residual**2).sum() / ((np.log(loss) - np.log(loss).mean()) ** 2).sum()),
        rms_log=rms,
        residual_sd_log=rms * float(np.sqrt(len(loss) / max(1, len(loss) - fitted.problem.parameters))),
        points=len(loss),
        distinct=len(np.unique(points.column("budget"))),
        noise_log=noise,
        uncertainty=_interval(points, values, resampled, count) if count else None,
        resamples=resampled,
        forecast=Refusal(METHOD, "not made yet"),
        broken_wins=_broken_wins(points, variable, noise),
        standing=Judgement(NOT_SHOWN),
    )
    found = replace(found, standing=_standing(found, x, loss, residual, points.convention.level))
    return replace(found, forecast=_forecast(points, variable, count, found))


def _why_not(points: Points, variable: str) -> str:
    if points.table.empty:
        return "no points"
    values = points.table["budget"].nunique()
    if values < MIN_VALUES:
        return f"{values} distinct {variable}, {MIN_VALUES} are needed"
    floor = points.convention.floor_value
    if floor is not None and points.column("loss").min() <= floor:
        return f"some losses lie at or below the floor E = {floor:.6g}"
    return "the loss is the same everywhere" if np.ptp(points.column("loss")) == 0 else ""


def _fit(points: Points, variable: str) -> FormFit | None:
    x, convention = points.column(COLUMN[variable]), points.convention
    return fit_form(
        PowerOffset(),
        Data.of(x, np.ones_like(x)),
        points.column("loss"),
        floor=convention.floor_value,
        objective=convention.objective,
        weight=points.weights,
    )


def _is_law(parameters: dict) -> np.ndarray:
    finite = np.all([np.isfinite(value) for value in parameters.values()], axis=0)
    return finite & (np.asarray(parameters["c"]) > SMALLEST_EXPONENT)


def _values(fitted: FormFit) -> dict[str, np.ndarray]:
    found = fitted.parameters
    return {"E": found["E"], "A": found["k"], "alpha": found["c"]}


def _refit(points: Points, fitted: FormFit, count: int) -> dict[str, np.ndarray]:
    refits = fitted.refit(points.weights * bootstrap.weights(points, bootstrap.CELLS, count))
    found = {name: np.broadcast_to(column, count) for name, column in refits.parameters.items()}
    good = _is_law(found) & np.isfinite(refits.value)
    return {name: np.broadcast_to(column, count)[good] for name, column in _values(refits).items()}


def _interval(points: Points, values: dict, resampled: dict[str, np.ndarray], count: int) -> Uncertainty:
    enough = points.table["budget"].nunique() >= intervals.MIN_CELLS_FOR_INTERVAL
    return intervals.interval(
        intervals.CELLS if points.seeds else intervals.POINTS,
        {name: float(value) for name, value in values.items()},
        resampled,
        failed=count - len(resampled["alpha"]),
        level=points.convention.level if enough else 1.0,
    )


def _broken_wins(points: Points, variable: str, noise: float | None) -> bool:
    """Whether a break predicts the largest values better than an offset does."""
    table = points.table.groupby("budget")
    x = table[COLUMN[variable]].mean().to_numpy()
    loss = np.exp(np.log(points.table["loss"]).groupby(points.table["budget"]).mean().to_numpy())
    laws = judge([Curve.of(x, loss)], floor=points.convention.floor_value)[0]
    if not all(law.fitted for law in laws):
        return False
    return winner(laws, None if noise is None else noise / np.sqrt(table.size().mean())) == Broken.name


# The verdict


def _standing(found: OneVariable, x: np.ndarray, loss: np.ndarray, residual: np.ndarray, level: float) -> Judgement:
    """Whether the runs show this law: as `verdicts.of_law` judges one of N and D."""
    name, log_x, log_loss, size = found.variable, np.log(x), np.log(loss), np.abs(residual)
    reasons = list(_by_interval(found.uncertainty, level))
    if x.max() < FEW_STRETCH * x.min():
        reasons.append((DOUBTFUL, f"{name} spans a factor of {x.max() / x.min():.2g} only"))
    constant = verdicts.left(verdicts.powers(log_x, degree=0), log_loss)
    line = verdicts.left(verdicts.powers(log_x, degree=1), log_loss)
    if line[1] > 0 and verdicts.by_chance(constant, line) > verdicts.CHANCE:
        reasons.append((NOT_SHOWN, f"{name} hardly matters in these runs"))
    far = size > max(verdicts.STRAY_FACTOR * 1.4826 * float(np.median(size)), verdicts.STRAY_LOG)
    if far.sum() > max(1, verdicts.STRAY_SHARE * len(far)):
        reasons.append((DOUBTFUL, f"{far.sum()} of {len(far)} runs lie far from the law"))
        far = np.zeros(len(far), bool)
    reasons += verdicts.by_size(residual[~far], log_loss[~far], found.noise_log)
    reasons += _by_pattern(residual[~far], log_x[~far], name)
    if found.broken_wins:
        reasons.append((DOUBTFUL, f"a broken power law predicts the largest {name} better"))
    return verdicts.worst_of(reasons)


def _by_interval(known: Uncertainty | None, level: float) -> list[tuple[str, str]]:
    if known is None:
        return []
    refused = f"{known.failed} of {known.fits + known.failed} resamples give no law"
    if "alpha" not in known.ranges:
        return [(NOT_SHOWN, refused)]
    found = [(DOUBTFUL, refused)] if known.failed > verdicts.MOST_REFUSED * (known.fits + known.failed) else []
    low, high = known.ranges["alpha"].low, known.ranges["alpha"].high
    scale = 1.0 if known.form == "min..max" else ndtri((1 + LEVEL) / 2) / ndtri((1 + level) / 2)
    ratio = float((high / low) ** scale)
    if ratio > WIDE:
        verdict = NOT_SHOWN if ratio > SENSELESS else DOUBTFUL
        found.append((verdict, f"the exponent is known to within a factor of {high / low:.2g} only"))
    return found


def _by_pattern(residual: np.ndarray, log_x: np.ndarray, name: str) -> list[tuple[str, str]]:
    after = verdicts.left(verdicts.powers(log_x, degree=4), residual)
    before = float((residual**2).sum()), len(residual) - 3
    size = float(np.sqrt(max(before[0] - after[0], 0.0) / len(residual)))
    if size < verdicts.PATTERN_LOG or verdicts.by_chance(before, after) > verdicts.CHANCE:
        return []
    return [(DOUBTFUL, f"the residuals are no noise: {percent(size)} of them follows {name}")]


# The forecast


def _forecast(points: Points, variable: str, count: int, whole: OneVariable) -> Forecast | Refusal:
    """The largest fourth of the values of x, predicted by the law of the others."""
    values = np.unique(points.column("budget"))
    held_values = max(1, len(values) // HELD_SHARE)
    if len(values) - held_values < MIN_VALUES:
        needed = MIN_VALUES + 1
        return Refusal("forecast", f"{len(values)} distinct {variable}, a forecast of the largest needs {needed}")
    held_out = points.table["budget"] > values[-1 - held_values]
    rest, held = points.where(~held_out), points.where(held_out)
    fitted = _fit(rest, variable)
    if fitted is None or not _is_law(fitted.parameters).all():
        return Refusal("forecast", "the smaller values alone show no law")
    x, loss = held.column(COLUMN[variable]), held.column("loss")
    predicted = _loss(_values(fitted), x)
    error = np.log(predicted / loss)
    low, high = _bounds(rest, fitted, x, count) if count else (None, None)
    coverage = None if low is None else float(((low <= loss) & (loss <= high)).mean())
    rms, own = (float(np.sqrt((values**2).mean())) for values in (error, fitted.log_residuals))
    level = points.convention.level
    verdict = verdicts.of_forecast(rms, own, coverage, held_values, whole.noise_log, whole.standing, level=level)
    return Forecast(x, loss, predicted, low, high, held_values, len(rest.table), rms, own, coverage, verdict)


def _bounds(
    rest: Points, fitted: FormFit, x: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """[m] low and high of single runs at x: a law of the resamples, and a residual drawn at random."""
    resampled = _refit(rest, fitted, count)
    if len(resampled["alpha"]) < intervals.MIN_GOOD_SHARE * count:
        return None, None
    losses = _loss({name: column[:, None] for name, column in resampled.items()}, x)
    residual = fitted.log_residuals
    scale = np.sqrt(len(residual) / max(1, len(residual) - fitted.problem.parameters))
    drawn = scale * np.random.default_rng(0).choice(residual, size=losses.shape)
    level = rest.convention.level
    low, high = np.quantile(losses * np.exp(-drawn), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high
