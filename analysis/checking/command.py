"""`python -m analysis check FITS.json NEW`: do new runs lie on the forecast?"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from vsweep import atomic, program
from vsweep.analysis import option_help, reading_options
from vsweep.analysis.answering import command
from vsweep.analysis.checking.check import AS_PREDICTED, BEYOND, BUG, NOT_JUDGED, OFF, WITHIN, Check, Checked, check
from vsweep.analysis.data.loading import load
from vsweep.analysis.formatting import amount, blocks, columns, count, finite, from_to, prose, scientific, times
from vsweep.analysis.planner.saved_law import Extrapolation, read_fits, refuse_unshown

SHOWN = 60  # rows of a table for the terminal
FOUND_A_BUG = 1  # exit status


@command("check")
def main(arguments: Sequence[str]) -> int:
    """Prints a verdict on each run; returns 1 where one is beyond the limit, 2 for bad input, else 0."""
    options = _parser().parse_args(arguments)
    saved = read_fits(options.fits, options.loss_convention)
    if not options.anyway:
        refuse_unshown(saved, "check against it")
    new = load(options.new, columns=options.column, loss_unit=options.loss_unit, where=options.where)
    curves = load(options.curves) if options.curves else None
    result = check(saved, new, within=options.within, beyond=options.beyond, curves=curves)
    print(render(result))
    if options.json:
        atomic.write_json_atomically(options.json, to_json(result))
    return 0 if result.passed else FOUND_A_BUG


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        program.command("check"),
        description="Tells whether new runs lie on the forecast of a fitted law.",
        formatter_class=option_help.Help,
    )
    parser.add_argument("fits", metavar="FITS.json", help=f"written by `{program.command('analyse')}`")
    parser.add_argument(
        "new", type=Path, metavar="NEW", help="new runs: a table, or a work directory, which may be training"
    )
    reading_options.add_to(parser)
    parser.add_argument("--loss-convention", metavar="NAME", help="which loss of FITS.json (default: the first fitted)")
    parser.add_argument(
        "--within",
        type=float,
        default=WITHIN,
        metavar="NATS",
        help="a run this close is as predicted (default: %(default)s, in the unit of the loss)",
    )
    parser.add_argument(
        "--beyond",
        type=float,
        default=BEYOND,
        metavar="NATS",
        help="a run beyond this: look for a bug (default: %(default)s)",
    )
    parser.add_argument(
        "--curves", type=Path, metavar="WORKDIR", help="finished runs, to compare runs under way at the same tokens"
    )
    parser.add_argument("--anyway", action="store_true", help="check even against a law that its runs do not show")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write every number to this file")
    return parser


def render(result: Check) -> str:
    """The summary first, then the runs, those farthest off first where there are many."""
    runs = sorted(result.runs, key=_rank)
    shown = runs[:SHOWN] if len(runs) > SHOWN else list(result.runs)
    more = [prose(f"{len(runs) - SHOWN} more runs, closer or not judged, are in the file of --json.")]
    header = ("run", "N", "D", "predicted", "actual", "off by", "verdict", "beyond the fitted runs")
    notes = [prose(note) for note in (*_about_law(result), *result.notes)]
    remarks = [prose(f"{run.run_id}: {run.remark}.") for run in shown if run.remark]
    rows = [columns(header, map(_row, shown)), *(more if len(runs) > SHOWN else [])]
    return blocks([summary(result)], notes, rows, *([remarks] if remarks else []))


def _rank(run: Checked) -> tuple[int, float]:
    order = (BUG, OFF, AS_PREDICTED, NOT_JUDGED)
    return order.index(run.verdict), -abs(run.deviation or 0.0)


def summary(result: Check) -> str:
    """One line: how many runs have which verdict, and how many lie in their interval."""
    unit = result.saved.loss_unit
    says = {
        AS_PREDICTED: f"as predicted (within {result.within:g} {unit})",
        OFF: "off the forecast",
        BUG: f"to look for a bug in (beyond {result.beyond:g} {unit}, or diverged)",
        NOT_JUDGED: "not judged",
    }
    counts = [f"{result.count(verdict)} {what}" for verdict, what in says.items() if result.count(verdict)]
    judged = [run.inside for run in result.runs if run.inside is not None and run.verdict != NOT_JUDGED]
    inside = f"; {sum(judged)} of {len(judged)} in their 90 % range" if judged else ""
    outside = sum(bool(run.outside) for run in result.runs)
    far = f"; {outside} beyond the fitted runs" if outside else ""
    return f"{count(len(result.runs), 'run')}: {', '.join(counts)}{inside}{far}."


def _about_law(result: Check) -> list[str]:
    saved = result.saved
    above = f", above the known floor of {saved.floor_value:.6g}" if saved.floor_value else ""
    texts = [f"The forecast is {saved.source}; losses in {saved.loss_unit}{above}."]
    if saved.standing is not None and saved.standing.reasons:
        texts.append(f"Of this law: {saved.standing.verdict} ({saved.standing.why}).")
    return texts


def _row(run: Checked) -> tuple[str, ...]:
    predicted = "" if run.predicted is None else f"{run.predicted:.4f}"
    if run.low is not None:
        predicted += f"\n({from_to(run.low, run.high, lambda loss: f'{loss:.4f}')})"
    return (
        run.run_id,
        amount(run.params),
        amount(run.tokens),
        predicted,
        "" if run.actual is None else f"{run.actual:.4f}",
        "" if run.deviation is None else f"{run.deviation:+.4f}",
        run.verdict,
        "\n".join(map(_far, run.outside)),
    )


def _far(entry: Extrapolation) -> str:
    bound = f"{scientific(entry.bound)} FLOP" if entry.axis == "C" else amount(entry.bound)
    return f"{entry.axis} {times(entry.factor)} x {'above' if entry.above else 'below'} {bound}"


def to_json(result: Check) -> dict:
    """Schema 1: law {source, loss, loss_unit, floor_value}, within, beyond, passed, counts by verdict, runs, notes."""
    law = {name: getattr(result.saved, name) for name in ("source", "loss", "loss_unit", "floor_value")}
    content = {
        "schema": 1,
        "law": law,
        "within": result.within,
        "beyond": result.beyond,
        "passed": result.passed,
        "counts": {verdict: result.count(verdict) for verdict in (AS_PREDICTED, OFF, BUG, NOT_JUDGED)},
        "runs": [{**asdict(run), "inside": run.inside} for run in result.runs],
        "notes": list(result.notes),
        "summary": summary(result),
    }
    return finite(content)
