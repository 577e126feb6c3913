"""Approach 2: IsoFLOP valleys - loss against size at fixed compute - and the sizes at their minima."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vsweep.analysis import plotting
from vsweep.analysis.approaches import isoflop, optimal_path
from vsweep.analysis.data.source import Refusal
from vsweep.analysis.formatting import percent
from vsweep.analysis.plotting import FLOP_LABELS, SIZE_LABELS, Drawing
from vsweep.analysis.sections import law
from vsweep.analysis.sections.base import Finding, LossStudy, Section
from vsweep.analysis.uncertainty.approach import Approach, assess

STATUSES = {
    optimal_path.INTERIOR: "interior",
    optimal_path.EDGE_SMALL: "at the smallest size (an edge)",
    optimal_path.EDGE_LARGE: "at the largest size (an edge)",
    optimal_path.NO_MINIMUM: "without a clear minimum",
    optimal_path.BELOW_RUNS: "with a vertex far below every run",
}
EDGE_MARKERS = {
    optimal_path.EDGE_SMALL: "<",
    optimal_path.EDGE_LARGE: ">",
    optimal_path.NO_MINIMUM: "x",
    optimal_path.BELOW_RUNS: "x",
}


class Valleys(Section[tuple[Approach, ...]]):
    """By a parabola through each valley, and by an Akima spline."""

    name, title = "valleys", "IsoFLOP valleys"

    def compute(self, study: LossStudy) -> tuple[Approach, ...]:
        fitted = study.result(law.SECTION).result
        methods = (isoflop.PARABOLA, isoflop.AKIMA)
        return tuple(assess(study.points, method, fitted, bootstrap=study.bootstrap) for method in methods)

    def findings(self, study: LossStudy, result: tuple[Approach, ...]) -> list[Finding]:
        if study.empty:
            return []
        parabola = result[0]
        bias = self.about(study, 100, _about_parabola(study, parabola))
        return bias + self.about(study, 130, _about_edges(study, parabola))

    def figures(self, study: LossStudy, result: tuple[Approach, ...]) -> Iterator[Drawing | Refusal]:
        yield isoflop_valleys(study)

    def refusals(self, study: LossStudy, result: tuple[Approach, ...]) -> list[Refusal]:
        return [refusal for approach in result for refusal in approach.refusals]

    def to_json(self, study: LossStudy, result: tuple[Approach, ...]) -> dict:
        return {approach.method: law.approach_json(study, approach) for approach in result}


SECTION = Valleys()


def _about_parabola(study: LossStudy, parabola: Approach) -> list[str]:
    """How far a parabola through valleys of the fitted law would miss their minima."""
    fitted = law.law_of(study)
    if parabola.refused or fitted is None or study.convention.flops != "flops_6nd":
        return []
    sizes, flops = np.unique(study.cells["size"]), parabola.result.used["flops"].to_numpy()
    bias = isoflop.parabola_bias(fitted, sizes, flops, np.log(study.convention.isoflop_window))
    known = bias[np.isfinite(bias)]
    if not len(known):
        return []
    missed = f"{percent(abs(known.mean()))} too {'large' if known.mean() > 0 else 'small'}"
    return [
        f"if the parametric law held exactly, parabolas over these sizes would place N_opt {missed} on average, "
        "because valleys are asymmetric."
    ]


def _about_edges(study: LossStudy, parabola: Approach) -> list[str]:
    optima = getattr(parabola.result, "optima", None)
    if optima is None:
        found = isoflop.valleys(study.points)
        if not found:
            return []
        optima = isoflop.optima(found, isoflop.PARABOLA, study.convention.isoflop_window)
    counts = optima["status"].value_counts()
    if set(counts.index) == {optimal_path.INTERIOR}:
        return [f"all {len(optima)} IsoFLOP minima are interior."]
    parts = ", ".join(f"{number} {STATUSES[status]}" for status, number in counts.items())
    return [f"IsoFLOP minima at {len(optima)} compute levels: {parts}. Only interior ones are fitted."]


def isoflop_valleys(study: LossStudy) -> Drawing | Refusal:
    """Loss against size at each compute level, with the minima; those at an edge are open triangles."""
    if study.empty:
        return Refusal("isoflop_valleys", "no points")
    found = isoflop.valleys(study.points)
    if not found:
        needed = isoflop.MIN_SIZES
        return Refusal("isoflop_valleys", f"no compute level at which {needed} sizes have finished runs on both sides")
    figure, (axes,) = plotting.new_figure()
    colour = plotting.colours(np.array([valley.flops for valley in found]), "cividis")
    for valley in found:
        axes.plot(valley.params, valley.loss, color=colour.to_rgba(valley.flops), lw=1.1, marker=".", ms=5)
    minima = isoflop.optima(found, isoflop.PARABOLA, study.convention.isoflop_window)
    _mark_minima(axes, minima)
    plotting.log_axis(axes, "x", SIZE_LABELS[study.convention.size], units=True)
    plotting.log_axis(axes, "y", plotting.loss_label(study.loss, study.source.loss_unit))
    plotting.colour_bar(figure, axes, colour, minima["flops"], FLOP_LABELS[study.convention.flops], units=False)
    plotting.legend_above(figure, 3)
    interior = int((minima["status"] == optimal_path.INTERIOR).sum())
    how = "interpolated in log C between the budgets of a size, by PCHIP (a monotone cubic); mean over seeds"
    if optimal_path.is_labelled(study.points):
        how = "as the table labels its groups"
    caption = (
        f"Loss of the finished runs against size at {len(found)} compute levels ({how}). {interior} minima are "
        "interior. A minimum at the smallest or largest size is shown and excluded from the fit."
    )
    return Drawing("isoflop_valleys", "IsoFLOP valleys", caption, figure, _valley_numbers(found, minima))


def _mark_minima(axes: Axes, minima: pd.DataFrame) -> None:
    interior = minima[minima["status"] == optimal_path.INTERIOR]
    if len(interior):
        axes.scatter(
            interior["params"], interior["loss"], marker="*", s=110, color=plotting.RED, zorder=4, label="minimum"
        )
    for status, marker in EDGE_MARKERS.items():
        at = minima[minima["status"] == status]
        style = {"color": plotting.RED} if marker == "x" else {"facecolor": "white", "edgecolor": plotting.RED}
        if len(at):
            axes.scatter(at["params"], at["loss"], marker=marker, s=55, linewidth=1.4, zorder=4, label=status, **style)


def _valley_numbers(found: list[isoflop.Valley], minima: pd.DataFrame) -> pd.DataFrame:
    blocks = [
        pd.DataFrame({"flops": v.flops, "params": v.params, "tokens": v.tokens, "loss": v.loss, "kind": "size"})
        for v in found
    ]
    return pd.concat([*blocks, minima.rename(columns={"status": "kind"})], ignore_index=True)
