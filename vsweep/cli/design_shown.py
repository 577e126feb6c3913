"""What `--plan` shows of a design beside its cost: a picture of its (N, D), and how well it would tell exponents apart.

The runs are taken as they are planned, whatever made them.
"""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from vsweep.analysis.designer import assumption as assumptions
from vsweep.analysis.designer import picture, precision, text
from vsweep.analysis.designer.assumption import Assumption
from vsweep.analysis.designer.runs import Runs
from vsweep.models import accounting
from vsweep.plan.grid import Stack
from vsweep.plan.shape import model_shape
from vsweep.plan.sweep_plan import SweepPlan
from vsweep.tasks.base import Task

NOT_SMOOTH = {  # task -> why its loss follows no smooth law
    "addition": "Addition is known to follow no smooth law: larger models fall off a plateau (docs/pilot.md).",
    "modular_arithmetic": "Modular arithmetic is known to follow no smooth law: it is learned late and all at once.",
}


def show(sweep: SweepPlan, console: Console, assume: str | None = None, seed_spread: float | None = None) -> None:
    """Prints the picture and the precision of a plan."""
    runs, assumed = of_plan(sweep, assume, seed_spread)
    lines = picture.draw(runs, console.width, assumed.law)
    said = text.render(runs, assumed, precision.expected(runs, assumed), doubts(sweep.stacks, sweep.task))
    console.print("\n".join(["", *lines, "", said]), highlight=False, markup=False, soft_wrap=True)


def doubts(stacks: Sequence[Stack], task: Task) -> tuple[str, ...]:
    """Why the runs may not follow one smooth law of N and D."""
    found = [NOT_SMOOTH[task.name]] if task.name in NOT_SMOOTH else []
    seeds = ("seed", "init_seed", "data_seed", "dropout_seed")
    runs = [
        (model_shape(stack.shape, task), run.steps, stack.shape.batch_size, run)
        for stack in stacks
        for run in stack.runs
    ]
    alike = {(*rest, *(getattr(run, seed) for seed in seeds)) for *rest, run in runs}
    if len(alike) < len(runs):
        found.append("Some runs differ in more than size, tokens and seed. They are counted as if they had one loss.")
    return tuple(found)


def draw(sweep: SweepPlan, file: Path, assume: str | None = None, seed_spread: float | None = None) -> None:
    """Writes the design as a figure to `file`, FILE.png or FILE.svg."""
    from vsweep.analysis import plotting
    from vsweep.analysis.designer import figure  # matplotlib is slow to load

    runs, assumed = of_plan(sweep, assume, seed_spread)
    title = f"{sweep.config.name}: {sweep.runs} runs"
    plotting.save_as(figure.drawing(runs, title, assumed.law, assumed.size), file)


def of_plan(sweep: SweepPlan, assume: str | None, seed_spread: float | None) -> tuple[Runs, Assumption]:
    """The design of a plan and what it is judged by. `assume` leads to a law: `train.law_problems` has looked."""
    floor_known = sweep.task.floor is not None
    if assume is None:
        runs = runs_of(sweep.stacks, sweep.task, "params")
        spread = assumptions.SEED_SPREAD if seed_spread is None else seed_spread
        return runs, assumptions.chinchilla(*runs.centre, floor_known=floor_known, sd_log=spread)
    assumed = assumptions.assume(assume, sd_log=seed_spread)
    return runs_of(sweep.stacks, sweep.task, assumed.size), assumed


def runs_of(stacks: Sequence[Stack], task: Task, size: str) -> Runs:
    """N by the convention `size`, exact D = steps x batch x label tokens of an example, of every planned run."""
    count = {"params": accounting.params, "params_non_embedding": accounting.params_non_embedding}[size]
    params, tokens, seeds = [], [], set()
    for stack in stacks:
        of_step = stack.shape.batch_size * task.mean_label_tokens
        params += [count(model_shape(stack.shape, task))] * len(stack.runs)
        tokens += [run.steps * of_step for run in stack.runs]
        seeds |= {run.seed for run in stack.runs}
    return Runs.of(params, tokens, len(seeds))
