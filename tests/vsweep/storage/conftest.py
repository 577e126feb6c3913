"""A folder with two checkpoints, to be copied and harmed."""

import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from vsweep.storage.checkpoint import CheckpointFolder

RECORDS = {"runs": {"w4-d1k-s0": {"curve": [{"val_loss": 0.1 + 0.2}], "status": None}}, "train_s": 1.5}


def arrays(seed: int) -> dict:
    """Every kind of array that a state holds, and values that a careless way would change."""
    rng = np.random.default_rng(seed)
    return {
        "params": {"mlp": rng.normal(size=(4, 3, 5)).astype(np.float32), "half": np.array([1 / 3], jnp.bfloat16)},
        "moments": [np.array([np.nan, -0.0, np.inf, 1e-42], np.float32), np.full((2,), seed, np.float32)],
        "key": rng.integers(0, 2**32, (4, 2), np.uint32),
        "step": np.array([seed, -1, 2**31 - 1, 0], np.int32),
        "scalar": np.array(seed, np.int32),
    }


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory) -> Path:
    """A folder with the checkpoints of steps 10 and 20; copy it before you change it."""
    folder = tmp_path_factory.mktemp("two_steps") / "checkpoints"
    for step in (10, 20):
        CheckpointFolder(folder).save(step, arrays(step), {**RECORDS, "step": step}, names=(f"run-{step}",))
    return folder


@pytest.fixture
def copied(two_steps, tmp_path) -> CheckpointFolder:
    return CheckpointFolder(shutil.copytree(two_steps, tmp_path / "copy"))


def files_of(folder: CheckpointFolder, step: int) -> list[Path]:
    return sorted(path for path in (folder.folder / f"{step:08d}").rglob("*") if path.is_file())
