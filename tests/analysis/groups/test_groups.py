"""A law for each group of a column: planted groups, what is left out or refused, and the files."""

import functools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.analysis import hostile
from tests.analysis.conftest import CHINCHILLA
from tests.analysis.planted import LAW
from vsweep.analysis.__main__ import main
from vsweep.analysis.approaches.parametric import Law
from vsweep.analysis.commands import folder_beside
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.source import Convention, Source
from vsweep.analysis.groups import report, side_by_side, splitting
from vsweep.analysis.groups.report import GroupsResult
from vsweep.analysis.groups.side_by_side import AGREE, CANNOT_TELL, DIFFER, UNKNOWN, Number
from vsweep.analysis.result import Result
from vsweep.analysis.sections.base import begin
from vsweep.analysis.uncertainty.intervals import Range

TWO = CHINCHILLA.parent / "cases" / "two_datasets.csv"
STEEP = Law(E=0.0, A=LAW.A * 1e6**0.3, B=LAW.B, alpha=LAW.alpha + 0.3, beta=LAW.beta)


def table(laws: dict[str, Law], noise: float = 0.001) -> pd.DataFrame:
    """6 sizes x 5 budgets of each law, with noise in log loss."""
    rng = np.random.default_rng(0)
    grid = [(n, d) for n in np.geomspace(3e5, 1e7, 6) for d in np.geomspace(1e7, 1e9, 5)]
    rows = [
        (name, n, d, (1 + law.loss(n, d)) * np.exp(noise * rng.standard_normal()))
        for name, law in laws.items()
        for n, d in grid
    ]
    return pd.DataFrame(rows, columns=["group", "N", "D", "loss"])


def begun(source: Source, out: Path, bootstrap: int = 0) -> Result:
    """An analysis of which only what groups ask for is computed, and nothing is drawn."""
    return Result(source, (begin(source, Convention("loss"), bootstrap=bootstrap),), (), out)


@pytest.fixture(scope="module")
def three(tmp_path_factory) -> GroupsResult:
    """Two groups of one law and one of another, and a few runs of a fourth."""
    frame = table({"a": LAW, "b": LAW, "steep": STEEP})
    groups = splitting.split(pd.concat([frame, frame[:4].assign(group="few")]), "group", {})
    one = functools.partial(begun, bootstrap=40)
    return report.study(groups, tmp_path_factory.mktemp("three"), one, bootstrap=40)


def test_planted_exponents_of_groups_are_told_apart(three):
    outcomes = {(one.first, one.second): one.outcome for one in three.found.differences if one.method == "parametric"}
    assert outcomes == {("a", "b"): AGREE, ("a", "steep"): DIFFER, ("b", "steep"): DIFFER}
    assert three.results["steep"].studies[0].points.table.shape[0] == 30
    rows = {row.group: row.numbers for row in three.found.rows if row.method == "parametric"}
    for name, law in (("a", LAW), ("steep", STEEP)):
        assert rows[name]["a"].range.low < law.a < rows[name]["a"].range.high
        best = 1 + law.loss(law.params_opt(three.found.flops), law.tokens_opt(three.found.flops))
        assert rows[name]["loss"].value == pytest.approx(best, rel=0.01)
        assert rows[name]["loss"].range.low < rows[name]["loss"].value < rows[name]["loss"].range.high


def test_small_group_is_named_and_left_out(three):
    assert [group.value for group in three.groups.groups] == ["a", "b", "steep"]
    assert any("Left out" in text and "few (4 finished runs at 4 different (N, D))" in text for text in three.findings)


def test_report_and_file_hold_the_same_groups(three):
    content = json.loads(three.file.read_text())
    assert [group["folder"] for group in content["groups"]] == ["group-a", "group-b", "group-steep"]
    page = three.report.read_text()
    assert all(f'href="{group["folder"]}/report.html"' in page for group in content["groups"])
    assert page.index("<figure ") < page.index("<table>")  # the picture comes first
    assert {"groups_loss.png", "groups_exponents.csv"} <= {path.name for path in (three.out / "figures").iterdir()}
    assert [one["outcome"] for one in content["comparisons"]][1:] == ["the exponent moves"] * 2


def test_group_is_read_as_its_condition_reads_it():
    groups = splitting.split(TWO, "dataset", {})
    for group in groups.groups:
        alone = load(TWO, where=[f'dataset == "{group.value}"'])
        pd.testing.assert_frame_equal(group.source.runs, alone.runs)
        assert group.source.warnings == ()
    assert groups.whole.warnings  # they look like several studies until they are apart
    assert "Give each a law of its own with --by dataset" in groups.whole.warnings[0]


def test_conditions_hold_for_every_group():
    groups = splitting.split(TWO, "dataset", {"where": "N > 1e8"})
    assert all((group.source.runs["params"] > 1e8).all() for group in groups.groups)


def test_runs_of_a_sweep_are_grouped_by_axis(noisy_workdir):
    groups = splitting.split(noisy_workdir, "seed", {})
    assert [(group.value, group.folder, len(group.source.runs)) for group in groups.groups] == [
        (str(seed), f"seed-{seed}", 112) for seed in range(3)
    ]


@pytest.mark.parametrize(
    ("frame", "by", "message"),
    [
        (lambda t: t, "colour", "by: no column 'colour' to group by in the table; it has group"),
        (lambda t: t, "loss", "no column 'loss' to group by in the table \\(it was read as a quantity\\)"),
        (lambda t: t.assign(x=np.arange(len(t)) / 7), "x", "by: x has 60 values that are numbers, and at most 20"),
        (lambda t: t.assign(x=[f"r{i}" for i in range(len(t))]), "x", "by: x has 60 values, and at most 50"),
        (lambda t: t[:33], "group", "by: two groups of group .* got a; too few runs have b \\(3 finished"),
    ],
)
def test_column_without_groups_is_refused(frame, by, message):
    with pytest.raises(ValueError, match=message):
        splitting.split(frame(table({"a": LAW, "b": LAW})), by, {})


def test_values_that_read_alike_are_one_group():
    frame = table({"a": LAW, "b": LAW})
    frame["x"] = np.where(frame.index % 2, np.where(frame["group"] == "a", "0.01", "2"), "1e-2")
    assert [group.value for group in splitting.split(frame, "x", {}).groups] == ["0.01", "2"]


def test_folders_of_groups_are_safe_and_different():
    taken: set[str] = set()
    names = [splitting.safe_name(text, taken) for text in ("../x", "..\\x", "x", "X", "", "$(rm)", "a" * 300)]
    assert names == ["x", "x-2", "x-3", "X-4", "group", "rm", "a" * 60]


@pytest.mark.parametrize(
    ("second", "outcome"),
    [
        (Number(0.50, Range(0.49, 0.51)), AGREE),
        (Number(0.60, Range(0.59, 0.61)), DIFFER),
        (Number(0.50, Range(0.40, 0.60)), CANNOT_TELL),
        (Number(0.53, Range(0.50, 0.57)), CANNOT_TELL),
    ],
)
def test_only_narrow_ranges_agree(second, outcome):
    range_ = side_by_side._range_of_difference(Number(0.5, Range(0.48, 0.52)), second)
    assert side_by_side._outcome(range_) == outcome


def test_without_resamples_nothing_agrees(tmp_path):
    found = report.study(splitting.split(TWO, "dataset", {}), tmp_path, begun, bootstrap=0).found
    assert {one.outcome for one in found.differences} == {UNKNOWN}
    assert all(number.range is None for row in found.rows for number in row.numbers.values())


def test_command_writes_beside_the_table(tmp_path, capsys):
    table({'<b>"$x': LAW, "plain": LAW}).to_csv(tmp_path / "mine.csv", index=False)
    assert main([str(tmp_path / "mine.csv"), "--by", "group", "--bootstrap", "0"]) == 0
    said = capsys.readouterr().out
    out = tmp_path / "mine-by-group"
    assert str(out / "groups.json") in said
    assert "2 groups by group" in said
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["figures", "group-b-x", "group-plain"]
    hostile.assert_harmless(out)
    assert folder_beside(tmp_path / "mine.csv", "group") == out  # a second analysis may replace its own
    fits = json.loads((out / "group-plain" / "fits.json").read_text())
    rows = json.loads((out / "groups.json").read_text())["rows"]
    for row in fits["exponents"]:
        beside = next(r for r in rows if (r["group"], r["method"]) == ("plain", row["method"]))
        assert row["refused"] or row["a"] == beside["numbers"]["a"]["value"]


def test_groups_of_numbers_are_named_with_their_column():
    frame = table({"a": LAW, "b": LAW})
    groups = splitting.split(frame.assign(depth=np.where(frame["group"] == "a", 4, 8)), "depth", {}).groups
    assert [(group.value, group.name, group.folder) for group in groups] == [
        ("4", "depth = 4", "depth-4"),
        ("8", "depth = 8", "depth-8"),
    ]


def test_law_that_its_runs_do_not_show_is_not_compared(tmp_path):
    frame = table({"a": LAW, "noise": LAW})
    noise = np.exp(np.random.default_rng(1).standard_normal(len(frame)))
    frame["loss"] *= np.where(frame["group"] == "noise", noise, 1.0)
    found = report.study(
        splitting.split(frame, "group", {}), tmp_path, functools.partial(begun, bootstrap=40), bootstrap=40
    )
    (main_one,) = [one for one in found.found.differences if one.method == "parametric"]
    assert main_one.outcome == UNKNOWN
    assert "the runs of noise do not show" in found.found.comparisons["a", "noise"].reason
