"""The figure: run-tokens a second against width for everybody, and against the number of models for vsweep."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from benchmarks.stack import contestants as who
from benchmarks.stack.contestants import LANES
from vsweep.analysis import plotting
from vsweep.analysis.plotting import Drawing

# Colours tell apart who; a dashed line is no contestant.
STYLES = {
    who.VSWEEP: (plotting.RED, "o", "-"),
    who.TF32: (plotting.RED, "^", "-"),
    who.BF16: (plotting.RED, "v", "-"),
    who.SMALL_BATCH: (plotting.RED, ".", ":"),
    who.JAX_LOOP: (plotting.BLUE, "s", "-"),
    who.PROCESSES: (plotting.SKY, "s", "-"),
    who.TORCH: (plotting.ORANGE, "D", "-"),
    who.COMPILED: (plotting.PINK, "D", "-"),
    who.ENSEMBLE: (plotting.GREEN, "P", "-"),
    who.TURBANET: (plotting.BLACK, "X", "-"),
    who.PRODUCTS: ("#888888", "", "--"),
}
TOKENS_LABEL = "run-tokens a second, all models"
FLOOR_LABEL = "floor: those at the peak rate"


def figure_of(table: pd.DataFrame, reference: int, where: str, name: str) -> Drawing:
    """`where` is the machine in words."""
    measured = table.dropna(subset="ms_model_step")
    stacks = measured[measured.kind == who.VSWEEP]
    several = stacks["models"].nunique() > 1
    figure, (left, *right) = plotting.new_figure(panels=1 + several)
    figure.set_size_inches(9.6 if several else 6.4, 5.0)
    _against_width(left, measured, reference)
    for axes in right:
        _against_models(figure, axes, stacks)
    left.set_title(f"one run on {where}", loc="left", fontsize=9)
    plotting.legend_above(figure, columns=3)
    caption = (
        f"Training speed of 4-layer models of 3-digit addition, {where}: medians of interleaved rounds, compile time "
        f"apart. vsweep with {reference} models in its stack beside what a user would run instead."
    )
    if several:
        caption += " Right: vsweep's stack by its number of models."
    return Drawing(name, "Many small models at once", caption, figure, table)


def _against_width(axes: Axes, table: pd.DataFrame, reference: int) -> None:
    for kind, (colour, marker, line) in STYLES.items():
        rows = table[table.kind == kind]
        if kind == who.VSWEEP:
            rows = rows[rows.models <= reference].sort_values("models").groupby("width").tail(1)
        rows = rows.sort_values("width")
        if not rows.empty:
            label = f"vsweep, K = {reference}" if kind == who.VSWEEP else _label(kind, rows)
            thick = 2.4 if kind == who.VSWEEP else 1.3
            axes.plot(rows.width, rows.run_tokens_s, line, color=colour, marker=marker, ms=5, lw=thick, label=label)
    floor = table[table.kind == who.VSWEEP].dropna(subset="floor_ratio").sort_values("models").groupby("width").tail(1)
    if not floor.empty:
        best = (floor.run_tokens_s * floor.floor_ratio).to_numpy()
        order = np.argsort(floor.width.to_numpy())
        axes.plot(floor.width.to_numpy()[order], best[order], ":", color="#888888", lw=1.3, label=FLOOR_LABEL)
    _width_axis(axes, table)
    plotting.log_axis(axes, "y", TOKENS_LABEL, units=True)


def _label(kind: str, rows: pd.DataFrame) -> str:
    lane = LANES[kind]
    if kind == who.PRODUCTS:
        return "the step's matmuls alone"
    return f"{lane.label}, K = {rows.models.max()}" if lane.stacked else lane.label


def _width_axis(axes: Axes, table: pd.DataFrame) -> None:
    axes.set_xscale("log", base=2)
    shown = [width for width in sorted(table.width.unique()) if width & (width - 1) == 0] or list(table.width.unique())
    axes.set_xticks(shown, [str(width) for width in shown])
    axes.xaxis.set_minor_locator(plotting.ticker.NullLocator())
    axes.set_xlabel("width")


def _against_models(figure, axes: Axes, ours: pd.DataFrame) -> None:
    widths = [width for width, rows in ours.groupby("width") if len(rows) > 1]
    if not widths:
        axes.set_axis_off()
        return
    scale = plotting.colours(np.array(widths, float))
    for width in widths:
        rows = ours[ours.width == width].sort_values("models")
        axes.plot(rows.models, rows.run_tokens_s, marker="o", ms=4, lw=1.5, color=scale.to_rgba(width))
    sizes = sorted(ours.models.unique())
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.xaxis.set_minor_locator(plotting.ticker.NullLocator())
    axes.set_xlabel("K, models in vsweep's stack")
    plotting.log_axis(axes, "y", TOKENS_LABEL, units=True)
    plotting.colour_bar(figure, axes, scale, widths, "width", units=False)
