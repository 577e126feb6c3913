"""`fits.json`: every fit of a study in one file for other programs.

Schema 1. Losses are in nats/token, N in parameters, D in tokens, C in FLOP; a number that is not finite is null.

    schema            1
    source            name of the work directory or table; `kind` is "workdir" or "table"
    runs              {total, finished, running, diverged}
    units             unit of every kind of quantity
    findings          the sentences of the report
    exponents         list, one row a (loss, method): loss, E ("known" or "free"), N and C (the conventions), method
                      ("envelope", "isoflop_parabola", "isoflop_akima", "parametric"), a, b (null where refused),
                      ranges, refused (null or the reason)
    losses            by loss:
      convention      {loss, E, N, C, text}
      points, seeds   how many were used
      seed_noise_log  standard deviation of log loss between seeds of a typical cell; null without repeats
      seed_ratio      {median, max}: highest over lowest loss of a cell
      parametric      {E, A, B, alpha, beta, G, objective, r2_log, rms_log, points, ranges} or {refused}
      envelope, isoflop_parabola, isoflop_akima
                      {k, a, k_tokens, b, note, statuses, optima, ranges} or {refused}; N_opt = k C^a,
                      D_opt = k_tokens C^b; `optima` lists flops, params, tokens, loss, status (of the envelope, up to
                      60 of those that were counted)
      forecast        {held_out, fitted, predicted, rms_log, mean_log, yardstick, yardstick_log, failed} or {refused}
      lines           list of one-dimensional laws: axis, at, offset, k, exponent, r2_log, rms_log, noise_log,
                      forecast_log, holds (null where there is no noise to judge by), local_slope, plateau
      exclusions      list of {run_id, reason}
    refused           list of {loss, method, reason}: every fit that was not made, figures among them

`ranges` is a list of {kind, form, fits, failed, low, high}; kind is "fits to single seeds", "resampled seeds",
"resampled cells" or "resampled points"; form is "min..max" or "95 % interval".
"""

from dataclasses import asdict

import numpy as np

from analysis import envelope, parametric
from analysis.path import PathFit, thinned
from analysis.points import Refusal, Source
from analysis.study import METHODS, Approach, LossStudy
from analysis.uncertainty import Uncertainty

SCHEMA = 1
UNITS = {"loss": "nats/token", "N": "parameters", "D": "tokens", "C": "FLOP", "log": "natural logarithm of the loss"}


def to_json(source: Source, studies: list[LossStudy], findings: list[str], skipped: list[Refusal]) -> dict:
    """The content of fits.json; `skipped` are the figures that were not drawn."""
    refused = [{"loss": study.convention.loss, **asdict(refusal)} for study in studies for refusal in study.refusals]
    refused += [{"loss": None, "method": f"figure {skip.method}", "reason": skip.reason} for skip in skipped]
    content = {
        "schema": SCHEMA,
        "source": source.title,
        "kind": "workdir" if source.is_workdir else "table",
        "runs": {
            "total": len(source.runs),
            **{status: source.count(status) for status in ("finished", "running", "diverged")},
        },
        "units": UNITS,
        "findings": findings,
        "exponents": [_exponents(study, approach) for study in studies for approach in study.approaches],
        "losses": {study.convention.loss: _loss(study) for study in studies},
        "refused": refused,
    }
    return finite(content)


def finite(value: object) -> object:
    """The same structure with plain Python types, and null for every number that is not finite."""
    if isinstance(value, dict):
        return {str(key): finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [finite(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _convention(study: LossStudy) -> dict:
    convention = study.convention
    return {"loss": convention.loss, "E": convention.floor, "N": convention.size, "C": convention.flops}


def _exponents(study: LossStudy, approach: Approach) -> dict:
    return {
        **_convention(study),
        "method": approach.method,
        "a": approach.a,
        "b": approach.b,
        "ranges": {name: _ranges(approach.uncertainty, name) for name in ("a", "b")},
        "refused": approach.result.reason if approach.refused else None,
    }


def _ranges(uncertainty: tuple[Uncertainty, ...], name: str) -> list[dict]:
    return [
        {"kind": u.kind, "form": u.form, "fits": u.fits, "failed": u.failed, **asdict(u.ranges[name])}
        for u in uncertainty
        if name in u.ranges
    ]


def _loss(study: LossStudy) -> dict:
    ratio = study.cells["ratio"][study.cells["seeds"] > 1]
    return {
        "convention": {**_convention(study), "text": study.convention.describe()},
        "points": len(study.points.table),
        "seeds": len(study.points.seeds),
        "seed_noise_log": study.noise_log,
        "seed_ratio": {"median": ratio.median(), "max": ratio.max()} if len(ratio) else None,
        **{method: _approach(study.approach(method)) for method in METHODS},
        "forecast": _or_refused(study.forecast, lambda forecast: {**asdict(forecast), "failed": forecast.failed}),
        "lines": [asdict(line) for line in study.lines.lines],
        "exclusions": [asdict(exclusion) for exclusion in study.points.exclusions],
    }


def _or_refused(result: object, describe) -> dict:
    return {"refused": result.reason} if isinstance(result, Refusal) else describe(result)


def _approach(approach: Approach) -> dict:
    describe = _path if approach.method != parametric.METHOD else _law
    return _or_refused(approach.result, lambda result: describe(approach, result))


def _law(approach: Approach, fit: parametric.ParametricFit) -> dict:
    names = ("a", "b", "E", "A", "B", "alpha", "beta")
    ranges = {name: found for name in names if (found := _ranges(approach.uncertainty, name))}
    scores = {name: getattr(fit, name) for name in ("objective", "r2_log", "rms_log", "points")}
    return {**asdict(fit.law), "G": fit.law.G, "a": approach.a, "b": approach.b, **scores, "ranges": ranges}


def _path(approach: Approach, fit: PathFit) -> dict:
    # An envelope has 1,500 values; a selection of the counted ones says as much.
    optima = thinned(fit.used) if approach.method == envelope.METHOD else fit.optima
    return {
        **{name: getattr(fit, name) for name in ("k", "a", "k_tokens", "b", "note")},
        "statuses": fit.optima["status"].value_counts().to_dict(),
        "optima": optima.to_dict("records"),
        "ranges": {name: _ranges(approach.uncertainty, name) for name in ("a", "b")},
    }
