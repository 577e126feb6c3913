import numpy as np
import pytest

from vsweep.config.sweep_config import from_dict
from vsweep.tasks import build, checks
from vsweep.tasks.markov import Markov, Options


def task_of(**options) -> Markov:
    return Markov(Options(training_examples=2000, validation_examples=20_000, **options))


@pytest.mark.parametrize("options", [{}, {"order": 1, "symbols": 4}, {"order": 3, "symbols": 3, "length": 6}])
def test_the_floor_is_the_mean_surprisal(options):
    task = task_of(**options)
    surprisal_N = task.held_out.surprisal_NxL.mean(axis=1)
    assert task.floor == pytest.approx(surprisal_N.mean(), abs=4 * surprisal_N.std() / np.sqrt(len(surprisal_N)))


def test_the_floor_is_the_entropy_of_all_sequences():
    """By brute force: the probability of each sequence of a tiny chain."""
    task = task_of(symbols=3, order=2, length=5)
    sequences = np.stack(np.unravel_index(np.arange(3**5), (3,) * 5), axis=1)
    surprisal_NxL = task._surprisal(sequences).astype(float)
    share_N = np.exp(-surprisal_NxL.sum(axis=1)) / 3  # the first token is uniform, and no label
    assert share_N.sum() == pytest.approx(1, abs=1e-5)
    assert task.floor == pytest.approx((share_N * surprisal_NxL.mean(axis=1)).sum(), abs=1e-5)


def test_tokens_follow_the_table():
    task = task_of(symbols=3, order=1, length=40, concentration=1.0)
    tokens = task.held_out.tokens_NxS
    counts_CxV = np.zeros((3, 3))
    np.add.at(counts_CxV, (tokens[:, :-1].ravel(), tokens[:, 1:].ravel()), 1)
    assert np.allclose(counts_CxV / counts_CxV.sum(axis=1, keepdims=True), task.table_CxV, atol=0.01)


def test_another_seed_is_another_source():
    assert len({task_of(source_seed=seed).digest for seed in (0, 1)} | {task_of().digest}) == 2


def test_the_examples_are_sound():
    config = from_dict({"task": {"name": "markov", "training_examples": 500}}).task
    assert checks.problems(build(config), 512) == []
