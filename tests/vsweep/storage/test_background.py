import threading

import pytest

from vsweep.storage.background import BackgroundWriter


def fail():
    raise OSError("the disk is full")


def test_a_job_runs_while_its_starter_goes_on():
    free = threading.Event()
    with BackgroundWriter() as writer:
        writer.start(lambda: free.wait(60))
        assert writer.collect(wait=False) == []
        free.set()
        assert writer.collect(wait=True) == [True]


def test_what_a_job_returns_is_told_once():
    with BackgroundWriter() as writer:
        writer.start(lambda: 7)
        assert writer.collect(wait=True) == [7]
        assert writer.collect(wait=True) == []


def test_an_error_is_raised_where_the_job_is_collected():
    with BackgroundWriter() as writer:
        writer.start(fail)
        with pytest.raises(OSError, match="disk is full"):
            writer.collect(wait=True)


def test_an_error_that_nobody_collected_is_raised_when_the_writer_is_left():
    with pytest.raises(OSError, match="disk is full"), BackgroundWriter() as writer:
        writer.start(fail)


def train_and_fail(job) -> None:
    with BackgroundWriter() as writer:
        writer.start(job)
        raise ZeroDivisionError


def test_an_error_of_the_training_waits_for_the_writing_and_hides_no_error_of_it():
    written = []
    with pytest.raises(ZeroDivisionError):
        train_and_fail(lambda: written.append("all"))
    assert written == ["all"]
    with pytest.raises(OSError, match="disk is full") as caught:
        train_and_fail(fail)
    assert isinstance(caught.value.__context__, ZeroDivisionError)
