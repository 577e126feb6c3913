"""A task whose examples would make every loss wrong is refused before anything is written."""

import dataclasses

import numpy as np
import pytest

from tests.vsweep import small
from vsweep import tasks
from vsweep.config.problems import ConfigError, Problem
from vsweep.config.sweep_config import TaskConfig
from vsweep.tasks import base, checks
from vsweep.tasks.base import HeldOut

TRAIN = np.array([[0, 1, 2], [1, 2, 3], [2, 0, 3]], np.uint8)
TOKENS = np.array([[2, 1, 0], [1, 0, 3]], np.uint8)
HELD_OUT = HeldOut(TOKENS, np.zeros((2, 2), np.float32), np.array([[False, True], [True, False]]))


@dataclasses.dataclass
class Letters:
    """Three letters and padding; all a check looks at."""

    train_tokens_NxS: np.ndarray
    held_out: HeldOut
    vocabulary: int = 4
    sequence_length: int = 3
    pad: int = 3
    train_examples: int = 3
    more_held_out: dict = dataclasses.field(default_factory=dict)
    metrics: dict = dataclasses.field(default_factory=dict)
    sources: dict = dataclasses.field(default_factory=dict)


def problems(train=TRAIN, train_examples=3, **held_out) -> list[Problem]:
    return checks.problems(Letters(train, dataclasses.replace(HELD_OUT, **held_out), train_examples=train_examples))


def changed(array: np.ndarray, value, place=(1, 1), dtype=None) -> np.ndarray:
    array = array.astype(dtype or array.dtype)
    array[place] = value
    return array


FAULTS = [
    ({"train": changed(TRAIN, 4)}, "training examples beyond the vocabulary - got 4 in example 1; allowed: 0 to 3"),
    ({"train": changed(TRAIN, -1, dtype=int)}, "got -1 in example 1; allowed: 0 to 3, where 3 is padding and no label"),
    ({"tokens_NxS": changed(TOKENS, 200)}, "held-out examples beyond the vocabulary - got 200 in example 1"),
    ({"train": TRAIN.astype(object)}, "training examples are not tokens - got object"),
    ({"train": TRAIN.astype(np.float32)}, "training examples are not tokens - got float32"),
    ({"train": TRAIN[:, :2]}, "training examples have a wrong shape - got (3, 2); allowed: [examples, 3]"),
    ({"train": TRAIN[0]}, "training examples have a wrong shape - got (3,)"),
    ({"train": TRAIN[:0], "train_examples": 0}, "no training examples - got 0"),
    ({"train_examples": 4}, "train_examples is not their number - got 4; allowed: 3"),
    (
        {"train": changed(TRAIN, 3, (1, slice(1, 3)))},
        "training examples without a label - got only padding in example 1",
    ),
    ({"train": changed(TRAIN, TOKENS[0], 2)}, "got 1 of 3, the first is training example 2; allowed: none"),
    (
        {"answer_NxL": HELD_OUT.answer_NxL.astype(int)},
        "answer labels of a wrong kind - got int64 (2, 2); allowed: bool",
    ),
    ({"answer_NxL": HELD_OUT.answer_NxL[:1]}, "answer labels of a wrong kind - got bool (1, 2)"),
    ({"answer_NxL": ~HELD_OUT.answer_NxL}, "padding among the answer labels"),
    ({"surprisal_NxL": np.full((2, 2), np.nan, np.float32)}, "surprisal of a wrong kind - got (2, 2) from nan"),
    ({"surprisal_NxL": np.full((2, 2), -1, np.float32)}, "surprisal of a wrong kind - got (2, 2) from -1.0 to -1.0"),
]


@pytest.mark.parametrize(("faults", "message"), FAULTS, ids=[message[:45] for _, message in FAULTS])
def test_each_fault_of_the_examples_is_named_with_its_place_and_what_is_allowed(faults, message):
    (problem,) = problems(**faults)
    assert problem.field == "task.name"
    assert message in str(problem)


def test_all_faults_are_named_at_once_and_good_examples_have_none():
    assert problems() == []
    assert len(problems(train=changed(TRAIN, 4), tokens_NxS=changed(TOKENS, 4), train_examples=2)) == 3


def test_the_addition_task_has_good_examples():
    assert checks.problems(tasks.build(TaskConfig(digits=2, validation_examples=500))) == []


def test_overlap_is_seen_where_the_two_sets_have_different_integers():
    wide = HELD_OUT.tokens_NxS.astype(np.int64)
    assert problems(tokens_NxS=wide) == []
    assert "held out too" in str(problems(train=changed(TRAIN, TOKENS[1], 0), tokens_NxS=wide)[0])


def test_overlap_is_seen_in_every_piece(monkeypatch):
    monkeypatch.setattr(base, "PIECE_TOKENS", 6)
    assert problems() == []
    assert "got 1 of 3, the first is training example 2" in str(problems(train=changed(TRAIN, TOKENS[0], 2))[0])


def test_a_sweep_with_bad_examples_stops_before_anything_is_written(tmp_path, monkeypatch):
    """Classic bug: token ids out of the embedding's range, silently clamped."""
    task = tasks.build(TaskConfig(digits=2, validation_examples=500))
    task.train_tokens_NxS[7, 2] = task.vocabulary
    monkeypatch.setattr(tasks, "build", lambda config, **_: task)
    with pytest.raises(ConfigError, match="training examples beyond the vocabulary - got 14 in example 7"):
        small.train(small.config(), tmp_path / "work")
    assert not (tmp_path / "work").exists()
