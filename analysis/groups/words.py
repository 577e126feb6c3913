"""The sentences, tables and figures of a report on groups."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from vsweep.analysis import plotting
from vsweep.analysis.approaches import parametric
from vsweep.analysis.compare import paired_bootstrap
from vsweep.analysis.compare import report as compare_report
from vsweep.analysis.data.source import Refusal
from vsweep.analysis.formatting import from_to, scientific
from vsweep.analysis.groups.side_by_side import (
    AGREE,
    DIFFER,
    MOST_COMPARED,
    UNKNOWN,
    Difference,
    Number,
    Row,
    SideBySide,
)
from vsweep.analysis.groups.splitting import Groups
from vsweep.analysis.plotting import APPROACHES, FLOP_LABELS, LAW_STYLES, LOSS_LABELS, Drawing
from vsweep.analysis.sections import law, optimum
from vsweep.analysis.sections.base import LossStudy, Table
from vsweep.analysis.uncertainty.approach import NAMES

HEAD = ("runs", "approach", "a", "b", "E", "alpha", "beta")
SHOWN = ("a", "b", "E", "alpha", "beta", "loss")
ROW_INCHES = 0.22  # height of one exponent in the figure

# Sentences


def headline(groups: Groups, found: SideBySide) -> str:
    """The one sentence that the report begins with."""
    fitted = {row.group: row for row in found.rows if row.method == parametric.METHOD and not row.refused}
    each = ", ".join(f"{name}: a = {row.numbers['a'].value:.3f}" for name, row in fitted.items())
    outcomes = [one.outcome for one in found.differences if one.method == parametric.METHOD]
    counted = [f"{outcomes.count(outcome)} {outcome}" for outcome in dict.fromkeys(outcomes)]
    verdict = f"of {len(outcomes)} pair{'s' * (len(outcomes) != 1)} by the parametric law: {', '.join(counted)}"
    return f"{len(groups.groups)} groups by {groups.by}: {each or 'no parametric law could be fitted'}; {verdict}."


def sentences(groups: Groups, found: SideBySide) -> list[str]:
    """What was left out, each group's law, each pair of groups, and what `compare` says of them."""
    texts = []
    if groups.left_out:
        texts.append(f"Left out, because they have too few runs for a law: {', '.join(map(str, groups.left_out))}.")
    texts += [f"{name}: {optimum.about_standing(law.standing(study))}." for name, study in found.studies.items()]
    pairs = dict.fromkeys((one.first, one.second) for one in found.differences)
    texts += [about_pair(pair, found) for pair in pairs]
    if len(pairs) > MOST_COMPARED:
        texts.append(
            f"There are {len(pairs)} pairs, so `compare`, which asks whether only a constant differs, was not run. Run "
            f"it for two of them with --by {groups.by}=X,Y."
        )
    return texts


def about_pair(pair: tuple[str, str], found: SideBySide) -> str:
    """Whether the exponents a of two groups differ, by each approach, and what `compare` says."""
    first, second = pair
    ours = [one for one in found.differences if (one.first, one.second) == pair]
    main = next(one for one in ours if one.method == parametric.METHOD)
    text = f"{first} and {second}: {about_difference(main)}"
    others = [f"{NAMES[one.method]}: {_outcome(one)}" for one in ours if one is not main and one.outcome != UNKNOWN]
    if others:
        text += f" By other approaches, {'; '.join(others)}."
    compared = found.comparisons.get(pair)
    if isinstance(compared, Refusal):
        text += f" Whether only a constant differs was not asked: {compared.reason}."
    elif compared is not None:
        text += f" {compare_report.sentences(compared)[0]}"
    return text


def about_difference(one: Difference) -> str:
    """The difference by one approach as a sentence."""
    name = NAMES[one.method]
    if one.outcome == UNKNOWN:
        return f"whether the exponents differ by {name} is unknown, because {one.reason}."
    return f"by {name}, the exponents a {_outcome(one)}."


def _outcome(one: Difference) -> str:
    by = f"{one.value:+.3f} ({from_to(one.range.low, one.range.high, lambda value: f'{value:+.3f}')})"
    if one.outcome == DIFFER:
        return f"differ by {by}"
    if one.outcome == AGREE:
        return f"agree: their difference is {by}, less than {optimum.CLOSE} either way"
    return f"cannot be told apart: their difference is {by}, a range that holds zero and is too wide to say they agree"


# Tables


def table(groups: Groups, found: SideBySide) -> Table:
    """One row a group and approach, each number with its range on a second line."""
    at = "loss" if found.flops is None else f"best loss at {scientific(found.flops)} FLOP"
    rows = tuple(_cells(row, found.studies[row.group]) for row in found.rows)
    forms = sorted({number.form for row in found.rows for number in row.numbers.values() if number.form})
    note = f"Ranges: {', '.join(forms) or 'none, because there were no resamples'}. Losses in {found.loss_unit}."
    if found.flops is None:
        note += " The groups have no compute in common, so no losses are given."
    study = next(iter(found.studies.values()))
    return Table("All groups", (groups.by, *HEAD, at), rows, f"{study.convention.describe()}. {note}")


def _cells(row: Row, study: LossStudy) -> tuple[str | tuple[str, ...], ...]:
    start = (row.group, str(len(study.points.table)), row.label)
    if row.refused:
        return (*start, "refused", row.refused, "", "", "", "")
    return (*start, *(_cell(row.numbers.get(name)) for name in SHOWN))


def _cell(number: Number | None) -> str | tuple[str, ...]:
    if number is None:
        return ""
    range_ = number.range
    return (
        (f"{number.value:.4g}", from_to(range_.low, range_.high, lambda v: f"{v:.4g}"))
        if range_
        else (f"{number.value:.4g}")
    )


# Figures


def drawings(groups: Groups, found: SideBySide) -> list[Drawing]:
    """Loss against compute, and the exponents of every approach."""
    return [_losses(groups, found), _exponents(groups, found)]


def _styles(names: list[str]) -> dict[str, tuple]:
    if len(names) <= len(LAW_STYLES):
        return dict(zip(names, LAW_STYLES, strict=False))
    scale = plotting.colours(np.arange(1, len(names) + 1))
    return {name: (scale.to_rgba(at + 1), LAW_STYLES[at % len(LAW_STYLES)][1]) for at, name in enumerate(names)}


def _losses(groups: Groups, found: SideBySide) -> Drawing:
    figure, (axes,) = plotting.new_figure()
    styles = _styles(list(found.studies))
    numbers = [_draw_group(axes, name, study, *styles[name]) for name, study in found.studies.items()]
    convention = next(iter(found.studies.values())).convention
    label = LOSS_LABELS[found.loss] if found.loss != "loss" else f"loss ({found.loss_unit})"
    plotting.log_axis(axes, "x", FLOP_LABELS[convention.flops])
    plotting.log_axis(axes, "y", label)
    plotting.legend_above(figure, 3)
    caption = (
        f"Finished runs of each {groups.by} (mean over seeds), and as a line the loss of the group's parametric law on "
        "its compute-optimal path over the compute of its own runs. A group without a line has no law."
    )
    return Drawing("groups_loss", "Loss against compute", caption, figure, pd.concat(numbers, ignore_index=True))


def _draw_group(axes: Axes, name: str, study: LossStudy, colour, marker: str) -> pd.DataFrame:
    runs = study.cells
    axes.scatter(runs["flops"], runs["loss"], s=14, marker=marker, facecolor="none", edgecolor=[colour], alpha=0.6)
    shown = [runs[["flops", "loss"]].assign(kind="runs")]
    fitted, label = study.result(law.SECTION), name
    if not fitted.refused:
        flops = np.geomspace(runs["flops"].min(), runs["flops"].max(), 60)
        loss = fitted.result.law.E + paired_bootstrap.frontier_excess(fitted.result.law, study.points, flops)
        label = f"{name}: a = {fitted.a:.3f}"
        axes.plot(flops, loss, color=colour, lw=2)
        shown.append(pd.DataFrame({"flops": flops, "loss": loss, "kind": "law"}))
    axes.plot([], [], color=colour, marker=marker, label=label)
    return pd.concat(shown).assign(group=name)


def _exponents(groups: Groups, found: SideBySide) -> Drawing:
    figure, panels = plotting.new_figure(2)
    figure.set_size_inches(plotting.TWO_PANELS[0], max(plotting.TWO_PANELS[1], 1.2 + ROW_INCHES * len(found.rows)))
    for axes, name in zip(panels, ("a", "b"), strict=True):
        _draw_exponents(axes, name, found)
    panels[1].set_yticklabels([])
    plotting.legend_above(figure, 4)
    caption = (
        f"Exponents of N_opt ~ C^a and D_opt ~ C^b of each {groups.by} by each approach, with their ranges. An "
        "approach that was refused is absent."
    )
    rows = [
        {"group": row.group, "method": row.method, "exponent": name, **_flat(row.numbers[name])}
        for row in found.rows
        for name in ("a", "b")
        if not row.refused
    ]
    columns = ["group", "method", "exponent", "value", "low", "high"]
    return Drawing("groups_exponents", "Exponents", caption, figure, pd.DataFrame(rows, columns=columns))


def _flat(number: Number) -> dict[str, float | None]:
    low, high = (number.range.low, number.range.high) if number.range else (None, None)
    return {"value": number.value, "low": low, "high": high}


def _draw_exponents(axes: Axes, name: str, found: SideBySide) -> None:
    names, methods = list(found.studies), list(APPROACHES)
    seen = set()
    for row in found.rows:
        if row.refused:
            continue
        label, colour, marker = APPROACHES[row.method]
        at = -names.index(row.group) - 0.2 * (methods.index(row.method) - 1.5)
        number = row.numbers[name]
        if number.range:
            axes.plot([number.range.low, number.range.high], [at, at], color=colour, lw=1.5)
        first = name == "a" and row.method not in seen
        seen.add(row.method)
        axes.plot([number.value], [at], color=colour, marker=marker or "^", ms=5, ls="", label=label if first else None)
    axes.set_yticks([-at for at in range(len(names))], names)
    axes.set_xlabel(f"{name} of {'N_opt' if name == 'a' else 'D_opt'} ~ C^{name}")
    axes.xaxis.set_major_locator(MaxNLocator(5))
