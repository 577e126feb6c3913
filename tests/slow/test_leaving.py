"""SIGTERM, SIGINT and the wall limit at every named place, twenty launches at once, kills while a sweep resumes."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.vsweep import small
from tests.vsweep.places import PLACES, leaves_and_goes_on
from vsweep.host.interruption import EXIT_STATUS
from vsweep.session import resume
from vsweep.storage.workdir import WorkDir
from vsweep.tables import read_runs

ROOT = Path(__file__).parents[2]
SMOKE = f"--config={ROOT}/configs/addition.py:smoke"

# launch.py with a harm at a named function: `harm` is called before it, and `after` times let it pass.
HARMED = """
import importlib, os, signal, sys
sys.path.insert(0, {root!r})
sys.argv = {argv!r}
from vsweep.cli import train
from absl import app
from vsweep.train import timing
timing.ReportPace.FIRST_S = 0.0  # a report after each stack
place = importlib.import_module({module!r})
for name in {owner!r}:
    place = getattr(place, name)
whole = getattr(place, {function!r})
calls = []
def harmed(*arguments, **keywords):
    calls.append(1)
    if len(calls) == {call}:
        {harm}
    return whole(*arguments, **keywords)
setattr(place, {function!r}, harmed)
app.run(train.main, flags_parser=train.flags.parse_flags)
"""


def harmed(workdir, module: str, owner: tuple, function: str, harm: str, call: int = 1, flags: tuple = ()) -> list[str]:
    argv = ["launch.py", SMOKE, f"--workdir={workdir}", *flags]
    text = HARMED.format(root=str(ROOT), argv=argv, module=module, owner=owner, function=function, harm=harm, call=call)
    return [sys.executable, "-c", text]


def launch(workdir, *flags: str) -> subprocess.CompletedProcess:
    program = [sys.executable, str(ROOT / "launch.py"), SMOKE, f"--workdir={workdir}", *flags]
    return subprocess.run(program, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("smoke")
    done = launch(workdir)
    assert done.returncode == 0, done.stderr
    return workdir


@pytest.mark.slow
@pytest.mark.parametrize("cause", ["SIGTERM", "SIGINT", "max_wall_hours"])
@pytest.mark.parametrize("place", PLACES)
def test_wherever_it_is_stopped_it_saves_leaves_and_goes_on_bit_for_bit(
    place, cause, interrupted_sweep, finished_sweep, tmp_path, monkeypatch
):
    leaves_and_goes_on(place, cause, interrupted_sweep, tmp_path / "sweep", finished_sweep, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("call", [1, 2])
def test_a_signal_during_an_analysis_leaves_with_75_and_no_traceback(name, call, uninterrupted, tmp_path):
    """The first report is drawn between two stacks, the second one at the end."""
    harm = f"os.kill(os.getpid(), signal.{name})"
    stopped = subprocess.run(
        harmed(tmp_path / "sweep", "vsweep.analysis.pipeline", (), "study_loss", harm, call=call),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert stopped.returncode == EXIT_STATUS, stopped.stderr
    assert f"{name} received: all that was trained is saved" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    again = launch(tmp_path / "sweep")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "sweep" / "analysis" / "report.html").is_file()
    assert small.differing(tmp_path / "sweep", uninterrupted) == []


@pytest.mark.slow
@pytest.mark.parametrize("first", ["SIGTERM", "SIGINT"])
def test_a_second_signal_leaves_at_once_and_nothing_is_lost(first, uninterrupted, tmp_path):
    harm = f"os.kill(os.getpid(), signal.{first}); os.kill(os.getpid(), signal.SIGTERM)"
    left = subprocess.run(
        harmed(tmp_path / "sweep", "vsweep.train.dispatcher", ("Dispatcher",), "train_chunk", harm, call=4),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert left.returncode == -signal.SIGTERM, left.stderr
    assert launch(tmp_path / "sweep").returncode == 0
    assert small.differing(tmp_path / "sweep", uninterrupted) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "owner", "function"),
    [
        ("vsweep.storage.checkpoint", ("CheckpointFolder",), "latest"),
        ("vsweep.storage.checkpoint", ("CheckpointFolder",), "restore"),
        ("vsweep.train.compiling", (), "compile_stack"),
        ("vsweep.train.sweep", (), "store_plan"),
        ("vsweep.train.dispatcher", ("Dispatcher",), "train_chunk"),
    ],
)
def test_killed_twice_the_second_time_while_it_resumes_equals_uninterrupted(
    module, owner, function, uninterrupted, tmp_path
):
    """The first kill comes in the last but one of the first stack's 64 chunks: a checkpoint is there, work is left."""
    kill = "os.kill(os.getpid(), signal.SIGKILL)"
    chunk = ("vsweep.train.dispatcher", ("Dispatcher",), "train_chunk")
    for program in (
        harmed(tmp_path / "sweep", *chunk, kill, call=63),
        harmed(tmp_path / "sweep", module, owner, function, kill),
    ):
        killed = subprocess.run(program, capture_output=True, text=True, timeout=300)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert launch(tmp_path / "sweep").returncode == 0
    assert small.differing(tmp_path / "sweep", uninterrupted) == []


@pytest.mark.slow
def test_killed_while_it_copies_another_directory_it_starts_the_copy_again(uninterrupted, tmp_path):
    kill = "os.kill(os.getpid(), signal.SIGKILL)"
    stopped = harmed(tmp_path / "source", "vsweep.train.dispatcher", ("Dispatcher",), "train_chunk", kill, call=63)
    assert subprocess.run(stopped, capture_output=True, timeout=300).returncode == -signal.SIGKILL
    flag = f"--resume_from={tmp_path / 'source'}"
    for call in (1, 3):
        program = harmed(tmp_path / "sweep", "shutil", (), "copyfile", kill, call=call, flags=(flag,))
        assert subprocess.run(program, capture_output=True, timeout=300).returncode == -signal.SIGKILL
    program = harmed(tmp_path / "sweep", "vsweep.storage.workdir", (), "write_bytes_atomically", kill, flags=(flag,))
    assert subprocess.run(program, capture_output=True, timeout=300).returncode == -signal.SIGKILL
    assert launch(tmp_path / "sweep", flag).returncode == 0
    assert small.differing(tmp_path / "sweep", uninterrupted) == []


TAKE_THE_LOCK = """
import sys
from pathlib import Path
from vsweep.cli import flags
from vsweep.config.problems import ConfigError
from vsweep.storage.lock import locked
sys.stdin.readline()
try:
    with locked(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
except ConfigError as error:
    print("refused", flush=True)
    flags.fail(error.problems)
"""


@pytest.mark.slow
def test_of_two_launches_in_one_directory_the_second_is_refused_twenty_times_of_twenty(tmp_path):
    """Both start at the same moment, over the lock of one that was killed."""
    program = [sys.executable, "-c", TAKE_THE_LOCK, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    for _ in range(20):
        processes = [subprocess.Popen(program, cwd=ROOT, text=True, **pipes) for _ in range(2)]
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        told = {process: process.stdout.readline().strip() for process in processes}
        assert sorted(told.values()) == ["held", "refused"]
        holder, refused = sorted(processes, key=told.get)
        assert refused.wait(timeout=60) == 2
        message = refused.stderr.read()
        today = time.strftime("%Y-%m-%d")
        assert f"in use by process {holder.pid} on {socket.gethostname()} since {today}" in message
        holder.kill()
        for process in processes:
            process.communicate()


@pytest.mark.slow
def test_a_second_launch_is_refused_with_status_2_while_the_first_one_trains(tmp_path):
    wait = "import time; time.sleep(60)"
    first = subprocess.Popen(
        harmed(tmp_path / "sweep", "vsweep.train.dispatcher", ("Dispatcher",), "train_chunk", wait, call=2)
    )
    try:
        while not (tmp_path / "sweep" / "plan.json").exists():
            time.sleep(0.1)
        second = launch(tmp_path / "sweep")
    finally:
        first.kill()
        first.wait()
    assert second.returncode == 2
    assert f"in use by process {first.pid} on {socket.gethostname()} since " in second.stderr
    assert launch(tmp_path / "sweep").returncode == 0


@pytest.mark.slow
def test_the_command_goes_on_elsewhere_with_its_flag_only(tmp_path):
    kill = "os.kill(os.getpid(), signal.SIGKILL)"
    program = harmed(tmp_path, "vsweep.train.dispatcher", ("Dispatcher",), "train_chunk", kill, call=5)
    assert subprocess.run(program, capture_output=True, timeout=300).returncode == -signal.SIGKILL
    plans, environments = WorkDir(tmp_path).read_plan()
    WorkDir(tmp_path).write_plan(plans, [{**entry, "jax": f"0.{entry['jax']}"} for entry in environments])
    refused = launch(tmp_path)
    assert refused.returncode == 2
    assert "jax: began with 0." in refused.stderr
    allowed = launch(tmp_path, "--allow_inexact_resume")
    assert allowed.returncode == 0, allowed.stderr
    assert "warning: this sweep goes on elsewhere" in allowed.stdout
    assert os.path.getsize(tmp_path / "analysis" / "report.html")


@pytest.mark.slow
def test_every_change_of_place_is_counted_and_going_on_in_the_last_one_needs_no_permission(
    interrupted_sweep, tmp_path, monkeypatch
):
    workdir, real = shutil.copytree(interrupted_sweep, tmp_path / "copy"), resume.environment
    for version, allowed, moves in (("0.98", True, 1), ("0.98", False, 1), ("0.99", True, 2), ("0.99", False, 2)):
        monkeypatch.setattr(resume, "environment", lambda hardware, version=version: {**real(hardware), "jax": version})
        small.train(small.config(), workdir, progress=small.StopAfter(1), allow_inexact_resume=allowed)
        assert set(read_runs(workdir)["inexact_resumes"]) <= {0, moves}
        assert read_runs(workdir)["inexact_resumes"].max() == moves
    assert len(WorkDir(workdir).read_plan()[1]) == 3
