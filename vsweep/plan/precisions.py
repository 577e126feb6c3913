"""What rounder products and activations would save, by the predictions of `host/speeds.py`."""

import dataclasses

from vsweep.host.progress import duration_text
from vsweep.plan.cost import step_seconds
from vsweep.plan.sweep_plan import SweepPlan

LEAST_GAIN = 0.05  # of the time, to be worth a line


def notes(sweep: SweepPlan) -> list[str]:
    """A line for each setting with which the steps of the same plan are predicted to take less time; none on a CPU."""
    if sweep.hardware.kind == "cpu":
        return []
    now_s, lines = _training_seconds(sweep), []
    for setting in ({"matmul_precision": "auto"}, {"precision": "bfloat16"}):
        then_s = _training_seconds(sweep, **setting)
        if then_s <= (1 - LEAST_GAIN) * now_s:
            ((name, value),) = setting.items()
            lines.append(
                f"note: with train.{name}='{value}' its steps would take {duration_text(then_s)} instead of "
                f"{duration_text(now_s)} ({1 - then_s / now_s:.0%} less: predicted, never measured; it rounds more)"
            )
    return lines


def _training_seconds(sweep: SweepPlan, *, precision: str | None = None, matmul_precision: str | None = None) -> float:
    """Of all steps, by the slots of the plan; evaluations left out."""
    total = 0.0
    for stack, plan in zip(sweep.stacks, sweep.plans, strict=True):
        products = matmul_precision or sweep.part_with(stack.name).config.train.matmul_precision
        shape = dataclasses.replace(stack.shape, precision=precision or stack.shape.precision)
        total += plan.steps * step_seconds(shape, sweep.task, plan.slots, sweep.hardware, products)
    return total
