"""The page: every text is escaped, whatever section it comes from, and nothing but the templates makes HTML."""

import re
from pathlib import Path

import jinja2
import pandas as pd
import pytest

from tests.analysis import hostile
from vsweep import analysis
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.source import Convention, Refusal
from vsweep.analysis.plotting import Drawing, new_figure
from vsweep.analysis.report import page
from vsweep.analysis.sections.base import HEADLINE, Finding, LossStudy, Table, begin

SOURCES = Path(analysis.__file__).parent


@pytest.fixture(scope="module")
def study() -> LossStudy:
    source = load(pd.DataFrame({"N": [1e6, 2e6], "D": [1e8, 1e8], "loss": [3.0, 2.5]}))
    return begin(source, Convention("loss"), bootstrap=0)


def page_with(study: LossStudy, text: str) -> str:
    """A page with `text` in a finding, in a figure, in a figure that was not drawn, and as the headline."""
    findings = [Finding(None, text, HEADLINE, text), Finding("loss", "runs", 10, text)]
    drawing = Drawing("name", text, text, new_figure()[0], pd.DataFrame())
    return page.render(study.source, [study], findings, {"runs": [drawing]}, [Refusal(text, text)])


def test_hostile_text_adds_no_tag(study):
    plain, harmed = (page_with(study, text) for text in ("x", hostile.ALL))
    tags = [[entry[0] for entry in hostile.structure(text)] for text in (plain, harmed)]
    assert tags[0] == tags[1]


def test_only_papers_become_links():
    text = "As Hoffmann et al. 2022 say (arXiv:2503.04715), javascript:alert(1)."
    pieces = list(page.linked(text))
    assert "".join(piece for piece, _ in pieces) == text
    links = {piece: address for piece, address in pieces if address}
    assert links == {
        "Hoffmann et al. 2022": "https://arxiv.org/abs/2203.15556",
        "arXiv:2503.04715": "https://arxiv.org/abs/2503.04715",
    }


def test_powers_are_raised_and_nothing_else():
    assert list(page.raised("0.1 N^-0.300 D^0.15.")) == [
        ("0.1 N", False),
        ("\N{MINUS SIGN}0.300", True),
        (" D", False),
        ("0.15", True),
        (".", False),
    ]
    assert [piece for piece, power in page.raised("x^2y ^<b> N ~ C^a") if power] == ["a"]


def test_tables_escape_titles_cells_and_lines():
    parts = page.environment().get_template("parts.html").module
    shown = [
        str(parts.folded_table(Table(text, (text,), ((text, (text, text)),), text), text))
        for text in ("x", hostile.ALL)
    ]
    tags = [[entry[0] for entry in hostile.structure(text)] for text in shown]
    assert tags[0] == tags[1]


def test_only_templates_make_html():
    """Text that is called markup in a module would be trusted without having been escaped."""
    sources = {path.name: path.read_text(encoding="utf-8") for path in SOURCES.rglob("*.py")}
    assert [name for name, text in sources.items() if "Markup" in text or "<td" in text] == []
    templates = "".join(path.read_text(encoding="utf-8") for path in (SOURCES / "report" / "templates").iterdir())
    trusted = re.findall(r"[^{]*\|\s*safe|autoescape", templates)
    assert sorted(trusted) == [
        " figure.svg | safe",
        " numbers | safe",
        " script | safe",
        " sprite | safe",
        " styles | safe",
    ]


def test_a_missing_name_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        page.environment().from_string("{{ nothing }}").render()


def test_the_page_begins_with_the_headline_and_its_figure(study):
    tags = [entry[0] for entry in hostile.structure(page_with(study, "x"))]
    start = tags.index("main")
    assert tags[start + 1 : start + 4] == ["section", "p", "/p"]
    assert tags.index("figure") < tags.index("h2")
    assert "ul" not in tags[start : tags.index("figure")]
