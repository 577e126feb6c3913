"""Text that runs wrote, from samples.json."""

import json

import pytest

from tests.analysis.sections.text_study import write_samples
from vsweep.analysis.data import samples
from vsweep.schema import SAMPLES_FILE


def test_samples_come_by_size(tmp_path):
    write_samples(tmp_path, "small", "large")
    found, warning = samples.read(tmp_path)
    assert [(sample.params, sample.text, sample.temperature) for sample in found] == [
        (1000.0, "small", 0.8),
        (2000.0, "large", 0.8),
    ]
    assert warning == ""


def test_without_a_file_nothing_is_said(tmp_path):
    assert samples.read(tmp_path) == ((), "")


def test_a_long_text_is_cut(tmp_path):
    write_samples(tmp_path, "a" * 100_000)
    assert len(samples.read(tmp_path)[0][0].text) == samples.LONGEST_TEXT


@pytest.mark.parametrize("change", [{"params": "many"}, {"val_loss": -1.0}, {"text": 7}, {"run_id": None}])
def test_a_strange_entry_is_a_warning(tmp_path, change):
    write_samples(tmp_path, "text")
    told = json.loads((tmp_path / SAMPLES_FILE).read_text())
    told["samples"][0] |= change
    (tmp_path / SAMPLES_FILE).write_text(json.dumps(told))
    found, warning = samples.read(tmp_path)
    assert found == ()
    assert warning.startswith("samples.json cannot be read")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"samples": 3}', "[" * 100_000])
def test_a_damaged_file_is_a_warning(tmp_path, text):
    (tmp_path / SAMPLES_FILE).write_text(text)
    assert samples.read(tmp_path)[1].startswith("samples.json cannot be read")
