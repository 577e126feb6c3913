"""Work is sent in pieces of about a second, so that a stop comes in time; how it is split changes no result."""

import os
import signal
import time

import pytest

from tests.vsweep import small
from vsweep.host.progress import SilentProgress
from vsweep.storage.checkpoint import CheckpointFolder
from vsweep.train import pace
from vsweep.train.loop import StackTrainer
from vsweep.train.pace import CHUNKS_IN_FLIGHT, Pace


@pytest.fixture(autouse=True)
def hurried(unhurried, monkeypatch):
    """As in a sweep of a user's."""
    monkeypatch.setattr(pace, "AT_ONCE_S", 1.0)


@pytest.fixture
def slow(hurried, monkeypatch):
    """Every step and every pass takes longer than a dispatch should."""
    monkeypatch.setattr(pace, "AT_ONCE_S", 1e-9)


class Chunks(SilentProgress):
    count = 0

    def update(self, stack, **status):
        self.count += 1


def test_until_a_step_has_been_measured_one_is_sent_at_once_and_nothing_beside_it():
    fresh = Pace(save_s=4.0)
    assert (fresh.steps, fresh.passes, fresh.chunks_in_flight) == (1, 1, 1)
    assert not fresh.is_long(0)
    assert fresh.is_long(2)


def test_a_dispatch_holds_what_a_second_is_enough_for_and_at_least_one():
    quick, slow = Pace(4.0), Pace(4.0)
    quick.trained(2, 0.02)
    quick.evaluated(4, 1.0)
    assert (quick.steps, quick.passes, quick.chunks_in_flight) == (100, 4, CHUNKS_IN_FLIGHT)
    slow.trained(1, 7.0)
    slow.evaluated(2, 6.0)
    assert (slow.steps, slow.passes, slow.chunks_in_flight) == (1, 1, 1)
    slow.trained(3, 0.0)
    assert slow.steps > 1000


def test_a_stop_takes_what_is_in_flight_the_save_under_way_and_one_more_as_they_were_measured():
    measured = Pace(save_s=40.0)
    measured.trained(1, 3.0)
    assert measured.stop_s() == 3.0 + 40.0
    with measured.saving():
        assert measured.stop_s() == pytest.approx(3.0 + 40.0 + 40.0, abs=5.0)
        time.sleep(0.01)
    assert measured.stop_s() < 3.0 + 5.0


def test_a_stack_that_is_slow_is_sent_step_by_step_and_its_results_are_the_same_bit_for_bit(
    slow, finished_sweep, tmp_path
):
    chunks = Chunks()
    with small.compilations() as compiled:
        small.train(small.config(), tmp_path, progress=chunks)
    assert small.differing(tmp_path, finished_sweep) == []
    assert chunks.count == small.sweep(small.config()).plans[0].steps
    assert len(compiled) == 3


def stop_at_evaluation(number: int, patch: pytest.MonkeyPatch) -> list[int]:
    """SIGTERM as the `number`-th evaluation is sent; gives the list of the steps at which any is."""
    whole, steps = StackTrainer._evaluate_from, []

    def sent(trainer, *arguments):
        steps.append(trainer.step)
        if len(steps) == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return whole(trainer, *arguments)

    patch.setattr(StackTrainer, "_evaluate_from", sent)
    return steps


def test_a_stop_does_not_wait_for_a_long_evaluation_which_is_made_anew(slow, tmp_path, monkeypatch):
    """What was trained since the chunk before is, too."""
    values = small.config(train={"final_examples": 128}, sweep={"budget": [700, 1400]})
    with monkeypatch.context() as patched:
        steps = stop_at_evaluation(10**9, patched)
        small.train(values, tmp_path / "whole")
    longest = max(steps, key=steps.count)
    assert steps.count(longest) >= 4
    second = steps.index(longest) + 2
    with monkeypatch.context() as patched:
        sent = stop_at_evaluation(second, patched)
        assert small.train(values, tmp_path / "sweep")[-1].kind == "interrupted"
    assert len(sent) == second
    folder = CheckpointFolder(tmp_path / "sweep" / "stacks" / "all" / "checkpoints")
    assert folder.latest() == longest - 1
    assert small.train(values, tmp_path / "sweep")[-1].kind == "finished"
    assert small.differing(tmp_path / "sweep", tmp_path / "whole") == []
