import json

import pytest

from vsweep.config.design import explicit_runs
from vsweep.config.problems import ConfigError, Problem
from vsweep.config.sweep_config import from_dict

TABLE = "width,schedule,tied_embeddings,lr,budget\n4,cosine,True,1e-2,4000\n\n8,linear,false,0.3 / width,1e4\n"


def written(tmp_path, text: str) -> str:
    (tmp_path / "runs.csv").write_text(text)
    return str(tmp_path / "runs.csv")


def problems_of(source, **sweep) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        from_dict({"sweep": {"runs_csv": source, **sweep}})
    return [str(problem) for problem in caught.value.problems]


def test_a_file_holds_a_run_in_each_row(tmp_path):
    config = from_dict({"sweep": {"runs_csv": written(tmp_path, TABLE)}})
    assert [dict(row) for row in config.design.runs_csv] == [
        {"width": 4, "schedule": "cosine", "tied_embeddings": True, "lr": 0.01, "budget": 4000},
        {"width": 8, "schedule": "linear", "tied_embeddings": False, "lr": "0.3 / width", "budget": 10_000},
    ]


def test_the_config_keeps_the_rows_and_not_the_file(tmp_path):
    path = written(tmp_path, TABLE)
    config = from_dict({"sweep": {"runs_csv": path}})
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    (tmp_path / "runs.csv").unlink()
    assert path not in json.dumps(config.to_dict())
    assert from_dict(json.loads((tmp_path / "config.json").read_text())) == config
    assert from_dict({"sweep": {"runs_csv": str(tmp_path / "config.json")}}) == config


def test_a_changed_file_is_another_sweep(tmp_path):
    first = from_dict({"sweep": {"runs_csv": written(tmp_path, TABLE)}})
    second = from_dict({"sweep": {"runs_csv": written(tmp_path, TABLE.replace("4000", "5000"))}})
    assert first.to_dict() != second.to_dict()


def test_every_bad_cell_is_named_with_its_line(tmp_path):
    text = "width,lr,schedule\n4,-1,cosine\n,0.1,cosin\nx,0.1,linear\n"
    assert problems_of(written(tmp_path, text)) == [
        "sweep.runs_csv: line 2, column lr: not a valid value - got -1; allowed: a finite number above 0",
        "sweep.runs_csv: line 3, column width: an empty cell - got ''; allowed: an integer from 1 to 2147483647",
        "sweep.runs_csv: line 3, column schedule: not a valid value - got 'cosin'; allowed: cosine, linear, constant, "
        "wsd; did you mean cosine?",
        "sweep.runs_csv: line 4, column width: not a valid value - got 'x'; allowed: an integer from 1 to 2147483647",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("widht\n4\n", "unknown column - got 'widht'"),
        ("digits\n2\n", "unknown column - got 'digits'"),
        ("width,lr\n4\n", "line 2: another number of cells - got 1; allowed: 2"),
        ("width,width\n4,4\n", "columns of one name - got 'width'"),
        ("width\n", "no runs"),
        ("", "no runs"),
        ("width,lr\n4,0.1\n8,0.1\n4,0.1\n", "line 4: the same run as line 2"),
        ('width\n"4\n', "cannot be read"),
        ("flops\n2*1e9\n", "line 2, column flops: not a valid value"),
    ],
)
def test_what_is_no_table_of_runs_is_refused(tmp_path, text, told):
    problems = problems_of(written(tmp_path, text))
    assert told in problems[0]
    assert len(problems) == 1


def test_hundreds_of_bad_cells_are_few_lines(tmp_path):
    problems = problems_of(written(tmp_path, "width\n" + "x\n" * 300))
    assert len(problems) == explicit_runs.MOST_TOLD + 1
    assert "280 more problems" in problems[-1]


def test_a_file_that_is_missing_is_a_problem():
    assert "cannot be read (No such file or directory) - got 'none.csv'" in problems_of("none.csv")[0]


@pytest.mark.parametrize("rows", [[{}], [{"width": 4}, {"lr": 0.1}], [3], 3, {"width": 4}])
def test_rows_that_are_none_are_refused(rows):
    assert problems_of(rows)[0].startswith("sweep.runs_csv: ")


def test_formulas_of_cells_are_judged_with_the_others(tmp_path):
    (problem,) = problems_of(written(tmp_path, "lr\n0.3 / widht\n"))
    assert problem.startswith("sweep.runs_csv: a formula with the unknown name widht")


def test_a_column_that_is_an_axis_too_is_refused(tmp_path):
    (problem,) = problems_of(written(tmp_path, "lr\n0.1\n"), lr=[0.2])
    assert problem.startswith("sweep.lr: given more than once - got sweep.lr, sweep.runs_csv (lr)")


def test_the_file_stands_beside_the_config_or_here(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert explicit_runs.locate("runs.csv", tmp_path / "configs") == "runs.csv"
    (tmp_path / "here" / "runs.csv").write_text(TABLE)
    assert explicit_runs.locate("runs.csv", tmp_path / "configs") == str(tmp_path / "here" / "runs.csv")
    (tmp_path / "configs" / "runs.csv").write_text(TABLE)
    assert explicit_runs.locate("runs.csv", tmp_path / "configs") == str(tmp_path / "configs" / "runs.csv")
    (tmp_path / "configs" / "runs.csv").write_text("width\n4\n")
    assert isinstance(explicit_runs.locate("runs.csv", tmp_path / "configs"), Problem)
