"""`python -m analysis TABLE` without --out, and --help of every command."""

import json

import pytest

from tests.analysis.planted import LAW
from vsweep.analysis.__main__ import main
from vsweep.analysis.commands import folder_beside


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


@pytest.mark.parametrize("command", [[], ["plan"], ["compare"], ["table"]])
def test_help_exits_with_zero(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    assert "usage: python -m analysis" in capsys.readouterr().out
