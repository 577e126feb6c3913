"""The page inside a notebook: in a frame of its own, so that neither reaches into the other."""

import html
import re
from dataclasses import dataclass, field
from pathlib import Path

HEIGHT, HEIGHT_OF_ONE = 720, 560  # pixels
# Without `allow-same-origin` the page has no way to the notebook that shows it.
SANDBOX = "allow-scripts allow-downloads allow-popups allow-popups-to-escape-sandbox"
FIGURE = re.compile(r'<figure id="figure-([^"]+)"')


@dataclass(frozen=True)
class Shown:
    """A report as a notebook shows it: `page` is its HTML, `height` that of the frame in pixels."""

    path: Path
    page: str = field(repr=False)
    height: int

    def _repr_html_(self) -> str:
        page = html.escape(self.page, quote=True)
        title = html.escape(f"The report {self.path}", quote=True)
        style = f"width:100%;height:{self.height}px;border:0"
        return f'<iframe title="{title}" sandbox="{SANDBOX}" style="{style}" srcdoc="{page}"></iframe>'


def show(report: Path, figure: str | None, height: int | None) -> Shown:
    """The report, or one figure of it.

    Raises:
      ValueError: no such report or figure; the message names the figures that there are.
    """
    if not report.is_file():
        raise ValueError(f"result: no report here - {report}; it is written by `analyse`")
    page = report.read_text(encoding="utf-8")
    if figure is None:
        return Shown(report, page, height or HEIGHT)
    known = FIGURE.findall(page)
    if figure not in known:
        raise ValueError(f"figure: not in this report - got {figure!r}; allowed {', '.join(known)}")
    only = page.replace('<html lang="en">', f'<html lang="en" data-only="figure-{figure}">', 1)
    return Shown(report, only, height or HEIGHT_OF_ONE)
