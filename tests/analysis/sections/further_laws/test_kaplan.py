"""Kaplan's section: one equal batch size, C_min where a batch-size study is there, and the reason where not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.analysis.approaches import test_critical_batch as planted
from vsweep import schema
from vsweep.analysis.approaches import kaplan_curves
from vsweep.analysis.approaches.critical_batch import MinimalCompute
from vsweep.analysis.approaches.kaplan_curves import KaplanCurves
from vsweep.analysis.data.language import Language
from vsweep.analysis.data.source import Convention, Refusal, Source
from vsweep.analysis.plotting import Drawing
from vsweep.analysis.sections.base import LossStudy, begin
from vsweep.analysis.sections.further_laws import kaplan, minimal_compute

CONTEXT = 64
FEW = np.geomspace(1e5, 3e7, 6)


def source_of(parts: list[tuple[float, float]]) -> Source:
    """A work directory of runs (size, batch in tokens) that follow the equations of a critical batch."""
    curves = [planted.curve(size, batch, last=2e4).iloc[::2] for size, batch in parts]
    runs = []
    for (size, batch), curve in zip(parts, curves, strict=True):
        last = curve.iloc[-1]
        known = {"run_id": last["run_id"], "params": size, "params_non_embedding": size, "tokens": last["tokens"]}
        known |= {"status": "finished", "val_loss": last["loss"], "budget": last["tokens"], "seed": 0, "seed_block": 0}
        known |= {"width": round(size**0.5), "batch_size": int(batch / CONTEXT), "flops_counted": last["flops"]}
        runs.append({**dict.fromkeys(schema.RUN_COLUMNS), **known, "flops_6nd": last["flops"]})
    table = pd.concat(curves, ignore_index=True).rename(columns={"loss": "val_loss", "flops": "flops_6nd"})
    table["flops_counted"] = table["flops_6nd"]
    return Source(Path("planted"), True, pd.DataFrame(runs), table, language=Language(vocabulary=256, bigram=5.0))


CONVENTION = Convention("val_loss", size="params_non_embedding")


@pytest.fixture(scope="module")
def with_study() -> Source:
    batches = [(FEW[2], batch) for batch in planted.BATCHES if batch != 64_000]
    return source_of([*((size, 64_000) for size in FEW), *batches])


@pytest.fixture(scope="module")
def study(with_study) -> LossStudy:
    return begin(with_study, Convention("val_loss"), bootstrap=0)


@pytest.fixture(scope="module")
def result(study) -> KaplanCurves:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kaplan_curves, "RESAMPLES", 5)
        return kaplan.SECTION.compute(study)


def test_a_batch_size_study_gives_the_line_against_c_min(result):
    assert result.curves["run_id"].nunique() == len(FEW)  # those of one batch size
    assert isinstance(result.minimal, MinimalCompute)
    assert result.minimal.critical.alpha_B == pytest.approx(planted.ALPHA_B, rel=0.05)
    assert result.minimal.line.a < result.line.a


def test_the_report_tells_c_from_c_min(study, result):
    said = " ".join(finding.text for finding in kaplan.SECTION.findings(study, result))
    assert "C_min is what the same losses would have cost" in said
    assert f"against C_min has the slope {-result.minimal.line.a:.4f}" in said
    told = kaplan.SECTION.to_json(study, result)["kaplan"]["c_min"]
    assert told["slope"] == -result.minimal.line.a
    drawings = [drawing for drawing in kaplan.SECTION.figures(study, result) if isinstance(drawing, Drawing)]
    assert [drawing.name for drawing in drawings][-1] == "kaplan_c_min"
    assert "The critical batch size" in [table.title for table in kaplan.SECTION.tables(study, result)]


def test_without_a_batch_size_study_the_report_says_why(study, result):
    alone = source_of([(size, 64_000) for size in FEW])
    refusal = minimal_compute.of_study(alone, result, CONVENTION)
    assert refusal == Refusal("c_min", "batch sizes do not vary")
    without = replace(result, minimal=refusal)
    said = " ".join(finding.text for finding in kaplan.SECTION.findings(study, without))
    assert "C_min cannot be computed here: batch sizes do not vary." in said
    assert kaplan.SECTION.to_json(study, without)["kaplan"]["c_min"] == {"refused": "batch sizes do not vary"}


def test_two_batch_sizes_are_too_few(with_study, result):
    few = replace(with_study, runs=with_study.runs[with_study.runs["batch_size"].isin((1000, 4000))])
    assert "2 batch sizes at one model size" in minimal_compute.of_study(few, result, CONVENTION).reason


def test_curves_of_one_batch_size_are_compared(with_study):
    assert set(minimal_compute.of_one_batch(with_study).runs["batch_size"]) == {1000}
