"""How the cost of an analysis grows with its rows: processor seconds, memory and the page.

    python -m benchmarks.growth_of_analysis             some minutes; writes docs/benchmarks/growth_of_analysis.*
    python -m benchmarks.growth_of_analysis --quick     two small sweeps; under a minute, and nothing is written

Each point is `python -m analysis` as a process of its own, on a work directory with a known law inside: runs of several
sizes, budgets and seeds, with 40 evaluations each and three losses. Seconds are those of all its processes together, so
other work on the machine changes them little. Memory is the peak of the largest process.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from benchmarks import common
from tests.analysis.planted import Planted, write_planted
from vsweep.analysis import plotting
from vsweep.analysis.plotting import Drawing

EVALUATIONS = 40  # of a run: rows of curves.csv
BOOTSTRAP, NONE = 400, 0  # resamples: the default, and none as in the reports while a sweep trains
COLUMNS = ["runs", "rows", "bootstrap", "cpu_s", "wall_s", "memory_mb", "page_mb"]


@dataclass(frozen=True)
class Grid:
    """So many sizes, budgets and seeds."""

    sizes: int
    budgets: int
    seeds: int

    @property
    def runs(self) -> int:
        return self.sizes * self.budgets * self.seeds

    @property
    def planted(self) -> Planted:
        """Widths 4, 8, ... and budgets from 62,500 tokens to some thirty million."""
        widths = tuple(range(4, 4 * self.sizes + 4, 4))
        ratio = 500 ** (1 / max(1, self.budgets - 1))
        budgets = tuple(int(62_500 * ratio**index) for index in range(self.budgets))
        return Planted(widths, budgets, tuple(range(self.seeds)), noise=0.02, evaluations=EVALUATIONS)


GRIDS = (Grid(6, 5, 3), Grid(12, 10, 3), Grid(20, 10, 5), Grid(25, 20, 5), Grid(50, 20, 5))
QUICK = (Grid(4, 4, 2), Grid(6, 5, 3))


def measure(grids: Sequence[Grid]) -> pd.DataFrame:
    """One row a sweep and number of resamples, in the columns `COLUMNS`."""
    rows = []
    for grid in grids:
        with tempfile.TemporaryDirectory() as folder:
            workdir = made(grid, Path(folder))
            for bootstrap in (NONE, BOOTSTRAP):
                size = {"runs": grid.runs, "rows": grid.runs * EVALUATIONS, "bootstrap": bootstrap}
                rows.append({**size, **analysed(workdir, bootstrap)})
        print(f"{grid.runs} runs: done", file=sys.stderr, flush=True)
    return pd.DataFrame(rows, columns=COLUMNS)


def made(grid: Grid, folder: Path) -> Path:
    """The work directory, by a process of its own: what this one holds would count as memory of its children."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(write_planted, folder, grid.planted).result()


def analysed(workdir: Path, bootstrap: int) -> dict[str, float]:
    """What one analysis costs. Raises CalledProcessError where it fails."""
    command = [sys.executable, "-m", "analysis", str(workdir), "--bootstrap", str(bootstrap)]
    begin = time.perf_counter()
    child = subprocess.Popen(command, cwd=common.ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return {
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "wall_s": time.perf_counter() - begin,
        "memory_mb": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6,
        "page_mb": (workdir / "analysis" / "report.html").stat().st_size / 1e6,
    }


def figure_of(table: pd.DataFrame, where: str) -> Drawing:
    figure, panels = plotting.new_figure(2)
    _against_rows(panels[0], table, "cpu_s", "seconds of all cores together")
    _against_rows(panels[1], table, "memory_mb", "peak memory, MB")
    panels[0].legend(frameon=False)
    figure.suptitle(f"How the cost of an analysis grows: {where}", x=0.01, ha="left", fontsize=10)
    caption = f"Cost of an analysis with its report against the rows of curves.csv, {EVALUATIONS} a run; {where}."
    return Drawing("growth_of_analysis", "How the cost of an analysis grows", caption, figure, table)


def _against_rows(axes: Axes, table: pd.DataFrame, column: str, label: str) -> None:
    styles = zip(((BOOTSTRAP, f"{BOOTSTRAP} resamples"), (NONE, "no resamples")), plotting.LAW_STYLES, strict=False)
    for (bootstrap, name), (colour, marker) in styles:
        of_kind = table[table.bootstrap == bootstrap]
        axes.plot(of_kind.rows, of_kind[column], marker=marker, ms=4, color=colour, label=name)
    plotting.log_axis(axes, "x", "rows of loss curves", units=True)
    plotting.log_axis(axes, "y", label)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.growth_of_analysis",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="two small sweeps; writes nothing")
    parser.add_argument("--output", type=Path, default=common.RESULTS, help="folder of the results")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    table = measure(QUICK if options.quick else GRIDS)
    print(table.to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    if not options.quick:
        measured = common.machine("cpu", os.cpu_count() or 1)
        figure = figure_of(table, common.in_words(measured))
        common.write("growth_of_analysis", table, measured, figure, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
