"""The runs themselves: how many, what their design can never tell, how far seeds scatter, and which no fit sees."""

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from scipy import special

from vsweep import schema
from vsweep.analysis import plotting
from vsweep.analysis.data.cells import MANY_SEEDS
from vsweep.analysis.data.design_checks import DesignProblem, design_problems
from vsweep.analysis.data.points import Exclusion, varying_settings
from vsweep.analysis.data.source import Refusal, Source
from vsweep.analysis.formatting import metric
from vsweep.analysis.plotting import FLOP_LABELS, SIZE_LABELS, TOKENS_LABEL, Drawing
from vsweep.analysis.sections.base import Finding, LossStudy, Section, Table, convention_json, long_table

MANY_CELLS, SOME_CELLS = 40, 12  # with many seeds: where there are more than many, some are described and drawn
DASHES = ("-", "--", ":", "-.")
MIDDLE = (0.05, 0.5, 0.95)  # quantiles: the median, and the ends of the middle 90 % of the seeds
WIDE_SEED_RATIO = 1.5  # highest over lowest loss of a cell from which a single seed says little


class Runs(Section[tuple[DesignProblem, ...]]):
    """The runs themselves: how many, their seeds, and what their design cannot tell."""

    name, title = "runs", "Runs and seeds"

    def compute(self, study: LossStudy) -> tuple[DesignProblem, ...]:
        return tuple(design_problems(study.points.table, has_curves=study.points.curves is not None))

    def findings(self, study: LossStudy, result: tuple[DesignProblem, ...]) -> list[Finding]:
        source = [Finding(None, self.name, 0, text) for text in (about_runs(study.source) if study.first else [])]
        if study.empty:
            return source + self.about(study, 10, ["no finished run has a usable value, so nothing was fitted."])
        return [
            *source,
            *self.about(study, 10, [problem.text for problem in result]),
            *self.about(study, 80, about_seeds(study)),
        ]

    def figures(self, study: LossStudy, result: tuple[DesignProblem, ...]) -> Iterator[Drawing | Refusal]:
        yield seed_spread(study)
        if study.source.is_workdir:
            yield loss_and_match(study)

    def to_json(self, study: LossStudy, result: tuple[DesignProblem, ...]) -> dict:
        ratio = study.cells["ratio"][study.cells["seeds"] > 1]
        points = study.points
        spans = {} if study.empty else {name: _span(study, name) for name in ("params", "tokens", "flops")}
        return {
            "convention": convention_texts(study),
            "floor_value": _floor_value(study),
            "range": spans,
            "points": len(points.table),
            "seeds": len(points.seeds),
            "design": [{"kind": problem.kind, "text": problem.text, "fatal": problem.fatal} for problem in result],
            "seed_noise_log": study.noise_log,
            "seed_ratio": {"median": ratio.median(), "max": ratio.max()} if len(ratio) else None,
            **({"seed_spread": spread} if (spread := seed_spread_json(study)) else {}),
        }


class Exclusions(Section[tuple[Exclusion, ...]]):
    """Which runs no fit has seen, and why."""

    name, title = "exclusions", "Excluded runs"

    def compute(self, study: LossStudy) -> tuple[Exclusion, ...]:
        return study.points.exclusions

    def findings(self, study: LossStudy, result: tuple[Exclusion, ...]) -> list[Finding]:
        if not result:
            return []
        counts = Counter(exclusion.kind for exclusion in result)  # in the order of the runs
        parts = ", ".join(f"{number} {kind}" for kind, number in counts.items())
        return self.about(study, 140, [f"excluded from the fits: {parts}."])

    def tables(self, study: LossStudy, result: tuple[Exclusion, ...]) -> list[Table]:
        if not result:
            return []
        rows = ((entry.run_id, entry.kind, entry.reason) for entry in result)
        head = ("run", "kind", "reason")
        return [long_table("Excluded runs", head, rows, total=len(result), where="fits.json")]

    def to_json(self, study: LossStudy, result: tuple[Exclusion, ...]) -> dict:
        return {"exclusions": [{"run_id": entry.run_id, "reason": entry.reason} for entry in result]}


SECTION, EXCLUSIONS = Runs(), Exclusions()


def convention_texts(study: LossStudy) -> dict:
    """The convention with everything that a fit under it was told."""
    convention = study.convention
    texts = {"objective": convention.objective.describe(), "text": convention.describe()}
    told = {name: getattr(convention, name) for name in ("level", "isoflop_window", "isoflop_weights")}
    return {**convention_json(study), **texts, **told}


def _span(study: LossStudy, name: str) -> list[float]:
    values = study.points.column(name)
    return [values.min(), values.max()]


def _floor_value(study: LossStudy) -> float | None:
    """The floor of an excess loss, which every run of a task shares; null where runs have different ones, or none."""
    table = study.points.table
    if study.loss != "excess_loss" or "floor" not in table or table.empty:
        return None
    return float(table["floor"].iloc[0]) if np.ptp(table["floor"]) < 1e-9 else None


# Sentences


def about_runs(source: Source) -> list[str]:
    """How many runs there are and what became of them."""
    total = len(source.runs)
    if not source.is_workdir:
        return [*source.warnings, f"The table holds {total} points.", *source.notes]
    finished, diverged = source.count("finished"), source.count("diverged")
    sentences = [f"{finished} of {total} runs are finished, {diverged} diverged.", *_about_lost_widths(source)]
    if finished + diverged < total:
        sentences.append("Training is still running: every number below will change.")
    return sentences + _about_settings(source.runs, varying_settings(source.runs, source.settings))


def _about_settings(runs: pd.DataFrame, settings: list[str]) -> list[str]:
    """Which settings vary: within cells, where the best one is chosen, or only from cell to cell, as by a formula."""
    cells = runs.groupby(["params", "budget"])
    within = [name for name in settings if (cells[name].nunique(dropna=False) > 1).any()]
    between = [name for name in settings if name not in within]
    sentences = []
    if within:
        sentences.append(
            f"The sweep also varies {', '.join(within)}. Each cell of size and budget keeps the setting with the "
            "lowest mean loss. The others are listed under excluded runs. The best of several is slightly optimistic."
        )
    if between:
        sentences.append(
            f"The sweep also varies {', '.join(between)}, but only from one cell of size and budget to another: no "
            "run is left out for it."
        )
    return sentences


def _about_lost_widths(source: Source) -> list[str]:
    """Widths of which nothing is left: a fit to the others does not show that they are missing."""
    all_diverged = (source.runs["status"] == schema.DIVERGED).groupby(source.runs["width"]).all()
    lost = [str(width) for width in all_diverged.index[all_diverged]]
    if not lost:
        return []
    widths = f"width{'s' if len(lost) > 1 else ''} {', '.join(lost)}"
    return [f"Every run of {widths} diverged, so no fit uses them. Train them with a smaller lr or a warmup."]


def about_seeds(study: LossStudy) -> list[str]:
    """How far apart the seeds of a cell are."""
    repeated = study.cells[study.cells["seeds"] > 1]
    if repeated.empty:
        seeds = "there is only one seed per cell" if study.points.seeds else "no seeds are named"
        return [f"{seeds}, so the scatter between seeds is unknown."]
    worst = repeated.loc[repeated["ratio"].idxmax()]
    sentence = (
        f"the worst seed's loss is {repeated['ratio'].median():.2f} times the best seed's in the median cell, and at "
        f"most {worst['ratio']:.2f} times ({_named(study, worst)})"
    )
    matters = worst["ratio"] > WIDE_SEED_RATIO
    return [sentence + (". There a single seed says little." if matters else "."), *_about_many_seeds(study)]


def _named(study: LossStudy, cell: Mapping) -> str:
    """Such as `N = 3.58k, D = 1M`; of a table with one variable, this one alone."""
    if study.source.variable:
        return f"{study.source.variable} = {metric(cell['budget'])}"
    return f"N = {metric(cell['size'])}, D = {metric(cell['tokens'])}"


def _about_many_seeds(study: LossStudy) -> list[str]:
    sentences, (many, some) = [], cells_of_many_seeds(study)
    if len(many) > len(some):
        sentences.append(f"{len(many)} cells have {MANY_SEEDS} seeds or more; {SOME_CELLS} of them follow.")
    for cell in some.itertuples():
        low, middle, high = np.quantile(study.points.losses_of(cell.size, cell.budget), MIDDLE)
        sentences.append(
            f"over {cell.seeds} seeds at {_named(study, cell._asdict())} the median loss is {middle:.3g}, and "
            f"the middle 90 % lie between {low:.3g} and {high:.3g}."
        )
    return sentences


# Many seeds


def cells_of_many_seeds(study: LossStudy) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The cells with enough seeds for a distribution, and those of them that are described and drawn."""
    many = study.cells[study.cells["seeds"] >= MANY_SEEDS]
    if len(many) <= MANY_CELLS:
        return many, many
    return many, many.iloc[np.linspace(0, len(many) - 1, SOME_CELLS).round().astype(int)]


def seed_spread_json(study: LossStudy) -> list[dict]:
    """How far the seeds of each cell that is drawn lie apart, and how well their mean is known.

    `p05`, `median` and `p95` are quantiles of the seeds. `mean` is the geometric mean; Student's t on log loss gives
    the interval `mean_low` to `mean_high` that covers it in the share `level` of such studies.
    """
    spread = []
    for cell in cells_of_many_seeds(study)[1].itertuples():
        losses = study.points.losses_of(cell.size, cell.budget)
        p05, median, p95 = np.quantile(losses, MIDDLE)
        reach = special.stdtrit(cell.seeds - 1, (1 + study.convention.level) / 2) * cell.sd_log / np.sqrt(cell.seeds)
        ends = {"mean_low": cell.loss * np.exp(-reach), "mean_high": cell.loss * np.exp(reach)}
        of_cell = {name: getattr(cell, name) for name in ("size", "budget", "params", "tokens", "seeds", "sd_log")}
        of_seeds = {"lowest": cell.low, "p05": p05, "median": median, "p95": p95, "highest": cell.high}
        spread.append({**of_cell, **of_seeds, "mean": cell.loss, **ends})
    return spread


# Figures


def seed_spread(study: LossStudy) -> Drawing | Refusal:
    """The distribution of the loss over seeds, one step line for each cell that has enough of them."""
    name = f"seed_spread_{study.loss}"
    all_such, many = cells_of_many_seeds(study)
    if many.empty:
        return Refusal(name, f"no cell with {MANY_SEEDS} seeds")
    drawn = f" {SOME_CELLS} of {len(all_such)} such cells are drawn." if len(all_such) > len(many) else ""
    figure, (axes,) = plotting.new_figure()
    colour = plotting.colours(many["tokens"])
    numbers, dashes = [], _dashes(many["size"])
    for size, budget, tokens in many[["size", "budget", "tokens"]].itertuples(index=False):
        losses = np.sort(study.points.losses_of(size, budget))
        share = np.arange(1, len(losses) + 1) / len(losses)
        axes.step(losses, share, where="post", color=colour.to_rgba(tokens), lw=1.4, ls=dashes.get(size, "-"))
        numbers.append(pd.DataFrame({"size": size, "budget": budget, "loss": losses, "share_at_or_below": share}))
    plotting.log_axis(axes, "x", plotting.loss_label(study.loss, study.source.loss_unit))
    axes.set_ylabel("share of seeds at or below")
    if len(dashes) > 1:
        of_sizes = [Line2D([], [], color="black", ls=ls, label=f"N = {metric(size)}") for size, ls in dashes.items()]
        figure.legend(handles=of_sizes, loc="outside upper left", ncols=len(of_sizes), frameon=False, fontsize=9)
    plotting.colour_bar(figure, axes, colour, many["tokens"], TOKENS_LABEL)
    seeds = ", ".join(str(n) for n in sorted(set(many["seeds"])))
    caption = f"Final losses of {seeds} seeds of the same size and budget.{drawn}"
    return Drawing(name, "Scatter between seeds", caption, figure, pd.concat(numbers))


def _dashes(sizes: pd.Series) -> dict[float, str]:
    """The line of each size, where there are few: colours tell the budgets apart."""
    distinct = np.unique(sizes)
    return dict(zip(distinct, DASHES, strict=False)) if len(distinct) <= len(DASHES) else {}


def loss_and_match(study: LossStudy) -> Drawing | Refusal:
    """Loss and exact match of every finished run against compute, one beside the other."""
    table = study.points.table
    matches = study.source.runs.set_index("run_id")["exact_match"]
    if table.empty or matches.reindex(table["run_id"]).isna().all():
        return Refusal("loss_and_match", "no finished run has an exact match")
    table = table.assign(exact_match=pd.to_numeric(matches.reindex(table["run_id"])).to_numpy())
    figure, (left, right) = plotting.new_figure(2)
    colour, dense = plotting.colours(table["size"]), len(table) > plotting.MANY_MARKS
    style = {"s": 3, "alpha": 0.3, "lw": 0, "rasterized": True} if dense else {"s": 16, "alpha": 0.8}
    for axes, column in ((left, "loss"), (right, "exact_match")):
        axes.scatter(table["flops"], table[column], c=colour.to_rgba(table["size"]), **style)
        plotting.log_axis(axes, "x", FLOP_LABELS[study.convention.flops])
    plotting.log_axis(left, "y", plotting.loss_label(study.loss, study.source.loss_unit))
    right.set_ylim(-0.03, 1.03)
    right.set_ylabel("exact match (share of held-out examples)")
    plotting.colour_bar(figure, right, colour, table["size"], SIZE_LABELS[study.convention.size])
    caption = (
        "One dot per run; seeds are shown separately. The loss can fall smoothly while the share of fully correct "
        "answers rises suddenly."
    )
    numbers = table[["run_id", "params", "tokens", "flops", "seed", "loss", "exact_match"]]
    return Drawing("loss_and_match", "Loss and exact match against compute", caption, figure, numbers)
