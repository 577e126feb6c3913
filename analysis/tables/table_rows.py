"""Which rows of a foreign table are read: those that the user keeps, that are finished, and each of them once.

Every row that is left out is named in a note.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from vsweep.analysis.tables import conditions
from vsweep.analysis.tables.column_names import named, plain
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


def repeated(raw: RawTable) -> tuple[np.ndarray, str]:
    """Whether each row [n] repeats an earlier one in every cell, and a note on those that do."""
    again = raw.frame.astype(str).set_axis(range(raw.frame.shape[1]), axis=1).duplicated().to_numpy(bool)
    if not again.any():
        return again, ""
    repeat = "repeats" if again.sum() == 1 else "repeat"
    return again, f"Left out: {named(raw.rows[again])} {repeat} an earlier row in every column."
