"""How the cost of a stack grows with its models, width, budget and devices, and its memory with its models.

    python -m benchmarks.growth             a quarter of an hour on two cores; writes docs/benchmarks/growth.*
    python -m benchmarks.growth --quick     two numbers of each; a minute or two, and nothing is written

Every point is a stack driven as the trainer drives it (`benchmarks.stack.trainers.vsweep_stack`), of the models of
`benchmarks.stack`. Times are medians of interleaved rounds, compiling apart. Memory is what XLA says of the compiled
training program, beside the plan's estimate (`vsweep.plan.cost.device_bytes`) and the number of slots at which it cuts.
"""

import argparse
import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from benchmarks import common
from benchmarks.stack import floor
from benchmarks.stack.problem import Problem
from benchmarks.stack.trainers.vsweep_stack import VsweepStack
from vsweep.analysis import plotting
from vsweep.analysis.plotting import Drawing
from vsweep.host import devices

MEMORY = ["memory_bytes", "estimate_bytes", "cut_slots", "cut_bytes"]
COLUMNS = ["panel", "width", "models", "devices", "steps", "seconds", *MEMORY]
MODELS, WIDTH, BUDGET, DEVICES = "models", "width", "budget", "devices"


@dataclass(frozen=True)
class Settings:
    models: tuple[int, ...] = (1, 2, 4, 8, 16, 30)
    models_widths: tuple[int, ...] = (8, 32)  # at which the number of models grows
    widths: tuple[int, ...] = (8, 16, 32, 64, 128)
    stack: int = 8  # models wherever their number does not grow
    width: int = 16  # wherever it does not grow
    budgets: tuple[int, ...] = (1, 4, 16, 64, 256)  # steps
    rounds: int = 5
    target_s: float = 3.0  # of one measurement: a chunk of one or two steps would cost up to half as much again a step
    problem: Problem = field(default_factory=lambda: Problem(width=0))


QUICK = Settings(
    models=(1, 4), models_widths=(8,), widths=(8, 16), stack=4, width=8, budgets=(1, 8), rounds=2, target_s=0.1
)


def measure(settings: Settings) -> pd.DataFrame:
    """One row a point, in seconds of a step of the whole stack (for budgets: of all their steps)."""
    everywhere = len(jax.local_devices())

    @functools.cache  # a stack that stands in several panels is compiled once
    def stack_of(width: int, models: int, device_count: int = everywhere) -> VsweepStack:
        return VsweepStack(settings.problem.at(width), models, device_count)

    rows = []
    for width in settings.models_widths:
        stacks = [stack_of(width, models) for models in settings.models]
        timed = zip(stacks, _timed(stacks, settings), strict=True)
        rows += [{"panel": MODELS, **row, **_memory(stack)} for stack, row in timed]
        _say(f"models at width {width}: done")
    stacks = [stack_of(width, settings.stack) for width in settings.widths]
    rows += [{"panel": WIDTH, **row} for row in _timed(stacks, settings)]
    _say("width: done")
    rows += _budgets(stack_of(settings.width, settings.stack), settings)
    _say("budget: done")
    stacks = [stack_of(settings.width, settings.stack, count) for count in range(1, everywhere + 1)]
    rows += [{"panel": DEVICES, **row} for row in _timed(stacks, settings)]
    _say("devices: done")
    return pd.DataFrame(rows, columns=COLUMNS)


def _timed(stacks: list[VsweepStack], settings: Settings) -> list[dict]:
    """What each stack is, and its median seconds a step."""
    clocked = {str(index): common.local(stack.train) for index, stack in enumerate(stacks)}
    seconds = common.interleaved(clocked, settings.rounds, settings.target_s)
    return [
        {**_size_of(stack), "steps": 1, "seconds": common.median(times)}
        for stack, times in zip(stacks, seconds.values(), strict=True)
    ]


def _budgets(stack: VsweepStack, settings: Settings) -> list[dict]:
    """One stack trained for each number of steps, from the host's first index to the last step."""
    clock = common.local(stack.train)
    times: dict[int, list[float]] = {steps: [] for steps in settings.budgets}
    for _ in range(settings.rounds):
        for steps, found in times.items():
            found.append(clock.run(steps))
    return [
        {"panel": BUDGET, **_size_of(stack), "steps": steps, "seconds": common.median(found)}
        for steps, found in times.items()
    ]


def _size_of(stack: VsweepStack) -> dict:
    return {"width": stack.problem.width, "models": stack.models, "devices": stack.mesh.size}


def _memory(stack: VsweepStack) -> dict:
    """Bytes of one device: by XLA, and by the plan's estimate; the same at the cut, the most slots that fit."""
    found = stack.train_memory()
    used = found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes
    return {
        "memory_bytes": used - found.alias_size_in_bytes,
        "estimate_bytes": stack.estimated_bytes(stack.slots),
        "cut_slots": stack.fitting // stack.mesh.size,
        "cut_bytes": stack.estimated_bytes(stack.fitting),
    }


def figure_of(table: pd.DataFrame, settings: Settings, where: str) -> Drawing:
    figure, _ = plotting.new_figure()
    figure.clear()
    figure.set_size_inches(10.5, 6.4)
    with plotting.matplotlib.rc_context(plotting.STYLE):
        panels = figure.subplots(2, 3).ravel()
    by_panel = {name: rows for name, rows in table.groupby("panel")}
    _against_models(panels[0], by_panel[MODELS])
    _against_models(panels[1], by_panel[MODELS], per_model=True)
    _against_width(panels[2], by_panel[WIDTH], settings.problem)
    _against_budget(panels[3], by_panel[BUDGET])
    _against_devices(panels[4], by_panel[DEVICES])
    _memory_against_models(panels[5], by_panel[MODELS])
    figure.suptitle(f"How the cost of a stack grows: {where}", x=0.01, ha="left", fontsize=10)
    caption = f"Growth of the cost of one training step of a stack, and of its memory; {where}."
    return Drawing("growth", "How the cost of a stack grows", caption, figure, table)


def _against_models(axes: Axes, rows: pd.DataFrame, per_model: bool = False) -> None:
    for width, colour in zip(rows.width.unique(), (plotting.BLUE, plotting.RED, plotting.GREEN), strict=False):
        of_width = rows[rows.width == width]
        cost_ms = 1e3 * of_width.seconds / (of_width.models if per_model else 1)
        axes.plot(of_width.models, cost_ms, marker="o", ms=4, color=colour, label=f"width {width}")
    _whole_numbers(axes, rows.models, "K, models in the stack")
    plotting.log_axis(axes, "y", "ms a model-step" if per_model else "ms a step of the stack")
    axes.legend(frameon=False)


def _against_width(axes: Axes, rows: pd.DataFrame, problem: Problem) -> None:
    cost_ms = 1e3 * rows.seconds / rows.models
    axes.plot(rows.width, cost_ms, marker="o", ms=4, color=plotting.BLUE, label=f"K = {rows.models.iloc[0]}")
    flops = np.array([floor.model_step_flops(problem.at(int(width))) for width in rows.width])
    last = float(cost_ms.iloc[-1]) / flops[-1]
    axes.plot(rows.width, last * flops, "--", lw=1, color="#888888", label="as its FLOPs grow")
    _whole_numbers(axes, rows.width, "width")
    plotting.log_axis(axes, "y", "ms a model-step")
    axes.legend(frameon=False)


def _against_budget(axes: Axes, rows: pd.DataFrame) -> None:
    axes.plot(rows.steps, rows.seconds, marker="o", ms=4, color=plotting.BLUE, label=_size(rows))
    longest = rows.loc[rows.steps.idxmax()]
    axes.plot(
        rows.steps, longest.seconds / longest.steps * rows.steps, "--", lw=1, color="#888888", label="in proportion"
    )
    _whole_numbers(axes, rows.steps, "budget, steps")
    plotting.log_axis(axes, "y", "seconds")
    axes.legend(frameon=False)


def _against_devices(axes: Axes, rows: pd.DataFrame) -> None:
    axes.plot(rows.devices, 1e3 * rows.seconds, marker="o", ms=4, color=plotting.BLUE, label=_size(rows))
    one = rows.loc[rows.devices.idxmin()]
    axes.plot(
        rows.devices, 1e3 * one.seconds * one.devices / rows.devices, "--", lw=1, color="#888888", label="in proportion"
    )
    axes.set_xticks(rows.devices, [str(count) for count in rows.devices])
    axes.set_xlabel("devices")
    axes.set_ylabel("ms a step of the stack")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)


def _memory_against_models(axes: Axes, rows: pd.DataFrame) -> None:
    """Up to the number of slots at which the plan cuts, by its own estimate."""
    for width, colour in zip(rows.width.unique(), (plotting.BLUE, plotting.RED, plotting.GREEN), strict=False):
        of_width = rows[rows.width == width]
        local = -(-of_width.models // of_width.devices)
        axes.plot(local, of_width.memory_bytes / 2**20, "o", ms=4, color=colour, label=f"width {width}, by XLA")
        cut_slots, cut_mib = of_width.cut_slots.iloc[-1], of_width.cut_bytes.iloc[-1] / 2**20
        estimate_mib = [*of_width.estimate_bytes / 2**20, cut_mib]
        axes.plot([*local, cut_slots], estimate_mib, "--", lw=1, color=colour, label="the plan's estimate")
        axes.plot(cut_slots, cut_mib, "*", ms=11, color=colour, mec="black", mew=0.7)
    plotting.log_axis(axes, "x", "slots a device (star: the plan's cut)")
    plotting.log_axis(axes, "y", "MiB a device")
    axes.legend(fontsize=8, frameon=False, loc="upper left")


def _whole_numbers(axes: Axes, values: pd.Series, label: str) -> None:
    axes.set_xscale("log", base=2)
    shown = sorted(values.unique())
    axes.set_xticks(shown, [str(value) for value in shown])
    axes.xaxis.set_minor_locator(plotting.ticker.NullLocator())
    axes.set_xlabel(label)


def _size(rows: pd.DataFrame) -> str:
    return f"width {rows.width.iloc[0]}, K = {rows.models.iloc[0]}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two numbers of each; writes nothing")
    parser.add_argument("--output", type=Path, default=common.RESULTS, help="folder of the results")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    devices.use_cpu_cores_as_devices()
    settings = QUICK if options.quick else Settings()
    table = measure(settings)
    print(table.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.4g}"))
    if not options.quick:
        measured = common.machine(jax.devices()[0].device_kind, devices.usable_cores())
        figure = figure_of(table, settings, common.in_words(measured))
        common.write("growth", table, {**measured, "rounds": settings.rounds}, figure, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
