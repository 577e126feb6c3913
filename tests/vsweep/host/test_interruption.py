import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.vsweep.places import leaves_and_goes_on
from vsweep.host.interruption import Interruption, Leave, leaving

ROOT = __file__.rpartition("/tests/")[0]

ASKED_TWICE = """
import signal
from vsweep.host.interruption import Interruption, leaving
number = signal.{name}
with leaving(), Interruption() as interruption:
    signal.raise_signal(number)
    print(interruption.should_stop(), flush=True)
    signal.raise_signal(number)
    print("still here", flush=True)
"""

ASKED_TWICE_IN_AN_ANALYSIS = """
import signal
from vsweep.host.interruption import leaving
number = signal.{name}
with leaving():
    try:
        signal.raise_signal(number)
    finally:
        print("{name} received", flush=True)
        signal.raise_signal(number)
        print("still here", flush=True)
"""


HEEDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture(autouse=True)
def hang_ups_are_not_ignored():
    """They are where the tests themselves run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_the_first_signal_asks_for_a_stop_and_the_old_handlers_come_back(name):
    number = signal.Signals[name]
    before = {known: signal.getsignal(known) for known in HEEDED}
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


@pytest.mark.parametrize("listening", [leaving, Interruption])
def test_a_hang_up_that_is_ignored_at_the_start_stays_ignored(listening):
    """As under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with listening():
        signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_hang_up_never_hurries_whatever_came_before_and_what_comes_after_it_is_the_first_request(capfd):
    """A terminal that closes sends several, and its session may end with a SIGTERM."""
    with Interruption() as interruption:
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(number)
        assert interruption.should_stop() == "SIGTERM received"
    assert [line.partition(":")[0] for line in capfd.readouterr().err.splitlines()] == [
        "SIGHUP received",
        "SIGTERM received",
    ]


def hang_up_twice() -> None:
    with leaving():
        try:
            signal.raise_signal(signal.SIGHUP)
        finally:
            signal.raise_signal(signal.SIGHUP)


def test_a_second_hang_up_does_not_kill_what_the_first_one_ended():
    with pytest.raises(Leave, match="SIGHUP received"):
        hang_up_twice()


def test_the_message_says_when_everything_will_be_saved_or_that_it_is(capfd):
    with Interruption() as interruption, interruption.saving(lambda: 12.4):
        signal.raise_signal(signal.SIGINT)
    with Interruption():
        signal.raise_signal(signal.SIGTERM)
    first, second = capfd.readouterr().err.splitlines()
    assert first == "SIGINT received: stopping, everything will be saved in about 12 s; once more to leave at once"
    assert second.startswith("SIGTERM received: all that was trained is saved, leaving when the work under way")


TOLD_TO_NOBODY = """
import os, signal
from vsweep.host.interruption import Interruption
{harm}
with Interruption() as interruption:
    signal.raise_signal(signal.SIGINT)
    os._exit(75 if interruption.should_stop() else 1)
"""


@pytest.mark.parametrize(
    "harm",
    [
        "reader, writer = os.pipe(); os.dup2(writer, 2); os.close(reader); os.close(writer)",
        "os.dup2(os.open('/dev/full', os.O_WRONLY), 2)",
        "os.close(2)",
        "os.set_blocking(2, True); reader, writer = os.pipe(); os.dup2(writer, 2); os.set_blocking(writer, False)\n"
        "try:\n    while True: os.write(2, b'x')\nexcept BlockingIOError: os.set_blocking(2, True)",
    ],
    ids=["dead reader", "full disk", "closed", "a reader that is behind"],
)
def test_a_message_that_cannot_be_written_is_not_and_the_stop_is_the_same(harm):
    """Without `startup`, as in a notebook or a script of its own."""
    program = [sys.executable, "-c", TOLD_TO_NOBODY.format(harm=harm)]
    assert subprocess.run(program, cwd=ROOT, timeout=60, check=False).returncode == 75


def test_a_message_never_goes_into_a_file_that_took_the_descriptor_of_a_closed_stream(tmp_path):
    harm = f"file = open({str(tmp_path / 'lock')!r}, 'w'); assert file.fileno() == 2"
    command = [sys.executable, "-c", TOLD_TO_NOBODY.format(harm=harm)]
    done = subprocess.run(["bash", "-c", '"$@" 2>&-', "bash", *command], cwd=ROOT, timeout=60, check=False)
    assert (done.returncode, (tmp_path / "lock").read_text()) == (75, "")


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


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_where_nothing_needs_saving_a_signal_ends_the_work_there_and_the_old_handlers_come_back(name):
    before = {known: signal.getsignal(known) for known in HEEDED}
    with pytest.raises(Leave, match=f"{name} received"), leaving():
        signal.raise_signal(signal.Signals[name])
    assert {known: signal.getsignal(known) for known in before} == before
    with leaving():
        pass
    assert {known: signal.getsignal(known) for known in before} == before


def test_a_generator_that_is_dropped_may_be_closed_in_any_thread():
    """As a garbage collector does: handlers can be set in the main thread only."""
    with Interruption() as interruption:
        errors = []
        threading.excepthook, hook = lambda details: errors.append(details.exc_value), threading.excepthook
        thread = threading.Thread(target=interruption.__exit__)
        thread.start()
        thread.join()
        threading.excepthook = hook
        assert errors == []
