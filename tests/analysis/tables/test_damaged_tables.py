"""The three tables of a work directory, damaged in every way: refused in one line, or the numbers are the table's."""

import csv
import io
import math
import random
import shutil
from pathlib import Path

import pytest

from tests.analysis.planted import BUDGETS, Planted, write_planted
from vsweep import atomic, schema, tables
from vsweep.analysis import commands
from vsweep.analysis.data.loading import TEXT_COLUMNS, load
from vsweep.analysis.tables.foreign_tables import BadTable

TABLES = (schema.RUNS_FILE, schema.CURVES_FILE, schema.TIMES_FILE)
CELLS = (b"", b"nan", b"inf", b"-inf", b"-1", b"0", b"1e400", b"x", b"True", b"9" * 30, b"1e300", b"1e-300", b"\xff")
INSERTED = (b",", b"\n", b'"', b"\x00", b"\r", b"inf", b"-", b"9" * 400, b"\xff", b"x", b";", b"e999")
NO_VALUE = {"", "nan", "NaN", "NA", "null", "None"}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    """A small sweep with all three tables; copy it before you change it."""
    planted = Planted(widths=(4, 8), budgets=BUDGETS[:2], seeds=(0, 1), noise=0.1)
    workdir = write_planted(tmp_path_factory.mktemp("sweep"), planted)
    times = [{"stack": f"w{width}", **dict.fromkeys(schema.ACTIVITIES, 0.5)} for width in planted.widths]
    atomic.write_text_atomically(workdir / schema.TIMES_FILE, tables.as_csv(times, list(schema.TIME_COLUMNS)))
    return workdir


def flip_a_bit(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(8 * len(content))
    return content[: place // 8] + bytes([content[place // 8] ^ 1 << place % 8]) + content[place // 8 + 1 :]


def truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def insert(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content))
    return content[:place] + rng.choice(INSERTED) + content[place:]


def remove(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content))
    return content[:place] + content[place + 1 :]


def edit(content: bytes, rng: random.Random) -> bytes:
    rows = [row.split(b",") for row in content.split(b"\n")]
    row = rng.choice(rows[:-1])
    row[rng.randrange(len(row))] = rng.choice(CELLS)
    return b"\n".join(b",".join(row) for row in rows)


HARMS = (flip_a_bit, truncate, insert, remove, edit)


def harm(workdir: Path, rng: random.Random) -> str:
    path, how = workdir / rng.choice(TABLES), rng.choice(HARMS)
    path.write_bytes(how(path.read_bytes(), rng))
    return f"{how.__name__} in {path.name}"


def numbers_of(path: Path) -> dict[str, list[float]]:
    """The columns of numbers by another reader; raises ValueError where a cell is none."""
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    names = [name for name in rows[0] if name not in TEXT_COLUMNS]
    return {name: [math.nan if row[name] in NO_VALUE else float(row[name]) for row in rows] for name in names}


def assert_read_as_written(workdir: Path) -> None:
    source = load(workdir)
    for name, table in zip(TABLES, (source.runs, source.curves, source.times), strict=True):
        for column, expected in numbers_of(workdir / name).items():
            assert table[column].astype(float).tolist() == pytest.approx(expected, rel=1e-12, nan_ok=True), column


def test_damaged_tables_are_refused_or_read(sweep, tmp_path):
    assert_read_as_written(sweep)
    rng, refused = random.Random(13), 0
    for _ in range(200):
        workdir = shutil.copytree(sweep, tmp_path / "copy", dirs_exist_ok=True)
        done = harm(workdir, rng)
        try:
            assert_read_as_written(workdir)
        except BadTable as error:
            told = str(error)
            refused += told.startswith(f"{workdir}/")
            problem = "" if told.startswith(f"{workdir}/") and "\n" not in told else f"{done}: {told}"
            if problem:
                pytest.fail(problem)
    assert 100 < refused < 200


@pytest.mark.slow
def test_damaged_tables_are_analysed_or_refused(sweep, tmp_path, capsys):
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    for _ in range(200):
        workdir = shutil.copytree(sweep, tmp_path / "copy", dirs_exist_ok=True)
        done = harm(workdir, rng)
        status = commands.analyse([str(workdir), "--bootstrap", "0"])
        said = capsys.readouterr()
        assert (status, said.err.count("\n")) in ((0, 0), (2, 1)), f"seed {seed}: {done}: {said.err}"
        shutil.rmtree(workdir)


def columns(number: int) -> bytes:
    return b",".join(b"c%d" % n for n in range(number)) + b"\n"


def cell(name: str, value: bytes):
    """Puts `value` into the second row of a column."""

    def put(content: bytes) -> bytes:
        rows = [row.split(b",") for row in content.split(b"\n")]
        rows[2][rows[0].index(name.encode())] = value
        return b"\n".join(b",".join(row) for row in rows)

    return put


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("runs", lambda content: b"", "it is empty"),
        ("runs", lambda content: columns(2_000_000), "it has 2,000,000 columns, and at most 1,000 are read"),
        ("curves", cell("val_loss", b"9" * 10_000_000), "field larger than field limit"),
        ("runs", cell("run_id", b"a" * 10_000_000), "field larger than field limit"),
        ("runs", cell("params", b"12\x0034"), "line 3 holds a NUL"),
        ("times", cell("stack", b"w\x00"), "line 3 holds a NUL"),
        ("curves", cell("run_id", b"\xc3("), "'utf-8' codec can't decode"),
        ("runs", lambda content: content.replace(b"val_loss,", b"loss,", 1), "these columns are missing: ['val_loss']"),
        ("curves", lambda content: content.replace(b"tokens", b"steps", 1), "the column 'steps' stands there twice"),
        ("curves", lambda content: content.replace(b",", b".", 1), "line 2 has 12 cells, and the header has 11"),
        ("curves", lambda content: content + b"1,2,3\n", "line 282 has 3 cells, and the header has 12"),
        ("times", lambda content: content + b"w9" + 7 * b",1" + b"\n", "line 4 has 8 cells, and the header has 7"),
        ("runs", lambda content: content + b'"', "unexpected end of data"),
        ("runs", cell("tokens", b"many"), "column tokens: not a number in row 3 (such as 'many')"),
        ("runs", cell("tokens", b"inf"), "column tokens: negative, too large or infinite in row 3 (such as 'inf')"),
        ("curves", cell("steps", b"-7"), "column steps: negative, too large or infinite in row 3"),
        ("runs", cell("seed", b"0.5"), "column seed: no seed in row 3"),
        ("runs", cell("budget", b"0"), "column budget: zero in row 3"),
        ("runs", cell("params", b"1e-300"), "column params: below one in row 3"),
        ("runs", cell("width", b"9" * 400), "column width: negative, too large or infinite in row 3"),
        ("runs", cell("params_non_embedding", b"99999"), "params_non_embedding: more than params in row 3"),
        ("curves", cell("val_loss", b"1e300"), "column val_loss: too large in row 3"),
        ("runs", cell("run_id", b"w4-b125000-s0"), "column run_id: not the only run of its name in rows 2, 3"),
        ("runs", cell("run_id", b""), "column run_id: empty in row 3"),
        ("times", cell("train_s", b""), "column train_s: empty or NaN in row 3"),
        ("times", cell("train_s", b"soon"), "column train_s: not a number in row 3"),
    ],
)
def test_impossible_table_is_refused_with_its_place(sweep, tmp_path, capsys, name, change, message):
    workdir = shutil.copytree(sweep, tmp_path / "copy")
    path = workdir / f"{name}.csv"
    path.write_bytes(change(path.read_bytes()))
    assert commands.analyse([str(workdir), "--bootstrap", "0"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"analysis: {path}: ")
    assert message in said
    assert said.count("\n") == 1
    assert not (workdir / "analysis").exists()


def test_huge_numbers_and_empty_runs_are_analysed(sweep, tmp_path):
    workdir = shutil.copytree(sweep, tmp_path / "copy")
    for name, change in (
        ("curves", cell("steps", b"9" * 30)),
        ("curves", lambda content: content.replace(b"w8-b250000-s0", b"gone")),
        ("runs", cell("tokens", b"")),
    ):
        path = workdir / f"{name}.csv"
        path.write_bytes(change(path.read_bytes()))
    assert commands.analyse([str(workdir), "--bootstrap", "0"]) == 0
    page = (workdir / "analysis" / "report.html").read_text(encoding="utf-8")
    assert "<td>w4-b125000-s1</td><td>without recorded tokens or FLOP</td><td>no tokens or FLOP recorded</td>" in page
    assert "w8-b250000-s0 has no loss curve" in page
