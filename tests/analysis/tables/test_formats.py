"""Files in every usual format give the same table."""

import bz2
import gzip
import json
import lzma
import zipfile

import numpy as np
import pandas as pd
import pytest

from vsweep.analysis.tables import formats
from vsweep.analysis.tables.formats import Unreadable, read_file

FRAME = pd.DataFrame({"N": [2e7, 5e7, 1e8], "D": [4e8, 1e9, 2.5e9], "loss": [4.69, 4.26, 3.98]})
CSV = FRAME.to_csv(index=False)
WRITTEN = {
    "plain.csv": CSV.encode(),
    "tabs.tsv": FRAME.to_csv(index=False, sep="\t").encode(),
    "semicolons.csv": FRAME.to_csv(index=False, sep=";").encode(),
    "decimal_commas.csv": FRAME.to_csv(index=False, sep=";", decimal=",").encode(),
    "bars.txt": FRAME.to_csv(index=False, sep="|").encode(),
    "windows_lines.csv": CSV.replace("\n", "\r\n").encode(),
    "mark.csv": CSV.encode("utf-8-sig"),
    "utf16.csv": CSV.encode("utf-16"),
    "utf16_without_mark.csv": CSV.encode("utf-16-be"),
    "comment.csv": b"# my sweep, May\n" + CSV.encode(),
    "savetxt.csv": b"# " + CSV.encode(),
    "trailing.csv": CSV.replace("\n", ",,\n").encode(),
    "thousands.tsv": b"N\tD\tloss\n20,000,000\t400,000,000\t4.69\n50,000,000\t1,000,000,000\t4.26\n"
    b"100,000,000\t2,500,000,000\t3.98\n",
    "plain.csv.gz": gzip.compress(CSV.encode()),
    "plain.csv.xz": lzma.compress(CSV.encode()),
    "plain.csv.bz2": bz2.compress(CSV.encode()),
    "named_wrongly.csv": gzip.compress(CSV.encode()),
    "records.json": FRAME.to_json(orient="records").encode(),
    "columns.json": FRAME.to_json().encode(),
    "split.json": FRAME.to_json(orient="split").encode(),
    "lists.json": json.dumps(FRAME.to_dict("list")).encode(),
    "wrapped.json": json.dumps({"project": "x", "runs": FRAME.to_dict("records")}).encode(),
    "runs.json": json.dumps({f"run-{at}": record for at, record in enumerate(FRAME.to_dict("records"))}).encode(),
    "lines.jsonl": FRAME.to_json(orient="records", lines=True).encode(),
    "lines.json": FRAME.to_json(orient="records", lines=True).encode(),
    "lines.jsonl.gz": gzip.compress(FRAME.to_json(orient="records", lines=True).encode()),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_the_same_table_in_any_format(tmp_path, name):
    (tmp_path / name).write_bytes(WRITTEN[name])
    table = read_file(tmp_path / name)
    values = table.frame[["N", "D", "loss"]].astype(float)
    assert np.array_equal(values.to_numpy(), FRAME.to_numpy())


def test_parquet_and_a_zip_of_one_file(tmp_path):
    FRAME.to_parquet(tmp_path / "a.parquet")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("inside/a.tsv", WRITTEN["tabs.tsv"])
    for name in ("a.parquet", "a.zip"):
        assert np.array_equal(read_file(tmp_path / name).frame.astype(float).to_numpy(), FRAME.to_numpy())


def test_rows_are_numbered_as_in_the_file(tmp_path):
    (tmp_path / "a.csv").write_text("# one\n\nN,loss\n1,2\n\n# two\n3,4\n")
    assert read_file(tmp_path / "a.csv").rows.tolist() == [4, 7]


def test_nested_records_become_columns_with_dots(tmp_path):
    record = {"config": {"model": {"n": 1}}, "loss": 2.0, "history": [{"step": 0}]}
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + "\n")
    table = read_file(tmp_path / "a.jsonl")
    assert table.columns == ["config.model.n", "loss"]
    assert "history" in table.notes[0]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"", "the file is empty"),
        ("a.csv", b"N,loss\n1\0,2\n", "NUL"),
        ("a.csv", gzip.compress(b"N,loss\n1,2\n" * 100, mtime=0)[:-20], "compression is damaged"),
        ("a.zip", b"PK\x03\x04 and nothing else", "compression is damaged"),
        ("a.json", b'"text"', "one str"),
        ("a.json", b"[1, 2]", "no record with named values in rows 1, 2"),
        ("a.json", b'{"N": [1, 2], "loss": [3]}', "different lengths"),
        ("a.jsonl", b'{"N": 1}\n{"N": \n', "line 2"),
        ("a.parquet", b"no parquet", "not a parquet table"),
    ],
)
def test_an_unreadable_file_says_why(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Unreadable, match=words):
        read_file(tmp_path / name)


def test_a_zip_of_two_files_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csv", CSV)
        archive.writestr("b.csv", CSV)
    with pytest.raises(Unreadable, match="a zip with 2 files"):
        read_file(tmp_path / "a.zip")


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "LARGEST_BYTES", 1000)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"0" * 100_000))
    with pytest.raises(Unreadable, match="it holds more than"):
        read_file(tmp_path / "a.csv.gz")


@pytest.mark.parametrize(
    ("cells", "plain"),
    [
        (["1,234,567", "2,345"], ["1234567", "2345"]),
        (["3,25", "1e3"], ["3.25", "1e3"]),
        (["1.234,5", "2.000,25"], ["1234.5", "2000.25"]),
        (["1 234 567", "88"], ["1234567", "88"]),
        (["1'234", "5.5"], ["1234", "5.5"]),
        (["1,234", "5,678"], ["1,234", "5,678"]),  # thousands or a decimal comma: not ours to say
        (["1.234.567", "8"], ["1234567", "8"]),
        (["run_1", "2"], ["run_1", "2"]),
    ],
)
def test_numbers_in_other_notations(cells, plain):
    assert formats.plain_numbers(pd.Series(cells), ";").tolist() == plain
