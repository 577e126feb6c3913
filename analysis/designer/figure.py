"""The (N, D) design as a figure: runs, lines of equal compute, and the compute-optimal path of the assumed law."""

import numpy as np
import pandas as pd

from vsweep.analysis.approaches.parametric import Law
from vsweep.analysis.designer.picture import compute_levels, flops_label
from vsweep.analysis.designer.runs import Runs
from vsweep.analysis.formatting import count
from vsweep.analysis.plotting import BLUE, RED, SIZE_LABELS, TOKENS_LABEL, Drawing, log_axis, new_figure

MARGIN = 1.4  # a factor beside the outermost runs
AREA = 22.0  # of a marker, in points^2 a run
LARGEST_AREA = 400.0


def drawing(runs: Runs, title: str, law: Law, size: str = "params") -> Drawing:
    """The design with its title; the size of a dot is how many runs there are."""
    figure, (axes,) = new_figure()
    ends = [(values.min() / MARGIN, values.max() * MARGIN) for values in (runs.params, runs.tokens)]
    params = np.geomspace(*ends[0], 100)
    low, high = (6 * ends[0][at] * ends[1][at] for at in (0, 1))
    for flops in compute_levels(low, high):
        axes.plot(params, flops / 6 / params, color="#999999", linewidth=0.8, zorder=1)
        _label(axes, flops, ends)
    axes.plot(params, _optimal_tokens(law, params), "--", color=RED, linewidth=1.2, zorder=2)
    areas = np.minimum(AREA * runs.counts, LARGEST_AREA)
    axes.scatter(runs.params, runs.tokens, s=areas, color=BLUE, edgecolor="white", linewidth=0.5, zorder=3)
    axes.set_xlim(*ends[0])
    axes.set_ylim(*ends[1])
    log_axis(axes, "x", SIZE_LABELS.get(size, size), units=True)
    log_axis(axes, "y", TOKENS_LABEL, units=True)
    meaning = "grey: equal 6ND, FLOP; dashed: compute-optimal by the assumed law"
    axes.set_title(f"{title}\n{meaning}", loc="left", fontsize=9)
    caption = f"{count(runs.number, 'run')}; {meaning}."
    numbers = pd.DataFrame({"N": runs.params, "D": runs.tokens, "runs": runs.counts, "flops_6nd": runs.flops_each})
    return Drawing("design", title, caption, figure, numbers)


def _optimal_tokens(law: Law, params: np.ndarray) -> np.ndarray:
    """D that is compute-optimal for N (Hoffmann et al. 2022, equation 4)."""
    return (law.beta * law.B / (law.alpha * law.A) * params**law.alpha) ** (1 / law.beta)


def _label(axes, flops: float, ends: list[tuple[float, float]]) -> None:
    """At the end of a line: on the right edge, or at the bottom where it leaves there."""
    (left, right), (bottom, _) = ends
    at = (right, flops / 6 / right) if flops / 6 / right >= bottom else (flops / 6 / bottom, bottom)
    if at[0] > left:
        axes.annotate(
            flops_label(flops), at, (-3, 3), textcoords="offset points", ha="right", fontsize=8, color="#777777"
        )
