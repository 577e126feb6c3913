"""Which rows of a foreign table are read: those that the user keeps, that are finished, and each of them once.

Every row that is left out is named in a note.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from vsweep.analysis.tables import conditions, units
from vsweep.analysis.tables.column_names import Column, named, plain, read_numbers
from vsweep.analysis.tables.formats import RawTable

STATES = ("status", "state", "runstatus", "runstate")
DONE = {"finished", "complete", "completed", "done", "success", "succeeded", "ok", "good", "converged"}
NOT_DONE = {
    "running",
    "queued",
    "pending",
    "crashed",
    "failed",
    "failure",
    "killed",
    "cancelled",
    "canceled",
    "preempted",
}
NOT_DONE |= {"preempting", "diverged", "aborted", "error", "timeout", "oom", "nan", "unfinished", "stopped", "bad"}
MARKS = ("outlier", "isoutlier", "diverged", "isdiverged", "hasdiverged", "crashed", "failed", "excluded", "exclude")
FINISHED = 0.99  # of a plan, below which a run did not end
# Steps so far, as a log of training counts them; and steps that may be those of a whole run.
STEPS = ("step", "globalstep", "iteration", "iter", "checkpoint", "checkpointstep", "ckptstep", "trainstep")
COUNTS = ("steps", "nsteps", "trainsteps", "trainingsteps", "iterations", "iters", "updates")
STEP_PLANS = (
    *("maxsteps", "totalsteps", "plannedsteps", "targetsteps", "maxiters", "maxiterations", "totaliterations"),
    *("totaliters", "maxtrainsteps", "totaltrainsteps", "numtrainsteps", "numtrainingsteps", "stepbudget"),
)
TOKEN_PLANS = (
    "tokenbudget",
    "tokensbudget",
    "budgettokens",
    "targettokens",
    "plannedtokens",
    "maxtokens",
    "tokensplanned",
)
TRUE, FALSE = {"true", "1", "1.0", "yes", "y", "t"}, {"false", "0", "0.0", "no", "n", "f", "", "none", "nan"}


def kept(raw: RawTable, where: Iterable[str] = ()) -> RawTable:
    """The rows to read, with a note on each kind that was left out.

    Raises:
      ValueError: a condition of `where` that is wrong, or that no row meets.
    """
    for text in [where] if isinstance(where, str) else where:
        raw = _where(raw, text)
    for at, name in enumerate(raw.columns):
        last = plain(name.rsplit(".", 1)[-1])
        if last in STATES or last in MARKS:
            raw = _as_marked(raw, at, name, is_state=last in STATES)
    return raw


def _where(raw: RawTable, text: str) -> RawTable:
    condition = conditions.parse(text, raw.columns, raw.name)
    cells = raw.frame.iloc[:, raw.columns.index(condition.column)]
    keep = conditions.met(condition, cells, raw.name)
    return only(raw, keep, f"Kept are {keep.sum()} of {len(keep)} rows, where {text}.")


def only(raw: RawTable, keep: np.ndarray, note: str) -> RawTable:
    """The rows of `keep` [n], with one note more."""
    return replace(raw, frame=raw.frame[keep], rows=raw.rows[keep], notes=(*raw.notes, note))


def _as_marked(raw: RawTable, at: int, name: str, *, is_state: bool) -> RawTable:
    """Leaves out what a column such as `status` or `outlier` marks. One with unknown words is not such a column."""
    cells = raw.frame.iloc[:, at]
    words = cells.where(cells.notna(), "").astype(str).str.strip().str.casefold()
    known = DONE | NOT_DONE | {""} if is_state else TRUE | FALSE
    wrong = words.isin(NOT_DONE if is_state else TRUE).to_numpy(bool)
    if not words.isin(known).all() or not wrong.any():
        return raw
    listed = "; ".join(
        f"{named(raw.rows[(words == word).to_numpy(bool)])} ({name} = {word})" for word in sorted(set(words[wrong]))
    )
    return only(raw, ~wrong, f"Left out by the column {name}: {listed}.")


def last_part(name: str) -> str:
    """The last part of a name as `column_names.plain` has it: `trainer/global_step` is globalstep."""
    return plain(name.replace("/", ".").rsplit(".", 1)[-1])


def column_called(raw: RawTable, words: Iterable[str]) -> int | None:
    """Position of the column whose last part is the first of `words` that one has; None without one."""
    parts = [last_part(name) for name in raw.columns]
    return next((parts.index(word) for word in words if word in parts), None)


def progress(raw: RawTable, columns: Mapping[str, Column], *, tokens: bool = True) -> tuple[np.ndarray, str] | None:
    """How much of its plan each row [n] reached, and the two columns that say so; None where no column has a plan.

    Args:
      tokens: whether D holds the tokens seen, so that a plan in tokens can be compared with it.
    """
    pairs = [(column_called(raw, (*STEPS, *COUNTS)), 1.0, column_called(raw, STEP_PLANS))]
    if tokens and "D" in columns:
        pairs.append((columns["D"].at, columns["D"].factor, _token_plan(raw)))
    for at, factor, planned in pairs:
        if at is None or planned is None or at == planned:
            continue
        names = raw.columns
        reached, about_reached = read_numbers(raw.frame.iloc[:, at], raw.rows, allow_zero=True)
        plan, about_plan = read_numbers(raw.frame.iloc[:, planned], raw.rows)
        for name, problem in ((names[at], about_reached), (names[planned], about_plan)):
            if problem:
                raise ValueError(f"column {name}: {problem}, so its run's progress is not known")
        said = units.from_name(names[planned]) if at == getattr(columns.get("D"), "at", None) else None
        return reached * factor / (plan * (said.factor if said else 1.0)), f"{names[at]} / {names[planned]}"
    return None


def _token_plan(raw: RawTable) -> int | None:
    bases = [said.base if (said := units.from_name(name)) else last_part(name) for name in raw.columns]
    return next((bases.index(word) for word in TOKEN_PLANS if word in bases), None)


def unfinished(
    raw: RawTable, columns: Mapping[str, Column], names: np.ndarray, least: float, *, tokens: bool = True
) -> tuple[np.ndarray, str]:
    """Whether each run [n] reached less than the share `least` of its plan, and a note that names those that did.

    Raises:
      ValueError: `least` is no share, no column has a plan, or no run reached so much of it.
    """
    if not 0 < least <= 1:
        raise ValueError(f"min_progress: a share of each run's plan, above 0 and at most 1 - got {least!r}")
    found = progress(raw, columns, tokens=tokens)
    if found is None:
        raise ValueError(
            "min_progress: no column says what a run had planned - needed is one such as max_steps beside step, or "
            f"target_tokens beside D; it has {', '.join(raw.columns)}"
        )
    share, label = found
    short = share < least
    if short.all():
        raise ValueError(f"min_progress: no run reached {least:g} of its plan; the furthest is at {share.max():.3g}")
    listed = ", ".join(f"{name} ({at:.1%})" for name, at in zip(names[short], share[short], strict=True))
    return short, f"Left out, below {least:g} of their plan by {label}: {listed}." if short.any() else ""


def about_unfinished(raw: RawTable, columns: Mapping[str, Column], names: np.ndarray, *, tokens: bool = True) -> str:
    """A warning on runs [n] that reached less than `FINISHED` of their plan, where a column tells it."""
    try:
        found = progress(raw, columns, tokens=tokens)
    except ValueError:  # a plan that cannot be read is a column that is not used
        return ""
    short = np.zeros(len(names), bool) if found is None else found[0] < FINISHED
    if not short.any():
        return ""
    return (
        f"{named(list(names[short]), 'run')} ended below {FINISHED:g} of the plan by {found[1]}, and "
        f"{'was' if short.sum() == 1 else 'were'} fitted as far as trained. Leave out such with --min-progress "
        f"{FINISHED:g}."
    )


def repeated(raw: RawTable) -> tuple[np.ndarray, str]:
    """Whether each row [n] repeats an earlier one in every cell, and a note on those that do."""
    frame = raw.frame.loc[:, [name != raw.file_column or not name for name in raw.columns]]
    again = frame.astype(str).set_axis(range(frame.shape[1]), axis=1).duplicated().to_numpy(bool)
    if not again.any():
        return again, ""
    repeat = "repeats" if again.sum() == 1 else "repeat"
    return again, f"Left out: {named(raw.rows[again])} {repeat} an earlier row in every column."
