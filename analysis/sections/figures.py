"""The figures of a study: small functions from numbers to a `Drawing`, or to a `Refusal` instead of an empty one."""

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from vsweep.analysis import plotting
from vsweep.analysis.approaches import envelope, isoflop, optimal_path, parametric
from vsweep.analysis.data.cells import MANY_SEEDS
from vsweep.analysis.data.points import Convention, Refusal, Source
from vsweep.analysis.plotting import Drawing
from vsweep.analysis.sections.study import Approach, LossStudy
from vsweep.analysis.sections.wording import assessed
from vsweep.analysis.uncertainty.estimates import optimal_sizes
from vsweep.analysis.uncertainty.intervals import LEVEL

LOSS_LABELS = {
    "excess_loss": "excess loss (nats/token)",
    "answer_loss": "answer loss (nats/token)",
    "val_loss": "validation loss (nats/token)",
    "loss": "loss",
}
SIZE_LABELS = {"params": "N (parameters)", "params_non_embedding": "N (parameters without embeddings)"}
TOKENS_LABEL = "D (training tokens)"
FLOP_LABELS = {"flops_6nd": "C = 6ND (FLOP)", "flops_counted": "C, counted (FLOP)", "flops_own": "C (FLOP)"}
APPROACHES = {
    envelope.METHOD: ("lower envelope", plotting.ORANGE, "o"),
    isoflop.PARABOLA: ("IsoFLOP, parabola", plotting.BLUE, "s"),
    isoflop.AKIMA: ("IsoFLOP, Akima", plotting.GREEN, "D"),
    parametric.METHOD: ("parametric", plotting.RED, ""),
}
LAW_STYLES = (
    (plotting.RED, "o"),
    (plotting.BLUE, "s"),
    (plotting.GREEN, "D"),
    (plotting.ORANGE, "^"),
    (plotting.SKY, "v"),
    (plotting.PINK, "P"),
)
EDGE_MARKERS = {optimal_path.EDGE_SMALL: "<", optimal_path.EDGE_LARGE: ">", optimal_path.NO_MINIMUM: "x"}


def all_figures(source: Source, study: LossStudy) -> Iterator[Drawing | Refusal]:
    """Every figure of one loss convention, one after the other, so that only one is held in memory."""
    makers: list[Callable] = [
        loss_curves,
        isoflop_valleys,
        loss_surface,
        loss_lines,
        seed_spread,
        optimal_params,
        forecast_error,
    ]
    for make in makers:
        yield Refusal(make.__name__, "no points") if study.points.table.empty else make(study)
    if source.is_workdir:
        yield loss_and_match(source, study)


def loss_curves(study: LossStudy) -> Drawing | Refusal:
    """Loss against compute: one curve a size and budget (mean over seeds), its end, and the envelope below."""
    if study.points.curves is None:
        return _points_with_hull(study)
    curves = envelope.mean_curves(study.points)
    if curves.empty:
        return Refusal("loss_curves", "no finished run has a curve")
    figure, (axes,) = plotting.new_figure()
    colour = plotting.colours(study.cells["size"])
    for (size, _), run in curves.groupby(["size", "budget"]):
        axes.plot(run["flops"], np.exp(run["log_loss"]), color=colour.to_rgba(size), lw=1, alpha=0.75)
    ends = study.cells
    axes.scatter(ends["flops"], ends["loss"], c=colour.to_rgba(ends["size"]), s=14, zorder=3)
    lowest = envelope.lower_envelope(study.points, study.convention.annealed_only)
    counted = lowest[lowest["status"] == optimal_path.INTERIOR]
    shown = "counted for the law"
    axes.plot(lowest["flops"], lowest["loss"], color=plotting.BLACK, lw=1, alpha=0.45, label="lower envelope")
    if len(counted):
        axes.scatter(counted["flops"], counted["loss"], color=plotting.ORANGE, s=7, zorder=4, label=shown)
    _finish(figure, axes, study.convention, colour, study.cells["size"])
    plotting.legend_above(figure, 2)
    numbers = curves.assign(loss=np.exp(curves["log_loss"])).drop(columns="log_loss")
    caption = (
        f"{len(ends)} loss curves, each a mean over its seeds, with the loss of the finished runs as dots and the "
        f"lower envelope. {len(counted)} of {len(lowest)} values of C on the envelope are counted: those where the "
        f"winner is neither the smallest nor the largest size that reaches this C{_annealing(counted)}."
    )
    return Drawing("loss_curves", "Loss curves and their lower envelope", caption, figure, numbers)


def _annealing(counted: pd.DataFrame) -> str:
    if counted["annealed"].all():
        return " and is in the last 15 % of its run"
    share = 1 - counted["annealed"].mean()
    return f"; at {share:.0%} of them it has not annealed yet, for too few sizes ever win annealed"


def _points_with_hull(study: LossStudy) -> Drawing | Refusal:
    table = study.points.table
    if _one_compute(study):
        return Refusal("loss_curves", "all points have the same compute")
    figure, (axes,) = plotting.new_figure()
    colour = plotting.colours(table["size"])
    axes.scatter(table["flops"], table["loss"], c=colour.to_rgba(table["size"]), s=16)
    hull = envelope.lower_hull(study.points)
    axes.plot(hull["flops"], hull["loss"], color=plotting.BLACK, lw=1, marker="o", ms=4, mfc="none", label="lower hull")
    _finish(figure, axes, study.convention, colour, study.cells["size"])
    plotting.legend_above(figure, 1)
    caption = f"{len(table)} points and the {len(hull)} vertices of their lower hull; the table holds no loss curves."
    return Drawing("loss_curves", "Loss against compute", caption, figure, table)


def _one_compute(study: LossStudy) -> bool:
    return bool(np.ptp(np.log(study.points.column("flops"))) < 1e-6)


def _finish(figure: Figure, axes: Axes, convention: Convention, colour: ScalarMappable, sizes: pd.Series) -> None:
    """Axes of a figure of loss against compute, coloured by size."""
    plotting.log_axis(axes, "x", FLOP_LABELS[convention.flops])
    plotting.log_axis(axes, "y", LOSS_LABELS[convention.loss])
    plotting.colour_bar(figure, axes, colour, sizes, SIZE_LABELS[convention.size])


def isoflop_valleys(study: LossStudy) -> Drawing | Refusal:
    """Loss against size at each compute level, with the minima; those at an edge are open triangles."""
    found = isoflop.valleys(study.points)
    if not found:
        needed = isoflop.MIN_SIZES
        return Refusal("isoflop_valleys", f"no compute level at which {needed} sizes have finished runs on both sides")
    figure, (axes,) = plotting.new_figure()
    colour = plotting.colours(np.array([valley.flops for valley in found]), "cividis")
    for valley in found:
        axes.plot(valley.params, valley.loss, color=colour.to_rgba(valley.flops), lw=1.1, marker=".", ms=5)
    minima = isoflop.optima(found, isoflop.PARABOLA)
    _mark_minima(axes, minima)
    plotting.log_axis(axes, "x", SIZE_LABELS[study.convention.size], units=True)
    plotting.log_axis(axes, "y", LOSS_LABELS[study.convention.loss])
    plotting.colour_bar(figure, axes, colour, minima["flops"], FLOP_LABELS[study.convention.flops], units=False)
    plotting.legend_above(figure, 3)
    interior = int((minima["status"] == optimal_path.INTERIOR).sum())
    how = "PCHIP in log C between the budgets of a size, mean over seeds"
    if optimal_path.is_labelled(study.points):
        how = "as the table labels its groups"
    caption = (
        f"Loss of the finished runs against size at {len(found)} compute levels ({how}). {interior} minima are "
        "interior; one at the smallest or largest size is shown and left out of the fit."
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


def loss_surface(study: LossStudy) -> Drawing | Refusal:
    """L(N, D) of the parametric law as contours with the points in the same colours, and the compute-optimal path."""
    table = study.cells
    if table["size"].nunique() < 2 or table["tokens"].nunique() < 2:
        return Refusal("loss_surface", "needs two sizes and two budgets")
    figure, (axes,) = plotting.new_figure()
    colour = plotting.colours(table["loss"])
    limits = [(table[name].min() / 1.25, table[name].max() * 1.25) for name in ("size", "tokens")]
    if study.law:
        _surface(axes, study, colour, limits)
    axes.scatter(
        table["size"], table["tokens"], c=colour.to_rgba(table["loss"]), s=34, edgecolor="white", lw=0.7, zorder=3
    )
    axes.set_xlim(*limits[0])
    axes.set_ylim(*limits[1])
    plotting.log_axis(axes, "x", SIZE_LABELS[study.convention.size], units=True)
    plotting.log_axis(axes, "y", TOKENS_LABEL, units=True)
    plotting.colour_bar(figure, axes, colour, table["loss"], LOSS_LABELS[study.convention.loss], units=False)
    if study.law:
        plotting.legend_above(figure, 1)
    law = "The parametric law as surface" if study.law else "No parametric law could be fitted"
    caption = (
        f"{law}; the finished runs (mean over seeds) as dots in the same colours: a dot that stands out is missed."
    )
    numbers = table[["size", "tokens", "flops", "loss"]]
    if study.law:
        numbers = numbers.assign(law=study.law.loss(table["params"], table["tokens"]))
    return Drawing("loss_surface", "L(N, D)", caption, figure, numbers)


def _surface(axes: Axes, study: LossStudy, colour: ScalarMappable, limits: list) -> None:
    params, tokens = (np.geomspace(*limit, 90) for limit in limits)
    loss = study.law.loss(params[None, :], tokens[:, None])
    levels = np.geomspace(loss.min(), loss.max(), 25)
    axes.contourf(params, tokens, loss, levels=levels, cmap=colour.cmap, norm=colour.norm)
    axes.contour(params, tokens, loss, levels=levels[::3], colors="white", linewidths=0.5)
    flops = np.geomspace(study.points.column("flops").min(), study.points.column("flops").max(), 100)
    best = optimal_sizes(study.law, study.points, flops)
    axes.plot(*best, color=plotting.BLACK, lw=1.6, ls="--", label="compute-optimal path of the law")


def loss_lines(study: LossStudy) -> Drawing | Refusal:
    """Loss against N at each budget and against D at each size, with the range over seeds as a band."""
    convention, table = study.convention, study.cells
    panels = [
        ("size", "budget", SIZE_LABELS[convention.size], TOKENS_LABEL),
        ("tokens", "size", TOKENS_LABEL, SIZE_LABELS[convention.size]),
    ]
    panels = [panel for panel in panels if (table.groupby(panel[1])[panel[0]].nunique() > 1).any()]
    name = f"loss_lines_{convention.loss}"
    if not panels:
        return Refusal(name, "no budget with two sizes and no size with two budgets")
    figure, all_axes = plotting.new_figure(len(panels))
    for axes, (moving, held, x_label, bar_label) in zip(all_axes, panels, strict=True):
        colour = plotting.colours(table[held])
        for at, group in table.groupby(held):
            group = group.sort_values(moving)
            style = {"color": colour.to_rgba(at)}
            axes.plot(group[moving], group["loss"], lw=1.2, marker="o", ms=3.2, **style)
            axes.fill_between(group[moving], group["low"], group["high"], alpha=0.15, lw=0, **style)
        plotting.log_axis(axes, "x", x_label, units=True)
        plotting.log_axis(axes, "y", LOSS_LABELS[convention.loss])
        plotting.colour_bar(figure, axes, colour, table[held], bar_label)
    seeds = "; the band spans the seeds" if study.points.seeds else ""
    caption = f"Each line holds the quantity of its colour bar (geometric means{seeds})."
    numbers = table[["size", "budget", "tokens", "loss", "low", "high", "seeds"]]
    title = f"{LOSS_LABELS[convention.loss].split(' (')[0].capitalize()} against N and against D"
    return Drawing(name, title, caption, figure, numbers)


def seed_spread(study: LossStudy) -> Drawing | Refusal:
    """The distribution of the loss over seeds, one step line for each cell that has enough of them."""
    name = f"seed_spread_{study.convention.loss}"
    many = study.cells[study.cells["seeds"] >= MANY_SEEDS]
    if many.empty:
        return Refusal(name, f"no cell with {MANY_SEEDS} seeds")
    figure, (axes,) = plotting.new_figure()
    colour = plotting.colours(many["tokens"])
    numbers = []
    for size, budget, tokens in many[["size", "budget", "tokens"]].itertuples(index=False):
        losses = np.sort(study.points.losses_of(size, budget))
        share = np.arange(1, len(losses) + 1) / len(losses)
        axes.step(losses, share, where="post", color=colour.to_rgba(tokens), lw=1.4)
        numbers.append(pd.DataFrame({"size": size, "budget": budget, "loss": losses, "share_at_or_below": share}))
    plotting.log_axis(axes, "x", LOSS_LABELS[study.convention.loss])
    axes.set_ylabel("share of seeds at or below")
    plotting.colour_bar(figure, axes, colour, many["tokens"], TOKENS_LABEL)
    caption = f"How {', '.join(str(n) for n in sorted(set(many['seeds'])))} seeds of the same size and budget end."
    return Drawing(name, "Scatter between seeds", caption, figure, pd.concat(numbers))


def optimal_params(study: LossStudy) -> Drawing | Refusal:
    """N_opt(C) by all approaches: the optima as markers, the fits as lines over the compute of the data."""
    fitted = [approach for approach in study.approaches if not approach.refused]
    if not fitted:
        return Refusal("optimal_params", "every approach was refused")
    if _one_compute(study):
        return Refusal("optimal_params", "all points have the same compute")
    figure, (axes,) = plotting.new_figure()
    flops = np.geomspace(study.points.column("flops").min(), study.points.column("flops").max(), 200)
    numbers = []
    for approach in fitted:
        label, colour, marker = APPROACHES[approach.method]
        is_path = isinstance(approach.result, optimal_path.PathFit)
        params = approach.result.params_opt(flops) if is_path else optimal_sizes(study.law, study.points, flops)[0]
        numbers.append(pd.DataFrame({"method": approach.method, "kind": "fit", "flops": flops, "params": params}))
        own = np.ones(len(flops), bool)
        if is_path:
            used = approach.result.used
            some = optimal_path.thinned(used)
            axes.scatter(some["flops"], some["params"], color=colour, marker=marker, s=14, alpha=0.85, zorder=3)
            numbers.append(used[["flops", "params"]].assign(method=approach.method, kind="optimum"))
            own = (flops >= used["flops"].min()) & (flops <= used["flops"].max())
        if _has_interval(approach):
            drawn = optimal_sizes(approach.resamples, study.points, flops)[0]
            low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
            axes.fill_between(flops, low, high, color=colour, alpha=0.15, lw=0)
            numbers[-1] = numbers[-1].assign(low=low, high=high)
        axes.plot(flops, params, color=colour, lw=1, ls=":", alpha=0.7)
        axes.plot(flops[own], params[own], color=colour, lw=1.8, label=f"{label}: a = {approach.a:.3f}")
    sizes = study.cells["size"]
    for size in (sizes.min(), sizes.max()):
        axes.axhline(size, color="#999999", lw=0.8)
    axes.set_ylim(sizes.min() / 2.5, sizes.max() * 2.5)
    plotting.log_axis(axes, "x", FLOP_LABELS[study.convention.flops])
    plotting.log_axis(axes, "y", SIZE_LABELS[study.convention.size], units=True)
    plotting.legend_above(figure, 2)
    refused = [APPROACHES[approach.method][0] for approach in study.approaches if approach.refused]
    missing = f" Refused: {', '.join(refused)}." if refused else ""
    banded = any(_has_interval(approach) for approach in fitted)
    band = f" The band holds {LEVEL:.0%} of the resampled parametric laws." if banded else ""
    caption = (
        "N_opt ~ C^a by each approach. Grey: the smallest and largest size trained. A line is dotted beyond the optima "
        f"that it was fitted to.{band}{missing}"
    )
    return Drawing("optimal_params", "Compute-optimal size", caption, figure, pd.concat(numbers, ignore_index=True))


def _has_interval(approach: Approach) -> bool:
    known = assessed(approach, "a")
    return approach.resamples is not None and bool(known) and known[-1].form.endswith("% interval")


def forecast_error(study: LossStudy) -> Drawing | Refusal:
    """Error of the forecast of the dearest runs against the compute that the fit was given, a line a law."""
    curve, forecast = study.learning_curve, study.forecast
    for refused in (curve, forecast):
        if isinstance(refused, Refusal):
            return Refusal("forecast_error", refused.reason)
    figure, (axes,) = plotting.new_figure()
    for (law, line), style in zip(curve.groupby("law", sort=False), itertools.cycle(LAW_STYLES)):
        colour, marker = style
        axes.plot(line["flops"], line["rms_log"], color=colour, marker=marker, ms=4.5, lw=1.4, label=law)
    axes.axhline(forecast.yardstick_log, color=plotting.BLACK, lw=1, ls=":", label=forecast.yardstick)
    plotting.log_axis(axes, "x", "compute of the runs that were fitted (FLOP)")
    plotting.log_axis(axes, "y", "error of the forecast (log loss)")
    plotting.legend_above(figure, 2)
    caption = (
        f"Root-mean-square error of {forecast.predicted} runs held out ({forecast.held_out}), for laws fitted to the "
        "cheapest 40 % to 100 % of the others. A line that no longer falls says that more cheap runs do not help."
    )
    return Drawing("forecast_error", "Forecast error against the compute of the fit", caption, figure, curve)


def loss_and_match(source: Source, study: LossStudy) -> Drawing | Refusal:
    """Loss and exact match of every finished run against compute, one beside the other."""
    table = study.points.table
    matches = source.runs.set_index("run_id")["exact_match"]
    if table.empty or matches.reindex(table["run_id"]).isna().all():
        return Refusal("loss_and_match", "no finished run has an exact match")
    table = table.assign(exact_match=pd.to_numeric(matches.reindex(table["run_id"])).to_numpy())
    figure, (left, right) = plotting.new_figure(2)
    colour = plotting.colours(table["size"])
    for axes, column in ((left, "loss"), (right, "exact_match")):
        axes.scatter(table["flops"], table[column], c=colour.to_rgba(table["size"]), s=16, alpha=0.8)
        plotting.log_axis(axes, "x", FLOP_LABELS[study.convention.flops])
    plotting.log_axis(left, "y", LOSS_LABELS[study.convention.loss])
    right.set_ylim(-0.03, 1.03)
    right.set_ylabel("exact match (share of held-out examples)")
    plotting.colour_bar(figure, right, colour, table["size"], SIZE_LABELS[study.convention.size])
    caption = "One dot a run, seeds apart. A smooth fall of the loss can still be a sudden rise of whole right answers."
    numbers = table[["run_id", "params", "tokens", "flops", "seed", "loss", "exact_match"]]
    return Drawing("loss_and_match", "Loss and exact match against compute", caption, figure, numbers)
