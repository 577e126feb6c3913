"""`fits.json`: every fit of a study in one file for other programs.

Schema 2. Losses are in nats/token, N in parameters, D in tokens, C in FLOP; a number that is not finite is null.

    schema            2 (1 had no intervals of the constants, no resamples, no table of laws, no conventions)
    source            name of the work directory or table; `kind` is "workdir" or "table"; `notes` on how it was read
    runs              {total, finished, running, diverged}
    units             unit of every kind of quantity
    findings          the sentences of the report
    first_screen      what the report begins with: {headline, trust, numbers}. `trust` is {verdict, reasons}, and its
                      verdict is "describes", "breaks" or "cannot tell". `numbers` lists label, value, low, high
    exponents         list, one row a (loss, method): loss, E ("known", "free" or "= number"), N and C (the
                      conventions), method ("envelope", "isoflop_parabola", "isoflop_akima", "parametric"), a, b (null
                      where refused), ranges, refused (null or the reason)
    conventions       {loss, rows, kaplan_and_chinchilla}: the same runs under every convention, and with Kaplan's
                      choices one by one (Row and Disagreement in sections.checks); null for a table
    losses            by loss:
      convention      {loss, E, N, C, objective, text, level, isoflop_window, isoflop_weights}; `level` is the share
                      that every interval of this loss covers
      floor_value     the exact floor that was subtracted from the loss before it was fitted; null where none was
      range           {params, tokens, flops}: [lowest, highest] of the runs that were fitted
      points, seeds   how many were used
      design          list of {kind, text, fatal}: what these N, D and C can never tell
      seed_noise_log  standard deviation of log loss between seeds of a typical cell; null without repeats
      seed_ratio      {median, max}: highest over lowest loss of a cell
      seed_spread     list of {size, budget, params, tokens, seeds, sd_log, lowest, p05, median, p95, highest, mean,
                      mean_low, mean_high}, one a cell with eight seeds or more (12 of them where there are over 40):
                      quantiles of its seeds, and their geometric mean with the interval of `level` by Student's t;
                      absent where no cell has so many
      parametric      {E, A, B, alpha, beta, G, a, b, at, value, r2_log, rms_log, residual_sd_log, points, ranges,
                      seed_share, resamples} or {refused}; `value` is the objective at the optimum, `residual_sd_log`
                      the scatter of single runs about the law, `resamples` {E, A, B, alpha, beta}: lists with the law
                      of up to 400 resamples of the cells (not widened by what seeds share), `seed_share` the share of
                      each variance that single seeds make. Where points lie far off the law, `outliers` lists
                      run_id, N, D, loss, law, residual_log = log(loss / law); where they are so far off that no law
                      would be better than one constant, the scores are of the other points
      repeated_data   {E, A, B, alpha, beta, R_D, R_N, rms_log, residual_sd_log, points, worth, ranges, resamples} or
                      {refused}: the law of repeated data, `resamples` as in parametric; absent where the unique tokens
                      are unknown or no run repeats them. `worth` {share, epochs, low, high, most_epochs}: up to so many
                      epochs a repeated token is worth `share` of a new one on average; null beyond the epochs seen
      power_terms     where `terms` were asked for: {columns, E, factors, exponents, value, rms_log, points, parameters,
                      law_value, law_rms_log, ranges} or {refused}: E + sum of F_k / x_k^e_k. `value` is its objective
                      and `law_value` that of the parametric law on the same points
      envelope, isoflop_parabola, isoflop_akima
                      {k, a, k_tokens, b, k_loss, c, at, note, statuses, edges, optima, ranges} or {refused};
                      N_opt = k C^a, D_opt = k_tokens C^b, L_opt = k_loss C^-c; `optima` lists flops, params, tokens,
                      loss, status (of the envelope, up to 60 of those that were counted), `edges` names minima that are
                      none
      compute_line    {a, C0, C0_pf_days, floor, rms_log, vertices} or {refused}: L(C) = floor + (C/C0)^-a under all
                      loss curves (under the runs of a table without curves)
      language        of a study of text: {bytes_per_token, best, sizes, law, levels, tokens_per_param}. `best` and
                      `sizes` (each size at its largest budget) are losses {run_id or null, params, tokens, nats,
                      bits_per_byte}, and `law` lists what the law says {what, nats, bits_per_byte, low, high, form}
                      with low and high in nats/token. `levels` lists {name, nats, bits_per_byte, cells, below,
                      first}, `first` with the smallest budget of each size that ends below. `tokens_per_param` lists
                      {method, value, low, high, form, extrapolated, rule, verdict, refused} at the largest compute;
                      verdict is "agrees", "more tokens", "fewer tokens" than the rule, or "unknown"
      kaplan          of a study of text: {line, corners, kinks} or {refused}: the line under all curves in Kaplan's
                      reading, the line through two corners, and the break of each size's longest curve
      standing        {verdict, reasons}: whether the runs show the parametric law. `verdict` is "describes", "doubtful"
                      or "not shown"
      forecast        {held_out, fitted, predicted, cells, noise_log, yardstick_log, yardstick, limit_log, failed,
                      verdict, reasons, laws} or {refused}; `verdict` is "held", "failed" or "cannot be judged". `laws`
                      lists law, formula, parameters, rms_log, mean_log, fitted_rms_log, coverage (of intervals of
                      `level`), level
      learning_curve  list of {law, runs, flops, rms_log}: forecast error against the compute of the runs fitted
      lines           list of one-dimensional laws (fields of analysis.sections.lines.Line)
      sensitivity     list of {kind, choice, points, a, alpha, beta, refusal} or {refused}: the parametric law with one
                      choice made in another way; the first row is the fit itself; kind is "fit", "penalty", "runs"
                      or "convention"
      hyperparameters by setting that varies: {k, exponents, verdicts, left_out, minima, cells, r2_log, rms_log, ranges}
                      or {refused}, with batch_column, notes and `optima`, a row a bowl. f_opt = k N^x D^y B^z;
                      `verdicts` says by N, D and B whether it moves. {refused} alone where there is no bowl;
                      absent where no setting varies
      downstream      by metric: {notes, cut_flops, sigmoid, link_error, noise, better, no_forecast, scatter, fitted,
                      held_out, ways} or {refused}; `ways` lists name, family ("two steps" or "direct"), formula,
                      source, constants, fitted_error, accuracy (of each held-out cell), error, refused.
                      Accuracies are shares. Absent where no column holds an accuracy
      one_variable    of a table with one of N, D and C only, in place of most of the above: {variable, E, A, alpha,
                      r2_log, rms_log, residual_sd_log, points, distinct, ranges, resamples, broken_wins, forecast} or
                      {refused}: the law E + A / x^alpha. `forecast` is {cells, fitted, x, loss, predicted, low, high,
                      rms_log, fitted_rms_log, coverage, verdict, reasons} or {refused}
      exclusions      list of {run_id, reason}
    refused           list of {loss, method, reason}: every fit that was not made, figures among them

`at` is {flops, N_opt, D_opt, tokens_per_param, loss_opt}: the optimum at the largest compute of the data. `ranges`
holds by quantity a list of {kind, form, fits, failed, low, high}; kind is "fits to single seeds", "resampled cells and
seeds", "resampled points", "draws of the scatter between seeds" or "draws of the residuals of the law"; form is
"min..max", "no interval" or such as "90 % interval".
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from vsweep.analysis import sections
from vsweep.analysis.data.source import Refusal, Source
from vsweep.analysis.formatting import finite
from vsweep.analysis.report import first_screen
from vsweep.analysis.sections.base import Finding, LossStudy

SCHEMA = 2
UNITS = {"loss": "nats/token", "N": "parameters", "D": "tokens", "C": "FLOP", "log": "natural logarithm of the loss"}


def to_json(
    source: Source, studies: Sequence[LossStudy], findings: Sequence[Finding], skipped: Sequence[Refusal]
) -> dict:
    """The content of fits.json; `skipped` are the figures that were not drawn."""
    refused = [{"loss": study.loss, **asdict(refusal)} for study in studies for refusal in sections.refusals(study)]
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
        "units": UNITS | {"loss": source.loss_unit},
        "findings": [str(finding) for finding in findings],
        **first_screen.to_json(first_screen.first_screen(studies)),
        **_merged(section.to_json_of_all(studies) for section in sections.of(source)),
        "losses": {study.loss: _loss(study) for study in studies},
        "refused": refused,
    }
    return finite(content)


def _loss(study: LossStudy) -> dict:
    return _merged(section.to_json(study, study.result(section)) for section in sections.of(study.source))


def _merged(parts: Iterable[dict]) -> dict:
    """One dict of what the sections have, in their order. A key belongs to one section."""
    merged: dict = {}
    for part in parts:
        twice = merged.keys() & part.keys()
        if twice:
            raise AssertionError(f"two sections write the same keys of fits.json: {sorted(twice)}")
        merged |= part
    return merged
