"""What the commands `compare`, `plan-from-law` and `check` do, on what a program has at hand."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from vsweep.analysis.approaches.parametric import Law
from vsweep.analysis.checking import check as checking
from vsweep.analysis.checking.check import Check
from vsweep.analysis.compare import comparison
from vsweep.analysis.compare.comparison import Comparison
from vsweep.analysis.compare.sources import convention_of, titles
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import select
from vsweep.analysis.data.source import FLOP_CONVENTIONS, SIZE_CONVENTIONS, Refusal
from vsweep.analysis.pipeline import Result
from vsweep.analysis.planner.allocation import plan
from vsweep.analysis.planner.results import Plan
from vsweep.analysis.planner.saved_law import read_fits, refuse_unshown
from vsweep.analysis.tables.several_files import Paths


def compare(
    first: Paths | pd.DataFrame,
    second: Paths | pd.DataFrame,
    *,
    names: tuple[str, str] | None = None,
    loss: str | None = None,
    size: str = SIZE_CONVENTIONS[0],
    flops: str = FLOP_CONVENTIONS[0],
    floor: float | None = None,
    margin: float = comparison.MARGIN,
    bootstrap: int = 400,
    final_only: bool = False,
    min_progress: float | None = None,
    run_from_filename: bool = False,
) -> Comparison | Refusal:
    """Whether `second` moves the exponent of the loss against `first`, or only its constant. Writes nothing.

    Args:
      first, second: work directories, or tables as `analyse` reads them.
      names: what to call them; the names of the folders or files by default.
      loss: `excess_loss`, `answer_loss` or `val_loss` of a work directory (default: the first of the source).
      size, flops: which N and C, as for `analyse`.
      floor: E of both laws in nats per token, instead of fitting it.
      margin: the relative difference up to which two exponents count as equal, above 0 and below 1.
      bootstrap: resamples of the cells, 40 or more.
      final_only, min_progress, run_from_filename: how the rows of both sources count, as for `analyse`.

    Returns a Comparison, or a Refusal with its reason where the two cannot be compared.

    Raises:
      BadTable: a source cannot be read; the message names the file, the column and the rows.
      ValueError: an option that is out of range, or that a source does not have.
    """
    reading = {"final_only": final_only, "min_progress": min_progress, "run_from_filename": run_from_filename}
    sources = [load(source, **reading) for source in (first, second)]
    points = [
        select(source, convention_of(source, loss=loss, size=size, flops=flops, floor=floor)) for source in sources
    ]
    return comparison.compare(*points, bootstrap=bootstrap, names=names or titles(sources), margin=margin)


def plan_from_law(
    law: str | Path | Result | Law,
    flops: float,
    *,
    loss: str | None = None,
    level: float = 0.9,
    reserve: float = 0.0,
    tokens: float | None = None,
    served: float | None = None,
    anyway: bool = False,
) -> Plan:
    """What a fitted law says about training with `flops` FLOP, counted as 6ND (Hoffmann et al. 2022, equation 4).

    Args:
      law: fits.json, the result of `analyse`, or a Law of five constants, which gives no intervals.
      loss: which loss of fits.json (default: the first whose law was fitted).
      level, reserve, tokens, served: the share that intervals cover, the share of `flops` to keep back, a fixed number
        of training tokens, and the tokens to serve over the model's life, as for `vsweep.analysis.planner.plan`.
      anyway: plan even from a law that its runs do not show.

    Raises:
      BadLaw: no such file or loss, a law that was refused, or one that its runs do not show.
      ValueError: a number outside its range.
    """
    options = {"level": level, "reserve": reserve, "tokens": tokens, "served": served}
    if isinstance(law, Law):
        return plan(law, flops, **options)
    saved = read_fits(law.fits if isinstance(law, Result) else law, loss)
    if not anyway:
        refuse_unshown(saved)
    return plan(saved.law, flops, resamples=saved.resamples, residual_sd_log=saved.residual_sd_log, **options)


def check(
    law: str | Path | Result,
    new: str | Path | pd.DataFrame,
    *,
    loss: str | None = None,
    within: float = checking.WITHIN,
    beyond: float = checking.BEYOND,
    curves: str | Path | None = None,
    anyway: bool = False,
    columns: Iterable[str] | Mapping[str, str] = (),
    loss_unit: str | None = None,
    where: Iterable[str] = (),
) -> Check:
    """Whether new runs lie on the forecast of a fitted law: a verdict on each, in its `runs`, and `passed` on all.

    Args:
      law: fits.json, or the result of `analyse`.
      new: a table or a work directory, which may be training. `columns`, `loss_unit` and `where` as for `analyse`.
      loss: which loss of fits.json (default: the first whose law was fitted).
      within, beyond: the distances up to which a run is as predicted, and from which on to look for a bug, in the unit
        of the loss.
      curves: a work directory of finished runs, to compare runs under way after the same tokens.
      anyway: check even against a law that its runs do not show.

    Raises:
      BadLaw: no such file or loss, a law that was refused, or one that its runs do not show.
      BadTable, ValueError: the new runs cannot be read, or the law says nothing about their losses.
    """
    saved = read_fits(law.fits if isinstance(law, Result) else law, loss)
    if not anyway:
        refuse_unshown(saved, "check against it")
    source = load(new, columns=columns, loss_unit=loss_unit, where=where)
    known = None if curves is None else load(curves)
    return checking.check(saved, source, within=within, beyond=beyond, curves=known)
