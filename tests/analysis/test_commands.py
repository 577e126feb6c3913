"""`python -m analysis TABLE` without --out, and --help of every command."""

import json
import subprocess
import sys

import pandas as pd
import pytest

from tests.analysis.conftest import CHINCHILLA
from tests.analysis.planted import LAW
from vsweep.analysis.__main__ import main
from vsweep.analysis.commands import folder_beside

CASES = CHINCHILLA.parent / "cases"
ROOT = CHINCHILLA.parents[2]


@pytest.fixture
def table(tmp_path):
    grid = [(n, d) for n in (1e6, 3e6, 9e6, 3e7) for d in (1e8, 4e8, 2e9)]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(["N,D,loss", *(f"{n},{d},{LAW.loss(n, d)}" for n, d in grid)]), encoding="utf-8")
    return path


def test_table_without_out_goes_beside_itself(table, capsys):
    assert main([str(table), "--bootstrap", "0"]) == 0
    folder = table.with_name("mine-analysis")
    assert str(folder / "report.html") in capsys.readouterr().out
    assert json.loads((folder / "fits.json").read_text())["source"] == "mine.csv"
    assert folder_beside(table) == folder  # a second analysis may replace its own


@pytest.mark.parametrize("name", ["notes.txt", "fits.json"])
def test_foreign_folder_is_not_touched(table, capsys, name):
    folder = table.with_name("mine-analysis")
    folder.mkdir()
    (folder / name).write_text('{"schema": 2, "source": "other.tsv"}')
    assert main([str(table), "--bootstrap", "0"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "mine-analysis holds no analysis of mine.csv - remove it, or name a folder with --out" in said.err
    assert [path.name for path in folder.iterdir()] == [name]


def test_link_beside_table_is_not_followed(table, tmp_path, capsys):
    (tmp_path / "theirs").mkdir()
    table.with_name("mine-analysis").symlink_to(tmp_path / "theirs")
    assert main([str(table), "--bootstrap", "0"]) == 2
    assert "holds no analysis of mine.csv" in capsys.readouterr().err
    assert not any((tmp_path / "theirs").iterdir())


def test_empty_folder_may_be_used(table):
    table.with_name("mine-analysis").mkdir()
    assert folder_beside(table) == table.with_name("mine-analysis")


def test_missing_table_is_named(tmp_path, capsys):
    assert main([str(tmp_path / "none.csv")]) == 2
    assert "none.csv: no such work directory or table" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_refused_table_is_read_with_its_own_answer(table, tmp_path, capsys):
    frame = pd.read_csv(table)
    named = tmp_path / "named.csv"
    frame.assign(D=frame["D"] / 1e9, group=["a", "b"] * 6).rename(columns={"D": "seen", "loss": "ce"}).to_csv(named)
    assert main([str(named), "--bootstrap", "0"]) == 2
    said = capsys.readouterr().err
    assert "missing column loss, D (or C)" in said
    assert "name it with --column loss=COLUMN --column D=COLUMN" in said
    columns = ["--column", "loss=ce", "--column", "D=seen*1e9"]
    assert main([str(named), "--bootstrap", "0", *columns]) == 0
    assert main(["table", str(named), str(tmp_path / "four.csv"), *columns, "--where", "group=a"]) == 0
    four = pd.read_csv(tmp_path / "four.csv")
    assert four[["N", "D", "loss"]].to_numpy() == pytest.approx(frame[["N", "D", "loss"]].to_numpy()[::2])


def test_two_groups_of_one_table_are_compared(capsys):
    two = CASES / "two_datasets.csv"
    assert main(["compare", str(two), "--by", "dataset", "--bootstrap", "40"]) == 2
    assert "the fitted floors differ: E = 0.8" in capsys.readouterr().err  # each half has its own law
    assert main(["compare", str(two), "--by", "dataset", "--where", "dataset=web", "--bootstrap", "40"]) == 2
    assert "by: two values of dataset are needed - got web" in capsys.readouterr().err


def test_workdir_has_its_own_columns(planted_workdir, tmp_path, capsys):
    assert main([str(planted_workdir), "--column", "loss=x", "--out", str(tmp_path / "out")]) == 2
    assert "a work directory has its own columns" in capsys.readouterr().err


def test_refusal_waits_for_no_heavy_library():
    heavy = "print(status, sorted({'matplotlib', 'scipy', 'jinja2'} & set(sys.modules)))"
    bad = CASES / "units_silent_MB.csv"
    program = f"import sys; from vsweep.analysis.__main__ import main; status = main([{str(bad)!r}]); {heavy}"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "2 []\n"
    assert "read it with --column" in done.stderr


@pytest.mark.parametrize("command", [[], ["plan"], ["compare"], ["check"], ["table"]])
def test_help_exits_with_zero(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    assert "usage: python -m analysis" in capsys.readouterr().out
