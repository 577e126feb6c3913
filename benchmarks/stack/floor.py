"""The floor of a step: its matmuls alone, at the machine's best rate and in their own shapes.

`peak`: large products, on all cores by one operation or one product a device. The floor is the counted FLOPs of a
model-step (forward x 3, `vsweep.models.accounting`) at the best of these rates.
`step_products`: the products of the forward pass alone, in the shapes of the model, one model a device; three times
their time is what a step of nothing but matmuls would take here.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from benchmarks.stack.problem import Problem
from vsweep.host import devices
from vsweep.models import accounting

PEAK_REPEATS = 4
SLOTS = P(devices.SLOTS_AXIS)

# Dense peak rates of matrix products, TFLOP/s: float32 outside the tensor cores, TF32 and bfloat16 inside them. From
# the makers' data sheets: NVIDIA H100 (2023), H200 (2024), A100 (2021), L4 (2023), V100 (2020) and T4 (2019). A kind
# without a unit for a format has no rate for it.
PEAK_TFLOPS = {
    "NVIDIA H100 PCIe": {"highest": 51.0, "tensorfloat32": 378.0, "bfloat16": 756.0},
    "NVIDIA H100": {"highest": 67.0, "tensorfloat32": 494.5, "bfloat16": 989.5},
    "NVIDIA H200": {"highest": 67.0, "tensorfloat32": 494.5, "bfloat16": 989.5},
    "NVIDIA A100": {"highest": 19.5, "tensorfloat32": 156.0, "bfloat16": 312.0},
    "NVIDIA L4": {"highest": 30.3, "tensorfloat32": 60.0, "bfloat16": 121.0},
    "Tesla V100": {"highest": 15.7},
    "Tesla T4": {"highest": 8.1},
}


def published_peak(kind: str, matmul_precision: str) -> float | None:
    """FLOP/s of a device kind as JAX names it; None where no data sheet says it. The longest name that fits wins."""
    fitting = [name for name in PEAK_TFLOPS if kind.startswith(name)]
    rates = PEAK_TFLOPS[max(fitting, key=len)] if fitting else {}
    return rates[matmul_precision] * 1e12 if matmul_precision in rates else None


def model_step_flops(problem: Problem) -> float:
    """Counted FLOPs of one training step of one model."""
    return problem.batch_size * accounting.flops_counted_per_example(problem.model_shape)


class Peak:
    """Large products, `PEAK_REPEATS` a step: one operation on the first device (all cores), or one a device."""

    models = 1
    quantum = 1

    def __init__(self, problem: Problem, each_device: bool):
        self.precision = problem.matmul_precision
        mesh = devices.slots_mesh(0 if each_device else 1)
        side = problem.peak_side
        self.flops = 2.0 * side**3 * PEAK_REPEATS * mesh.size
        ones = np.full((mesh.size, side, side), 1.0 / side, np.float32)
        self.matrices = jax.device_put(ones, devices.over_slots(mesh)).astype(problem.precision)
        multiply = jax.shard_map(_multiply, mesh=mesh, in_specs=(SLOTS, P()), out_specs=SLOTS)
        self.multiply = jax.jit(multiply)

    def train(self, steps: int) -> None:
        with jax.default_matmul_precision(self.precision):
            self.multiply(self.matrices, steps).block_until_ready()


def _multiply(matrices_1xSxS, steps):
    matrix = matrices_1xSxS[0]
    return jax.lax.fori_loop(0, steps * PEAK_REPEATS, lambda _, product: product @ matrix, matrix)[None]


class StepProducts:
    """The products of one forward pass, feature-major as in vsweep; a step is one pass of one model a device."""

    quantum = 1

    def __init__(self, problem: Problem):
        self.precision = problem.matmul_precision
        self.mesh = devices.slots_mesh()
        self.models = self.mesh.size
        self.arrays = jax.device_put(_step_arrays(problem, self.models), devices.over_slots(self.mesh))
        forward = functools.partial(_forward, problem.layers)
        self.forward = jax.jit(jax.shard_map(forward, mesh=self.mesh, in_specs=(SLOTS, P()), out_specs=SLOTS))

    def train(self, steps: int) -> None:
        with jax.default_matmul_precision(self.precision):
            self.forward(self.arrays, steps).block_until_ready()


def _step_arrays(problem: Problem, models: int) -> dict[str, np.ndarray]:
    """Random matrices that keep the size of what they are applied to; N = positions x batch."""
    width, shape = problem.width, problem.model_shape
    sizes = {
        "x": (width, problem.positions * problem.batch_size),
        "qkv": (3 * width, width),
        "out": (width, width),
        "up": (shape.ff, width),
        "down": (width, shape.ff),
        "head": (shape.vocabulary, width),
    }
    rng = np.random.default_rng(0)
    return {
        name: (rng.standard_normal((models, *size)) / (1.0 if name == "x" else size[1] ** 0.5)).astype(np.float32)
        for name, size in sizes.items()
    }


def _forward(layers: int, arrays_1: dict, steps):
    """The output of each pass is the input of the next, so that no pass can be left out."""
    kernels = {name: array[0].astype(arrays_1["x"].dtype) for name, array in arrays_1.items()}

    def one_pass(_, x_WxN):
        for _ in range(layers):
            qkv = kernels["qkv"] @ x_WxN
            q, k, v = jnp.split(qkv, 3)
            x_WxN = kernels["out"] @ (q + k + v) * 3**-0.5
            x_WxN = kernels["down"] @ (kernels["up"] @ x_WxN)
        logits_VxN = kernels["head"] @ x_WxN
        return x_WxN + 1e-6 * logits_VxN[:1]

    return jax.lax.fori_loop(0, steps, one_pass, kernels.pop("x"))[None]
