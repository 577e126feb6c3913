"""A new design for a compute: searched, planned on this machine, and put into words with the lines of its config."""

import dataclasses
import functools
import textwrap
from collections.abc import Callable

import numpy as np

from vsweep import program
from vsweep.analysis.designer import assumption as assumptions
from vsweep.analysis.designer import picture, precision, search, text
from vsweep.analysis.designer.assumption import Assumption
from vsweep.analysis.designer.search import GRID, ISOFLOP, Candidate, Found, NoDesign, Request
from vsweep.analysis.formatting import amount, blocks, count, facts, percent, printable, prose, scientific
from vsweep.cli import design_shown
from vsweep.cli.designing import base as bases
from vsweep.cli.designing import config_file
from vsweep.cli.designing.base import Base, CountedTask
from vsweep.cli.designing.options import TOKENS_PER_PARAM, Options
from vsweep.config.problems import ConfigError, Problem
from vsweep.config.sweep_config import SweepConfig
from vsweep.host.progress import duration_text
from vsweep.plan import sweep_plan
from vsweep.plan.cost import piece_of, slots_that_fit
from vsweep.plan.grid import Stack, build_stacks, shapes
from vsweep.plan.sweep_plan import SweepPlan

RUNS_ABOUT = 50  # of a design: the compute of one run is about a fiftieth of all
CONVENTION = {"params": "6nd", "params_non_embedding": "6nd_non_embedding"}


@dataclasses.dataclass(frozen=True)
class Proposal:
    """A design with everything that is said about it."""

    base: Base
    options: Options
    assumption: Assumption
    found: Found
    stacks: tuple[Stack, ...]
    plan: SweepPlan | None  # on this machine, unless a model is too large for it

    @property
    def number(self) -> int:
        """Of runs."""
        return sum(len(stack.runs) for stack in self.stacks)

    @property
    def best(self) -> Candidate:
        return self.found.best

    @functools.cached_property
    def sweep(self) -> dict:
        """The section `sweep` of its config."""
        return section(self.best, self.assumption)


def propose(options: Options) -> Proposal:
    """The best design for the compute that was asked for.

    Raises:
      ConfigError: no such config or law, or no design that can be trained and tells anything.
    """
    base = bases.of_options(options)
    assumed = assumption_of(options, base)
    centre = float(assumed.law.params_opt(options.flops / RUNS_ABOUT))
    request = Request(
        flops=options.flops,
        sizes=base.sizes(options.flops, assumed.size),
        centre=centre,
        batch_tokens=base.batch_tokens,
        least_tokens=base.least_tokens,
        most_tokens=base.most_tokens,
        levels=options.levels,
        number_of_sizes=options.sizes,
        seeds=options.seeds,
        least_flops=options.min_flops,
        target_flops=options.target_flops,
        kind=options.kind or ISOFLOP,
    )
    found = search.search(request, assumed)
    if isinstance(found, NoDesign):
        raise ConfigError([Problem("--flops", found.reason, scientific(options.flops))])
    config = base.with_sweep(section(found.best, assumed), options.out.stem if options.out else "design")
    stacks = build_stacks(config, base.task)
    return Proposal(base, options, assumed, found, stacks, _plan_here(base, config))


def _plan_here(base: Base, config: SweepConfig) -> SweepPlan | None:
    task, hardware = base.task, base.hardware
    pieces = [(shape, piece_of(shape, task, config, hardware)) for shape in shapes(config)]
    fit = all(slots_that_fit(shape, task, hardware, piece=piece) for shape, piece in pieces)
    return sweep_plan.build_plan(config, task, hardware) if fit else None


def assumption_of(options: Options, base: Base) -> Assumption:
    """The law that was given, or Chinchilla's, moved to the compute of one run of about `RUNS_ABOUT`."""
    if options.assume:
        return given(options.assume, options)
    ratio = options.tokens_per_param or TOKENS_PER_PARAM
    params = float(np.sqrt(options.flops / RUNS_ABOUT / (6 * ratio)))
    spread = options.seed_spread or assumptions.SEED_SPREAD
    return assumptions.chinchilla(params, ratio * params, floor_known=base.task.floor is not None, sd_log=spread)


def given(law: str, options: Options) -> Assumption:
    """The law of `--assume`, or of a work directory. Raises ConfigError where there is none."""
    try:
        return assumptions.assume(law, options.loss_convention, options.seed_spread)
    except ValueError as error:  # BadLaw
        raise ConfigError([Problem("--assume", str(error))]) from None


def section(candidate: Candidate, assumed: Assumption) -> dict:
    """What a config's `sweep` has to hold."""
    seeds = tuple(range(candidate.choices.seeds))
    if candidate.choices.kind == GRID:
        return {"width": candidate.widths, "budget": tuple(map(int, candidate.levels)), "seed": seeds}
    convention = CONVENTION[assumed.size]
    named = {} if convention == "6nd" else {"flops_convention": convention}
    bounds = {"tokens_per_param_bounds": candidate.bounds} if candidate.bounds else {}
    return {"width": candidate.widths, "flops": candidate.levels, **named, **bounds, "seed": seeds}


def render(proposal: Proposal, width: int) -> str:
    """The design as a picture, what it would tell, what it costs, why each choice, and the lines of its config."""
    runs, assumed = (
        design_shown.runs_of(proposal.stacks, proposal.base.task, proposal.assumption.size),
        proposal.assumption,
    )
    found = precision.expected(runs, assumed)
    doubts = design_shown.doubts(proposal.stacks, proposal.base.task)
    drawn = picture.draw(runs, width, assumed.law)
    target = proposal.options.target_flops
    forecast = [prose(text.forecast_text(found, target))] if target and isinstance(found, precision.Precision) else []
    parts = [
        [f"A DESIGN FOR {scientific(proposal.options.flops)} FLOP", facts(_facts(proposal, runs.flops))],
        ["WHY", facts(_reasons(proposal)), prose(NOTE)],
    ]
    lines = [f"  {line}" for line in config_file.lines(proposal.sweep)]
    said = text.render(runs, assumed, found, doubts)
    return "\n".join(
        [*drawn, "", blocks(*parts), "", said, *([blocks(forecast)] if forecast else []), "", *_ending(proposal, lines)]
    )


NOTE = (
    "Each choice is the best of those tried at the same cost. Sizes far from the optimum are left out, although they "
    "would narrow the interval more: no law holds everywhere."
)


def _facts(proposal: Proposal, flops: float) -> list[tuple[str, str]]:
    base = proposal.base
    machine = f"{base.hardware.kind} x {base.hardware.devices}"
    counted, time = "", f"not known: the largest models do not fit into the memory of this {machine}"
    if proposal.plan:
        estimates = proposal.plan.estimates
        counted = f", {scientific(sum(cost.flops for cost in estimates))} counted"
        seconds = sum(cost.train_s + cost.compile_s for cost in estimates)
        time = f"about {duration_text(seconds)} on {machine} (a rough guess)"
    rows = [
        ("for", base.of),
        ("runs", f"{proposal.number} in {count(len(proposal.stacks), 'stack')}"),
        ("compute", f"{scientific(flops)} FLOP as 6ND{counted}"),
        ("time", time),
    ]
    epochs = max(run.steps for stack in proposal.stacks for run in stack.runs) * base.batch_tokens / base.epoch_tokens
    if epochs > 1:
        rows.append(("data", f"the longest run sees its examples {epochs:.2g} times; the law knows of no repeats"))
    return rows


def _reasons(proposal: Proposal) -> list[tuple[str, str]]:
    """Each choice, and in one line why: the lowest interval with each other value that was tried."""
    found, choices, options = proposal.found, proposal.best.choices, proposal.options
    aim, score = ("a", text.digits) if options.target_flops is None else ("loss", percent)

    def tried(name: str) -> str:
        return f"{aim} with " + "; ".join(f"{value:g}: {score(at)}" for value, at in found.otherwise(name).items())

    whole = "two show the scatter between seeds" if options.seeds is None else "as asked"
    levels, params = proposal.best.levels, proposal.best.runs.sizes
    where = "each level has" if choices.kind == ISOFLOP else "the middle budget has"
    reach = "all" if np.isinf(choices.reach) else f"x {choices.reach:g}"
    farther = "sizes farther from a level's optimum have no run there; "
    kept = [(f"kept      {reach}", farther + tried("reach"))] if choices.kind == ISOFLOP else []
    return [
        (f"kind      {choices.kind}", _why_kind(proposal, aim, score)),
        (f"levels    {choices.levels}", "as asked" if options.levels else tried("levels")),
        (f"sizes     {choices.sizes}", "as asked" if options.sizes else tried("sizes")),
        (f"seeds     {choices.seeds}", whole),
        (f"span      x {levels[-1] / levels[0]:.3g}", tried("span") if choices.span else "from --min-flops"),
        *kept,
        (
            f"widths    {choices.smallest} to {choices.largest}",
            f"N {amount(params[0])} to {amount(params[-1])}: {where} its optimum between them",
        ),
    ]


def _why_kind(proposal: Proposal, aim: str, score: Callable[[float], str]) -> str:
    why = {ISOFLOP: "the valley of each level shows its optimum", GRID: "every size at every budget"}
    kind = proposal.best.choices.kind
    others = [
        f"the best {other}: {score(at)}" for other, at in proposal.found.otherwise("kind").items() if other != kind
    ]
    return "; ".join([why[kind], f"{aim} {score(proposal.best.score)}", *others])


def _ending(proposal: Proposal, lines: list[str]) -> list[str]:
    if proposal.options.out:
        return [
            f"written  {proposal.options.out}; to train it: {program.command('train')} --config={proposal.options.out}"
        ]
    config = " with your task" if isinstance(proposal.base.task, CountedTask) else ""
    return [f"CONFIG (put these lines into a config file{config}, or give --out FILE.py)", *lines]


def about(proposal: Proposal) -> str:
    """The docstring of a config file."""
    kind = {ISOFLOP: "an IsoFLOP design", GRID: "a grid"}[proposal.best.choices.kind]
    width = text.digits(proposal.best.precision.a)
    expected = f"Expected: {width} as the width of a's 90 % interval, if {proposal.assumption.about}."
    first = f"{proposal.number} runs for {scientific(proposal.options.flops)} FLOP, {kind} by vsweep design."
    return f"{first}\n\n{textwrap.fill(printable(expected), 100)}"
