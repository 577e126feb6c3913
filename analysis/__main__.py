"""`python -m analysis WORKDIR`, or `python -m analysis POINTS.csv --out DIR`."""

import argparse
import sys
from pathlib import Path

from analysis.pipeline import Result, analyse
from analysis.points import FLOP_CONVENTIONS, SIZE_CONVENTIONS
from analysis.words import describe_range


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        result = analyse(
            options.source, options.out, bootstrap=options.bootstrap, size=options.size, flops=options.flops
        )
    except (ValueError, OSError) as error:
        # BadTable is a ValueError; a folder that cannot be written is as much the caller's to mend.
        print(f"analysis: {error}", file=sys.stderr)
        return 2
    print(exponents_table(result))
    print(f"\nfits    {result.fits}\nreport  {result.report}")
    return 0


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser("python -m analysis", description="Fits scaling laws and writes a report.")
    found.add_argument("source", type=Path, help="work directory of a sweep, or a CSV with N, D, loss or N, C, loss")
    found.add_argument("--out", type=Path, help="where to write (default: WORKDIR/analysis; needed for a CSV)")
    found.add_argument("--bootstrap", type=int, default=200, help="resamples of each fit; 0 for none (default: 200)")
    found.add_argument("--size", choices=SIZE_CONVENTIONS, default=SIZE_CONVENTIONS[0], help="which N")
    found.add_argument("--flops", choices=FLOP_CONVENTIONS, default=FLOP_CONVENTIONS[0], help="which C")
    return found


def exponents_table(result: Result) -> str:
    """The exponents of all approaches and losses as lines of text."""
    lines = [f"{'loss':<12} {'E':<6} {'approach':<17} {'a':>7} {'b':>7}  range of a"]
    for study in result.studies:
        for approach in study.approaches:
            start = f"{study.convention.loss:<12} {study.convention.floor:<6} {approach.method:<17}"
            if approach.refused:
                lines.append(f"{start} refused: {approach.result.reason}")
                continue
            ranges = "; ".join(describe_range(uncertainty, "a") for uncertainty in approach.uncertainty)
            lines.append(f"{start} {approach.a:7.3f} {approach.b:7.3f}  {ranges or 'not assessed'}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
