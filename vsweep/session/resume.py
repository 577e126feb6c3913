"""Where a sweep goes on: as it began, or elsewhere if that is allowed.

The same plan in the same environment gives the same bits. Other versions, another kind or number of devices, or another
plan change the rounding, so they are refused unless they are asked for, and then written down: `plan.json` lists the
environments, `runs.csv` counts the changes each run went through. The name of the machine does not matter.
"""

import contextlib
import dataclasses
import functools
import importlib.metadata
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import jax
from jax.sharding import Mesh

import vsweep
from vsweep.config import sweep_config
from vsweep.config.problems import ConfigError, Problem
from vsweep.config.sweep_config import SweepConfig
from vsweep.host import devices, products
from vsweep.host.hardware import Hardware
from vsweep.plan import generations, sweep_plan
from vsweep.plan.cost import device_bytes, moments
from vsweep.plan.packing import StackPlan
from vsweep.plan.sweep_plan import SweepPlan
from vsweep.session import extend
from vsweep.session.extend import Extension
from vsweep.storage.checkpoint import CheckpointFolder, Origin
from vsweep.storage.generations import Generation, StoredPlan
from vsweep.storage.results import StackResults
from vsweep.storage.workdir import PLAN_ADVICE, WorkDir
from vsweep.tasks.base import Task

PLATFORM, LIBRARIES, DRIVER = "platform version", "accelerator libraries", "driver"
ACCELERATOR_VARIABLES = (products.TF32_OVERRIDE, "LIBTPU_INIT_ARGS")  # of the system; libraries below XLA read them
PRODUCTS = "matmul precision"  # that "auto" came to
ON_ACCELERATORS = (PLATFORM, LIBRARIES, DRIVER, *ACCELERATOR_VARIABLES)  # recorded there alone
NUMERIC = ("jax", "jaxlib", "flax", "optax", "numpy")  # libraries that results are computed with
# Settings that numbers depend on, or may, and what they are where none was recorded: JAX's defaults.
SETTINGS = {
    "jax_threefry_partitionable": "True",
    "jax_random_seed_offset": "0",
    "jax_default_prng_impl": "threefry2x32",
    "jax_default_matmul_precision": "None",
    "jax_enable_x64": "False",
    "jax_disable_most_optimizations": "False",
    "jax_optimization_level": "UNKNOWN",
    "jax_exec_time_optimization_effort": "0.0",
    "XLA_FLAGS": "",
}
NEUTRAL_FLAGS = ("--xla_dump", "--xla_force_host_platform_device_count", "--xla_gpu_cuda_data_dir")
VECTOR_UNITS = ("avx", "amx", "fma", "sve", "asimd")
FLAG = "--allow_inexact_resume"
NO_PLAN = "note: plan.json was missing and is written anew: it came out as the checkpoints say"


@dataclasses.dataclass(frozen=True)
class Found:
    """What a work directory holds of a sweep. The same always leads to the same `Start` on one machine."""

    plans: tuple[StackPlan, ...] | None = None  # of plan.json; None where there is none
    environments: tuple[dict, ...] = ()  # that plan.json lists
    generations: tuple[Generation, ...] = ()  # of a sweep that was extended
    config: SweepConfig | None = None  # its own, where another one is to extend it
    steps: dict[str, int] = dataclasses.field(default_factory=dict)  # of each stack's newest checkpoint that verifies


@dataclasses.dataclass(frozen=True)
class Start:
    """How a session begins: its plan, its devices, and how it differs from the session before (`changes`, lines)."""

    sweep: SweepPlan
    mesh: Mesh
    environments: tuple[dict, ...]  # in which the sweep has trained, this one last
    changes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    found: Found = Found()  # what it was made from
    generations: tuple[Generation, ...] = ()  # for plan.json; empty: never extended
    extension: Extension | None = None  # with which this session begins

    @property
    def messages(self) -> list[str]:
        """What the user should know about it, a line each."""
        if self.changes:
            heading = "results of runs under way will differ by rounding, and runs.csv says so (inexact_resumes)"
            return [f"warning: this sweep goes on elsewhere; {heading}. What differs:", *_indented(self.changes)]
        return list(self.notes)


def environment(hardware: Hardware, matmul_precision: str = products.HIGHEST) -> dict[str, str | int]:
    """What the results depend on beside the config and the plan, as far as it is known.

    `matmul_precision` is the config's: what its "auto" comes to on an accelerator is a part of the environment.
    """
    processor = {"processor": _processor()} if hardware.kind == "cpu" else {}
    accelerator = {} if hardware.kind == "cpu" else _accelerator()
    if accelerator and matmul_precision == products.AUTO:
        accelerator[PRODUCTS] = products.in_words(matmul_precision, hardware)
    libraries = {name: importlib.metadata.version(name) for name in NUMERIC}
    settings = {name: str(jax.config.values.get(name, default)) for name, default in SETTINGS.items()}
    return {
        "device": hardware.kind,
        "devices": hardware.devices,
        **processor,
        **accelerator,
        "vsweep": vsweep.__version__,
        **libraries,
        **settings,
        "XLA_FLAGS": _xla_flags(os.environ.get("XLA_FLAGS", "")),
    }


def differences(began: dict, now: dict) -> list[str]:
    """One line for each part of two environments that differs.

    Sweeps that began before settings were recorded had JAX's defaults. What is below an accelerator counts as the same
    where it was not recorded.
    """
    if began:
        began = {**SETTINGS, **{name: now[name] for name in ON_ACCELERATORS if name in now}, **began}
    names = [*now, *(name for name in began if name not in now)]
    return [
        f"{name}: began with {began.get(name, 'nothing recorded')}, now {now.get(name, 'nothing')}"
        for name in names
        if began.get(name) != now.get(name)
    ]


def look(config: SweepConfig, task: Task, home: WorkDir) -> Found:
    """What `home` holds of the sweep of `config`, or of the one that it extends; touches nothing.

    Raises ConfigError for a damaged plan.
    """
    own = _own_config(config, home)
    stored = home.read_stored()
    if stored is None:
        folders = {path.parent.name: CheckpointFolder(path) for path in sorted(home.path.glob("stacks/*/checkpoints"))}
        newest = {name: folder.newest_good() for name, folder in folders.items()}
        return Found(config=own, steps={name: step for name, step in newest.items() if step is not None})
    prints = extend.fingerprints(stored, own or config, task)
    steps = {plan.name: _steps_done(home, Origin.by(prints[plan.name], plan)) for plan in stored.plans}
    return Found(tuple(stored.plans), tuple(stored.environments), tuple(stored.generations), own, steps)


def _own_config(config: SweepConfig, home: WorkDir) -> SweepConfig | None:
    """The config that the sweep in `home` has now, if `config` is another one and extends it."""
    if not home.config_file.exists():
        return None
    there = home.read_config()
    if not sweep_config.differences(there.to_dict(), config.to_dict()):
        return None
    return extend.as_in(config, there)


def start(config: SweepConfig, task: Task, home: WorkDir, *, allow_inexact: bool = False) -> Start:
    """How a session that trains `config` in `home` begins; looks, and touches nothing.

    It follows the stored plan on as many devices as that was made for. With `allow_inexact` it takes all devices that
    the slots of stacks under way can be spread over, and stacks that have not begun are planned anew for them. Where
    `home` has another config, `config` extends that: the caller has made sure that it may.
    Raises ConfigError for a plan of other runs, and for an environment that differs unless that is allowed.
    """
    return _start_from(look(config, task, home), config, task, home, allow_inexact=allow_inexact)


def confirm(begin: Start, home: WorkDir, *, allow_inexact: bool = False) -> Start:
    """`begin`, made before `home` was held, if `home` still holds what it was made from; else made again.

    Another process may have trained there meanwhile. Raises ConfigError like `start`.
    """
    config, task = begin.sweep.config, begin.sweep.task
    found = look(config, task, home)
    return begin if found == begin.found else _start_from(found, config, task, home, allow_inexact=allow_inexact)


def _start_from(found: Found, config: SweepConfig, task: Task, home: WorkDir, *, allow_inexact: bool) -> Start:
    before = found.config or config  # of what is there

    @functools.cache
    def planned(device_count: int) -> SweepPlan:
        hardware = devices.hardware(devices.slots_mesh(device_count), config.train.device_memory_gib)
        stored = StoredPlan(list(found.plans or ()), list(found.environments), list(found.generations))
        return extend.plan_again(stored, before, task, hardware)

    names = [plan.name for plan in found.plans or ()]
    other_sweep = found.config and found.plans and not any(extend.has_begun(home, name) for name in names)
    if other_sweep or (found.plans is None and not found.steps):
        mesh = devices.slots_mesh(config.train.devices)
        sweep = sweep_plan.build_plan(config, task, devices.hardware(mesh, config.train.device_memory_gib))
        here = environment(sweep.hardware, config.train.matmul_precision)
        return Start(sweep, mesh, (here,), found=found)
    plans, environments = found.plans, found.environments
    if plans is None:
        plans, environments = _plan_of_checkpoints(before, task, home, found.steps, planned)
    done = {plan.name: found.steps.get(plan.name, 0) for plan in plans}
    under_way = [plan for plan in plans if 0 < done[plan.name] < plan.steps]
    mesh = devices.slots_mesh(_device_count(config, environments[-1], under_way, allow_inexact=allow_inexact))
    here = planned(mesh.size)
    _check_runs(home, plans, here)
    as_begun, now = here.with_plans(plans), environment(here.hardware, config.train.matmul_precision)
    begin = Start(as_begun, mesh, tuple(environments), found=found, generations=found.generations)
    if found.config:
        begin = _extended(begin, config, before, home, done, now)
        done |= dict.fromkeys(begin.generations[-1].stacks, 0)
    return _checked(begin, here, done, now, home, allow_inexact=allow_inexact)


def _extended(
    begin: Start, config: SweepConfig, before: SweepConfig, home: WorkDir, done: dict[str, int], now: dict
) -> Start:
    """`begin` with the runs that `config` adds to it."""
    sweep, known = begin.sweep, list(begin.generations)
    stored = StoredPlan(list(sweep.plans), list(begin.environments), known)
    if not known:
        known = [extend.first_generation(home, home.read_config(), stored, sweep.task)]
        sweep = generations.together([dataclasses.replace(sweep, horizons=(sweep.smallest_horizon,))])
    begun = extend.Begun(sweep, dataclasses.replace(stored, generations=known), done)
    more, record, extension = extend.extended(home, config, begun, now)
    return dataclasses.replace(begin, sweep=more, generations=(*known, record), extension=extension)


def _checked(
    begin: Start, here: SweepPlan, done: dict[str, int], now: dict, home: WorkDir, *, allow_inexact: bool
) -> Start:
    """`begin`, unless it is in another environment than before: then in this one, if that is allowed.

    `here` is the sweep as it was before it was extended, planned for the devices of now.
    """
    sweep, config, environments = begin.sweep, begin.sweep.config, begin.environments
    finished = all(done[plan.name] == plan.steps for plan in sweep.plans)
    changes = () if finished else (*differences(environments[-1], now), *_too_big(sweep, done))
    if not changes:
        notes = [NO_PLAN if begin.found.plans is None else "", "" if finished else _idle_devices(config, begin.mesh)]
        return dataclasses.replace(begin, notes=tuple(note for note in notes if note))
    if not allow_inexact:
        raise ConfigError(_refusal(home, changes))
    new = {plan.name: plan for plan in here.plans}
    anew = [old if done[old.name] else new.get(old.name, old) for old in sweep.plans]
    elsewhere = sweep.with_plans(anew)
    if stuck := _too_big(elsewhere, done):
        advice = "train on a larger device, or move the folder of the stack in stacks/ away to train it from its start"
        raise ConfigError([Problem("workdir", f"what has begun cannot go on here; {advice}:"), *_indented(stuck)])
    return dataclasses.replace(begin, sweep=elsewhere, environments=(*environments, now), changes=changes)


def _plan_of_checkpoints(
    config: SweepConfig,
    task: Task,
    home: WorkDir,
    newest: dict[str, int],
    planned: Callable[[int], SweepPlan],
) -> tuple[list[StackPlan], list[dict]]:
    """Plan and environments of a sweep whose plan.json is gone, from the `newest` step of each stack that has begun.

    A plan is a pure function, so it is made again for the devices that the checkpoints name; `planned` makes it for so
    many devices. Raises ConfigError where it does not come out as they say.
    """
    sweep_sha256 = sweep_config.fingerprint(config, task.digest)
    begun = {name: CheckpointFolder(home.checkpoints(name)) for name in newest}
    environments = {n: StackResults.checked(f.records(newest[n])).environment for n, f in begun.items()}
    counts = {int(entry.get("devices", 1)) for entry in environments.values()}
    possible = [count for count in sorted(counts) if count <= len(jax.local_devices())]
    made = {count: planned(count).plans for count in possible}
    order = [plan.name for plan in next(iter(made.values()), ())]  # in which stacks are trained
    trained = [name for name in order if name in begun] or list(begun)
    last = environments[trained[-1]]
    plans = []
    for index, name in enumerate(order):
        own = int(environments.get(name, last).get("devices", 1))
        fresh = [made[count][index] for count in (own, *made) if count in made]  # it may have moved since
        candidates = [*fresh, *(dataclasses.replace(plan, piece=0) for plan in fresh)]  # or be older than pieces
        origin = begun[name].origin_of(newest[name]) if name in begun else None
        fitting = [plan for plan in candidates if not (origin and Origin.by(sweep_sha256, plan).problem(origin))]
        plans += fitting[:1]
    names = {plan.name for plan in plans}
    if other := [name for name in dict.fromkeys([*order, *begun]) if name not in names]:
        raise ConfigError([_not_as_checkpoints_say(home, other, counts)])
    distinct = dict.fromkeys(tuple(environments[name].items()) for name in trained)
    return plans, [dict(pairs) for pairs in distinct]


def _not_as_checkpoints_say(home: WorkDir, stacks: Sequence[str], counts: Iterable[int]) -> Problem:
    devices_then = " or ".join(map(str, sorted(counts)))
    allowed = f"the config and the devices it began with ({devices_then} of them), or a copy of plan.json in its place"
    what = "plan.json is missing, and a new plan is not the one of the checkpoints"
    return Problem("workdir", what, f"{', '.join(stacks)} in {home.path}", allowed)


def _check_runs(home: WorkDir, plans: Sequence[StackPlan], here: SweepPlan) -> None:
    planned = [(plan.name, {(entry.run_id, entry.horizon) for entry in plan.entries}) for plan in plans]
    pieces = [(plan.piece, stack.shape.batch_size) for plan, stack in zip(plans, here.stacks, strict=False)]
    if any(piece and (piece % 4 or batch % piece) for piece, batch in pieces):
        raise ConfigError([Problem("workdir", f"{home.plan_file} has pieces of no batch", allowed=PLAN_ADVICE)])
    if planned != [(stack.name, {(run.run_id, run.steps) for run in stack.runs}) for stack in here.stacks]:
        what = f"{home.plan_file} plans other runs"
        raise ConfigError([Problem("workdir", what, f"{len(planned)} stacks", PLAN_ADVICE)])


def _device_count(config: SweepConfig, began: dict, under_way: Sequence[StackPlan], *, allow_inexact: bool) -> int:
    """As many as it began with; where it may change, the most that the slots of stacks under way can be spread over."""
    here, wanted, before = len(jax.local_devices()), config.train.devices, began.get("devices", 0)
    if not allow_inexact:
        return wanted or (before if before < here else 0)
    most = min(wanted or here, here)
    return max(n for n in range(1, most + 1) if not any(plan.slots % n for plan in under_way))


def _steps_done(home: WorkDir, origin: Origin) -> int:
    """The step of a stack's newest checkpoint that verifies; 0 without one."""
    return CheckpointFolder(home.checkpoints(origin.stack), origin).newest_good() or 0


def _too_big(sweep: SweepPlan, done: dict[str, int]) -> list[str]:
    """A plan leaves room on the device that it was made for; elsewhere it may need more memory than there is."""
    hardware, lines = sweep.hardware, []
    for stack, plan in zip(sweep.stacks, sweep.plans, strict=True):
        if done[plan.name] == plan.steps:
            continue
        kept = moments(stack.shape, sweep.task, sweep.part_with(stack.name).config)
        needed = device_bytes(stack.shape, sweep.task, plan.slots, hardware, kept, plan.piece)
        if needed > hardware.memory_bytes:
            lines.append(
                f"plan: {plan.slots} slots of {stack.name} need {needed / 2**30:.3g} GiB a device, "
                f"now there are {hardware.memory_bytes / 2**30:.3g} GiB"
            )
    return lines


def _refusal(home: WorkDir, changes: Sequence[str]) -> list[Problem | str]:
    what = f"{home.path} was trained in another environment, and results would not be those of an uninterrupted sweep"
    allowed = (
        f"the old environment, another --workdir, or {FLAG} (the runs concerned are then marked in runs.csv). "
        "What differs:"
    )
    return [Problem("workdir", what, allowed=allowed), *_indented(changes)]


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _idle_devices(config: SweepConfig, mesh: Mesh) -> str:
    here = len(jax.local_devices())
    if config.train.devices or mesh.size == here:
        return ""
    return f"note: goes on with {mesh.size} of {here} devices, as it began; {FLAG} would use more"


def _xla_flags(text: str) -> str:
    """The flags that may change numbers, in one order; of a flag that is given twice XLA takes the last."""
    pairs = (flag.partition("=") for flag in text.split() if not flag.startswith(NEUTRAL_FLAGS))
    values = {name: value if equals else "true" for name, equals, value in pairs}
    return " ".join(f"{name}={value}" for name, value in sorted(values.items()))


def _accelerator() -> dict[str, str]:
    """What an accelerator's results depend on, by `ON_ACCELERATORS`."""
    variables = {name: os.environ.get(name, "") for name in ACCELERATOR_VARIABLES}
    libraries, driver = devices.accelerator_libraries(), devices.driver_version()
    return {PLATFORM: devices.platform_version(), LIBRARIES: libraries, DRIVER: driver, **variables}


def _processor() -> str:
    """What XLA compiles for on a CPU, where the system tells it: other vector units add up in another order."""
    units: set[str] = set()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        told = next((line for line in lines if line.startswith(("flags", "Features"))), "")
        units = {word for word in told.split() if word.startswith(VECTOR_UNITS)}
    return " ".join([platform.machine(), *sorted(units)])
