"""The command line: see the package."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import pandas as pd

from benchmarks import common
from benchmarks.gpu_model import compiled, counts, measured, prediction
from configs import addition
from vsweep import tasks
from vsweep.config import sweep_config
from vsweep.host.hardware import GPUS
from vsweep.plan import sweep_plan

CARDS, WIDTHS, SLOTS = ("t4", "a100", "h100"), (4, 16, 64, 256), (1, 15)
RECORDED, MEASURED = common.RESULTS / "gpu_model.csv", common.RESULTS / "gpu_measured.csv"
NOTE = "PREDICTED from compiled programs: nothing of this was executed on a GPU."


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.record:
        return record(options.output)
    if options.measure:
        return measure(options.output)
    print(in_words(read(RECORDED), read(MEASURED)))
    return 0


def read(path: Path) -> pd.DataFrame:
    """A table of this benchmark; nobody has measured yet where that of measurements is missing."""
    if path == MEASURED and not path.exists():
        types = {"card": str, "width": int, "slots": int, "measured_ms": float}
        return pd.DataFrame(columns=list(types)).astype(types)
    return pd.read_csv(path)


def in_words(recorded: pd.DataFrame, found: pd.DataFrame) -> str:
    """The predictions, program by program and for the whole of `full`."""
    shown = prediction.table(recorded, found).to_string(index=False, float_format="{:.3g}".format, na_rep="")
    lines = [NOTE, "", "A step of a stack of `addition:full`:", shown, "", "Training all of `addition:full`, hours:"]
    for card in dict.fromkeys(recorded.card):
        config = sweep_config.from_dict(addition.get_config("full"))
        sweep = sweep_plan.build_plan(config, tasks.build(config.task), GPUS[compiled.OPTIONS[card]])
        hours = prediction.full_seconds(recorded, card, sweep) / 3600
        lines.append(f"  {card}: {hours:.2g} by this model, {_planned_hours(sweep):.2g} by the plan")
    return "\n".join(lines)


def _planned_hours(sweep: sweep_plan.SweepPlan) -> float:
    return sum(estimate.train_s for estimate in sweep.estimates) / 3600


def record(output: Path) -> int:
    """Counts again what the predictions are made from."""
    if not compiled.can_compile():
        print(f"{compiled.PLUGIN} is missing: `make gpu-compile` installs it, and says where", file=sys.stderr)
        return 1
    rows = []
    for row in _counted():
        print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        rows.append(row)
    output.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(output / RECORDED.name, index=False)
    return 0


def _counted() -> Iterator[dict]:
    """A row a program."""
    for card in CARDS:
        mesh = compiled.mesh_of(card)
        for width in WIDTHS:
            for slots in SLOTS:
                sweep = compiled.sweep_of(GPUS[compiled.OPTIONS[card]], width, slots)
                begun = time.perf_counter()
                text = compiled.compile_uncached(compiled.lower(sweep, mesh)).as_text()
                found = counts.step_counts(text)
                row = {"card": card, "width": width, "slots": slots, **vars(found)}
                yield row | {"compile_s": round(time.perf_counter() - begun, 1), "jax": jax.__version__}


def measure(output: Path) -> int:
    """On the GPU of this machine, beside the predictions for its card."""
    device = jax.devices()[0]
    if device.platform != "gpu":
        print("no GPU is used here: is jax installed with CUDA, and is there a driver?", file=sys.stderr)
        return 1
    card, rows = measured.card_here(device.device_kind), []
    for step in measured.measure():
        rows.append({"card": card or device.device_kind, **vars(step), **common.versions(("jax",))})
        print(f"width {step.width}, {step.slots} slots: {step.measured_ms:.3g} ms per step", flush=True)
    found = pd.DataFrame(rows)
    old = read(MEASURED)
    output.mkdir(parents=True, exist_ok=True)
    kept = old[old.card != (card or device.device_kind)]
    pd.concat([kept, found] if len(kept) else [found]).to_csv(output / MEASURED.name, index=False)
    for width, slots in measured.PROGRAMS[len(rows) :]:
        print(f"width {width}, {slots} slots: left out, the time is over")
    recorded = read(RECORDED)
    if card in set(recorded.card):
        print(in_words(recorded[recorded.card == card], found))
    else:
        print(f"{device.device_kind} has no prediction: {', '.join(dict.fromkeys(recorded.card))} have one")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_model", description=NOTE)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--record", action="store_true", help="compile again, and record kernels and bytes; needs no GPU")
    what.add_argument("--measure", action="store_true", help="measure on the GPU of this machine, in eight minutes")
    parser.add_argument("--output", type=Path, default=common.RESULTS, help="folder for the tables")
    return parser


if __name__ == "__main__":
    sys.exit(main())
