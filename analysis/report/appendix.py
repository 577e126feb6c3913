"""What stands folded at the end of the page: how the runs were trained, what was refused, all runs, and the terms."""

from collections.abc import Sequence

import pandas as pd

from vsweep.analysis import sections
from vsweep.analysis.data.source import Refusal, Source
from vsweep.analysis.formatting import count
from vsweep.analysis.report import timing
from vsweep.analysis.sections.base import MOST_ROWS, LossStudy, Table, long_table
from vsweep.analysis.uncertainty.approach import NAMES

RUN_TABLE = (
    "run_id",
    "status",
    "params",
    "tokens",
    "flops_6nd",
    "loss",
    "val_loss",
    "excess_loss",
    "answer_loss",
    "exact_match",
    "wall_s",
)


# What was trained


def banner(source: Source) -> str:
    """A warning above everything where runs are missing; empty for a finished sweep."""
    done, total = source.count("finished") + source.count("diverged"), len(source.runs)
    if done == total:
        return ""
    return f"{source.count('finished')} of {total} runs finished. This sweep is not complete: the numbers will change."


def trained(source: Source) -> Table:
    """The facts of a sweep; of a table how it was read."""
    runs = source.runs
    if not source.is_workdir:
        notes = " ".join(source.notes)
        return Table("How the table was read", (), (("points", str(len(runs))), ("columns", notes or "as named")))
    counts = ", ".join(f"{source.count(status)} {status}" for status in ("finished", "running", "diverged"))
    facts = {
        "runs": f"{len(runs)} ({counts})",
        "task": _unique(runs["task"]),
        "widths": _unique(runs["width"]),
        "budgets (tokens)": _unique(runs["budget"]),
        "seeds": f"{runs['seed_block'].nunique()}",
        "device": _unique(runs["device"]),
        "precision": f"{_unique(runs['precision'])}, matmul {_unique(runs['matmul_precision'])}",
        # Running rows have no wall time yet.
        "training time, all runs": _duration(pd.to_numeric(runs["wall_s"]).sum()),
        "versions": _unique(runs["versions"]),
        **({"notes": " ".join(source.notes)} if source.notes else {}),
        "trained in one environment": in_one_environment(runs["inexact_resumes"]),
    }
    return Table(f"How these {len(runs)} runs were trained", (), tuple(facts.items()))


def in_one_environment(resumes: pd.Series) -> str:
    """Whether all runs stayed in the environment that they began in, from their counts of inexact resumes."""
    if resumes.isna().any():
        return "not recorded"
    moved = int((resumes > 0).sum())
    return f"all but {count(moved, 'run')} (inexact_resumes in runs.csv)" if moved else "all runs"


def _unique(column: pd.Series) -> str:
    values = [f"{value:,}" if isinstance(value, int) else str(value) for value in column.dropna().unique().tolist()]
    return ", ".join(values) or "not recorded"


def _duration(wall_s: float) -> str:
    minutes, seconds = divmod(round(wall_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min {seconds} s" if hours else f"{minutes} min {seconds} s"


# Tables at the end


def refused(studies: Sequence[LossStudy], skipped: Sequence[Refusal]) -> list[Table]:
    """The fits that were not made and the figures that were not drawn, with their reasons."""
    fits = tuple(
        (study.loss, NAMES.get(refusal.method, refusal.method), refusal.reason)
        for study in studies
        for refusal in sections.refusals(study)
    )
    figures = tuple((refusal.method, refusal.reason) for refusal in skipped)
    found = [
        Table(f"Refused fits ({len(fits)})", ("loss", "fit", "reason"), fits),
        Table(f"Figures that would be empty ({len(figures)})", ("figure", "reason"), figures),
    ]
    return [table for table in found if table.rows]


def all_runs(source: Source) -> Table:
    """One row a run."""
    columns = tuple(name for name in RUN_TABLE if name in source.runs)
    values = source.runs[list(columns)].head(MOST_ROWS).astype(object).itertuples(index=False)
    rows = (tuple(_cell(value) for value in row) for row in values)
    where = "runs.csv" if source.is_workdir else source.title
    return long_table(f"All {len(source.runs)} runs", columns, rows, total=len(source.runs), where=where)


def _cell(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if pd.isna(value) else f"{value:,}" if isinstance(value, int) else f"{value:.5g}"


def times(source: Source) -> list[Table]:
    """Where the time of a sweep went, if it says so."""
    if source.times is None:
        return []
    head = ("stack", "wall time, s", *timing.ACTIVITIES.values())
    rows = tuple(map(tuple, timing.rows(source.times)))
    return [Table("Where the time went", head, rows, timing.sentence(source.times))]
