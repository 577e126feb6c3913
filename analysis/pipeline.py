"""From a source to fits.json, figures and report.html; the order in which everything is computed and written."""

import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from vsweep import atomic
from vsweep.analysis import sections
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.source import (
    FLOP_CONVENTIONS,
    FREE,
    ISOFLOP_WINDOW,
    LEVEL,
    LOSSES,
    OWN_FLOPS,
    SIZE_CONVENTIONS,
    Convention,
    Refusal,
    Source,
)
from vsweep.analysis.fitting.objective import Objective
from vsweep.analysis.groups import splitting
from vsweep.analysis.groups.report import GroupsResult
from vsweep.analysis.groups.report import study as report_on_groups
from vsweep.analysis.plotting import Drawing, save
from vsweep.analysis.report import child_processes, fits_json, page, progress
from vsweep.analysis.result import Result
from vsweep.analysis.sections import study_loss
from vsweep.analysis.sections.base import LossStudy
from vsweep.analysis.sections.further_laws import power_terms
from vsweep.analysis.tables.foreign_tables import BadTable
from vsweep.analysis.tables.several_files import Paths
from vsweep.analysis.uncertainty.intervals import resamples_needed

LEVELS = (50.0, 99.9)  # percent that intervals may cover
ABANDONED_S = 3_600.0  # no file takes as long to write: what is older was left by an analysis that was killed


def analyse(
    source: Paths | pd.DataFrame | Source,
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
    by: str | None = None,
    final_only: bool = False,
    min_progress: float | None = None,
    run_from_filename: bool = False,
    level: float = 100 * LEVEL,
    isoflop_window: float = ISOFLOP_WINDOW,
    isoflop_weights: bool = False,
    terms: Iterable[str] = (),
    say: Callable[[str], None] = progress.silent,
) -> Result | GroupsResult:
    """Fits the law to a work directory or a table, and writes fits.json, figures/ and report.html into `out`.

    Works on sweeps that are still running: what cannot be fitted yet is refused by name, never raised.

    Args:
      source: a work directory of vsweep, or any table with a loss and N, D or C: a file, a DataFrame or a Source.
        Work directories of one task, or tables, may be several: a list, or a pattern such as `runs/*.csv`.
      out: where to write; WORKDIR/analysis by default, required for a table.
      bootstrap: resamples of each fit; 0 for none (spreads over seeds are still given).
      size, flops: which N, `params` or `params_non_embedding`; which C, `flops_6nd` (with that N) or `flops_counted`.
      floor: E of a loss whose floor is not known (`val_loss`, the loss of a table), instead of fitting it; 0 for none.
      objective: what the parametric fits minimise; Huber's penalty of log residuals by default.
      annealed_only: whether the envelope counts only the last 15 % of each run; None: where enough sizes win there.
      columns: which column of a table is what, such as `{"N": "config.n_params", "D": "tokens_B*1e9"}`.
      loss_unit: `nats/token`, `bits/byte`, `bits/token` or `perplexity` of a table (default: what its name says).
      where: conditions on the runs to keep, such as `['dataset == "web"']` or `["layers=4,8"]`.
      by: a column whose values make groups: a law of each in OUT/GROUP, and a report of all, returned as GroupsResult.
      final_only, min_progress: drop loss curves; leave out runs that reached less than this share of their plan.
      run_from_filename: each file is one run, called as the file; numbers in its name become columns.
      level: percent that every interval covers, 50 to 99.9. More needs more resamples: 2 / (1 - level / 100).
      isoflop_window, isoflop_weights: a parabola sees the sizes within this factor of the lowest one, and two on each
        side at least; whether the line weights each minimum by 1 / (standard error)^2.
      terms: columns of a law E + sum of F_k / x_k^e_k, to be fitted beside L(N, D): such as width, depth and D.
      say: takes the name of each step before it begins.

    Raises:
      BadTable: the source cannot be read; the message names the file, the column and the rows.
      ValueError: an unknown convention, a negative bootstrap, a table without `out`, or a column that makes no groups.
    """
    reading = {"columns": columns, "loss_unit": loss_unit, "where": where, "final_only": final_only}
    reading |= {"min_progress": min_progress, "run_from_filename": run_from_filename}
    options = {"bootstrap": bootstrap, "size": size, "flops": flops, "floor": floor, "objective": objective}
    options |= {"annealed_only": annealed_only, "level": level, "isoflop_window": isoflop_window}
    options |= {"isoflop_weights": isoflop_weights, "terms": terms, "say": say}
    if by is not None:
        return _analyse_groups(splitting.split(source, by, reading), by, out, options)
    return _analyse_source(source if isinstance(source, Source) else load(source, **reading), out, options)


def _analyse_groups(groups: splitting.Groups, by: str, out: str | Path | None, options: dict) -> GroupsResult:
    _check(groups.whole, out, options)
    safe = splitting.safe_name(f"by-{by}", set())
    out = Path(out) if out is not None else _own_folder(groups.whole.path) / safe
    study = functools.partial(_analyse_source, options=options)
    return report_on_groups(groups, out, study, bootstrap=options["bootstrap"])


def _analyse_source(loaded: Source, out: str | Path | None, options: dict) -> Result:
    """`analyse` of a source that is loaded; `options` are its arguments about fits."""
    _check(loaded, out, options)
    flops = OWN_FLOPS if loaded.counts_its_own_way else options["flops"]
    out = Path(out) if out is not None else _own_folder(loaded.path)
    valleys = (options["isoflop_window"], options["isoflop_weights"])
    asked = (options["level"] / 100, *valleys, power_terms.columns_of(loaded, options["terms"]))
    how = (options["floor"], options["objective"] or Objective(), options["annealed_only"])
    told = Convention(loaded.losses[0], options["size"], flops, *how, *asked)
    return _analysed(loaded, out, told, options["bootstrap"], options["say"])


def _check(loaded: Source, out: str | Path | None, options: dict) -> None:
    _check_options(loaded, out, options["size"], options["flops"], options["floor"])
    _check_numbers(options["bootstrap"], options["level"], options["isoflop_window"])


def _analysed(loaded: Source, out: Path, told: Convention, bootstrap: int, say: Callable[[str], None]) -> Result:
    """Studies each loss of the source under the convention `told`, and writes everything."""
    first, *others = [
        replace(told, loss=loss, given_floor=told.given_floor if LOSSES[loss] == FREE else None)
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


def _check_numbers(bootstrap: int, level: float, isoflop_window: float) -> None:
    if not LEVELS[0] <= level <= LEVELS[1]:
        low, high = LEVELS
        raise ValueError(f"level: percent that intervals cover - got {level!r}; allowed {low:g} to {high:g}")
    needed = resamples_needed(level / 100)
    if bootstrap != 0 and bootstrap < needed:
        why = f" for {level:g} % intervals" if level != 100 * LEVEL else ""
        raise ValueError(f"bootstrap: a number of resamples - got {bootstrap}; allowed 0, or {needed} and more{why}")
    if not 1 < isoflop_window < np.inf:
        raise ValueError(f"isoflop_window: a factor of sizes above 1, such as 3 - got {isoflop_window!r}")


def _check_options(source: Source, out: str | Path | None, size: str, flops: str, floor: float | None) -> None:
    if floor is not None and not (np.isfinite(floor) and floor >= 0):
        raise ValueError(f"floor: E is a loss, 0 or more - got {floor!r}")
    if size not in SIZE_CONVENTIONS:
        raise ValueError(f"size: unknown convention - got {size!r}; allowed {', '.join(SIZE_CONVENTIONS)}")
    if flops not in FLOP_CONVENTIONS:
        raise ValueError(f"flops: unknown convention - got {flops!r}; allowed {', '.join(FLOP_CONVENTIONS)}")
    if not source.is_workdir and (size, flops) != (SIZE_CONVENTIONS[0], FLOP_CONVENTIONS[0]):
        raise BadTable(f"{source.path}: a table has one N and one C only; leave size and flops at their defaults")
    if out is None and not (source.is_workdir and source.path.is_dir()):
        kind = (
            "several work directories have no directory of their own"
            if source.is_workdir
            else "a table has no directory of its own"
        )
        raise ValueError(f"out: {kind} - say where to write")


def _own_folder(workdir: Path) -> Path:
    """Where the analysis of a work directory goes. Below a work directory no link is followed."""
    out = workdir / "analysis"
    linked = [path for path in (out, out / "figures") if path.is_symlink()]
    if linked:
        raise ValueError(f"out: a link below a work directory - got {linked[0]}; allowed: a folder, or --out")
    return out


def _figures(first: LossStudy, others: Callable[[], list[LossStudy]]) -> Iterator[tuple[str, Drawing | Refusal]]:
    """Section and figure, one after the other: all of the first loss, and of the others what a section also draws."""
    for section in sections.of(first.source):
        for figure in section.figures(first, first.result(section)):
            yield section.name, figure
    for study in others():
        for section in sections.of(study.source):
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
