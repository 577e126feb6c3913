"""The main result: how the compute-optimal size grows with compute, by all approaches side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vsweep.analysis import plotting
from vsweep.analysis.approaches import optimal_path
from vsweep.analysis.data.source import Refusal
from vsweep.analysis.plotting import APPROACHES, FLOP_LABELS, SIZE_LABELS, Drawing
from vsweep.analysis.sections import law, lines, loss_curves, valleys
from vsweep.analysis.sections.base import HEADLINE, Finding, LossStudy, Section, Table, convention_json
from vsweep.analysis.sections.checks import forecast
from vsweep.analysis.sections.checks.forecast import Forecast
from vsweep.analysis.uncertainty import verdicts
from vsweep.analysis.uncertainty.approach import Approach, assessed, describe_range, numbers
from vsweep.analysis.uncertainty.estimates import optimal_sizes
from vsweep.analysis.uncertainty.intervals import SEED_FITS, in_percent
from vsweep.analysis.uncertainty.verdicts import Judgement

METHOD = "optimal_params"
CLOSE = 0.05  # in a: approaches no further apart agree
# Of a. Two ranges of this width that just meet are as far apart as two thirds of the difference between Kaplan's
# exponent and Hoffmann's: wider ones would meet whether the approaches agree or not.
WIDE_RANGE = 0.15


@dataclass(frozen=True)
class Agreement:
    """How far apart the approaches are in a; `widest` is the widest of their ranges, None where one has no range."""

    apart: float
    widest: float | None
    meet: bool

    @property
    def text(self) -> str:
        """Whether the approaches agree, as one sentence."""
        apart = f"the approaches are {self.apart:.3f} apart in a"
        if self.widest is None:
            return f"{apart}. Not all of them have a range, so it is unknown whether that is much."
        if self.apart >= CLOSE and not self.meet:
            return f"{apart}. Their ranges do not all overlap: they disagree."
        if self.widest >= WIDE_RANGE:
            return f"{apart}. One of their ranges is {self.widest:.2f} wide, so these runs cannot tell them apart."
        return f"{apart}. No range is wider than {self.widest:.2f}: they agree."


class Optimum(Section[Agreement]):
    """The compute-optimal size and its exponent by each approach, and whether they agree."""

    name, title = "optimum", "Compute-optimal size"

    def compute(self, study: LossStudy) -> Agreement | Refusal:
        fitted = fitted_approaches(study)
        return agreement(fitted) if len(fitted) > 1 else Refusal(self.name, "fewer than two approaches to compare")

    def findings(self, study: LossStudy, result: Agreement | Refusal) -> list[Finding]:
        headline = [Finding(None, self.name, HEADLINE, in_short(study))] if study.first else []
        if study.empty:
            return headline
        return [
            *headline,
            *self.about(study, 20, _about_exponents(fitted_approaches(study), result)),
            *self.about(study, 40, _without_interval(approaches(study))),
            *self.about(study, 40, about_single_seeds(fitted_approaches(study))),
        ]

    def figures(self, study: LossStudy, result: Agreement | Refusal) -> Iterator[Drawing | Refusal]:
        yield optimal_params(study)

    def tables(self, study: LossStudy, result: Agreement | Refusal) -> list[Table]:
        head = ("approach", "a", "range of a", "b", "range of b")
        rows = tuple((approach.label, *_exponents(approach)) for approach in approaches(study))
        return [Table("Exponents", head, rows, f"N_opt ~ C^a, D_opt ~ C^b. {study.convention.describe()}.")]

    def refusals(self, study: LossStudy, result: Agreement | Refusal) -> list[Refusal]:
        return []  # each approach names its own

    def to_json_of_all(self, studies: Sequence[LossStudy]) -> dict:
        return {"exponents": [_exponents_json(study, found) for study in studies for found in approaches(study)]}


SECTION = Optimum()


def approaches(study: LossStudy) -> tuple[Approach, ...]:
    """All of them in the order of `METHODS`, those refused too."""
    return (study.result(loss_curves.SECTION), *study.result(valleys.SECTION), study.result(law.SECTION))


def fitted_approaches(study: LossStudy) -> list[Approach]:
    """The approaches that were not refused."""
    return [approach for approach in approaches(study) if not approach.refused]


def agreement(fitted: Sequence[Approach]) -> Agreement:
    """Compares the exponents a of at least two approaches, by the widest range known of each."""
    exponents = [approach.a for approach in fitted]
    apart = max(exponents) - min(exponents)
    known = [assessed(approach, "a") for approach in fitted]
    if not all(known):
        return Agreement(apart, None, False)
    ranges = [entries[-1].ranges["a"] for entries in known]
    meet = max(found.low for found in ranges) <= min(found.high for found in ranges)
    return Agreement(apart, max(found.high - found.low for found in ranges), bool(meet))


# Sentences


def in_short(study: LossStudy) -> str:
    """The main result in one sentence, by the first loss."""
    fitted = fitted_approaches(study)
    if not fitted:
        return f"In short, by {study.loss}: no law could be fitted. The reasons are listed under refused fits."
    exponents = [approach.a for approach in fitted]
    span = f"{min(exponents):.2f} to {max(exponents):.2f}" if len(exponents) > 1 else f"{exponents[0]:.2f}"
    families = len({approach.method.partition("_")[0] for approach in fitted})
    parts = [f"N_opt ~ C^a with a = {span} by {families} of 3 approaches{_law_interval(study)}"]
    parts.insert(0, about_standing(law.standing(study)))
    predicted = study.result(forecast.SECTION)
    if isinstance(predicted.forecast, Forecast):
        parts.append(f"the forecast of {predicted.forecast.held_out} {predicted.judgement.verdict}")
    judged = [line for line in study.result(lines.SECTION).lines if line.holds is not None and not line.flat]
    if judged:
        broken = sum(not line.holds for line in judged)
        verdict = f"fails on {broken} of" if broken else "holds on all"
        parts.append(f"a power law with an offset {verdict} {len(judged)} lines of loss against N or D")
    return f"In short, by {study.loss}: {'; '.join(parts)}."


def about_standing(standing: Judgement) -> str:
    """The verdict on the parametric law with its reasons, as part of a sentence."""
    says = {
        verdicts.DESCRIBES: "the parametric law describes these runs",
        verdicts.DOUBTFUL: "the parametric law is doubtful",
        verdicts.NOT_SHOWN: "these runs do not show the parametric law",
    }
    return says[standing.verdict] + (f" ({standing.why})" if standing.reasons else "")


def _law_interval(study: LossStudy) -> str:
    """The widest thing known about a of the parametric law, in brackets."""
    known = assessed(study.result(law.SECTION), "a")
    return f" (parametric law: {numbers(known[-1], 'a')}, {known[-1].form})" if known else ""


def _about_exponents(fitted: list[Approach], found: Agreement | Refusal) -> list[str]:
    if not fitted:
        return ["no approach could be fitted, so there is no exponent to report."]
    each = "; ".join(f"{approach.name} a = {approach.a:.3f}{_widest_range(approach)}" for approach in fitted)
    sentences = [f"N_opt grows as C^a: {each}."]
    if isinstance(found, Agreement):
        sentences.append(found.text)
    strange = [approach.name for approach in fitted if not 0 <= approach.a <= 1]
    if strange:
        sentences.append(
            f"an exponent outside 0..1 ({', '.join(strange)}) cannot be the compute-optimal path of a power law. "
            "These optima cover too little compute, or the loss has a break."
        )
    return sentences


def _widest_range(approach: Approach) -> str:
    known = assessed(approach, "a")
    return f", {describe_range(known[-1], 'a')}" if known else ""


def _without_interval(found: Sequence[Approach]) -> list[str]:
    """Approaches whose resamples could not be fitted at all."""
    sentences = []
    for approach in found:
        for entry in approach.uncertainty:
            if not entry.ranges and entry.failed:
                refused = f"{entry.failed} of {entry.fits + entry.failed} resamples ({entry.kind})"
                sentences.append(
                    f"{approach.name} has no interval, because {refused} leave nothing to fit: its exponent depends on "
                    "a few runs."
                )
    return sentences


def about_single_seeds(fitted: Sequence[Approach]) -> list[str]:
    """Approaches whose exponent from all seeds lies outside those from single seeds, and how that can be."""
    sentences = []
    for approach in fitted:
        single = next((entry for entry in assessed(approach, "a") if entry.kind == SEED_FITS), None)
        if single is None or single.ranges["a"].low <= approach.a <= single.ranges["a"].high:
            continue
        sentences.append(
            f"{approach.name} gives a = {approach.a:.3f} for all seeds together, outside the {numbers(single, 'a')} of "
            "single seeds. Exponents are not linear in the losses, so that a fit to all runs is no mean of the fits to "
            "single seeds. Such a shift shows that a few runs decide the exponent."
        )
    return sentences


# Table and fits.json


def _exponents(approach: Approach) -> tuple[str | tuple[str, ...], ...]:
    if approach.refused:
        return "refused", approach.result.reason, "", ""
    return (*law.value_and_ranges(approach, "a"), *law.value_and_ranges(approach, "b"))


def _exponents_json(study: LossStudy, approach: Approach) -> dict:
    return {
        **convention_json(study),
        "method": approach.method,
        "a": approach.a,
        "b": approach.b,
        "ranges": {name: law.ranges_json(approach.uncertainty, name) for name in ("a", "b")},
        "refused": approach.result.reason if approach.refused else None,
    }


# Figure


def optimal_params(study: LossStudy) -> Drawing | Refusal:
    """N_opt(C) by all approaches: the optima as markers, the fits as lines over the compute of the data."""
    if study.empty:
        return Refusal(METHOD, "no points")
    fitted = fitted_approaches(study)
    if not fitted:
        return Refusal(METHOD, "every approach was refused")
    if study.one_compute:
        return Refusal(METHOD, "all points have the same compute")
    figure, (axes,) = plotting.new_figure()
    flops = np.geomspace(study.points.column("flops").min(), study.points.column("flops").max(), 200)
    shown = [table for approach in fitted for table in _draw(axes, study, approach, flops)]
    sizes = study.cells["size"]
    for size in (sizes.min(), sizes.max()):
        axes.axhline(size, color="#999999", lw=0.8)
    axes.set_ylim(sizes.min() / 2.5, sizes.max() * 2.5)
    plotting.log_axis(axes, "x", FLOP_LABELS[study.convention.flops])
    plotting.log_axis(axes, "y", SIZE_LABELS[study.convention.size], units=True)
    plotting.legend_above(figure, 2)
    numbers = pd.concat(shown, ignore_index=True)
    return Drawing(METHOD, "Compute-optimal size", _caption(study, fitted), figure, numbers)


def _draw(axes: Axes, study: LossStudy, approach: Approach, flops: np.ndarray) -> list[pd.DataFrame]:
    """One approach over `flops` [m], dotted where it has no optimum of its own; returns what is shown, as tables."""
    label, colour, marker = APPROACHES[approach.method]
    fitted = approach.result
    is_path = isinstance(fitted, optimal_path.PathFit)
    params = fitted.params_opt(flops) if is_path else optimal_sizes(fitted.law, study.points, flops)[0]
    shown = [pd.DataFrame({"method": approach.method, "kind": "fit", "flops": flops, "params": params})]
    own = np.ones(len(flops), bool)
    if is_path:
        used = fitted.used
        some = optimal_path.thinned(used)
        axes.scatter(some["flops"], some["params"], color=colour, marker=marker, s=14, alpha=0.85, zorder=3)
        shown.append(used[["flops", "params"]].assign(method=approach.method, kind="optimum"))
        own = (flops >= used["flops"].min()) & (flops <= used["flops"].max())
    if _has_interval(approach):
        drawn, level = optimal_sizes(approach.resamples, study.points, flops)[0], study.convention.level
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
        axes.fill_between(flops, low, high, color=colour, alpha=0.15, lw=0)
        shown[-1] = shown[-1].assign(low=low, high=high)
    axes.plot(flops, params, color=colour, lw=1, ls=":", alpha=0.7)
    axes.plot(flops[own], params[own], color=colour, lw=1.8, label=f"{label}: a = {approach.a:.3f}")
    return shown


def _has_interval(approach: Approach) -> bool:
    known = assessed(approach, "a")
    return approach.resamples is not None and bool(known) and known[-1].form.endswith("% interval")


def _caption(study: LossStudy, fitted: list[Approach]) -> str:
    refused = [APPROACHES[approach.method][0] for approach in approaches(study) if approach.refused]
    missing = f" Refused: {', '.join(refused)}." if refused else ""
    banded = any(_has_interval(approach) for approach in fitted)
    band = f" The band holds {in_percent(study.convention.level)} of the resampled parametric laws." if banded else ""
    return (
        "The best size at each compute, N_opt ~ C^a, by each approach. Grey lines are the smallest and largest size "
        f"trained. A line is dotted outside the optima that it was fitted to.{band}{missing}"
    )
