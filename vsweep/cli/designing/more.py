"""Runs to add to a sweep that was trained: chosen greedily, put into words, a CSV and a config."""

import collections
import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd

from vsweep import program, schema, tables, tasks
from vsweep.analysis.designer import additions, picture, precision, text
from vsweep.analysis.designer import assumption as assumptions
from vsweep.analysis.designer.additions import Added, Cell
from vsweep.analysis.designer.assumption import Assumption
from vsweep.analysis.designer.runs import Runs
from vsweep.analysis.designer.search import FARTHEST, Size
from vsweep.analysis.formatting import amount, blocks, columns, count, facts, prose, scientific
from vsweep.cli import design_shown
from vsweep.cli.designing import base as bases
from vsweep.cli.designing.base import Base
from vsweep.cli.designing.new import given
from vsweep.cli.designing.options import Options
from vsweep.config import sweep_config
from vsweep.config.problems import ConfigError, Problem

VARIED = ("width", "budget", "seed", "flops", "tokens_per_param", "tokens_per_param_bounds", "flops_convention")
MOST_BUDGETS = 6  # of the existing ones; an IsoFLOP design has one for each run
STEPS_BEYOND = 2  # sizes and budgets beyond the largest, and one below the smallest


@dataclasses.dataclass(frozen=True)
class More:
    """The runs to add to a work directory."""

    base: Base
    options: Options
    assumption: Assumption
    before: Runs
    added: Added
    rows: tuple[dict, ...]  # width, budget and seed of each run
    left_out: int  # runs of the directory that have not finished
    taken_out: int  # finished ones that an extension took out of the config: their other fields may differ


def propose(options: Options) -> More:
    """What to add for the compute that was asked for.

    Raises:
      ConfigError: no work directory, one that varies more than sizes, budgets and seeds, or nothing that can be added.
    """
    base, runs = _read(options.workdir)
    ended, in_config = runs[runs["status"] == schema.FINISHED], _in_config(runs)
    finished, seeds = _in_config(ended), in_config["seed"].nunique()
    if not len(finished):
        raise ConfigError([Problem("WORKDIR", "no finished runs", repr(str(options.workdir)), "a sweep with results")])
    assumed, before = _assumption(options, base, finished, seeds)
    cells = _cells(base, finished, assumed)
    added = additions.add(before, cells, options.flops, assumed)
    if not added.cells:
        cheapest = scientific(min(cell.flops for cell in cells)) if cells else "none"
        problem = Problem("--flops", "no run can be added", scientific(options.flops), f"from {cheapest}, one run")
        raise ConfigError([problem])
    first = int(runs["seed"].max()) + 1
    left_out, taken_out = len(runs) - len(ended), len(ended) - len(finished)
    return More(base, options, assumed, before, added, _rows(added, first), left_out, taken_out)


def _in_config(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that an extension has not taken out of the config."""
    return runs[runs["in_config"] == 1] if "in_config" in runs else runs


def _read(workdir: Path) -> tuple[Base, pd.DataFrame]:
    """(the config without its sweep, runs.csv) of a work directory."""
    try:
        values = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
        runs = tables.read_runs(workdir)
        swept = values.get("sweep", {})
    except (OSError, ValueError, AttributeError) as error:
        allowed = "a work directory of vsweep, with config.json and runs.csv"
        raise ConfigError([Problem("WORKDIR", str(error), repr(str(workdir)), allowed)]) from None
    if others := [name for name in _varied(swept) if name not in VARIED]:
        allowed = "a sweep of widths, budgets and seeds: other values may need other runs"
        raise ConfigError([Problem("WORKDIR", "varies more than that", ", ".join(others), allowed)])
    config = sweep_config.from_dict({**values, "sweep": {}})
    return Base(config, tasks.build(config.task), bases.hardware(config), str(workdir)), runs


def _varied(swept: dict) -> list[str]:
    """The fields that a sweep varies: its axes, and the columns of explicit runs."""
    rows = swept.get("runs_csv") or [{}]
    return [*(name for name in swept if name != "runs_csv"), *rows[0]]


def _assumption(options: Options, base: Base, finished: pd.DataFrame, seeds: int) -> tuple[Assumption, Runs]:
    """The law of the directory's own fits.json, if it has one, unless another is given."""
    own = options.workdir / "analysis" / "fits.json"
    if options.assume or own.is_file():
        assumed = given(options.assume or str(own), options)
        return assumed, Runs.of(finished[assumed.size], finished["tokens"], seeds)
    if options.loss_convention:
        problem = Problem("--loss-convention", "nothing reads it", allowed=f"with --assume FITS.json, or {own}")
        raise ConfigError([problem])
    before = Runs.of(finished["params"], finished["tokens"], seeds)
    spread = options.seed_spread or assumptions.SEED_SPREAD
    known = base.task.floor is not None
    return assumptions.chinchilla(*before.centre, floor_known=known, sd_log=spread), before


def _cells(base: Base, finished: pd.DataFrame, assumed: Assumption) -> list[Cell]:
    """Runs that could be added: existing and further sizes at existing and further budgets, near the optimum."""
    head_dim = base.config.model.head_dim
    widths = {max(head_dim, round(w / head_dim) * head_dim) for w in _more(sorted(finished["width"].unique()))}
    sizes = [Size(w, float(bases.COUNTS[assumed.size](base.model(w)))) for w in sorted(widths)]
    cells = []
    for size, budget in itertools.product(sizes, _more(_budgets(finished))):
        tokens = round(budget / base.batch_tokens) * base.batch_tokens
        cell = Cell(size, round(tokens), tokens)
        far = assumed.law.params_opt(max(cell.flops, 1.0)) / size.params
        if base.least_tokens <= tokens <= base.most_tokens and 1 / FARTHEST <= far <= FARTHEST:
            cells.append(cell)
    return list(dict.fromkeys(cells))


def _budgets(finished: pd.DataFrame) -> list[float]:
    budgets = np.unique(finished["budget"].to_numpy(float))
    if len(budgets) <= MOST_BUDGETS:
        return budgets.tolist()
    return np.geomspace(budgets[0], budgets[-1], MOST_BUDGETS).tolist()


def _more(values: list[float]) -> list[float]:
    """The values and some beyond, by the step that is usual among them."""
    step = (values[-1] / values[0]) ** (1 / (len(values) - 1)) if len(values) > 1 else 2.0
    return [values[0] / step, *values, *(values[-1] * step**power for power in range(1, STEPS_BEYOND + 1))]


def _rows(added: Added, first_seed: int) -> tuple[dict, ...]:
    """Each run with a seed that no run of its cell has: those of the sweep are below `first_seed`."""
    used: collections.Counter = collections.Counter()
    rows = []
    for cell in added.cells:
        at = cell.size.width, cell.budget
        rows.append({"width": at[0], "budget": at[1], "seed": first_seed + used[at]})
        used[at] += 1
    return tuple(sorted(rows, key=lambda row: (row["width"], row["budget"], row["seed"])))


def render(more: More, width: int) -> str:
    """The picture of all runs, those to add, the interval before and after, and how to train them."""
    before = precision.expected(more.before, more.assumption)
    doubts = design_shown.doubts((), more.base.task)
    said = [prose(text.sentence(more.before, more.assumption, before))]
    said += [prose(f"! {doubt}") for doubt in (*more.assumption.doubts, *doubts)]
    rows = [
        ("finished runs", str(more.before.number), scientific(more.before.flops), *text.widths(before)),
        (
            "with these",
            str(more.added.runs.number),
            scientific(more.added.runs.flops),
            *text.widths(more.added.precision),
        ),
    ]
    header = ("", "runs", "6ND of all\nFLOP", "width of\na", "width of\nalpha", "width of\nbeta")
    why = ((more.left_out, "that have not finished"), (more.taken_out, "that are no longer in the sweep's config"))
    notes = [("left out", f"{count(number, 'run')} {what}") for number, what in why if number]
    title = f"{count(len(more.added.cells), 'RUN')} TO ADD TO {more.options.workdir}".replace("RUNs", "RUNS")
    parts = [
        [title, facts([("compute", f"{scientific(more.added.flops)} FLOP as 6ND"), *notes]), _table(more)],
        ["WHAT THEY WOULD TELL", *said, columns(header, rows)],
    ]
    drawn = picture.draw(more.added.runs, width, more.assumption.law)
    return "\n".join([*drawn, "", blocks(*parts), "", *_ending(more)])


def _table(more: More):
    counts = collections.Counter((cell.size, cell.budget) for cell in more.added.cells)
    seeds = collections.defaultdict(list)
    for row in more.rows:
        seeds[row["width"], row["budget"]].append(row["seed"])
    rows = [
        (
            str(size.width),
            amount(size.params),
            amount(budget),
            str(number),
            ", ".join(map(str, seeds[size.width, budget])),
        )
        for (size, budget), number in sorted(counts.items(), key=lambda each: (each[0][0].width, each[0][1]))
    ]
    return columns(("width", "N", "budget\ntokens", "runs", "seeds"), rows)


def _ending(more: More) -> list[str]:
    workdir, out = more.options.workdir, more.options.out
    if out:
        command = f"{program.command('train')} --config={out}"
        together = f"{program.command('analyse')} {workdir} runs/{out.stem} --out analysis/{out.stem}"
        return [f"written  {out}, {out.with_suffix('.csv')}", f"to train them: {command}", f"all together: {together}"]
    said = "RUNS (as CSV for config.sweep.runs_csv; --out FILE.py writes it with its config)"
    return [said, *(f"  {line}" for line in csv_text(more).splitlines())]


def csv_text(more: More) -> str:
    """The runs as `config.sweep.runs_csv` reads them."""
    return tables.as_csv(more.rows, ("width", "budget", "seed"))


def about(more: More) -> str:
    """The first line of a config file."""
    return f"{len(more.rows)} runs to add to {more.options.workdir}, by vsweep design."
