"""One-dimensional laws - loss against N at each budget, against D at each size - and where no power law holds.

Where L = E + A/N^alpha + B/D^beta holds, the loss at one D falls towards an offset that more size cannot lower, so each
line is k x^-exponent plus an offset. Such a curve through five points almost always has a fine R^2: so it is judged
against the noise between seeds and by a forecast of its last point from the others, and a plateau or a sudden fall,
which no offset can describe, is named. On longer lines a broken power law is compared as well.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from vsweep.analysis import plotting
from vsweep.analysis.data.cells import cells, seed_noise_log
from vsweep.analysis.data.points import Points
from vsweep.analysis.data.source import Refusal
from vsweep.analysis.fitting.breaks import NEGLIGIBLE_LOG, Curve, OneVariableLaw, judge, winner
from vsweep.analysis.fitting.one_variable import Broken
from vsweep.analysis.formatting import count, metric, percent
from vsweep.analysis.plotting import LOSS_LABELS, SIZE_LABELS, TOKENS_LABEL, Drawing
from vsweep.analysis.sections.base import Finding, LossStudy, Section

MIN_X = 4
MANY_LINES, JUDGED_LINES = 60, 12  # of an axis: where there are more than many, a dozen are judged
AXES = (("N", "budget", "size"), ("D", "size", "tokens"))  # loss against this, at each of that, columns of `cells`
OTHER = {"N": "D", "D": "N"}
UNITS = {"N": "parameters", "D": "tokens"}
NOISE_FACTOR = 3.0  # residuals beyond three standard errors of a cell's mean are more than noise
FLAT_RATIO = 1.2  # on a plateau the loss stays within 20 % ...
PLATEAU_SPAN, LINE_SPAN = 1.9, 4.0  # ... over about a doubling of x before a fall, or over a whole line
STEEP = 0.8  # local slope of a fall, -d log L / d log x


@dataclass(frozen=True)
class Plateau:
    """A stretch of `x` on which the loss hardly moves, and the steepest fall after it (local slope, between two x)."""

    first_x: float
    last_x: float
    low: float
    high: float
    fall_slope: float
    fall_from: float
    fall_to: float


@dataclass(frozen=True)
class Line:
    """L = offset + k x^-exponent over one axis (`N` or `D`), the other held at `at`.

    `offset` is the floor and whatever the held quantity costs.

    `x`, `loss` (geometric mean over seeds), `low`, `high`, `local_slope` (d log L / d log x, one less) are arrays.
    `noise_log` is the standard error of a cell's mean log loss (None without seeds), `forecast_log` the error of log
    loss at the last x when the line is fitted to the others, `holds` None where there is no noise to judge by.
    `laws` are this law and the broken power law, with the forecasts of both; `wins` names the one that predicts
    better, None where neither does by more than the noise, or where the line is too short to ask.
    """

    axis: str
    at: float
    x: np.ndarray
    loss: np.ndarray
    low: np.ndarray
    high: np.ndarray
    offset: float
    k: float
    exponent: float
    r2_log: float
    rms_log: float
    noise_log: float | None
    forecast_log: float | None
    holds: bool | None
    local_slope: np.ndarray
    plateau: Plateau | None
    laws: tuple[OneVariableLaw, ...]
    wins: str | None

    @property
    def flat(self) -> bool:
        """Whether the whole line is a plateau: nothing is gained along it."""
        return is_flat(self.x, self.loss, LINE_SPAN)

    @property
    def broken(self) -> OneVariableLaw | None:
        """The broken power law, where it predicts better: the break lies at `values["d1"]`."""
        return next((law for law in self.laws if law.law == Broken.name and law.law == self.wins), None)

    def describe(self) -> str:
        """The law in Kaplan's form, Nc and Dc with their units (Kaplan et al. 2020, equations 1.1 and 1.2, E = 0)."""
        held = next(other for other in UNITS if other != self.axis)
        at = f"at {held} = {self.at:.4g} {UNITS[held]}"
        if self.exponent <= 0:
            return f"L({self.axis}) does not fall {at}"
        scale = 10 ** min(np.log10(self.k) / self.exponent, 300.0)
        offset = f"{self.offset:.4g} + " if self.offset else ""
        return f"L({self.axis}) = {offset}({scale:.4g} {UNITS[self.axis]} / {self.axis})^{self.exponent:.4g} {at}"


@dataclass(frozen=True)
class Lines:
    """All lines of one convention, those along N first; `notes` say where there are too many to judge each."""

    lines: tuple[Line, ...]
    refused: tuple[Refusal, ...]
    notes: tuple[str, ...] = ()

    def along(self, axis: str) -> list[Line]:
        return [line for line in self.lines if line.axis == axis]

    def at_largest(self, axis: str) -> Line | None:
        """L(N) at the largest budget, or L(D) at the largest size: the line that the other quantity limits least."""
        return max(self.along(axis), key=lambda line: line.at, default=None)


class LossLines(Section[Lines]):
    """Loss against N at each budget and against D at each size: where power laws hold and where they break."""

    name, title = "lines", "Loss against N and D"
    also_draws = ("answer_loss",)  # where a break shows best

    def compute(self, study: LossStudy) -> Lines:
        return fit_lines(study.points)

    def findings(self, study: LossStudy, result: Lines) -> list[Finding]:
        return self.about(study, 70, about_lines(study, result))

    def figures(self, study: LossStudy, result: Lines) -> Iterator[Drawing | Refusal]:
        yield loss_lines(study)

    def refusals(self, study: LossStudy, result: Lines) -> list[Refusal]:
        return list(result.refused)

    def to_json(self, study: LossStudy, result: Lines) -> dict:
        return {"lines": [asdict(line) for line in result.lines]}


SECTION = LossLines()


def fit_lines(points: Points) -> Lines:
    """The law against N at each budget and against D at each size, where at least four values are there."""
    table = cells(points)
    groups, notes = [], []
    for axis, held, moving in AXES:
        long = [(at, group) for at, group in table.groupby(held) if group[moving].nunique() >= MIN_X]
        some = _evenly(long)
        groups += [(axis, float(at), group.sort_values(moving), moving) for at, group in some]
        if len(some) < len(long):
            notes.append(
                f"of the {len(long)} lines against {axis}, {len(some)} are judged, evenly spaced in {OTHER[axis]}."
            )
    noise = seed_noise_log(table)
    curves = [Curve.of(group[moving].to_numpy(float), group["loss"].to_numpy()) for *_, group, moving in groups]
    judged = zip(groups, curves, judge(curves), strict=True)
    lines = tuple(_line(axis, at, group, curve, laws, noise) for (axis, at, group, _), curve, laws in judged)
    refused = [
        Refusal(f"loss against {axis}", f"no {held} with {MIN_X} values of {axis}")
        for axis, held, _ in AXES
        if not any(line.axis == axis for line in lines)
    ]
    return Lines(lines, tuple(refused), tuple(notes))


def _evenly(lines: list) -> list:
    """The lines of one axis, or a dozen of them with both ends where they are many."""
    if len(lines) <= MANY_LINES:
        return lines
    return [lines[at] for at in np.linspace(0, len(lines) - 1, JUDGED_LINES).round().astype(int)]


def _line(
    axis: str, at: float, group: pd.DataFrame, curve: Curve, laws: tuple[OneVariableLaw, ...], noise: float | None
) -> Line:
    x, log_loss = curve.x, np.log(curve.loss)
    power = laws[0]
    spread = None if noise is None else noise / float(np.sqrt(group["seeds"].mean()))
    return Line(
        axis=axis,
        at=at,
        x=x,
        loss=curve.loss,
        low=group["low"].to_numpy(),
        high=group["high"].to_numpy(),
        offset=power.values["E"],
        k=power.values["k"],
        exponent=power.values["c"],
        r2_log=1 - power.rms_log**2 / variance if (variance := log_loss.var()) > 0 else 0.0,
        rms_log=power.rms_log,
        noise_log=spread,
        forecast_log=power.held_out[0].mean_log if power.held_out else None,
        holds=None if spread is None else bool(power.scatter_log <= max(NOISE_FACTOR * spread, NEGLIGIBLE_LOG)),
        local_slope=np.diff(log_loss) / np.diff(np.log(x)),
        plateau=find_plateau(x, curve.loss) if spread is not None else None,
        laws=laws,
        wins=winner(laws, spread),
    )


def find_plateau(x: np.ndarray, loss: np.ndarray) -> Plateau | None:
    """The longest stretch of x [n] on which the loss stays within 20 % before a steep fall; None if there is none.

    A stretch is judged by its range and not by local slopes, because between neighbours those are mostly seed noise.
    """
    slope = np.diff(np.log(loss)) / np.diff(np.log(x))
    if slope[1:].min(initial=0.0) > -STEEP:
        return None
    stretches = [(i, j) for i in range(len(x)) for j in range(i + 1, len(x) - 1)]
    found = [
        (i, j)
        for i, j in stretches
        if is_flat(x[i : j + 1], loss[i : j + 1], PLATEAU_SPAN) and slope[j:].min() <= -STEEP
    ]
    if not found:
        return None
    first, last = max(found, key=lambda stretch: x[stretch[1]] / x[stretch[0]])
    fall = last + int(slope[last:].argmin())
    on = loss[first : last + 1]
    return Plateau(
        first_x=float(x[first]),
        last_x=float(x[last]),
        low=float(on.min()),
        high=float(on.max()),
        fall_slope=float(slope[fall]),
        fall_from=float(x[fall]),
        fall_to=float(x[fall + 1]),
    )


def is_flat(x: np.ndarray, loss: np.ndarray, span: float) -> bool:
    """Whether `loss` [n] stays within 20 % while x grows by a factor of `span` at least."""
    return bool(loss.max() <= FLAT_RATIO * loss.min() and x[-1] >= span * x[0])


# Sentences


def about_lines(study: LossStudy, found: Lines) -> list[str]:
    """Where a power law holds along each axis, where it breaks, and where nothing is gained."""
    sentences = list(found.notes)
    for axis, held in (("N", "budget"), ("D", "size")):
        lines = found.along(axis)
        judged = [line for line in lines if line.holds is not None and not line.flat]
        broken = [line for line in judged if not line.holds]
        if judged:
            sentences.append(_verdict(axis, held, judged, broken))
        if broken and (median := _median_r2(broken)) > 0.9:
            sentences.append(
                f"those lines against {axis} still have a median R^2 of {median:.3f}: a high R^2 alone proves little."
            )
        largest = found.at_largest(axis)
        if largest is not None:
            sentences.append(_about_largest(largest))
        with_break = [line for line in lines if line.broken]
        if with_break:
            sentences.append(_about_breaks(axis, with_break))
        with_plateau = [line for line in lines if line.plateau]
        if with_plateau:
            sentences.append(_about_plateau(axis, with_plateau))
        flat = [line for line in lines if line.flat]
        if flat and not study.convention.floor_free:
            # With E free a flat loss may simply be the floor.
            sentences.append(_about_flat(axis, flat))
    return sentences


def _verdict(axis: str, held: str, judged: list[Line], broken: list[Line]) -> str:
    held_to = f"at {count(len(judged), held)}"
    missed = [abs(line.forecast_log) for line in judged if line.forecast_log is not None]
    typical = percent(float(np.median(missed))) if missed else ""
    forecast = (
        f" The last point of each line, forecast from the others, is missed by {typical} (median)." if missed else ""
    )
    if not broken:
        return (
            f"loss against {axis} {held_to}: a power law with an offset holds within the noise between seeds.{forecast}"
        )
    slopes = np.concatenate([line.local_slope for line in broken])
    return (
        f"loss against {axis} {held_to}: no power law holds for {len(broken)} of them, even with an offset. The "
        f"residuals exceed the noise between seeds, and local slopes range from {slopes.max():.2f} to "
        f"{slopes.min():.2f}.{forecast}"
    )


def _about_largest(line: Line) -> str:
    """Kaplan's L(N) or L(D), where the other quantity limits the loss least."""
    doubt = ". That line is not a power law, so its exponent means little" if line.holds is False else ""
    return f"where {OTHER[line.axis]} limits the loss least, {line.describe()}{doubt}."


def _about_breaks(axis: str, lines: list[Line]) -> str:
    """Where a broken power law predicts better, and where its break is."""
    each = ", ".join(f"{metric(line.broken.values['d1'])} (at {OTHER[axis]} = {metric(line.at)})" for line in lines)
    missed = float(np.median([line.broken.held_out[-1].rms_log for line in lines]))
    return (
        f"a broken power law predicts {count(len(lines), 'line')} against {axis} better than one with an offset, with "
        f"breaks at {axis} = {each}. It still misses the held-out points by {percent(missed)} (median)."
    )


def _median_r2(lines: list[Line]) -> float:
    return float(np.median([line.r2_log for line in lines]))


def _about_plateau(axis: str, lines: list[Line]) -> str:
    longest = max(lines, key=lambda line: line.plateau.last_x / line.plateau.first_x)
    plateau = longest.plateau
    low, high = min(line.plateau.low for line in lines), max(line.plateau.high for line in lines)
    return (
        f"a plateau, then a fall, on {count(len(lines), 'line')} against {axis}, at a loss of {low:.3g} to {high:.3g}. "
        f"The longest, at {OTHER[axis]} = {metric(longest.at)}, reaches from {axis} = {metric(plateau.first_x)} to "
        f"{metric(plateau.last_x)} and then falls with a slope of {plateau.fall_slope:.2f} between "
        f"{metric(plateau.fall_from)} and {metric(plateau.fall_to)}."
    )


def _about_flat(axis: str, lines: list[Line]) -> str:
    low, high = min(line.loss.min() for line in lines), max(line.loss.max() for line in lines)
    at = ", ".join(metric(line.at) for line in lines)
    return f"the loss does not fall along {axis} at {OTHER[axis]} = {at}: it stays between {low:.3g} and {high:.3g}."


# Figure


def loss_lines(study: LossStudy) -> Drawing | Refusal:
    """Loss against N at each budget and against D at each size, with the range over seeds as a band."""
    convention, table = study.convention, study.cells
    name = f"loss_lines_{convention.loss}"
    if study.empty:
        return Refusal(name, "no points")
    panels = [
        ("size", "budget", SIZE_LABELS[convention.size], TOKENS_LABEL),
        ("tokens", "size", TOKENS_LABEL, SIZE_LABELS[convention.size]),
    ]
    panels = [panel for panel in panels if (table.groupby(panel[1])[panel[0]].nunique() > 1).any()]
    if not panels:
        return Refusal(name, "no budget with two sizes and no size with two budgets")
    figure, all_axes = plotting.new_figure(len(panels))
    left_out = []
    for axes, (moving, held, x_label, bar_label) in zip(all_axes, panels, strict=True):
        colour = plotting.colours(table[held])
        shown = plotting.some_of(table[held])
        if len(shown) < (number := table[held].nunique()):
            left_out.append(
                f" {len(shown)} of {number} lines against {x_label.split(' (')[0]} are drawn, evenly spaced."
            )
        for at, group in table[table[held].isin(shown)].groupby(held):
            group = group.sort_values(moving)
            style = {"color": colour.to_rgba(at)}
            marker = "o" if len(group) <= plotting.MANY_LINES else ""
            axes.plot(group[moving], group["loss"], lw=1.2, marker=marker, ms=3.2, **style)
            axes.fill_between(group[moving], group["low"], group["high"], alpha=0.15, lw=0, **style)
        plotting.log_axis(axes, "x", x_label, units=True)
        plotting.log_axis(axes, "y", plotting.loss_label(convention.loss, study.source.loss_unit))
        plotting.colour_bar(figure, axes, colour, table[held], bar_label)
    seeds = " The band spans the seeds." if study.points.seeds else ""
    caption = f"Along each line the quantity of the colour bar is constant. Points are geometric means.{seeds}"
    caption += "".join(left_out)
    numbers = table[["size", "budget", "tokens", "loss", "low", "high", "seeds"]]
    title = f"{LOSS_LABELS[convention.loss].capitalize()} against N and against D"
    return Drawing(name, title, caption, figure, numbers)
