"""SIGKILL at every named point and at random moments: nothing is corrupt, and the same command finishes."""

import random
import shutil
import time
from pathlib import Path

import pytest

from tests.vsweep import kill_at, small
from tests.vsweep.killing import check_reports, finish, killed_at, lost_segments, reading, same_sweep, start

pytestmark = pytest.mark.slow

RANDOM_KILLS = 20
MORE_SEEDS = ("--config.sweep.seed=0,1,2", "--extend")
CALLS = {  # of a point where another than the first is telling
    "in the middle of a chunk": 5,
    "evaluating": 4,
    "writing a checkpoint in the background": 3,
    "writing the parameters of finished runs": 2,
    "after a manifest": 5,
    "writing runs.csv": 3,
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """(work directory, seconds it took) of a smoke sweep that nothing disturbed."""
    workdir = tmp_path_factory.mktemp("smoke")
    began = time.monotonic()
    finish(workdir)
    return workdir, time.monotonic() - began


@pytest.mark.parametrize("point", kill_at.POINTS)
def test_killed_there_the_same_command_finishes_and_equals_uninterrupted(point, uninterrupted, tmp_path):
    workdir, log = tmp_path / "killed", tmp_path / "steps"
    with reading(workdir) as reads:
        killed_at(point, CALLS.get(point, 1), workdir, log)
        check_reports(workdir)
        finish(workdir, log)
    assert reads.torn == []
    assert same_sweep(workdir, uninterrupted[0])
    assert max(lost_segments(log, workdir)) <= 1
    assert not [path for path in workdir.rglob("*.unfinished") if path.parent.name != "analysis"]


@pytest.fixture
def read_only(tmp_path):
    """A work directory that was killed after two checkpoints of its first stack; nobody may write to it any more."""
    source = tmp_path / "source"
    killed_at("between a checkpoint and its rows", 2, source, tmp_path / "source steps")
    for path in (*source.rglob("*"), source):
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield source
    for path in (source, *source.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_killed_while_it_copies_a_read_only_directory_the_same_command_goes_on_from_it(
    read_only, uninterrupted, tmp_path
):
    before = {path: path.read_bytes() for path in read_only.rglob("*") if path.is_file()}
    workdir, log, flag = tmp_path / "killed", tmp_path / "steps", f"--resume_from={read_only}"
    for point in kill_at.COPYING:
        killed_at(point, 1, workdir, log, flag)
    killed_at("writing a checkpoint in the background", 1, workdir, log, flag)
    finish(workdir, log, flag)
    assert same_sweep(workdir, uninterrupted[0])
    assert max(lost_segments(log, workdir)) <= 1
    assert int(log.read_text().split()[2]) > 0, "it began anew"
    assert {path: path.read_bytes() for path in read_only.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "point", [point for point in kill_at.POINTS if point not in ("analysing", "writing fits.json")]
)
def test_killed_there_while_it_is_extended_it_equals_an_undisturbed_extension(point, extended, uninterrupted, tmp_path):
    workdir, log = shutil.copytree(uninterrupted[0], tmp_path / "killed"), tmp_path / "steps"
    killed_at(point, CALLS.get(point, 1), workdir, log, *MORE_SEEDS)
    check_reports(workdir)
    finish(workdir, log, *MORE_SEEDS)
    assert same_sweep(workdir, extended)
    assert max(lost_segments(log, workdir)) <= 1
    assert small.tree(uninterrupted[0] / "stacks").items() <= small.tree(workdir / "stacks").items()


@pytest.fixture(scope="module")
def extended(uninterrupted, tmp_path_factory):
    """The same sweep with one more seed, which nothing disturbed."""
    workdir = shutil.copytree(uninterrupted[0], tmp_path_factory.mktemp("extended") / "work")
    finish(workdir, Path("/dev/null"), *MORE_SEEDS)
    return workdir


def test_killed_while_it_goes_on_after_a_kill_it_still_equals_uninterrupted(uninterrupted, tmp_path):
    workdir, log = tmp_path / "killed", tmp_path / "steps"
    for point in ("pruning", "writing a checkpoint in the background", "compiling", "writing curves.csv"):
        killed_at(point, 1, workdir, log)
    finish(workdir, log)
    assert same_sweep(workdir, uninterrupted[0])
    assert max(lost_segments(log, workdir)) <= 1


def test_killed_twenty_times_at_random_it_loses_nothing_and_no_table_is_ever_torn(uninterrupted, tmp_path):
    expected, seconds = uninterrupted
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    kills = sweeps = whole = 0
    while kills < RANDOM_KILLS:
        workdir = tmp_path / f"killed-{sweeps}"
        with reading(workdir) as reads:
            while kills < RANDOM_KILLS:
                process = start(workdir)
                time.sleep(rng.uniform(0, seconds))
                ended = process.poll() is not None
                process.kill()
                output, _ = process.communicate()
                if ended:
                    assert process.returncode == 0, f"seed {seed}: {output}"
                    break
                kills += 1
                check_reports(workdir)
            finish(workdir)
        assert reads.torn == [], f"seed {seed}"
        assert same_sweep(workdir, expected), f"seed {seed}"
        sweeps, whole = sweeps + 1, whole + reads.whole
    print(f"seed {seed}: {kills} kills of {sweeps} sweeps, {whole} reads, none of them torn")
