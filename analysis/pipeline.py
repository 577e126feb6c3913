"""From a source to fits.json, figures and report.html; the order in which everything is computed and written."""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from vsweep import atomic
from vsweep.analysis import sections
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.source import (
    FLOP_CONVENTIONS,
    FREE,
    LOSSES,
    OWN_FLOPS,
    SIZE_CONVENTIONS,
    Convention,
    Refusal,
    Source,
)
from vsweep.analysis.fitting.objective import Objective
from vsweep.analysis.plotting import Drawing, save
from vsweep.analysis.report import child_processes, fits_json, page, progress
from vsweep.analysis.result import Viewable
from vsweep.analysis.sections import study_loss
from vsweep.analysis.sections.base import Finding, LossStudy
from vsweep.analysis.tables.foreign_tables import BadTable

MIN_RESAMPLES = 20  # beyond both ends of a 90 % interval there is then one
ABANDONED_S = 3_600.0  # no file takes as long to write: what is older was left by an analysis that was killed


@dataclass(frozen=True)
class Result(Viewable):
    """What `analyse` made: a study of each loss, the sentences in the order of the report, and where the files lie."""

    source: Source
    studies: tuple[LossStudy, ...]
    findings: tuple[Finding, ...]
    out: Path
    drawings: tuple[Drawing, ...] = field(default=(), repr=False)


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
    columns: Iterable[str] | Mapping[str, str] = (),
    loss_unit: str | None = None,
    where: Iterable[str] = (),
    say: Callable[[str], None] = progress.silent,
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
      columns: which column of a table is what, such as `{"N": "config.n_params", "D": "tokens_B*1e9"}`.
      loss_unit: `nats/token`, `bits/byte`, `bits/token` or `perplexity` of a table (default: what its name says).
      where: conditions on the runs to keep, such as `['dataset == "web"']` or `["layers=4,8"]`.
      say: takes the name of each step before it begins.

    Raises:
      BadTable: the source cannot be read; the message names the file, the column and the rows.
      ValueError: an unknown convention, a negative bootstrap, or a table without `out`.
    """
    loaded = load(source, columns=columns, loss_unit=loss_unit, where=where)
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
        study = study_loss(loaded, first, bootstrap=bootstrap, say=say)
        say("figures")
        drawn, skipped = _save_figures(_figures(study, studies_of_others), out / "figures")
        studies = [study, *studies_of_others()]
    findings = sections.findings(studies)
    atomic.write_json_atomically(out / "fits.json", fits_json.to_json(loaded, studies, findings, skipped))
    atomic.write_text_atomically(out / "report.html", page.render(loaded, studies, findings, drawn, skipped))
    return Result(loaded, tuple(studies), tuple(findings), out, tuple(itertools.chain.from_iterable(drawn.values())))


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


def _figures(first: LossStudy, others: Callable[[], list[LossStudy]]) -> Iterator[tuple[str, Drawing | Refusal]]:
    """Section and figure, one after the other: all of the first loss, and of the others what a section also draws."""
    for section in sections.SECTIONS:
        for figure in section.figures(first, first.result(section)):
            yield section.name, figure
    for study in others():
        for section in sections.SECTIONS:
            if study.loss in section.also_draws:
                for figure in section.figures(study, study.result(section)):
                    yield section.name, figure


def _save_figures(
    made: Iterable[tuple[str, Drawing | Refusal]], folder: Path
) -> tuple[dict[str, list[Drawing]], list[Refusal]]:
    """Draws and saves; a figure of an earlier, fuller state that cannot be drawn now is removed with its numbers.

    Returns the drawings by section, and what was not drawn.
    """
    drawn: dict[str, list[Drawing]] = {}
    skipped = []
    for section, figure in made:
        if isinstance(figure, Refusal):
            skipped.append(figure)
            with atomic.writing(folder):
                for suffix in (".png", ".svg", ".csv"):
                    (folder / f"{figure.method}{suffix}").unlink(missing_ok=True)
        else:
            save(figure, folder)
            drawn.setdefault(section, []).append(figure)
    return drawn, skipped
