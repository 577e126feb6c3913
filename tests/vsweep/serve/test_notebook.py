"""`vsweep.show` in a notebook: what is handed to its display."""

import html
import re
import sys
from types import SimpleNamespace

import pytest

import vsweep


@pytest.fixture
def shown(monkeypatch) -> list[str]:
    """What the display of a notebook was given; IPython's own is not needed to see that."""
    found: list[str] = []
    display = SimpleNamespace(HTML=lambda data: data, display=found.append)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(display=display))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return found


@pytest.fixture
def result(tmp_path):
    (tmp_path / "report.html").write_text('<!doctype html><p title="x">a & b</p><script>1</script>')
    drawing = SimpleNamespace(name="isoflop_valleys", svg=b"<svg/>", caption='Valleys <script>"')
    return SimpleNamespace(report=tmp_path / "report.html", drawings=(drawing,))


def test_the_report_is_shown_in_a_sandbox(result, shown):
    vsweep.show(result, height=500)
    page = re.search(r'srcdoc="([^"]*)"', shown[0])[1]
    assert html.unescape(page) == result.report.read_text()
    assert 'sandbox="allow-scripts allow-downloads allow-popups"' in shown[0]
    assert "height: 500px" in shown[0]
    assert "<script" not in shown[0]


def test_one_figure_is_shown_alone(result, shown):
    vsweep.show(result, figure="isoflop_valleys")
    assert 'src="data:image/svg+xml;base64,PHN2Zy8+"' in shown[0]
    assert "<script" not in shown[0]


def test_an_unknown_figure_is_said_with_those_that_are_there(result, shown):
    with pytest.raises(ValueError, match="got 'valleys'; allowed: isoflop_valleys"):
        vsweep.show(result, figure="valleys")


def test_without_ipython_the_way_to_it_is_said(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    with pytest.raises(ImportError, match=r'pip install "vsweep\[notebook\]"'):
        vsweep.show(result)
