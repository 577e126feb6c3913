"""The best value of each setting that varies, such as the learning rate, and how it moves with N, D and batch size.

Everywhere else a cell keeps its best setting. Here all finished runs are asked: the loss against a setting is a bowl in
each cell, and the lowest points of the bowls follow a law.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vsweep.analysis import plotting
from vsweep.analysis.approaches import bowls
from vsweep.analysis.approaches.bowls import EDGE_LARGE, EDGE_SMALL, EDGE_ZERO, INTERIOR, Bowls
from vsweep.analysis.data.points import select, varying_settings
from vsweep.analysis.data.source import Refusal
from vsweep.analysis.formatting import metric, percent
from vsweep.analysis.plotting import SIZE_LABELS, TOKENS_LABEL, Drawing
from vsweep.analysis.sections.base import Finding, LossStudy, Section, Table, or_refused
from vsweep.analysis.sections.law import ranges_json
from vsweep.analysis.uncertainty import hyperparameter_law
from vsweep.analysis.uncertainty.hyperparameter_law import VARIABLES, HyperparameterLaw
from vsweep.analysis.uncertainty.repeated_data import REPEATS

NAMED = 6  # cells without a minimum that a sentence names
MOST_PANELS, MOST_BOWLS = 6, 8  # budgets in a figure, and sizes in a panel
FAR_ABOVE = 2.0  # a loss so many times the lowest of its bowl is no longer drawn
EDGE_MARKERS = {EDGE_SMALL: "<", EDGE_LARGE: ">", EDGE_ZERO: "<"}
HINTS = {EDGE_SMALL: " Try smaller values there.", EDGE_LARGE: " Try larger values there."}
FORM = "f_opt = k N^x D^y, and B^z for a learning rate where the batch size B varies"
SOURCE = "Li et al. 2025 (Step Law, arXiv:2503.04715): lr ~ N^-0.713 D^0.307, batch size ~ D^0.571"


@dataclass(frozen=True)
class Setting:
    """One setting: its bowls, and the law through their lowest points."""

    name: str
    bowls: Bowls | Refusal
    law: HyperparameterLaw | Refusal


class Hyperparameters(Section[tuple[Setting, ...]]):
    """The optimum of each setting that varies; nothing where none does."""

    name, title = "hyperparameters", "Optimal hyperparameters"

    def compute(self, study: LossStudy) -> tuple[Setting, ...]:
        varying = varying_settings(study.source.runs, study.source.settings)
        if not varying or study.empty:
            return ()
        points = select(study.source, study.convention, also=varying, best_settings=False)
        varying = [name for name in varying if points.table[name].astype(str).nunique() > 1]
        asked = [name for name in varying if name != REPEATS]  # new data is always better: that is no optimum
        found = [(name, bowls.find(points, name, varying)) for name in asked]
        return tuple(Setting(name, bowl, _law(bowl, study.bootstrap, study.convention.level)) for name, bowl in found)

    def findings(self, study: LossStudy, result: tuple[Setting, ...]) -> list[Finding]:
        texts = [text for one in result if isinstance(one.bowls, Bowls) for text in _about(one.bowls, one.law)]
        return self.about(study, 75, texts)

    def figures(self, study: LossStudy, result: tuple[Setting, ...]) -> Iterator[Drawing | Refusal]:
        for one, part in zip(result, file_parts(result), strict=True):
            if isinstance(one.bowls, Bowls):
                yield bowls_figure(study, one.bowls, f"bowls_{part}")
                yield path_figure(study, one.bowls, one.law, f"optimal_{part}")

    def tables(self, study: LossStudy, result: tuple[Setting, ...]) -> list[Table]:
        return [_table(one) for one in result if isinstance(one.law, HyperparameterLaw)]

    def refusals(self, study: LossStudy, result: tuple[Setting, ...]) -> list[Refusal]:
        return [one.law for one in result if isinstance(one.law, Refusal)]

    def to_json(self, study: LossStudy, result: tuple[Setting, ...]) -> dict:
        return {self.name: {one.name: _json(one) for one in result}} if result else {}


SECTION = Hyperparameters()


def file_parts(result: tuple[Setting, ...]) -> list[str]:
    """By what the figures of each setting are called: `bowls_PART` and `optimal_PART`."""
    return list(plotting.file_parts([one.name for one in result]).values())


def _law(bowl: Bowls | Refusal, resamples: int, level: float) -> HyperparameterLaw | Refusal:
    return bowl if isinstance(bowl, Refusal) else hyperparameter_law.fit(bowl, resamples, level)


def _json(one: Setting) -> dict:
    if isinstance(one.bowls, Refusal):
        return {"refused": one.bowls.reason}
    minima = one.bowls.minima.to_dict("records")
    notes = list(one.bowls.notes)
    return {**or_refused(one.law, _law_json), "batch_column": one.bowls.batch, "notes": notes, "optima": minima}


def _law_json(law: HyperparameterLaw) -> dict:
    content = asdict(law)
    content.pop("uncertainty")
    known = () if law.uncertainty is None else (law.uncertainty,)
    ranges = {name: entries for name in ("k", *law.exponents) if (entries := ranges_json(known, name))}
    return {**content, "ranges": ranges}


# Sentences


def _about(found: Bowls, law: HyperparameterLaw | Refusal) -> list[str]:
    minima, interior = found.minima, found.interior
    cells = "bowls" if found.batch else "cells"
    sentences = [
        f"{found.setting} has its lowest loss between the values that were tried in {len(interior)} of {len(minima)} "
        f"{cells}{_flatness(interior)}.",
        *_about_edges(found),
    ]
    if isinstance(law, HyperparameterLaw):
        sentences.append(_about_law(found.setting, law))
        sentences += [f"{found.setting}: {name} is no part of this law - {why}." for name, why in law.left_out.items()]
    return [*sentences, *(f"{found.setting}: {note[:1].lower()}{note[1:]}" for note in found.notes)]


def _flatness(interior: pd.DataFrame) -> str:
    if interior.empty:
        return ""
    rise = float(interior["curvature"].median()) * np.log(2.0) ** 2
    return f". A factor of two away the loss is {percent(rise)} higher (median)"


def _about_edges(found: Bowls) -> list[str]:
    sentences = []
    for status, group in found.minima[found.minima["status"] != INTERIOR].groupby("status"):
        named = ", ".join(_cell(row) for row in group.head(NAMED).itertuples())
        more = f", and {len(group) - NAMED} more" if len(group) > NAMED else ""
        hint = HINTS.get(status, "")
        sentences.append(
            f"{found.setting}: no minimum was fitted in {len(group)} of {len(found.minima)} ({status}): "
            f"{named}{more}.{hint}"
        )
    return sentences


def _cell(row: tuple) -> str:
    batch = f", B = {metric(row.batch)}" if np.isfinite(row.batch) else ""
    return f"N = {metric(row.params)} at D = {metric(row.tokens)}{batch}"


def _about_law(setting: str, law: HyperparameterLaw) -> str:
    known = law.uncertainty.ranges if law.uncertainty else {}
    form = f" ({law.uncertainty.form}, {law.uncertainty.fits} {law.uncertainty.kind})" if known else ""
    ranges = ", ".join(f"{x} = {_range(known, x)}" for x in law.exponents if x in known)
    ranges = f" with {ranges}{form}" if ranges else ""
    return (
        f"the best {setting} is {law.formula}{ranges}. {law.minima} minima scatter about this law by "
        f"{percent(law.rms_log)}. {_verdicts(law)}"
    )


def _range(known: dict, name: str) -> str:
    return f"{known[name].low:.3f} to {known[name].high:.3f}"


def _verdicts(law: HyperparameterLaw) -> str:
    """Such as `It moves with D. It is not shown to move with N.`"""
    words = {
        hyperparameter_law.MOVES: "It moves with {}.",
        hyperparameter_law.MAY_MOVE: "It may move with {}: the 90 % interval excludes zero, the 99 % one does not.",
        hyperparameter_law.NOT_SHOWN: "These runs do not show that it moves with {}.",
        hyperparameter_law.NOT_ASKED: "Whether it moves with {} is not said without resamples.",
    }
    by_word = {word: [name for name, found in law.verdicts.items() if found == word] for word in words}
    links = {word: " and " if word == hyperparameter_law.MOVES else " or " for word in words}
    return " ".join(words[word].format(links[word].join(names)) for word, names in by_word.items() if names)


def _table(one: Setting) -> Table:
    law = one.law
    known = law.uncertainty.ranges if law.uncertainty else {}
    rows = [("k", f"{law.k:.4g}", f"{known['k'].low:.4g} to {known['k'].high:.4g}" if "k" in known else "", "")]
    for name, (_, x) in VARIABLES.items():
        if x in law.exponents:
            spread = _range(known, x) if x in known else ""
            rows.append((f"{x}, of {name}", f"{law.exponents[x]:.3f}", spread, law.verdicts[name]))
    note = f"{FORM}. R^2 of the logs: {law.r2_log:.3f}. For comparison, {SOURCE}."
    return Table(f"The law of the best {one.name}", ("quantity", "value", "range", "verdict"), tuple(rows), note)


# Figures


def _evenly(values: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the sorted distinct values, the first and the last among them."""
    distinct = np.unique(values)
    return distinct[np.unique(np.linspace(0, len(distinct) - 1, most).round().astype(int))]


def bowls_figure(study: LossStudy, found: Bowls, name: str) -> Drawing:
    """Loss against the setting: a panel a budget, a bowl a size, a dot a run."""
    keys = ["size", "budget", *(["batch"] if found.batch else [])]
    panels = _evenly(found.minima["budget"].to_numpy(), MOST_PANELS)
    figure, all_axes = plotting.new_grid(len(panels))
    colour = plotting.colours(found.minima["size"])
    cut = False
    for axes, budget in zip(all_axes, panels, strict=True):
        in_panel = found.minima[found.minima["budget"] == budget]
        shown = in_panel[in_panel["size"].isin(_evenly(in_panel["size"].to_numpy(), MOST_BOWLS))]
        highest = []
        for row in shown.to_dict("records"):
            is_of = (found.runs[keys] == pd.Series({key: row[key] for key in keys})).all(axis=1)
            runs = found.runs[is_of & (found.runs["value"] > 0)]
            _bowl(axes, runs, row, colour.to_rgba(row["size"]))
            highest.append(runs["loss"][runs["loss"] <= FAR_ABOVE * runs["loss"].min()].max())
        cut |= _cut_above(axes, FAR_ABOVE**0.1 * np.nanmax(highest))
        plotting.log_axis(axes, "x", found.setting)
        plotting.log_axis(axes, "y", plotting.loss_label(study.loss, study.source.loss_unit))
        axes.tick_params(labelsize=9)
        axes.set_title(f"D = {metric(budget)}", loc="left", fontsize=9)
    plotting.colour_bar(figure, all_axes, colour, found.minima["size"], SIZE_LABELS[study.convention.size])
    numbers = pd.concat([found.runs.assign(kind="run"), _as_numbers(found.minima)], ignore_index=True)
    caption = (
        f"Loss of the finished runs against {found.setting}, a line for each cell through the means over its seeds. "
        "Stars are minima of parabolas through the lowest values. Open triangles are lowest values at an edge, which "
        f"are not fitted. {' '.join(found.notes)}{_thinned(found)}"
    )
    if cut:
        caption += f" Losses more than {FAR_ABOVE:g} times the lowest of their bowl lie above the panels."
    return Drawing(name, f"Loss against {found.setting}", caption.strip(), figure, numbers)


def _bowl(axes: Axes, runs: pd.DataFrame, row: dict, colour: tuple) -> None:
    mean = np.exp(np.log(runs["loss"]).groupby(runs["value"]).mean())
    axes.plot(mean.index, mean, color=colour, lw=1.1)
    axes.scatter(runs["value"], runs["loss"], color=colour, s=9, zorder=3)
    if row["status"] == INTERIOR:
        axes.scatter(row["best"], row["loss"], marker="*", s=90, color=plotting.RED, zorder=4)
    elif row["status"] in (EDGE_SMALL, EDGE_LARGE):
        style = {"facecolor": "white", "edgecolor": plotting.RED, "linewidth": 1.3}
        axes.scatter(row["best"], row["loss"], marker=EDGE_MARKERS[row["status"]], s=45, zorder=4, **style)


def _cut_above(axes: Axes, top: float) -> bool:
    """Whether the axis ends below some losses: one run that hardly trained would flatten all bowls to lines."""
    if axes.get_ylim()[1] <= top:
        return False
    axes.set_ylim(top=top)
    return axes.dataLim.y1 > top


def _thinned(found: Bowls) -> str:
    budgets, sizes = found.minima["budget"].nunique(), found.minima["size"].nunique()
    parts = [f"{MOST_PANELS} of {budgets} budgets"] if budgets > MOST_PANELS else []
    parts += [f"{MOST_BOWLS} of {sizes} sizes"] if sizes > MOST_BOWLS else []
    return f" Shown are {' and '.join(parts)}; the CSV file has all." if parts else ""


def _as_numbers(minima: pd.DataFrame) -> pd.DataFrame:
    return minima.rename(columns={"best": "value", "status": "kind"})


def path_figure(study: LossStudy, found: Bowls, law: HyperparameterLaw | Refusal, name: str) -> Drawing | Refusal:
    """The best value of the setting against N, coloured by D (against D where N has one value), with the law."""
    known = found.minima[found.minima["best"] > 0]
    if known.empty:
        return Refusal(name, f"no cell has a lowest value of {found.setting} above zero")
    along, other = ("params", "tokens") if known["size"].nunique() > 1 else ("tokens", "params")
    labels = {"params": SIZE_LABELS[study.convention.size], "tokens": TOKENS_LABEL}
    batch = _middle_batch(known, law)
    figure, (axes,) = plotting.new_figure()
    colour = plotting.colours(known[other])
    for status, group in known.groupby("status"):
        colours = colour.to_rgba(group[other])
        filled = status == INTERIOR
        style = {"color": colours} if filled else {"facecolor": "white", "edgecolor": colours, "linewidth": 1.3}
        marker = "*" if filled else EDGE_MARKERS[status]
        axes.scatter(
            group[along], _at_batch(group, law, batch), marker=marker, s=70 if filled else 40, zorder=3, **style
        )
    caption = f"The best {found.setting} of each {'bowl' if found.batch else 'cell'}; open triangles are edges."
    if isinstance(law, HyperparameterLaw):
        _draw_law(axes, known, law, (along, other), colour)
        at_batch = f", and all is shown as at B = {metric(batch)} by this law" if np.isfinite(batch) else ""
        caption += f" Lines are the law {law.formula}{at_batch}."
    plotting.log_axis(axes, "x", labels[along], units=True)
    plotting.log_axis(axes, "y", f"best {found.setting}")
    plotting.colour_bar(figure, axes, colour, known[other], labels[other])
    return Drawing(name, f"The best {found.setting}", caption, figure, _with_law(found.minima, law))


def _middle_batch(known: pd.DataFrame, law: HyperparameterLaw | Refusal) -> float:
    """The batch size at which a law with B is drawn; NaN for others."""
    has = isinstance(law, HyperparameterLaw) and "z" in law.exponents
    return float(np.exp(np.log(known["batch"]).median())) if has else np.nan


def _at_batch(group: pd.DataFrame, law: HyperparameterLaw | Refusal, batch: float) -> pd.Series:
    """The best values as the law says they would be at one batch size, so that they can be seen beside its lines."""
    return group["best"] * (batch / group["batch"]) ** law.exponents["z"] if np.isfinite(batch) else group["best"]


def _draw_law(axes: Axes, known: pd.DataFrame, law: HyperparameterLaw, columns: tuple[str, str], colour) -> None:
    along, other = columns
    names = {column: name for name, (column, _) in VARIABLES.items()}
    x = np.geomspace(known[along].min(), known[along].max(), 60)
    single = VARIABLES[names[other]][1] not in law.exponents
    batch = _middle_batch(known, law)
    for value in [float(known[other].median())] if single else _evenly(known[other].to_numpy(), MOST_BOWLS):
        at = {names[along]: x, names[other]: value, "B": batch}
        y = np.broadcast_to(law.value(**at), x.shape)
        axes.plot(x, y, lw=1.1, color=plotting.BLACK if single else colour.to_rgba(value), alpha=0.8)


def _with_law(minima: pd.DataFrame, law: HyperparameterLaw | Refusal) -> pd.DataFrame:
    if isinstance(law, Refusal):
        return minima
    at = {name: minima[column].to_numpy(float) for name, (column, _) in VARIABLES.items()}
    return minima.assign(law=law.value(**at))
