"""Checkpoints: the only importer of orbax.

A checkpoint is one Orbax folder, `<step>/` with the arrays and the records (JSON) of one stack, committed together by
Orbax's rename, and then `<step>.manifest.json` with the SHA-256 of every file in it. A folder without a manifest was
never finished and does not count; one whose files differ from its manifest is never used, for Orbax restores flipped
bits silently.
"""

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from vsweep.config import ConfigError
from vsweep.records import sync_folder, write_json_atomically
from vsweep.workdir import read_json

KEPT = 2
MANIFEST = ".manifest.json"
logger = logging.getLogger(__name__)


class CorruptCheckpoints(ConfigError):
    """There are checkpoints, and none of them can be trusted: never a silent start from scratch."""


class CheckpointFolder:
    """Checkpoints of one stack, one a step: either to resume, or of finished runs' parameters."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)

    def save(self, step: int, arrays: Any, records: dict, names: tuple[str, ...] = ()) -> None:
        """Saves and returns when everything is on disk and verified. An older folder of that step is replaced.

        `names` stand in the manifest, to find what is inside without opening it.
        """
        self._manifest(step).unlink(missing_ok=True)
        arguments = ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), records=ocp.args.JsonSave(records))
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            checkpointer.save(self._path(step).absolute(), args=arguments, force=True)
        _sync(self._path(step))
        sync_folder(self.folder)
        manifest = {"step": step, "names": list(names), "sha256": _hashes(self._path(step))}
        write_json_atomically(self._manifest(step), {**manifest, "own_sha256": _hash_of(manifest)})
        if problems := self.problems(step):
            raise CorruptCheckpoints([f"{self._path(step)}: not what was just written: {'; '.join(problems)}"])

    def steps(self) -> list[int]:
        """Steps with a manifest, oldest first."""
        names = (path.name.removesuffix(MANIFEST) for path in self.folder.glob(f"*{MANIFEST}"))
        return sorted(int(name) for name in names if name.isdigit())

    def latest(self) -> int | None:
        """The newest step that verifies, or None if nothing was ever saved here.

        Falls back past corrupt steps with a warning; raises CorruptCheckpoints if there are only corrupt ones.
        """
        reasons = []
        for step in reversed(self.steps()):
            problems = self.problems(step)
            if not problems:
                return step
            reasons.append(f"{self._path(step)}: {'; '.join(problems)}")
            logger.warning("checkpoint not used: %s", reasons[-1])
        if reasons:
            advice = f"remove {self.folder} to train this stack from its start"
            raise CorruptCheckpoints([f"no checkpoint can be trusted; {advice}:", *reasons])
        return None

    def problems(self, step: int) -> list[str]:
        """How the files of a step differ from its manifest; empty if they are as they were written."""
        try:
            manifest = read_json(self._manifest(step))
            intact = manifest.pop("own_sha256") == _hash_of(manifest)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            return [f"unreadable manifest ({error})"]
        if not intact:
            return ["changed manifest"]
        expected = manifest["sha256"]
        found = _hashes(self._path(step))
        missing = [f"missing {name}" for name in expected if name not in found]
        return missing + [f"changed {name}" for name in expected if name in found and found[name] != expected[name]]

    def restore(self, step: int, target: Any = None) -> Any:
        """The arrays of a step, shaped and placed like `target` (ShapeDtypeStructs); without one, as host arrays."""
        arguments = ocp.args.StandardRestore(target) if target is not None else ocp.args.PyTreeRestore()
        handler = ocp.StandardCheckpointHandler() if target is not None else ocp.PyTreeCheckpointHandler()
        with ocp.Checkpointer(handler) as checkpointer:
            arrays = checkpointer.restore((self._path(step) / "arrays").absolute(), args=arguments)
        return arrays if target is not None else jax.device_get(arrays)

    def records(self, step: int) -> dict:
        with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as checkpointer:
            return checkpointer.restore((self._path(step) / "records").absolute())

    def names(self, step: int) -> list[str]:
        return read_json(self._manifest(step))["names"]

    def prune(self, keep: int = KEPT) -> None:
        """Removes all but the newest `keep` steps, and what killed saves left behind, once those are verified."""
        newest = self.steps()[-keep:]
        if any(self.problems(step) for step in newest):
            return
        for step in set(self.steps()) - set(newest):
            self._manifest(step).unlink()
        kept = {self._path(step) for step in newest}
        for path in self.folder.iterdir():
            if path.is_dir() and path not in kept:
                shutil.rmtree(path)

    def _path(self, step: int) -> Path:
        return self.folder / f"{step:08d}"

    def _manifest(self, step: int) -> Path:
        return self.folder / f"{step:08d}{MANIFEST}"


def _sync(folder: Path) -> None:
    """Makes the files themselves survive a power cut; Orbax renames them without asking the disk."""
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
            continue
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)


def _hash_of(manifest: dict) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
