"""Who takes part: a lane is a worker process (or several at once) and the way to build a contestant in it."""

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from benchmarks.stack.problem import Problem


class Contestant(Protocol):
    """What is timed. Built ready to train; `train` returns when the steps are done."""

    models: int  # trained at once
    quantum: int  # steps come in multiples of it

    def train(self, steps: int) -> None: ...

    def held_out_losses(self) -> list[float]: ...


@dataclass(frozen=True)
class Entry:
    """One line of the table: `models` trained at once by a kind of contestant."""

    kind: str
    models: int
    label: str


@dataclass(frozen=True)
class Lane:
    """One kind of contestant. Its worker lives for the whole run, apart from the others' threads and memory."""

    kind: str
    label: str
    package: str  # without which it is left out
    build: Callable[[Problem, int, int], Contestant]  # (problem, models, cores)
    stacked: bool = False  # trains several models at once
    devices: int = 1  # CPU devices that JAX shall see; 0: one a core
    processes: bool = False  # as many workers at once as there are cores, each pinned to its own
    matmul_precision: str = "highest"
    batch_size: int = 0  # 0: that of the problem

    def problem(self, problem: Problem) -> Problem:
        """The problem as this lane trains it."""
        precision = "bfloat16" if self.matmul_precision == "bfloat16" else problem.precision
        batch_size = self.batch_size or problem.batch_size
        return replace(problem, precision=precision, matmul_precision=self.matmul_precision, batch_size=batch_size)

    def missing(self) -> str:
        """Why it cannot take part, or nothing."""
        found = importlib.util.find_spec(self.package) is not None
        return "" if found else f"not installed: pip install {self.package}"


def _vsweep(problem: Problem, models: int, _cores: int) -> Contestant:
    from benchmarks.stack.trainers.vsweep_stack import VsweepStack

    return VsweepStack(problem, models)


def _jax_loop(problem: Problem, _models: int, _cores: int) -> Contestant:
    from benchmarks.stack.trainers.jax_loop import JaxLoop

    return JaxLoop(problem)


def _torch_eager(problem: Problem, _models: int, cores: int) -> Contestant:
    from benchmarks.stack.trainers.torch_loop import TorchLoop

    return TorchLoop(problem, cores, compiled=False)


def _torch_compiled(problem: Problem, _models: int, cores: int) -> Contestant:
    from benchmarks.stack.trainers.torch_loop import TorchLoop

    return TorchLoop(problem, cores, compiled=True)


def _torch_ensemble(problem: Problem, models: int, cores: int) -> Contestant:
    from benchmarks.stack.trainers.torch_ensemble import TorchEnsemble

    return TorchEnsemble(problem, models, cores)


def _turbanet(problem: Problem, models: int, _cores: int) -> Contestant:
    from benchmarks.stack.trainers.turbanet_swarm import TurbanetSwarm

    return TurbanetSwarm(problem, models)


def _peak(problem: Problem, _models: int, _cores: int) -> Contestant:
    from benchmarks.stack.floor import Peak

    return Peak(problem, each_device=False)


def _peak_each(problem: Problem, _models: int, _cores: int) -> Contestant:
    from benchmarks.stack.floor import Peak

    return Peak(problem, each_device=True)


def _torch_peak(problem: Problem, _models: int, cores: int) -> Contestant:
    from benchmarks.stack.trainers.torch_loop import TorchPeak

    return TorchPeak(problem, cores)


def _products(problem: Problem, _models: int, _cores: int) -> Contestant:
    from benchmarks.stack.floor import StepProducts

    return StepProducts(problem)


VSWEEP = "vsweep"
TF32, BF16, SMALL_BATCH = "vsweep-tf32", "vsweep-bf16", "vsweep-b128"
JAX_LOOP, TORCH, COMPILED = "jax", "torch", "torch-compile"
ENSEMBLE, TURBANET, PROCESSES = "torch-func", "turbanet", "processes"
PEAK, PEAK_EACH, PEAK_TORCH, PRODUCTS = "peak", "peak-each", "peak-torch", "products"
PEAK_TF32, PEAK_BF16 = "peak-tf32", "peak-bf16"
PEAKS = (PEAK, PEAK_EACH, PEAK_TORCH, PEAK_TF32, PEAK_BF16)
FULL_BATCH = 128  # of the `full` addition study

LANES = {
    lane.kind: lane
    for lane in (
        Lane(VSWEEP, "vsweep", "jax", _vsweep, stacked=True, devices=0),
        Lane(JAX_LOOP, "JAX loop", "jax", _jax_loop),
        Lane(TORCH, "PyTorch", "torch", _torch_eager),
        Lane(COMPILED, "PyTorch, compiled", "torch", _torch_compiled),
        Lane(ENSEMBLE, "torch.func", "torch", _torch_ensemble, stacked=True),
        Lane(TURBANET, "turbanet", "turbanet", _turbanet, stacked=True),
        Lane(PROCESSES, "JAX loop, processes", "jax", _jax_loop, processes=True),
        Lane(TF32, "vsweep, TF32", "jax", _vsweep, stacked=True, devices=0, matmul_precision="tensorfloat32"),
        Lane(BF16, "vsweep, bfloat16", "jax", _vsweep, stacked=True, devices=0, matmul_precision="bfloat16"),
        Lane(PEAK, "large product", "jax", _peak),
        Lane(PEAK_EACH, "large products, one a device", "jax", _peak_each, devices=0),
        Lane(PEAK_TORCH, "large product, PyTorch", "torch", _torch_peak),
        Lane(PEAK_TF32, "large product, TF32", "jax", _peak, matmul_precision="tensorfloat32"),
        Lane(PEAK_BF16, "large product, bfloat16", "jax", _peak, matmul_precision="bfloat16"),
        Lane(PRODUCTS, "matmuls alone", "jax", _products, devices=0),
        Lane(
            SMALL_BATCH, f"vsweep, batch {FULL_BATCH}", "jax", _vsweep, stacked=True, devices=0, batch_size=FULL_BATCH
        ),
    )
}


def environment(lane: Lane, platform: str, cores: int) -> dict[str, str]:
    """Environment variables of a lane's workers. Caches are off, so that compile times are cold ones."""
    found = {
        "JAX_PLATFORMS": {"cpu": "cpu", "gpu": "cuda"}[platform],
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # several processes share one GPU
        "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
    }
    if platform == "cpu":
        found |= {"JAX_NUM_CPU_DEVICES": str(lane.devices or cores), "CUDA_VISIBLE_DEVICES": ""}
    return found


def pin(core: int) -> None:
    """Binds this process to the `core`-th of the cores that it may use, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {allowed[core % len(allowed)]})
