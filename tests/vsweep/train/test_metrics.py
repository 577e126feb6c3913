import numpy as np
import pytest

from vsweep import tasks
from vsweep.config.sweep_config import TaskConfig
from vsweep.schema import EVALUATION_FIELDS
from vsweep.train import metrics
from vsweep.train.metrics import LabelCounts, ratio, summarise

EXAMPLES = 1500


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def held_out_counts() -> LabelCounts:
    task = tasks.build(TaskConfig(digits=2, validation_examples=EXAMPLES))
    return metrics.label_counts(task.held_out, task.pad)


def test_a_loss_is_the_sum_of_losses_over_the_sum_of_labels_and_not_a_mean_of_means(rng):
    labels = rng.integers(5, 14, 100)
    losses = rng.random(100) * labels
    value, _ = ratio(losses, labels)
    assert value == pytest.approx(losses.sum() / labels.sum(), rel=1e-15)
    assert value != pytest.approx(np.mean(losses / labels), rel=1e-6)


def test_the_standard_error_is_that_of_a_bootstrap_over_examples(rng):
    labels = rng.integers(5, 14, EXAMPLES)
    losses = labels * rng.gamma(2.0, 0.5, EXAMPLES) + rng.normal(size=EXAMPLES)
    _, error = ratio(losses, labels)
    drawn = rng.integers(0, EXAMPLES, (4000, EXAMPLES))
    bootstrap = losses[drawn].sum(axis=1) / labels[drawn].sum(axis=1)
    assert error == pytest.approx(bootstrap.std(), rel=0.04)


def test_the_labels_of_one_example_go_together_in_the_standard_error(rng):
    """Counting each label as independent would be too sure: here every label of an example has the same loss."""
    labels = np.full(EXAMPLES, 10)
    per_label = rng.random(EXAMPLES)
    _, error = ratio(per_label * labels, labels)
    assert error == pytest.approx(per_label.std(ddof=1) / np.sqrt(EXAMPLES), rel=1e-9)


def test_one_example_has_no_standard_error_but_no_warning_either():
    assert ratio(np.array([3.0]), np.array([2])) == (1.5, 0.0)


def test_a_perfect_model_has_an_excess_of_exactly_zero_and_no_error(held_out_counts):
    zeros, right = np.zeros(EXAMPLES), np.ones(EXAMPLES, bool)
    found = summarise(held_out_counts.surprisal_N, zeros, right, held_out_counts)
    assert (found["excess_loss"], found["excess_loss_se"]) == (0.0, 0.0)
    assert (found["answer_loss"], found["answer_loss_se"], found["exact_match"]) == (0.0, 0.0, 1.0)
    floor = held_out_counts.surprisal_N.sum() / held_out_counts.labels_N.sum()
    assert found["val_loss"] == pytest.approx(floor, rel=1e-15)
    assert found["val_loss_se"] > 0


def test_excess_is_paired_so_the_luck_of_the_operands_drops_out_of_its_error(held_out_counts, rng):
    loss_N = held_out_counts.surprisal_N + 0.01 * rng.random(EXAMPLES) * held_out_counts.labels_N
    found = summarise(loss_N, np.zeros(EXAMPLES), np.zeros(EXAMPLES, bool), held_out_counts)
    assert found["excess_loss"] == pytest.approx(0.005, rel=0.05)
    assert 0 < found["excess_loss_se"] < found["val_loss_se"] / 5


def test_an_excess_below_zero_is_not_clipped(held_out_counts):
    loss_N = held_out_counts.surprisal_N - 0.02 * held_out_counts.labels_N
    found = summarise(loss_N, np.zeros(EXAMPLES), np.zeros(EXAMPLES, bool), held_out_counts)
    assert found["excess_loss"] == pytest.approx(-0.02, rel=1e-9)


def test_answer_loss_is_over_answer_labels_alone_and_only_the_examples_given_count(held_out_counts):
    few = 200
    answers = held_out_counts.answer_labels_N[:few]
    exact = np.arange(few) % 4 == 0
    found = summarise(held_out_counts.surprisal_N[:few] + answers, answers * 0.5, exact, held_out_counts)
    assert found["answer_loss"] == pytest.approx(0.5, rel=1e-12)
    assert found["excess_loss"] == pytest.approx(answers.sum() / held_out_counts.labels_N[:few].sum(), rel=1e-9)
    assert found["exact_match"] == 0.25
    assert found["eval_examples"] == few
    assert tuple(found) == EVALUATION_FIELDS


def test_single_precision_losses_from_the_device_are_summed_in_double(held_out_counts):
    loss_N = np.full(EXAMPLES, 0.1, np.float32)
    found = summarise(loss_N, loss_N, np.zeros(EXAMPLES, bool), held_out_counts)
    exact = float(np.float32(0.1)) * EXAMPLES / held_out_counts.labels_N.sum()
    assert found["val_loss"] == pytest.approx(exact, rel=1e-13)
