"""The contract of a section: one question to a study, answered in numbers, sentences, figures, tables and fits.json.

The pipeline, the report and fits.json loop over `SECTIONS` and know no section by name. A new section is one file here
and one line in that list.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd

from vsweep.analysis.data.cells import cells, seed_noise_log
from vsweep.analysis.data.points import Points, select
from vsweep.analysis.data.source import Convention, Refusal, Source
from vsweep.analysis.plotting import Drawing

R = TypeVar("R")
HEADLINE = 10  # the weight of the one sentence that the report begins with
LAST = 1_000  # the weight of what was refused
MOST_ROWS = 1_000  # of a table in the report


@dataclass(frozen=True)
class Finding:
    """One sentence.

    `loss` is None where it is about the source as a whole. `section` names the section that found it. `weight` is its
    place among the findings of its loss: lower ones come first.
    """

    loss: str | None
    section: str
    weight: int
    text: str

    def __str__(self) -> str:
        """As it stands alone, in fits.json for example: with the name of its loss."""
        return self.text if self.loss is None else f"{self.loss}: {self.text}"


@dataclass(frozen=True)
class Table:
    """A table of the report: `rows` of cells, each a text or a tuple of lines; `note` is the sentence above it."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str | tuple[str, ...], ...], ...]
    note: str = ""


def long_table(title: str, head: tuple[str, ...], rows: Iterable[tuple], *, total: int, where: str) -> Table:
    """A table of `total` rows of which the report shows the first `MOST_ROWS`; `where` names the file with all."""
    shown = tuple(itertools.islice(rows, MOST_ROWS))
    note = "" if total <= MOST_ROWS else f"The first {MOST_ROWS:,} of {total:,} rows are shown. All are in {where}."
    return Table(title, head, shown, note)


@dataclass(frozen=True)
class LossStudy:
    """One loss of a source, and the result of each section on it, computed when it is first asked for.

    `cells` are rows of `cells.cells`; `noise_log` is the sd of log loss between single seeds, None without repeats;
    `bootstrap` the number of resamples, 0 for none.
    """

    source: Source
    points: Points
    cells: pd.DataFrame
    noise_log: float | None
    bootstrap: int
    results: dict[str, Any] = field(default_factory=dict)

    @property
    def convention(self) -> Convention:
        return self.points.convention

    @property
    def loss(self) -> str:
        return self.convention.loss

    @property
    def first(self) -> bool:
        """Whether this is the loss that the report shows unfolded, and that is asked what concerns the whole source."""
        return self.loss == self.source.losses[0]

    @property
    def empty(self) -> bool:
        return self.points.table.empty

    @property
    def one_compute(self) -> bool:
        """Whether all runs have the same compute, so that nothing can be drawn against it."""
        return bool(np.ptp(np.log(self.points.column("flops"))) < 1e-6)

    def result(self, section: "Section[R]") -> R | Refusal:
        """What `section` computed for this loss. Sections ask each other by this."""
        if section.name not in self.results:
            self.results[section.name] = section.compute(self)
        return self.results[section.name]


def begin(source: Source, convention: Convention, *, bootstrap: int) -> LossStudy:
    """A study of which nothing has been computed yet."""
    points = select(source, convention)
    table = cells(points)
    return LossStudy(source, points, table, seed_noise_log(table), bootstrap)


class Section(Generic[R]):
    """One question. Here are the answers of a section that has nothing to say; `compute` is the only duty.

    `result` is always what `compute` returned for `study`. It is passed with the study, because a sentence also needs
    the noise between seeds, the points, or what another section found.
    """

    name: str  # unique; in `Finding.section` and in the page's anchors
    title: str  # heading in the report
    also_draws: Sequence[str] = ()  # losses other than the first for which figures are drawn

    def compute(self, study: LossStudy) -> R | Refusal:
        """The numbers. Its return annotation says which dataclasses a result may hold."""
        raise NotImplementedError

    def findings(self, study: LossStudy, result: R | Refusal) -> list[Finding]:
        """Sentences about this loss, or (from the first loss) about the source."""
        return []

    def figures(self, study: LossStudy, result: R | Refusal) -> Iterator[Drawing | Refusal]:
        """Figures of the first loss and of `also_draws`, one at a time. A Refusal names the figure that is missing."""
        return iter(())

    def tables(self, study: LossStudy, result: R | Refusal) -> list[Table]:
        """Tables of the report, folded away."""
        return []

    def refusals(self, study: LossStudy, result: R | Refusal) -> list[Refusal]:
        """The fits that were not made."""
        return [result] if isinstance(result, Refusal) else []

    def to_json(self, study: LossStudy, result: R | Refusal) -> dict:
        """Keys of `losses[loss]` in fits.json."""
        return {}

    def to_json_of_all(self, studies: Sequence[LossStudy]) -> dict:
        """Keys of fits.json itself."""
        return {}

    def about(self, study: LossStudy, weight: int, texts: Sequence[str]) -> list[Finding]:
        """Findings about the loss of `study`, in this order."""
        return [Finding(study.loss, self.name, weight, text) for text in texts]


def convention_json(study: LossStudy) -> dict:
    """How every fit of fits.json names its convention."""
    convention = study.convention
    return {"loss": convention.loss, "E": convention.floor, "N": convention.size, "C": convention.flops}


def or_refused(result: object, describe=asdict) -> object:
    """`describe(result)`, or the reason of a Refusal in its place."""
    return {"refused": result.reason} if isinstance(result, Refusal) else describe(result)
