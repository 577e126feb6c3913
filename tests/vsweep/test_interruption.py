import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.vsweep.places import leaves_and_goes_on
from vsweep.interruption import Interruption, Leave, leaving

ROOT = __file__.rpartition("/tests/")[0]

ASKED_TWICE = """
import signal
from vsweep.interruption import Interruption, leaving
number = signal.{name}
with leaving(), Interruption() as interruption:
    signal.raise_signal(number)
    print(interruption.should_stop(), flush=True)
    signal.raise_signal(number)
    print("still here", flush=True)
"""

ASKED_TWICE_IN_AN_ANALYSIS = """
import signal
from vsweep.interruption import leaving
number = signal.{name}
with leaving():
    try:
        signal.raise_signal(number)
    finally:
        print("{name} received", flush=True)
        signal.raise_signal(number)
        print("still here", flush=True)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_the_first_signal_asks_for_a_stop_and_the_old_handlers_come_back(name):
    number = signal.Signals[name]
    before = {known: signal.getsignal(known) for known in (signal.SIGTERM, signal.SIGINT)}
    with Interruption() as interruption:
        assert interruption.should_stop() is None
        signal.raise_signal(number)
        assert interruption.should_stop() == f"{name} received"
    assert {known: signal.getsignal(known) for known in before} == before


def test_the_old_handlers_come_back_after_an_error_too():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), Interruption():
        _ = 1 / 0
    assert signal.getsignal(signal.SIGTERM) == before


class SignalledAsItIsDropped:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


def signalled_where_python_drops_exceptions() -> None:
    with leaving():
        SignalledAsItIsDropped()
        time.sleep(20)
        pytest.fail("it went on as if nobody had asked")


def test_a_signal_where_python_drops_exceptions_leaves_all_the_same():
    """Such as in a callback of the garbage collector, where jax has one."""
    before = sys.unraisablehook, signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGALRM)
    with pytest.raises(Leave, match="SIGTERM received"):
        signalled_where_python_drops_exceptions()
    assert (sys.unraisablehook, signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGALRM)) == before


def test_other_errors_that_python_drops_are_still_told(monkeypatch):
    class Broken:
        def __del__(self):
            raise ZeroDivisionError

    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    with leaving():
        Broken()
    assert [type(one.exc_value) for one in told] == [ZeroDivisionError]


@pytest.mark.parametrize("text", [ASKED_TWICE, ASKED_TWICE_IN_AN_ANALYSIS])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_the_second_signal_leaves_at_once(name, text):
    program = [sys.executable, "-c", text.format(name=name)]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == f"{name} received\n", done.stderr
    assert done.returncode == -signal.Signals[name]


def test_the_wall_clock_asks_for_a_stop_when_its_hours_are_over():
    with Interruption(max_wall_hours=1e-15) as over, Interruption(max_wall_hours=1000) as far:
        assert over.should_stop() == "max_wall_hours reached"
        assert far.should_stop() is None


def test_no_limit_means_no_deadline():
    assert Interruption(max_wall_hours=0.0).deadline is None


def test_outside_the_main_thread_only_the_wall_clock_counts():
    """A notebook may run a sweep in a thread, where Python allows no signal handlers."""
    before = signal.getsignal(signal.SIGINT)
    found = []

    def work():
        with Interruption(max_wall_hours=1e-15) as interruption:
            found.extend([interruption.should_stop(), signal.getsignal(signal.SIGINT)])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == ["max_wall_hours reached", before]


@pytest.mark.parametrize(("place", "cause"), [("compile", "SIGINT"), ("save", "SIGTERM")])
def test_wherever_it_is_stopped_it_saves_leaves_and_goes_on_bit_for_bit(
    place, cause, interrupted_sweep, finished_sweep, tmp_path, monkeypatch
):
    """The other places are in tests/slow."""
    leaves_and_goes_on(place, cause, interrupted_sweep, tmp_path / "sweep", finished_sweep, monkeypatch)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_where_nothing_needs_saving_a_signal_ends_the_work_there_and_the_old_handlers_come_back(name):
    before = {known: signal.getsignal(known) for known in (signal.SIGTERM, signal.SIGINT)}
    with pytest.raises(Leave, match=f"{name} received"), leaving():
        signal.raise_signal(signal.Signals[name])
    assert {known: signal.getsignal(known) for known in before} == before
    with leaving():
        pass
    assert {known: signal.getsignal(known) for known in before} == before
