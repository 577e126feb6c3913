"""Several files are read as one table: their columns, their names, and which of them are one run each."""

import gzip

import numpy as np
import pandas as pd
import pytest

from tests.analysis.tables.logs import A, finals, log_of, logs
from vsweep.analysis import __main__ as program
from vsweep.analysis.approaches import parametric
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import select
from vsweep.analysis.data.source import Convention
from vsweep.analysis.tables import several_files
from vsweep.analysis.tables.foreign_tables import BadTable

GRID = finals(logs())[["N", "tokens", "loss"]]


@pytest.fixture
def two(tmp_path):
    """A grid in two files."""
    GRID[::2].to_csv(tmp_path / "a.csv", index=False)
    GRID[1::2].to_csv(tmp_path / "b.csv", index=False)
    return [tmp_path / "a.csv", tmp_path / "b.csv"]


def refusal(source, **options) -> str:
    with pytest.raises(ValueError) as error:  # noqa: PT011, a BadTable too
        load(source, **options)
    return str(error.value)


def test_two_files_are_one_table(two):
    source = load(two)
    assert len(source.runs) == len(GRID)
    assert source.runs["run_id"].tolist()[:2] == ["row a.csv:2", "row a.csv:3"]
    assert source.title == "a to b (2 files)"
    assert parametric.fit(*select(source, Convention("loss")).law_columns).law.a == pytest.approx(A, abs=1e-3)


def test_pattern_names_all_files(two):
    pd.testing.assert_frame_equal(load(str(two[0].parent / "*.csv")).runs, load(two).runs)
    assert load(str(two[0].parent / "a*.csv")).title == "a.csv"
    assert "no file matches this pattern" in refusal(two[0].parent / "*.parquet")


def test_file_is_a_column_for_conditions(two):
    assert len(load(two, where=["file=b.csv"]).runs) == len(GRID[1::2])
    assert "file (2 values)" in " ".join(load(two).notes)


def test_files_of_several_studies_are_warned_about(tmp_path):
    for name, factor in (("web", 1.0), ("code", 0.7)):
        GRID.assign(loss=GRID["loss"] * factor).to_csv(tmp_path / f"{name}.csv", index=False)
    (warning,) = load(str(tmp_path / "*.csv")).warnings
    assert warning.startswith("These look like several studies: file (code.csv, web.csv)")


def test_columns_that_differ_are_named(two):
    GRID[1::2].assign(lr=0.1).to_csv(two[1], index=False)
    assert "Columns that not every file has: lr (not in file a.csv)." in load(two).notes
    GRID[1::2].drop(columns="tokens").to_csv(two[1], index=False)
    assert "column tokens (D): empty or NaN in rows b.csv:2, b.csv:3" in refusal(two)


def test_formats_may_differ(two):
    GRID[1::2].to_json(two[1].with_suffix(".json"), orient="records")
    two[0].with_suffix(".csv.gz").write_bytes(gzip.compress(two[0].read_bytes()))
    source = load([two[0].with_suffix(".csv.gz"), two[1].with_suffix(".json")])
    np.testing.assert_allclose(source.runs["loss"], load(two).runs["loss"], rtol=1e-9)


def test_rows_in_two_files_are_named_and_dropped(two):
    two[1].write_bytes(two[0].read_bytes())
    source = load(two)
    assert len(source.runs) == len(GRID[::2])
    assert "rows b.csv:2, b.csv:3" in " ".join(source.notes)


def test_file_given_twice_is_refused(two):
    assert "given twice" in refusal([two[0], two[0]])
    assert "no such work directory or table" in refusal([*two, two[0].with_name("c.csv")])


def test_columns_of_one_name_are_refused(two):
    two[1].write_text("N,tokens,loss,loss\n1e6,1e7,3,3\n", encoding="utf-8")
    assert "b.csv: several columns are called 'loss'" in refusal(two)


def test_folders_and_files_are_not_mixed(two, tmp_path):
    assert "a work directory and a table have other columns" in refusal([two[0], tmp_path])


def test_run_ids_of_two_files_are_parted(tmp_path):
    first, second = logs(), logs(ratios=(10.0, 40.0, 160.0, 640.0))
    first.to_csv(tmp_path / "a.csv", index=False)
    second.to_csv(tmp_path / "b.csv", index=False)
    runs = load(str(tmp_path / "*.csv")).runs
    assert len(runs) == 2 * first["run_id"].nunique()
    assert {"r0, file a.csv", "r0, file b.csv"} < set(runs["run_id"])


def test_log_that_goes_on_in_another_file_is_one_run(tmp_path):
    early = logs().groupby("run_id").cumcount() < 10
    logs()[early].to_csv(tmp_path / "a.csv", index=False)
    logs()[~early].to_csv(tmp_path / "b.csv", index=False)
    source = load(str(tmp_path / "*.csv"))
    assert len(source.runs) == len(GRID)
    np.testing.assert_array_equal(np.sort(source.runs["loss"]), np.sort(GRID["loss"]))


# Each file is one run


def test_each_file_is_one_run(tmp_path):
    for at, (size, tokens) in enumerate(zip(GRID["N"], GRID["tokens"], strict=True)):
        log_of(size, tokens, "").drop(columns="run_id").to_csv(tmp_path / f"job{at:02}.csv", index=False)
    source = load(str(tmp_path / "*.csv"), run_from_filename=True)
    assert source.runs["run_id"].tolist() == [f"job{at:02}" for at in range(len(GRID))]
    np.testing.assert_allclose(source.runs["loss"], GRID["loss"])
    assert len(source.curves) == len(logs())
    assert not any("file" in note and "Not used" in note for note in source.notes)


def test_numbers_in_names_become_columns(tmp_path):
    for seed in (0, 1):
        for size, tokens in zip(GRID["N"], GRID["tokens"], strict=True):
            log = log_of(size, tokens, "")[["tokens", "loss"]]
            log.to_csv(tmp_path / f"N={size:g}_D={tokens:g}_seed={seed}.csv", index=False)
    source = load(str(tmp_path / "*.csv"), run_from_filename=True)
    assert sorted(set(source.runs["seed_block"])) == ["0", "1"]
    assert len(source.runs) == 2 * len(GRID)
    assert "Columns from the names of files: N, seed." in " ".join(source.notes)


def test_one_row_of_a_file_is_a_run(tmp_path):
    for at in range(len(GRID)):
        GRID[at : at + 1].to_csv(tmp_path / f"r{at}.csv", index=False)
    source = load(str(tmp_path / "*.csv"), run_from_filename=True)
    assert set(source.runs["run_id"]) == {f"r{at}" for at in range(len(GRID))}
    assert source.curves is None


def test_file_with_several_sizes_is_no_run(two):
    assert "'a' has several N, so it names no run" in refusal(two, run_from_filename=True)
    assert "needed are files" in refusal(GRID, run_from_filename=True)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("N=1e6_D=2e9_seed=3", {"N": 1e6, "D": 2e9, "seed": 3}),
        ("width64-lr0.01", {"width": 64, "lr": 0.01}),
        ("lr1e-3,batch_size=32", {"lr": 1e-3, "batch_size": 32}),
        ("gpt_N70M_D1.5B", {"N": 70e6, "D": 1.5e9}),
        ("2024-05-01_run", {}),
        ("h100x8", {}),
        ("lr0.1_lr0.2", {"lr": 0.1}),
    ],
)
def test_numbers_of_a_name(name, numbers):
    assert several_files.numbers_in(name) == numbers


# The command


def test_command_reads_several_files_beside_the_first(two, capsys):
    assert program.main([*map(str, two), "--bootstrap", "0"]) == 0
    folder = two[0].parent / "a-to-b-2-files-analysis"
    assert (folder / "fits.json").is_file()
    assert str(folder) in capsys.readouterr().out
    (folder / "fits.json").write_text("{}", encoding="utf-8")
    assert program.main([*map(str, two), "--bootstrap", "0"]) == 2


def test_table_command_joins_files(two, tmp_path, capsys):
    assert program.main(["table", *map(str, two), str(tmp_path / "out.csv")]) == 0
    assert f"{len(GRID)} runs" in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "out.csv")) == len(GRID)


def test_bad_file_among_several_is_named(two):
    two[1].write_bytes(b"")
    with pytest.raises(BadTable, match=r"b\.csv: not a table of text - the file is empty"):
        load(two)
