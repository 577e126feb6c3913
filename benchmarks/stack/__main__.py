"""Training many small models: vsweep's stack and what a user would run instead, side by side in one run.

    pip install -r requirements.txt -r benchmarks/requirements.txt     (or: make bench)
    python -m benchmarks.stack                50 minutes on two cores; writes docs/benchmarks/stack.*
    python -m benchmarks.stack --device gpu   8 minutes on one GPU; writes docs/benchmarks/stack_gpu.*
    python -m benchmarks.stack --quick        one width, a few minutes; writes nothing
    python -m benchmarks.stack --contestants vsweep,torch --stack-sizes 8 --output DIR
                                              these two alone, some 10 minutes; writes DIR/stack.*

Everybody trains the same models (4 layers, head dim 4, tied embeddings, float32) on the same batches of 3-digit
addition with the same optimizer, clip and dropout. Contestants:

  vsweep         stacks of 1 to 30 models, as the trainer drives them
  jax            a plain JAX loop, one model after the other
  torch          PyTorch as a nanoGPT user writes it, one model after the other; on all cores
  torch-compile  the same with torch.compile
  torch-func     an ensemble by torch.func: stack_module_state, vmap of grad, one AdamW over the stack
  turbanet       turbanet's swarm of Flax models
  processes      the plain JAX loop in several processes at once, one a core, or all on the one GPU
  products       no contestant: the matmuls of the forward pass alone, times three
  peak, ...      no contestants: large matmuls, for the best rate of the machine

First, with dropout off, all of them train the same models for 20 steps, and their losses are compared. Then width after
width: everybody compiles, and all are timed in turns. A contestant that is not installed is named and left out.

Exit code 1 if losses disagree, or if a contestant fails.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from benchmarks import common
from benchmarks.stack import figure, goals
from benchmarks.stack.contestants import LANES
from benchmarks.stack.run import AGREE_STEPS, CPU, GPU, Agreement, Run, Settings, run
from benchmarks.stack.table import measured_peaks, table_of
from vsweep.host import devices

QUICK = {"widths": (16,), "stack_sizes": (1, 8), "rounds": 3, "target_s": 0.2}
SHOWN = ["width", "contestant", "ms_model_step", "run_tokens_s", "vsweep_ratio", "floor_ratio", "compile_s", "note"]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    found = run(settings_of(options))
    if found.settings.platform == "gpu" and found.device.lower() == "cpu":
        print("no GPU was used: is jax installed with CUDA?", file=sys.stderr)
        return 1
    table = table_of(found)
    print(in_words(found, table))
    if not options.quick:
        write(found, table, options.output)
    for failure in [*complaints(found), *found.failures]:
        print(failure, file=sys.stderr)
    return 1 if complaints(found) or found.failures else 0


def in_words(found: Run, table: pd.DataFrame) -> str:
    """What a reader of the terminal wants to know."""
    shown = table[SHOWN].to_string(index=False, na_rep="", float_format=lambda value: f"{value:.4g}")
    lines = [
        shown,
        "",
        *(
            f"{precision}: {peak / 1e9:,.0f} GFLOP/s by large matmuls"
            for precision, peak in measured_peaks(found.measured).items()
        ),
    ]
    lines += [f"left out - {label}: {why}" for label, why in found.absent.items()]
    if found.unmeasured_widths:
        lines.append(f"left out for want of time - widths {', '.join(map(str, found.unmeasured_widths))}")
    if found.agreement is not None:
        worst = max(found.agreement.differences.values())
        lines.append(
            f"losses after {AGREE_STEPS} steps at width {found.agreement.width} agree within {worst:.2g} of them"
        )
    lines += [str(goal) for goal in _goals(found, table)]
    hours = goals.full_hours(table)
    if hours is not None:
        lines.append(f"the `full` addition study would train for {hours:.2f} hours here, by interpolation over widths")
    lines.append(f"the run took {found.minutes:.1f} minutes")
    return "\n".join(lines)


def complaints(found: Run) -> list[str]:
    return found.agreement.complaints if found.agreement is not None else []


def write(found: Run, table: pd.DataFrame, folder: Path) -> None:
    settings = found.settings
    name = "stack" if settings.platform == "cpu" else "stack_gpu"
    measured = common.machine(found.device, settings.cores)
    agreement = found.agreement
    details = {
        "minutes": round(found.minutes, 2),
        "reference": settings.reference,
        "rounds": settings.rounds,
        "seconds_a_round": settings.target_s,
        "problem": {
            name: getattr(settings.problem, name) for name in ("layers", "head_dim", "digits", "batch_size", "dropout")
        },
        "peak_flops": measured_peaks(found.measured),
        "losses": None if agreement is None else _losses(agreement),
        "differences": None if agreement is None else agreement.differences,
        "goals": [dataclasses.asdict(goal) for goal in _goals(found, table)],
        "full_hours": goals.full_hours(table),
        "absent": found.absent,
        "unmeasured_widths": found.unmeasured_widths,
    }
    drawn = figure.figure_of(table, settings.reference, common.in_words(measured), name)
    common.write(name, table, {**measured, **details}, drawn, folder)


def _losses(agreement: Agreement) -> dict:
    learned = {label: dataclasses.asdict(losses) for label, losses in agreement.learned.items()}
    return {"width": agreement.width, "steps": AGREE_STEPS, **learned}


def _goals(found: Run, table: pd.DataFrame) -> list[goals.Goal]:
    return goals.goals(table, found.settings.platform, found.settings.reference, found.device)


def settings_of(options: argparse.Namespace) -> Settings:
    settings = replace(CPU if options.device == "cpu" else GPU, cores=devices.usable_cores())
    if options.quick:
        settings = replace(settings, **QUICK)
    given = {
        "widths": options.widths,
        "kinds": options.contestants,
        "stack_sizes": options.stack_sizes,
        "rounds": options.rounds,
        "target_s": options.seconds,
        "minutes": options.minutes,
    }
    settings = replace(settings, **{name: value for name, value in given.items() if value is not None})
    if options.stack_sizes:
        settings = replace(settings, stack_widths=settings.widths)
    return settings


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.stack", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--widths", type=_integers, help="such as 16,64")
    parser.add_argument("--contestants", type=_kinds, help=f"some of {','.join(LANES)}")
    parser.add_argument("--stack-sizes", type=_integers, help="models in vsweep's stack at every width, such as 1,8")
    parser.add_argument("--rounds", type=int, help="measurements of each contestant and width")
    parser.add_argument("--seconds", type=float, help="of one measurement")
    parser.add_argument("--minutes", type=float, help="after which no further width begins")
    parser.add_argument("--quick", action="store_true", help="one width, short rounds; writes nothing")
    parser.add_argument("--output", type=Path, default=common.RESULTS, help="folder of the results")
    return parser.parse_args(arguments)


def _integers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(part) for part in text.split(","))
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"numbers from 1 - got {text}")
    return numbers


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(text.split(","))
    unknown = [kind for kind in kinds if kind not in LANES]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; allowed: {', '.join(LANES)}")
    return kinds


if __name__ == "__main__":
    sys.exit(main())
