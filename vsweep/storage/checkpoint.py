"""Checkpoints: the only importer of orbax.

A checkpoint is one Orbax folder, `<step>/` with the arrays and the records (JSON) of one stack, committed together by
Orbax's rename, and then `<step>.manifest.json` with the SHA-256 of every file in it. One whose files differ from its
manifest is never used, for Orbax restores flipped bits silently. Nor is one of another sweep, stack or plan: the
manifest says where it comes from. While a step is being saved, `<step>.saving` stands beside it: a folder with that
mark and without a manifest was never finished and does not count; without the mark it has lost its manifest and is
damaged. Nothing is ever removed but what has a name that this module makes, and a manifest or a mark of its own.
"""

import contextlib
import dataclasses
import errno
import functools
import hashlib
import itertools
import logging
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from vsweep.atomic import CannotWrite, remove_leftovers, sync_folder, sync_tree, write_json_atomically, writing
from vsweep.config.problems import ConfigError, Problem
from vsweep.plan.packing import StackPlan
from vsweep.plan.sweep_plan import SweepPlan
from vsweep.storage.workdir import WorkDir, error_text, json_sha256, read_json

KEPT = 2
STEP = re.compile("[0-9]{8,10}")
MANIFEST = ".manifest.json"
SAVING = ".saving"
ORBAX_UNFINISHED = ".orbax-checkpoint-tmp"
ASIDE = ".not-ours"
OVERHEAD_BYTES = 150_000  # of a checkpoint beyond its arrays: some twenty files and folders, in blocks of a disk
logger = logging.getLogger(__name__)


class CorruptCheckpoints(ConfigError):
    """There are checkpoints, and none of them can be trusted: never a silent start from scratch."""


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a checkpoint comes from, as its manifest says; one of another origin is never used."""

    sweep: str  # fingerprint of the config and the task's data
    stack: str
    plan: str  # SHA-256 of the stack's plan, which says who is in which slot

    @classmethod
    def of(cls, sweep: SweepPlan, stack_plan: StackPlan) -> "Origin":
        return cls.by(sweep.part_with(stack_plan.name).fingerprint, stack_plan)

    @classmethod
    def by(cls, sweep_sha256: str, stack_plan: StackPlan) -> "Origin":
        return cls(sweep_sha256, stack_plan.name, json_sha256(stack_plan.to_dict()))

    def problem(self, found: dict) -> str | None:
        """How a manifest's origin, `found`, differs from this one."""
        return next(
            (f"of another {name}" for name, value in dataclasses.asdict(self).items() if found.get(name) != value), None
        )


def to_resume(home: WorkDir, sweep: SweepPlan, stack_plan: StackPlan) -> "CheckpointFolder":
    """The checkpoints that a stack goes on from."""
    return CheckpointFolder(home.checkpoints(stack_plan.name), Origin.of(sweep, stack_plan))


def of_finished(home: WorkDir, sweep: SweepPlan, stack_plan: StackPlan) -> "CheckpointFolder":
    """The parameters of a stack's finished runs."""
    return CheckpointFolder(home.finished(stack_plan.name), Origin.of(sweep, stack_plan))


def of_kept(home: WorkDir, sweep: SweepPlan, stack_plan: StackPlan) -> "CheckpointFolder":
    """The states of another generation's stack that runs of this one go on from."""
    return CheckpointFolder(home.kept(stack_plan.name), Origin.of(sweep, stack_plan))


class CheckpointFolder:
    """Checkpoints of one stack, one a step: either to resume, or of finished runs' parameters.

    Without an origin, those of any sweep are accepted.
    """

    def __init__(self, folder: Path, origin: Origin | None = None):
        self.folder = Path(folder)
        self.origin = origin

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
                origin = dataclasses.asdict(self.origin) if self.origin else {}
                manifest = {"step": step, "names": list(names), "origin": origin, "sha256": _hashes(self._path(step))}
                write_json_atomically(self._manifest(step), {**manifest, "own_sha256": json_sha256(manifest)})
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
        return sorted(int(name) for name in names if _is_step(name))

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
            advice = f"move {self.folder} away to train this stack from its start"
            raise CorruptCheckpoints([Problem("workdir", f"no checkpoint can be trusted; {advice}:"), *reasons])
        return None

    def newest_good(self) -> int | None:
        """The newest step without a problem, however many have one; says nothing of those."""
        return next((step for step in reversed(self.steps()) if not self.problems(step)), None)

    def problems(self, step: int) -> list[str]:
        """Why a step cannot be trusted: files that differ from its manifest, or another origin; empty if it can."""
        try:
            manifest = self._read_manifest(step)
        except FileNotFoundError:
            return ["missing manifest"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            return [f"unreadable manifest ({error_text(error)})"]
        other = self.origin and self.origin.problem(manifest["origin"])
        return [other] if other else _file_problems(self._path(step), manifest["sha256"])

    def _read_manifest(self, step: int) -> dict:
        """Raises OSError, KeyError, TypeError or ValueError for one that is not as it was written."""
        manifest = read_json(self._manifest(step))
        if manifest.pop("own_sha256") != json_sha256(manifest) or manifest["step"] != step:
            raise ValueError("it was changed")
        if "origin" not in manifest:
            raise ValueError("of an earlier vsweep, it does not say which sweep it belongs to")
        names, sums = manifest["names"], manifest["sha256"]
        texts = [*names, *sums, *sums.values()] if isinstance(names, list) and isinstance(sums, dict) else [None]
        if not all(isinstance(text, str) for text in texts) or not isinstance(manifest["origin"], dict):
            raise TypeError("its values are of another kind")
        return manifest

    def restore(self, step: int, target: Any = None) -> Any:
        """The arrays of a step, shaped and placed like `target` (ShapeDtypeStructs); without one, as host arrays."""
        arguments = ocp.args.StandardRestore(target) if target is not None else ocp.args.PyTreeRestore()
        handler = ocp.StandardCheckpointHandler() if target is not None else ocp.PyTreeCheckpointHandler()
        with _readable(self._path(step) / "arrays"), ocp.Checkpointer(handler) as checkpointer:
            arrays = checkpointer.restore((self._path(step) / "arrays").absolute(), args=arguments)
        return arrays if target is not None else jax.device_get(arrays)

    def records(self, step: int) -> dict:
        with _readable(self._path(step) / "records"), ocp.Checkpointer(ocp.JsonCheckpointHandler()) as checkpointer:
            return checkpointer.restore((self._path(step) / "records").absolute())

    def origin_of(self, step: int) -> dict:
        """Where a step that has no `problems` comes from."""
        return self._read_manifest(step)["origin"]

    def names(self, step: int) -> list[str]:
        """What stands in a manifest, to be trusted only after `problems`; nothing where it cannot be read."""
        try:
            return self._read_manifest(step)["names"]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def names_of_all(self) -> list[str]:
        return [name for step in self.steps() for name in self.names(step)]

    def prune(self, keep: int = KEPT) -> None:
        """Removes all but the newest `keep` steps, and what killed saves left behind, once those are verified.

        Never called during a save. Raises CannotWrite.
        """
        newest = self.steps()[-keep:]
        if any(self.problems(step) for step in newest):
            return
        with writing(self.folder):
            remove_leftovers(self.folder)
            removed = [step for step in self._own_steps() if step not in newest]
            for step in removed:
                self._clear(step, manifest_first=False)
                self._saving(step).unlink(missing_ok=True)

    def _write(self, step: int, arrays: Any, records: dict) -> None:
        """Orbax's part: it raises or has written everything when it returns; there is no False to miss."""
        arguments = ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), records=ocp.args.JsonSave(records))
        with _told_once(), ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            checkpointer.save(self._path(step).absolute(), args=arguments)
        sync_tree(self._path(step))
        sync_folder(self.folder)

    def _mark(self, step: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._is_own(step):
            _move_aside(self._path(step))
        self._saving(step).touch()
        sync_folder(self.folder)

    def _clear(self, step: int, *, manifest_first: bool = True) -> None:
        """Removes all that an earlier save of a step has left, but its mark; nothing that is not known to be ours.

        Its manifest goes first where the step is saved again, for it counts; where the step is given up it goes last,
        for a folder without one would stay for ever.
        """
        if not self._is_own(step):
            return
        if manifest_first:
            self._manifest(step).unlink(missing_ok=True)
        for path in (self._path(step), *self.folder.glob(f"{_name(step)}{ORBAX_UNFINISHED}*")):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
        self._manifest(step).unlink(missing_ok=True)

    def _is_own(self, step: int) -> bool:
        return self._manifest(step).exists() or self._saving(step).exists()

    def _own_steps(self) -> list[int]:
        """Steps of which a save has left a manifest or a mark."""
        names = (path.name.removesuffix(SAVING) for path in self.folder.glob(f"*{SAVING}"))
        return sorted({*self.steps(), *(int(name) for name in names if _is_step(name))})

    def _without_manifest(self) -> list[int]:
        """Steps whose folder is whole, for Orbax renames it when it is, but whose manifest is gone."""
        steps = [int(path.name) for path in self.folder.glob("[0-9]*") if _is_step(path.name) and path.is_dir()]
        return [step for step in steps if not self._is_own(step)]

    def _path(self, step: int) -> Path:
        return self.folder / _name(step)

    def _manifest(self, step: int) -> Path:
        return self.folder / f"{_name(step)}{MANIFEST}"

    def _saving(self, step: int) -> Path:
        return self.folder / f"{_name(step)}{SAVING}"


def _name(step: int) -> str:
    return f"{step:08d}"


def _is_step(name: str) -> bool:
    return bool(STEP.fullmatch(name)) and _name(int(name)) == name


def _move_aside(path: Path) -> None:
    """What lies where a step is to be saved and is not known to be ours: it is kept, under another name."""
    if os.path.lexists(path):
        number = next(n for n in itertools.count(1) if not os.path.lexists(f"{path}{ASIDE}-{n}"))
        path.rename(f"{path}{ASIDE}-{number}")


def _bytes_of(arrays: Any) -> int:
    """Room that a checkpoint of them takes, rather more than less."""
    return OVERHEAD_BYTES + sum(leaf.nbytes for leaf in jax.tree.leaves(arrays))


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What fails inside is the content of `path`, which somebody has made: its files are what its manifest says."""
    try:
        yield
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, RecursionError) as error:
        raise CorruptCheckpoints([f"no checkpoint of a sweep - got {path} ({error_text(error)})"]) from error


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


def _hashes(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sorted(_files(folder))}


def _files(folder: Path) -> dict[str, bool]:
    """Everything below a folder but folders: path -> whether it is a plain file. Links are not followed."""
    found = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            with contextlib.suppress(FileNotFoundError):  # one that is just being pruned
                if not stat.S_ISDIR(mode := path.lstat().st_mode):
                    found[str(path.relative_to(folder))] = stat.S_ISREG(mode)
    return found


def _file_problems(folder: Path, sha256: dict[str, str]) -> list[str]:
    """How the files of a folder differ from those of a manifest. Only files that are in the folder are opened."""
    found = _files(folder)
    problems = [f"missing {name!r}" for name in sha256 if name not in found]
    problems += [f"not in the manifest: {name!r}" for name in found if name not in sha256]
    problems += [f"no plain file: {name!r}" for name, is_plain in found.items() if not is_plain]
    checked = [name for name, is_plain in found.items() if is_plain and name in sha256]
    problems += [problem for name in checked if (problem := _problem(folder / name, name, sha256[name]))]
    return problems if sha256 else [*problems, "an empty manifest"]


def _problem(path: Path, name: str, sha256: str) -> str | None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return f"unreadable {name} ({error.strerror})"
    return None if found == sha256 else f"changed {name}"
