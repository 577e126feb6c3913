"""The contract: a section in `SECTIONS` is in fits.json, in figures/ and in the report, and nothing else lists them."""

import json
from collections.abc import Iterator

import pandas as pd
import pytest

from tests.analysis.planted import Planted, write_planted
from vsweep import analysis, schema, tables
from vsweep.analysis import sections
from vsweep.analysis.data.points import ExclusionKind
from vsweep.analysis.data.source import Refusal
from vsweep.analysis.plotting import Drawing, new_figure
from vsweep.analysis.report import fits_json
from vsweep.analysis.sections.base import HEADLINE, Finding, LossStudy, Section, Table


class MadeUp(Section[float]):
    """The mean loss, which nobody else asks for."""

    name, title = "made_up", "A made-up section"
    also_draws = ("val_loss",)

    def compute(self, study: LossStudy) -> float:
        return float(study.points.column("loss").mean())

    def findings(self, study: LossStudy, result: float) -> list[Finding]:
        return self.about(study, 15, ["losses: their mean is known."])

    def figures(self, study: LossStudy, result: float) -> Iterator[Drawing | Refusal]:
        yield Drawing(f"means_{study.loss}", "Means", "One number.", new_figure()[0], pd.DataFrame({"mean": [result]}))
        yield Refusal(f"medians_{study.loss}", "nobody wants medians")

    def tables(self, study: LossStudy, result: float) -> list[Table]:
        return [Table("Means", ("what", "value"), (("mean", f"about {result:.0f}"),), "A note.")]

    def refusals(self, study: LossStudy, result: float) -> list[Refusal]:
        return [Refusal(self.name, "half of it")]

    def to_json(self, study: LossStudy, result: float) -> dict:
        return {"mean": result}

    def to_json_of_all(self, studies: list[LossStudy]) -> dict:
        return {"means": len(studies)}


@pytest.fixture(scope="module")
def made_up(tmp_path_factory) -> analysis.Result:
    """An analysis with one section more."""
    workdir = write_planted(tmp_path_factory.mktemp("made_up"), Planted(widths=(4,), budgets=(125_000, 250_000)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sections, "SECTIONS", (*sections.SECTIONS, MadeUp()))
        return analysis.analyse(workdir, bootstrap=0)


def test_a_new_section_is_in_fits_json(made_up):
    fits = json.loads(made_up.fits.read_text(encoding="utf-8"))
    assert fits["means"] == 3
    assert all(loss["mean"] > 0 for loss in fits["losses"].values())
    assert {"loss": "val_loss", "method": "made_up", "reason": "half of it"} in fits["refused"]
    assert {"loss": None, "method": "figure medians_val_loss", "reason": "nobody wants medians"} in fits["refused"]
    # A colon in a sentence says nothing about its loss.
    assert "answer_loss: losses: their mean is known." in fits["findings"]


def test_a_new_section_draws_its_figures(made_up):
    drawn = {path.name for path in (made_up.out / "figures").glob("means_*.csv")}
    assert drawn == {"means_excess_loss.csv", "means_val_loss.csv"}


def test_a_new_section_is_in_the_report(made_up):
    text = made_up.report.read_text(encoding="utf-8")
    section = text[text.index('<section id="made_up"') :].partition("</section>")[0]
    assert '<h2 id="made_up-title">A made-up section ' in section
    assert section.count("<figure ") == 2
    assert section.count("<li>Losses: their mean is known.</li>") == 3
    assert section.count("<summary>Means") == 3
    assert "<summary>The same for answer_loss and val_loss</summary>" in section
    assert "figures/means_val_loss.csv" in section


def test_findings_come_by_loss_and_weight(made_up):
    places = [(finding.loss or "", finding.weight) for finding in made_up.findings]
    order = ["", "excess_loss", "answer_loss", "val_loss"]
    assert places == sorted(places, key=lambda place: (order.index(place[0]), place[1]))
    assert [finding.section for finding in made_up.findings if finding.weight == HEADLINE and not finding.loss] == [
        "optimum"
    ]


def test_a_key_belongs_to_one_section(monkeypatch, made_up):
    monkeypatch.setattr(sections, "SECTIONS", (MadeUp(), MadeUp()))
    with pytest.raises(AssertionError, match=r"two sections write the same keys of fits.json: \['means'\]"):
        fits_json.to_json(made_up.source, made_up.studies, [], [])


def test_names_of_sections_are_unique():
    assert len({section.name for section in sections.SECTIONS}) == len(sections.SECTIONS)


def test_excluded_runs_are_counted_by_kind(tmp_path):
    workdir = write_planted(tmp_path, Planted(widths=(4,), budgets=(125_000, 250_000)))
    rows = tables.read_runs(workdir).astype(object).to_dict("records")
    for step, row in enumerate(rows[:2]):
        row |= {"status": schema.DIVERGED, "diverged_at_step": step + 7}
    rows[2]["excess_loss"] = -0.1
    (workdir / schema.RUNS_FILE).write_text(tables.as_csv(rows, list(schema.RUN_COLUMNS)))
    result = analysis.analyse(workdir, bootstrap=0)
    first = result.studies[0]
    kinds = [ExclusionKind.DIVERGED, ExclusionKind.DIVERGED, ExclusionKind.NO_LOGARITHM]
    assert [entry.kind for entry in first.points.exclusions] == kinds
    (sentence,) = [finding.text for finding in sections.findings_of(first) if finding.section == "exclusions"]
    assert sentence.endswith(": 2 diverged, 1 loss at or below zero.")
