import time

import numpy as np
import pytest

from vsweep.train import timing
from vsweep.train.timing import CHUNKS_IN_FLIGHT, Pace, ReportPace, Stopwatch


@pytest.fixture(autouse=True)
def hurried(unhurried, monkeypatch):
    """As in a sweep of a user's."""
    monkeypatch.setattr(timing, "AT_ONCE_S", 1.0)


class FakeClock:
    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_laps_of_a_stopwatch_add_up_to_the_time_that_passed():
    clock, seconds = FakeClock(), {"train_s": 1.0, "other_s": 0.0}
    stopwatch = Stopwatch(clock)
    for activity, took in (("train_s", 4.0), ("other_s", 0.5), ("train_s", 2.0)):
        clock.now += took
        stopwatch.lap(seconds, activity)
    assert seconds == {"train_s": 7.0, "other_s": 0.5}


def test_reports_take_at_most_a_twentieth_of_the_time_between_them():
    clock = FakeClock()
    pace, drawn = ReportPace(clock), []

    def report() -> str:
        clock.now += 6.0
        drawn.append(clock.now)
        return "done"

    for _ in range(2000):
        clock.now += 1.0
        if pace.due(3600.0):
            assert pace.draw(report) == "done"
    assert len(drawn) == 1 + (2000 - 200) // 120
    assert np.diff(drawn).min() >= 20 * 6.0


def test_a_sweep_of_minutes_is_not_held_up_by_a_report_of_unknown_cost():
    clock = FakeClock()
    pace = ReportPace(clock)
    clock.now += 199.0
    assert not pace.due(3600.0)
    clock.now += 1.0
    assert pace.due(3600.0)


def test_no_report_is_due_shortly_before_the_last_one():
    clock = FakeClock()
    pace = ReportPace(clock)
    clock.now += 1000.0
    assert not pace.due(left_s=199.0)
    pace.draw(lambda: clock.__setattr__("now", clock.now + 2.0))
    clock.now += 40.0
    assert pace.due(left_s=40.0)


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
