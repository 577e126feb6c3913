"""Small planted tables that are easily misread: each is read rightly, or refused with the way on."""

import gzip
import json
import shlex
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vsweep.analysis import pipeline
from vsweep.analysis.approaches import parametric
from vsweep.analysis.commands import analyse
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import select
from vsweep.analysis.data.source import Convention, Source
from vsweep.analysis.tables import units
from vsweep.analysis.tables.foreign_tables import BadTable

CASES = Path(__file__).parent.parent.parent / "data" / "cases"
A = 0.513  # of the planted law


def exponent(source: Source) -> float:
    """a of the parametric law of all points."""
    return parametric.fit(*select(source, Convention("loss")).law_columns).law.a


def refusal(source, **options) -> str:
    start = time.perf_counter()
    with pytest.raises(BadTable) as error:
        load(source, **options)
    assert time.perf_counter() - start < 3
    return str(error.value)


def options_in(said: str) -> list[str]:
    """The columns that the first suggestion of a message chooses, as a shell reads it."""
    words = shlex.split(said.partition(" - read it with ")[2].partition(" or, if")[0])
    assert words[::2] == ["--column"] * (len(words) // 2)
    return words[1::2]


BASE_CSV = (CASES / "base.csv").read_text(encoding="utf-8")
WRITTEN = {
    "base.csv": BASE_CSV.encode(),
    "base.csv.gz": gzip.compress(BASE_CSV.encode()),
    "utf16.csv": BASE_CSV.encode("utf-16"),
    "comment_line.csv": f"# my sweep, May\n{BASE_CSV}".encode(),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_plain_table_is_read_without_a_word(tmp_path, name):
    (tmp_path / name).write_bytes(WRITTEN[name])
    source = load(tmp_path / name)
    assert (source.notes, source.warnings, source.loss_unit) == ((), (), units.NATS)
    assert exponent(source) == pytest.approx(A, abs=0.005)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("units_silent_MB.csv", ["N=N*1e+06", "D=D*1e+09"]),
        ("marin_hint_NC.csv", ["C=C*1e+09"]),
        ("marin_hint_NDC.csv", ["C=C*1e+09"]),
    ],
)
def test_silent_units_are_refused_with_their_factors(name, options):
    said = refusal(CASES / name)
    assert options_in(said) == options
    source = load(CASES / name, columns=options)  # what the message says answers it
    ratio = source.runs["tokens"] / source.runs["params"]
    assert 1 < ratio.median() < 1000


def test_user_may_say_that_small_numbers_are_right():
    source = load(CASES / "units_silent_MB.csv", columns=["N=N", "D=D"])
    assert source.runs["params"].min() == 20


def test_units_in_names_are_read_with_a_note():
    source = load(CASES / "units_named.csv")
    assert "Units were taken from the names: params_M is in millions, tokens_B is in billions." in source.notes
    assert exponent(source) == pytest.approx(A, abs=0.005)


def test_perplexity_called_loss_is_a_question():
    said = refusal(CASES / "ppl_as_loss.csv")
    assert "is it a perplexity? Say --loss-unit perplexity, or --loss-unit nats/token" in said
    source = load(CASES / "ppl_as_loss.csv", loss_unit="perplexity")
    assert exponent(source) == pytest.approx(A, abs=0.005)
    assert load(CASES / "ppl_as_loss.csv", loss_unit="nats/token").runs["loss"].max() > 100


def test_loss_in_bits_keeps_its_unit():
    source = load(CASES / "nested.jsonl")
    assert source.loss_unit == units.BITS_PER_BYTE
    assert "The loss is in bits/byte, and so are E and every loss below." in source.notes
    assert source.runs["loss"][0] == 4.691708732473178
    assert exponent(source) == pytest.approx(A, abs=0.005)  # and arch.d is no D
    named = pd.read_csv(CASES / "base.csv").assign(loss=lambda table: np.exp(table["loss"]))
    source = load(named.rename(columns={"loss": "val_ppl"}))
    assert source.notes[-1] == "The loss is ln val_ppl: a perplexity as nats per token."
    assert exponent(source) == pytest.approx(A, abs=0.005)


def test_fits_name_the_unit_of_the_loss(tmp_path):
    result = pipeline.analyse(CASES / "nested.jsonl", tmp_path, bootstrap=0)
    assert json.loads(result.fits.read_text())["units"]["loss"] == "bits/byte"
    assert "The loss is in bits/byte" in result.report.read_text()


def test_shapes_and_repeats_are_no_studies():
    gemstones = load(CASES.parent / "gemstones_hot_points.csv", columns=["run=none"])
    assert gemstones.warnings == ()
    assert gemstones.notes == ("Not used, though they vary: run (22 values), width (11 values), depth (18 values).",)


def test_dict_of_runs_is_read():
    source = load(CASES / "dict_of_runs.json")
    assert exponent(source) == pytest.approx(A, abs=0.005)
    assert "Lists inside the records were left out: log." in source.notes


def test_several_studies_are_a_warning_at_the_top(tmp_path, capsys):
    source = load(CASES / "two_datasets.csv")
    (warning,) = source.warnings
    assert warning.startswith("These look like several studies: dataset (")
    assert """--where 'dataset == "web"'""" in warning
    kept = load(CASES / "two_datasets.csv", where=['dataset == "web"'])
    assert kept.warnings == ()
    assert 'Kept are 36 of 72 rows, where dataset == "web".' in kept.notes
    assert exponent(kept) == pytest.approx(A, abs=0.005)
    assert analyse([str(CASES / "two_datasets.csv"), "--out", str(tmp_path), "--bootstrap", "0"]) == 0
    assert capsys.readouterr().out.startswith("! These look like several studies")


def test_each_cell_keeps_its_best_learning_rate():
    source = load(CASES / "lr_sweep.csv")
    points = select(source, Convention("loss"))
    frame = pd.read_csv(CASES / "lr_sweep.csv")
    best = frame.groupby(["N", "D"])["loss"].min()
    assert sorted(points.table["loss"]) == sorted(best)
    assert len(points.exclusions) == len(frame) - len(best)
    assert any(note.startswith("The table also varies lr.") for note in source.notes)
    assert exponent(source) == pytest.approx(A, abs=0.01)


def test_second_size_is_offered():
    source = load(CASES / "two_N.csv")
    assert "The column N was read as N; N_non_emb was not used (--column N=N_non_emb reads it)." in source.notes
    other = load(CASES / "two_N.csv", columns={"N": "N_non_emb"})
    assert other.runs["params"].min() == 2e7
    assert exponent(other) == pytest.approx(A, abs=0.005)


# Rows


BASE = pd.read_csv(CASES / "base.csv")


def test_marked_rows_are_left_out_and_named():
    status = ["crashed", "finished", "running", *["finished"] * (len(BASE) - 3)]
    bad = BASE.assign(state=status, outlier=[False, True, *[False] * (len(BASE) - 2)])
    bad.loc[0, "loss"] = np.nan
    source = load(bad)
    assert "Left out by the column state: row 1 (state = crashed); row 3 (state = running)." in source.notes
    assert "Left out by the column outlier: row 2 (outlier = true)." in source.notes
    assert len(source.runs) == len(BASE) - 3
    assert len(load(BASE.assign(state=["CA", *["NY"] * (len(BASE) - 1)])).runs) == len(BASE)


def test_exact_repeats_are_named_and_dropped():
    source = load(pd.concat([BASE, BASE.iloc[[3]]]))
    assert f"Left out: row {len(BASE) + 1} repeats an earlier row in every column." in source.notes
    assert len(source.runs) == len(BASE)


def test_scatter_between_trials_is_no_study():
    rng = np.random.default_rng(3)
    trials = pd.concat([BASE.assign(trial=trial) for trial in range(3)])
    source = load(trials.assign(loss=trials["loss"] * np.exp(0.1 * rng.standard_normal(len(trials)))))
    assert source.warnings == ()
    assert source.notes == ("Not used, though it varies: trial (3 values).",)


def test_hours_of_devices_are_no_compute():
    said = refusal(BASE.drop(columns="D").assign(gpu_hours=3.0))
    assert "gpu_hours is time and no FLOP" in said
    assert said.endswith("name it with --column D=COLUMN")


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("N=2e7,50000000", 12),
        ("N in (2e7, '5e7')", 12),
        ("N != 2e7", 30),
        ("D<=1e9", 12),
        ("D > 1e9", 24),
        ('a note == "x, y"', 36),
        ('a note="x, y"', 36),
    ],
)
def test_conditions_keep_rows(condition, rows):
    assert len(load(BASE.assign(**{"a note": "x, y"}), where=[condition]).runs) == rows


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("colour == 1", "where: no column 'colour' in the table; it has N, D, loss"),
        ("N", "where: a column and its values - got 'N'"),
        ("__import__('os')", "where: a column and its values"),
        ("N=3", "N: no run has '3'; the table has 20000000.0, "),
        ("N < many", "where: one number is needed - got N < many"),
        ("N < 3", "where: no run has N < 3"),
    ],
)
def test_wrong_conditions_are_refused(condition, message):
    assert message in refusal(BASE, where=[condition])
