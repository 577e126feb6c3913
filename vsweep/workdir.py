"""The work directory: everything a sweep leaves behind, and the same command continues it.

config.json  plan.json  runs.csv  curves.csv  times.csv  lock
stacks/<stack>/checkpoints/   to resume
stacks/<stack>/finished/      every finished run's parameters, never pruned
compile_cache/                compiled programs
analysis/                     fits.json, figures, report.html
"""

import contextlib
import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from vsweep import config as config_lib
from vsweep.config import ConfigError, SweepConfig
from vsweep.packing import StackPlan
from vsweep.records import CannotWrite, write_json_atomically, writing

OWNER_WRITES_S = 0.2  # ample time from taking the lock to the owner's name in it


class WorkDir:
    """Paths of a sweep, and the files that say what it is."""

    def __init__(self, path: Path):
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.plan_file = self.path / "plan.json"
        self.compile_cache = self.path / "compile_cache"

    def checkpoints(self, stack: str) -> Path:
        return self.path / "stacks" / stack / "checkpoints"

    def finished(self, stack: str) -> Path:
        return self.path / "stacks" / stack / "finished"

    def problems(self, config: SweepConfig) -> list[str]:
        """Why this sweep cannot be trained here; looks, and touches nothing."""
        problems = self.place_problems()
        if problems or not self.config_file.exists():
            return problems
        return self._differences("workdir", config)

    @property
    def ground(self) -> Path:
        """The folder itself, or the nearest thing above it that exists."""
        above = (self.path, *self.path.absolute().parents)
        return next(path for path in above if os.path.lexists(path))  # a link to nothing is in the way too

    def place_problems(self) -> list[str]:
        """Why nothing can be written here, whatever the sweep; looks, and touches nothing."""
        if not self.ground.is_dir():
            return [f"workdir: not a folder - got {self.path}; allowed: a folder, or a path where one can be made"]
        if not os.access(self.ground, os.W_OK | os.X_OK):
            return [f"workdir: not writable - got {self.path}; allowed: a folder that you may write to"]
        return []

    def source_problems(self, config: SweepConfig) -> list[str]:
        """Why this sweep cannot go on from a copy of this directory; looks, and touches nothing."""
        if not self.config_file.is_file():
            return [f"resume_from: not a work directory - got {self.path}; allowed: one with a config.json"]
        return self._differences("resume_from", config)

    def _differences(self, flag: str, config: SweepConfig) -> list[str]:
        try:
            old = {**read_json(self.config_file)}
        except (OSError, ValueError, TypeError) as error:
            return [_unreadable(self.config_file, error, flag)]
        changed = config_lib.differences(old, json.loads(json.dumps(config.to_dict())))
        if not changed:
            return []
        advice = f"go on with the old config (only {', '.join(resumable_fields())} may change), or another --workdir"
        return [f"{flag}: {self.path} holds another sweep; {advice}. What differs:", *(f"  {line}" for line in changed)]

    def write_config(self, config: SweepConfig) -> None:
        write_json_atomically(self.config_file, config.to_dict())

    def read_config(self) -> SweepConfig:
        if not self.config_file.is_file():
            raise FileNotFoundError(f"{self.path} is not a work directory of vsweep: it has no config.json")
        try:
            content = {**read_json(self.config_file)}
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError([_unreadable(self.config_file, error)]) from error
        return config_lib.from_dict(content)

    def write_plan(self, plans: Sequence[StackPlan], environments: Sequence[dict]) -> None:
        stacks = [plan.to_dict() for plan in plans]
        write_json_atomically(self.plan_file, {"environments": list(environments), "stacks": stacks})

    def read_plan(self) -> tuple[list[StackPlan], list[dict]] | None:
        """(the plans that this sweep follows, the environments it has trained in, the last one last), or None before.

        Raises ConfigError for a file that cannot be read, and an empty environment where none was recorded.
        """
        if not self.plan_file.exists():
            return None
        try:
            values = read_json(self.plan_file)
            plans = [StackPlan.from_dict(plan) for plan in values["stacks"]]
            return plans, values.get("environments") or [{}]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError([_unreadable(self.plan_file, error)]) from None

    def copy_from(self, source: Path) -> None:
        """Starts this directory from another one, which is only read; does nothing if this one has begun already.

        Compiled programs are not copied: they are code, and made for the machine that made them.
        """
        if self.config_file.exists():
            return
        partial = self.path / "copying"
        shutil.rmtree(partial, ignore_errors=True)
        try:
            with writing(partial, sum(path.stat().st_size for path in source.rglob("*") if path.is_file())):
                self._copy(source, partial)
        except CannotWrite:
            shutil.rmtree(partial, ignore_errors=True)  # it would take the room that is missing
            raise

    def _copy(self, source: Path, partial: Path) -> None:
        not_needed = shutil.ignore_patterns("lock", "analysis", "compile_cache")
        shutil.copytree(source, partial, copy_function=shutil.copyfile, ignore=not_needed)
        make_writable(partial)
        shutil.rmtree(self.path / "stacks", ignore_errors=True)  # of a copy that was killed between two renames
        for name in ("stacks", "plan.json", "config.json"):  # config.json last: now this has begun
            if (partial / name).exists():
                (partial / name).rename(self.path / name)
        shutil.rmtree(partial)


def resumable_fields() -> list[str]:
    """The fields of a config that may differ when a sweep goes on: no result depends on them."""
    rules = config_lib.RULES.items()
    return [f"{section}.{name}" for section, fields in rules for name, rule in fields.items() if rule.resumable]


def _unreadable(path: Path, error: Exception, flag: str = "workdir") -> str:
    told = f"{type(error).__name__}: {error}"
    return f"{flag}: unreadable - got {path} ({told}); allowed: a good copy in its place, or another --workdir"


def read_json(path: Path) -> dict:
    """Raises ValueError for what is no JSON, nested too deep to be read among it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(str(error)) from error


def make_writable(folder: Path) -> None:
    """Copies of a read-only tree carry its modes; give the owner back the right to write."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | (0o700 if path.is_dir() else 0o600))


@contextlib.contextmanager
def locked(workdir: WorkDir) -> Iterator[None]:
    """Holds the directory for this process; the kernel gives the lock back whatever way the process ends.

    Raises ConfigError, naming the owner, if another process trains here.
    """
    with writing(workdir.path / "lock"):
        workdir.path.mkdir(parents=True, exist_ok=True)
        file = open(workdir.path / "lock", "a+b", buffering=0)  # noqa: SIM115
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(OWNER_WRITES_S)
            file.seek(0)
            owner = file.read().decode().strip() or "another process"
            raise ConfigError([f"workdir: {workdir.path} is in use by {owner}"]) from None
        with writing(workdir.path / "lock"):
            file.truncate(0)
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {since}\n".encode())
        yield
