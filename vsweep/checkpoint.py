"""Checkpoints: the only importer of orbax.

A checkpoint is one Orbax folder, `<step>/` with the arrays and the records (JSON) of one stack, committed together by
Orbax's rename, and then `<step>.manifest.json` with the SHA-256 of every file in it. One whose files differ from its
manifest is never used, for Orbax restores flipped bits silently. While a step is being saved, `<step>.saving` stands
beside it: a folder with that mark and without a manifest was never finished and does not count; without the mark it has
lost its manifest and is damaged.
"""

import contextlib
import errno
import functools
import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from vsweep.config import ConfigError
from vsweep.records import CannotWrite, remove_leftovers, sync_folder, write_json_atomically, writing
from vsweep.workdir import read_json

KEPT = 2
MANIFEST = ".manifest.json"
SAVING = ".saving"
OVERHEAD_BYTES = 150_000  # of a checkpoint beyond its arrays: some twenty files and folders, in blocks of a disk
logger = logging.getLogger(__name__)


class CorruptCheckpoints(ConfigError):
    """There are checkpoints, and none of them can be trusted: never a silent start from scratch."""


class CheckpointFolder:
    """Checkpoints of one stack, one a step: either to resume, or of finished runs' parameters."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)

    def save(self, step: int, arrays: Any, records: dict, names: tuple[str, ...] = ()) -> None:
        """Saves and returns when everything is on disk and verified. An older folder of that step is replaced.

        `names` stand in the manifest, to find what is inside without opening it. Raises CannotWrite, and then leaves
        nothing of this step, so that it takes no room.
        """
        try:
            with writing(self._path(step), _bytes_of(arrays)):
                self._mark(step)
                self._clear(step)
                if shutil.disk_usage(self.folder).free < _bytes_of(arrays):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                self._write(step, arrays, records)
                manifest = {"step": step, "names": list(names), "sha256": _hashes(self._path(step))}
                write_json_atomically(self._manifest(step), {**manifest, "own_sha256": _hash_of(manifest)})
                if problems := self.problems(step):
                    raise OSError(errno.EIO, f"not what was just written: {'; '.join(problems)}")
                self._saving(step).unlink()
        except CannotWrite:
            with contextlib.suppress(OSError):
                self._clear(step)
                self._saving(step).unlink(missing_ok=True)
            raise

    def steps(self) -> list[int]:
        """Steps with a manifest, oldest first."""
        names = (path.name.removesuffix(MANIFEST) for path in self.folder.glob(f"*{MANIFEST}"))
        return sorted(int(name) for name in names if name.isdigit())

    def latest(self) -> int | None:
        """The newest step that verifies, or None if nothing was ever saved here.

        Falls back past corrupt steps with a warning; raises CorruptCheckpoints if there are only corrupt ones.
        """
        reasons = []
        for step in sorted({*self.steps(), *self._without_manifest()}, reverse=True):
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
            intact = manifest.pop("own_sha256") == _hash_of(manifest) and manifest["step"] == step
        except FileNotFoundError:
            return ["missing manifest"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return [f"unreadable manifest ({error})"]
        if not intact:
            return ["changed manifest"]
        found = [_problem(self._path(step) / name, name, sha256) for name, sha256 in manifest["sha256"].items()]
        return [problem for problem in found if problem]

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
        """Removes all but the newest `keep` steps, and what killed saves left behind, once those are verified.

        Never called during a save. Raises CannotWrite.
        """
        newest = self.steps()[-keep:]
        if any(self.problems(step) for step in newest):
            return
        with writing(self.folder):
            remove_leftovers(self.folder)
            kept = {_name(step) for step in newest}
            for path in sorted(self.folder.iterdir()):  # `<step>` comes before its manifest, its mark after
                if _step_part(path).isdigit() and _step_part(path) not in kept:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _write(self, step: int, arrays: Any, records: dict) -> None:
        """Orbax's part: it raises or has written everything when it returns; there is no False to miss."""
        arguments = ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), records=ocp.args.JsonSave(records))
        with _told_once(), ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            checkpointer.save(self._path(step).absolute(), args=arguments)
        _sync(self._path(step))
        sync_folder(self.folder)

    def _mark(self, step: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._saving(step).touch()
        sync_folder(self.folder)

    def _clear(self, step: int) -> None:
        """Removes all that an earlier save of a step has left, but its mark; first the manifest, for it counts."""
        self._manifest(step).unlink(missing_ok=True)
        for path in self.folder.glob(f"{_name(step)}*"):
            if path.is_dir():
                shutil.rmtree(path)

    def _without_manifest(self) -> list[int]:
        """Steps whose folder is whole, for Orbax renames it when it is, but whose manifest is gone."""
        folders = [path for path in self.folder.glob("[0-9]*") if path.is_dir() and path.name.isdigit()]
        steps = [int(path.name) for path in folders if path.name == _name(int(path.name))]
        return [step for step in steps if not self._manifest(step).exists() and not self._saving(step).exists()]

    def _path(self, step: int) -> Path:
        return self.folder / _name(step)

    def _manifest(self, step: int) -> Path:
        return self.folder / f"{_name(step)}{MANIFEST}"

    def _saving(self, step: int) -> Path:
        return self.folder / f"{_name(step)}{SAVING}"


def _name(step: int) -> str:
    return f"{step:08d}"


def _step_part(path: Path) -> str:
    return path.name.partition(".")[0]


def _bytes_of(arrays: Any) -> int:
    """Room that a checkpoint of them takes, rather more than less."""
    return OVERHEAD_BYTES + sum(leaf.nbytes for leaf in jax.tree.leaves(arrays))


@contextlib.contextmanager
def _told_once() -> Iterator[None]:
    """Orbax raises an error of the disk, and threads below it print it too: one logs it, others find their loop closed.

    Those may come after the error, so after one they stay quiet.
    """
    orbax_logger, hook = logging.getLogger("absl"), sys.unraisablehook
    level = orbax_logger.level
    orbax_logger.setLevel(logging.CRITICAL)
    if getattr(hook, "func", None) is not _show_but_for_closed_loops:
        sys.unraisablehook = functools.partial(_show_but_for_closed_loops, hook)
    try:
        yield
    finally:
        orbax_logger.setLevel(level)
    sys.unraisablehook = hook


def _show_but_for_closed_loops(show: Callable, unraisable: Any) -> None:
    error = unraisable.exc_value
    if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
        show(unraisable)


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


def _problem(path: Path, name: str, sha256: str) -> str | None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return f"missing {name}"
    except OSError as error:
        return f"unreadable {name} ({error.strerror})"
    return None if found == sha256 else f"changed {name}"
