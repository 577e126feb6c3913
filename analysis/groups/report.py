"""report.html and groups.json of groups; each group has its own report in a folder of its own.

groups.json, schema 1: source, by, loss, loss_unit, flops (the compute of every best loss; null where none is in
common), groups {value, name, folder, runs, standing}, left_out {value, runs, cells}, rows {group, method, refused,
numbers}, differences {first, second, method, value, range, outcome, reason}, comparisons {first, second, outcome or
refused, sentence}, findings. Losses in `loss_unit`, compute in FLOP. `numbers` has by name {value, range {low, high},
form}.
"""

import html
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from vsweep import atomic
from vsweep.analysis import plotting
from vsweep.analysis.compare import report as compare_report
from vsweep.analysis.data.source import Refusal
from vsweep.analysis.formatting import finite
from vsweep.analysis.groups import words
from vsweep.analysis.groups.side_by_side import SideBySide, side_by_side
from vsweep.analysis.groups.splitting import Group, Groups
from vsweep.analysis.plotting import Drawing
from vsweep.analysis.report import page
from vsweep.analysis.report.inline_svg import Shared, sprite
from vsweep.analysis.result import Result
from vsweep.analysis.sections import law

FILE = "groups.json"


@dataclass(frozen=True)
class GroupsResult:
    """What `analyse(..., by=...)` made: the analysis of each group by its value, and the numbers side by side."""

    groups: Groups
    results: dict[str, Result]
    found: SideBySide
    findings: tuple[str, ...]
    out: Path
    drawings: tuple[Drawing, ...] = field(default=(), repr=False)

    @property
    def report(self) -> Path:
        return self.out / "report.html"

    @property
    def file(self) -> Path:
        """groups.json."""
        return self.out / FILE

    def _repr_html_(self) -> str:
        texts = "".join(f"<li>{html.escape(text)}</li>" for text in self.findings)
        return f"<ul>{texts}</ul><p>{html.escape(str(self.report))}</p>"


def study(groups: Groups, out: Path, analyse_one: Callable[..., Result], *, bootstrap: int) -> GroupsResult:
    """Analyses each group into a folder of `out`, and writes the report that holds them side by side.

    Args:
      analyse_one: called with the source of a group and its folder.
      bootstrap: resamples of each fit; 0 for none.
    """
    analysed = [(group, analyse_one(group.source, out / group.folder)) for group in groups.groups]
    found = side_by_side(analysed, bootstrap=bootstrap)
    drawings = words.drawings(groups, found)
    for drawing in drawings:
        plotting.save(drawing, out / "figures")
    findings = (words.headline(groups, found), *words.sentences(groups, found))
    atomic.write_json_atomically(out / FILE, to_json(groups, found, findings))
    atomic.write_text_atomically(out / "report.html", _render(groups, found, findings, drawings))
    results = {group.value: result for group, result in analysed}
    return GroupsResult(groups, results, found, findings, out, tuple(drawings))


def to_json(groups: Groups, found: SideBySide, findings: Sequence[str]) -> dict:
    """The content of groups.json."""
    content = {
        "schema": 1,
        "source": groups.whole.title,
        "by": groups.by,
        "loss": found.loss,
        "loss_unit": found.loss_unit,
        "flops": found.flops,
        "groups": [_group(group, found) for group in groups.groups],
        "left_out": [asdict(one) for one in groups.left_out],
        "rows": [asdict(row) for row in found.rows],
        "differences": [asdict(one) for one in found.differences],
        "comparisons": [_compared(pair, result) for pair, result in found.comparisons.items()],
        "findings": list(findings),
    }
    return finite(content)


def _group(group: Group, found: SideBySide) -> dict:
    standing = law.standing(found.studies[group.name])
    runs = len(found.studies[group.name].points.table)
    return {
        "value": group.value,
        "name": group.name,
        "folder": group.folder,
        "runs": runs,
        "standing": asdict(standing),
    }


def _compared(pair: tuple[str, str], result: object) -> dict:
    names = dict(zip(("first", "second"), pair, strict=True))
    if isinstance(result, Refusal):
        return {**names, "refused": result.reason}
    return {**names, "outcome": result.verdict.outcome, "sentence": compare_report.sentences(result)[0]}


def _render(groups: Groups, found: SideBySide, findings: Sequence[str], drawings: Sequence[Drawing]) -> str:
    links = [(group.name, f"{group.folder}/report.html") for group in groups.groups]
    shared = Shared()
    figures = [page.as_figure(drawing, shared) for drawing in drawings]
    return (
        page.environment()
        .get_template("groups.html")
        .render(
            title=f"{groups.whole.title} by {groups.by}",
            policy=page.POLICY,
            styles=page.styles(shared),
            sprite=sprite(shared),
            headline=findings[0],
            sentences_of_groups=findings[1:],
            figures=figures,
            table=words.table(groups, found),
            links=links,
        )
    )
