"""What a program or a notebook takes from an analysis: the runs, the figures, and a short view of both."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from vsweep.analysis.data.source import Source
from vsweep.analysis.plotting import Drawing
from vsweep.analysis.sections.base import Finding, LossStudy

SHOWN = "isoflop_valleys"  # the figure that says most; the first one where it could not be drawn


class Viewable:
    """The part of `Result` that is for reading; the fields below are its own."""

    source: Source
    findings: Sequence[object]  # their str() is a sentence
    drawings: Sequence[Drawing]
    out: Path

    @property
    def report(self) -> Path:
        return self.out / "report.html"

    @property
    def fits(self) -> Path:
        return self.out / "fits.json"

    @property
    def runs(self) -> pd.DataFrame:
        """One row a run, as the source has them. Losses are in nats per token. It is a copy, which you may change."""
        return self.source.runs.copy()

    @property
    def figures(self) -> dict[str, Figure]:
        """Name -> figure, such as `isoflop_valleys`. A figure that was refused is absent; fits.json says why."""
        return {drawing.name: drawing.figure for drawing in self.drawings}

    def _repr_html_(self) -> str:
        """For a notebook: the sentences, one figure, and where the files are."""
        sentences = "".join(f"<li>{html.escape(str(finding))}</li>" for finding in self.findings)
        files = html.escape(f"{self.report}, {self.fits}")
        title = html.escape(f"{self.source.title}: {len(self.source.runs)} runs")
        return f"<h4>{title}</h4><ul>{sentences}</ul>{self._picture()}<p>{files}</p>"

    def _picture(self) -> str:
        if not self.drawings:
            return ""
        drawing = next((drawing for drawing in self.drawings if drawing.name == SHOWN), self.drawings[0])
        image = base64.b64encode(drawing.svg).decode()
        caption = html.escape(drawing.caption)
        return f'<img alt="{caption}" src="data:image/svg+xml;base64,{image}"><p><i>{caption}</i></p>'


@dataclass(frozen=True)
class Result(Viewable):
    """What `analyse` made: a study of each loss, the sentences in the order of the report, and where the files lie."""

    source: Source
    studies: tuple[LossStudy, ...]
    findings: tuple[Finding, ...]
    out: Path
    drawings: tuple[Drawing, ...] = field(default=(), repr=False)
