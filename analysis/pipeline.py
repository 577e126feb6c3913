"""From a source to fits.json, figures and report.html; the order in which everything is computed and written."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from vsweep.analysis.data.points import (
    FLOP_CONVENTIONS,
    FREE,
    LOSSES,
    OWN_FLOPS,
    SIZE_CONVENTIONS,
    BadTable,
    Convention,
    Refusal,
    Source,
    load,
)
from vsweep.analysis.fitting.objective import Objective
from vsweep.analysis.plotting import Drawing, save
from vsweep.analysis.report import child_processes, fits_json, page
from vsweep.analysis.sections import conventions, figures, words
from vsweep.analysis.sections.conventions import SideBySide, compare_conventions
from vsweep.analysis.sections.study import LossStudy, study_loss

from vsweep import atomic

MIN_RESAMPLES = 20  # beyond both ends of a 90 % interval there is then one
ABANDONED_S = 3_600.0  # no file takes as long to write: what is older was left by an analysis that was killed


@dataclass(frozen=True)
class Result:
    """What `analyse` made: the fits of each loss, the sentences, and where the files lie."""

    source: Source
    studies: tuple[LossStudy, ...]
    findings: tuple[str, ...]
    out: Path

    @property
    def report(self) -> Path:
        return self.out / "report.html"

    @property
    def fits(self) -> Path:
        return self.out / "fits.json"


def analyse(
    source: str | Path | pd.DataFrame,
    out: str | Path | None = None,
    *,
    bootstrap: int = 400,
    size: str = "params",
    flops: str = "flops_6nd",
    floor: float | None = None,
    objective: Objective | None = None,
    annealed_only: bool | None = None,
) -> Result:
    """Fits the law to a work directory or a table, and writes fits.json, figures/ and report.html into `out`.

    Works on sweeps that are still running: what cannot be fitted yet is refused by name, never raised.

    Args:
      source: a work directory of vsweep, or any table with a loss and two of N, D, C: a file or a DataFrame (`tables`).
      out: where to write; WORKDIR/analysis by default, required for a table.
      bootstrap: resamples of each fit; 0 for none (spreads over seeds are still given).
      size: which N, `params` or `params_non_embedding`.
      flops: which C, `flops_6nd` (6 N D with that N) or `flops_counted`.
      floor: E of a loss whose floor is not known (`val_loss`, the loss of a table), instead of fitting it; 0 for none.
      objective: what the parametric fits minimise; Huber's penalty of log residuals by default.
      annealed_only: whether the envelope counts only the last 15 % of each run; None: where enough sizes win there.

    Raises:
      BadTable: the source cannot be read; the message names the file, the column and the rows.
      ValueError: an unknown convention, a negative bootstrap, or a table without `out`.
    """
    loaded = load(source)
    _check_options(loaded, out, bootstrap, size, flops, floor)
    flops = OWN_FLOPS if loaded.counts_its_own_way else flops
    out = Path(out) if out is not None else _own_folder(loaded.path)
    first, *others = [
        Convention(loss, size, flops, floor if LOSSES[loss] == FREE else None, objective or Objective(), annealed_only)
        for loss in loaded.losses
    ]
    for folder in (out, out / "figures"):
        atomic.remove_leftovers(folder, older_than_s=ABANDONED_S)
    processes = min(len(others), (os.cpu_count() or 1) - 1) if bootstrap else 0
    with child_processes.studying(loaded, others, bootstrap, processes) as studies_of_others:
        study = study_loss(loaded, first, bootstrap=bootstrap, learning=bool(bootstrap))
        side = compare_conventions(loaded, first.loss) if loaded.is_workdir else None
        drawings, skipped = _save_figures(_figures(loaded, study, side, studies_of_others), out / "figures")
        studies = [study, *studies_of_others()]
    findings = words.findings(loaded, studies, side)
    atomic.write_json_atomically(out / "fits.json", fits_json.to_json(loaded, studies, side, findings, skipped))
    html = page.render(loaded, studies, side, findings, drawings, skipped)
    atomic.write_text_atomically(out / "report.html", html)
    return Result(loaded, tuple(studies), tuple(findings), out)


def _check_options(
    source: Source, out: str | Path | None, bootstrap: int, size: str, flops: str, floor: float | None
) -> None:
    if floor is not None and not (np.isfinite(floor) and floor >= 0):
        raise ValueError(f"floor: E is a loss, 0 or more - got {floor!r}")
    if bootstrap != 0 and bootstrap < MIN_RESAMPLES:
        raise ValueError(f"bootstrap: a number of resamples - got {bootstrap}; allowed 0, or {MIN_RESAMPLES} and more")
    if size not in SIZE_CONVENTIONS:
        raise ValueError(f"size: unknown convention - got {size!r}; allowed {', '.join(SIZE_CONVENTIONS)}")
    if flops not in FLOP_CONVENTIONS:
        raise ValueError(f"flops: unknown convention - got {flops!r}; allowed {', '.join(FLOP_CONVENTIONS)}")
    if not source.is_workdir and (size, flops) != (SIZE_CONVENTIONS[0], FLOP_CONVENTIONS[0]):
        raise BadTable(f"{source.path}: a table has one N and one C only; leave size and flops at their defaults")
    if out is None and not source.is_workdir:
        raise ValueError("out: a table has no directory of its own - say where to write")


def _own_folder(workdir: Path) -> Path:
    """Where the analysis of a work directory goes. Below a work directory no link is followed."""
    out = workdir / "analysis"
    linked = [path for path in (out, out / "figures") if path.is_symlink()]
    if linked:
        raise ValueError(f"out: a link below a work directory - got {linked[0]}; allowed: a folder, or --out")
    return out


def _save_figures(made: Iterator[Drawing | Refusal], folder: Path) -> tuple[list[Drawing], list[Refusal]]:
    """Draws and saves; a figure of an earlier, fuller state that cannot be drawn now is removed with its numbers."""
    drawings, skipped = [], []
    for figure in made:
        if isinstance(figure, Refusal):
            skipped.append(figure)
            with atomic.writing(folder):
                for suffix in (".png", ".svg", ".csv"):
                    (folder / f"{figure.method}{suffix}").unlink(missing_ok=True)
        else:
            save(figure, folder)
            drawings.append(figure)
    return drawings, skipped


def _figures(
    source: Source, first: LossStudy, side: SideBySide | None, others: Callable[[], list[LossStudy]]
) -> Iterator[Drawing | Refusal]:
    """All figures of the first loss, and the lines of the answer loss, where a break shows best."""
    yield from figures.all_figures(source, first)
    if side is not None:
        yield conventions.drawing(side.rows, side.disagreement)
    for study in others():
        if study.convention.loss == "answer_loss":
            yield figures.loss_lines(study)
