"""report.html: one self-contained file - styles, figures, numbers and scripts inside, no request to anywhere.

This module chooses what the page says and in which order; `templates` hold its HTML, `static` its styles and scripts.
Every text is escaped by the templates' environment, wherever it comes from.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from vsweep.analysis import sections
from vsweep.analysis.data.source import Refusal, Source
from vsweep.analysis.plotting import Drawing
from vsweep.analysis.report import appendix, definitions
from vsweep.analysis.report.first_screen import FirstScreen, first_screen
from vsweep.analysis.report.inline_svg import Shared, inline, sprite
from vsweep.analysis.report.interactive import bundle, data
from vsweep.analysis.sections import law, loss_curves, optimum
from vsweep.analysis.sections.base import Finding, LossStudy, Section, Table
from vsweep.analysis.sections.further_laws import one_variable

HERE = Path(__file__).parent
# Nothing is loaded and nothing runs, whatever got into the page: figures are inside it, and so are the styles.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
WIDE = 1.5  # times its height: the shape of a figure of several panels
SENTENCE = re.compile(r"(?<=[.!?]) (?=[A-Z])")
POWER = re.compile(r"\^(-?[\d.]*\d|[a-z])(?!\w)")
ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")


@dataclass(frozen=True)
class Figure:
    """A drawing as the page holds it: `svg` is the picture itself, `caption` one sentence, `more` the rest of it.

    One that is `wide` has panels beside each other, and is not shrunk to the width of a phone.
    """

    name: str
    title: str
    caption: str
    more: str
    svg: str
    wide: bool = False


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

    @property
    def empty(self) -> bool:
        return not (self.figures or self.sentences or self.tables or self.by_loss)


@functools.cache
def environment() -> jinja2.Environment:
    """Templates in which all text is escaped, and a name that is missing is an error."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["linked"] = linked
    made.filters["raised"] = raised
    return made


def render(
    source: Source,
    studies: Sequence[LossStudy],
    findings: Sequence[Finding],
    drawn: dict[str, list[Drawing]],
    skipped: Sequence[Refusal],
) -> str:
    """The whole page.

    Args:
      findings: in their order. Each stands in its section.
      drawn: figures by the name of their section; on the page they are inline SVG.
      skipped: figures that were not drawn.
    """
    screen, shared = first_screen(studies), Shared()
    lead = _lead(screen, drawn)
    parts = [
        _part(section, studies, findings, drawn.get(section.name, []), lead, shared)
        for section in _in_order(source, screen)
    ]
    lead_figure = as_figure(lead, shared) if lead else None
    numbers = data.content(source, studies)
    lessons = data.lessons(studies) if numbers else ()
    scripts = bundle.scripts() if numbers else ()
    return (
        environment()
        .get_template("report.html")
        .render(
            title=source.title,
            policy=bundle.policy(scripts) if scripts else POLICY,
            numbers=data.as_json(numbers) if numbers else "",
            thinned=numbers["thinned"] if numbers else "",
            lessons=lessons,
            no_lesson=_why_no_lesson(studies) if numbers and not lessons else "",
            scripts=scripts,
            styles=styles(shared),
            sprite=sprite(shared),
            banner=appendix.banner(source),
            screen=screen,
            lead=lead_figure,
            runs=len(source.runs),
            loss=studies[0].loss,
            sections=[part for part in parts if not part.empty],
            trained=appendix.trained(source),
            all_runs=appendix.all_runs(source),
            refused=appendix.refused(studies, skipped),
            appendix=[*appendix.times(source), *definitions.tables(studies)],
            formulas=definitions.FORMULAS,
            papers=definitions.PAPERS,
            published=definitions.PUBLISHED,
        )
    )


def _why_no_lesson(studies: Sequence[LossStudy]) -> str:
    """The reason why there is no law to play with, in one line."""
    first = studies[0]
    if first.source.variable:
        return first.result(one_variable.SECTION).reason
    return first.result(law.SECTION).refusals[0].reason


def styles(shared: Shared) -> str:
    """The style sheet of the page, and the classes of its figures."""
    return (HERE / "static" / "report.css").read_text(encoding="utf-8") + shared.css


def _in_order(source: Source, screen: FirstScreen) -> list[Section]:
    """The sections that the source is asked, the one that the study is about first."""
    return sorted(sections.of(source), key=lambda section: section.name != screen.section)


def _lead(screen: FirstScreen, drawn: dict[str, list[Drawing]]) -> Drawing | None:
    """The figure of the first screen: loss against compute for a law, else the first one of the leading section."""
    names = [screen.section, *drawn]
    if screen.section == optimum.SECTION.name:
        names.insert(0, loss_curves.SECTION.name)
    return next((drawing for name in names for drawing in drawn.get(name, [])), None)


def _part(
    section: Section,
    studies: Sequence[LossStudy],
    findings: Sequence[Finding],
    drawings: list[Drawing],
    lead: object,
    shared: Shared,
) -> Part:
    first, *others = studies
    folded = [
        OtherLoss(study.loss, _sentences(section, findings, study.loss), _tables(section, study)) for study in others
    ]
    return Part(
        section.name,
        section.title,
        [as_figure(drawing, shared) for drawing in drawings if drawing is not lead],
        _sentences(section, findings, None) + _sentences(section, findings, first.loss),
        _tables(section, first),
        [other for other in folded if other.sentences or other.tables],
    )


def _sentences(section: Section, findings: Sequence[Finding], loss: str | None) -> list[str]:
    texts = [found.text for found in findings if found.section == section.name and found.loss == loss]
    return [text[:1].upper() + text[1:] for text in texts]


def _tables(section: Section, study: LossStudy) -> list[Table]:
    return section.tables(study, study.result(section))


def as_figure(drawing: Drawing, shared: Shared) -> Figure:
    """The drawing with its picture inside; the rest of a caption of several sentences is folded."""
    caption, *more = SENTENCE.split(drawing.caption, maxsplit=1)
    svg = inline(drawing.svg, drawing.name, f"{drawing.title}. {caption}", shared)
    width, height = drawing.figure.get_size_inches()
    return Figure(drawing.name, drawing.title, caption, " ".join(more), svg, width > WIDE * height)


def linked(text: str) -> Iterator[tuple[str, str]]:
    """The text in pieces, each with the address of the paper that it names, or with none."""
    papers = sorted(definitions.PAPERS, key=len, reverse=True)
    named = re.compile("|".join([*map(re.escape, papers), ARXIV.pattern]))
    end = 0
    for match in named.finditer(text):
        yield text[end : match.start()], ""
        number = ARXIV.fullmatch(match[0])
        yield match[0], f"https://arxiv.org/abs/{number[1]}" if number else definitions.PAPERS[match[0]]
        end = match.end()
    yield text[end:], ""


def raised(text: str) -> Iterator[tuple[str, bool]]:
    """The text in pieces, each with whether it is a power: `N^-0.3` is (`N`, False), (`-0.3`, True)."""
    for at, piece in enumerate(POWER.split(text)):
        yield (piece.replace("-", "\N{MINUS SIGN}") if at % 2 else piece), bool(at % 2)
