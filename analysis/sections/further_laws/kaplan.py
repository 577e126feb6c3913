"""Kaplan's three figures: loss against compute, loss against tokens, and the kink of each curve."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vsweep.analysis import plotting
from vsweep.analysis.approaches import kaplan_curves
from vsweep.analysis.approaches.compute_frontier import PF_DAY
from vsweep.analysis.approaches.critical_batch import MinimalCompute
from vsweep.analysis.approaches.kaplan_curves import KaplanCurves, Kink
from vsweep.analysis.data.language import Language
from vsweep.analysis.data.points import select
from vsweep.analysis.data.source import Convention, Refusal
from vsweep.analysis.formatting import metric, percent
from vsweep.analysis.plotting import SIZE_LABELS, TOKENS_LABEL, Drawing
from vsweep.analysis.sections.base import Finding, LossStudy, Section, Table, or_refused
from vsweep.analysis.sections.further_laws import minimal_compute

GPT2_VOCABULARY = 50_257  # losses in nats per token compare with Kaplan's in these tokens only
PF_DAYS_LABEL = "C = 6ND without embeddings (PF-days)"
LOSS_LABEL = "validation loss (nats/token)"


class Kaplan(Section[KaplanCurves | None]):
    """Loss curves of a language model as Kaplan et al. 2020 read them; None in other studies."""

    name, title = "kaplan", "Kaplan's reading of the loss curves"

    def compute(self, study: LossStudy) -> KaplanCurves | Refusal | None:
        if study.source.language is None or study.loss != "val_loss":
            return None
        level = study.convention.level
        convention = Convention("val_loss", size="params_non_embedding", level=level)
        points = select(minimal_compute.of_one_batch(study.source), convention)
        if points.curves is None:
            return Refusal(self.name, "no finished run has a curve")
        result = kaplan_curves.fit(points.curves[[*kaplan_curves.COLUMNS, "steps"]], level=level)
        if isinstance(result, Refusal):
            return result
        return replace(result, minimal=minimal_compute.of_study(study.source, result, convention))

    def findings(self, study: LossStudy, result: KaplanCurves | Refusal | None) -> list[Finding]:
        if result is None or isinstance(result, Refusal):
            return []
        return self.about(study, 55, [*_about_line(study, result), *_about_kinks(result, study.source.language)])

    def figures(self, study: LossStudy, result: KaplanCurves | Refusal | None) -> Iterator[Drawing | Refusal]:
        if result is None or isinstance(result, Refusal):
            return
        language = study.source.language
        yield against_compute(result, language)
        yield against_tokens(result, language)
        yield kinks(result, language)
        if isinstance(result.minimal, MinimalCompute):
            yield minimal_compute.figure(result.minimal)

    def tables(self, study: LossStudy, result: KaplanCurves | Refusal | None) -> list[Table]:
        if result is None or isinstance(result, Refusal):
            return []
        more = [minimal_compute.table(result.minimal)] if isinstance(result.minimal, MinimalCompute) else []
        if not result.kinks:
            return more
        rows = tuple(_row(kink) for kink in result.kinks)
        head = ("N without embeddings", "tokens at the break", "loss there", "slope before", "slope after", "a kink")
        note = (
            "A broken power law without a floor on the longest curve of each size. It is called a kink only where "
            "a power law with an offset misses the curve by half a percent, and twice as much as one with a break."
        )
        return [Table("Where each curve breaks", head, rows, note), *more]

    def to_json(self, study: LossStudy, result: KaplanCurves | Refusal | None) -> dict:
        return {} if result is None else {self.name: or_refused(result, _to_json)}


SECTION = Kaplan()


def _row(kink: Kink) -> tuple[str, ...]:
    place = metric(kink.size), metric(kink.tokens), f"{kink.loss:.3f}"
    return *place, f"{-kink.before:.3f}", f"{-kink.after:.3f}", "yes" if kink.shown else "no"


def _to_json(result: KaplanCurves) -> dict:
    line = {name: getattr(result.line, name) for name in ("a", "C0", "C0_pf_days", "rms_log")}
    interval = {"slope_low": result.low, "slope_high": result.high, "resamples": result.resamples}
    corners = {"a": result.corners.a, "C0": result.corners.C0, "C0_pf_days": result.corners.C0 / PF_DAY}
    vertices = len(result.line.vertices)
    return {
        "line": {"slope": -result.line.a, **line, "vertices": vertices, **interval},
        "corners": {"slope": -result.corners.a, **corners},
        "kinks": [vars(kink) for kink in result.kinks],
        "c_min": or_refused(result.minimal, minimal_compute.to_json),
    }


# Sentences


def _about_line(study: LossStudy, result: KaplanCurves) -> list[str]:
    interval = ""
    if result.low is not None:
        level = f"{100 * study.convention.level:g} %"
        interval = (
            f" ({result.low:.4f} to {result.high:.4f} in {level} of {result.resamples} resamples of whole curves)"
        )
    corners = -result.corners.a
    return [
        f"without embeddings and with E = 0, the line under all loss curves has the slope {-result.line.a:.4f}"
        f"{interval}. A line through the two corners has {corners:.4f}, and its noise is that of two points.",
        *minimal_compute.sentences(result.minimal, study.convention.level),
    ]


def _about_kinks(result: KaplanCurves, language: Language) -> list[str]:
    shown = result.shown_kinks
    if not shown:
        return []
    losses = [kink.loss for kink in shown]
    at = f"{min(losses):.3f}" if len(losses) == 1 else f"{min(losses):.3f} to {max(losses):.3f}"
    level = f" The bigram level is {language.bigram:.3f}." if language.bigram else ""
    return [
        f"{len(shown)} of {len(result.kinks)} curves have a kink, at losses of {at} nats/token: there a power law "
        f"with an offset misses the curve by twice as much as one with a break.{level}"
    ]


# Figures: also for published curves, with `Language()` where nothing is known of their corpus


def against_compute(result: KaplanCurves, language: Language) -> Drawing:
    """Loss against compute in PF-days: every curve, the line under them, the two corners, and Kaplan's lines."""
    figure, (axes,) = plotting.new_figure()
    _curves(axes, result, "flops", PF_DAY)
    fitted = result.curves[result.used]
    flops = np.geomspace(fitted["flops"].min(), fitted["flops"].max(), 50)
    days = flops / PF_DAY
    axes.plot(days, result.line.loss(flops), color=plotting.RED, lw=1.6, label=f"all curves {-result.line.a:.4f}")
    axes.plot(
        days,
        result.corners.loss(flops),
        color=plotting.BLACK,
        lw=1,
        ls="--",
        label=f"two corners {-result.corners.a:.4f}",
    )
    if language.vocabulary == GPT2_VOCABULARY:
        for name, law, colour in (  # the first compares with these curves; the second is what papers quote
            ("Kaplan et al.", kaplan_curves.PUBLISHED_EQUAL_BATCH, plotting.BLUE),
            ("of their C_min", kaplan_curves.PUBLISHED_BEST_BATCH, plotting.SKY),
        ):
            label = f"{name} {-law[1]:.3f}"
            axes.plot(days, kaplan_curves.published(flops, law), color=colour, lw=1, ls=":", label=label)
    _finish(figure, axes, result, PF_DAYS_LABEL)
    plotting.legend_above(figure, 3)
    miss = percent(result.line.rms_log)
    caption = (
        f"Each line is a run. The red line goes through the {len(result.line.vertices)} vertices of the lower hull, "
        f"with a root-mean-square distance of {miss}. The beginning of each run is drawn and not fitted."
    )
    return Drawing("kaplan_compute", "Loss against compute", caption, figure, _numbers(result))


def against_tokens(result: KaplanCurves, language: Language) -> Drawing:
    """Loss against tokens, with the unigram and the bigram level."""
    figure, (axes,) = plotting.new_figure()
    _curves(axes, result, "tokens", 1.0)
    plotting.level_lines(axes, language.levels)
    _finish(figure, axes, result, TOKENS_LABEL, units=True)
    if axes.get_legend_handles_labels()[0]:
        plotting.legend_above(figure, 2)
    caption = "Each line is a run. Below a level, a model knows more than how often tokens or pairs of them occur."
    return Drawing("kaplan_tokens", "Loss against tokens", caption, figure, _numbers(result))


def kinks(result: KaplanCurves, language: Language) -> Drawing | Refusal:
    """The longest curve of each size with its two slopes and the break between them."""
    if not result.kinks:
        return Refusal("kaplan_kinks", "no curve has a break within its tokens")
    figure, (axes,) = plotting.new_figure()
    colour = plotting.colours(result.curves["size"])
    of_run = dict(iter(result.curves.groupby("run_id")))
    for kink in result.kinks:
        run, style = of_run[kink.run_id], {"color": colour.to_rgba(kink.size)}
        tokens = run["tokens"].to_numpy(float)
        fitted = tokens[tokens > kaplan_curves.WARMUP_SHARE * tokens.max()]
        ends = np.array([fitted.min(), kink.tokens, fitted.max()])
        axes.plot(tokens, run["loss"], lw=2.5, alpha=0.3, **style)
        axes.plot(fitted, kink.curve(fitted), lw=1, **style)
        axes.plot(ends, kink.slopes(ends), lw=0.7, ls=":", **style)
        axes.plot(kink.tokens, kink.loss, "o", ms=5, mfc=style["color"] if kink.shown else "none", **style)
    plotting.level_lines(axes, language.levels)
    _finish(figure, axes, result, TOKENS_LABEL, units=True)
    if axes.get_legend_handles_labels()[0]:
        plotting.legend_above(figure, 2)
    caption = (
        "Thick: the longest run of each size. Thin: a broken power law without a floor, whose two slopes are dotted. "
        "Circles mark its break. They are filled where a power law with an offset misses the curve by half a percent, "
        "and by twice as much."
    )
    table = pd.DataFrame([vars(kink) for kink in result.kinks])
    return Drawing("kaplan_kinks", "The kink of each curve", caption, figure, table)


def _curves(axes: Axes, result: KaplanCurves, x: str, unit: float) -> None:
    colour = plotting.colours(result.curves["size"])
    dense = len(result.curves) > plotting.MANY_CURVE_POINTS
    for (size, _), run in result.curves.groupby(["size", "run_id"]):
        axes.plot(run[x] / unit, run["loss"], lw=0.9, alpha=0.75, color=colour.to_rgba(size), rasterized=dense)


def _finish(figure: Figure, axes: Axes, result: KaplanCurves, x_label: str, *, units: bool = False) -> None:
    sizes = result.curves["size"]
    plotting.log_axis(axes, "x", x_label, units=units)
    plotting.log_axis(axes, "y", LOSS_LABEL)
    plotting.colour_bar(figure, axes, plotting.colours(sizes), sizes, SIZE_LABELS["params_non_embedding"])


def _numbers(result: KaplanCurves) -> pd.DataFrame:
    return result.curves.assign(fitted=result.used)
