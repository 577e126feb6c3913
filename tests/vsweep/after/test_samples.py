"""Text from the best run of each size: which runs, what they write, and what is left alone."""

import json

import pandas as pd
import pytest

import vsweep
from tests.vsweep import small
from vsweep import generate
from vsweep.after import samples
from vsweep.analysis.data import samples as read_back
from vsweep.schema import SAMPLES_FILE
from vsweep.tables import read_runs


@pytest.fixture(scope="module")
def texts_sweep(tmp_path_factory):
    """Of text: one size, two seeds."""
    values = small.text_config(tmp_path_factory.mktemp("corpus"))
    values["sweep"] = {"budget": [4096], "seed": [0, 1]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VSWEEP_CACHE", str(tmp_path_factory.mktemp("cache")))
        workdir = tmp_path_factory.mktemp("texts")
        list(vsweep.run_sweep(values, workdir))
        yield workdir


def table(sizes: int) -> pd.DataFrame:
    rows = [
        {"run_id": f"n{size}-s{seed}", "params": 100 * size, "val_loss": 3.0 - 0.1 * seed, "tokens": 1000}
        for size in range(1, sizes + 1)
        for seed in (0, 1, 2)
    ]
    return pd.DataFrame(rows)


def test_the_best_finished_run_of_each_size_is_chosen():
    runs = table(2)
    names = [name for name in runs["run_id"] if name != "n2-s2"]  # which has no parameters
    assert list(samples.best_of_sizes(runs, names)["run_id"]) == ["n2-s1", "n1-s2"]


def test_of_many_sizes_both_ends_are_chosen():
    runs = table(40)
    params = samples.best_of_sizes(runs, list(runs["run_id"]))["params"]
    assert len(params) == samples.MOST_SIZES
    assert (params.iloc[0], params.iloc[-1]) == (4000, 100)


def test_a_text_is_what_generate_gives(texts_sweep, capsys):
    assert samples.write(texts_sweep) == ""
    written = (texts_sweep / SAMPLES_FILE).read_bytes()
    (sample,), warning = read_back.read(texts_sweep)
    runs = read_runs(texts_sweep).set_index("run_id")
    assert (sample.run_id, sample.val_loss) == (runs["val_loss"].idxmin(), runs["val_loss"].min())
    asked = [str(texts_sweep), "--run", sample.run_id, "--temperature", "0.8", "--length", "200", "--json", ""]
    assert generate.main(asked) == 0
    assert json.loads(capsys.readouterr().out)["text"] == sample.text != ""
    assert (samples.write(texts_sweep), warning) == ("", "")
    assert (texts_sweep / SAMPLES_FILE).read_bytes() == written


def test_without_time_a_note_says_what_is_missing(texts_sweep):
    note = samples.write(texts_sweep, patience_s=-1.0)
    assert note == "samples.json: -1 s were not enough for 1 of 1 sizes"
    assert read_back.read(texts_sweep) == ((), "")


def test_other_tasks_write_no_text(finished_sweep):
    assert samples.write(finished_sweep) == ""
    assert not (finished_sweep / SAMPLES_FILE).exists()
