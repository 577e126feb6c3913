"""A model of time: a step takes so long for each of its kernels, for each byte and for each operation of its matmuls.

    step = kernels x KERNEL_S  +  bytes x share / (BANDWIDTH_SHARE x bandwidth)  +  FLOPs / (PEAK_SHARE x peak)

Bandwidth and peak are those of the card's data sheet (`vsweep/host/speeds.py`). The share of the bytes that reach the
memory is 1 on a card with a small second-level cache; on others it is CACHED_SHARE, because half of what a kernel reads
the one before it has just written. The three parts are added, though a card does some of them at once. All constants
are assumptions: they are what data sheets and published measurements of other programs suggest, and no step of vsweep
was ever timed on a GPU.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pandas as pd

from benchmarks.gpu_model.compiled import OPTIONS, sweep_of
from vsweep.host import speeds
from vsweep.host.hardware import GPUS
from vsweep.models import accounting
from vsweep.plan.grid import Stack
from vsweep.plan.shape import model_shape
from vsweep.plan.sweep_plan import SweepPlan

KERNEL_S = 2.2e-6  # a small kernel of a CUDA graph, with the gap behind it
BANDWIDTH_SHARE = 0.8  # of the data sheet's, that long elementwise kernels reach
CACHED_SHARE = 0.5
PEAK_SHARE = 0.5  # that small float32 products reach


@dataclasses.dataclass(frozen=True)
class StepTime:
    """Predicted seconds of a step of a whole stack, by what they go into."""

    kernels_s: float
    bytes_s: float
    products_s: float

    @property
    def total_s(self) -> float:
        return self.kernels_s + self.bytes_s + self.products_s


def step_time(card: str, kernels: float, moved_bytes: float, flops: float) -> StepTime:
    """Of a step with these counts, on one card by its name in `OPTIONS`."""
    sheet = speeds.BY_OPTION[OPTIONS[card]]
    reaching = moved_bytes * (CACHED_SHARE if sheet.large_cache else 1.0)
    return StepTime(
        kernels_s=kernels * KERNEL_S,
        bytes_s=reaching / (BANDWIDTH_SHARE * sheet.bytes_s),
        products_s=flops / (PEAK_SHARE * sheet.peak_flops),
    )


def step_flops(sweep: SweepPlan, stack: Stack, slots: int) -> float:
    """Of the matmuls of one step, padding included."""
    example = accounting.flops_counted_per_example(model_shape(stack.shape, sweep.task))
    return slots * stack.shape.batch_size * example


def between(recorded: pd.DataFrame, card: str, width: int, slots: int) -> Mapping[str, float]:
    """Kernels and bytes of a step at any width and number of slots: lines between, and beyond, the recorded ones."""
    of_card = recorded[recorded.card == card]
    values = {}
    for name in ("kernels", "bytes"):
        by_slots = of_card.pivot(index="width", columns="slots", values=name)
        one, many = by_slots.columns
        slope = (by_slots[many] - by_slots[one]) / (many - one)
        line = by_slots[one] + (slots - one) * slope
        values[name] = float(np.interp(width, line.index, line))
    return values


def full_seconds(recorded: pd.DataFrame, card: str, sweep: SweepPlan) -> float:
    """Of all training steps of a planned sweep on one such card; without compiling and evaluating."""
    seconds = 0.0
    for stack, stack_plan in zip(sweep.stacks, sweep.plans, strict=True):
        counts = between(recorded, card, stack.shape.width, stack_plan.slots)
        flops = step_flops(sweep, stack, stack_plan.slots)
        seconds += stack_plan.steps * step_time(card, counts["kernels"], counts["bytes"], flops).total_s
    return seconds


def table(recorded: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """A row a recorded program: its counts, its predicted milliseconds, and those measured on such a card, if any."""
    rows = []
    for row in recorded.itertuples():
        sweep = sweep_of(GPUS[OPTIONS[row.card]], row.width, row.slots)
        time = step_time(row.card, row.kernels, row.bytes, step_flops(sweep, sweep.stacks[0], row.slots))
        rows.append(
            {
                **{name: getattr(row, name) for name in ("card", "width", "slots", "kernels")},
                "MB": row.bytes / 1e6,
                "ms for kernels": 1e3 * time.kernels_s,
                "ms for bytes": 1e3 * time.bytes_s,
                "ms for products": 1e3 * time.products_s,
                "predicted ms": 1e3 * time.total_s,
            }
        )
    keys = ["card", "width", "slots"]
    return pd.DataFrame(rows).merge(measured[[*keys, "measured_ms"]], how="left", on=keys)
