"""Work is sent in pieces of about a second, so that a stop comes in time; how it is split changes no result."""

import os
import signal

import pytest

from tests.vsweep import small
from vsweep.host.progress import SilentProgress
from vsweep.storage.checkpoint import CheckpointFolder
from vsweep.train import timing
from vsweep.train.dispatcher import Dispatcher
from vsweep.train.events import Finished, Interrupted


@pytest.fixture(autouse=True)
def hurried(unhurried, monkeypatch):
    """As in a sweep of a user's."""
    monkeypatch.setattr(timing, "AT_ONCE_S", 1.0)


@pytest.fixture
def slow(hurried, monkeypatch):
    """Every step and every pass takes longer than a dispatch should."""
    monkeypatch.setattr(timing, "AT_ONCE_S", 1e-9)


class Chunks(SilentProgress):
    count = 0

    def update(self, stack, **status):
        self.count += 1


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
    whole, steps = Dispatcher.evaluate_from, []

    def sent(dispatcher, *arguments):
        steps.append(dispatcher.step)
        if len(steps) == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return whole(dispatcher, *arguments)

    patch.setattr(Dispatcher, "evaluate_from", sent)
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
        assert isinstance(small.train(values, tmp_path / "sweep")[-1], Interrupted)
    assert len(sent) == second
    folder = CheckpointFolder(tmp_path / "sweep" / "stacks" / "all" / "checkpoints")
    assert folder.latest() == longest - 1
    assert isinstance(small.train(values, tmp_path / "sweep")[-1], Finished)
    assert small.differing(tmp_path / "sweep", tmp_path / "whole") == []
