"""How fast a device is: fitted on a CPU, predicted for every other one, because no GPU or TPU was ever measured.

The figures of a card are those of its maker's data sheet. One rule turns them into the times of a plan. Its constants
fit the times that were predicted from compiled programs for T4, A100 and H100 (docs/performance.md, "GPUs, predicted").
"""

import dataclasses
import functools
import math
import re

GIB = 2**30
GPU_SHARE = 0.75  # of a GPU's memory, that JAX takes where nobody says otherwise (XLA_PYTHON_CLIENT_MEM_FRACTION)

# Bytes that a token position moves for a layer and a unit of width, forward and back: half as many reach the memory
# where the second-level cache holds what one kernel hands to the next.
BYTES_PAST_SMALL_CACHE, BYTES_PAST_LARGE_CACHE = 1280.0, 650.0
SCORE_BYTES = 40.0  # that an attention score of one head moves, forward and back
PEAK_SHARE = 0.5  # of the peak rate, that batches of small float32 products reach
TENSOR_SHARE = 0.2  # the same of tensor cores; fits the predicted gain of TF32 in `addition:full` on A100 and H100
BFLOAT16_BYTES = 0.64  # of what float32 moves: counted in a program of width 64 for an H100


@dataclasses.dataclass(frozen=True)
class Speed:
    """Rough speed of one device. A plan depends on the fixed time over the rest; all else is for estimates."""

    step_s: float  # a training step of a stack, however small
    position_width_s: float  # a token position of one layer and unit of width
    flops: float  # FLOP/s of the matmuls
    compile_s: float  # compiling one stack's programs, of four layers
    score_s: float  # an attention score of one head, behind the first 16 positions: those are in position_width_s


# Fitted to two laptop studies (docs/performance.md), one core of two; 1.8 ms of fixed time would fit them a little
# better, but `benchmarks.slots` finds that few slots cost more. Scores: measured at 64 to 1,024 positions.
CPU = Speed(2.5e-3, 2.2e-8, 2.6e10, 10.0, 4e-9)


@dataclasses.dataclass(frozen=True)
class Card:
    """A device by its data sheet."""

    option: str  # its name for --plan_device
    kinds: tuple[str, ...]  # how JAX names it; more may follow after a blank or a hyphen
    capability: float  # CUDA's compute capability; 0: not CUDA
    memory_gib: float
    bytes_s: float  # of its memory
    peak_flops: float  # of float32, outside the tensor cores
    large_cache: bool  # a second-level cache of 16 MB or more

    @property
    def usable_bytes(self) -> int:
        """What JAX takes of its memory by default."""
        return int((GPU_SHARE if self.capability else 1.0) * self.memory_gib * GIB)

    @property
    def bfloat16(self) -> bool:
        """In hardware: NVIDIA's emulate it before compute capability 8.0."""
        return not 0 < self.capability < 8

    @functools.cached_property
    def speed(self) -> Speed:
        """Predicted. Kernels of a step are launched as one graph: its fixed time falls a little by generation."""
        step_s, compile_s = next(times for first, *times in GENERATIONS if self.capability >= first)
        moved = BYTES_PAST_LARGE_CACHE if self.large_cache else BYTES_PAST_SMALL_CACHE
        return Speed(step_s, moved / self.bytes_s, PEAK_SHARE * self.peak_flops, compile_s, SCORE_BYTES / self.bytes_s)

    def speed_in(self, precision: str, matmul_precision: str) -> Speed:
        """Predicted, of `train.precision` and `train.matmul_precision`: float32 at "highest" is `speed`.

        Tensor cores take bfloat16 at twice TF32's rate. Small products that gain nothing by them stay as they are.
        """
        if precision == "bfloat16" and self.bfloat16:
            moved, rate = BFLOAT16_BYTES, self._tensor_flops * (2 if self.capability else 1)
        elif self.bfloat16 and matmul_precision in self._rounding:
            moved, rate = 1.0, self._tensor_flops
        else:
            return self.speed
        return dataclasses.replace(
            self.speed,
            position_width_s=moved * self.speed.position_width_s,
            score_s=moved * self.speed.score_s,
            flops=max(self.speed.flops, TENSOR_SHARE * rate),
        )

    @property
    def _tensor_flops(self) -> float:
        return TENSOR_FLOPS.get(self.option, self.peak_flops)

    @property
    def _rounding(self) -> tuple[str, ...]:
        """Precisions that round float32 products; a TPU makes "tensorfloat32" of three products of bfloat16."""
        return REDUCED if self.capability else tuple(name for name in REDUCED if name != "tensorfloat32")


REDUCED = ("auto", "default", "tensorfloat32", "bfloat16")  # JAX's settings that let float32 products be rounded
# Peak of tensor cores, dense, for TF32, and on a TPU for bfloat16. GeForce's is that of float32 outside them.
TENSOR_FLOPS = {
    **dict.fromkeys(("A100-40GB", "A100-80GB"), 156e12),
    **{"L4": 60e12, "L40S": 183e12, "H100-80GB": 495e12, "H100-PCIe": 378e12, "H200": 495e12, "B200": 1100e12},
    "TPU-v5e": 197e12,
}

# From this compute capability on: seconds of a step with nothing to do, and of compiling.
GENERATIONS = ((9.0, 5.5e-4, 30.0), (8.0, 6e-4, 40.0), (1.0, 7e-4, 60.0), (0.0, 5.5e-4, 180.0))

CARDS = (
    Card("T4", ("Tesla T4", "NVIDIA T4"), 7.5, 15, 320e9, 8.1e12, large_cache=False),
    Card("P100", ("Tesla P100-PCIE-16GB", "Tesla P100", "NVIDIA P100"), 6.0, 15.9, 732e9, 9.3e12, large_cache=False),
    Card("V100", ("Tesla V100-SXM2-16GB", "Tesla V100", "NVIDIA V100"), 7.0, 15.8, 898e9, 15.7e12, large_cache=False),
    Card("A100-40GB", ("NVIDIA A100-SXM4-40GB", "NVIDIA A100"), 8.0, 40, 1555e9, 19.5e12, large_cache=True),
    Card("A100-80GB", ("NVIDIA A100-SXM4-80GB", "NVIDIA A100 80GB"), 8.0, 80, 2039e9, 19.5e12, large_cache=True),
    Card("L4", ("NVIDIA L4",), 8.9, 22, 300e9, 30.3e12, large_cache=True),
    Card("L40S", ("NVIDIA L40S",), 8.9, 44.5, 864e9, 91.6e12, large_cache=True),
    Card("RTX-3060", ("NVIDIA GeForce RTX 3060",), 8.6, 11.8, 360e9, 12.7e12, large_cache=False),
    Card("RTX-3070", ("NVIDIA GeForce RTX 3070",), 8.6, 7.8, 448e9, 20.3e12, large_cache=False),
    Card("RTX-3080", ("NVIDIA GeForce RTX 3080",), 8.6, 9.8, 760e9, 29.8e12, large_cache=False),
    Card("RTX-3090", ("NVIDIA GeForce RTX 3090",), 8.6, 23.6, 936e9, 35.6e12, large_cache=False),
    Card("RTX-4060", ("NVIDIA GeForce RTX 4060",), 8.9, 7.8, 272e9, 15.1e12, large_cache=True),
    Card("RTX-4070", ("NVIDIA GeForce RTX 4070",), 8.9, 11.7, 504e9, 29.1e12, large_cache=True),
    Card("RTX-4080", ("NVIDIA GeForce RTX 4080",), 8.9, 15.6, 717e9, 48.7e12, large_cache=True),
    Card("RTX-4090", ("NVIDIA GeForce RTX 4090",), 8.9, 23.6, 1008e9, 82.6e12, large_cache=True),
    Card("RTX-5060", ("NVIDIA GeForce RTX 5060",), 12.0, 7.8, 448e9, 19.2e12, large_cache=True),
    Card("RTX-5070", ("NVIDIA GeForce RTX 5070",), 12.0, 11.7, 672e9, 30.9e12, large_cache=True),
    Card("RTX-5080", ("NVIDIA GeForce RTX 5080",), 12.0, 15.6, 960e9, 56.3e12, large_cache=True),
    Card("RTX-5090", ("NVIDIA GeForce RTX 5090",), 12.0, 31.4, 1792e9, 104.8e12, large_cache=True),
    Card("H100-80GB", ("NVIDIA H100 80GB HBM3",), 9.0, 79, 3352e9, 67e12, large_cache=True),
    Card("H100-PCIe", ("NVIDIA H100 PCIe",), 9.0, 79, 2039e9, 51e12, large_cache=True),
    Card("H200", ("NVIDIA H200",), 9.0, 140, 4800e9, 67e12, large_cache=True),
    Card("B200", ("NVIDIA B200",), 10.0, 178, 7700e9, 75e12, large_cache=True),
    # Its products of float32 are six of bfloat16 at "highest".
    Card("TPU-v5e", ("TPU v5 lite", "TPU v5e"), 0.0, 15.7, 819e9, 197e12 / 6, large_cache=True),
)
BY_OPTION = {card.option: card for card in CARDS}
OTHER_MODEL = re.compile(r"\b(Ti|SUPER|D|Laptop|Max-Q|MIG)\b")  # of the same name, and another card


@dataclasses.dataclass(frozen=True)
class Match:
    """The card whose speed a device is planned with."""

    card: Card
    why: str = ""  # it was taken for a device that is not in the table; empty: it is


@functools.cache
def match(kind: str, capability: float = 0.0, memory_bytes: int = 0) -> Match:
    """The card of that name; else one that is like it.

    By name (a variant of a card), or by the nearest compute capability of the same generation (the first number; else
    of the newest one before it) and then the nearest memory; a TPU as the one TPU here, anything else as a T4.

    Args:
      kind: as JAX names the device.
      capability: CUDA's, such as 8.6; 0 where there is none.
      memory_bytes: what JAX takes of the device's memory; 0 where it is not known.
    """
    named = [(name, card) for card in CARDS for name in card.kinds if re.match(rf"{re.escape(name)}(?![\w.])", kind)]
    if named:
        name, card = max(named, key=lambda pair: len(pair[0]))
        return Match(card, "a card of the same name" if OTHER_MODEL.search(kind[len(name) :]) else "")
    if kind.startswith("TPU"):
        return Match(BY_OPTION["TPU-v5e"], "the only TPU in the table")
    if capability < 1:
        return Match(BY_OPTION["T4"], "a slow one, because it tells no compute capability")
    generations = {int(card.capability) for card in CARDS if card.capability}
    generation = max((one for one in generations if one <= capability), default=min(generations))
    cards = [card for card in CARDS if int(card.capability) == generation]

    def unlike(card: Card) -> tuple[float, float, float]:
        memory = abs(math.log(card.usable_bytes / memory_bytes)) if memory_bytes else 0.0
        return abs(card.capability - capability), memory, card.bytes_s

    return Match(min(cards, key=unlike), f"the nearest to compute capability {capability:g} and to its memory")
