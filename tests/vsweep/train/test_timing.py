import numpy as np

from vsweep.train.timing import ReportPace, Stopwatch


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
        if pace.due():
            assert pace.draw(report) == "done"
    assert len(drawn) == 1 + (2000 - 200) // 120
    assert np.diff(drawn).min() >= 20 * 6.0


def test_a_sweep_of_minutes_is_not_held_up_by_a_report_of_unknown_cost():
    clock = FakeClock()
    pace = ReportPace(clock)
    clock.now += 199.0
    assert not pace.due()
    clock.now += 1.0
    assert pace.due()
