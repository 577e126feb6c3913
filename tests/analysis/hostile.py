"""Values that would do harm as HTML, as a picture or in a spreadsheet, and what a written folder says of them."""

import csv
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

from vsweep.analysis.plotting import FORMULAS

TEXTS = (
    "</td></table><script>document.title='harmed'</script>",
    "\"'><img src=x onerror=alert(1)>",
    "</title></style></svg>--><svg onload=alert(2)>]]><b>&lt;i&gt;&#60;u&#62;",
    "=cmd|'/c calc'!A1",
    "@SUM(A1)",
    "+1+1",
    "-2+3",
    "$\\frac{$ {{7*7}} ${x}$ %s {0}",
    "javascript:alert(3) \x1b]0;harmed\x07 \u202e \u200b \u5b57",
)
ALL = " ".join(TEXTS)


DRAWS = {"svg", "g", "defs", "path", "use", "rect", "image", "clippath", "filter", "fecomponenttransfer"} | {
    f"fefunc{channel}" for channel in "rgb"
}  # all that a figure of a page may hold
POINTS_TO = ("#", "data:image/png;")


class _Structure(HTMLParser):
    """Of a figure only that it is there, because its letters are paths. What is in it can do nothing but draw."""

    def __init__(self):
        super().__init__()
        self.found: list[tuple] = []
        self.figures = 0

    def handle_starttag(self, tag, attrs):
        if tag == "svg" or self.figures:
            assert tag in DRAWS, tag
            assert not any(name.startswith("on") for name, _ in attrs)
            assert all(text.startswith(POINTS_TO) for name, text in attrs if name.endswith("href"))
            self.found += [] if self.figures else [("svg",)]
            self.figures += tag == "svg"
            return
        self.found.append((tag, *((name, "data:" if str(text).startswith("data:") else text) for name, text in attrs)))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        self.figures -= tag == "svg"
        if not self.figures:
            self.found.append((f"/{tag}",))

    def handle_comment(self, data):
        self.found.append(("comment", data))


def structure(page: str) -> list[tuple]:
    """Every tag, attribute and comment of a page, in order; of data: the scheme only."""
    parser = _Structure()
    parser.feed(page)
    parser.close()
    return parser.found


def assert_harmless(folder: Path) -> None:
    """Its pictures are pictures and its tables hold no formula, whatever names went into them."""
    pictures, tables = list(folder.rglob("*.svg")), list(folder.rglob("*.csv"))
    assert pictures
    assert tables
    for path in pictures:
        for node in ElementTree.parse(path).iter():
            assert "script" not in node.tag
            assert not any(name.lower().startswith("on") for name in node.attrib), path
            links = [text for name, text in node.attrib.items() if name.endswith("href")]
            assert all(text.startswith(POINTS_TO) for text in links), path
    for path in tables:
        with path.open(encoding="utf-8", newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row if cell.startswith(FORMULAS)]
        assert all(_is_number(cell) for cell in cells), path


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
