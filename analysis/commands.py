"""What `python -m analysis` does: fits and a report, or one table in the columns that other tools read.

The commands `plan`, `compare` and `check` are in `planner.command`, `compare.command` and `checking.command`.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from vsweep import program
from vsweep.analysis import option_help, reading_options
from vsweep.analysis.answering import command
from vsweep.analysis.data import several_workdirs
from vsweep.analysis.data.four_columns import write_four_columns
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import select
from vsweep.analysis.data.source import FLOP_CONVENTIONS, ISOFLOP_WINDOW, LOSSES, SIZE_CONVENTIONS, Convention
from vsweep.analysis.fitting.objective import HUBER, LOG, PENALTIES, RESIDUALS, Objective
from vsweep.analysis.formatting import printable
from vsweep.analysis.groups.splitting import safe_name
from vsweep.analysis.tables.several_files import expanded, stem, title_of

OTHERS = {
    "plan-from-law": ("FITS.json --compute FLOP", "from the law to a training decision"),
    "compare": ("A B", "whether a change moves the exponent or only the constant"),
    "check": ("FITS.json NEW", "whether new runs lie on the forecast"),
    "table": ("SOURCE OUT.csv", "the runs as C, N, D, loss, for other tools"),
}


@command("analysis")
def analyse(arguments: list[str]) -> int:
    """Writes fits, figures and a report, and prints the exponents.

    Returns 0; 2 where the source or the options are bad. Argparse leaves with 2 for wrong arguments, with 0 for --help.
    """
    options = _analyse_parser().parse_args(arguments)
    reading = reading_options.chosen(options)
    source = expanded(options.source)
    loaded = load(source, **reading)
    out = options.out or folder_beside(source, options.by)
    # Only now: the libraries that fit and draw take a second to load, and a table that is refused needs none of them.
    from vsweep.analysis import pipeline, terminal
    from vsweep.analysis.report import progress

    choices = dict(
        bootstrap=options.bootstrap,
        size=options.size,
        flops=options.flops,
        floor=options.floor,
        objective=Objective(options.residual, options.penalty, options.delta, options.overestimate),
        annealed_only=True if options.annealed_only else None,
        level=options.level,
        isoflop_window=options.isoflop_window,
        isoflop_weights=options.isoflop_weights,
        terms=options.terms.split(",") if options.terms else (),
    )
    with progress.shown() as say:
        if options.by:
            answer = terminal.groups(pipeline.analyse(source, out, by=options.by, say=say, **choices, **reading))
        else:
            answer = terminal.summary(pipeline.analyse(loaded, out, say=say, **choices))
    print(printable(answer))
    return 0


@command("analysis")
def redo(workdir: Path, then: Callable[[Path], None], *, final: bool) -> int:
    """For a launcher, after a stack and at the end of a sweep: a report, with the bootstrap in the final one only.

    Hands the report's path to `then`. What goes wrong is one line and a status, as above, and does not end training.
    """
    from vsweep.analysis import pipeline

    then(pipeline.analyse(workdir, **({} if final else {"bootstrap": 0})).report)
    return 0


def _analyse_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        program.command("analyse"),
        description="Fits scaling laws to the runs of a sweep or of a table, and writes a report.",
        epilog=_others(),
        formatter_class=option_help.Help,
    )
    parser.add_argument(
        "source",
        type=Path,
        nargs="+",
        help="work directory of a sweep (or several of one task), or a table (CSV, JSON, parquet, xlsx) with loss and "
        "two of N, D, C, or one of them; several tables, or a pattern such as 'runs/*.csv', are read as one",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where to write (default: WORKDIR/analysis, TABLE-analysis beside a table, A+B-analysis beside A and B)",
    )
    parser.add_argument(
        "--bootstrap", type=int, default=400, metavar="R", help="resamples of each fit; 0 for none (default: 400)"
    )
    reading_options.add_to(parser)
    parser.add_argument("--by", metavar="COLUMN", help="a law for each value of a column, such as dataset")
    _add_conventions(parser)
    _add_laws(parser)
    parser.add_argument(
        "--floor", type=float, metavar="E", help="hold E of a loss without a known floor (default: fit it)"
    )
    parser.add_argument(
        "--annealed-only",
        action="store_true",
        help="count only the last 15 %% of each run for the envelope (default: where enough sizes win there)",
    )
    parser.add_argument(
        "--residual",
        choices=RESIDUALS,
        default=LOG,
        help=f"residuals in log loss, or in the unit of the loss (default: {LOG})",
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


def _add_laws(parser: argparse.ArgumentParser) -> None:
    """Options of intervals, of power terms and of IsoFLOP valleys."""
    parser.add_argument(
        "--level",
        type=float,
        default=90.0,
        metavar="PERCENT",
        help="percent that every interval covers, 50 to 99.9 (default: 90)",
    )
    parser.add_argument(
        "--terms",
        metavar="X,Y,..",
        help="fit E + sum of F/x^e in these columns too, beside L(N, D): such as width,depth,D",
    )
    parser.add_argument(
        "--isoflop-window",
        type=float,
        default=ISOFLOP_WINDOW,
        metavar="FACTOR",
        help="an IsoFLOP parabola sees the sizes within this factor of the lowest one, and two on each side at least "
        "(default: %(default)g)",
    )
    parser.add_argument(
        "--isoflop-weights",
        action="store_true",
        help="weight each IsoFLOP minimum by its standard error (default: all alike)",
    )


def folder_beside(source: Path | list[Path], by: str | None = None) -> Path | None:
    """Where the analysis of a table goes by default: `mine-analysis` beside `mine.csv`; None for a work directory.

    Groups of a column go to `mine-by-COLUMN`, work directories `a` and `b` to `a+b-analysis` beside them, and tables
    to a folder with the first and the last in its name: `a-to-z-26-files-analysis`.

    Raises:
      ValueError: such a folder is there, but not from an analysis of this table.
    """
    if isinstance(source, Path) and source.is_dir():
        return None
    name, title = _name_and_title(source)
    first = source if isinstance(source, Path) else source[0]
    folder = first.with_name(safe_name(f"{name}-by-{by}", set()) if by else f"{name}-analysis")
    if folder.is_symlink() or (folder.exists() and not _is_ours(folder, title, "groups.json" if by else "fits.json")):
        raise ValueError(f"out: {folder} holds no analysis of {title} - remove it, or name a folder with --out")
    return folder


def _name_and_title(source: Path | list[Path]) -> tuple[str, str]:
    """What a folder is called after a source, and what fits.json calls the source."""
    if isinstance(source, Path):
        return source.stem, source.resolve().name
    if source[0].is_dir():
        return several_workdirs.beside(source)
    return f"{stem(source[0])}-to-{stem(source[-1])}-{len(source)}-files", title_of(source).name


def _is_ours(folder: Path, title: str, file: str) -> bool:
    """Whether an analysis of `title` may write into a folder that is there: an empty one, or one that it wrote."""
    if not folder.is_dir():
        return False
    try:
        fits = json.loads((folder / file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return not any(folder.iterdir())
    except (ValueError, RecursionError):
        return False
    return isinstance(fits, dict) and "schema" in fits and fits.get("source") == title


def _others() -> str:
    lines = {f"{program.command(word)} {arguments}": what for word, (arguments, what) in OTHERS.items()}
    return "\n".join(["other commands:", *(f"  {line:<52}{what}" for line, what in lines.items())])


@command("table")
def table(arguments: list[str]) -> int:
    """Writes the finished runs of a source as the columns C, N, D, loss."""
    options = _table_parser().parse_args(arguments)
    source = load(options.source, **reading_options.chosen(options))
    loss = options.loss or source.losses[0]
    if loss not in source.losses:
        raise ValueError(f"loss: unknown - got {loss!r}; allowed {', '.join(source.losses)}")
    if source.variable:
        raise ValueError(f"{options.source}: it has {source.variable} only, and C, N, D need two of them")
    points = select(source, Convention(loss, options.size, options.flops))
    write_four_columns(points, options.out)
    print(printable(f"{len(points.table)} runs, {points.convention.describe()}\n{options.out}"))
    return 0


def _table_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        program.command("table"),
        description="Writes the finished runs as C, N, D, loss.",
        formatter_class=option_help.Help,
    )
    parser.add_argument("source", type=Path, nargs="+", help="work directory of a sweep, or any table or tables")
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
