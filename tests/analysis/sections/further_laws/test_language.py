"""Bits per byte, the levels and tokens per parameter of planted studies of text."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from tests.analysis.planted import BUDGETS, LAW, WIDTHS, Planted, params_of, write_planted
from tests.analysis.sections.text_study import (
    BIGRAM,
    BYTES_PER_TOKEN,
    FACTS,
    UNIGRAM,
    planted_loss,
    write_samples,
    write_text_study,
)
from vsweep import analysis
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.source import Convention, Refusal
from vsweep.analysis.sections import law, runs
from vsweep.analysis.sections.base import LossStudy, begin
from vsweep.analysis.sections.further_laws import downstream, language
from vsweep.analysis.sections.further_laws.language import AGREES, FEWER, MORE, UNKNOWN, TokensPerParameter

PER_BIT = math.log(2) * BYTES_PER_TOKEN


def of(workdir, bootstrap: int = 0) -> tuple[LossStudy, language.TextOfStudy]:
    study = begin(load(workdir), Convention("val_loss"), bootstrap=bootstrap)
    return study, study.result(language.SECTION)


def texts(study: LossStudy) -> list[str]:
    return [finding.text for finding in language.SECTION.findings(study, study.result(language.SECTION))]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return write_text_study(tmp_path_factory.mktemp("text"), Planted(noise=0.002))


@pytest.fixture(scope="module")
def studied(workdir):
    return of(workdir, bootstrap=100)


def test_losses_are_shown_in_bits_per_byte(studied):
    study, found = studied
    expected = planted_loss(params_of(WIDTHS[-1]), BUDGETS[-1])
    assert found.best.nats == pytest.approx(expected, rel=0.01)
    assert found.best.bits_per_byte == pytest.approx(found.best.nats / PER_BIT)
    assert [each.params for each in found.sizes] == [params_of(width) for width in WIDTHS]
    assert {each.tokens for each in found.sizes} == {study.cells["tokens"].max()}
    assert f"{found.best.nats:.3f} nats/token ({found.best.nats / PER_BIT:.3f} bits per byte)" in texts(study)[0]


def test_the_law_is_shown_in_bits_per_byte(studied):
    study, found = studied
    floor, here, further = found.of_law
    assert floor.bits_per_byte == study.result(law.SECTION).quantities["E"] / PER_BIT
    assert floor.low < 1.0299955 < floor.high
    flops = 10 * study.points.column("flops").max()
    best = planted_loss(LAW.params_opt(flops), LAW.tokens_opt(flops))
    assert further.nats == pytest.approx(best, rel=0.01)
    assert further.low < further.nats < further.high < here.nats
    assert further.form.startswith("90 % of ")


def test_levels_count_the_cells_below_them(studied):
    study, found = studied
    cells = study.cells
    unigram, bigram = found.levels
    assert (unigram.nats, bigram.nats) == (UNIGRAM, BIGRAM)
    assert (unigram.below, unigram.cells) == ((cells["loss"] < UNIGRAM).sum(), len(cells))
    smallest, largest = params_of(WIDTHS[0]), params_of(WIDTHS[-1])
    assert bigram.first[smallest] is None
    of_largest = cells[(cells["size"] == largest) & (cells["loss"] < BIGRAM)]
    assert bigram.first[largest] == of_largest["budget"].min() > BUDGETS[0]


def test_a_sentence_names_sizes_above_a_level(studied):
    sentence = next(text for text in texts(studied[0]) if text.startswith("the bigram level"))
    assert f"is {BIGRAM:.3f} nats/token ({BIGRAM / PER_BIT:.3f} bits per byte)" in sentence
    assert studied[1].levels[1].never == [params_of(width) for width in (4, 8, 12)]
    assert sentence.endswith("No budget here takes N = 1.02k, 3.58k, 7.68k below it.")


def test_the_planted_ratio_is_found(studied):
    study, found = studied
    flops = study.points.column("flops").max()
    planted = LAW.tokens_opt(flops) / LAW.params_opt(flops)
    ratio = found.ratios[-1]
    assert ratio.method == "parametric"
    assert ratio.low < planted < ratio.high
    assert ratio.form == "90 % interval"
    assert ratio.verdict == (MORE if ratio.low > 20 else FEWER if ratio.high < 20 else AGREES)
    assert any("the rule of 20 tokens per parameter (Hoffmann et al. 2022)" in text for text in texts(study))


def test_without_intervals_the_rule_is_not_judged(workdir):
    study, found = of(workdir)
    assert {ratio.verdict for ratio in found.ratios} == {UNKNOWN}  # spreads over three seeds are no intervals
    assert any(text.endswith("cannot be judged, because no approach has an interval.") for text in texts(study))


def test_refused_approaches_give_no_ratio(tmp_path):
    study, found = of(write_text_study(tmp_path, Planted(widths=(4, 8), budgets=BUDGETS[:1], seeds=(0,))))
    assert all(ratio.value is None and ratio.refused for ratio in found.ratios)
    assert any("every approach was refused" in text for text in texts(study))
    told = language.SECTION.to_json(study, found)["language"]["tokens_per_param"]
    assert {entry["verdict"] for entry in told} == {None}


@pytest.mark.parametrize(
    ("low", "high", "form", "verdict"),
    [
        (15.0, 25.0, "90 % interval", AGREES),
        (21.0, 25.0, "90 % interval", MORE),
        (5.0, 19.0, "90 % interval", FEWER),
        (21.0, 25.0, "min..max", UNKNOWN),
        (None, None, "", UNKNOWN),
    ],
)
def test_an_interval_judges_the_rule(low, high, form, verdict):
    assert TokensPerParameter("parametric", "law", 20.0, low, high, form).verdict == verdict


def test_a_law_that_is_not_shown_casts_doubt_on_its_losses(studied, tmp_path):
    assert not any("and so are its losses" in text for text in texts(studied[0]))
    study, _ = of(write_text_study(tmp_path, Planted(budgets=(BUDGETS[0], BUDGETS[-1]), seeds=(0,))))
    verdict = law.standing(study).verdict
    assert verdict in ("doubtful", "not shown")
    assert any(text.startswith(f"the parametric law is {verdict} on these runs") for text in texts(study))


def test_a_level_that_nobody_passes_is_said_shortly(tmp_path):
    levels = {"unigram": UNIGRAM, "bigram": 0.5}
    study, _ = of(write_text_study(tmp_path, facts={**FACTS, "levels_nats_per_token": levels}))
    sentence = next(text for text in texts(study) if text.startswith("the bigram level"))
    assert sentence.endswith(": none of 30 cells ends below it.")


def test_unknown_bytes_per_token_are_said(tmp_path):
    study, found = of(write_text_study(tmp_path, facts={**FACTS, "bytes_per_token": {}}))
    assert found.best.bits_per_byte is None
    assert any(text.startswith("bits per byte are not shown") for text in texts(study))
    assert not any("None" in text for text in texts(study))


def test_a_setting_that_follows_the_width_leaves_no_run_out(workdir):
    source = load(workdir)
    study = begin(
        replace(source, runs=source.runs.assign(lr=0.1 / source.runs["width"])), Convention("val_loss"), bootstrap=0
    )
    told = [finding.text for finding in runs.SECTION.findings(study, study.result(runs.SECTION))]
    assert "The sweep also varies lr, but only from one cell of size and budget to another" in told[1]
    assert not any("slightly optimistic" in text for text in told)
    assert len(study.points.table) == len(source.runs)


def test_columns_of_other_tasks_are_no_refusals(studied):
    assert studied[0].result(downstream.SECTION) == ()


def test_other_studies_have_no_such_section(tmp_path):
    study = begin(load(write_planted(tmp_path, Planted())), Convention("val_loss"), bootstrap=0)
    assert study.result(language.SECTION) is None
    assert language.SECTION.to_json(study, None) == {}
    assert language.SECTION.tables(study, None) == []


def test_without_finished_runs_it_is_refused(workdir):
    source = load(workdir)
    source = replace(source, runs=source.runs.assign(status="running"))
    study = begin(source, Convention("val_loss"), bootstrap=0)
    assert isinstance(study.result(language.SECTION), Refusal)


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    workdir = write_text_study(
        tmp_path_factory.mktemp("analysed"), Planted(widths=(8, 32), budgets=BUDGETS[:2], seeds=(0,))
    )
    write_samples(workdir, "Fellow <script>citizens\nof the \x00\x1b[31m Senate\ufffd", "")
    return analysis.analyse(workdir, bootstrap=0)


def test_fits_json_has_the_section(analysed):
    told = json.loads(analysed.fits.read_text(encoding="utf-8"))["losses"]["val_loss"]["language"]
    assert set(told) == {"bytes_per_token", "best", "sizes", "law", "levels", "tokens_per_param"}
    assert [level["name"] for level in told["levels"]] == ["unigram", "bigram"]
    assert len(told["levels"][0]["first"]) == len(told["sizes"]) == 2
    assert {entry["rule"] for entry in told["tokens_per_param"]} == {20.0}


def test_the_report_shows_text_safely(analysed):
    page = analysed.report.read_text(encoding="utf-8")
    section = page[page.index('<section id="language"') :].partition("</section>")[0]
    assert "<summary>Text from the best run of each size</summary>" in section
    assert "Fellow &lt;script&gt;citizens</span>" in section
    assert r"of the \x00\x1b[31m Senate" in section
    assert "(an empty document)" in section
    assert "Losses in bits per byte, and the levels" in section


def test_loss_curves_show_the_levels(analysed):
    (axes, *_) = analysed.figures["loss_curves"].axes
    levels = [line.get_ydata()[0] for line in axes.lines if len(set(np.atleast_1d(line.get_ydata()))) == 1]
    assert {UNIGRAM, BIGRAM} <= set(levels)
