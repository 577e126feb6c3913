"""Approach 1: the lower envelope of all loss curves, the curves, and what compute buys at best, L(C) below them."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from vsweep.analysis import plotting
from vsweep.analysis.approaches import compute_frontier, envelope, optimal_path
from vsweep.analysis.approaches.compute_frontier import ComputeLine
from vsweep.analysis.data.source import Refusal
from vsweep.analysis.formatting import percent
from vsweep.analysis.plotting import FLOP_LABELS, SIZE_LABELS, Drawing
from vsweep.analysis.sections import law
from vsweep.analysis.sections.base import Finding, LossStudy, Section, or_refused
from vsweep.analysis.uncertainty.approach import Approach, assess


class LossCurves(Section[Approach]):
    """The loss curves of the runs, and their lower envelope."""

    name, title = "loss_curves", "Loss curves and their lower envelope"

    def compute(self, study: LossStudy) -> Approach:
        fitted = study.result(law.SECTION).result
        return assess(study.points, envelope.METHOD, fitted, bootstrap=study.bootstrap)

    def findings(self, study: LossStudy, result: Approach) -> list[Finding]:
        return self.about(study, 120, _about_annealing(result))

    def figures(self, study: LossStudy, result: Approach) -> Iterator[Drawing | Refusal]:
        yield loss_curves(study)

    def refusals(self, study: LossStudy, result: Approach) -> list[Refusal]:
        return result.refusals

    def to_json(self, study: LossStudy, result: Approach) -> dict:
        return {result.method: law.approach_json(study, result)}


SECTION = LossCurves()


def _about_annealing(approach: Approach) -> list[str]:
    result = approach.result
    if isinstance(result, Refusal) or "annealed" not in result.optima or result.used["annealed"].all():
        return []
    share = 1 - result.used["annealed"].mean()
    return [
        f"{share:.0%} of the points of the lower envelope lie on runs that had not annealed yet. At a given compute a "
        "longer unfinished run is lower than a shorter finished one, so the exponent is that of unfinished runs."
    ]


def loss_curves(study: LossStudy) -> Drawing | Refusal:
    """Loss against compute: one curve a size and budget (mean over seeds), its end, and the envelope below."""
    if study.empty:
        return Refusal("loss_curves", "no points")
    if study.points.curves is None:
        return _points_with_hull(study)
    curves = envelope.mean_curves(study.points)
    if curves.empty:
        return Refusal("loss_curves", "no finished run has a curve")
    figure, (axes,) = plotting.new_figure()
    colour = plotting.colours(study.cells["size"])
    dense = len(curves) > plotting.MANY_CURVE_POINTS  # then the SVG holds a picture of the curves
    _draw_curves(axes, curves, colour, dense=dense)
    ends = study.cells
    axes.scatter(
        ends["flops"], ends["loss"], c=colour.to_rgba(ends["size"]), s=3 if dense else 14, zorder=3, rasterized=dense
    )
    lowest = envelope.lower_envelope(study.points, study.convention.annealed_only)
    counted = lowest[lowest["status"] == optimal_path.INTERIOR]
    axes.plot(lowest["flops"], lowest["loss"], color=plotting.BLACK, lw=1, alpha=0.45, label="lower envelope")
    if len(counted):
        axes.scatter(counted["flops"], counted["loss"], color=plotting.ORANGE, s=7, zorder=4, label="used in the fit")
    if study.source.language is not None and study.loss == "val_loss":
        plotting.level_lines(axes, study.source.language.levels)
    _finish(figure, axes, study, colour, study.cells["size"])
    plotting.legend_above(figure, 2)
    numbers = curves.assign(loss=np.exp(curves["log_loss"])).drop(columns="log_loss")
    caption = (
        f"{len(ends)} loss curves, each a mean over its seeds. Dots are the final losses; the black line is the lower "
        f"envelope, the lowest loss at each C. {len(counted)} of {len(lowest)} values of C are used in the fit: those "
        f"where the lowest curve belongs to neither the smallest nor the largest size{_annealing(counted)}."
    )
    return Drawing("loss_curves", "Loss curves and their lower envelope", caption, figure, numbers)


def _draw_curves(axes: Axes, curves: pd.DataFrame, colour: ScalarMappable, *, dense: bool) -> None:
    """A line a size and budget; of very many a picture, made of all at once because single lines take seconds."""
    lines = [
        (colour.to_rgba(size), run["flops"].to_numpy(), np.exp(run["log_loss"].to_numpy()))
        for (size, _), run in curves.groupby(["size", "budget"])
    ]
    if not dense:
        for color, flops, loss in lines:
            axes.plot(flops, loss, lw=1, alpha=0.75, color=color)
        return
    colors, *ends = zip(*lines, strict=True)
    together = [np.stack(line, axis=1) for line in zip(*ends, strict=True)]
    axes.add_collection(LineCollection(together, colors=colors, lw=1, alpha=0.75, rasterized=True))
    axes.autoscale_view()


def _annealing(counted: pd.DataFrame) -> str:
    if counted["annealed"].all():
        return " and is in the last 15 % of its run"
    share = 1 - counted["annealed"].mean()
    return f". At {share:.0%} of them that run has not annealed yet, because too few sizes win after annealing"


def _points_with_hull(study: LossStudy) -> Drawing | Refusal:
    table = study.points.table
    if study.one_compute:
        return Refusal("loss_curves", "all points have the same compute")
    figure, (axes,) = plotting.new_figure()
    many, colour = len(table) > plotting.MANY_MARKS, plotting.colours(table["size"])
    if many:
        table = plotting.density(figure, axes, table["flops"], table["loss"])
    else:
        axes.scatter(table["flops"], table["loss"], c=colour.to_rgba(table["size"]), s=16)
    hull = envelope.lower_hull(study.points)
    axes.plot(hull["flops"], hull["loss"], color=plotting.BLACK, lw=1, marker="o", ms=4, mfc="none", label="lower hull")
    _finish(figure, axes, study, None if many else colour, study.cells["size"])
    plotting.legend_above(figure, 1)
    how = " They are too many for dots, so their density is drawn." if many else ""
    caption = (
        f"{len(study.points.table)} points and the {len(hull)} vertices of their lower hull, the convex line below all "
        f"points.{how} The table holds no loss curves."
    )
    return Drawing("loss_curves", "Loss against compute", caption, figure, table)


def _finish(figure: Figure, axes: Axes, study: LossStudy, colour: ScalarMappable | None, sizes: pd.Series) -> None:
    """Axes of a figure of loss against compute, coloured by size unless it has other colours."""
    convention = study.convention
    plotting.log_axis(axes, "x", FLOP_LABELS[convention.flops])
    plotting.log_axis(axes, "y", plotting.loss_label(convention.loss, study.source.loss_unit))
    if colour is not None:
        plotting.colour_bar(figure, axes, colour, sizes, SIZE_LABELS[convention.size])


# What compute buys, whatever the size


class ComputeFrontier(Section[ComputeLine]):
    """What loss an amount of compute can buy."""

    name, title = "compute_line", "What compute buys"

    def compute(self, study: LossStudy) -> ComputeLine | Refusal:
        convention = study.convention
        floor, annealed_only = convention.given_floor or 0.0, bool(convention.annealed_only)
        return compute_frontier.of_curves(study.points, floor=floor, annealed_only=annealed_only)

    def findings(self, study: LossStudy, result: ComputeLine | Refusal) -> list[Finding]:
        return [] if isinstance(result, Refusal) else self.about(study, 50, [_about_line(study, result)])

    def to_json(self, study: LossStudy, result: ComputeLine | Refusal) -> dict:
        return {"compute_line": or_refused(result, _line_json)}


COMPUTE_LINE = ComputeFrontier()


def _about_line(study: LossStudy, line: ComputeLine) -> str:
    under = "all loss curves, annealed or not"
    if study.points.curves is None:
        under = "all runs"
    elif study.convention.annealed_only:
        under = "the annealed ends of all loss curves"
    return (
        f"the lowest loss at each compute follows {line.describe()}. This line goes through the {len(line.vertices)} "
        f"vertices of the lower hull of {under}, with a root-mean-square distance of {percent(line.rms_log)}."
    )


def _line_json(line: ComputeLine) -> dict:
    numbers = {name: getattr(line, name) for name in ("a", "C0", "C0_pf_days", "floor", "rms_log")}
    return {**numbers, "vertices": line.vertices.to_dict("records")}
