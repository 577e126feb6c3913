"""`fits.json`: every fit of a study in one file for other programs.

Schema 2. Losses are in nats/token, N in parameters, D in tokens, C in FLOP; a number that is not finite is null.

    schema            2 (1 had no intervals of the constants, no resamples, no table of laws, no conventions)
    source            name of the work directory or table; `kind` is "workdir" or "table"; `notes` on how it was read
    runs              {total, finished, running, diverged}
    units             unit of every kind of quantity
    findings          the sentences of the report
    exponents         list, one row a (loss, method): loss, E ("known", "free" or "= number"), N and C (the
                      conventions), method ("envelope", "isoflop_parabola", "isoflop_akima", "parametric"), a, b (null
                      where refused), ranges, refused (null or the reason)
    conventions       {loss, rows, kaplan_and_chinchilla}: the same runs under every convention, and with Kaplan's
                      choices one by one (fields of analysis.conventions.Row and Disagreement); null for a table
    losses            by loss:
      convention      {loss, E, N, C, objective, text}
      floor_value     the exact floor that was subtracted from the loss before it was fitted; null where none was
      range           {params, tokens, flops}: [lowest, highest] of the runs that were fitted
      points, seeds   how many were used
      design          list of {kind, text, fatal}: what these N, D and C can never tell
      seed_noise_log  standard deviation of log loss between seeds of a typical cell; null without repeats
      seed_ratio      {median, max}: highest over lowest loss of a cell
      parametric      {E, A, B, alpha, beta, G, a, b, at, value, r2_log, rms_log, residual_sd_log, points, ranges,
                      seed_share, resamples} or {refused}; `value` is the objective at the optimum, `residual_sd_log`
                      the scatter of single runs about the law, `resamples` {E, A, B, alpha, beta}: lists with the law
                      of up to 400 resamples of the cells (not widened by what seeds share), `seed_share` the share of
                      each variance that single seeds make
      envelope, isoflop_parabola, isoflop_akima
                      {k, a, k_tokens, b, k_loss, c, at, note, statuses, edges, optima, ranges} or {refused};
                      N_opt = k C^a, D_opt = k_tokens C^b, L_opt = k_loss C^-c; `optima` lists flops, params, tokens,
                      loss, status (of the envelope, up to 60 of those that were counted), `edges` names minima that are
                      none
      compute_line    {a, C0, C0_pf_days, floor, rms_log, vertices} or {refused}: L(C) = floor + (C/C0)^-a under all
                      loss curves (under the runs of a table without curves)
      forecast        {held_out, fitted, predicted, yardstick, yardstick_log, failed, laws} or {refused}; `laws` lists
                      law, formula, parameters, rms_log, mean_log, fitted_rms_log, coverage (of 90 % intervals)
      learning_curve  list of {law, runs, flops, rms_log}: forecast error against the compute of the runs fitted
      lines           list of one-dimensional laws (fields of analysis.lines.Line)
      exclusions      list of {run_id, reason}
    refused           list of {loss, method, reason}: every fit that was not made, figures among them

`at` is {flops, N_opt, D_opt, tokens_per_param, loss_opt}: the optimum at the largest compute of the data. `ranges`
holds by quantity a list of {kind, form, fits, failed, low, high}; kind is "fits to single seeds", "resampled cells and
seeds", "resampled points", "draws of the scatter between seeds" or "draws of the residuals of the law"; form is
"min..max" or "90 % interval".
"""

from dataclasses import asdict, fields

import numpy as np
from vsweep.analysis.approaches import envelope, parametric
from vsweep.analysis.approaches.compute_frontier import ComputeLine
from vsweep.analysis.approaches.optimal_path import PathFit, thinned
from vsweep.analysis.data.points import Refusal, Source
from vsweep.analysis.sections.conventions import SideBySide
from vsweep.analysis.sections.forecast import Forecast
from vsweep.analysis.sections.study import METHODS, Approach, LossStudy
from vsweep.analysis.uncertainty.estimates import largest_flops
from vsweep.analysis.uncertainty.intervals import Uncertainty

SCHEMA = 2
UNITS = {"loss": "nats/token", "N": "parameters", "D": "tokens", "C": "FLOP", "log": "natural logarithm of the loss"}
OPTIMUM = ("N_opt", "D_opt", "tokens_per_param", "loss_opt")
MOST_RESAMPLES = 400


def to_json(
    source: Source, studies: list[LossStudy], side: SideBySide | None, findings: list[str], skipped: list[Refusal]
) -> dict:
    """The content of fits.json; `skipped` are the figures that were not drawn."""
    refused = [{"loss": study.convention.loss, **asdict(refusal)} for study in studies for refusal in study.refusals]
    refused += [{"loss": None, "method": f"figure {skip.method}", "reason": skip.reason} for skip in skipped]
    content = {
        "schema": SCHEMA,
        "source": source.title,
        "kind": "workdir" if source.is_workdir else "table",
        "notes": list(source.notes),
        "runs": {
            "total": len(source.runs),
            **{status: source.count(status) for status in ("finished", "running", "diverged")},
        },
        "units": UNITS,
        "findings": findings,
        "exponents": [_exponents(study, approach) for study in studies for approach in study.approaches],
        "conventions": _conventions(side),
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


def _conventions(side: SideBySide | None) -> dict | None:
    if side is None:
        return None
    found = side.disagreement
    gaps = {"refused": found.reason} if isinstance(found, Refusal) else asdict(found)
    return {"loss": side.loss, "rows": [asdict(row) for row in side.rows], "kaplan_and_chinchilla": gaps}


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
    convention = study.convention
    texts = {"objective": convention.objective.describe(), "text": convention.describe()}
    return {
        "convention": {**_convention(study), **texts},
        "floor_value": _floor_value(study),
        "range": {}
        if study.points.table.empty
        else {name: _span(study, name) for name in ("params", "tokens", "flops")},
        "points": len(study.points.table),
        "seeds": len(study.points.seeds),
        "design": [asdict(problem) for problem in study.design],
        "seed_noise_log": study.noise_log,
        "seed_ratio": {"median": ratio.median(), "max": ratio.max()} if len(ratio) else None,
        **{method: _approach(study, study.approach(method)) for method in METHODS},
        "compute_line": _or_refused(study.compute_line, _line),
        "forecast": _or_refused(study.forecast, _forecast),
        "learning_curve": _or_refused(study.learning_curve, lambda curve: curve.to_dict("records")),
        "lines": [asdict(line) for line in study.lines.lines],
        "exclusions": [asdict(exclusion) for exclusion in study.points.exclusions],
    }


def _floor_value(study: LossStudy) -> float | None:
    """The floor of an excess loss, which every run of a task shares; null where runs have different ones, or none."""
    table = study.points.table
    if study.convention.loss != "excess_loss" or "floor" not in table or table.empty:
        return None
    return float(table["floor"].iloc[0]) if np.ptp(table["floor"]) < 1e-9 else None


def _span(study: LossStudy, name: str) -> list[float]:
    values = study.points.column(name)
    return [values.min(), values.max()]


def _or_refused(result: object, describe) -> object:
    return {"refused": result.reason} if isinstance(result, Refusal) else describe(result)


def _line(line: ComputeLine) -> dict:
    numbers = {name: getattr(line, name) for name in ("a", "C0", "C0_pf_days", "floor", "rms_log")}
    return {**numbers, "vertices": line.vertices.to_dict("records")}


def _forecast(forecast: Forecast) -> dict:
    names = [field.name for field in fields(forecast) if field.name != "laws"]
    laws = [asdict(law) for law in forecast.laws]
    return {**{name: getattr(forecast, name) for name in names}, "failed": forecast.failed, "laws": laws}


def _approach(study: LossStudy, approach: Approach) -> dict:
    if approach.refused:
        return {"refused": approach.result.reason}
    describe = _path if approach.method != parametric.METHOD else _law
    at = {name: approach.quantities[name] for name in OPTIMUM}
    common = {
        "a": approach.a,
        "b": approach.b,
        "at": {"flops": largest_flops(study.points), **at},
        "ranges": {name: found for name in approach.quantities if (found := _ranges(approach.uncertainty, name))},
    }
    return {**describe(approach, approach.result), **common}


def _law(approach: Approach, fit: parametric.ParametricFit) -> dict:
    scores = {name: getattr(fit, name) for name in ("value", "r2_log", "rms_log", "residual_sd_log", "points")}
    shares = [entry.seed_share for entry in approach.uncertainty if entry.seed_share]
    return {
        **asdict(fit.law),
        "G": fit.law.G,
        **scores,
        "seed_share": shares[0] if shares else {},
        "resamples": _resamples(approach.resamples),
    }


def _resamples(law: parametric.Law | None) -> dict[str, list[float]]:
    if law is None:
        return {}
    count = len(law.alpha)
    return {name: np.broadcast_to(values, count)[:MOST_RESAMPLES] for name, values in vars(law).items()}


def _path(approach: Approach, fit: PathFit) -> dict:
    # An envelope has 1,500 values; a selection of the counted ones says as much.
    optima = thinned(fit.used) if approach.method == envelope.METHOD else fit.optima
    return {
        **{name: getattr(fit, name) for name in ("k", "k_tokens", "k_loss", "c", "note")},
        "statuses": fit.optima["status"].value_counts().to_dict(),
        "edges": [] if approach.method == envelope.METHOD else list(fit.edges),
        "optima": optima.to_dict("records"),
    }
