"""Programs of vsweep compiled for GPUs that are not there.

XLA compiles for a card by its description, a `GpuTargetConfigProto`. `cards/` has one of each card, in text. XLA's own
repository has such files (`xla/tools/hlo_opt/gpu_specs/`); that of T4 was written from NVIDIA's data sheet. Without the
card there is no autotuning, so the tiles of matmuls may differ.

It takes two packages beside JAX, no driver and no CUDA: `make gpu-compile` installs them apart from everything else,
because with them in its environment JAX would look for a GPU in every program.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import Mesh

from configs import addition
from vsweep import tasks
from vsweep.config import sweep_config
from vsweep.host import devices
from vsweep.host.hardware import Hardware
from vsweep.plan import sweep_plan
from vsweep.plan.sweep_plan import SweepPlan
from vsweep.train import compiling
from vsweep.train.stack import Lowering

CARDS = Path(__file__).parent / "cards"
OPTIONS = {"t4": "T4", "p100": "P100", "v100": "V100", "l4": "L4", "a100": "A100-40GB", "h100": "H100-80GB"}
PLUGIN = "jax_plugins.xla_cuda12"


def can_compile() -> bool:
    """Whether the two packages are installed."""
    try:
        return importlib.util.find_spec(PLUGIN) is not None
    except ModuleNotFoundError:  # nobody brings a plugin
        return False


def mesh_of(card: str, count: int = 1) -> Mesh:
    """A mesh of `count` cards, by a name in `OPTIONS`, as `devices.slots_mesh` makes one of real devices."""
    jax.devices()  # a backend has to exist before a topology can
    spec = (CARDS / f"{card}.txtpb").read_text(encoding="utf-8")
    topology = topologies.get_topology_desc(
        platform="cuda", topology_name="", target_config=spec, topology=f"1x1x{count}"
    )
    return Mesh(np.array(topology.devices), (devices.SLOTS_AXIS,))


def sweep_of(
    hardware: Hardware, width: int, slots: int, overrides: Mapping[str, Mapping[str, Any]] | None = None
) -> SweepPlan:
    """`addition:full` at one width, whose 15 runs share so many slots: one stack. `overrides`: section -> fields."""
    config = addition.get_config("full")
    config.sweep.width = (width,)
    config.train.slots = str(slots)
    for section, fields in (overrides or {}).items():
        config[section].update(fields)
    parsed = sweep_config.from_dict(config)
    return sweep_plan.build_plan(parsed, tasks.build(parsed.task), hardware)


def lower(sweep: SweepPlan, mesh: Mesh, program: str = "train") -> jax.stages.Lowered:
    """`train`, `enter` or `evaluate` of the one stack of `sweep`, to be compiled for `mesh`."""
    (stack,), (stack_plan,) = sweep.stacks, sweep.plans
    with compiling.matmul_precision(sweep, stack):
        lowering = Lowering(*compiling.recipe_and_shape(sweep, stack, stack_plan, mesh), mesh)
        return getattr(lowering, program)()


def compile_uncached(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    """Never from JAX's cache: a program that is kept there cannot be loaded again without a GPU."""
    enabled = jax.config.jax_enable_compilation_cache
    _use_cache(False)
    try:
        return lowered.compile()
    finally:
        _use_cache(enabled)


def _use_cache(enabled: bool) -> None:
    jax.config.update("jax_enable_compilation_cache", enabled)
    compilation_cache.reset_cache()  # JAX asks once whether there is one
