"""Sentences about the parametric law: how well it fits, what it says is best, and what it foretells."""

import numpy as np
from vsweep.analysis.approaches import isoflop, parametric
from vsweep.analysis.data.points import Refusal
from vsweep.analysis.formatting import percent, signed_percent
from vsweep.analysis.sections.forecast import Forecast, LawForecast
from vsweep.analysis.sections.study import Approach, LossStudy
from vsweep.analysis.sections.wording import NAMES, assessed, numbers, quantity
from vsweep.analysis.uncertainty.estimates import largest_flops
from vsweep.analysis.uncertainty.intervals import LEVEL

NOISE_FACTOR = 2.0


def describes(study: LossStudy) -> bool | None:
    """Whether the parametric law describes the runs to about the noise; None without a fit or without a noise."""
    result = study.approach(parametric.METHOD).result
    if isinstance(result, Refusal) or not study.noise_log:
        return None
    return result.rms_log <= NOISE_FACTOR * study.noise_log


def about_fit(study: LossStudy) -> list[str]:
    result = study.approach(parametric.METHOD).result
    if isinstance(result, Refusal):
        return []
    law = result.law
    floor = f"{law.E:.4g} + " if law.E else ""
    terms = f"{floor}{law.A:.4g}/N^{law.alpha:.3f} + {law.B:.4g}/D^{law.beta:.3f}"
    sentences = [
        f"the parametric law is L = {terms} over {result.points} points, with R^2 = {result.r2_log:.4f} in log loss "
        f"and a root-mean-square residual of {percent(result.rms_log)}."
    ]
    if study.noise_log:
        ratio = result.rms_log / study.noise_log
        verdict = "the law describes these runs to about the noise"
        if not describes(study):
            verdict = "this law does not describe these runs"
        noise = percent(study.noise_log)
        sentences.append(
            f"that residual is {ratio:.1f} times the scatter between seeds in a typical cell ({noise}): {verdict}."
        )
    if result.floor_free and 0.01 * study.cells["loss"].min() > law.E:
        sentences.append("the free floor E ran to zero: these points do not show where the loss ends.")
    elif result.floor_free and "floor" in study.points.table and study.points.column("floor").std() < 1e-9:
        exact = study.points.column("floor").mean()
        sentences.append(
            f"the fitted floor E is {law.E:.4f}, the exact one is {exact:.4f} ({signed_percent(law.E / exact - 1)})."
        )
    return sentences


def about_optimum(study: LossStudy) -> list[str]:
    """The best run with the largest compute of the data, by the law, and what no resampling could tell."""
    sentences = []
    law = study.approach(parametric.METHOD)
    if not law.refused:
        flops = f"{largest_flops(study.points):.3g}"
        names = {"N_opt": "N", "D_opt": "D", "tokens_per_param": "tokens per parameter", "loss_opt": "loss"}
        parts = [
            f"{text} = {quantity(name, law.quantities[name])}{_in_brackets(law, name)}" for name, text in names.items()
        ]
        sentences.append(f"the best run with C = {flops} FLOP, the largest here, has by the law {', '.join(parts)}.")
    for approach in study.approaches:
        for entry in approach.uncertainty:
            if not entry.ranges and entry.failed:
                refused = f"{entry.failed} of {entry.fits + entry.failed} resamples ({entry.kind})"
                sentences.append(
                    f"{NAMES[approach.method]} has no interval: {refused} leave nothing to fit, so its exponent "
                    "hangs on a few runs."
                )
    return sentences


def about_compute_line(study: LossStudy) -> list[str]:
    """What compute buys at best, whatever the size."""
    line = study.compute_line
    if isinstance(line, Refusal):
        return []
    under = "all loss curves, annealed there or not"
    if study.points.curves is None:
        under = "all runs"
    elif study.convention.annealed_only:
        under = "the annealed ends of all loss curves"
    return [
        f"the loss that compute can buy is {line.describe()}, through the {len(line.vertices)} vertices of the lower "
        f"hull of {under}, with a root-mean-square distance of {percent(line.rms_log)}."
    ]


def _in_brackets(approach: Approach, name: str) -> str:
    known = assessed(approach, name)
    return f" ({numbers(known[-1], name)})" if known else ""


def about_seed_share(study: LossStudy) -> list[str]:
    """Which part of the spread of the law's exponent is seeds, and which the choice of the grid."""
    shares = [entry.seed_share["a"] for entry in study.approach(parametric.METHOD).uncertainty if entry.seed_share]
    if not shares:
        return []
    cause = "more seeds would narrow it" if shares[0] > 0.5 else "more seeds would not help, another grid or law would"
    return [f"of the variance of a in the parametric law {100 * shares[0]:.0f} % is single seeds: {cause}."]


def about_parabola(study: LossStudy) -> list[str]:
    """How far a parabola through valleys of the fitted law would miss their minima."""
    result = study.approach(isoflop.PARABOLA).result
    if isinstance(result, Refusal) or study.law is None or study.convention.flops != "flops_6nd":
        return []
    bias = isoflop.parabola_bias(study.law, np.unique(study.cells["size"]), result.used["flops"].to_numpy())
    known = bias[np.isfinite(bias)]
    if not len(known):
        return []
    missed = f"{percent(abs(known.mean()))} too {'large' if known.mean() > 0 else 'small'}"
    return [
        f"if the parametric law held exactly, parabolas over these sizes would place N_opt {missed} on average, for "
        "valleys are lopsided."
    ]


def about_forecast(forecast: Forecast | Refusal) -> list[str]:
    if isinstance(forecast, Refusal):
        return []
    how = "too high" if forecast.mean_log > 0 else "too low"
    verdict = "failed" if forecast.failed else "held"
    sentences = [
        f"the forecast {verdict}: the law fitted without {forecast.held_out} misses those {forecast.predicted} runs by "
        f"{percent(forecast.rms_log)}, on average {percent(abs(forecast.mean_log))} {how}; the {forecast.yardstick} "
        f"is {percent(forecast.yardstick_log)}{_coverage(forecast.main)}."
    ]
    best = forecast.better
    if best is not None:
        sentences.append(
            f"of {len(forecast.laws)} laws {best.law} foretells them best, by {percent(best.rms_log)}{_coverage(best)}."
        )
    return sentences


def _coverage(law: LawForecast) -> str:
    if law.coverage is None:
        return ""
    return f"; {100 * law.coverage:.0f} % of them lie inside their {100 * LEVEL:.0f} % prediction intervals"
