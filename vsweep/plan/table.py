"""The plan of a sweep as a table for a person, printed before training."""

from rich.console import Console
from rich.table import Table

from vsweep.host import devices
from vsweep.host.progress import duration_text, size_text
from vsweep.plan import precisions
from vsweep.plan.grid import Stack
from vsweep.plan.packing import StackPlan
from vsweep.plan.sweep_plan import Estimate, SweepPlan

STACKS_SHOWN = 100  # of the smallest and of the largest ones: a table of 10,000 rows takes ten seconds and no reader


def show_plan(sweep: SweepPlan, console: Console) -> None:
    """Prints what would be trained and what it would cost: a line for each stack, or for some of many; the totals."""
    table = Table(title=f"{sweep.config.name}: {sweep.runs} runs in {len(sweep.stacks)} stacks", title_justify="left")
    headings = ("stack", "params", "runs", "slots", "steps", "boundaries", "wasted", "FLOP", "memory", "disk", "time")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "stack" else "right", no_wrap=True)
    left_out = len(sweep.stacks) - 2 * STACKS_SHOWN
    for index, row in enumerate(zip(sweep.stacks, sweep.plans, sweep.estimates, strict=True)):
        if left_out <= 1 or not STACKS_SHOWN <= index < STACKS_SHOWN + left_out:
            table.add_row(*_stack_row(*row))
        elif index == STACKS_SHOWN:
            table.add_row(f"... {left_out:,} more")
    console.print(table)
    estimates = sweep.estimates
    total_s = sum(cost.train_s + cost.compile_s for cost in estimates)
    guess = "a rough guess" if sweep.hardware.kind == "cpu" else "a prediction that was never measured"
    console.print(
        f"{devices.describe(sweep.hardware)}: {sum(c.flops for c in estimates):.2e} FLOP (counted), "
        f"at most {size_text(max(c.memory_bytes for c in estimates))} a device, "
        f"{size_text(sum(c.disk_bytes for c in estimates))} of disk, "
        f"{wasted_share(sweep):.1%} of slot-steps wasted, {_saved_text(sweep)}about {duration_text(total_s)} "
        f"({guess}; refined after the first steps)",
        highlight=False,
        soft_wrap=True,
    )
    for note in [*sweep.notes, *precisions.notes(sweep)]:
        console.print(note, highlight=False, markup=False, soft_wrap=True)


def _stack_row(stack: Stack, plan: StackPlan, cost: Estimate) -> tuple[str, ...]:
    return (
        stack.name,
        f"{cost.params:,}",
        str(len(stack.runs)),
        str(plan.slots),
        f"{plan.steps:,}",
        str(len(plan.boundaries)),
        f"{plan.wasted_share:.1%}",
        f"{cost.flops:.1e}",
        size_text(cost.memory_bytes),
        size_text(cost.disk_bytes),
        duration_text(cost.train_s + cost.compile_s),
    )


def wasted_share(sweep: SweepPlan) -> float:
    """Share of all slot-steps of the sweep in which no run trains."""
    slot_steps = sum(plan.slots * plan.steps for plan in sweep.plans)
    return sum(plan.wasted_share * plan.slots * plan.steps for plan in sweep.plans) / slot_steps


def saved_share(sweep: SweepPlan) -> float:
    """Share of the steps of all runs, each trained alone, that shared trunks save."""
    alone = sum(run.steps for stack in sweep.stacks for run in stack.runs)
    return 1.0 - sum(plan.trained_steps for plan in sweep.plans) / alone


def _saved_text(sweep: SweepPlan) -> str:
    saved = saved_share(sweep)
    return f"{saved:.1%} of the runs' steps saved by shared trunks, " if saved else ""
