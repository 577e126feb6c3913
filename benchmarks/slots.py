"""The cost of one small sweep with `train.slots` = packed, all and several numbers: is the default near the best?

    python -m benchmarks.slots             a quarter of an hour on two cores; writes docs/benchmarks/slots.*
    python -m benchmarks.slots --quick     one width, three choices; two minutes, and nothing is written

Every choice trains the whole sweep with `vsweep.run_sweep`, in turns, each choice once a round; choices that come to
the same number of slots are measured once. Cost is the training time that the sweep itself records, evaluations
included; compiling is apart, for the first sweep of each choice fills a compile cache that the timed ones read.

Exit code 1 if the default costs over 5 % more than the best.
"""

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import pandas as pd

import vsweep
from benchmarks import common
from configs import addition
from vsweep import schema, tables, tasks
from vsweep.analysis import plotting
from vsweep.analysis.plotting import Drawing
from vsweep.config import sweep_config as config_lib
from vsweep.host import devices
from vsweep.plan import sweep_plan
from vsweep.train.events import Finished

DEFAULT = "packed"
CHOICES = (DEFAULT, "all", "2", "4", "8", "12")
BUDGETS = tuple(15_000 * 2**doubling for doubling in range(5))  # label tokens
WITHIN = 0.05


@dataclasses.dataclass(frozen=True)
class Settings:
    widths: tuple[int, ...] = (8, 32)
    choices: tuple[str, ...] = CHOICES
    budgets: tuple[int, ...] = BUDGETS
    rounds: int = 3
    overrides: Mapping = dataclasses.field(default_factory=dict)  # section -> fields of the config


def sweep_config(settings: Settings, width: int, slots: str) -> config_lib.SweepConfig:
    """The laptop study at one width, with smaller budgets."""
    config = addition.get_config("laptop")
    config.train.slots = slots
    config.sweep.width = (width,)
    config.sweep.budget = settings.budgets
    for section, fields in settings.overrides.items():
        config[section].update(fields)
    return config_lib.from_dict(config)


def slots_of(settings: Settings, width: int) -> dict[str, int]:
    """Choice -> number of slots that the plan makes of it here."""
    hardware = devices.hardware(devices.slots_mesh())
    found = {}
    for choice in settings.choices:
        config = sweep_config(settings, width, choice)
        found[choice] = sweep_plan.build_plan(config, tasks.build(config.task), hardware).plans[0].slots
    return found


def train_seconds(config: config_lib.SweepConfig) -> float:
    """Trains the sweep in a folder that is thrown away; the training time by its own records.

    Raises RuntimeError when it was interrupted: a sweep answers signals by saving and leaving.
    """
    with tempfile.TemporaryDirectory() as folder:
        *_, last = vsweep.run_sweep(config, folder)
        if not isinstance(last, Finished):
            raise RuntimeError(f"the sweep did not finish: {last.reason}")
        times = tables.read_times(Path(folder))
    return float(times[[schema.TRAIN, schema.EVALUATE]].to_numpy().sum())


def measure(settings: Settings) -> pd.DataFrame:
    """One row a width and number of slots: median seconds, and their ratio to the lowest of the width."""
    rows = []
    for width in settings.widths:
        by_slots: dict[int, list[str]] = {}
        for choice, slots in slots_of(settings, width).items():
            by_slots.setdefault(slots, []).append(choice)
        seconds = _in_turns(
            {slots: sweep_config(settings, width, c[0]) for slots, c in by_slots.items()}, settings.rounds
        )
        best = min(common.median(times) for times in seconds.values())
        for slots in sorted(by_slots):
            row = {"width": width, "slots": slots, "choices": " ".join(by_slots[slots])}
            typical = common.median(seconds[slots])
            spread = {"fastest_s": min(seconds[slots]), "slowest_s": max(seconds[slots])}
            rows.append({**row, "train_s": typical, **spread, "above_best": typical / best - 1})
        print(f"width {width}: done", file=sys.stderr, flush=True)
    return pd.DataFrame(rows)


def _in_turns(configs: dict[int, config_lib.SweepConfig], rounds: int) -> dict[int, list[float]]:
    """The first, untimed sweep of each compiles."""
    for config in configs.values():
        train_seconds(config)
    seconds: dict[int, list[float]] = {slots: [] for slots in configs}
    for _ in range(rounds):
        for slots, config in configs.items():
            seconds[slots].append(train_seconds(config))
    return seconds


def complaints(table: pd.DataFrame) -> list[str]:
    defaults = table[[DEFAULT in choices.split() for choices in table.choices]]
    return [
        f"width {row.width}: the default, {row.slots} slots, costs {row.above_best:.1%} more than the best number"
        for row in defaults.itertuples()
        if row.above_best > WITHIN
    ]


def figure_of(table: pd.DataFrame, where: str) -> Drawing:
    figure, (axes,) = plotting.new_figure()
    scale = plotting.colours(table.width.unique().astype(float))
    for width, rows in table.groupby("width"):
        colour = scale.to_rgba(width)
        axes.plot(rows.slots, 100 * rows.above_best, marker="o", ms=4, color=colour, label=f"width {width}")
        default = rows[[DEFAULT in choices.split() for choices in rows.choices]]
        axes.plot(default.slots, 100 * default.above_best, "*", ms=14, color=colour, mec="black", mew=0.8)
    axes.axhline(100 * WITHIN, ls="--", lw=1, color="#888888")
    axes.annotate(f"{WITHIN:.0%}", (1, 100 * WITHIN), xycoords=("axes fraction", "data"), ha="right", va="bottom")
    axes.set_ylim(bottom=-2)
    axes.set_xlabel("slots (the star is the plan's own choice)")
    axes.set_ylabel("training time above the best, %")
    axes.set_title(where, loc="left", fontsize=9)
    axes.legend(frameon=False)
    caption = f"Cost of one small sweep, five doubling budgets x three seeds, by its number of slots; {where}."
    return Drawing("slots", "Cost against slots", caption, figure, table)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.slots", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widths", help="such as 8,32")
    parser.add_argument("--rounds", type=int, default=3, help="timed sweeps of each choice")
    parser.add_argument("--quick", action="store_true", help="one width, three choices; writes nothing")
    parser.add_argument("--output", type=Path, default=common.RESULTS, help="folder of the results")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    settings = Settings(rounds=options.rounds)
    if options.quick:
        settings = Settings(widths=(8,), choices=(DEFAULT, "all", "2"), budgets=BUDGETS[:3], rounds=1)
    if options.widths:
        settings = dataclasses.replace(settings, widths=tuple(int(width) for width in options.widths.split(",")))
    devices.use_cpu_cores_as_devices()
    with tempfile.TemporaryDirectory() as cache:
        devices.use_compile_cache(Path(cache))
        jax.config.update("jax_compilation_cache_dir", f"{cache}/")  # as if chosen by the user: sweeps leave it in use
        table = measure(settings)
    print(table.to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    if not options.quick:
        measured = common.machine(jax.devices()[0].device_kind, devices.usable_cores())
        common.write(
            "slots",
            table,
            {**measured, "rounds": settings.rounds},
            figure_of(table, common.in_words(measured)),
            options.output,
        )
    found = complaints(table)
    for sentence in found:
        print(sentence, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
