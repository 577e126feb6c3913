"""What was found, as plain sentences computed from the fits - what failed in the same voice as what worked."""

import numpy as np
from vsweep.analysis.approaches import envelope, isoflop, optimal_path, parametric
from vsweep.analysis.data.cells import MANY_SEEDS
from vsweep.analysis.data.points import Refusal, Source, varying_settings
from vsweep.analysis.formatting import metric
from vsweep.analysis.sections import words_of_law, words_of_lines
from vsweep.analysis.sections.conventions import SideBySide
from vsweep.analysis.sections.forecast import Forecast
from vsweep.analysis.sections.study import Approach, LossStudy
from vsweep.analysis.sections.wording import NAMES, assessed, describe_range, numbers

from vsweep import schema

STATUSES = {
    optimal_path.INTERIOR: "interior",
    optimal_path.EDGE_SMALL: "at the smallest size (an edge)",
    optimal_path.EDGE_LARGE: "at the largest size (an edge)",
    optimal_path.NO_MINIMUM: "without a clear minimum",
}
CLOSE = 0.05
WIDE_RANGE = 0.25  # of a: as wide as the difference between Kaplan's exponent and Hoffmann's
WIDE_SEED_RATIO = 1.5


def findings(source: Source, studies: list[LossStudy], side: SideBySide | None) -> list[str]:
    """All sentences, those about the runs first, then each loss in turn."""
    by_loss = [line for study in studies for line in about_loss(study)]
    return [*about_runs(source), in_short(studies[0]), *_about_conventions(side), *by_loss]


def _about_conventions(side: SideBySide | None) -> list[str]:
    """How far the exponent hangs on what is called N and C, and on the schedule."""
    if side is None or isinstance(side.disagreement, Refusal):
        return []
    return [side.disagreement.sentence]


def in_short(study: LossStudy) -> str:
    """The main result in one sentence, by the first loss."""
    loss = study.convention.loss
    exponents = [approach.a for approach in study.approaches if not approach.refused]
    if not exponents:
        return f"In short, by {loss}: no law could be fitted; what was refused, and why, stands below."
    span = f"{min(exponents):.2f} to {max(exponents):.2f}" if len(exponents) > 1 else f"{exponents[0]:.2f}"
    families = len({approach.method.partition("_")[0] for approach in study.approaches if not approach.refused})
    parts = [f"N_opt ~ C^a with a = {span} by {families} of 3 approaches{_law_interval(study)}"]
    if words_of_law.describes(study) is False:
        parts.insert(0, "the parametric law does not describe these runs to within the noise between seeds")
    if isinstance(study.forecast, Forecast):
        parts.append(f"the forecast of {study.forecast.held_out} " + ("failed" if study.forecast.failed else "held"))
    judged = [line for line in study.lines.lines if line.holds is not None and not line.flat]
    if judged:
        broken = sum(not line.holds for line in judged)
        verdict = f"fails on {broken} of" if broken else "holds on all"
        parts.append(f"a power law with an offset {verdict} {len(judged)} lines against N or D")
    return f"In short, by {loss}: {'; '.join(parts)}."


def _law_interval(study: LossStudy) -> str:
    """The widest thing known about a of the parametric law, in brackets."""
    known = assessed(study.approach(parametric.METHOD), "a")
    return f" (parametric law: {numbers(known[-1], 'a')}, {known[-1].form})" if known else ""


def about_runs(source: Source) -> list[str]:
    total = len(source.runs)
    if not source.is_workdir:
        return [f"The table holds {total} points.", *source.notes]
    finished, diverged = source.count("finished"), source.count("diverged")
    sentences = [f"{finished} of {total} runs are finished, {diverged} diverged.", *_about_lost_widths(source)]
    if finished + diverged < total:
        sentences.append("Training goes on: every number below will change.")
    settings = varying_settings(source.runs)
    if settings:
        sentences.append(
            f"The sweep also varies {', '.join(settings)}. Each cell of size and budget keeps the setting with the "
            "lowest mean loss; the others are listed under what was left out. The best of several flatters a little."
        )
    return sentences


def _about_lost_widths(source: Source) -> list[str]:
    """Widths of which nothing is left: a fit to the others does not show that they are missing."""
    all_diverged = (source.runs["status"] == schema.DIVERGED).groupby(source.runs["width"]).all()
    lost = [str(width) for width in all_diverged.index[all_diverged]]
    if not lost:
        return []
    widths = f"width{'s' if len(lost) > 1 else ''} {', '.join(lost)}"
    return [f"Every run of {widths} diverged, so no fit sees any of them; train them with a smaller lr or a warmup."]


def about_loss(study: LossStudy) -> list[str]:
    """Sentences about one loss, each beginning with its name."""
    if study.points.table.empty:
        sentences = ["no finished run has a usable value, nothing was fitted."]
    else:
        sentences = [
            *(problem.text for problem in study.design),
            *_about_exponents(study),
            *words_of_law.about_fit(study),
            *words_of_law.about_optimum(study),
            *words_of_law.about_compute_line(study),
            *words_of_law.about_forecast(study.forecast),
            *words_of_lines.about_lines(study),
            *_about_seeds(study),
            *words_of_law.about_seed_share(study),
            *words_of_law.about_parabola(study),
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


def _about_exponents(study: LossStudy) -> list[str]:
    fitted = [approach for approach in study.approaches if not approach.refused]
    if not fitted:
        return ["no approach could be fitted, so there is no exponent to report."]
    each = "; ".join(f"{NAMES[approach.method]} a = {approach.a:.3f}{_best_range(approach)}" for approach in fitted)
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
    known = [assessed(approach, "a") for approach in fitted]
    if not all(known):
        return f"{apart}; without a range for each of them nobody can say whether that is much."
    ranges = [entries[-1].ranges["a"] for entries in known]
    widest = max(found.high - found.low for found in ranges)
    if widest >= WIDE_RANGE:
        return f"{apart}, and one of their ranges is {widest:.2f} wide: these runs do not tell them apart."
    meet = max(found.low for found in ranges) <= min(found.high for found in ranges)
    if meet or max(exponents) - min(exponents) < CLOSE:
        return f"{apart}, and no range is wider than {widest:.2f}: they agree."
    return f"{apart}, and their ranges do not all meet: they disagree."


def _best_range(approach: Approach) -> str:
    known = assessed(approach, "a")
    return f", {describe_range(known[-1], 'a')}" if known else ""


def _about_seeds(study: LossStudy) -> list[str]:
    repeated = study.cells[study.cells["seeds"] > 1]
    if repeated.empty:
        seeds = "there is one seed a cell only" if study.points.seeds else "no seeds are named"
        return [f"{seeds}, so nothing is known about the scatter between seeds."]
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
    if set(counts.index) == {optimal_path.INTERIOR}:
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
