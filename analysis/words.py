"""What was found, as plain sentences computed from the fits - what failed in the same voice as what worked."""

import numpy as np

from analysis import envelope, isoflop, parametric, path
from analysis.cells import MANY_SEEDS
from analysis.forecast import Forecast
from analysis.lines import Line
from analysis.points import Refusal, Source, varying_settings
from analysis.study import Approach, LossStudy
from analysis.text import count, metric, percent, signed_percent
from analysis.uncertainty import SEED_FITS, Uncertainty

NAMES = {
    "envelope": "the lower envelope",
    "isoflop_parabola": "IsoFLOP (parabola)",
    "isoflop_akima": "IsoFLOP (Akima)",
    "parametric": "the parametric law",
}
STATUSES = {
    path.INTERIOR: "interior",
    path.EDGE_SMALL: "at the smallest size (an edge)",
    path.EDGE_LARGE: "at the largest size (an edge)",
    path.NO_MINIMUM: "without a clear minimum",
}
OTHER = {"N": "D", "D": "N"}
NOISE_FACTOR = 2.0
CLOSE = 0.05
WIDE_SEED_RATIO = 1.5


def findings(source: Source, studies: list[LossStudy]) -> list[str]:
    """All sentences, those about the runs first, then each loss in turn."""
    return [*about_runs(source), in_short(studies[0]), *(line for study in studies for line in about_loss(study))]


def in_short(study: LossStudy) -> str:
    """The main result in one sentence, by the first loss."""
    loss = study.convention.loss
    exponents = [approach.a for approach in study.approaches if not approach.refused]
    if not exponents:
        return f"In short, by {loss}: no law could be fitted; what was refused, and why, stands below."
    span = f"{min(exponents):.2f} to {max(exponents):.2f}" if len(exponents) > 1 else f"{exponents[0]:.2f}"
    families = len({approach.method.partition("_")[0] for approach in study.approaches if not approach.refused})
    parts = [f"N_opt ~ C^a with a = {span} by {families} of 3 approaches{_over_single_seeds(study)}"]
    if _describes(study) is False:
        parts.insert(0, "the parametric law does not describe these runs to within the noise between seeds")
    if isinstance(study.forecast, Forecast):
        parts.append("the forecast of the dearest runs " + ("failed" if study.forecast.failed else "held"))
    judged = [line for line in study.lines.lines if line.holds is not None and not line.flat]
    if judged:
        broken = sum(not line.holds for line in judged)
        verdict = f"fails on {broken} of" if broken else "holds on all"
        parts.append(f"a power law with an offset {verdict} {len(judged)} lines against N or D")
    return f"In short, by {loss}: {'; '.join(parts)}."


def _over_single_seeds(study: LossStudy) -> str:
    ranges = [_seed_range(approach) for approach in study.approaches if _seed_range(approach)]
    if not ranges:
        return ""
    return f" (single seeds: {min(low for low, _ in ranges):.2f} to {max(high for _, high in ranges):.2f})"


def _seed_range(approach: Approach) -> tuple[float, float] | None:
    """Lowest and highest a of the fits to single seeds, if there are any."""
    found = [entry.ranges["a"] for entry in approach.uncertainty if entry.kind == SEED_FITS]
    return (found[0].low, found[0].high) if found else None


def _describes(study: LossStudy) -> bool | None:
    """Whether the parametric law describes the runs to about the noise; None without a fit or without a noise."""
    result = study.approach(parametric.METHOD).result
    if isinstance(result, Refusal) or not study.noise_log:
        return None
    return result.rms_log <= NOISE_FACTOR * study.noise_log


def about_runs(source: Source) -> list[str]:
    total = len(source.runs)
    if not source.is_workdir:
        return [f"The table holds {total} points. Its loss was fitted with E free."]
    finished, diverged = source.count("finished"), source.count("diverged")
    sentences = [f"{finished} of {total} runs are finished, {diverged} diverged."]
    if finished + diverged < total:
        sentences.append("Training goes on: every number below will change.")
    settings = varying_settings(source.runs)
    if settings:
        sentences.append(
            f"The sweep also varies {', '.join(settings)}. Each cell of size and budget keeps the setting with the "
            "lowest mean loss; the others are listed under what was left out. The best of several flatters a little."
        )
    return sentences


def about_loss(study: LossStudy) -> list[str]:
    """Sentences about one loss, each beginning with its name."""
    if study.points.table.empty:
        sentences = ["no finished run has a usable value, nothing was fitted."]
    else:
        sentences = [
            *_about_exponents(study),
            *_about_fit(study),
            *_about_forecast(study.forecast),
            *_about_lines(study),
            *_about_seeds(study),
            *_about_annealing(study),
            *_about_edges(study),
        ]
    sentences += _about_exclusions(study)
    if study.refusals:
        each = "; ".join(
            f"{NAMES.get(refusal.method, refusal.method)} - {refusal.reason}" for refusal in study.refusals
        )
        sentences.append(f"refused: {each}.")
    return [f"{study.convention.loss}: {sentence}" for sentence in sentences]


def describe_range(uncertainty: Uncertainty, name: str, digits: int = 3) -> str:
    """Such as `.48 to .55 (min..max of 3 fits to single seeds)`."""
    found = uncertainty.ranges[name]
    failed = f", {uncertainty.failed} more refused" if uncertainty.failed else ""
    numbers = f"{found.low:.{digits}f} to {found.high:.{digits}f}"
    return f"{numbers} ({uncertainty.form} of {uncertainty.fits} {uncertainty.kind}{failed})"


def _about_exponents(study: LossStudy) -> list[str]:
    fitted = [approach for approach in study.approaches if not approach.refused]
    if not fitted:
        return ["no approach could be fitted, so there is no exponent to report."]
    each = "; ".join(f"{NAMES[approach.method]} a = {approach.a:.3f}{_first_range(approach)}" for approach in fitted)
    sentences = [f"N_opt grows as C^a, with {each}."]
    if len(fitted) > 1:
        sentences.append(_agreement(fitted))
    strange = [NAMES[approach.method] for approach in fitted if not 0 <= approach.a <= 1]
    if strange:
        sentences.append(
            f"an exponent outside 0..1 ({', '.join(strange)}) cannot be the compute-optimal path of a power law; it "
            "says that these optima cover too little compute, or that there is a break in it."
        )
    return sentences


def _agreement(fitted: list[Approach]) -> str:
    exponents = [approach.a for approach in fitted]
    apart = f"the approaches are {max(exponents) - min(exponents):.3f} apart in a"
    ranges = {approach.method: _seed_range(approach) for approach in fitted}
    if not all(ranges.values()):
        return f"{apart}; without fits to single seeds nobody can say whether that is much."
    widest = max(high - low for low, high in ranges.values())
    outside = [NAMES[f.method] for f in fitted if not ranges[f.method][0] <= f.a <= ranges[f.method][1]]
    beside = f" Outside the range of its own single seeds: {', '.join(outside)}." if outside else ""
    if max(exponents) - min(exponents) < CLOSE and widest < 2 * CLOSE:
        return f"{apart}: they agree.{beside}"
    if max(low for low, _ in ranges.values()) > min(high for _, high in ranges.values()):
        return f"{apart}, and the ranges over their seeds do not meet: they disagree.{beside}"
    return f"{apart}, and fits to single seeds differ by up to {widest:.2f}: these runs do not tell them apart.{beside}"


def _first_range(approach: Approach) -> str:
    return f", {describe_range(approach.uncertainty[0], 'a')}" if approach.uncertainty else ""


def _about_fit(study: LossStudy) -> list[str]:
    result = study.approach(parametric.METHOD).result
    if isinstance(result, Refusal):
        return []
    law = result.law
    floor = f"{law.E:.4g} + " if result.floor_free else ""
    terms = f"{floor}{law.A:.4g}/N^{law.alpha:.3f} + {law.B:.4g}/D^{law.beta:.3f}"
    sentences = [
        f"the parametric law is L = {terms} over {result.points} points, with R^2 = {result.r2_log:.4f} in log loss "
        f"and a root-mean-square residual of {percent(result.rms_log)}."
    ]
    if study.noise_log:
        ratio = result.rms_log / study.noise_log
        verdict = "the law describes these runs to about the noise"
        if not _describes(study):
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


def _about_forecast(forecast: Forecast | Refusal) -> list[str]:
    if isinstance(forecast, Refusal):
        return []
    how = "too high" if forecast.mean_log > 0 else "too low"
    verdict = "failed" if forecast.failed else "held"
    return [
        f"the forecast {verdict}: the law fitted without {forecast.held_out} misses those {forecast.predicted} runs by "
        f"{percent(forecast.rms_log)}, on average {percent(abs(forecast.mean_log))} {how}; the {forecast.yardstick} "
        f"is {percent(forecast.yardstick_log)}."
    ]


def _about_lines(study: LossStudy) -> list[str]:
    sentences = []
    for axis, held in (("N", "budget"), ("D", "size")):
        lines = study.lines.along(axis)
        judged = [line for line in lines if line.holds is not None and not line.flat]
        broken = [line for line in judged if not line.holds]
        if judged:
            sentences.append(_verdict(axis, held, judged, broken))
        if broken and (median := _median_r2(broken)) > 0.9:
            sentences.append(
                f"those lines against {axis} still have a median R^2 of {median:.3f}, which shows how little R^2 says."
            )
        with_plateau = [line for line in lines if line.plateau]
        if with_plateau:
            sentences.append(_about_plateau(axis, with_plateau))
        flat = [line for line in lines if line.flat]
        if flat and not study.convention.floor_free:
            # With E free a flat loss may simply be the floor.
            sentences.append(_about_flat(axis, flat))
    return sentences


def _verdict(axis: str, held: str, judged: list[Line], broken: list[Line]) -> str:
    held_to = f"at {count(len(judged), held)}"
    missed = [abs(line.forecast_log) for line in judged if line.forecast_log is not None]
    typical = percent(float(np.median(missed))) if missed else ""
    forecast = (
        f" The last point of each line, forecast from the others, is missed by {typical} (median)." if missed else ""
    )
    if not broken:
        return (
            f"loss against {axis} {held_to}: a power law with an offset holds within the noise between seeds.{forecast}"
        )
    slopes = np.concatenate([line.local_slope for line in broken])
    return (
        f"loss against {axis} {held_to}: no power law holds for {len(broken)} of them, not even with an offset - "
        f"residuals beyond the noise between seeds, and local slopes from {slopes.max():.2f} to {slopes.min():.2f}."
        f"{forecast}"
    )


def _median_r2(lines: list[Line]) -> float:
    return float(np.median([line.r2_log for line in lines]))


def _about_plateau(axis: str, lines: list[Line]) -> str:
    longest = max(lines, key=lambda line: line.plateau.last_x / line.plateau.first_x)
    plateau = longest.plateau
    low, high = min(line.plateau.low for line in lines), max(line.plateau.high for line in lines)
    return (
        f"a plateau, then a fall, on {count(len(lines), 'line')} against {axis}, at a loss of {low:.3g} to {high:.3g}; "
        f"the longest, at {OTHER[axis]} = {metric(longest.at)}, reaches from {axis} = {metric(plateau.first_x)} to "
        f"{metric(plateau.last_x)} and then falls with a slope of {plateau.fall_slope:.2f} between "
        f"{metric(plateau.fall_from)} and {metric(plateau.fall_to)}."
    )


def _about_flat(axis: str, lines: list[Line]) -> str:
    low, high = min(line.loss.min() for line in lines), max(line.loss.max() for line in lines)
    at = ", ".join(metric(line.at) for line in lines)
    return f"along {axis} nothing is gained at {OTHER[axis]} = {at}: the loss stays between {low:.3g} and {high:.3g}."


def _about_seeds(study: LossStudy) -> list[str]:
    repeated = study.cells[study.cells["seeds"] > 1]
    if repeated.empty:
        return ["there is one seed only, so nothing is known about the scatter between seeds."]
    worst = repeated.loc[repeated["ratio"].idxmax()]
    sentence = (
        f"the loss of the worst seed over that of the best is {repeated['ratio'].median():.2f} in the median cell and "
        f"{worst['ratio']:.2f} at most (N = {metric(worst['size'])}, D = {metric(worst['tokens'])})"
    )
    matters = worst["ratio"] > WIDE_SEED_RATIO
    return [sentence + ("; there a single seed says little." if matters else "."), *_about_many_seeds(study)]


def _about_many_seeds(study: LossStudy) -> list[str]:
    sentences = []
    for cell in study.cells[study.cells["seeds"] >= MANY_SEEDS].itertuples():
        low, middle, high = np.quantile(study.points.losses_of(cell.size, cell.budget), (0.05, 0.5, 0.95))
        sentences.append(
            f"over {cell.seeds} seeds at N = {metric(cell.size)}, D = {metric(cell.tokens)} the median is {middle:.3g} "
            f"and the middle 90 % reach from {low:.3g} to {high:.3g}."
        )
    return sentences


def _about_annealing(study: LossStudy) -> list[str]:
    result = study.approach(envelope.METHOD).result
    if isinstance(result, Refusal) or "annealed" not in result.optima or result.used["annealed"].all():
        return []
    share = 1 - result.used["annealed"].mean()
    return [
        f"the lower envelope leans on runs that had not annealed yet ({share:.0%} of its points): at a given compute a "
        "longer run under way is lower than a shorter one at its end, so its exponent is that of unfinished runs."
    ]


def _about_edges(study: LossStudy) -> list[str]:
    result = study.approach(isoflop.PARABOLA).result
    optima = getattr(result, "optima", None)
    if optima is None:
        found = isoflop.valleys(study.points)
        if not found:
            return []
        optima = isoflop.optima(found, isoflop.PARABOLA)
    counts = optima["status"].value_counts()
    if set(counts.index) == {path.INTERIOR}:
        return [f"all {len(optima)} IsoFLOP minima are interior."]
    parts = ", ".join(f"{number} {STATUSES[status]}" for status, number in counts.items())
    return [f"IsoFLOP minima at {len(optima)} compute levels: {parts}; only interior ones are fitted."]


def _about_exclusions(study: LossStudy) -> list[str]:
    if not study.points.exclusions:
        return []
    kinds: dict[str, int] = {}
    for exclusion in study.points.exclusions:
        kind = "loss at or below zero" if "no logarithm" in exclusion.reason else exclusion.reason
        kind = "another setting was better" if kind.startswith("another setting") else kind
        kinds[kind] = kinds.get(kind, 0) + 1
    parts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return [f"left out of the fits, by name below: {parts}."]
