"""`python -m analysis compare A B`, or `python -m analysis compare WORKDIR --by COLUMN`: slope or intercept?

Two sets of runs, or two halves of one, are compared by `comparison.compare`.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from vsweep import atomic, program, schema
from vsweep.analysis import option_help, reading_options
from vsweep.analysis.answering import command, refuse
from vsweep.analysis.compare.comparison import Comparison, compare
from vsweep.analysis.compare.report import drawing, sentences, table, to_json
from vsweep.analysis.compare.sources import convention_of, titles
from vsweep.analysis.compare.verdict import MARGIN
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import select
from vsweep.analysis.data.source import FLOP_CONVENTIONS, SIZE_CONVENTIONS, Refusal, Source
from vsweep.analysis.formatting import blocks, prose
from vsweep.analysis.plotting import save
from vsweep.analysis.tables import conditions

__all__ = ["compare", "drawing", "main", "sentences", "split", "to_json"]


@command("compare")
def main(arguments: Sequence[str]) -> int:
    """Prints the comparison; returns 0, or 2 where it was refused. Wrong arguments leave with 2."""
    options = _read(arguments)
    comparison = _compared(options)
    if isinstance(comparison, Refusal):
        return refuse("compare", f"refused - {comparison.reason}")
    print(blocks([table(comparison)], map(prose, sentences(comparison))))
    if options.out:
        atomic.write_json_atomically(options.out / "compare.json", to_json(comparison))
        save(drawing(comparison), options.out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        program.command("compare"),
        description="Tells whether a change moves the exponent of the loss or only its constant.",
        formatter_class=option_help.Help,
    )
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="two work directories or tables; one with --by")
    parser.add_argument("--by", metavar="COLUMN[=X,Y]", help="compare two halves of one sweep, such as lr=0.003,0.01")
    reading_options.add_to(parser)
    parser.add_argument("--loss", help="which loss (default: excess_loss of a sweep, loss of a table)")
    parser.add_argument(
        "--size", choices=SIZE_CONVENTIONS, default=SIZE_CONVENTIONS[0], help="which N (default: %(default)s)"
    )
    parser.add_argument(
        "--flops", choices=FLOP_CONVENTIONS, default=FLOP_CONVENTIONS[0], help="which C (default: %(default)s)"
    )
    parser.add_argument(
        "--floor",
        type=float,
        metavar="E",
        help="hold E of both laws at this number, in the unit of the loss (default: fit it)",
    )
    parser.add_argument(
        "--margin",
        type=float,
        default=MARGIN,
        help="exponents this close, as a share, count as equal (default: %(default)s)",
    )
    parser.add_argument("--bootstrap", type=int, default=400, metavar="R", help="resamples of the cells (default: 400)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write compare.json, .png, .svg and .csv here")
    return parser


def _read(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    wanted = 1 if options.by else 2
    if len(options.sources) != wanted:
        hint = "--by splits one source" if options.by else "give two, or one and --by COLUMN"
        parser.error(f"argument SOURCE: {len(options.sources)} given; {hint}")
    return options


def _compared(options: argparse.Namespace) -> Comparison | Refusal:
    sources = [load(path, **reading_options.chosen(options)) for path in options.sources]
    names = titles(sources)
    if options.by:
        sources, names = split(sources[0], options.by)
    asked = {"loss": options.loss, "size": options.size, "flops": options.flops, "floor": options.floor}
    points = [select(source, convention_of(source, **asked)) for source in sources]
    return compare(*points, bootstrap=options.bootstrap, names=names, margin=options.margin)


# Halves of a source


def split(source: Source, by: str) -> tuple[list[Source], tuple[str, str]]:
    """Two halves of the runs and their names, by a column of two values or by two values of one (`lr=0.003,0.01`).

    Runs are split before any is selected, because a selection keeps only the best setting of each cell.

    Raises:
      ValueError: no such column, not two values, or a value that no run has.
    """
    name, _, listed = by.partition("=")
    column = _column(source, name)
    values = listed.split(",") if listed else conditions.values_of(column)
    if len(values) != 2:
        raise ValueError(
            f"by: two values of {name} are needed - got {conditions.listed(values)}; choose two with {name}=X,Y"
        )
    halves = []
    for value in values:
        kept = conditions.met(conditions.Condition(name, "==", (value,)), source.runs[name], str(source.path))
        halves.append(replace(source, runs=source.runs[kept]))
    return halves, tuple(f"{name} = {value}" for value in values)


def _column(source: Source, name: str) -> pd.Series:
    if name not in source.runs:
        has = [axis for axis in schema.AXES if axis in source.runs] or source.runs.columns
        raise ValueError(f"by: no column {name!r} in {source.path}; it has {', '.join(has)}")
    return conditions.without_empty(source.runs[name])
