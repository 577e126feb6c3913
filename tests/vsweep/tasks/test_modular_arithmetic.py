import numpy as np
import pytest

from vsweep.config.problems import ConfigError
from vsweep.config.sweep_config import from_dict
from vsweep.tasks import build, checks


def task_of(**options):
    return build(from_dict({"task": {"name": "modular_arithmetic", **options}}).task)


@pytest.mark.parametrize("operation", ["add", "subtract", "multiply"])
def test_every_pair_is_there_once_and_right(operation):
    task = task_of(modulus=11, operation=operation)
    tokens = np.concatenate([task.own.train_tokens_NxS, task.held_out.tokens_NxS]).astype(int)
    a, b, c = tokens[:, 0], tokens[:, 2], tokens[:, 4]
    assert len(set(zip(a, b, strict=True))) == 121
    expected = {"add": a + b, "subtract": a - b, "multiply": a * b}[operation] % 11
    assert np.array_equal(c, expected)


def test_half_is_held_out_and_its_surprisal_is_the_floor():
    task = task_of(modulus=31)
    assert task.train_examples == len(task.own.train_tokens_NxS) == round(31**2 / 2)
    assert task.held_out.surprisal_NxL.mean() == pytest.approx(task.floor)
    assert task.held_out.answer_NxL.sum(axis=1).tolist() == [1] * len(task.held_out.tokens_NxS)
    assert checks.problems(task, 100) == []


def test_text_goes_both_ways():
    task = task_of(modulus=97)
    assert task.decode([*task.encode("12 add 90"), 5]) == "12 add 90 = 5"
    for wrong in ("12 + 90", "12 add ²", "12 add"):
        with pytest.raises(ValueError, match="write it like '1 add 2'"):
            task.encode(wrong)


def test_a_share_may_be_the_least_that_is_allowed():
    assert task_of(train_share=0.01).train_examples == round(0.01 * 97**2)


def test_a_share_of_no_pair_is_refused():
    with pytest.raises(ConfigError, match="modular_arithmetic has no training examples - got 0"):
        task_of(modulus=3, train_share=0.02)


def test_another_seed_is_another_split():
    assert len({task_of(modulus=11, split_seed=seed).digest for seed in (0, 1)} | {task_of(modulus=11).digest}) == 2
