"""The options of every command that reads a table: which column is what, the unit of its loss, and which rows."""

import argparse

from vsweep.analysis.tables.units import LOSS_UNITS


def add_to(parser: argparse.ArgumentParser) -> None:
    """Adds `--column`, `--loss-unit` and `--where`, which `load` takes as columns, loss_unit and where."""
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="QUANTITY=COLUMN[*FACTOR]",
        help="which column of a table is what, such as D=tokens_B*1e9; may be repeated",
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
