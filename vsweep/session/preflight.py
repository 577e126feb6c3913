"""What is looked at before a sweep starts: the config, its task, the devices and their memory, the place and its disk.

Nothing is written or compiled before all of it is right, and all that is wrong comes in one list.
"""

import contextlib
import dataclasses
import itertools
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import jax

from vsweep import tasks
from vsweep.config import sweep_config
from vsweep.config.problems import ConfigError, Problem, closest, without_repeats
from vsweep.config.sweep_config import SweepConfig
from vsweep.host import devices
from vsweep.host.hardware import GPUS
from vsweep.plan import sweep_plan
from vsweep.plan.sweep_plan import SweepPlan
from vsweep.session import resume
from vsweep.session.extend import Extension
from vsweep.session.resume import Start
from vsweep.storage.workdir import WorkDir

SAVE_S = 2.0  # of a checkpoint, however small
DISK_BYTES_PER_S = 1e8


@dataclasses.dataclass(frozen=True)
class Ready:
    """A sweep that can be trained on this machine, in this place."""

    start: Start
    home: WorkDir

    @property
    def sweep(self) -> SweepPlan:
        return self.start.sweep

    @property
    def extension(self) -> Extension | None:
        return self.start.extension


def prepare(
    source: SweepConfig | Mapping,
    workdir: str | Path | None = None,
    *,
    resume_from: str | Path | None = None,
    allow_inexact_resume: bool = False,
    extend: bool = False,
    planning: bool = False,
) -> Ready:
    """Looks at everything and touches nothing; raises one ConfigError with every problem.

    `source` is a SweepConfig, ConfigDict or mapping; `workdir` is `runs/<name of the config>` unless it is given.
    `planning`: nothing is to be trained, so data may be missing of which the config says how much there will be.
    """
    config, problems = _read(source)
    problems = [*devices.setting_problems(), *problems]
    home = WorkDir(Path(workdir or default_workdir(config)))
    places = _place_problems(home, resume_from, config if not problems else None, extend=extend)
    stored = None if problems or places else _stored(home, resume_from)
    try:
        start = _start(config, problems, stored, allow_inexact=allow_inexact_resume, planning=planning)
    except ConfigError as error:
        problems = [*problems, *without_repeats(error.problems, problems)]
    problems = [*problems, *places] or _disk_problems(start.sweep, home)
    if problems:
        raise ConfigError(problems)
    return Ready(start, home)


def plan_for(source: SweepConfig | Mapping, gpu: str) -> SweepPlan:
    """The plan on `train.devices` GPUs (0: one) of a kind in `GPUS`, which need not be here.

    No place and no disk is looked at. Raises one ConfigError with every problem.
    """
    config, problems = _read(source)
    if gpu not in GPUS:
        problems.append(Problem("--plan_device", "not known", repr(gpu), ", ".join(GPUS), closest(gpu, GPUS)))
    there, train = GPUS.get(gpu, GPUS["T4"]), config.train
    memory = int(train.device_memory_gib * 2**30) or there.memory_bytes
    hardware = dataclasses.replace(there, devices=max(1, train.devices), memory_bytes=memory)
    try:
        if not _task_is_faulty(problems):
            planned = sweep_plan.build_plan(config, tasks.build(config.task, planning=True), hardware)
    except ConfigError as error:
        problems = [*problems, *without_repeats(error.problems, problems)]
    if problems:
        raise ConfigError(problems)
    return planned


def default_workdir(config: SweepConfig) -> Path:
    """`runs/<name of the config>`, relative to the current folder."""
    return Path("runs") / config.name


def free_place(
    source: SweepConfig | Mapping, workdir: str | Path | None, *, extend: bool = False
) -> tuple[str | Path | None, str | None]:
    """Where a sweep is planned, and a note if that is not the default place, because another sweep is there.

    A place that was asked for (`workdir`) is taken as it is, and so is the default for a faulty config, and
    for one that is to `extend` what is there.
    """
    config, problems = _read(source)
    default = default_workdir(config)
    if workdir is not None or problems or extend or not _is_taken(default, config):
        return workdir, None
    others = (default.with_name(f"{default.name}-{number}") for number in itertools.count(2))
    free = next(other for other in others if not _is_taken(other, config))
    return free, f"note: {default} holds another sweep; to train this one, give another place, such as --workdir={free}"


def _is_taken(place: Path, config: SweepConfig) -> bool:
    """By another sweep; any other reason why nothing can be trained there is found by `prepare`."""
    home = WorkDir(place)
    with contextlib.suppress(OSError):
        return home.config_file.is_file() and not home.place_problems() and bool(home.problems(config))
    return False


def wall_problems(ready: Ready) -> list[Problem]:
    """Of a wall limit that is over before anything can be gained: a stack's programs compiled and a checkpoint saved.

    Compiling does not count where compiled programs may be kept already.
    """
    limit_h = ready.sweep.config.train.max_wall_hours
    compiled = jax.config.jax_compilation_cache_dir is not None or ready.home.compile_cache.is_dir()
    compile_s = 0.0 if compiled else ready.sweep.estimates[0].compile_s
    needed_s = compile_s + save_seconds(max(cost.disk_bytes for cost in ready.sweep.estimates))
    if not 0 < 3600 * limit_h < needed_s:
        return []
    allowed = f"from {needed_s / 3600:.2g}, {needed_s:.0f} s by estimate (0: no limit)"
    return [Problem("train.max_wall_hours", "too short to compile and save", f"{limit_h:g}", allowed)]


def save_seconds(disk_bytes: int) -> float:
    """What a save is expected to take; a guess, for disks differ."""
    return SAVE_S + disk_bytes / DISK_BYTES_PER_S


def _read(source: SweepConfig | Mapping) -> tuple[SweepConfig, list[Problem]]:
    """The config with its faulty fields at their defaults, and what is wrong with them."""
    try:  # a SweepConfig too: it may hold 1 where 1.0 is meant, which is another fingerprint
        return sweep_config.from_dict(source.to_dict() if isinstance(source, SweepConfig) else source), []
    except ConfigError as error:
        return error.rest, error.problems


def _stored(home: WorkDir, resume_from: str | Path | None) -> WorkDir:
    """Where the plan of a sweep that has begun stands."""
    return home if resume_from is None or home.config_file.exists() else WorkDir(Path(resume_from))


def _task_is_faulty(problems: list) -> bool:
    return any(isinstance(problem, Problem) and problem.field.startswith("task") for problem in problems)


def _start(
    config: SweepConfig, problems: list, stored: WorkDir | None, *, allow_inexact: bool, planning: bool
) -> Start | None:
    """None where the task itself is faulty: then nothing can be said about its runs."""
    devices.use_cpu_cores_as_devices()
    mesh = devices.slots_mesh(config.train.devices)
    if _task_is_faulty(problems):
        return None
    begun = stored is not None and stored.config_file.exists()
    task = tasks.build(config.task, planning=planning and not begun)
    if stored is not None and (other_data := stored.data_problems(task.digest)):
        raise ConfigError(other_data)
    if stored is not None:
        return resume.start(config, task, stored, allow_inexact=allow_inexact)
    hardware = devices.hardware(mesh, config.train.device_memory_gib)
    return Start(sweep_plan.build_plan(config, task, hardware), mesh, ())


def _place_problems(
    home: WorkDir, resume_from: str | Path | None, config: SweepConfig | None, *, extend: bool
) -> list[Problem]:
    """Without a good config, places are not compared with it."""
    source = name_problems("resume_from", resume_from) if resume_from is not None else []
    if problems := name_problems("workdir", home.path) + source:
        return problems
    try:
        problems = home.problems(config, extend=extend) if config else home.place_problems()
        if resume_from is None:
            problems = problems + home.half_copied()
        elif config and not home.config_file.exists():
            problems = problems + WorkDir(Path(resume_from)).source_problems(config, extend=extend)
    except OSError as error:
        got = f"{home.path} ({error.strerror})"
        return [Problem("workdir", "not usable", got, "a folder that you may write to")]
    return problems


def name_problems(flag: str, path: str | Path) -> list[Problem]:
    """XLA and Orbax take names as UTF-8; a file system takes any bytes."""
    whole = Path(path).absolute()
    try:
        str(whole).encode()
    except UnicodeEncodeError:
        got = str(os.fsencode(whole))
        return [Problem(flag, "a path that is not UTF-8", got, "a folder whose whole path is UTF-8 text")]
    return []


def _disk_problems(sweep: SweepPlan, home: WorkDir) -> list[Problem]:
    """What the sweep has stored already does not need room again."""
    there = 0
    for path in (home.path / "stacks").rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # another process may be training here
            there += path.lstat().st_size
    needed = sum(cost.disk_bytes for cost in sweep.estimates) - there
    free = shutil.disk_usage(home.ground).free
    if free >= needed:
        return []
    got = f"{home.path} with {free / 1e6:,.1f} MB free"
    return [Problem("workdir", "too little disk", got, f"a disk with {needed / 1e6:,.1f} MB free, by estimate")]
