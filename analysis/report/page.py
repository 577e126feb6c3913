"""report.html: one self-contained file - styles and figures inside, no script, no request to anywhere.

This module chooses what the page says; `templates` hold its HTML and `static` its styles. Every text is escaped by the
templates' environment, wherever it comes from.
"""

import base64
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import pandas as pd

from vsweep.analysis import sections
from vsweep.analysis.data.source import Refusal, Source
from vsweep.analysis.formatting import count
from vsweep.analysis.plotting import Drawing
from vsweep.analysis.report import definitions, timing
from vsweep.analysis.sections.base import HEADLINE, MOST_ROWS, Finding, LossStudy, Section, Table, long_table
from vsweep.analysis.uncertainty.approach import NAMES

HERE = Path(__file__).parent
# Nothing is loaded and nothing runs, whatever got into the page: figures are inside it, and so are the styles.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
RUN_TABLE = (
    "run_id",
    "status",
    "params",
    "tokens",
    "flops_6nd",
    "loss",
    "val_loss",
    "excess_loss",
    "answer_loss",
    "exact_match",
    "wall_s",
)


@dataclass(frozen=True)
class Figure:
    """A drawing as the page holds it: `source` is the picture itself."""

    name: str
    title: str
    caption: str
    source: str


@dataclass(frozen=True)
class OtherLoss:
    """What a section found on a loss other than the first."""

    loss: str
    sentences: list[str]
    tables: list[Table]


@dataclass(frozen=True)
class Part:
    """One section of the page: of the first loss in full, of the others folded away."""

    name: str
    title: str
    figures: list[Figure]
    sentences: list[str]
    tables: list[Table]
    by_loss: list[OtherLoss]


@functools.cache
def environment() -> jinja2.Environment:
    """Templates in which all text is escaped, and a name that is missing is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(
    source: Source,
    studies: Sequence[LossStudy],
    findings: Sequence[Finding],
    drawn: dict[str, list[Drawing]],
    skipped: Sequence[Refusal],
) -> str:
    """The whole page.

    Args:
      findings: in their order. The one of weight `HEADLINE` begins the page, with the first figure of its section.
      drawn: figures by the name of their section; on the page they are SVG images.
      skipped: figures that were not drawn.
    """
    headline = next((found for found in findings if found.loss is None and found.weight == HEADLINE), findings[0])
    drawings = [drawing for name in (headline.section, *drawn) for drawing in drawn.get(name, [])]
    lead = drawings[0] if drawings else None
    rest = [found for found in findings if found is not headline]
    parts = [_part(section, studies, rest, drawn.get(section.name, []), lead) for section in sections.of(source)]
    return (
        environment()
        .get_template("report.html")
        .render(
            title=source.title,
            policy=POLICY,
            styles=(HERE / "static" / "report.css").read_text(encoding="utf-8"),
            banner=_banner(source),
            headline=headline.text,
            lead=as_figure(lead) if lead else None,
            trained=_trained(source),
            sections=[part for part in parts if part.figures or part.sentences or part.tables or part.by_loss],
            appendix=[*_refused(studies, skipped), _runs(source), *_times(source), *definitions.tables(studies)],
            formulas=definitions.FORMULAS,
            papers=definitions.PAPERS,
            published=definitions.PUBLISHED,
        )
    )


def _part(
    section: Section, studies: Sequence[LossStudy], findings: list[Finding], drawings: list[Drawing], lead: object
) -> Part:
    first, *others = studies
    folded = [
        OtherLoss(study.loss, _sentences(section, findings, study.loss), _tables(section, study)) for study in others
    ]
    return Part(
        section.name,
        section.title,
        [as_figure(drawing) for drawing in drawings if drawing is not lead],
        _sentences(section, findings, None) + _sentences(section, findings, first.loss),
        _tables(section, first),
        [other for other in folded if other.sentences or other.tables],
    )


def _sentences(section: Section, findings: list[Finding], loss: str | None) -> list[str]:
    texts = [found.text for found in findings if found.section == section.name and found.loss == loss]
    return [text[:1].upper() + text[1:] for text in texts]


def _tables(section: Section, study: LossStudy) -> list[Table]:
    return section.tables(study, study.result(section))


def as_figure(drawing: Drawing) -> Figure:
    """The drawing with its picture inside, as an SVG image."""
    picture = base64.b64encode(drawing.svg).decode("ascii")
    return Figure(drawing.name, drawing.title, drawing.caption, f"data:image/svg+xml;base64,{picture}")


# What was trained


def _banner(source: Source) -> str:
    done, total = source.count("finished") + source.count("diverged"), len(source.runs)
    if done == total:
        return ""
    return f"{source.count('finished')} of {total} runs finished. This sweep is not complete: the numbers will change."


def _trained(source: Source) -> Table:
    runs = source.runs
    if not source.is_workdir:
        notes = " ".join(source.notes)
        return Table("How the table was read", (), (("points", str(len(runs))), ("columns", notes or "as named")))
    counts = ", ".join(f"{source.count(status)} {status}" for status in ("finished", "running", "diverged"))
    facts = {
        "runs": f"{len(runs)} ({counts})",
        "task": _unique(runs["task"]),
        "widths": _unique(runs["width"]),
        "budgets (tokens)": _unique(runs["budget"]),
        "seeds": f"{runs['seed_block'].nunique()}",
        "device": _unique(runs["device"]),
        "precision": f"{_unique(runs['precision'])}, matmul {_unique(runs['matmul_precision'])}",
        # Running rows have no wall time yet.
        "training time, all runs": _duration(pd.to_numeric(runs["wall_s"]).sum()),
        "versions": _unique(runs["versions"]),
        **({"notes": " ".join(source.notes)} if source.notes else {}),
        "trained in one environment": in_one_environment(runs["inexact_resumes"]),
    }
    return Table(f"How these {len(runs)} runs were trained", (), tuple(facts.items()))


def in_one_environment(resumes: pd.Series) -> str:
    """Whether all runs stayed in the environment that they began in, from their counts of inexact resumes."""
    if resumes.isna().any():
        return "not recorded"
    moved = int((resumes > 0).sum())
    return f"all but {count(moved, 'run')} (inexact_resumes in runs.csv)" if moved else "all runs"


def _unique(column: pd.Series) -> str:
    values = [f"{value:,}" if isinstance(value, int) else str(value) for value in column.dropna().unique().tolist()]
    return ", ".join(values) or "not recorded"


def _duration(wall_s: float) -> str:
    minutes, seconds = divmod(round(wall_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min {seconds} s" if hours else f"{minutes} min {seconds} s"


# Tables at the end


def _refused(studies: Sequence[LossStudy], skipped: Sequence[Refusal]) -> list[Table]:
    fits = tuple(
        (study.loss, NAMES.get(refusal.method, refusal.method), refusal.reason)
        for study in studies
        for refusal in sections.refusals(study)
    )
    figures = tuple((refusal.method, refusal.reason) for refusal in skipped)
    found = [
        Table(f"Refused fits ({len(fits)})", ("loss", "fit", "reason"), fits),
        Table(f"Figures that would be empty ({len(figures)})", ("figure", "reason"), figures),
    ]
    return [table for table in found if table.rows]


def _runs(source: Source) -> Table:
    columns = tuple(name for name in RUN_TABLE if name in source.runs)
    values = source.runs[list(columns)].head(MOST_ROWS).astype(object).itertuples(index=False)
    rows = (tuple(_cell(value) for value in row) for row in values)
    where = "runs.csv" if source.is_workdir else source.title
    return long_table(f"All {len(source.runs)} runs", columns, rows, total=len(source.runs), where=where)


def _cell(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if pd.isna(value) else f"{value:,}" if isinstance(value, int) else f"{value:.5g}"


def _times(source: Source) -> list[Table]:
    if source.times is None:
        return []
    head = ("stack", "wall time, s", *timing.ACTIVITIES.values())
    rows = tuple(map(tuple, timing.rows(source.times)))
    return [Table("Where the time went", head, rows, timing.sentence(source.times))]
