"""A plan as text for a terminal: numbers with units and intervals, and what they mean, within 98 columns."""

import textwrap
from collections.abc import Callable

import numpy as np

from vsweep.analysis.approaches.parametric import Law
from vsweep.analysis.formatting import metric
from vsweep.analysis.planner.allocation import gamma, resamples_needed
from vsweep.analysis.planner.results import AtFixedTokens, Estimate, FixedTokens, GpuTime, Plan, Reserve, Serving
from vsweep.analysis.planner.saved_law import Extrapolation, Fitted

WIDTH = 98
LABEL = 22
SIZES = {"params": "all parameters", "params_non_embedding": "parameters without embeddings"}

Cell = tuple[str, str]  # a value and its interval, which stands below it


def render(plan: Plan, fitted: Fitted, gpu: GpuTime | None, outside: list[Extrapolation]) -> str:
    """The whole plan; `outside` are the runs that lie outside the fitted ones."""
    sections = [
        _heading(plan, fitted, gpu),
        _warnings(outside),
        _optimum(plan, fitted),
        _wrong_size(plan),
        _smaller(plan),
        _serving(plan.serving, plan) if plan.serving else [],
        _fixed_tokens(plan.fixed_tokens, plan) if plan.fixed_tokens else [],
        _reserves(plan),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def count(value: float) -> str:
    """A number of parameters or tokens, such as 1.25M; inf is an amount that is never enough."""
    return flop(value) if value >= 1e16 else metric(value)


def flop(value: float) -> str:
    """Such as 1.30e19."""
    if np.isinf(value):
        return "never"
    return f"{value:.3g}" if abs(value) < 1e4 else f"{value:.2e}".replace("e+", "e")


def nats(value: float) -> str:
    return f"{value:.4f}" if 0.01 <= abs(value) < 1e4 or value == 0 else f"{value:.2g}"


def share(value: float) -> str:
    return f"{100 * value:.1f} %"


def echo(value: float) -> str:
    """A share as it was asked for, such as 25 %."""
    return f"{100 * value:g} %"


def times(value: float) -> str:
    return "never" if np.isinf(value) else metric(value)


def _served(value: float) -> str:
    return "at once" if value <= 0 else count(value)


def _interval(estimate: Estimate, form: Callable[[float], str]) -> str:
    return "" if estimate.low is None else f"{form(estimate.low)}..{form(estimate.high)}"


def _cell(estimate: Estimate, form: Callable[[float], str]) -> Cell:
    return form(estimate.value), _interval(estimate, form)


def _line(label: str, text: str) -> str:
    return f"  {label:<{LABEL}}{text}"


def _entry(label: str, estimate: Estimate, form: Callable[[float], str], unit: str) -> str:
    interval = _interval(estimate, form)
    return _line(label, f"{form(estimate.value)} {unit}".rstrip() + (f"  ({interval})" if interval else ""))


def _prose(text: str) -> list[str]:
    # A non-breaking space, for as long as it is wrapped, keeps each % beside its number.
    lines = textwrap.wrap(text.replace(" %", "\xa0%"), WIDTH, initial_indent="  ", subsequent_indent="  ")
    return [line.replace("\xa0", " ") for line in lines]


def _table(header: list[Cell], rows: list[list[Cell]]) -> list[str]:
    """Columns to the right, the first to the left; each header has its unit below it, each value its interval."""
    everything = [header, *rows]
    widths = [max(len(part) for cell in column for part in cell) for column in zip(*everything, strict=True)]
    lines = []
    for row in everything:
        for half in range(2):
            cells = [cell[half] for cell in row]
            first, *others = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
            line = "  ".join([f"{first.strip():<{widths[0]}}", *others])
            lines += [f"  {line}".rstrip()] if any(cells) else []
    return lines


def _heading(plan: Plan, fitted: Fitted, gpu: GpuTime | None) -> list[str]:
    lines = [f"A plan by {fitted.source}", ""]
    lines.append(_line("law", law_text(plan.law)))
    lines.append(_line("N and D", f"{SIZES.get(fitted.size, fitted.size)}; tokens trained on, repeats among them"))
    if gpu:
        lines.append(
            _line("GPU time", f"{gpu.hours:g} h x 3600 s/h x {gpu.gpus:g} GPU x {flop(gpu.flops_per_s)} FLOP/s")
        )
        hint = " (is that a peak? then give --mfu)" if gpu.mfu == 1 else ""
        lines.append(_line("", f"x {gpu.mfu:g} model FLOP utilisation = {flop(gpu.flops)} FLOP{hint}"))
    lines.append(_line("compute", f"C = {flop(plan.flops_total)} FLOP, counted as 6ND"))
    if plan.reserve:
        lines.append(_line("", f"{echo(plan.reserve)} kept back: below, C = {flop(plan.flops)} FLOP"))
    if fitted.flops == "flops_counted":
        lines.append(_line("", "(the study's other fits use counted FLOP; this plan is for C = 6ND)"))
    lines.append(_line("loss", _loss_text(fitted)))
    lines.append(_line("intervals", _intervals_text(plan)))
    return lines


def law_text(law: Law) -> str:
    floor = f"{law.E:.4g} + " if law.E else ""
    return f"L(N, D) = {floor}{law.A:.4g}/N^{law.alpha:.4g} + {law.B:.4g}/D^{law.beta:.4g} nats/token"


def _loss_text(fitted: Fitted) -> str:
    if fitted.floor_value:
        return f"{fitted.loss}: nats/token above the known floor of {nats(fitted.floor_value)} nats/token"
    return "nats/token" if fitted.loss == "loss" else f"{fitted.loss}, in nats/token"


def _intervals_text(plan: Plan) -> str:
    needed = resamples_needed(plan.level)
    if not plan.resamples:
        return "none: there are no resampled laws to take them from"
    if plan.resamples < needed:
        return f"none: {plan.resamples} resampled laws, and {echo(plan.level)} needs {needed} or more"
    return f"low..high holds {echo(plan.level)} of {plan.resamples} resampled laws"


def _warnings(outside: list[Extrapolation]) -> list[str]:
    """One line a run."""
    lines = []
    for run in dict.fromkeys(entry.run for entry in outside):
        parts = [
            f"{entry.axis} {times(entry.factor)} x {'above' if entry.above else 'below'} {_bound(entry)}"
            for entry in outside
            if entry.run == run
        ]
        lines += _prose(f"! {run} lies outside the fitted runs: {', '.join(parts)}.")
    return ["EXTRAPOLATION", *lines] if lines else []


def _bound(entry: Extrapolation) -> str:
    return f"{flop(entry.bound)} FLOP" if entry.axis == "C" else count(entry.bound)


def _optimum(plan: Plan, fitted: Fitted) -> list[str]:
    best = plan.optimum
    lines = [
        f"THE COMPUTE-OPTIMAL RUN FOR {flop(plan.flops)} FLOP",
        _entry("N_opt", best.params, count, "parameters"),
        _entry("D_opt", best.tokens, count, "tokens"),
        _entry("D_opt / N_opt", best.tokens_per_param, count, "tokens a parameter"),
        _entry(fitted.loss, best.loss, nats, "nats/token"),
    ]
    if best.single_run:
        low, high = best.single_run
        lines.append(_line("a single run", f"{nats(low)}..{nats(high)} nats/token in {echo(plan.level)} of cases"))
    else:
        lines.append(_line("a single run", "not known: the scatter of runs around this law was not given"))
    if fitted.floor_value:
        total = nats(best.loss.value + fitted.floor_value)
        lines.append(_line("with its floor", f"{total} nats/token"))
    if best.regret is not None:
        text = f"at most {nats(best.regret)} nats/token lost in {echo(plan.level)} of the resampled laws"
        lines.append(_line("if the law is off", text))
    return lines


def _wrong_size(plan: Plan) -> list[str]:
    header = [
        ("other sizes at C", ""),
        ("N", "parameters"),
        ("D", "tokens"),
        ("loss", "nats/token"),
        ("gives up", "nats/token"),
        ("wastes of C", "share"),
        ("wastes", "FLOP"),
    ]
    rows = [
        [
            (f"{off.times:g} x N_opt", ""),
            (count(off.params), ""),
            (count(off.tokens), ""),
            _cell(off.loss, nats),
            _cell(off.given_up, nats),
            _cell(off.wasted, share),
            (flop(off.wasted.value * plan.flops), ""),
        ]
        for off in plan.off_optimum
    ]
    note = "Wasted: a compute-optimal run with that much less compute has the same loss."
    return [*_table(header, rows), *_prose(note)]


def _smaller(plan: Plan) -> list[str]:
    header = [
        ("size", ""),
        ("N", "parameters"),
        ("D needed", "tokens"),
        ("training", "x C"),
        ("extra training", "FLOP"),
        ("saved", "FLOP/token"),
        ("breaks even at", "tokens served"),
    ]
    rows = [
        [
            (f"{entry.times:g} x smaller", ""),
            (count(entry.params), ""),
            _cell(entry.tokens, count),
            _cell(entry.flops_times, times),
            _cell(entry.extra_flops, flop),
            (flop(entry.saved_per_token), ""),
            _cell(entry.break_even, _served),
        ]
        for entry in plan.smaller
    ]
    lines = ["SMALLER MODELS OF THE SAME LOSS, FOR SERVING", *_table(header, rows)]
    for entry in plan.smaller:
        if np.isinf(entry.tokens.value):
            text = f"{entry.times:g} x smaller can never reach this loss: A/N^alpha alone is above it at that N."
            lines += _prose(text)
        elif entry.never:
            lines += _prose(
                f"{entry.times:g} x smaller never reaches it in {share(entry.never)} of the resampled laws."
            )
    return [*lines, *_prose("Serving a token costs 2N FLOP; a token of training costs 6N.")]


def _serving(serving: Serving, plan: Plan) -> list[str]:
    return [
        f"THE CHEAPEST SIZE OF THE SAME LOSS WITH {count(serving.served)} TOKENS SERVED",
        _entry("N", serving.params, count, "parameters"),
        _entry("D", serving.tokens, count, "tokens"),
        _entry("D / N", serving.tokens_per_param, count, "tokens a parameter"),
        _entry("training, 6ND", serving.training_flops, flop, f"FLOP, where C = {flop(plan.flops)} FLOP"),
        _line("serving, 2N a token", f"{flop(serving.serving_flops)} FLOP"),
        _entry("both", serving.total_flops, flop, "FLOP"),
        _entry("saved", serving.saved, share, "of training and serving the optimum"),
    ]


def _fixed_tokens(fixed: FixedTokens, plan: Plan) -> list[str]:
    header = [
        ("N such that", ""),
        ("N", "parameters"),
        ("6ND", "FLOP"),
        ("D / N", "tokens/N"),
        ("loss", "nats/token"),
        ("2N gains", "nats/token"),
    ]
    rows = [
        _fixed_row("6ND is all of C", fixed.largest, fixed),
        _fixed_row("D is D_opt", fixed.balanced, fixed),
    ]
    if fixed.last_visible:
        rows.append(_fixed_row("2N gains one sd", fixed.last_visible, fixed))
    return [
        f"WITH {count(fixed.tokens)} TOKENS",
        *_table(header, rows),
        _entry("no size gets below", fixed.floor, nats, "nats/token at this D"),
        _entry("of which B/D^beta", fixed.of_data, nats, "nats/token are for want of data"),
        *_prose(_verdict(fixed, plan)),
    ]


def _fixed_row(label: str, entry: AtFixedTokens, fixed: FixedTokens) -> list[Cell]:
    return [
        (label, ""),
        _cell(entry.params, count),
        _cell(entry.flops, flop),
        (count(fixed.tokens / entry.params.value), ""),
        _cell(entry.loss, nats),
        _cell(entry.doubling_gains, nats),
    ]


def _verdict(fixed: FixedTokens, plan: Plan) -> str:
    best, largest = plan.optimum, fixed.largest
    loses = nats(largest.loss.value - best.loss.value)
    if fixed.scarce:
        text = (
            f"Data is what is scarce: this C would take {count(best.tokens.value)} tokens. The largest N uses all "
            f"of C, and loses {loses} nats/token against a run with as many tokens as it wants."
        )
    else:
        text = (
            f"There is data enough: this C takes {count(best.tokens.value)} tokens. Training on all of them leaves "
            f"{count(largest.params.value)} parameters and loses {loses} nats/token against the compute-optimal run."
        )
    if fixed.last_visible:
        text += " Beyond the last row, twice the size gains less than the scatter (one sd) of single runs."
    return text + " Tokens that repeat are worth less than new ones; the law does not know."


def _reserves(plan: Plan) -> list[str]:
    header = [
        ("kept back", "of the whole C"),
        ("that is", "FLOP"),
        ("loss", "nats/token"),
        ("gives up", "nats/token"),
        ("run lost, then", "nats/token"),
        ("best at a chance", "of losing the run"),
    ]
    rows = [
        [
            (echo(entry.share), ""),
            (flop(entry.flops_kept), ""),
            _cell(entry.loss, nats),
            _cell(entry.given_up, nats),
            _cell(entry.loss_of_rerun, nats) if entry.loss_of_rerun else ("nothing left", ""),
            (share(entry.best_at_chance), ""),
        ]
        for entry in plan.reserves
    ]
    return ["HOW MUCH TO KEEP BACK FOR A RE-RUN", *_table(header, rows), *_advice(plan)]


def _advice(plan: Plan) -> list[str]:
    costs = [f"{echo(entry.share)} costs {_cost(entry, plan)}" for entry in plan.reserves if entry.share]
    return [
        *_prose(
            f"The loss is flat in compute, as C^-{gamma(plan.law):.2g} above E: keeping back {', '.join(costs)}. "
            "Run lost, then: the loss of the compute-optimal run with what was kept. Best at a chance: if the run is "
            "lost at its end with that chance, this share gives the lowest expected loss."
        ),
        *_prose(
            "Keep back about as much as the chance of losing the run: 10 % for a recipe that has run before, 25 % for "
            "a new one (that pays for a third of the run, such as from the last checkpoint), 50 % only where the same "
            "run must be possible twice."
        ),
    ]


def _cost(reserve: Reserve, plan: Plan) -> str:
    whole = plan.reserves[0].loss.value
    return f"{nats(reserve.given_up.value)} nats/token ({share(reserve.given_up.value / whole)})"
