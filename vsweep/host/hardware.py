"""What a plan may depend on: the kind of a device, its number, its memory and its rough speed."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Speed:
    """Rough speed of one device. A plan depends on the fixed time over the rest; all else is for estimates."""

    step_s: float  # a training step of a stack, however small
    position_width_s: float  # a token position of one layer and unit of width
    flops: float  # FLOP/s of the matmuls
    compile_s: float  # compiling one stack's programs, of four layers
    score_s: float  # an attention score of one head, behind the first 16 positions: those are in position_width_s


# CPU: fitted to two laptop studies (docs/performance.md), one core of two; 1.8 ms of fixed time would fit them a little
# better, but `benchmarks.slots` finds that few slots cost more. Scores: measured at 64 to 1,024 positions. The GPUs are
# first guesses from peak rates.
SPEEDS = {
    "cpu": Speed(2.5e-3, 2.2e-8, 2.6e10, 10.0, 4e-9),
    "Tesla T4": Speed(4e-3, 6e-12, 2.5e12, 60.0, 1.2e-10),
    "NVIDIA A100": Speed(2e-3, 2e-12, 8e12, 40.0, 3e-11),
    "NVIDIA H100": Speed(1.5e-3, 1e-12, 2.5e13, 30.0, 1.2e-11),
}

OTHER_GPU = SPEEDS["Tesla T4"]
GIB = 2**30
JAX_SHARE = 0.75  # of a GPU's memory, that JAX takes where nobody says otherwise (XLA_PYTHON_CLIENT_MEM_FRACTION)


@dataclasses.dataclass(frozen=True)
class Hardware:
    """What a plan may depend on."""

    kind: str
    devices: int
    memory_bytes: int  # of one device
    bfloat16: bool = True  # in hardware, not emulated

    @property
    def speed(self) -> Speed:
        return next((speed for kind, speed in SPEEDS.items() if self.kind.startswith(kind)), OTHER_GPU)


GPUS = {  # to plan for where they are not: kinds as JAX names them, and the memory that JAX takes of them
    "T4": Hardware("Tesla T4", 1, int(JAX_SHARE * 15 * GIB), bfloat16=False),
    "A100-40GB": Hardware("NVIDIA A100-SXM4-40GB", 1, int(JAX_SHARE * 40 * GIB)),
    "A100-80GB": Hardware("NVIDIA A100-SXM4-80GB", 1, int(JAX_SHARE * 80 * GIB)),
    "H100-80GB": Hardware("NVIDIA H100 80GB HBM3", 1, int(JAX_SHARE * 79 * GIB)),
}
