"""A plan as text for a terminal: numbers with units and intervals, and what they mean, within 98 columns."""

from collections.abc import Callable, Sequence

import numpy as np
from rich.console import RenderableType

from vsweep.analysis.approaches.parametric import Law
from vsweep.analysis.formatting import amount, blocks, columns, facts, nats, prose, scientific, share, times
from vsweep.analysis.planner.allocation import gamma
from vsweep.analysis.planner.results import AtFixedTokens, Estimate, FixedTokens, GpuTime, Plan, Reserve, Serving
from vsweep.analysis.planner.saved_law import Extrapolation, SavedLaw
from vsweep.analysis.uncertainty.intervals import resamples_needed
from vsweep.analysis.uncertainty.verdicts import DESCRIBES, NOT_SHOWN

SIZES = {"params": "all parameters", "params_non_embedding": "parameters without embeddings"}

Block = list[RenderableType]
Format = Callable[[float], str]


def render(
    plan: Plan, saved: SavedLaw, gpu: GpuTime | None, outside: list[Extrapolation], more: Sequence[Block] = ()
) -> str:
    """The whole plan as text, printable whatever the names in it.

    Args:
      saved: the law that was planned by.
      gpu: the GPU time that the compute was given as, if it was.
      outside: the runs that lie outside the fitted ones.
      more: blocks that follow the optimum.
    """
    unit = saved.loss_unit
    parts = [
        [_heading(plan, saved, gpu)],
        standing_text(saved),
        warnings_text(outside),
        _optimum(plan, saved),
        *more,
        _wrong_size(plan, unit),
        _smaller(plan),
        _serving(plan.serving, plan) if plan.serving else [],
        _fixed_tokens(plan.fixed_tokens, plan, unit) if plan.fixed_tokens else [],
        _reserves(plan, unit),
    ]
    return blocks([f"A plan by {saved.source}"], *(part for part in parts if part))


def law_text(law: Law, unit: str) -> str:
    """The law as a formula with its five constants and the unit of its loss; E is left out where it is 0."""
    floor = f"{law.E:.4g} + " if law.E else ""
    return f"L(N, D) = {floor}{law.A:.4g}/N^{law.alpha:.4g} + {law.B:.4g}/D^{law.beta:.4g} {unit}"


# Numbers with their intervals


def interval_text(estimate: Estimate, form: Format) -> str:
    """Such as `2.1..2.4`; empty where there is no interval."""
    return "" if estimate.low is None else f"{form(estimate.low)}..{form(estimate.high)}"


def _cell(estimate: Estimate, form: Format) -> str:
    """A value of a table, with its interval on a second line."""
    return "\n".join(filter(None, [form(estimate.value), interval_text(estimate, form)]))


def fact(label: str, estimate: Estimate, form: Format, unit: str) -> tuple[str, str]:
    """A row of `facts`: a value with its unit and its interval."""
    interval = interval_text(estimate, form)
    return label, f"{form(estimate.value)} {unit}" + (f"  ({interval})" if interval else "")


def as_asked(value: float) -> str:
    """A share as it was given on the command line, such as 25 %."""
    return share(value, digits=None)


def _served(value: float) -> str:
    """Tokens to serve before a smaller model pays; it may pay from the first one on."""
    return "at once" if value <= 0 else amount(value)


# Sections


def _heading(plan: Plan, saved: SavedLaw, gpu: GpuTime | None) -> RenderableType:
    rows = [
        ("law", law_text(plan.law, saved.loss_unit)),
        ("N and D", f"{SIZES.get(saved.size, saved.size)}; tokens trained on, repeats included"),
    ]
    if gpu:
        speed = f"{scientific(gpu.flops_per_s)} FLOP/s"
        hint = " (is that a peak? then give --mfu)" if gpu.mfu == 1 else ""
        rows.append(("GPU time", f"{gpu.hours:g} h x 3600 s/h x {gpu.gpus:g} GPU x {speed}"))
        rows.append(("", f"x {gpu.mfu:g} model FLOP utilisation = {scientific(gpu.flops)} FLOP{hint}"))
    rows.append(("compute", f"C = {scientific(plan.flops_total)} FLOP, counted as 6ND"))
    if plan.reserve:
        rows.append(("", f"{as_asked(plan.reserve)} kept back: below, C = {scientific(plan.flops)} FLOP"))
    if saved.flops == "flops_counted":
        rows.append(("", "(the study's other fits use counted FLOP; this plan is for C = 6ND)"))
    return facts([*rows, ("loss", loss_text(saved)), ("intervals", intervals_text(plan.resamples, plan.level))])


def loss_text(saved: SavedLaw) -> str:
    """Which loss it is, its unit, and the floor above which it is counted."""
    unit = saved.loss_unit
    if saved.floor_value:
        return f"{saved.loss}: {unit} above the known floor of {nats(saved.floor_value)} {unit}"
    return unit if saved.loss == "loss" else f"{saved.loss}, in {unit}"


def intervals_text(resamples: int, level: float) -> str:
    """What the intervals hold, or why there are none."""
    if not resamples:
        return "none: there are no resampled laws to take them from"
    needed = resamples_needed(level)
    if resamples < needed:
        return f"none: {resamples} resampled laws, and {as_asked(level)} needs {needed} or more"
    return f"low..high holds {as_asked(level)} of {resamples} resampled laws"


def standing_text(saved: SavedLaw) -> Block:
    """What speaks against the law; nothing where its runs show it, or where it was given by hand."""
    if saved.standing is None:
        note = "This file holds no verdict on its law. Run the analysis again to see whether the runs show it."
        return [prose(note)] if saved.from_file else []
    if saved.standing.verdict == DESCRIBES:
        return []
    title = "THE RUNS DO NOT SHOW THIS LAW" if saved.standing.verdict == NOT_SHOWN else "THIS LAW IS DOUBTFUL"
    return [title, *(prose(f"! {reason}") for reason in saved.standing.reasons)]


def warnings_text(outside: list[Extrapolation]) -> Block:
    """One paragraph a run that lies outside the fitted ones."""
    by_run: dict[str, list[str]] = {}
    for entry in outside:
        bound = f"{scientific(entry.bound)} FLOP" if entry.axis == "C" else amount(entry.bound)
        far = f"{entry.axis} {times(entry.factor)} x {'above' if entry.above else 'below'} {bound}"
        by_run.setdefault(entry.run, []).append(far)
    warnings = [prose(f"! {run} lies outside the fitted runs: {', '.join(far)}.") for run, far in by_run.items()]
    return ["EXTRAPOLATION", *warnings] if warnings else []


def _optimum(plan: Plan, saved: SavedLaw) -> Block:
    best, level, unit = plan.optimum, as_asked(plan.level), saved.loss_unit
    rows = [
        fact("N_opt", best.params, amount, "parameters"),
        fact("D_opt", best.tokens, amount, "tokens"),
        fact("D_opt / N_opt", best.tokens_per_param, amount, "tokens per parameter"),
        fact(saved.loss, best.loss, nats, unit),
    ]
    if best.single_run:
        low, high = map(nats, best.single_run)
        rows.append(("a single run", f"{low}..{high} {unit} in {level} of cases"))
    else:
        rows.append(("a single run", "not known: the scatter of runs around this law was not given"))
    if saved.floor_value:
        rows.append(("with its floor", f"{nats(best.loss.value + saved.floor_value)} {unit}"))
    if best.regret is not None:
        lost = f"at most {nats(best.regret)} {unit} lost in {level} of the resampled laws"
        rows.append(("if the law is off", lost))
    return [f"THE COMPUTE-OPTIMAL RUN FOR {scientific(plan.flops)} FLOP", facts(rows)]


def _wrong_size(plan: Plan, unit: str) -> Block:
    header = (
        *("other sizes at C", "N\nparameters", "D\ntokens", f"loss\n{unit}"),
        *(f"gives up\n{unit}", "wastes of C\nshare", "wastes\nFLOP"),
    )
    rows = [
        (
            f"{off.times:g} x N_opt",
            amount(off.params),
            amount(off.tokens),
            _cell(off.loss, nats),
            _cell(off.given_up, nats),
            _cell(off.wasted, share),
            scientific(off.wasted.value * plan.flops),
        )
        for off in plan.off_optimum
    ]
    note = "Wasted: a compute-optimal run with that much less compute has the same loss."
    return [columns(header, rows), prose(note)]


def _smaller(plan: Plan) -> Block:
    header = (
        *("size", "N\nparameters", "D needed\ntokens", "training\nx C"),
        *("extra training\nFLOP", "saved\nFLOP/token", "breaks even at\ntokens served"),
    )
    rows, notes = [], []
    for entry in plan.smaller:
        name = f"{entry.times:g} x smaller"
        rows.append(
            (
                name,
                amount(entry.params),
                _cell(entry.tokens, amount),
                _cell(entry.flops_times, times),
                _cell(entry.extra_flops, scientific),
                scientific(entry.saved_per_token),
                _cell(entry.break_even, _served),
            )
        )
        if np.isinf(entry.tokens.value):
            notes.append(f"{name} can never reach this loss: A/N^alpha alone is above it at that N.")
        elif entry.never:
            notes.append(f"{name} never reaches it in {share(entry.never)} of the resampled laws.")
    notes.append("Serving a token costs 2N FLOP. Training on a token costs 6N FLOP.")
    return ["SMALLER MODELS OF THE SAME LOSS, FOR SERVING", columns(header, rows), *map(prose, notes)]


def _serving(serving: Serving, plan: Plan) -> Block:
    rows = [
        fact("N", serving.params, amount, "parameters"),
        fact("D", serving.tokens, amount, "tokens"),
        fact("D / N", serving.tokens_per_param, amount, "tokens per parameter"),
        fact("training, 6ND", serving.training_flops, scientific, f"FLOP, where C = {scientific(plan.flops)} FLOP"),
        ("serving, 2N/token", f"{scientific(serving.serving_flops)} FLOP"),
        fact("both", serving.total_flops, scientific, "FLOP"),
        fact("saved", serving.saved, share, "of training and serving the optimum"),
    ]
    return [f"THE CHEAPEST SIZE OF THE SAME LOSS WITH {amount(serving.served)} TOKENS SERVED", facts(rows)]


def _fixed_tokens(fixed: FixedTokens, plan: Plan, unit: str) -> Block:
    header = (
        "N such that",
        "N\nparameters",
        "6ND\nFLOP",
        "D / N\ntokens/N",
        f"loss\n{unit}",
        f"2N gains\n{unit}",
    )
    sizes = {
        "6ND is all of C": fixed.largest,
        "D is D_opt": fixed.balanced,
        "2N gains one sd": fixed.last_visible,
    }
    rows = [_fixed_row(label, entry, fixed) for label, entry in sizes.items() if entry]
    floors = [
        fact("no size gets below", fixed.floor, nats, f"{unit} at this D"),
        fact("of which B/D^beta", fixed.of_data, nats, f"{unit} due to the limited data"),
    ]
    title = f"WITH {amount(fixed.tokens)} TOKENS"
    return [title, columns(header, rows), facts(floors), prose(_on_fixed_tokens(fixed, plan, unit))]


def _fixed_row(label: str, entry: AtFixedTokens, fixed: FixedTokens) -> tuple[str, ...]:
    return (
        label,
        _cell(entry.params, amount),
        _cell(entry.flops, scientific),
        amount(fixed.tokens / entry.params.value),
        _cell(entry.loss, nats),
        _cell(entry.doubling_gains, nats),
    )


def _on_fixed_tokens(fixed: FixedTokens, plan: Plan, unit: str) -> str:
    best, largest = plan.optimum, fixed.largest
    wanted = amount(best.tokens.value)
    loses = f"loses {nats(largest.loss.value - best.loss.value)} {unit}"
    if fixed.scarce:
        text = (
            f"Data is scarce: this C would use {wanted} tokens. The largest N uses all of C, and {loses} against a "
            "run with unlimited tokens."
        )
    else:
        text = (
            f"There is enough data: this C uses {wanted} tokens. Training on all of the data leaves "
            f"{amount(largest.params.value)} parameters and {loses} against the compute-optimal run."
        )
    if fixed.last_visible:
        text += " Beyond the last row, twice the size gains less than the scatter (one sd) of single runs."
    return text + " Repeated tokens are worth less than new ones; the law does not know that."


def _reserves(plan: Plan, unit: str) -> Block:
    header = (
        *("kept back\nof the whole C", "that is\nFLOP", f"loss\n{unit}", f"gives up\n{unit}"),
        *(f"run lost, then\n{unit}", "best at a chance\nof losing the run"),
    )
    rows = [
        (
            as_asked(entry.share),
            scientific(entry.flops_kept),
            _cell(entry.loss, nats),
            _cell(entry.given_up, nats),
            _cell(entry.loss_of_rerun, nats) if entry.loss_of_rerun else "nothing left",
            share(entry.best_at_chance),
        )
        for entry in plan.reserves
    ]
    return ["HOW MUCH TO KEEP BACK FOR A RE-RUN", columns(header, rows), *map(prose, _advice(plan, unit))]


def _advice(plan: Plan, unit: str) -> list[str]:
    whole = plan.reserves[0].loss.value

    def cost(entry: Reserve) -> str:
        lost = entry.given_up.value
        return f"{as_asked(entry.share)} costs {nats(lost)} {unit} ({share(lost / whole)})"

    costs = ", ".join(cost(entry) for entry in plan.reserves if entry.share)
    return [
        f"The loss is flat in compute, as C^-{gamma(plan.law):.2g} above E. Keeping back {costs}.",
        "Run lost, then: the loss of the compute-optimal run with what was kept. Best at a chance: if the run is lost "
        "at its end with that chance, this share gives the lowest expected loss.",
        "Keep back about as much as the chance of losing the run: 10 % for a recipe that has run before, and 25 % for "
        "a new one. That pays for a third of the run, such as from the last checkpoint. Keep back 50 % only where the "
        "same run must be possible twice.",
    ]
