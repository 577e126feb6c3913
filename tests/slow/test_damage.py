"""500 random faults in the files of a real checkpoint: each is found, and none is ever used."""

import json
import logging
import random
import shutil
from pathlib import Path

import pytest

from tests.vsweep import small
from vsweep.checkpoint import CheckpointFolder, CorruptCheckpoints
from vsweep.config import ConfigError

pytestmark = pytest.mark.slow

FAULTS = 500


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The work directory of a small sweep; copy it before you change it."""
    workdir = tmp_path_factory.mktemp("finished")
    small.train(small.config(), workdir)
    return workdir


def files_of(folder: CheckpointFolder, step: int) -> list[Path]:
    """Every file of a step, and its manifest."""
    return sorted(path for path in folder.folder.rglob("*") if path.is_file() and f"{step:08d}" in str(path))


def flip_a_bit(path: Path, rng: random.Random) -> str:
    content = bytearray(path.read_bytes())
    place = rng.randrange(8 * len(content))
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)
    return f"bit {place} flipped"


def truncate(path: Path, rng: random.Random) -> str:
    content = path.read_bytes()
    length = rng.randrange(len(content))
    path.write_bytes(content[:length])
    return f"cut to {length} of {len(content)} bytes"


def delete(path: Path, rng: random.Random) -> str:
    path.unlink()
    return "deleted"


def harm(folder: CheckpointFolder, step: int, rng: random.Random) -> str:
    path = rng.choice(files_of(folder, step))
    how = rng.choice([flip_a_bit, truncate, delete]) if path.stat().st_size else delete
    return f"{path.relative_to(folder.folder)}: {how(path, rng)}"


def same_manifest(folder: CheckpointFolder, original: CheckpointFolder, step: int) -> bool:
    """A manifest that only lost the line end behind it says what it said."""
    texts = [(place.folder / f"{step:08d}.manifest.json").read_text() for place in (folder, original)]
    return json.loads(texts[0]) == json.loads(texts[1])


def test_every_one_of_500_random_faults_is_told_and_the_step_before_is_used(finished, tmp_path, caplog):
    original = CheckpointFolder(next((finished / "stacks").glob("*/checkpoints")))
    before, newest = original.steps()
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    for _ in range(FAULTS):
        folder = CheckpointFolder(shutil.copytree(original.folder, tmp_path / "copy", dirs_exist_ok=True))
        done = harm(folder, newest, rng)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            latest = folder.latest()
        told = f"{newest:08d}: " in caplog.text
        assert (latest, told) == (before, True) or same_manifest(folder, original, newest), f"seed {seed}: {done}"
        shutil.rmtree(folder.folder)


def test_when_both_steps_are_damaged_that_is_a_clear_stop_a_hundred_times(finished, tmp_path):
    original = CheckpointFolder(next((finished / "stacks").glob("*/checkpoints")))
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    for _ in range(FAULTS // 5):
        folder = CheckpointFolder(shutil.copytree(original.folder, tmp_path / "copy", dirs_exist_ok=True))
        done = [harm(folder, step, rng) for step in original.steps()]
        with pytest.raises(CorruptCheckpoints, match="no checkpoint can be trusted; remove "):
            pytest.fail(f"seed {seed}: {done}, and step {folder.latest()} was used")
        shutil.rmtree(folder.folder)


def test_a_fault_in_the_parameters_of_finished_runs_names_them_fifty_times(finished, tmp_path):
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    for _ in range(FAULTS // 10):
        workdir = shutil.copytree(finished, tmp_path / "copy", dirs_exist_ok=True)
        folder = CheckpointFolder(workdir / "stacks" / "all" / "finished")
        step = rng.choice(folder.steps())
        names = folder.names(step)
        done = harm(folder, step, rng)
        with pytest.raises(ConfigError, match=f"(?s)missing or damaged: .*{names[0]}"):
            pytest.fail(f"seed {seed}: {done} was not seen: {small.train(small.config(), workdir)}")
        shutil.rmtree(workdir)
