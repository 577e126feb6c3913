"""The command line, killed at random moments and run again: the real program, processes and signals."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.vsweep import small
from vsweep.interruption import EXIT_STATUS
from vsweep.records import read_runs

ROOT = Path(__file__).parents[2]


def command(workdir, *arguments: str) -> list[str]:
    config = f"--config={ROOT}/configs/addition.py:smoke"
    return [sys.executable, str(ROOT / "launch.py"), config, f"--workdir={workdir}", *arguments]


def start(workdir, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(command(workdir, *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """(work directory, seconds from its first checkpoint to its end) of a smoke sweep that nothing disturbed."""
    workdir = tmp_path_factory.mktemp("smoke")
    process = start(workdir)
    wait_for_checkpoint(workdir, process)
    began = time.monotonic()
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return workdir, time.monotonic() - began


def wait_for_checkpoint(workdir, process: subprocess.Popen) -> None:
    while process.poll() is None and not list(Path(workdir).glob("stacks/*/checkpoints/*.manifest.json")):
        time.sleep(0.02)


def assert_same_results(workdir, expected) -> None:
    runs, expected_runs = (read_runs(place).drop(columns="wall_s") for place in (workdir, expected))
    pd.testing.assert_frame_equal(runs, expected_runs, check_exact=True)
    assert (Path(workdir) / "curves.csv").read_bytes() == (Path(expected) / "curves.csv").read_bytes()
    assert small.same_bits(small.finished_params(workdir), small.finished_params(expected))


def survives_kills(kills: int, uninterrupted, workdir) -> None:
    """SIGKILL after a random time, measured from the start or from the first checkpoint in turn; then to the end."""
    expected, seconds = uninterrupted
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    hits = 0
    for attempt in range(kills):
        process = start(workdir)
        if attempt % 2 == 0:
            wait_for_checkpoint(workdir, process)
        time.sleep(rng.uniform(0, seconds))
        hits += process.poll() is None
        process.kill()
        process.communicate()
    last = subprocess.run(command(workdir), capture_output=True, text=True, check=False)
    assert last.returncode == 0, f"seed {seed}: {last.stdout}{last.stderr}"
    assert hits > 0, f"seed {seed}: no kill came in time"
    assert_same_results(workdir, expected)


def test_sigkill_three_times_and_then_the_same_command_equals_uninterrupted(uninterrupted, tmp_path):
    survives_kills(3, uninterrupted, tmp_path / "killed")


@pytest.mark.slow
def test_sigkill_ten_times_and_then_the_same_command_equals_uninterrupted(uninterrupted, tmp_path):
    survives_kills(10, uninterrupted, tmp_path / "killed")


def test_an_uninterrupted_sweep_leaves_tables_fits_figures_and_a_report(uninterrupted):
    workdir, _ = uninterrupted
    assert set(read_runs(workdir)["status"]) == {"finished"}
    for name in ("curves.csv", "plan.json", "config.json", "analysis/fits.json", "analysis/report.html"):
        assert (workdir / name).stat().st_size > 0
    assert list((workdir / "analysis" / "figures").glob("*.svg"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_says_how_to_go_on_and_leaves_with_its_own_exit_status(number, uninterrupted, tmp_path):
    """Sent while the first stack trains or compiles the second: the next chunk is the last."""
    process = start(tmp_path / "stopped", "--config.train.chunk_steps=4")
    wait_for_checkpoint(tmp_path / "stopped", process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == EXIT_STATUS, output
    assert number.name in output
    assert "run the same command again" in output
    assert set(read_runs(tmp_path / "stopped")["status"]) == {"finished", "running"}


def test_run_again_when_finished_it_says_where_the_results_are(uninterrupted):
    workdir, _ = uninterrupted
    again = subprocess.run(command(workdir), capture_output=True, text=True, check=True)
    assert "all runs have ended" in again.stdout
    assert str(workdir / "analysis/report.html") in again.stdout
    assert "compiling" not in again.stdout
