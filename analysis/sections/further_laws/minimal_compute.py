"""C_min in Kaplan's reading: which runs are the batch-size study, and what the report says of it."""

from dataclasses import replace

import pandas as pd

from vsweep.analysis import plotting
from vsweep.analysis.approaches import critical_batch
from vsweep.analysis.approaches.compute_frontier import PF_DAY
from vsweep.analysis.approaches.critical_batch import MinimalCompute
from vsweep.analysis.approaches.kaplan_curves import KaplanCurves
from vsweep.analysis.data.points import select
from vsweep.analysis.data.source import Convention, Refusal, Source
from vsweep.analysis.formatting import metric
from vsweep.analysis.plotting import SIZE_LABELS, Drawing
from vsweep.analysis.sections.base import Table

BATCH = "batch_size"
LOSS_LABEL = "validation loss (nats/token)"


def of_one_batch(source: Source) -> Source:
    """The runs of the batch size that most model sizes have, so that all curves spend C in the same way."""
    if BATCH not in source.runs or source.runs[BATCH].nunique() < 2:
        return source
    sizes = source.runs.groupby(BATCH)["params"].nunique()
    return replace(source, runs=source.runs[source.runs[BATCH] == sizes.idxmax()].reset_index(drop=True))


def of_study(source: Source, result: KaplanCurves, convention: Convention) -> MinimalCompute | Refusal:
    """The line against C_min, from the size with the most batch sizes."""
    if BATCH not in source.runs or source.runs[BATCH].nunique() < 2:
        return Refusal(critical_batch.METHOD, "batch sizes do not vary")
    points = select(source, convention, also=(BATCH,), best_settings=False)
    if points.curves is None:
        return Refusal(critical_batch.METHOD, "no finished run has a curve")
    size = points.table.groupby("size")[BATCH].nunique().idxmax()
    curves = points.curves[points.curves["size"] == size]
    return critical_batch.minimal_compute(result.curves, result.used, curves, level=convention.level)


def sentences(minimal: MinimalCompute | Refusal, level: float) -> list[str]:
    """What C and C_min are, and what the runs say of the latter."""
    what = (
        "C is what the runs spend at the batch size that they have. C_min is what the same losses would have cost at "
        "batches far below the critical one, C / (1 + B / B_crit). Kaplan's slope of -0.050 is against C_min; "
        "against C, at one equal batch size, they found -0.057"
    )
    if isinstance(minimal, Refusal):
        return [f"{what}. C_min cannot be computed here: {minimal.reason}."]
    critical, levels = minimal.critical, minimal.critical.levels["loss"]
    return [
        f"{what}. Here the line against C_min has the slope {-minimal.line.a:.4f} ({minimal.low:.4f} to "
        f"{minimal.high:.4f} in {100 * level:g} % of {minimal.resamples} resamples of whole runs).",
        f"the critical batch is B_crit = {metric(critical.B_star)} tokens / L^(1 / {critical.alpha_B:.3f}), measured "
        f"at losses from {levels.min():.3f} to {levels.max():.3f} with {len(critical.batches)} batch sizes of one "
        f"model. Beyond these losses, and for other sizes, it is an assumption.",
    ]


def table(minimal: MinimalCompute) -> Table:
    """B_crit at each loss."""
    head = ("loss", "S_min, steps", "E_min, tokens", "B_crit, tokens", "batch sizes")
    rows = tuple(
        (f"{row.loss:.3f}", metric(row.S_min), metric(row.E_min), metric(row.B_crit), str(int(row.batches)))
        for row in minimal.critical.levels.itertuples()
    )
    note = (
        "(S / S_min - 1) (E / E_min - 1) = 1 is fitted at each loss to the runs that reach it. B_crit is E_min / S_min."
    )
    return Table("The critical batch size", head, rows, note)


def figure(minimal: MinimalCompute) -> Drawing:
    """Loss against C_min in PF-days, with the line under all curves."""
    figure, (axes,) = plotting.new_figure()
    curves, colour = minimal.curves, plotting.colours(minimal.curves["size"])
    for (size, _), run in curves.groupby(["size", "run_id"]):
        axes.plot(run["c_min"] / PF_DAY, run["loss"], lw=0.9, alpha=0.75, color=colour.to_rgba(size))
    ends = minimal.line.vertices["flops"]
    label = f"line against C_min {-minimal.line.a:.4f}"
    axes.plot(ends / PF_DAY, minimal.line.loss(ends), color=plotting.RED, lw=1.6, label=label)
    plotting.log_axis(axes, "x", "C_min without embeddings (PF-days)")
    plotting.log_axis(axes, "y", LOSS_LABEL)
    plotting.colour_bar(figure, axes, colour, curves["size"], SIZE_LABELS["params_non_embedding"])
    plotting.legend_above(figure, 1)
    caption = (
        "Each line is a run. Its compute is divided by 1 + B / B_crit at its own loss, which is what it would have "
        "cost at a batch far below the critical one."
    )
    return Drawing("kaplan_c_min", "Loss against C_min", caption, figure, pd.DataFrame(curves))


def to_json(minimal: MinimalCompute) -> dict:
    """For fits.json."""
    critical = minimal.critical
    return {
        "slope": -minimal.line.a,
        "slope_low": minimal.low,
        "slope_high": minimal.high,
        "resamples": minimal.resamples,
        "C0_pf_days": minimal.line.C0_pf_days,
        "B_star_tokens": critical.B_star,
        "alpha_B": critical.alpha_B,
        "misfit_log": critical.misfit_log,
        "batches_tokens": list(critical.batches),
        "levels": critical.levels.to_dict("records"),
    }
