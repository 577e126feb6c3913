"""The tables of a work directory as the page needs them: which run is what, and its curve so far."""

import csv
import io
import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from vsweep.config.fields import AXES
from vsweep.schema import DIVERGED, FINISHED, OPTIONAL_COLUMNS, QUEUED, RUNNING
from vsweep.tables import check_rows

LOSSES = ("excess_loss", "val_loss", "answer_loss")  # the first one that all curves have is judged
SEEDS = ("seed", "init_seed", "data_seed", "dropout_seed")
RUN_NEEDS = ("run_id", "stack", "batch_size", "budget", "params", "params_non_embedding", "tokens", "steps", "status")
CURVE_NEEDS = ("run_id", "steps", *LOSSES)


@dataclass
class Run:
    """One run: `settings` are all that its seeds do not change; `curve` is step -> its losses, in nats per token."""

    run_id: str
    stack: str
    status: str
    steps: int  # trained, as of the tables
    batch_size: int
    budget: float
    sizes: dict[str, float]  # both conventions of N
    tokens: float  # trained
    settings: tuple
    diverged_at: int | None = None
    horizon: int = 0  # steps of the whole run, which plan.json knows; 0: it does not
    curve: dict[int, dict[str, float]] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        return self.status in (FINISHED, DIVERGED)

    def add(self, step: int, losses: dict[str, float]) -> None:
        """An evaluation that the tables do not have yet."""
        self.curve.setdefault(step, losses)
        if not self.has_ended:
            self.status = RUNNING


def planned(run_id: str, stack: str, batch_size: int) -> Run:
    """A run before there are tables: its settings are not known, so it is compared with no other."""
    unknown = math.nan
    sizes = {"params": unknown, "params_non_embedding": unknown}
    return Run(run_id, stack, QUEUED, 0, batch_size, unknown, sizes, unknown, settings=(run_id,))


def read(runs_csv: bytes, curves_csv: bytes) -> dict[str, Run]:
    """run_id -> run, in the order of runs.csv. Raises ValueError for what is no table of vsweep."""
    rows = _frame("runs.csv", runs_csv, RUN_NEEDS)
    settings = [name for name in ("stack", "task", *AXES, *OPTIONAL_COLUMNS) if name in rows and name not in SEEDS]
    keys = rows[settings].astype(str).itertuples(index=False, name=None)
    runs = {str(row["run_id"]): _run(row, key) for row, key in zip(rows.to_dict("records"), keys, strict=True)}
    curves = _frame("curves.csv", curves_csv, CURVE_NEEDS)
    columns = [curves[name].to_numpy(float) for name in LOSSES]
    for run_id, step, *losses in zip(curves["run_id"], curves["steps"], *columns, strict=True):
        if run_id in runs:
            runs[run_id].curve[int(step)] = dict(zip(LOSSES, map(float, losses), strict=True))
    return runs


def judged_loss(runs: dict[str, Run]) -> str:
    """Excess loss where the floor is known; else the held-out loss: a logarithm needs numbers above 0."""
    values = np.array([[point[name] for name in LOSSES] for run in runs.values() for point in run.curve.values()])
    if len(values) and np.nanmin(np.where(np.isnan(values[:, 0]), -1.0, values[:, 0])) > 0:
        return LOSSES[0]
    return LOSSES[1]


def _run(row: dict, settings: tuple) -> Run:
    diverged = row.get("diverged_at_step")
    return Run(
        run_id=str(row["run_id"]),
        stack=str(row["stack"]),
        status=str(row["status"]),
        steps=_whole(row["steps"]),
        batch_size=_whole(row["batch_size"]),
        budget=float(row["budget"]),
        sizes={name: float(row[name]) for name in ("params", "params_non_embedding")},
        tokens=float(row["tokens"]),
        settings=settings,
        diverged_at=None if diverged is None or math.isnan(float(diverged)) else int(diverged),
    )


def _whole(value: float) -> int:
    return 0 if math.isnan(float(value)) else int(value)


def _frame(name: str, content: bytes, needs: tuple[str, ...]) -> pd.DataFrame:
    try:
        text = content.decode()
        check_rows(text)
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{name}: damaged, or no table of vsweep - {error}") from error
    frame = pd.read_csv(io.StringIO(text), dtype={"run_id": str, "stack": str}, low_memory=False)
    if missing := [column for column in needs if column not in frame]:
        raise ValueError(f"{name}: no table of vsweep, it has no {', '.join(missing)}")
    numbers = [column for column in needs if column not in ("run_id", "stack", "status")]
    return frame.assign(**{column: pd.to_numeric(frame[column]) for column in numbers})
