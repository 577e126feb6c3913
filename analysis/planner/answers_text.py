"""One predicted loss, and a plan with few unique tokens, as text for a terminal."""

from rich.console import RenderableType

from vsweep.analysis.approaches.repeated_law import MUENNIGHOFF, RepeatedLaw
from vsweep.analysis.formatting import amount, blocks, facts, nats, prose, scientific, times
from vsweep.analysis.planner.prediction import Prediction
from vsweep.analysis.planner.results import Estimate
from vsweep.analysis.planner.saved_law import SavedLaw
from vsweep.analysis.planner.scarce_data import ScarceData
from vsweep.analysis.planner.text import (
    SIZES,
    as_asked,
    fact,
    intervals_text,
    law_text,
    loss_text,
    standing_text,
    warnings_text,
)

CERTAIN = 1e4  # repetitions: a worth that falls more slowly than this is not told from none


def render_prediction(found: Prediction, saved: SavedLaw, law: RepeatedLaw | None) -> str:
    """One loss with its interval, and whether the run lies outside the fitted ones.

    Args:
      law: the law of repeated data, where the run repeats tokens.
    """
    parts = [
        [_prediction(found, saved, law)],
        standing_text(saved),
        warnings_text(list(found.extrapolations)),
    ]
    return blocks([f"A loss by {saved.source}"], *(part for part in parts if part))


def _prediction(found: Prediction, saved: SavedLaw, law: RepeatedLaw | None) -> RenderableType:
    unit, level = found.loss_unit, as_asked(found.level)
    rows = _about_law(saved, law, found.borrowed)
    rows += [
        ("N", f"{amount(found.params)} parameters: {SIZES.get(saved.size, saved.size)}"),
        ("D", f"{amount(found.tokens)} tokens, {_about_epochs(found)}"),
        ("D / N", f"{amount(found.tokens / found.params)} tokens per parameter"),
        ("6ND", f"{scientific(found.flops)} FLOP"),
        *([("losses", loss_text(saved))] if loss_text(saved) != unit else []),
        fact(found.loss_name, found.loss, nats, unit),
    ]
    if found.single_run:
        rows.append(("a single run", f"{nats(found.single_run[0])}..{nats(found.single_run[1])} {unit} in {level}"))
    else:
        rows.append(("a single run", "not known: the scatter of runs around this law was not given"))
    if found.with_floor:
        rows.append(fact("with its floor", found.with_floor, nats, unit))
    return facts([*rows, ("intervals", intervals_text(found.resamples, found.level))])


def _about_law(saved: SavedLaw, law: RepeatedLaw | None, borrowed: bool) -> list[tuple[str, str]]:
    if law is None:
        return [("law", law_text(saved.law, saved.loss_unit))]
    origin = "borrowed" if borrowed else "fitted to these runs"
    if borrowed and (float(law.R_D), float(law.R_N)) == MUENNIGHOFF:
        origin = "borrowed from Muennighoff et al. 2023"
    return [
        ("law", law_text(law.law, saved.loss_unit).replace("/N^", "/N'^").replace("/D^", "/D'^")),
        ("repeats", f"R_D* = {_worth(float(law.R_D))}, R_N* = {_worth(float(law.R_N))}, {origin}"),
        ("", "N' and D' are what N and D are worth (Muennighoff et al. 2023)"),
    ]


def _worth(value: float) -> str:
    return f"above {times(CERTAIN)}" if value > CERTAIN else f"{value:.4g}"


def _about_epochs(found: Prediction) -> str:
    if found.unique is None:
        return "each of them new"
    return f"{amount(found.unique)} of them unique: {times(found.epochs)} epochs"


def scarce_block(found: ScarceData, saved: SavedLaw, level: float) -> list[RenderableType]:
    """The part of a plan about `--unique-tokens`."""
    unit = saved.loss_unit
    rows = [
        *_about_law(saved, found.law, found.borrowed),
        *[fact(name, value, _worth, "repetitions") for name, value in _repeats(found).items() if not found.borrowed],
        fact("N", found.params, amount, "parameters"),
        fact("D", found.tokens, amount, "tokens, repeats included"),
        fact("epochs", found.epochs, times, f"of the {amount(found.unique)} unique tokens"),
        fact(saved.loss, found.loss, nats, unit),
    ]
    if found.single_run:
        low, high = map(nats, found.single_run)
        rows.append(("a single run", f"{low}..{high} {unit} in {as_asked(level)} of cases"))
    rows += [
        fact("with unlimited data", found.unlimited, nats, unit),
        ("", f"N = {amount(found.unlimited_params)}, D = {amount(found.unlimited_tokens)}, each token new"),
        fact("worse by", found.worse, nats, unit),
        ("intervals", intervals_text(found.resamples, level)),
    ]
    title = f"WITH {amount(found.unique)} UNIQUE TOKENS, REPEATED"
    return [title, facts(rows), prose(_on_scarce(found))]


def _repeats(found: ScarceData) -> dict[str, Estimate]:
    return {"R_D*": found.R_D, "R_N*": found.R_N}


def _on_scarce(found: ScarceData) -> str:
    if found.epochs.value <= 1:
        return "There is enough data: this compute needs no token twice."
    text = (
        f"Each token is seen {times(found.epochs.value)} times. The optimum with unlimited data would use "
        f"{amount(found.unlimited_tokens)} tokens."
    )
    if found.borrowed:
        text += " The worth of repeats is borrowed: these runs say nothing about it, and no interval holds its error."
    return text
