"""The options of every command that reads a table: which column is what, the unit of its loss, and which rows."""

import argparse

from vsweep.analysis.tables.units import LOSS_UNITS


def add_to(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `chosen` hands on to `load`."""
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="QUANTITY=COLUMN[*FACTOR]",
        help="which column of a table is what, such as D=tokens_B*1e9; may be repeated. "
        "run=COLUMN tells the runs of a table with checkpoints, run=none that each row is a run",
    )
    parser.add_argument(
        "--loss-unit", choices=LOSS_UNITS, help="unit of a table's loss (default: what its name says, else nats/token)"
    )
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="CONDITION",
        help="keep these runs only: lr=0.01,0.02 or 'dataset == \"web\"'; may be repeated",
    )
    parser.add_argument(
        "--final-only",
        action="store_true",
        help="drop loss curves and checkpoints: fit the last loss of each run alone",
    )
    parser.add_argument(
        "--min-progress",
        type=float,
        metavar="SHARE",
        help="leave out runs below this share, such as 0.99, of a plan in the table (max_steps, target_tokens, ...)",
    )
    parser.add_argument(
        "--run-from-filename",
        action="store_true",
        help="each file is one run, called as the file; numbers in its name (N=1e6_seed=3, lr0.01) become columns",
    )


def chosen(options: argparse.Namespace) -> dict[str, object]:
    """What `load` takes of these options."""
    return {
        "columns": options.column,
        "loss_unit": options.loss_unit,
        "where": options.where,
        "final_only": options.final_only,
        "min_progress": options.min_progress,
        "run_from_filename": options.run_from_filename,
    }
