"""What is said about a design: how well it would tell the exponents apart, and what a little more would buy."""

from rich.console import RenderableType

from vsweep.analysis.designer.assumption import Assumption
from vsweep.analysis.designer.offers import best, offers
from vsweep.analysis.designer.precision import CannotTell, Precision
from vsweep.analysis.designer.runs import Runs
from vsweep.analysis.formatting import blocks, columns, count, percent, prose, scientific, signed_percent

TITLE = "HOW WELL THIS DESIGN WOULD TELL THE EXPONENTS APART"


def render(runs: Runs, assumption: Assumption, found: Precision | CannotTell, doubts: tuple[str, ...] = ()) -> str:
    """The precision of a design with its assumption and what speaks against that, and a table of what more would buy.

    Args:
      doubts: further sentences on why the assumption may not hold, such as of the task.
    """
    said = [prose(sentence(runs, assumption, found)), *(prose(f"! {doubt}") for doubt in (*assumption.doubts, *doubts))]
    return blocks([TITLE, *said], offers_block(runs, assumption, found))


def sentence(runs: Runs, assumption: Assumption, found: Precision | CannotTell) -> str:
    """One sentence that carries its assumption, whatever the answer."""
    start = f"If {assumption.about}, a fit to {count(runs.number, 'run')}"
    if isinstance(found, CannotTell):
        return f"{start} cannot tell the exponents apart: {found.reason}."
    floor = "fitted" if assumption.floor_free else "known"
    return (
        f"{start} would know a of N_opt ~ C^a to within {digits(found.a)}, alpha to within {digits(found.alpha)} and "
        f"beta to within {digits(found.beta)} (widths of 90 % intervals, E {floor})."
    )


def offers_block(runs: Runs, assumption: Assumption, found: Precision | CannotTell) -> list[RenderableType]:
    """What more compute, a seed or a size would buy, with its cost in FLOP counted as 6ND."""
    offered = offers(runs, assumption)
    rows = [("this design", scientific(runs.flops), "", *widths(found))]
    rows += [
        (offer.name, scientific(offer.runs.flops), signed_percent(offer.more, digits=1), *widths(offer.precision))
        for offer in offered
    ]
    header = ("what it would buy", "6ND of all runs\nFLOP", "cost", "width of\na", "width of\nalpha", "width of\nbeta")
    chosen = best(offered, found)
    said = f"Most for its cost: {chosen.name}." if chosen else "None of these would help."
    return ["WHAT A LITTLE MORE WOULD BUY", columns(header, rows), prose(said)]


def forecast_text(found: Precision, flops: float) -> str:
    """How well the loss of the compute-optimal run at `flops` would be forecast."""
    return (
        f"The loss of the compute-optimal run for {scientific(flops)} FLOP would be forecast within "
        f"{percent(found.forecast(flops))} (width of the 90 % interval)."
    )


def widths(found: Precision | CannotTell) -> tuple[str, str, str]:
    """Of a, alpha and beta, as cells of a table."""
    if isinstance(found, CannotTell):
        return "cannot tell", "", ""
    return digits(found.a), digits(found.alpha), digits(found.beta)


def digits(width: float) -> str:
    """A width with two digits, such as 0.045."""
    return f"{width:.2g}"
