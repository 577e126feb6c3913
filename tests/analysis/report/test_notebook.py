"""The report in a notebook: one frame, whose text is the page, whole or one figure of it."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

import vsweep

PAGE = '<!doctype html>\n<html lang="en">\n<figure id="figure-one"></figure><p title=\'"\'>&amp;</p></html>'


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "report.html").write_text(PAGE)
    return tmp_path


def frame_of(shown) -> dict:
    """The attributes of the frame."""
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append((tag, dict(attributes)))
    parser.feed(shown._repr_html_())
    [(tag, attributes)] = found
    assert tag == "iframe"
    return attributes


def test_the_frame_holds_the_page(folder):
    frame = frame_of(vsweep.show(folder))
    assert frame["srcdoc"] == PAGE
    assert "allow-same-origin" not in frame["sandbox"]


def test_one_figure_is_named_to_the_page(folder):
    frame = frame_of(vsweep.show(folder / "analysis" / "report.html", "one", height=300))
    assert '<html lang="en" data-only="figure-one">' in frame["srcdoc"]
    assert "height:300px" in frame["style"]


def test_an_unknown_figure_is_refused_with_those_there_are(folder):
    with pytest.raises(ValueError, match="got 'two'; allowed one"):
        vsweep.show(folder, "two")


def test_a_missing_report_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no report here"):
        vsweep.show(tmp_path)
