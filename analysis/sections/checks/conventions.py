"""The same runs under every convention: what N counts, and how C is counted, moves the exponent a of N_opt ~ C^a.

N may be all parameters, or those without embeddings; C may be 6ND, or every matrix product. What Kaplan's choices do to
these runs is in `disagreement.py`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import pandas as pd
from matplotlib.axes import Axes

from vsweep.analysis import plotting
from vsweep.analysis.approaches import parametric
from vsweep.analysis.data.points import Points, select
from vsweep.analysis.data.source import FLOP_CONVENTIONS, SIZE_CONVENTIONS, Convention, Refusal, Source
from vsweep.analysis.plotting import APPROACHES, Drawing
from vsweep.analysis.sections.base import Finding, LossStudy, Section, Table, or_refused
from vsweep.analysis.sections.checks.disagreement import (
    ALL,
    METHOD,
    SIZE_LABELS,
    WITHOUT,
    Disagreement,
    Embeddings,
    Gap,
    disagreement,
)
from vsweep.analysis.uncertainty.approach import METHODS, NAMES, Fit, fit
from vsweep.analysis.uncertainty.estimates import quantities

LABELS = {**SIZE_LABELS, "flops_6nd": "C = 6ND", "flops_counted": "C counted"}


@dataclass(frozen=True)
class Row:
    """The exponents of N_opt ~ C^a and D_opt ~ C^b by one approach in one convention, or why there are none."""

    size: str
    flops: str
    method: str
    a: float | None
    b: float | None
    refusal: str | None


@dataclass(frozen=True)
class SideBySide:
    """Every convention of one loss, and Kaplan's way against Chinchilla's."""

    loss: str
    rows: tuple[Row, ...]
    disagreement: Disagreement | Refusal


class Conventions(Section[SideBySide]):
    """Of the first loss only, and not of a table, which has one N and one C."""

    name, title = "conventions", "Conventions side by side"

    def compute(self, study: LossStudy) -> SideBySide | Refusal:
        source, loss = study.source, study.loss
        if not (study.first and source.is_workdir):
            return Refusal(self.name, "compared for the first loss of a sweep only")
        return SideBySide(loss, tuple(side_by_side(source, loss)), disagreement(source, loss))

    def findings(self, study: LossStudy, result: SideBySide | Refusal) -> list[Finding]:
        if isinstance(result, Refusal) or isinstance(result.disagreement, Refusal):
            return []
        return [Finding(None, self.name, 20, result.disagreement.sentence)]

    def figures(self, study: LossStudy, result: SideBySide | Refusal) -> Iterator[Drawing | Refusal]:
        if isinstance(result, SideBySide):
            yield drawing(result.rows, result.disagreement)

    def tables(self, study: LossStudy, result: SideBySide | Refusal) -> list[Table]:
        return [] if isinstance(result, Refusal) else [_exponents(result)]

    def refusals(self, study: LossStudy, result: SideBySide | Refusal) -> list[Refusal]:
        return []

    def to_json_of_all(self, studies: Sequence[LossStudy]) -> dict:
        result = studies[0].result(self)
        return {"conventions": None if isinstance(result, Refusal) else _json(result)}


SECTION = Conventions()


def _json(side: SideBySide) -> dict:
    gaps = or_refused(side.disagreement)
    return {"loss": side.loss, "rows": [asdict(row) for row in side.rows], "kaplan_and_chinchilla": gaps}


def _exponents(side: SideBySide) -> Table:
    """The exponent a of every approach in every convention: one row a convention, one column an approach."""
    found = {(row.size, row.flops, row.method): row.a for row in side.rows}
    rows = tuple(
        (_way(size, flops), *(_number(found[size, flops, method]) for method in METHODS))
        for size, flops in dict.fromkeys((row.size, row.flops) for row in side.rows)
    )
    closed = getattr(side.disagreement, "embeddings", None)
    note = side.disagreement.reason if isinstance(side.disagreement, Refusal) else ""
    note = closed.sentence if isinstance(closed, Embeddings) else note
    head = ("a in", *(NAMES[method].removeprefix("the ") for method in METHODS))
    return Table("The exponent a in every convention", head, rows, note)


def _number(a: float | None) -> str:
    return "refused" if a is None else f"{a:.3f}"


# Side by side


def side_by_side(source: Source, loss: str) -> list[Row]:
    """The exponents by every approach in every convention that the source has; a table has one only."""
    sizes, flops = (SIZE_CONVENTIONS, FLOP_CONVENTIONS) if source.is_workdir else ((ALL,), FLOP_CONVENTIONS[:1])
    rows = []
    for size in sizes:
        sets = [select(source, Convention(loss, size, count)) for count in flops]
        law = fit(sets[0], parametric.METHOD)  # it sees N and D only, so that it is the same however C is counted
        for points in sets:
            for method in METHODS:
                rows.append(_row(points, method, law if method == parametric.METHOD else fit(points, method)))
    return rows


def _row(points: Points, method: str, found: Fit) -> Row:
    convention = points.convention
    if isinstance(found, Refusal):
        return Row(convention.size, convention.flops, method, None, None, found.reason)
    values = quantities(points, found)
    return Row(convention.size, convention.flops, method, values["a"], values["b"], None)


# Figure


def drawing(rows: Sequence[Row], found: Disagreement | Refusal) -> Drawing | Refusal:
    """The exponent a by convention and approach as dots; Kaplan's choices below, where they could be made."""
    numbers = pd.DataFrame([{"way": _way(row.size, row.flops), "method": row.method, "a": row.a} for row in rows])
    if isinstance(found, Disagreement):
        numbers = pd.concat([numbers, _ways_of(found)], ignore_index=True)
    numbers = numbers.dropna(subset="a")
    if numbers.empty:
        return Refusal(METHOD, "every approach was refused in every convention")
    figure, (axes,) = plotting.new_figure()
    ways = numbers["way"].unique().tolist()
    for method, group in numbers.groupby("method", sort=False):
        _dots(axes, method, group, ways)
    axes.set_yticks(range(len(ways)), [way.replace(", ", "\n") for way in ways])
    axes.set_ylim(len(ways) - 0.5, -0.5)
    axes.set_xlabel("a of N_opt ~ C^a")
    plotting.legend_above(figure, 2)
    text = "" if isinstance(found, Refusal) else f" {found.sentence}"
    caption = f"The exponent of the compute-optimal size on the same runs in every convention, by each approach.{text}"
    return Drawing("conventions", "Conventions side by side", caption, figure, numbers)


def _way(size: str, count: str) -> str:
    return f"{LABELS[size]}, {LABELS[count]}"


def _ways_of(found: Disagreement) -> pd.DataFrame:
    ways = {
        "all_one_schedule": f"{LABELS[ALL]}, longest runs only",
        "without_one_schedule": f"{LABELS[WITHOUT]}, longest runs only",
    }
    return pd.DataFrame(
        [
            {"way": way, "method": gap.method, "a": getattr(gap, name)}
            for name, way in ways.items()
            for gap in found.gaps
            if isinstance(gap, Gap)
        ]
    )


def _dots(axes: Axes, method: str, group: pd.DataFrame, ways: list[str]) -> None:
    """One approach; those of one convention stand one below the other, so that none hides another."""
    label, colour, marker = APPROACHES[method]
    place = group["way"].map(ways.index) + 0.16 * (METHODS.index(method) - 1.5)
    axes.scatter(group["a"], place, color=colour, marker=marker or "P", s=42, label=label, zorder=3)
