"""What the commands `compare`, `plan-from-law` and `check` do, on what a program has at hand; reports in a notebook."""

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
from vsweep.analysis.groups.report import GroupsResult
from vsweep.analysis.pipeline import Result
from vsweep.analysis.planner.allocation import plan
from vsweep.analysis.planner.prediction import Prediction, predict
from vsweep.analysis.planner.results import Plan
from vsweep.analysis.planner.saved_law import SavedLaw, read_fits, refuse_unshown
from vsweep.analysis.planner.scarce_data import ScarceData, plan_scarce, repeats_of
from vsweep.analysis.report import notebook
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
    columns: Iterable[str] | Mapping[str, str] = (),
    loss_unit: str | None = None,
    where: Iterable[str] = (),
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
      floor: E of both laws in the unit of the loss, instead of fitting it.
      margin: the relative difference up to which two exponents count as equal, above 0 and below 1.
      bootstrap: resamples of the cells, 40 or more.
      columns, loss_unit, where, final_only, min_progress, run_from_filename: how both are read, as for `analyse`.

    Returns a Comparison, or a Refusal with its reason where the two cannot be compared.

    Raises:
      BadTable: a source cannot be read; the message names the file, the column and the rows.
      ValueError: an option that is out of range, or that a source does not have.
    """
    reading = {"columns": columns, "loss_unit": loss_unit, "where": where}
    reading |= {"final_only": final_only, "min_progress": min_progress, "run_from_filename": run_from_filename}
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
    level: float | None = None,
    reserve: float = 0.0,
    tokens: float | None = None,
    served: float | None = None,
    anyway: bool = False,
) -> Plan:
    """What a fitted law says about training with `flops` FLOP, counted as 6ND (Hoffmann et al. 2022, equation 4).

    Args:
      law: fits.json, the result of `analyse`, or a Law of five constants, which gives no intervals.
      loss: which loss of fits.json (default: the first whose law was fitted).
      level, reserve, tokens, served: the share that intervals cover (default: that of the fits), the share of `flops`
        to keep back, a fixed number of training tokens, and the tokens to serve over the model's life, as for
        `vsweep.analysis.planner.plan`.
      anyway: plan even from a law that its runs do not show.

    Raises:
      BadLaw: no such file or loss, a law that was refused, or one that its runs do not show.
      ValueError: a number outside its range.
    """
    saved = _saved(law, loss, anyway)
    return plan(
        saved.law,
        flops,
        resamples=saved.resamples,
        residual_sd_log=saved.residual_sd_log,
        level=saved.level if level is None else level,
        reserve=reserve,
        tokens=tokens,
        served=served,
    )


def predict_loss(
    law: str | Path | Result | Law,
    params: float,
    tokens: float,
    *,
    unique: float | None = None,
    repeats: str | tuple[float, float] | None = None,
    loss: str | None = None,
    level: float | None = None,
    anyway: bool = False,
) -> Prediction:
    """The loss of one run by a fitted law, with its interval, and where it lies outside the fitted runs.

    Args:
      law: fits.json, the result of `analyse`, or a Law of five constants, which gives no intervals.
      params: N in the convention of the law (`Convention.size` of the study).
      tokens: D, repeats included.
      unique: how many of the tokens are distinct (default: all).
      repeats: the worth of repeats, R_D* and R_N*, where the runs do not say; `muennighoff` for the published one.
      loss, level, anyway: as for `plan_from_law`.

    Raises:
      BadLaw: as `plan_from_law`, and where tokens are repeated without a law for that.
      ValueError: a number outside its range.
    """
    saved = _saved(law, loss, anyway)
    return predict(saved, params, tokens, unique=unique, repeats=repeats_of(repeats), level=level)


def plan_repeated(
    law: str | Path | Result | Law,
    flops: float,
    unique_tokens: float,
    *,
    repeats: str | tuple[float, float] | None = None,
    loss: str | None = None,
    level: float | None = None,
    anyway: bool = False,
) -> ScarceData:
    """The best N, D and epochs for `flops` FLOP, counted as 6ND, with `unique_tokens` distinct tokens.

    By the law of repeated data (Muennighoff et al. 2023, equations 5 to 7), where the runs show one. The arguments are
    those of `predict_loss`.

    Raises:
      BadLaw: as `predict_loss`.
      ValueError: a number outside its range.
    """
    saved = _saved(law, loss, anyway)
    return plan_scarce(
        saved, flops, unique_tokens, level=saved.level if level is None else level, repeats=repeats_of(repeats)
    )


def _saved(law: str | Path | Result | Law, loss: str | None, anyway: bool) -> SavedLaw:
    if isinstance(law, Law):
        return SavedLaw("the law given", "loss", law)
    saved = read_fits(law.fits if isinstance(law, Result) else law, loss)
    if not anyway:
        refuse_unshown(saved)
    return saved


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


def show(
    result: str | Path | Result | GroupsResult, figure: str | None = None, *, height: int | None = None
) -> notebook.Shown:
    """Displays the report in a notebook: whole, or one figure of it, as alive as in a browser.

    Args:
      result: what `analyse` returned, a report.html, or a folder or work directory with one.
      figure: such as `loss_curves` or `anchors`; the whole page by default.
      height: of the frame in pixels.

    The frame is a document of its own. Nothing in it reaches the notebook, and it asks for no address.

    Raises:
      ValueError: no such report or figure.
    """
    if isinstance(result, Result | GroupsResult):
        return notebook.show(result.report, figure, height)
    path = Path(result)
    inside = [path / "report.html", path / "analysis" / "report.html"]
    return notebook.show(next((one for one in inside if one.is_file()), path), figure, height)
