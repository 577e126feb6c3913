"""The work directory: everything a sweep leaves behind, and the same command continues it.

config.json  plan.json  task.json  runs.csv  curves.csv  times.csv  tables.json  samples.json  lock
live.json     (while it trains)
stacks/<stack>/checkpoints/   to resume
stacks/<stack>/finished/      every finished run's parameters, never pruned
compile_cache/                compiled programs
analysis/                     fits.json, figures, report.html

It may be reached by a link. Below it none is followed: whatever is a link there, or a device, is refused.
"""

import contextlib
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from vsweep.atomic import TEMPORARY, CannotWrite, sync_tree, write_bytes_atomically, write_json_atomically, writing
from vsweep.config import fields, sweep_config
from vsweep.config.problems import ConfigError, Problem
from vsweep.config.sweep_config import SweepConfig
from vsweep.plan.packing import StackPlan
from vsweep.schema import CURVES_FILE, LIVE_FILE, RUNS_FILE, SAMPLES_FILE, TIMES_FILE
from vsweep.storage import generations
from vsweep.storage.generations import Generation, StoredPlan
from vsweep.storage.lock import LEASE, LOCK, is_lock
from vsweep.tables import CHECKSUMS_FILE

TABLES = (RUNS_FILE, CURVES_FILE, TIMES_FILE, CHECKSUMS_FILE)
FILES = ("config.json", "plan.json", "task.json", *TABLES, SAMPLES_FILE, LIVE_FILE, LOCK, LEASE)
FOLDERS = ("stacks", "compile_cache", "analysis")
COPYING = f".copying{TEMPORARY}"  # a folder: the copy of another work directory is under way
PLAN_ADVICE = (
    "a good copy of this one file in its place, or none: move it away, and the same command writes it anew if "
    "it comes out as the checkpoints say"
)
LOST_CONFIG = "the same command writes one at the start of a new --workdir"


class WorkDir:
    """Paths of a sweep, and the files that say what it is."""

    def __init__(self, path: Path):
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.plan_file = self.path / "plan.json"
        self.task_file = self.path / "task.json"
        self.compile_cache = self.path / "compile_cache"

    def checkpoints(self, stack: str) -> Path:
        return self.path / "stacks" / stack / "checkpoints"

    def finished(self, stack: str) -> Path:
        return self.path / "stacks" / stack / "finished"

    def kept(self, stack: str) -> Path:
        """States that runs of this stack go on from; beside the stacks, so that moving one away does not lose them."""
        return self.path / "stacks" / "kept" / stack

    def problems(self, config: SweepConfig, *, extend: bool = False) -> list[Problem | str]:
        """Why this sweep cannot be trained here; looks, and touches nothing. With `extend` axes may differ."""
        problems = self.place_problems()
        if problems or not self.config_file.exists():
            return problems
        return self._differences("workdir", config, extend=extend)

    @property
    def ground(self) -> Path:
        """The folder itself, or the nearest thing above it that exists."""
        above = (self.path, *self.path.absolute().parents)
        return next(path for path in above if os.path.lexists(path))  # a link to nothing is in the way too

    def place_problems(self) -> list[Problem]:
        """Why nothing can be written here, whatever the sweep; looks, and touches nothing."""
        if not self.ground.is_dir():
            return [Problem("workdir", "not a folder", f"{self.path}", "a folder, or a path where one can be made")]
        if not os.access(self.ground, os.W_OK | os.X_OK):
            return [Problem("workdir", "not writable", f"{self.path}", "a folder that you may write to")]
        return self._foreign_problems() or strange_problems("workdir", self.path)

    def _foreign_problems(self) -> list[Problem]:
        """Of a folder with something in it that no sweep has begun: nothing there may be overwritten."""
        if not self.path.is_dir() or os.path.lexists(self.config_file):
            return []
        own = {COPYING, "stacks", "plan.json"} if (self.path / COPYING).is_dir() else set()
        foreign = sorted(
            path.name
            for path in self.path.iterdir()
            if path.name not in {*own, LEASE}
            and not (path.name == LOCK and is_lock(path))
            and not path.name.startswith(".")
        )
        if not foreign:
            return []
        named = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        allowed = f"a new or empty folder (no log in it), or a work directory with its config.json ({LOST_CONFIG})"
        what = "not empty, and no work directory (no config.json)"
        return [Problem("workdir", what, f"{self.path} with {named}", allowed)]

    def half_copied(self) -> list[Problem]:
        """Of a copy that was begun with --resume_from, and would not be gone on with."""
        if self.config_file.exists() or not (self.path / COPYING).is_dir():
            return []
        advice = "the same command with --resume_from again, or another --workdir"
        return [Problem("workdir", "a copy of another work directory was not finished", f"{self.path}", advice)]

    def source_problems(self, config: SweepConfig, *, extend: bool = False) -> list[Problem | str]:
        """Why this sweep cannot go on from a copy of this directory; looks, and touches nothing."""
        if not self.config_file.is_file():
            return [Problem("resume_from", "not a work directory", f"{self.path}", "one with a config.json")]
        return strange_problems("resume_from", self.path) or self._differences("resume_from", config, extend=extend)

    def _differences(self, flag: str, config: SweepConfig, *, extend: bool) -> list[Problem | str]:
        try:
            old = read_json(self.config_file)
        except (OSError, ValueError) as error:
            return [_unreadable(self.config_file, error, flag)]
        changed = sweep_config.differences(old, json.loads(json.dumps(config.to_dict())))
        fixed = generations.not_of_axes(config, changed)
        if not changed or (extend and not fixed):
            return []
        to_extend = "" if fixed else ", or --extend, which trains the runs that are new"
        if extend:
            to_extend, changed = " (--extend changes values of axes alone)", fixed
        advice = (
            f"go on with the old config (only {', '.join(fields.resumable_fields())} may change){to_extend}, "
            "or another --workdir"
        )
        what = f"{self.path} holds another sweep; {advice}. What differs:"
        return [Problem(flag, what), *(f"  {line}" for line in changed)]

    def write_config(self, config: SweepConfig) -> None:
        write_json_atomically(self.config_file, config.to_dict())

    def write_task(self, facts: dict, digest: str) -> None:
        """What a task tells of its data, for reports, and the digest of the data: task.json."""
        write_json_atomically(self.task_file, {**facts, "digest": digest})

    def data_problems(self, digest: str) -> list[Problem]:
        """Of a task whose data are not those that task.json tells of; none without such a file."""
        known = digest
        with contextlib.suppress(OSError, ValueError):
            known = read_json(self.task_file).get("digest", digest)
        if known == digest:
            return []
        allowed = f"sha256 {str(known)[:12]}, as in {self.task_file}, or another --workdir"
        return [Problem("task", "its data are not those that this sweep began with", f"sha256 {digest[:12]}", allowed)]

    def read_config(self) -> SweepConfig:
        """The stored config. Raises FileNotFoundError without one, and ConfigError for a damaged one."""
        if not self.config_file.is_file():
            raise FileNotFoundError(f"{self.path} is not a work directory of vsweep: it has no config.json")
        try:
            return sweep_config.from_dict(read_json(self.config_file))
        except ConfigError:
            raise
        except (OSError, ValueError) as error:
            raise ConfigError([_unreadable(self.config_file, error)]) from error

    def write_plan(
        self,
        plans: Sequence[StackPlan],
        environments: Sequence[dict],
        generations: Sequence[Generation] = (),
    ) -> None:
        """`generations` are those of a sweep that was extended; the file of any other one has no such part."""
        values = {"environments": list(environments), "stacks": [plan.to_dict() for plan in plans]}
        values |= {"generations": [each.to_dict() for each in generations]} if generations else {}
        write_json_atomically(self.plan_file, {**values, "own_sha256": json_sha256(values)})

    def read_plan(self) -> tuple[list[StackPlan], list[dict]] | None:
        """(the plans that this sweep follows, the environments it has trained in, the last one last), or None before.

        Raises ConfigError for a file that cannot be read, or is not what was written.
        """
        stored = self.read_stored()
        return None if stored is None else (stored.plans, stored.environments)

    def read_stored(self) -> StoredPlan | None:
        """`read_plan`, and the generations of a sweep that was extended: those that config.json has come to.

        An extension writes config.json last. Where it was killed before that, it has not happened.
        """
        if not os.path.lexists(self.plan_file):
            return None
        try:
            values = read_json(self.plan_file)
            if values.pop("own_sha256", None) != json_sha256(values):
                raise ValueError("its checksum is missing or another one")
            plans = [StackPlan.from_dict(plan) for plan in values["stacks"]]
            environments = _checked_environments(values["environments"])
            extended = [Generation.from_dict(entry) for entry in values.get("generations", [])]
            return StoredPlan(plans, environments, extended).as_of(self._config_values() if extended else {})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError([self._damaged_plan(error)]) from None

    def _config_values(self) -> dict:
        try:
            return read_json(self.config_file)
        except (OSError, ValueError) as error:
            raise ConfigError([_unreadable(self.config_file, error)]) from error

    def remove_plan(self) -> None:
        """Of a sweep of which nothing was trained. Raises CannotWrite."""
        with writing(self.plan_file):
            self.plan_file.unlink(missing_ok=True)

    def _damaged_plan(self, error: Exception) -> Problem:
        return Problem("workdir", "the plan is damaged", f"{self.plan_file} ({error_text(error)})", PLAN_ADVICE)

    def copy_from(self, source: Path) -> None:
        """Starts this directory from another one, which is only read; does nothing if this one has begun already.

        A mark says that what is here is a copy that has not ended, until config.json, the last file of it, is in place.
        Compiled programs are not copied: they are code, and made for the machine that made them.
        """
        if self.config_file.exists():
            return
        try:
            with writing(self.path, sum(path.stat().st_size for path in _to_copy(source))):
                (self.path / COPYING).mkdir(parents=True, exist_ok=True)
                self._remove_copied()
                for path in _to_copy(source):
                    _copy_file(path, self.path / path.relative_to(source))
                sync_tree(self.path)
                write_bytes_atomically(self.config_file, (source / self.config_file.name).read_bytes())
        except (CannotWrite, ConfigError):
            with contextlib.suppress(OSError):  # it would take the room that is missing
                self._remove_copied()
                (self.path / COPYING).rmdir()
            raise
        self.remove_copy_mark()

    def remove_copy_mark(self) -> None:
        """The last step of a copy; a kill just before it leaves the mark, which says nothing beside a config.json."""
        if self.config_file.exists():
            with contextlib.suppress(OSError):
                (self.path / COPYING).rmdir()

    def _remove_copied(self) -> None:
        """What a copy that did not end has brought; only where its mark says that it is nobody else's."""
        if not (self.path / COPYING).is_dir():
            return
        if os.path.lexists(self.path / "stacks"):
            shutil.rmtree(self.path / "stacks")
        self.plan_file.unlink(missing_ok=True)


def _to_copy(source: Path) -> Iterator[Path]:
    """Every file of a work directory that another one goes on from, but its config. Raises ConfigError for a link."""
    yield from (path for path in [source / "plan.json"] if path.exists())
    for path in _below(source / "stacks"):
        mode = path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise ConfigError([_strange("resume_from", [path])])
        if stat.S_ISREG(mode):
            yield path


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target, follow_symlinks=False)


def strange_problems(flag: str, folder: Path) -> list[Problem]:
    """What lies below a work directory in the place of a file or folder of a sweep, and is none: links and devices.

    Following a link could overwrite, remove or copy what lies elsewhere.
    """
    found = [*_not_of_kind(folder, FILES, stat.S_ISREG), *_not_of_kind(folder, FOLDERS, stat.S_ISDIR)]
    found += [path for name in FOLDERS if not found for path in _links_below(folder / name)]
    return [_strange(flag, found)] if found else []


def _strange(flag: str, found: Sequence[Path]) -> Problem:
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    allowed = (
        "plain files and folders (copy what a link points to into its place: cp -rL; the work directory itself may be "
        "a link)"
    )
    return Problem(flag, "a link, or no plain file, in a place of the sweep's own", f"{found[0]}{more}", allowed)


def _not_of_kind(folder: Path, names: Sequence[str], is_kind) -> Iterator[Path]:
    for name in names:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if not is_kind((folder / name).lstat().st_mode):
                yield folder / name


def _links_below(folder: Path) -> Iterator[Path]:
    for path in _below(folder):
        with contextlib.suppress(FileNotFoundError):  # a sweep may be training here, and files come and go
            if not (stat.S_ISREG(mode := path.lstat().st_mode) or stat.S_ISDIR(mode)):
                yield path


def _below(folder: Path) -> Iterator[Path]:
    """Everything below a folder, parents first; links are not followed."""
    for parent, folders, files in os.walk(folder):
        yield from (Path(parent, name) for name in sorted((*folders, *files)))


def _checked_environments(values: object) -> list[dict]:
    """The environments of a plan. Raises ValueError for what no sweep has written."""
    whole = isinstance(values, list) and values and all(isinstance(entry, dict) for entry in values)
    if not whole or not all(type(value) in (str, int) for entry in values for value in entry.values()):
        raise ValueError("environments: not a list of names and values")
    if not all(type(entry.get("devices", 1)) is int and entry.get("devices", 1) > 0 for entry in values):
        raise ValueError("environments: the number of devices is no number above 0")
    return values


def _unreadable(path: Path, error: Exception, flag: str = "workdir") -> Problem:
    allowed = f"a good copy in its place ({LOST_CONFIG}), or another --workdir"
    return Problem(flag, "unreadable", f"{path} ({error_text(error)})", allowed)


def error_text(error: Exception) -> str:
    """One line; a damaged file may be quoted in an error, whole."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:200].rstrip(":; ")


def json_sha256(value: object) -> str:
    """A checksum that does not depend on how the JSON is laid out, nor on the order of its names."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def read_json(path: Path) -> dict:
    """Raises OSError, or ValueError for whatever is not one JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"not an object but {type(value).__name__}")
    return value
