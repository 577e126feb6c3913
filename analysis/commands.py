"""What `python -m analysis` does: fits and a report, or one table in the columns that other tools read.

The commands `plan` and `compare` are in `planner.command` and `compare.command`.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from vsweep import program
from vsweep.analysis import pipeline, reading_options
from vsweep.analysis.answering import command
from vsweep.analysis.data.four_columns import write_four_columns
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import select
from vsweep.analysis.data.source import FLOP_CONVENTIONS, LOSSES, SIZE_CONVENTIONS, Convention
from vsweep.analysis.fitting.objective import HUBER, LOG, PENALTIES, RESIDUALS, Objective
from vsweep.analysis.formatting import printable
from vsweep.analysis.pipeline import Result
from vsweep.analysis.report import progress
from vsweep.analysis.sections import law, optimum, runs
from vsweep.analysis.uncertainty import verdicts
from vsweep.analysis.uncertainty.approach import assessed, describe_range

OTHERS = {
    "plan-from-law": ("FITS.json --compute FLOP", "from the law to a training decision"),
    "compare": ("A B", "whether a change moves the exponent or only the constant"),
    "table": ("SOURCE OUT.csv", "the runs as C, N, D, loss, for other tools"),
}


@command("analysis")
def analyse(arguments: list[str]) -> int:
    """Writes fits, figures and a report, and prints the exponents.

    Returns 0; 2 where the source or the options are bad. Argparse leaves with 2 for wrong arguments, with 0 for --help.
    """
    options = _analyse_parser().parse_args(arguments)
    with progress.shown() as say:
        result = pipeline.analyse(
            options.source,
            options.out or folder_beside(options.source),
            bootstrap=options.bootstrap,
            size=options.size,
            flops=options.flops,
            floor=options.floor,
            objective=Objective(options.residual, options.penalty, options.delta, options.overestimate),
            annealed_only=True if options.annealed_only else None,
            columns=options.column,
            loss_unit=options.loss_unit,
            where=options.where,
            say=say,
        )
    print(printable(summary(result)))
    return 0


@command("analysis")
def redo(workdir: Path, then: Callable[[Path], None], *, final: bool) -> int:
    """For a launcher, after a stack and at the end of a sweep: a report, with the bootstrap in the final one only.

    Hands the report's path to `then`. What goes wrong is one line and a status, as above, and does not end training.
    """
    then(pipeline.analyse(workdir, **({} if final else {"bootstrap": 0})).report)
    return 0


def _analyse_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        program.command("analyse"),
        description="Fits scaling laws to the runs of a sweep or of a table, and writes a report.",
        epilog=_others(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source",
        type=Path,
        help="work directory of a sweep, or a table (CSV, JSON, parquet, xlsx) with loss and two of N, D, C",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where to write (default: WORKDIR/analysis, or TABLE-analysis beside a table)",
    )
    parser.add_argument(
        "--bootstrap", type=int, default=400, metavar="R", help="resamples of each fit; 0 for none (default: 400)"
    )
    reading_options.add_to(parser)
    _add_conventions(parser)
    parser.add_argument(
        "--floor", type=float, metavar="E", help="hold E of a loss without a known floor (default: fit it)"
    )
    parser.add_argument(
        "--annealed-only",
        action="store_true",
        help="count only the last 15 %% of each run for the envelope (default: where enough sizes win there)",
    )
    parser.add_argument(
        "--residual", choices=RESIDUALS, default=LOG, help=f"residuals in log loss, or in nats/token (default: {LOG})"
    )
    parser.add_argument(
        "--penalty", choices=PENALTIES, default=HUBER, help=f"penalty of the residuals (default: {HUBER})"
    )
    parser.add_argument("--delta", type=float, default=1e-3, help=f"threshold of the penalty {HUBER} (default: 0.001)")
    parser.add_argument(
        "--overestimate",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="weight of runs that lie below the law; above 1 the law becomes a lower bound (default: 1)",
    )
    return parser


def folder_beside(source: Path) -> Path | None:
    """Where the analysis of a table goes by default: `mine-analysis` beside `mine.csv`; None for a work directory.

    Raises:
      ValueError: such a folder is there, but not from an analysis of this table.
    """
    if source.is_dir():
        return None
    folder = source.with_name(f"{source.stem}-analysis")
    if folder.is_symlink() or (folder.exists() and not _is_ours(folder, source)):
        raise ValueError(f"out: {folder} holds no analysis of {source.name} - remove it, or name a folder with --out")
    return folder


def _is_ours(folder: Path, table: Path) -> bool:
    """Whether an analysis of `table` may write into a folder that is there: an empty one, or one that it wrote."""
    if not folder.is_dir():
        return False
    try:
        fits = json.loads((folder / "fits.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return not any(folder.iterdir())
    except (ValueError, RecursionError):
        return False
    return isinstance(fits, dict) and "schema" in fits and fits.get("source") == table.resolve().name


def _others() -> str:
    lines = {f"{program.command(word)} {arguments}": what for word, (arguments, what) in OTHERS.items()}
    return "\n".join(["other commands:", *(f"  {line:<52}{what}" for line, what in lines.items())])


def summary(result: Result) -> str:
    """What `analysis` prints: the exponents of all approaches and losses, what is wrong with the runs, the files."""
    lines = [f"! {text}" for text in result.source.warnings]
    standing = law.standing(result.studies[0])
    lines += [] if standing.verdict == verdicts.DESCRIBES else [f"! {optimum.about_standing(standing)}"]
    lines += [f"! {problem.text}" for problem in result.studies[0].result(runs.SECTION)]
    lines.append(f"{'loss':<12} {'E':<6} {'approach':<17} {'a':>7} {'b':>7}  range of a")
    for study in result.studies:
        for approach in optimum.approaches(study):
            start = f"{study.convention.loss:<12} {study.convention.floor:<6} {approach.method:<17}"
            if approach.refused:
                lines.append(f"{start} refused: {approach.result.reason}")
                continue
            ranges = "; ".join(describe_range(entry, "a") for entry in assessed(approach, "a"))
            lines.append(f"{start} {approach.a:7.3f} {approach.b:7.3f}  {ranges or 'not assessed'}")
    return "\n".join([*lines, "", f"fits    {result.fits}", f"report  {result.report}"])


@command("table")
def table(arguments: list[str]) -> int:
    """Writes the finished runs of a source as the columns C, N, D, loss."""
    options = _table_parser().parse_args(arguments)
    source = load(options.source, columns=options.column, loss_unit=options.loss_unit, where=options.where)
    loss = options.loss or source.losses[0]
    if loss not in source.losses:
        raise ValueError(f"loss: unknown - got {loss!r}; allowed {', '.join(source.losses)}")
    points = select(source, Convention(loss, options.size, options.flops))
    write_four_columns(points, options.out)
    print(printable(f"{len(points.table)} runs, {points.convention.describe()}\n{options.out}"))
    return 0


def _table_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(program.command("table"), description="Writes the finished runs as C, N, D, loss.")
    parser.add_argument("source", type=Path, help="work directory of a sweep, or any table")
    parser.add_argument("out", type=Path, help="file to write: .csv, .tsv, .json, .jsonl or .parquet")
    parser.add_argument("--loss", help=f"which loss of a sweep: {', '.join(LOSSES)} (default: the first)")
    reading_options.add_to(parser)
    _add_conventions(parser)
    return parser


def _add_conventions(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--size", choices=SIZE_CONVENTIONS, default=SIZE_CONVENTIONS[0], help="which N (default: %(default)s)"
    )
    parser.add_argument(
        "--flops", choices=FLOP_CONVENTIONS, default=FLOP_CONVENTIONS[0], help="which C (default: %(default)s)"
    )
