"""What accuracy larger runs will have: from the loss by a sigmoid or directly from compute, asked of held-out runs.

A sweep has its exact match. A table has what its columns are called: accuracy, acc, exact_match, error and the like.
"""

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vsweep.analysis import plotting
from vsweep.analysis.approaches import downstream
from vsweep.analysis.approaches.downstream import DIRECT, TWO_STEPS, Downstream, Way
from vsweep.analysis.data.points import select
from vsweep.analysis.data.source import Refusal
from vsweep.analysis.formatting import count, scientific
from vsweep.analysis.plotting import BLUE, RED, SIZE_LABELS, Drawing
from vsweep.analysis.sections.base import Finding, LossStudy, Section, Table, or_refused
from vsweep.analysis.tables.extra_columns import is_metric, read_metric

MOST_FIGURES = 8  # metrics that are drawn
CLOSE = 0.05  # a ceiling so far above every run is extrapolated
COLOURS = {TWO_STEPS: (RED, "o"), DIRECT: (BLUE, "s")}


class DownstreamMetrics(Section[tuple[Downstream | Refusal, ...]]):
    """Accuracy against loss and compute; nothing where no column holds an accuracy."""

    name, title = "downstream", "Downstream metrics"

    def compute(self, study: LossStudy) -> tuple[Downstream | Refusal, ...]:
        runs = study.source.runs
        names = [name for name in runs if is_metric(name)]
        if study.source.is_workdir:  # whose columns are there for tasks that know no answers, too
            names = [name for name in names if runs[name].notna().any()]
        if not names or study.empty:
            return ()
        points = select(study.source, study.convention, also=names)
        found = []
        for name in names:
            try:
                metric = read_metric(name, points.table[name])
            except ValueError as error:
                found.append(Refusal(f"downstream {name}", str(error)))
                continue
            found.append(downstream.predict(points, metric))
        return tuple(found)

    def findings(self, study: LossStudy, result: tuple[Downstream | Refusal, ...]) -> list[Finding]:
        return self.about(study, 76, [text for one in _made(result) for text in _about(one)])

    def figures(self, study: LossStudy, result: tuple[Downstream | Refusal, ...]) -> Iterator[Drawing | Refusal]:
        made = _made(result)
        parts = plotting.file_parts([one.metric for one in made])
        for one in made[:MOST_FIGURES]:
            yield _figure(study, one, f"downstream_{parts[one.metric]}")
        for one in made[MOST_FIGURES:]:
            yield Refusal(f"downstream {one.metric}", f"only {MOST_FIGURES} metrics are drawn; fits.json has all")

    def tables(self, study: LossStudy, result: tuple[Downstream | Refusal, ...]) -> list[Table]:
        return [_table(one) for one in _made(result) if one.ways]

    def refusals(self, study: LossStudy, result: tuple[Downstream | Refusal, ...]) -> list[Refusal]:
        return [_refusal(one) for one in result if isinstance(one, Refusal) or one.no_forecast]

    def to_json(self, study: LossStudy, result: tuple[Downstream | Refusal, ...]) -> dict:
        if not result:
            return {}
        return {self.name: {_metric_of(one): or_refused(one, _json) for one in result}}


SECTION = DownstreamMetrics()


def _made(result: tuple[Downstream | Refusal, ...]) -> list[Downstream]:
    return [one for one in result if isinstance(one, Downstream)]


def _refusal(one: Downstream | Refusal) -> Refusal:
    return one if isinstance(one, Refusal) else Refusal(f"downstream forecast of {one.metric}", one.no_forecast)


def _metric_of(one: Downstream | Refusal) -> str:
    return one.method.removeprefix("downstream ") if isinstance(one, Refusal) else one.metric


def _json(one: Downstream) -> dict:
    content = {name: getattr(one, name) for name in ("notes", "cut_flops", "sigmoid", "link_error", "noise", "better")}
    content["no_forecast"] = one.no_forecast
    counts = {"fitted": int((~one.runs["held_out"]).sum()), "held_out": len(one.cells)}
    return {**content, "scatter": one.scatter, **counts, "ways": [asdict(way) for way in one.ways]}


# Sentences


def _about(one: Downstream) -> list[str]:
    return [*one.notes, *(f"{one.metric}: {text}" for text in (_about_sigmoid(one), *_about_forecast(one)))]


def _about_sigmoid(one: Downstream) -> str:
    known = one.sigmoid
    if known["ceiling"] <= known["floor"]:
        return "it does not rise as the loss falls."
    highest = float(one.runs["accuracy"].max())
    beyond = f". No run is above {highest:.3g}, so the ceiling is extrapolated"
    return (
        f"as a sigmoid of the loss it goes from {known['floor']:.3g} to {known['ceiling']:.3g}, half of it at a loss "
        f"of {known['middle']:.4g}{beyond if known['ceiling'] > highest + CLOSE else ''}."
    )


def _about_forecast(one: Downstream) -> list[str]:
    if one.no_forecast:
        return [f"no forecast of the {count(len(one.cells), 'cell')} of the highest compute - {one.no_forecast}."]
    two, direct = one.best(TWO_STEPS), one.best(DIRECT)
    start = f"fitted to the runs up to C = {scientific(one.cut_flops)} FLOP and asked of {_cells(one)}"
    if two is None:
        return [f"{start}, {_says(direct)}. There is no forecast in two steps: {one.ways[0].refused}."]
    sentences = [f"{start}, {_says(two)} and {_says(direct)}. {_verdict(one)}"]
    own = f"given the held-out runs' own losses, the sigmoid of the loss misses by {one.link_error:.3f}."
    return [*sentences, own]


def _cells(one: Downstream) -> str:
    return f"{count(len(one.cells), 'cell')} above it"


def _says(way: Way) -> str:
    steps = f"two steps with a {way.name} miss" if way.family == TWO_STEPS else f"a direct {way.name} misses"
    return f"{steps} by {way.error:.3f} (mean)"


def _verdict(one: Downstream) -> str:
    if one.scatter is None:
        return f"Which is better cannot be judged from fewer than {downstream.MIN_HELD_OUT} cells."
    if one.better is None:
        return f"Neither is better by more than the scatter ({one.scatter:.3f})."
    better = "The two steps predict" if one.better == TWO_STEPS else "The direct way predicts"
    return f"{better} better, by more than the scatter ({one.scatter:.3f})."


def _table(one: Downstream) -> Table:
    rows = tuple(_row(way) for way in one.ways)
    note = (
        f"Mean distance from the measured {one.metric}: of the runs that were fitted, and of {_cells(one)}. Accuracies "
        "are shares. Sources: " + ", ".join(sorted({way.source for way in one.ways if way.source})) + "."
    )
    return Table(f"Predictions of {one.metric}", ("way", "formula", "constants", "fitted", "held out"), rows, note)


def _row(way: Way) -> tuple[str | tuple[str, ...], ...]:
    if way.refused:
        return (f"{way.family}: {way.name}", way.formula, f"refused: {way.refused}", "", "")
    constants = tuple(f"{name} = {value:.4g}" for name, value in way.constants.items())
    return (f"{way.family}: {way.name}", way.formula, constants, f"{way.fitted_error:.4f}", f"{way.error:.4f}")


# Figure


def _figure(study: LossStudy, one: Downstream, name: str) -> Drawing:
    """Accuracy against loss with the sigmoid of the runs below the cut; predicted against measured accuracy."""
    figure, (left, *right) = plotting.new_figure(2 if one.ways else 1)
    colour = plotting.colours(one.runs["size"])
    _draw_runs(left, one.runs, colour)
    below = one.ways[0].constants if one.ways else {}
    x = np.geomspace(one.runs["loss"].min(), one.runs["loss"].max(), 200)
    curve = downstream.sigmoid({"loss": x}, **(below or one.sigmoid))
    left.plot(x, curve, color=plotting.BLACK, lw=1.2, label=f"sigmoid of {'the runs below' if below else 'all runs'}")
    plotting.log_axis(left, "x", plotting.loss_label(study.loss, study.source.loss_unit))
    left.set_ylabel(one.metric)
    for axes in right:
        _draw_predictions(axes, one)
    for axes in (left, *right):
        axes.set_ylim(-0.04, 1.04)
    plotting.colour_bar(figure, left, colour, one.runs["size"], SIZE_LABELS[study.convention.size])
    plotting.legend_above(figure, 2)
    caption = (
        f"{one.metric} of the finished runs against their loss. Hollow are the runs above C = "
        f"{scientific(one.cut_flops)} FLOP, which were held out."
    )
    if one.ways:
        caption += (
            f" On the right {one.metric} of the held-out cells, predicted from the runs below, against the measured "
            "mean over their seeds."
        )
    return Drawing(name, f"{one.metric} from the loss", caption, figure, _numbers(one))


def _draw_runs(axes: Axes, runs: pd.DataFrame, colour) -> None:
    dense = len(runs) > plotting.MANY_MARKS  # then the SVG holds a picture of smaller dots
    for held, group in runs.groupby("held_out"):
        colours, size = colour.to_rgba(group["size"]), 4 if dense else 20 if held else 13
        style = {"facecolor": "white", "edgecolor": colours, "linewidth": 0.5 if dense else 1.2}
        axes.scatter(
            group["loss"],
            group["accuracy"],
            s=size,
            zorder=3,
            rasterized=dense,
            **(style if held else {"color": colours}),
        )


def _draw_predictions(axes: Axes, one: Downstream) -> None:
    axes.plot([0, 1], [0, 1], color="#999999", lw=1)
    for family, (colour, marker) in COLOURS.items():
        way = one.best(family)
        if way is not None:
            label = f"{family}: {way.name}"
            axes.scatter(one.cells["accuracy"], way.accuracy, color=colour, marker=marker, s=26, label=label, zorder=3)
    axes.set_xlim(-0.04, 1.04)
    axes.set_xlabel(f"measured {one.metric}")
    axes.set_ylabel(f"predicted {one.metric}")


def _numbers(one: Downstream) -> pd.DataFrame:
    predicted = {way.name: way.accuracy for way in one.ways if way.accuracy is not None}
    held = one.cells.assign(kind="held-out cell", **predicted)
    return pd.concat([one.runs.assign(kind="run"), held], ignore_index=True)
