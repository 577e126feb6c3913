"""Does a curve break? The power law with an offset against the broken power law, by points that neither fit saw.

The broken power law has twice the parameters and follows almost any curve, so its residual says nothing. Both laws
predict the largest x from the others. The one that comes closer by more than the noise is the law to believe.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from vsweep.analysis.fitting.chinchilla import Form
from vsweep.analysis.fitting.fit import FormFit
from vsweep.analysis.fitting.one_variable import FORMS, fit_together

LONG = 9  # distinct x from which the last two are held out, and not the last one only
BEYOND, NEGLIGIBLE_LOG = 2.0, 0.005  # a law wins by more than twice the noise, and by more than half a percent


@dataclass(frozen=True)
class HeldOutScore:
    """A forecast of `points` that were held out: errors in log loss, prediction minus truth.

    `fitted_rms_log` is the residual of the same fit on the points that it saw.
    """

    points: int
    rms_log: float
    mean_log: float
    fitted_rms_log: float


@dataclass(frozen=True)
class OneVariableLaw:
    """One law on one curve: `values` by the names of its formula, from all points (empty where it was not fitted).

    `parameters` counts E where it was fitted; `held_out` has one forecast for each set of points that was held out and
    left enough others; `note` says what could not be done, and why.
    """

    law: str
    formula: str
    parameters: int
    points: int
    values: dict[str, float] = field(default_factory=dict)
    rms_log: float | None = None
    held_out: tuple[HeldOutScore, ...] = ()
    note: str = ""

    @property
    def fitted(self) -> bool:
        """Whether there was a fit to all points."""
        return bool(self.values)

    @property
    def scatter_log(self) -> float:
        """Residual of log loss, made as large as it would be had no parameter been fitted."""
        return self.rms_log * np.sqrt(self.points / max(1, self.points - self.parameters))


@dataclass(frozen=True)
class Curve:
    """A loss [n] against x [n]; each of `held_out` marks points [n] that are to be predicted from the others."""

    x: np.ndarray
    loss: np.ndarray
    held_out: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, x: np.ndarray, loss: np.ndarray) -> "Curve":
        """With the last x held out, and on long curves the last two as well."""
        return cls(x, loss, tuple(last(x, count) for count in range(1, held_out_by_default(x) + 1)))

    def keeps(self) -> list[np.ndarray]:
        """The points [n] of each fit: all of them, then those that each forecast may see."""
        return [np.ones(len(self.x), bool), *(~held for held in self.held_out)]


def last(x: np.ndarray, count: int) -> np.ndarray:
    """[n] whether x is one of its `count` largest values."""
    return x > np.unique(x)[-1 - count]


def held_out_by_default(x: np.ndarray) -> int:
    """How many of the largest values of x [n] are held out: two of a long curve, else one."""
    return 2 if len(np.unique(x)) >= LONG else 1


def judge(curves: Sequence[Curve], *, floor: float | None = None) -> list[tuple[OneVariableLaw, ...]]:
    """The laws of `FORMS` on each curve, each with its forecasts."""
    return list(zip(*(_judge_form(form, curves, floor) for form in FORMS), strict=True))


def _judge_form(form: Form, curves: Sequence[Curve], floor: float | None) -> list[OneVariableLaw]:
    jobs = {
        (number, part): (curve.x[keep], curve.loss[keep])
        for number, curve in enumerate(curves)
        for part, keep in enumerate(curve.keeps())
        if not _why_not(form, curve.x[keep], curve.loss[keep], floor)
    }
    fits = dict(zip(jobs, fit_together(form, list(jobs.values()), floor=floor), strict=True))
    return [
        _one_law(form, curve, floor, [fits.get((number, part)) for part in range(1 + len(curve.held_out))])
        for number, curve in enumerate(curves)
    ]


def _why_not(form: Form, x: np.ndarray, loss: np.ndarray, floor: float | None) -> str:
    """Why these points carry no such law; one more value of x than parameters, or any curve is met exactly."""
    parameters, values = _count(form, floor), len(np.unique(x))
    if values <= parameters:
        return f"{values} values of x cannot carry {parameters} parameters, {parameters + 1} are needed"
    if floor is not None and loss.min() <= floor:
        return f"{int((loss <= floor).sum())} losses lie at or below E = {floor:.6g}"
    return ""


def _count(form: Form, floor: float | None) -> int:
    return len(form.parameters) + (floor is None)


def _one_law(form: Form, curve: Curve, floor: float | None, fits: list[FormFit | None]) -> OneVariableLaw:
    whole, *parts = fits
    law = OneVariableLaw(form.name, form.formula, _count(form, floor), len(curve.x))
    if whole is None:
        return replace(law, note=_why_not(form, curve.x, curve.loss, floor))
    held_out = [(fit, held) for fit, held in zip(parts, curve.held_out, strict=True) if fit is not None]
    if len(held_out) < len(parts):
        keep = ~curve.held_out[parts.index(None)]
        note = f"no forecast: without the held-out points {_why_not(form, curve.x[keep], curve.loss[keep], floor)}"
        law = replace(law, note=note)
    return replace(
        law,
        values={name: float(value) for name, value in whole.parameters.items()},
        rms_log=_rms(whole.log_residuals),
        held_out=tuple(_forecast(fit, curve, held) for fit, held in held_out),
    )


def _forecast(fitted: FormFit, curve: Curve, held: np.ndarray) -> HeldOutScore:
    x = curve.x[held]
    error = np.log(fitted.loss(x, np.ones_like(x)) / curve.loss[held])
    return HeldOutScore(int(held.sum()), _rms(error), float(error.mean()), _rms(fitted.log_residuals))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))


def winner(laws: Sequence[OneVariableLaw], noise_log: float | None = None) -> str | None:
    """The law with the smallest error over the forecasts that all made, or None where there is no telling.

    It must be smaller by more than twice the noise. Where a power law holds but for noise, the broken law, which can
    bend, comes closer to what was held out in a quarter of cases by luck; by so much in one or two of a hundred.

    Args:
      noise_log: standard error of one point's log loss; the scatter about the better fitting law where it is not known.
    """
    common = set.intersection(*({forecast.points for forecast in law.held_out} for law in laws))
    if not common:
        return None
    noise_log = min(law.scatter_log for law in laws) if noise_log is None else noise_log
    error = np.array([_pooled(law, common) for law in laws])
    best, other = np.argsort(error)[:2]
    return laws[best].law if error[other] - error[best] > max(BEYOND * noise_log, NEGLIGIBLE_LOG) else None


def _pooled(law: OneVariableLaw, common: set[int]) -> float:
    """Root mean square error over all points of the forecasts that hold out so many points."""
    counted = [(forecast.points, forecast.rms_log) for forecast in law.held_out if forecast.points in common]
    points, rms = np.array(counted).T
    return float(np.sqrt((points * rms**2).sum() / points.sum()))


def compare_one_variable(
    x: np.ndarray, loss: np.ndarray, *, held_out: int | np.ndarray | None = None, floor: float | None = None
) -> pd.DataFrame:
    """The power law with an offset and the broken power law on one curve, side by side.

    Args:
      x: parameters, tokens or training examples [n], positive; values may repeat.
      loss: [n], positive.
      held_out: how many of the largest x are predicted from the others, or a mask [n] of the points that are. By
        default the last one, and the last two where there are at least `LONG` values of x.
      floor: the offset E where it is known (0 for an excess loss that more of x can bring to nothing); None fits it.

    Returns one row a law: law, formula, parameters (how many), `values` (by name, of the fit to all points), rms_log,
    and of the fit without what was held out: fitted_rms_log, held_out_points, held_out_rms_log, held_out_mean_log;
    `wins` (see `winner`; in no row where the forecasts do not differ) and a note on what could not be done.

    Raises:
      ValueError: x, loss, held_out or floor cannot be what they should be.
    """
    x, loss = _checked(x, loss, floor)
    curve = Curve(x, loss, (_mask(x, held_out),))
    laws = judge([curve], floor=floor)[0]
    best = winner(laws)
    return pd.DataFrame([_row(law, law.law == best) for law in laws])


def _row(law: OneVariableLaw, wins: bool) -> dict:
    forecast = law.held_out[0] if law.held_out else None
    return {
        "law": law.law,
        "formula": law.formula,
        "parameters": law.parameters,
        "values": law.values,
        "rms_log": law.rms_log,
        "fitted_rms_log": getattr(forecast, "fitted_rms_log", None),
        "held_out_points": getattr(forecast, "points", 0),
        "held_out_rms_log": getattr(forecast, "rms_log", None),
        "held_out_mean_log": getattr(forecast, "mean_log", None),
        "wins": wins,
        "note": law.note,
    }


def _checked(x: np.ndarray, loss: np.ndarray, floor: float | None) -> tuple[np.ndarray, np.ndarray]:
    x, loss = np.asarray(x, float), np.asarray(loss, float)
    if x.ndim != 1 or x.shape != loss.shape:
        raise ValueError(f"x and loss: shapes {x.shape} and {loss.shape}, must be [n] both")
    for name, values in (("x", x), ("loss", loss)):
        bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if len(bad):
            first = f"{name}[{bad[0]}] = {values[bad[0]]:g}"
            raise ValueError(f"{name}: positive numbers - got {len(bad)} of {len(x)} that are not, first {first}")
    if len(np.unique(x)) < 2:
        raise ValueError(f"x: {len(np.unique(x))} distinct values, a law against x needs several")
    if floor is not None and not (np.isfinite(floor) and floor >= 0):
        raise ValueError(f"floor: a number >= 0, or None to fit it - got {floor!r}")
    return x, loss


def _mask(x: np.ndarray, held_out: int | np.ndarray | None) -> np.ndarray:
    """[n] which points are held out."""
    held_out = held_out_by_default(x) if held_out is None else np.asarray(held_out)
    if np.ndim(held_out) == 0:
        distinct = len(np.unique(x))
        if held_out not in range(1, distinct):
            raise ValueError(f"held_out: 1 to {distinct - 1} of the {distinct} values of x - got {held_out}")
        return last(x, int(held_out))
    if held_out.shape != x.shape or held_out.dtype != bool or held_out.all() or not held_out.any():
        got = f"{held_out.dtype} of shape {held_out.shape} with {np.count_nonzero(held_out)} true"
        raise ValueError(f"held_out: a number, or a mask of shape {x.shape} true for some points, not all - got {got}")
    return held_out
