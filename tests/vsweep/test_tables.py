import errno
import json
import math
import os

import numpy as np
import pytest

from tests.vsweep import small
from vsweep import atomic, schema, tables
from vsweep.atomic import write_json_atomically, write_text_atomically
from vsweep.schema import CURVE_COLUMNS, RUN_COLUMNS


def run_row(**values) -> dict:
    return {**dict.fromkeys(RUN_COLUMNS, 1), "run_id": "w4-d1k-s0", "stack": "w4", "status": "finished", **values}


def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "new" / "table.csv"
    write_text_atomically(path, "old, and longer than the new one\n")
    write_text_atomically(path, "new: ä\r\n")
    assert path.read_bytes() == "new: ä\r\n".encode()
    assert [file.name for file in path.parent.iterdir()] == ["table.csv"]


@pytest.mark.parametrize(
    ("write", "value", "error"),
    [
        (write_json_atomically, {"loss": math.nan}, ValueError),
        (write_json_atomically, {"loss": object()}, TypeError),
        (write_text_atomically, "half of it is writable \ud800", UnicodeEncodeError),
    ],
)
def test_a_write_that_fails_leaves_the_old_file_and_no_temporary_one(tmp_path, write, value, error):
    path = tmp_path / "config.json"
    path.write_text("old")
    with pytest.raises(error):
        write(path, value)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize("call", [1, 2])
def test_a_full_or_broken_disk_leaves_the_old_file_and_says_where_and_why(tmp_path, call, error):
    path = tmp_path / "runs.csv"
    path.write_text("old")
    with pytest.raises(atomic.CannotWrite) as caught, small.FailingDisk(call, error, lasting=True):
        write_text_atomically(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["runs.csv"]
    assert caught.value.errno == error
    told = f"cannot write {path}: {os.strerror(error)}. Nothing that was saved before is lost. "
    assert str(caught.value).startswith(told)


def test_a_full_disk_is_told_with_the_room_that_is_needed_and_missing(tmp_path):
    error = atomic.CannotWrite(errno.ENOSPC, "No space left on device", tmp_path / "new" / "checkpoint", 10**18)
    assert "1,000,000,000,000.000 MB needed, " in str(error)
    assert " MB free: make room for " in str(error)
    small_file = atomic.CannotWrite(errno.ENOSPC, "No space left on device", tmp_path / "runs.csv", 1)
    assert "a quota or the number of files may be the limit" in str(small_file)


def test_an_error_of_the_disk_that_a_library_hides_in_its_words_is_told_as_what_it_is(tmp_path):
    told = "RESOURCE_EXHAUSTED: Failed to write 9 bytes to file 9: No space left on device [os_error_code='28']"
    with pytest.raises(atomic.CannotWrite, match="No space left on device") as caught, atomic.writing(tmp_path):
        raise ValueError(told)
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(ValueError, match="of another kind"), atomic.writing(tmp_path):
        raise ValueError("of another kind")


def test_a_written_file_is_on_the_disk_before_it_takes_its_name_and_the_name_after_that(tmp_path, monkeypatch):
    calls = small.recorded(monkeypatch, (os, "fsync"), (os, "replace"), (atomic, "sync_folder"))
    write_text_atomically(tmp_path / "runs.csv", "new")
    assert calls == ["fsync", "replace", "sync_folder", "fsync"]


def test_what_killed_writers_have_left_is_removed_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "runs.csv").write_text("old")
    (tmp_path / ".hidden").write_text("of somebody else")
    monkeypatch.setattr(os, "replace", interrupted)
    monkeypatch.setattr(os, "unlink", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_text_atomically(tmp_path / "runs.csv", "new")
    monkeypatch.undo()
    assert len(list(tmp_path.iterdir())) == 3
    atomic.remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"runs.csv", ".hidden"}


def interrupted(*arguments):
    raise KeyboardInterrupt


def test_a_table_that_cannot_be_made_leaves_the_old_one(tmp_path):
    path = tmp_path / schema.RUNS_FILE
    atomic.write_text_atomically(path, tables.as_csv([run_row()], RUN_COLUMNS))
    before = path.read_bytes()
    with pytest.raises(UnicodeEncodeError):
        atomic.write_text_atomically(path, tables.as_csv([run_row(device="\ud800")], RUN_COLUMNS))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_that_has_the_old_file_open_goes_on_reading_it(tmp_path):
    path = tmp_path / "table.csv"
    write_text_atomically(path, "old\n" * 1000)
    with open(path) as reader:
        first = reader.readline()
        write_text_atomically(path, "new\n")
        assert first + reader.read() == "old\n" * 1000


def test_runs_are_read_back_with_every_bit_of_every_float(tmp_path):
    rng = np.random.default_rng(0)
    losses = rng.random(500) * 10.0 ** rng.integers(-12, 20, 500)
    rows = [run_row(run_id=f"r{index}", val_loss=float(loss)) for index, loss in enumerate(losses)]
    atomic.write_text_atomically(tmp_path / schema.RUNS_FILE, tables.as_csv(rows, RUN_COLUMNS))
    frame = tables.read_runs(tmp_path)
    assert list(frame.columns) == list(RUN_COLUMNS)
    assert np.array_equal(frame["val_loss"].to_numpy(), losses)


def test_names_stay_text_large_counts_stay_exact_and_nothing_stays_empty(tmp_path):
    rows = [
        run_row(run_id="007", stack="1", tokens=2**53 + 1, val_loss=None, diverged_at_step=None),
        run_row(run_id="a,b", tokens=3, val_loss=0.5, diverged_at_step=12),
    ]
    atomic.write_text_atomically(tmp_path / schema.RUNS_FILE, tables.as_csv(rows, RUN_COLUMNS))
    frame = tables.read_runs(tmp_path)
    assert list(frame["run_id"]) == ["007", "a,b"]
    assert list(frame["stack"]) == ["1", "w4"]
    assert list(frame["tokens"]) == [2**53 + 1, 3]
    assert frame["val_loss"].isna().tolist() == [True, False]
    assert frame["diverged_at_step"].isna().tolist() == [True, False]


def test_a_table_without_rows_still_has_its_columns(tmp_path):
    atomic.write_text_atomically(tmp_path / schema.CURVES_FILE, tables.as_csv([], CURVE_COLUMNS))
    assert list(tables.read_curves(tmp_path).columns) == list(CURVE_COLUMNS)


@pytest.mark.parametrize(
    ("file", "columns", "read"),
    [
        (schema.RUNS_FILE, RUN_COLUMNS, tables.read_runs),
        (schema.CURVES_FILE, CURVE_COLUMNS, tables.read_curves),
    ],
)
def test_missing_columns_are_named_with_the_file(tmp_path, file, columns, read):
    kept = [name for name in columns if name not in ("tokens", "val_loss")]
    atomic.write_text_atomically(tmp_path / file, tables.as_csv([dict.fromkeys(kept, 1)], kept))
    with pytest.raises(ValueError, match=rf"{file}: .*missing: \['tokens', 'val_loss'\]"):
        read(tmp_path)


def test_a_table_from_before_a_column_was_added_is_read_with_that_column_empty(tmp_path):
    old = [name for name in RUN_COLUMNS if name not in schema.ADDED_COLUMNS]
    atomic.write_text_atomically(tmp_path / schema.RUNS_FILE, tables.as_csv([run_row()], old))
    frame = tables.read_runs(tmp_path)
    assert list(frame.columns) == list(RUN_COLUMNS)
    assert frame["inexact_resumes"].isna().all()


def test_every_column_has_a_meaning_and_curves_mean_the_same_as_runs():
    assert all(meaning for _, meaning in RUN_COLUMNS.values())
    assert all(RUN_COLUMNS[name] == CURVE_COLUMNS[name] for name in CURVE_COLUMNS if name != "run_id")


def test_json_is_written_readable_and_complete(tmp_path):
    value = {"b": [1, 2.5, None], "a": {"x": True}}
    write_json_atomically(tmp_path / "x.json", value)
    text = (tmp_path / "x.json").read_text()
    assert json.loads(text) == value
    assert text.endswith("\n")
