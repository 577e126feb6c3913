"""Other people's tables: what is read, what is refused and in which words, and what is written for other tools."""

import json
import pickle
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.analysis.conftest import CHINCHILLA
from tests.analysis.planted import LAW
from vsweep.analysis.data.four_columns import write_four_columns
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import Points, select
from vsweep.analysis.data.source import Convention
from vsweep.analysis.tables.foreign_tables import BadTable

GOOD = "N,D,loss\n1e6,1e8,3.5\n2e6,1e8,3.3\n"
SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
GRID = pd.DataFrame([(n, d) for n in (1e6, 3e6, 9e6) for d in (1e8, 4e8, 2e9)], columns=["N", "D"])
GRID["loss"] = 1.8 + LAW.loss(GRID["N"], GRID["D"])
WRITERS = {
    ".csv": lambda frame, path: frame.to_csv(path, index=False),
    ".tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    ".json": lambda frame, path: path.write_text(json.dumps(frame.to_dict("records")), encoding="utf-8"),
    ".jsonl": lambda frame, path: path.write_text(
        "".join(json.dumps(row) + "\n" for row in frame.to_dict("records")), encoding="utf-8"
    ),
    ".parquet": lambda frame, path: frame.to_parquet(path, index=False),
}


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def refusal(source) -> str:
    with pytest.raises(BadTable) as error:
        load(source)
    return str(error.value)


def points_of(source) -> Points:
    return select(load(source), Convention("loss"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("N,D\n1,2\n", "missing column loss"),
        ("D,loss,modelsizes\n1,2,3\n", "closest to N: modelsizes"),
        ("C,loss,my_tokens_count\n1,2,3\n", "closest to D: my_tokens_count"),
        ("N,loss,gpu_hours\n1,2,3\n", "missing column D (or C)"),
        ("loss\n3\n", "missing column N, D (or C) - needs loss and two of N, D, C; it has loss"),
        ("N,D,train_loss\n1,2,3\n", "it has N, D, train_loss; closest to loss: train_loss"),
        ("parms,token,loss\n1,2,3\n", "closest to D: token; closest to N: parms"),
        ("d_model,step,loss\n1,2,3\n", "it has d_model, step, loss"),
        (GOOD + "3e6,,3.1\n", "column D: empty or NaN in row 4"),
        (GOOD + "3e6,nan,3.1\n", "column D: empty or NaN in row 4"),
        (GOOD + "-3e6,1e8,3.1\n", "column N: negative in row 4"),
        (GOOD + "3e6,1e8,-3.1\n3e6,1e8,-3.1\n", "column loss: negative in rows 4, 5"),
        (GOOD + "3e6,1e8,good\n", "column loss: not a number in row 4 (such as 'good')"),
        (GOOD + "3e6,1e8,1_0\n", "column loss: not a number in row 4"),
        (GOOD + "3e6,1e8,inf\n", "column loss: infinite in row 4"),
        (GOOD + "0,1e8,3\n", "column N: zero in row 4"),
        (GOOD + "3e6,1e8\n", "column loss: empty or NaN in row 4"),
        (
            GOOD + "3e6,1e8,3,1\n",
            "not a table of text - Error tokenizing data. C error: Expected 3 fields in line 4, saw 4",
        ),
        ("N,D,loss\n", "the table has no rows"),
        ("", "not a table of text - the file is empty"),
        ("\n \n", "not a table of text - the file is empty"),
    ],
)
def test_bad_table_names_column_and_rows(tmp_path, text, message):
    said = refusal(write(tmp_path / "bad.csv", text))
    assert message in said
    assert said.startswith(f"{tmp_path / 'bad.csv'}: ")
    assert "closest" in message or "closest" not in said
    assert "\n" not in said


def test_all_problems_are_named_at_once(tmp_path):
    text = "Model Size,tokens,train_tokens,seed\n1e6,1e8,1e8,0\n-1,1e8,1e8,\nbig,x,1e8,1\n" + "0,1e8,1e8,1\n" * 10
    said = refusal(write(tmp_path / "bad.csv", text)).removeprefix(f"{tmp_path / 'bad.csv'}: ")
    assert said.split("; ") == [
        "columns tokens and train_tokens could each be D - keep one, or name the right one, such as --column D=tokens",
        "missing column loss - needs loss and two of N, D, C",
        "it has Model Size, tokens, train_tokens, seed",
        "name it with --column loss=COLUMN",
        "column Model Size (N): not a number in row 4, negative in row 3, zero in rows 5, 6, 7, 8, 9, 10, 11, 12 and 2 "
        "more (such as 'big')",
        "column seed: empty in row 3 (this column may be left out)",
    ]


def test_rows_count_as_in_the_file(tmp_path):
    assert "negative in row 6" in refusal(write(tmp_path / "a.csv", "\nN,D,loss\n1e6,1e8,3\n\n,,\n-1e6,1e8,3\n"))
    lines = '{"N": 1e6, "D": 1e8, "loss": 3}\n\n{"N": 1e6, "D": 1e8, "loss": NaN}\n{"N": 1e6, "D": 1e8}\n'
    assert "column loss: empty or NaN in rows 3, 4" in refusal(write(tmp_path / "a.jsonl", lines))
    bad = GRID.assign(loss=[np.inf, *GRID["loss"][1:]])
    bad.to_parquet(tmp_path / "a.parquet")
    assert "column loss: infinite in row 1" in refusal(tmp_path / "a.parquet")
    assert refusal(bad.set_index(np.arange(50, 59))) == "the table: column loss: infinite in row 1"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"N,D,loss\n1,\x00,3\n", "not a table of text - it holds a NUL"),
        ("a.csv", b'N,D,loss\n1,"2,3\n', "not a table of text - Error tokenizing data. C error: EOF inside string"),
        ("a.parquet", b"N,D,loss\n1,2,3\n", "not a parquet table"),
        ("a.json", b'{"N": [1], "D": 2}', "not a JSON table - it holds one dict; needed is a list of records"),
        ("a.json", b'{"N": 1}\n{"N": \n', "not a JSON table - line 2: Expecting value"),
        ("a.json", b"[" * 100_000, "not a JSON table"),
        ("a.json", b"[]", "the table has no rows"),
        ("a.jsonl", b'{"N": 1}\n\n{"N": \n', "line 3: Expecting value"),
        ("a.jsonl", b'{"N": 1}\n3\n[]\n', "no record with named values in rows 2, 3"),
    ],
)
def test_file_of_another_kind_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    assert message in refusal(tmp_path / name)


def test_pythons_own_numbers_are_refused():
    cells = {"N": [True, 1e6], "D": [1e8, pd.Timestamp("2020-01-01")], "loss": [3, [2.0]]}
    said = refusal(pd.DataFrame(cells, dtype=object))
    for column, row in (("N", 1), ("D", 2), ("loss", 2)):
        assert f"column {column}: not a number in row {row}" in said
    assert "column loss: infinite in row 1" in refusal(
        pd.DataFrame({"N": [1], "D": [2], "loss": [10**400]}, dtype=object)
    )


class Intruder:
    """Creates a file if it is ever unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


def test_nothing_in_a_table_is_ever_executed(tmp_path):
    mark = tmp_path / "mark"
    poison = pickle.dumps(Intruder(mark), protocol=0)
    for name in ("a.csv", "a.tsv", "a.json", "a.jsonl", "a.parquet", "a.pkl"):
        (tmp_path / name).write_bytes(poison)
        refusal(tmp_path / name)
    code = f"open({str(mark)!r}, 'w')"
    pd.DataFrame({"N": [code, poison.decode()], "D": [1.0, 2.0], "loss": [3.0, 3.0]}).to_parquet(tmp_path / "b.parquet")
    assert "column N: not a number in rows 1, 2" in refusal(tmp_path / "b.parquet")
    assert not mark.exists()
    pickle.loads(poison).close()
    assert mark.exists()  # the trap does snap where something unpickles


@pytest.mark.parametrize(
    ("header", "note"),
    [
        ("n , D,LOSS", None),
        ("Model Size,training tokens,loss", "N is Model Size, D is training tokens."),
        ("num_params,Dataset-Tokens,Validation Loss", "N is num_params, D is Dataset-Tokens, loss is Validation Loss."),
        ("total_params,tokens_seen,eval/loss", "N is total_params, D is tokens_seen, loss is eval/loss."),
    ],
)
def test_columns_are_known_by_usual_names(tmp_path, header, note):
    source = load(write(tmp_path / "a.csv", f"{header}\n1e6,1e8,3.5\n"))
    assert source.runs[["params", "tokens", "flops_6nd", "loss"]].to_numpy().tolist() == [[1e6, 1e8, 6e14, 3.5]]
    assert source.notes == (() if note is None else (f"Columns were recognised by their names: {note}",))


def test_exact_name_wins_over_usual_ones(tmp_path):
    both = load(write(tmp_path / "a.csv", "N,n_params,D,val_loss,loss\n1e6,9e9,1e8,9,3.5\n"))
    assert both.runs[["params", "loss"]].to_numpy().tolist() == [[1e6, 3.5]]
    assert "The column N was read as N; n_params was not used (--column N=n_params reads it)." in both.notes
    assert "The column loss was read as loss; val_loss was not used (--column loss=val_loss reads it)." in both.notes
    doubtful = refusal(write(tmp_path / "b.csv", "N,D,val_loss,test_loss\n1e6,1e8,3,4\n"))
    assert "columns val_loss and test_loss could each be loss - keep one, or name the right one" in doubtful
    assert "such as --column loss=val_loss" in doubtful
    assert "columns loss and loss could each be loss" in refusal(write(tmp_path / "c.csv", "N,D,loss,loss\n1,2,3,4\n"))


def test_two_of_ndc_give_the_third(tmp_path):
    by_flops = load(write(tmp_path / "a.csv", "Model Size,Training FLOP,loss,Seed\n1e6,6e14,3.5,1\n2e6,6e14,3.3,2\n"))
    assert by_flops.runs["tokens"].tolist() == pytest.approx([1e8, 5e7])
    assert by_flops.runs["seed_block"].tolist() == ["1", "2"]
    assert "The table has no D: it is C / 6N." in by_flops.notes
    by_tokens = load(write(tmp_path / "b.csv", "tokens,compute,loss\n1e8,6e14,3.5\n"))
    assert by_tokens.runs["params"].tolist() == pytest.approx([1e6])
    assert load(write(tmp_path / "c.csv", GOOD)).runs["flops_6nd"].tolist() == pytest.approx([6e14, 1.2e15])


def test_counted_compute_is_kept(tmp_path):
    source = load(write(tmp_path / "a.csv", "N,D,C,loss\n1e6,1e8,9e14,3.5\n1e7,1e8,6.6e15,3\n"))
    assert select(source, Convention("loss")).table["flops"].tolist() == [9e14, 6.6e15]
    assert source.notes == ("C is the table's own: 1.1 to 1.5 times 6ND (median 1.3).",)


def test_compute_in_other_units_is_refused(tmp_path):
    said = refusal(write(tmp_path / "a.csv", "N,C,loss\n1e9,1e20,3.5\n1e9,0.5,3\n1e9,0.7,3\n"))
    assert "C / 6N gives D = 1.17e-10, D / N = 1.17e-19, in the median row - are N and D plain counts" in said
    assert said.endswith("If they are right as they stand: --column N=N --column C=C")
    mostly = write(tmp_path / "b.csv", "N,C,loss\n1e9,1e20,3.5\n1e9,1e20,3.4\n1e9,1e20,3.3\n1e9,0.5,3\n1e9,0.7,3\n")
    said = refusal(mostly)
    assert "D = C / 6N is below one or infinite in rows 5, 6 - are N and D plain counts, and C in FLOP" in said


def test_compute_budget_makes_isoflop_groups():
    grid = GRID.assign(budget=np.repeat([1e15, 1e16, 5e16], 3))
    table = points_of(grid).table
    assert table["isoflop"].tolist() == grid["budget"].tolist()
    assert table["tokens"].tolist() == grid["D"].tolist()
    assert table["flops"].tolist() == pytest.approx(6 * grid["N"] * grid["D"])
    derived = load(grid.drop(columns="D"))
    assert derived.runs["tokens"].tolist() == pytest.approx(grid["budget"] / (6 * grid["N"]))
    assert derived.runs["flops_6nd"].tolist() == grid["budget"].tolist()
    assert derived.notes == (
        "The column budget was read as FLOP: the compute of each run's IsoFLOP group.",
        "The table has no D: it is C / 6N.",
    )


def test_token_budget_is_the_training_budget():
    exact = GRID.assign(budget=GRID["D"], D=GRID["D"] * 1.01)
    table = points_of(exact).table
    assert (table["budget"].tolist(), table["tokens"].tolist()) == (exact["budget"].tolist(), exact["D"].tolist())
    assert "isoflop" not in table
    alone = GRID.rename(columns={"D": "budget"})
    assert load(alone).runs["tokens"].tolist() == GRID["D"].tolist()
    assert load(alone).notes == ("The column budget was read as tokens: budgets of training.",)
    repeated = refusal(GRID.drop(columns="N").assign(token_budget=GRID["D"]))
    assert "missing column N (or C) - column token_budget (budget) is in tokens and only repeats D" in repeated


def test_unknown_budget_is_not_used():
    dollars = load(GRID.assign(budget=12.0))
    assert "isoflop" not in dollars.runs
    assert dollars.notes[0].startswith("The column budget was not used: it is in the median row a factor of 6e+14 off")
    # The name says FLOP, so that it is not taken for tokens, however close it comes to them.
    assert "isoflop" not in load(GRID.assign(flop_budget=GRID["D"])).runs
    assert "column budget: needed for C or D, but" in refusal(GRID.drop(columns="D").assign(budget=12.0))


def test_runs_off_their_group_are_named():
    strays = GRID.assign(isoflop=6 * GRID["N"] * GRID["D"] * [1, 1, 1, 1, 5, 1, 1, 0.1, 1])
    assert load(strays).notes[-1] == "In rows 5, 8 it differs from C by more than a factor of three."


def test_unique_tokens_and_weights_are_checked():
    table = points_of(GRID.assign(U=5e7, weight=np.arange(1, 10))).table
    assert table["unique_tokens"].tolist() == [5e7] * 9
    assert table["weight"].tolist() == list(range(1, 10))
    assert "column weight: zero in row 1 (this column may be left out)" in refusal(GRID.assign(weight=np.arange(9)))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_all_kinds_of_files_agree(tmp_path, suffix):
    WRITERS[suffix](GRID, tmp_path / f"a{suffix}")
    of_file = points_of(tmp_path / f"a{suffix}").table
    pd.testing.assert_frame_equal(of_file.drop(columns="run_id"), points_of(GRID).table.drop(columns="run_id"))


def test_semicolon_and_byte_order_mark_are_read(tmp_path):
    (tmp_path / "a.csv").write_text("N;D;loss\r\n1e6;1e8;3.5\r\n", encoding="utf-8-sig")
    assert load(tmp_path / "a.csv").runs["loss"].tolist() == [3.5]


def test_dataframe_is_not_changed():
    mean = GRID.groupby(["N", "D"]).mean()  # N and D are its index
    before = mean.copy(deep=True)
    source = load(mean)
    pd.testing.assert_frame_equal(mean, before)
    assert (source.title, str(source.path), source.is_workdir) == ("the table", "the table", False)
    assert source.runs["run_id"].tolist()[:2] == ["row 1", "row 2"]
    assert source.runs["tokens"].tolist() == GRID["D"].tolist()


def test_missing_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    GRID.to_parquet(tmp_path / "a.parquet")
    points = points_of(GRID)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert refusal(tmp_path / "a.parquet").endswith("a.parquet: parquet needs one more package - pip install pyarrow")
    with pytest.raises(ValueError, match="pip install pyarrow"):
        write_four_columns(points, tmp_path / "b.parquet")
    assert not (tmp_path / "b.parquet").exists()


def test_four_columns_hold_the_usable_runs(tmp_path):
    source = load(GRID.assign(loss=[0.0, *GRID["loss"][1:]]))
    write_four_columns(select(source, Convention("loss")), tmp_path / "deep" / "four.csv")
    written = pd.read_csv(tmp_path / "deep" / "four.csv")
    assert list(written) == ["C", "N", "D", "loss"]
    assert written["N"].tolist() == GRID["N"].tolist()[1:]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["four.csv"]


def test_nothing_is_written_without_runs_or_suffix(tmp_path):
    points = points_of(GRID)
    with pytest.raises(ValueError, match=r"unknown suffix '\.xlsx'; allowed \.csv, \.tsv, \.json, \.jsonl, \.parquet"):
        write_four_columns(points, tmp_path / "a.xlsx")
    with pytest.raises(ValueError, match=r"a\.csv: not written - no finished run has a usable loss"):
        write_four_columns(points.where(points.table["loss"] < 0), tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_published_points_round_trip(tmp_path, suffix):
    points = points_of(CHINCHILLA)
    write_four_columns(points, tmp_path / f"four{suffix}")
    back = points_of(tmp_path / f"four{suffix}").table
    for column in ("params", "tokens", "flops", "loss", "size", "budget"):
        np.testing.assert_array_equal(back[column], points.table[column])


POSITIVE = st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False)


@settings(max_examples=8, deadline=None, database=None)
@given(rows=st.lists(st.tuples(POSITIVE, POSITIVE, POSITIVE, POSITIVE), min_size=1, max_size=5, unique=True))
def test_any_positive_numbers_survive_every_kind_of_file(tmp_path_factory, rows):
    as_named = {name: name for name in ("C", "N", "D", "loss")}  # so that no magnitude is doubted
    points = select(load(pd.DataFrame(rows, columns=list(as_named)), columns=as_named), Convention("loss"))
    folder = tmp_path_factory.mktemp("any")
    for suffix in SUFFIXES:
        write_four_columns(points, folder / f"a{suffix}")
        back = select(load(folder / f"a{suffix}", columns=as_named), Convention("loss")).table
        assert list(zip(back["flops"], back["params"], back["tokens"], back["loss"], strict=True)) == rows
