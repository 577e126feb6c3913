"""What task.json tells of a study's text."""

import json

import pytest

from vsweep.analysis.data import language

FACTS = {
    "tokenizer": "bytes",
    "vocabulary": 256,
    "tokens": {"train": 1000, "held_out": 50},
    "bytes_per_token": {"held_out": 0.999},
    "levels_nats_per_token": {"uniform": 5.5, "unigram": 3.0, "bigram": 2.4, "counted_tokens": 1000},
}


def told(tmp_path, text: str):
    (tmp_path / language.TASK_FILE).write_text(text, encoding="utf-8")
    return language.read(tmp_path)


def test_levels_of_a_corpus_are_read(tmp_path):
    found, warning = told(tmp_path, json.dumps(FACTS))
    assert found == language.Language(256, 3.0, 2.4, 0.999, 1000, "bytes")
    assert (found.is_bytes, warning) == (True, "")


def test_other_tasks_have_no_language(tmp_path):
    assert language.read(tmp_path) == (None, "")
    assert told(tmp_path, "{}") == (None, "")


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"a": NaN', "[" * 100_000])
def test_a_damaged_file_is_a_warning(tmp_path, text):
    found, warning = told(tmp_path, text)
    assert found is None
    assert warning.startswith("task.json cannot be read")


def test_numbers_that_are_none_are_not_known(tmp_path):
    levels = {"unigram": "3", "bigram": -1.0, "uniform": True}
    found, _ = told(tmp_path, json.dumps({**FACTS, "levels_nats_per_token": levels, "tokens": 7}))
    assert (found.unigram, found.bigram, found.tokens) == (None, None, None)
