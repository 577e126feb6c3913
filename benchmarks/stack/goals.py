"""What vsweep promises about its speed, held against a table; and the `full` study projected from it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.stack.contestants import COMPILED, JAX_LOOP, SMALL_BATCH, TORCH
from benchmarks.stack.run import FULL_SLOTS
from benchmarks.stack.table import reference_row
from configs import addition
from vsweep import tasks
from vsweep.config import sweep_config
from vsweep.plan import grid, packing

LAPTOP_WIDTHS = (4, 8, 12, 16, 24, 32)
NARROW = 64  # up to which a GPU shall train a stack for the price of one model
FULL_HOURS = {"NVIDIA H100": 1.0, "Tesla T4": 9.0}


@dataclass(frozen=True)
class Goal:
    """A promise, what was measured (at the worst width where there are several), and whether it holds."""

    text: str
    measured: float
    holds: bool

    def __str__(self) -> str:
        return f"{'holds   ' if self.holds else 'DOES NOT'}  {self.text}: {self.measured:.3g}"


def goals(table: pd.DataFrame, platform: str, reference: int, device: str) -> list[Goal]:
    """The goals that the measured widths and contestants can tell something about."""
    if platform == "cpu":
        found = [
            _faster(table, TORCH, 4.0, LAPTOP_WIDTHS),
            _faster(table, COMPILED, 2.5, LAPTOP_WIDTHS),
            _faster(table, TORCH, 3.0, (64,)),
            _near_floor(table, 64, 2.0, reference),
            _near_floor(table, 128, 1.6, reference),
        ]
    else:
        narrow = tuple(width for width in table.width.unique() if width <= NARROW)
        found = [_stack_for_one(table, narrow, reference), _faster(table, JAX_LOOP, 20.0, narrow)]
        found += [_faster(table, TORCH, 30.0, narrow), _full_within(table, device)]
    return [goal for goal in found if goal is not None]


def _faster(table: pd.DataFrame, kind: str, least: float, widths: tuple[int, ...]) -> Goal | None:
    ratios = (
        table[(table.kind == kind) & table.width.isin(widths)].set_index("width").vsweep_ratio.dropna().sort_index()
    )
    if ratios.empty:
        return None
    text = f"vsweep is at least {least:g}x {kind} at width {_listed(ratios.index)}, worst at {ratios.idxmin()}"
    return Goal(text, float(ratios.min()), bool(ratios.min() >= least))


def _near_floor(table: pd.DataFrame, width: int, most: float, reference: int) -> Goal | None:
    ours = reference_row(table, width, reference)
    if ours is None or pd.isna(ours.floor_ratio):
        return None
    text = f"a model-step at width {width} within {most:g}x its matmul floor"
    return Goal(text, float(ours.floor_ratio), bool(ours.floor_ratio <= most))


def _stack_for_one(table: pd.DataFrame, widths: tuple[int, ...], reference: int) -> Goal | None:
    ratios = {}
    for width in widths:
        one, many = reference_row(table, width, 1), reference_row(table, width, reference)
        if one is not None and many.models > 1:
            ratios[width] = many.models * many.ms_model_step / one.ms_model_step
    if not ratios:
        return None
    worst = max(ratios, key=ratios.get)
    listed = _listed(sorted(ratios))
    text = f"a stack of {reference} takes at most 1.5x one model's time at width {listed}, worst at {worst}"
    return Goal(text, float(ratios[worst]), bool(ratios[worst] <= 1.5))


def _full_within(table: pd.DataFrame, device: str) -> Goal | None:
    hours = full_hours(table)
    limit = next((limit for kind, limit in FULL_HOURS.items() if device.startswith(kind)), None)
    if hours is None or limit is None:
        return None
    return Goal(f"hours of the `full` addition study, training alone, below {limit:g}", hours, hours < limit)


def full_hours(table: pd.DataFrame) -> float | None:
    """Training hours of the `full` addition study on this device: steps of its stacks x measured time a step.

    From stacks of `FULL_SLOTS` models at its own batch size; between the measured widths on a line in log-log. None
    unless two widths were measured.
    """
    ours = table[table.kind == SMALL_BATCH].dropna(subset="ms_model_step").sort_values("width")
    if len(ours) < 2:
        return None
    config = sweep_config.from_dict(addition.get_config("full"))
    stacks = grid.build_stacks(config, tasks.build(config.task))
    widths = [stack.shape.width for stack in stacks]
    step_ms = np.exp(np.interp(np.log(widths), np.log(ours.width), np.log(ours.ms_model_step * ours.models)))
    packed = [packing.pack(stack.runs, FULL_SLOTS, 1, share_trunks=True) for stack in stacks]
    steps = [max(entry.stop for entry in entries) for entries in packed]
    return float(np.dot(steps, step_ms)) / 3.6e6


def _listed(widths) -> str:
    return ", ".join(str(width) for width in widths)
