"""The command line, killed at named points and run again: the real program, processes and signals."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.vsweep import small
from tests.vsweep.killing import command, finish, killed_at, lost_segments, reading, same_sweep, start
from vsweep.atomic import CannotWrite
from vsweep.host.interruption import EXIT_STATUS
from vsweep.tables import read_runs


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The work directory of a smoke sweep that nothing disturbed."""
    workdir = tmp_path_factory.mktemp("smoke")
    finish(workdir)
    return workdir


def wait_for_checkpoint(workdir, process: subprocess.Popen) -> None:
    while process.poll() is None and not list(Path(workdir).glob("stacks/*/checkpoints/*.manifest.json")):
        time.sleep(0.02)


def test_killed_three_times_while_it_saves_the_same_command_finishes_and_equals_uninterrupted(uninterrupted, tmp_path):
    """The other points, and random moments, are in tests/slow; meanwhile somebody reads the tables without a pause."""
    workdir, log = tmp_path / "killed", tmp_path / "steps"
    with reading(workdir) as reads:
        for point, call in (
            ("writing a checkpoint in the background", 2),
            ("between Orbax's rename and the manifest", 1),
            ("writing runs.csv", 2),
        ):
            killed_at(point, call, workdir, log)
        finish(workdir, log, drawn=False)
    assert reads.torn == []
    assert reads.whole >= 6  # versions of the two tables
    assert same_sweep(workdir, uninterrupted)
    assert max(lost_segments(log, workdir)) <= 1


def test_an_uninterrupted_sweep_leaves_tables_fits_figures_and_a_report(uninterrupted):
    workdir = uninterrupted
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
    assert set(read_runs(tmp_path / "stopped")["status"]) == {"finished", "running", "queued"}


def test_a_disk_that_takes_no_more_ends_the_program_with_its_own_status_and_one_message(tmp_path):
    """A limit on the size of files, which needs no small disk."""
    limited = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); "
    limited += "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    _, *program = command(tmp_path / "work")
    ended = subprocess.run([sys.executable, "-c", limited, *program], capture_output=True, text=True, check=False)
    assert ended.returncode == CannotWrite.STATUS, ended.stderr
    assert f"vsweep has stopped: cannot write {tmp_path / 'work'}" in ended.stderr
    assert "File too large" in ended.stderr
    assert "run the same command again" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_run_again_when_finished_it_says_where_the_results_are(uninterrupted):
    workdir = uninterrupted
    before = (workdir / "runs.csv").read_bytes()
    again = subprocess.run(command(workdir), capture_output=True, text=True, check=True)
    assert "all runs have ended" in again.stdout
    assert str(workdir / "analysis/report.html") in again.stdout
    assert "python -m analysis" in again.stdout
    assert "compiling" not in again.stdout
    assert "drawing" not in again.stdout
    assert (workdir / "runs.csv").read_bytes() == before


MORE_SEEDS = ("--config.sweep.seed=0,1,2", "--extend")


@pytest.fixture(scope="module")
def extended(uninterrupted, tmp_path_factory):
    """The same sweep, extended by six runs, which nothing disturbed."""
    workdir = shutil.copytree(uninterrupted, tmp_path_factory.mktemp("extended") / "work")
    finish(workdir, Path("/dev/null"), *MORE_SEEDS, drawn=False)
    return workdir


def test_killed_while_it_is_extended_the_same_command_finishes_and_equals_undisturbed(
    uninterrupted, extended, tmp_path
):
    """At the moment at which the extension begins to count, and while the new runs train; more in tests/slow."""
    workdir = shutil.copytree(uninterrupted, tmp_path / "work")
    old, log = (workdir / "config.json").read_bytes(), tmp_path / "steps"
    killed_at("writing config.json", 1, workdir, log, *MORE_SEEDS)
    assert (workdir / "config.json").read_bytes() == old
    killed_at("writing a checkpoint in the background", 2, workdir, log, *MORE_SEEDS)
    finish(workdir, log, *MORE_SEEDS, drawn=False)
    assert same_sweep(workdir, extended)
    assert max(lost_segments(log, workdir)) <= 1
    assert small.tree(uninterrupted / "stacks").items() <= small.tree(workdir / "stacks").items()
    assert read_runs(workdir)["generation"].value_counts().to_dict() == {1: 12, 2: 6}


def test_the_command_says_what_an_extension_does_and_touches_nothing_with_plan(uninterrupted):
    before = small.tree(uninterrupted)
    planned = subprocess.run(
        command(uninterrupted, *MORE_SEEDS, "--plan"), capture_output=True, text=True, check=True
    ).stdout
    assert "extension (generation 2) with 6 new runs in 2 stacks (w4+2, w8+2)" in planned
    assert "stay as they are: 12 runs that ended" in planned
    assert small.tree(uninterrupted) == before
