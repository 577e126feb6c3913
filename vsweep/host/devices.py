"""The mesh over `slots`: CPU cores and GPUs, the same way.

Runs are independent, so the slot axis is the distribution axis and no program needs a collective. A CPU core is a
device too: several models, one a core, are faster than one operation at a time spread over the cores.
"""

import contextlib
import importlib.metadata
import os
import re
import stat
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vsweep.atomic import chmod_if_possible, warn_once
from vsweep.config.problems import ConfigError, Problem
from vsweep.host.hardware import Hardware
from vsweep.models.target import Target

SLOTS_AXIS = "slots"
DEVICE_COUNT = "--xla_force_host_platform_device_count"
# What JAX's settings have to be: with any other value a sweep ends in a traceback, sooner or later.
USABLE_SETTINGS = {
    "jax_enable_x64": (False,),
    "jax_disable_jit": (False,),
    "jax_no_tracing": (False,),
    "jax_no_execution": (False,),
    "jax_debug_nans": (False,),  # a diverged run is frozen, not an error
    "jax_debug_infs": (False,),  # no clipping is a limit of infinity
    "jax_error_checking_behavior_nan": ("ignore",),
    "jax_error_checking_behavior_divide": ("ignore",),
    "jax_error_checking_behavior_oob": ("ignore",),
    "jax_numpy_dtype_promotion": ("standard",),
    "jax_numpy_rank_promotion": ("allow", "warn"),
    "jax_transfer_guard": ("allow", None, "log", "log_explicit", "disallow"),
}
ACCELERATOR_LIBRARIES = re.compile(
    r"jax[-_](cuda|rocm)\d+[-_](plugin|pjrt)|nvidia[-_](cublas|cudnn)([-_]cu\d+)?|libtpu"
)
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
_own_cache: str | None = None  # the compile cache that this module has set


def use_cpu_cores_as_devices() -> None:
    """Makes each CPU core a device, if JAX has not chosen its devices yet; call it before any other use of JAX.

    A number of devices that the user has set (JAX_NUM_CPU_DEVICES, or XLA_FLAGS with DEVICE_COUNT) stays as it is.
    """
    if jax.config.jax_num_cpu_devices >= 1 or forced_devices() is not None:
        return
    with contextlib.suppress(RuntimeError):  # in a notebook the backend may be up: then its devices stay as they are
        jax.config.update("jax_num_cpu_devices", usable_cores())


def forced_devices() -> str | None:
    """The number of CPU devices in XLA_FLAGS, as it is written there; of several XLA takes the last."""
    flags = [flag.partition("=") for flag in os.environ.get("XLA_FLAGS", "").split()]
    return next((text for name, _, text in reversed(flags) if name == DEVICE_COUNT), None)


def setting_problems() -> list[Problem]:
    """Settings of JAX's (environment variables, or `jax.config`) under which nothing here can run."""
    found = ((name, jax.config.values.get(name, allowed[0]), allowed) for name, allowed in USABLE_SETTINGS.items())
    problems = [
        Problem(name.upper(), "vsweep cannot run with it", str(value), ", ".join(map(str, allowed)))
        for name, value, allowed in found
        if value not in allowed
    ]
    forced = forced_devices()
    if forced is not None and not re.fullmatch("[1-9][0-9]{0,3}", forced):
        problems.append(Problem("XLA_FLAGS", "no number of devices", f"{DEVICE_COUNT}={forced}", "1 to 9999"))
    return problems


def usable_cores() -> int:
    """CPU cores this process may use: its affinity where the system tells it, cut by a container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no such file outside Linux control groups; "max" is no quota
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def host_memory_bytes() -> int:
    """Memory of this machine that this process may use, cut by a container's limit."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # no such file outside Linux control groups; "max" is no limit
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return memory


def slots_mesh(device_count: int = 0) -> Mesh:
    """A mesh over the first `device_count` local devices (0: all).

    Raises ConfigError when there are fewer, or none of the platform that was asked for.
    """
    try:
        devices = jax.local_devices()
    except (RuntimeError, AssertionError) as error:  # the latter, without a word, where JAX came without CUDA
        raise ConfigError([_no_devices(error)]) from None
    if device_count > len(devices):
        here = f"0 (all) to {len(devices)}, because there are {len(devices)} of {devices[0].device_kind}"
        raise ConfigError([Problem("train.devices", "not that many here", str(device_count), here)])
    return Mesh(np.array(devices[: device_count or len(devices)]), (SLOTS_AXIS,))


def _no_devices(error: Exception) -> Problem:
    told = str(error).partition(" (set")[0] or "JAX was installed without it"
    got = f"{jax.config.jax_platforms!r} ({told})"
    allowed = 'cpu, or cuda with a GPU, its driver and pip install "jax[cuda12]"'
    return Problem("JAX_PLATFORMS", "no such device here", got, allowed)


def over_slots(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Splits array axis `axis`, the slots, over the devices."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, SLOTS_AXIS))


def copy_on_device(arrays: Any) -> Any:
    """Copies of a tree of arrays where they are, to keep when the originals are donated; waits for nothing."""
    return jax.tree.map(lambda array: jax.device_put(array, array.sharding, may_alias=False), arrays)


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of what every device of the mesh holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def hardware(mesh: Mesh, memory_gib: float = 0.0) -> Hardware:
    """What a plan needs to know of the mesh's devices, all of which are taken to be like the first.

    `memory_gib`: of one device, by train.device_memory_gib; 0: what the device reports. Raises ConfigError where it
    reports nothing.
    """
    device = mesh.devices.flat[0]
    memory = int(memory_gib * 2**30) or memory_bytes(mesh)
    return Hardware(device.device_kind, mesh.size, memory, has_bfloat16(device), compute_capability(device))


def compute_capability(device: jax.Device) -> float:
    """CUDA's, such as 8.6; 0 for a device that tells none."""
    told = re.fullmatch(r"\d+\.\d+", str(getattr(device, "compute_capability", "")))
    return float(told[0]) if told else 0.0


def has_bfloat16(device: jax.Device) -> bool:
    """NVIDIA's GPUs emulate it before compute capability 8.0; a device that tells no such number is trusted."""
    return not 0 < compute_capability(device) < 8


def target(device: jax.Device) -> Target:
    """What a program for this device is compiled for. JAX calls CUDA's and ROCm's devices alike."""
    if device.platform != "gpu":
        return Target(device.platform)
    capability = compute_capability(device)
    return Target("cuda", int(capability)) if capability else Target("rocm")


def describe(hardware: Hardware) -> str:
    """`cpu x 2`, as in `runs.csv`."""
    return f"{hardware.kind} x {hardware.devices}"


def platform_version() -> str:
    """Of the runtime below the devices, such as CUDA's."""
    return " ".join(jax.local_devices()[0].client.platform_version.split())


def accelerator_libraries() -> str:
    """The installed packages that an accelerator computes with, and their versions, in one order; empty: none."""
    found = {
        f"{distribution.name.lower()} {distribution.version}"
        for distribution in importlib.metadata.distributions()
        if ACCELERATOR_LIBRARIES.fullmatch((distribution.name or "").lower())
    }
    return ", ".join(sorted(found))


def driver_version(told: Path = NVIDIA_DRIVER) -> str:
    """Of NVIDIA's driver, where the system tells it (on Linux); else empty."""
    with contextlib.suppress(OSError):
        found = re.search(r"NVRM version:.*?\s(\d+(?:\.\d+)+)\s", told.read_text(encoding="utf-8", errors="replace"))
        return found[1] if found else ""
    return ""


def memory_bytes(mesh: Mesh) -> int:
    """Memory of one device; a CPU core counts its share of what this process may use.

    Raises ConfigError for another device that does not report its own: the host's says nothing about it.
    """
    device = mesh.devices.flat[0]
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    if device.platform == "cpu":
        return host_memory_bytes() // mesh.size
    what = f"needed here, because {device.device_kind} does not report its memory"
    allowed = "the GiB of one device that vsweep may use, such as --config.train.device_memory_gib=12"
    raise ConfigError([Problem("train.device_memory_gib", what, "0", allowed)])


def use_compile_cache(folder: Path) -> None:
    """Keeps compiled programs in `folder`, readable by this user alone, for they are executable code.

    Beside them JAX keeps what XLA's autotuning has chosen on a GPU, so a stack that compiles again is tuned at once and
    as before (`jax_persistent_cache_enable_xla_caches`).

    A cache that the user has chosen (JAX_COMPILATION_CACHE_DIR) stays in use instead. Where the file system has no
    permissions, programs are not kept.
    """
    global _own_cache
    if jax.config.jax_compilation_cache_dir not in (None, _own_cache):
        return
    if _own_cache is not None:
        compilation_cache.reset_cache()  # JAX opens its cache once; this is another sweep's
    folder.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
    if not chmod_if_possible(stat.S_IRWXU, folder) or folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        warn_once("others could put programs where compiled ones are kept, so none are kept")
        jax.config.update("jax_compilation_cache_dir", None)
        _own_cache = None
        return
    _own_cache = str(folder)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
