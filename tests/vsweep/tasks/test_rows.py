"""A task may give its training examples by number instead of as one array."""

import sys
import types

import numpy as np
import pytest

from tests.vsweep import small
from vsweep.config.problems import ConfigError
from vsweep.plan import cost
from vsweep.tables import read_runs
from vsweep.tasks import base, checks, data_order

SEQUENCE = 6


class Windows:
    """Windows of one long row of tokens, as of a file: each begins with the last token of the one before."""

    vocabulary = 7
    sequence_length = SEQUENCE
    train_examples = 400
    may_repeat = True

    def __init__(self):
        rng = np.random.default_rng(0)
        self.ids = rng.integers(7, size=5 * 400 + 1).astype(np.uint8)
        self.held_out = rng.integers(7, size=(64, SEQUENCE)).astype(np.uint8)

    def rows(self, examples):
        return self.ids[5 * examples[..., None] + np.arange(SEQUENCE)]


class Padded(Windows):
    """Of which every third example ends with padding."""

    pad = 6

    def rows(self, examples):
        tokens = np.minimum(super().rows(examples), 5)
        return np.where((examples[..., None] % 3 == 0) & (np.arange(SEQUENCE) >= 4), self.pad, tokens)


def completed(own, **more):
    for name, value in more.items():
        setattr(own, name, value)
    return base.CompletedTask("own", own)


@pytest.fixture
def module(monkeypatch):
    array = type("AsArray", (), {name: getattr(Windows, name) for name in ("vocabulary", "sequence_length")})
    array.may_repeat, array.held_out = True, Windows().held_out
    array.train_tokens_NxS = Windows().rows(np.arange(400))
    found = types.ModuleType("mine_of_rows")
    found.Windows, found.AsArray, found.Padded = Windows, array, Padded
    monkeypatch.setitem(sys.modules, "mine_of_rows", found)
    return found


def config_of(kind: str) -> dict:
    values = small.config(sweep={"budget": [400, 800], "seed": [0]})
    values["task"] = {"name": f"mine_of_rows:{kind}"}
    return values


def test_rows_train_as_the_same_array(module, tmp_path):
    for kind in ("Windows", "AsArray"):
        small.train(config_of(kind), tmp_path / kind)
    tables = [read_runs(tmp_path / kind).drop(columns=["wall_s", "task"]) for kind in ("Windows", "AsArray")]
    assert tables[0].equals(tables[1])
    assert tables[0]["unique_tokens"].tolist() == tables[0]["tokens"].tolist() == [400, 800]


def test_an_array_with_gaps_is_not_copied_whole():
    ids = np.arange(41, dtype=np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(ids, 5)[::4]
    examples = np.array([[0, 9], [3, 3]])
    assert np.array_equal(base.rows_of(windows, examples), np.ascontiguousarray(windows)[examples])
    assert base.rows_of(np.ascontiguousarray(windows), examples).shape == (2, 2, 5)


def test_rows_are_given_in_the_smallest_type():
    task = completed(Windows(), rows=lambda examples: np.full((*examples.shape, SEQUENCE), 6))
    assert task.rows(np.zeros((2, 3), int)).dtype == np.uint8


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (lambda examples: np.full((*examples.shape, SEQUENCE), 7), "tokens from 7 to 7; allowed: 0 to 6"),
        (lambda examples: np.full((*examples.shape, SEQUENCE), -1), "tokens from -1 to -1; allowed: 0 to 6"),
        (lambda examples: np.zeros((*examples.shape, 5), int), r"int64 \(4, 5\); allowed: whole numbers \(4, 6\)"),
        (lambda examples: np.zeros((*examples.shape, SEQUENCE)), r"float64 \(4, 6\)"),
    ],
)
def test_rows_that_are_no_tokens_are_refused(rows, words):
    with pytest.raises(ConfigError, match=words):
        completed(Windows(), rows=rows).rows(np.arange(4))


def test_rows_without_a_number_of_examples_are_refused(module, monkeypatch):
    monkeypatch.delattr(Windows, "train_examples")
    with pytest.raises(ConfigError, match="a task with rows must say its train_examples"):
        small.sweep(config_of("Windows"))


def test_no_examples_are_refused_before_a_plan_divides_by_them(module, monkeypatch):
    monkeypatch.setattr(Windows, "train_examples", 0)
    with pytest.raises(ConfigError, match="has no training examples - got 0"):
        small.sweep(config_of("Windows"))


def test_labels_without_padding_need_no_counting():
    task = completed(Windows(), rows=None)  # calling it would fail
    assert task.label_tokens == task.mean_label_tokens == SEQUENCE - 1
    assert data_order.token_counts(task.label_tokens, 0, 400, [0, 8, 900]) == [0, 40, 4500]


def test_labels_with_padding_are_counted_in_pieces(monkeypatch):
    monkeypatch.setattr(base, "PIECE_TOKENS", 7 * SEQUENCE)
    task = completed(Padded())
    assert task.label_tokens.tolist() == [3 if example % 3 == 0 else 5 for example in range(400)]
    assert task.mean_label_tokens == pytest.approx(np.mean(task.label_tokens))
    assert checks.problems(task, 64) == []


def test_the_digest_sees_every_row(monkeypatch):
    monkeypatch.setattr(base, "PIECE_TOKENS", 7 * SEQUENCE)
    changed = Windows()
    changed.ids[-1] = (changed.ids[-1] + 1) % 7
    assert completed(Windows()).digest == completed(Windows()).digest != completed(changed).digest


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (4, "label_tokens is not the number of labels - got 4 of training example 0; allowed: 3"),
        (np.full(400, 3), "got 3 of training example 1; allowed: 5"),
        (np.full(399, 3), "label_tokens of a wrong kind - got int64 (399,); allowed: a whole number, or one for each"),
        (np.full(400, 3.0), "label_tokens of a wrong kind - got float64 (400,)"),
    ],
)
def test_wrong_numbers_of_labels_are_named(said, words):
    (problem,) = checks.problems(completed(Padded(), label_tokens=said))
    assert words in str(problem)


def test_a_task_that_checks_itself_is_only_sampled(monkeypatch):
    monkeypatch.setattr(checks, "SAMPLE", 16)
    asked, own = [], Windows()
    whole = own.rows
    task = completed(own, problems=lambda: ["the store is damaged"], rows=lambda e: (asked.append(e.size), whole(e))[1])
    (problem,) = checks.problems(task, 64)
    assert str(problem) == "task.name: the store is damaged"
    assert sum(asked) == 16
    own.ids[-1] = 9
    assert "got 9 in example 399" in str(checks.problems(task, 64)[1])


def test_a_chunk_is_as_long_as_its_bytes_allow():
    planned = small.sweep(small.config())
    shape, task = planned.stacks[0].shape, planned.task
    step_bytes = 4 * 8 * task.sequence_length
    assert cost.chunk_steps(shape, task, 4, 128) == 128
    assert cost.chunk_steps(shape, task, 4, 10**9) == 2**26 // step_bytes
    assert cost.chunk_steps(shape, task, 10**9, 128) == 1
