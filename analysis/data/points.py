"""From a work directory or any table of points to one tidy form, with every run that is left out named.

The fits see a table with the columns run_id, size, params, tokens, flops, loss, seed, budget, and where they are known
isoflop (the compute of its IsoFLOP group), unique_tokens and weight: one row a finished run.
Nothing is clipped: a loss without a logarithm, a diverged run or one still in training is listed with its reason.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
import pandas as pd

from vsweep import schema, tables
from vsweep.analysis.data import conditions, extra_columns, foreign_tables
from vsweep.analysis.data.column_names import named, read_numbers
from vsweep.analysis.data.foreign_tables import BadTable, group_close
from vsweep.analysis.data.units import NATS
from vsweep.analysis.fitting.objective import Objective

# What each loss of runs.csv means for the law. A known floor makes the law E = 0; otherwise E is fitted.
KNOWN, FREE = "known", "free"
LOSSES = {"excess_loss": KNOWN, "answer_loss": KNOWN, "val_loss": FREE, "loss": FREE}
SIZE_CONVENTIONS = ("params", "params_non_embedding")
FLOP_CONVENTIONS = ("flops_6nd", "flops_counted")
OWN_FLOPS = "flops_own"  # of a table whose C is not 6ND
SEED_COLUMNS = ["seed", "init_seed", "data_seed", "dropout_seed"]
SHAPE_COLUMNS = ["width", "layers", "ff_multiple", "tied_embeddings"]
# Everything else that a sweep may vary. Where one does, each cell keeps its best setting and the others are named.
SETTING_COLUMNS = [axis for axis in schema.AXES if axis not in (*SEED_COLUMNS, *SHAPE_COLUMNS, "budget")]
TEXT_COLUMNS = (
    *("run_id", "stack", "task", "schedule", "precision", "tied_embeddings"),
    *("status", "device", "matmul_precision", "versions"),
)
PLANNED_COLUMNS = ("params", "params_non_embedding", "budget")  # known before a run has begun
COUNTED_COLUMNS = (*PLANNED_COLUMNS, "tokens", "flops_6nd", "flops_counted")
# What a diverging run may make infinite, and noise negative. All other numbers are counts, times and settings.
MEASURED_COLUMNS = tuple(name for name in schema.RUN_COLUMNS if name.endswith(("_loss", "_se", "_match")))
SEEDS_END = 2.0**63  # of 64-bit integers
LARGEST = 1e60  # of any number: float32 ends at 3.4e38, and a fit may square one
OPTIONAL_COLUMNS = ("isoflop", "unique_tokens", "weight")  # FLOP, tokens, a factor of each point's misfit


class ExclusionKind(StrEnum):
    """Why a run is excluded from a fit. The value is how sentences call a run of this kind."""

    DIVERGED = "diverged"
    RUNNING = "still running"
    NOT_FINISHED = "not finished"
    NO_LOSS = "without a recorded loss"
    NO_LOGARITHM = "loss at or below zero"
    NOT_TRAINED = "without recorded tokens or FLOP"
    WORSE_SETTING = "another setting was better"


@dataclass(frozen=True)
class Exclusion:
    """One run that a fit does not see: the kind of its exclusion, and the reason with its numbers."""

    run_id: str
    kind: ExclusionKind
    reason: str


@dataclass(frozen=True)
class Refusal:
    """A fit that was not made. It takes the place of the fit, so that the rest of the analysis goes on."""

    method: str
    reason: str


@dataclass(frozen=True)
class Convention:
    """Which loss, which N and which FLOPs a fit uses, whether the floor E is known or free, and what is minimised.

    `given_floor` holds E of a loss without a known floor at a number, instead of fitting it. `annealed_only` says
    whether an envelope counts only the last 15 % of each run; None: where enough sizes win there.
    """

    loss: str
    size: str = "params"
    flops: str = "flops_6nd"
    given_floor: float | None = None
    objective: Objective = field(default_factory=Objective)
    annealed_only: bool | None = None

    @property
    def floor(self) -> str:
        """How E is treated: `known`, `free`, or the number at which it is held, such as `= 1.7`."""
        return LOSSES[self.loss] if self.given_floor is None else f"= {self.given_floor:g}"

    @property
    def floor_free(self) -> bool:
        """Whether E is fitted."""
        return self.floor == FREE

    @property
    def floor_value(self) -> float | None:
        """E where it is not fitted: 0 for losses that are an excess over a known floor."""
        return None if self.floor_free else self.given_floor or 0.0

    def describe(self) -> str:
        """The convention in words."""
        n = {"params": "N = all parameters", "params_non_embedding": "N = parameters without embeddings"}[self.size]
        c = {"flops_6nd": "C = 6ND", "flops_counted": "C = counted FLOPs", OWN_FLOPS: "C = the table's own"}[self.flops]
        return f"{self.loss}, E {self.floor}, {n}, {c}"


@dataclass(frozen=True)
class Source:
    """What was loaded: all runs (one row each), their curves if there are any, and where they came from."""

    path: Path  # `the table` for a DataFrame
    is_workdir: bool
    runs: pd.DataFrame
    curves: pd.DataFrame | None
    notes: tuple[str, ...] = ()  # sentences on how the columns of a foreign table were read
    times: pd.DataFrame | None = None  # where the time of a sweep went, if it says so
    loss_unit: str = NATS  # one of `units.LOSS_UNITS`, never perplexity
    warnings: tuple[str, ...] = ()  # what makes a table doubtful, for the top of a report
    settings: tuple[str, ...] = tuple(SETTING_COLUMNS)  # columns of hyperparameters

    @property
    def title(self) -> str:
        """Name of the work directory or of the file."""
        return self.path.resolve().name

    @property
    def losses(self) -> tuple[str, ...]:
        """The losses that can be fitted, the most telling one first."""
        return ("excess_loss", "answer_loss", "val_loss") if self.is_workdir else ("loss",)

    @property
    def counts_its_own_way(self) -> bool:
        """Whether this is a table whose C is not 6ND."""
        if self.is_workdir:
            return False
        return not np.allclose(self.runs["flops_6nd"], 6 * self.runs["params"] * self.runs["tokens"], rtol=0.01)

    def count(self, status: str) -> int:
        """How many runs have this status; those that have not started count as running."""
        counted = (status, schema.QUEUED) if status == schema.RUNNING else (status,)
        return int(self.runs["status"].isin(counted).sum())


@dataclass(frozen=True)
class Points:
    """The points of one convention. `table` holds one row a run; `curves` one row an evaluation of these runs."""

    convention: Convention
    table: pd.DataFrame
    exclusions: tuple[Exclusion, ...] = ()
    curves: pd.DataFrame | None = None

    def column(self, name: str) -> np.ndarray:
        """One column as floats [runs]."""
        return self.table[name].to_numpy(float)

    @property
    def law_columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """N, D and loss of every run."""
        return self.column("params"), self.column("tokens"), self.column("loss")

    @property
    def weights(self) -> np.ndarray:
        """What each run counts in a parametric fit, 1 unless the table has a column of weights."""
        return self.column("weight") if "weight" in self.table else np.ones(len(self.table))

    def losses_of(self, size: float, budget: float) -> np.ndarray:
        """The losses of one cell, a seed each."""
        return self.table.query("size == @size and budget == @budget")["loss"].to_numpy(float)

    @property
    def seeds(self) -> list:
        """The distinct seeds, sorted; empty where no run names one."""
        return sorted(self.table["seed"].dropna().unique())

    def of_seed(self, seed: object) -> "Points":
        """The same convention with the runs of one seed only."""
        return self.where(self.table["seed"] == seed)

    def where(self, keep: pd.Series) -> "Points":
        """The same convention with the rows of `keep` only, and their curves."""
        table = self.table[keep]
        curves = None if self.curves is None else self.curves[self.curves["run_id"].isin(table["run_id"])]
        return replace(self, table=table, curves=curves)


def load(
    source: str | Path | pd.DataFrame,
    *,
    columns: Iterable[str] | Mapping[str, str] = (),
    loss_unit: str | None = None,
    where: Iterable[str] = (),
) -> Source:
    """Loads a vsweep work directory or a table with a loss and two of N, D, C (seed, budget and more are optional).

    Args:
      source: the directory, a file in any format of `formats`, or a DataFrame.
      columns: which column of a table is what, such as `{"D": "tokens_B*1e9"}` or `["D=tokens_B*1e9"]`.
      loss_unit: unit of a table's loss, one of `units.LOSS_UNITS` (default: what its name says, else nats/token).
      where: conditions on the runs to keep, such as `dataset == "web"` or `layers=4,8` (`conditions.parse`).

    Raises:
      BadTable: nothing is there, a column is missing or doubtful, or a value is missing, not a number, or not positive.
      ValueError: columns or a unit for a work directory, which has its own, or a condition that no run of it meets.
    """
    if not isinstance(source, pd.DataFrame) and (source := Path(source)).is_dir():
        if columns or loss_unit:
            raise ValueError(f"{source}: a work directory has its own columns; leave out --column and --loss-unit")
        return conditions.keep(_load_workdir(source), where)
    table = foreign_tables.read(source, columns=columns, loss_unit=loss_unit, where=where)
    path = foreign_tables.IN_MEMORY if isinstance(source, pd.DataFrame) else source
    return Source(path, False, table.runs, None, table.notes, None, table.loss_unit, table.warnings, table.settings)


def _load_workdir(path: Path) -> Source:
    if not (path / schema.RUNS_FILE).is_file():
        raise BadTable(f"{path}: no {schema.RUNS_FILE} here - is this the work directory of a sweep?")
    try:
        runs = tables.read_runs(path)
        curves = tables.read_curves(path) if (path / schema.CURVES_FILE).is_file() else None
        times = tables.read_times(path)
    except ValueError as error:
        raise BadTable(str(error)) from error
    _check_runs(path / schema.RUNS_FILE, runs)
    runs = _as_floats(runs)
    if curves is not None:
        _raise(path / schema.CURVES_FILE, _no_numbers(curves))
        curves = _as_floats(curves)
    if times is not None:
        _raise(path / schema.TIMES_FILE, list(_wrong(times, schema.ACTIVITIES, allow_zero=True).values()))
    runs["seed_block"] = _seed_blocks(runs)
    return Source(path, True, runs, curves, times=times)


def _check_runs(path: Path, runs: pd.DataFrame) -> None:
    if runs.empty:
        raise BadTable(f"{path}: the table has no rows")
    wrong = _wrong(runs, PLANNED_COLUMNS)
    _raise(path, [*wrong.values(), *_no_numbers(runs.drop(columns=list(wrong))), *_no_names(runs["run_id"])])
    more = runs["params_non_embedding"].astype(float) > runs["params"].astype(float)
    _raise(path, [f"column params_non_embedding: more than params in {_rows(more)}"] if more.any() else [])


def _wrong(frame: pd.DataFrame, columns: Sequence[str], *, allow_zero: bool = False) -> dict[str, str]:
    """What is wrong, by column, in columns of positive numbers, none of which may be empty."""
    rows = np.arange(2, len(frame) + 2)  # the header is row 1
    checked = {name: read_numbers(frame[name], rows, allow_zero=allow_zero)[1] for name in columns}
    return {name: f"column {name}: {problem}" for name, problem in checked.items() if problem}


def _no_names(run_ids: pd.Series) -> list[str]:
    wrong = {"empty": run_ids.isna(), "not the only run of its name": run_ids.notna() & run_ids.duplicated(keep=False)}
    return [f"column run_id: {what} in {_rows(rows)}" for what, rows in wrong.items() if rows.any()]


def _no_numbers(frame: pd.DataFrame) -> list[str]:
    """Cells that no sweep writes into a column of numbers; an empty one has not been measured yet."""
    problems = []
    for name in _number_columns(frame):
        values = _floats(frame[name])
        wrong = {"not a number": frame[name].notna().to_numpy() & np.isnan(values)}
        if name in MEASURED_COLUMNS:
            wrong["too large"] = (np.abs(values) > LARGEST) & np.isfinite(values)
        else:
            wrong["negative, too large or infinite"] = (values < 0) | (values > LARGEST)
        if name in COUNTED_COLUMNS:
            wrong["below one"] = (values > 0) & (values < 1)
        if name in SEED_COLUMNS:
            whole = np.isfinite(values) & (values < SEEDS_END) & (np.floor(values) == values)
            wrong["no seed"] = np.isfinite(values) & ~whole
        problems += [
            f"column {name}: {what} in {_rows(rows)} (such as {str(frame[name][rows].iloc[0])[:20]!r})"
            for what, rows in wrong.items()
            if rows.any()
        ]
    return problems


def _floats(column: pd.Series) -> np.ndarray:
    """Its numbers, and NaN for text; an integer of hundreds of digits is infinite."""
    try:
        return pd.to_numeric(column, errors="coerce").to_numpy(float)
    except OverflowError:
        return read_numbers(column, np.arange(len(column)))[0]


def _number_columns(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame if name in schema.RUN_COLUMNS and name not in TEXT_COLUMNS]


def _as_floats(frame: pd.DataFrame) -> pd.DataFrame:
    """The checked table, its numbers as numpy's: pandas leaves a column with one too large for 64 bits as objects."""
    objects = [name for name in _number_columns(frame) if frame[name].dtype == object]
    return frame.astype(dict.fromkeys(objects, float))


def _rows(wrong: np.ndarray | pd.Series) -> str:
    return named(np.flatnonzero(wrong) + 2)


def _raise(path: Path, problems: list[str]) -> None:
    if problems:
        raise BadTable(f"{path}: {'; '.join(problems)}")


def _seed_blocks(runs: pd.DataFrame) -> pd.Series:
    """One label a block of runs that share randomness: the seed, or all four seeds where they are separate axes."""
    seeds = runs[SEED_COLUMNS].astype("Int64").astype(str)
    if len(seeds.drop_duplicates()) == seeds["seed"].nunique():
        return seeds["seed"]
    return seeds.agg("/".join, axis=1)


def select(source: Source, convention: Convention) -> Points:
    """The finished runs that a log fit of `convention` may see; all others become exclusions with reasons."""
    runs = source.runs
    table = pd.DataFrame(
        {
            "run_id": runs["run_id"].astype(str),
            "params": runs[convention.size if source.is_workdir else "params"].astype(float),
            "tokens": pd.to_numeric(runs["tokens"]),
            "loss": pd.to_numeric(runs[convention.loss]),
            "seed": runs["seed_block"],
            "budget": runs["budget"].astype(float),
            "status": runs["status"],
        }
    )
    table["size"] = table["params"] if source.is_workdir else group_close(table["params"].to_numpy(float))
    table["width"] = runs["width"] if source.is_workdir else np.nan
    for name in ("floor", *OPTIONAL_COLUMNS) if source.is_workdir else OPTIONAL_COLUMNS:
        if name in runs:
            table[name] = runs[name].astype(float)
    table["flops"] = _flops(runs, table, convention, source.is_workdir)
    steps = runs["diverged_at_step"] if source.is_workdir else pd.Series(np.nan, runs.index)
    excluded = _excluded(table, convention.loss, pd.to_numeric(steps))
    excluded |= _worse_settings(runs, table.drop(index=list(excluded)), source.settings)
    exclusions = tuple(entry for _, entry in sorted(excluded.items()))
    table = table.drop(index=list(excluded)).drop(columns="status").reset_index(drop=True)
    return Points(convention, table, exclusions, _curves_of(source, table, convention))


def _flops(runs: pd.DataFrame, table: pd.DataFrame, convention: Convention, is_workdir: bool) -> pd.Series:
    if convention.flops == "flops_counted":
        return pd.to_numeric(runs["flops_counted"])
    # The column flops_6nd of a sweep uses all parameters; with another N, C follows that N.
    return 6 * table["params"] * table["tokens"] if is_workdir else runs["flops_6nd"]


def _excluded(table: pd.DataFrame, loss: str, diverged_at_step: pd.Series) -> dict[int, Exclusion]:
    """By row of `table`: the runs that have no loss to fit, or none with a logarithm."""
    found = {}
    trained = (table["tokens"] > 0) & (table["flops"] > 0)
    for row, status, value in table[["status", "loss"]].itertuples():
        if status == schema.DIVERGED:
            step = diverged_at_step[row]
            found[row] = ExclusionKind.DIVERGED, "diverged" if np.isnan(step) else f"diverged at step {step:.0f}"
        elif status in (schema.QUEUED, schema.RUNNING):
            found[row] = ExclusionKind.RUNNING, "still running"
        elif status != schema.FINISHED:
            found[row] = ExclusionKind.NOT_FINISHED, f"status {status}"
        elif not np.isfinite(value):
            found[row] = ExclusionKind.NO_LOSS, f"no {loss} recorded"
        elif value <= 0:
            found[row] = ExclusionKind.NO_LOGARITHM, f"{loss} = {value:.3g} has no logarithm"
        elif not trained[row]:
            found[row] = ExclusionKind.NOT_TRAINED, "no tokens or FLOP recorded"
    return {row: Exclusion(table.at[row, "run_id"], *why) for row, why in found.items()}


def varying_settings(runs: pd.DataFrame, settings: Iterable[str] = SETTING_COLUMNS) -> list[str]:
    """The hyperparameters, other than shape, budget and seeds, that take more than one value."""
    return [name for name in settings if name in runs and runs[name].nunique(dropna=False) > 1]


def _worse_settings(runs: pd.DataFrame, usable: pd.DataFrame, columns: tuple[str, ...]) -> dict[int, Exclusion]:
    """By row: the runs whose hyperparameters another setting of the same cell beats (mean log loss over seeds)."""
    settings = varying_settings(runs, columns)
    if not settings or usable.empty:
        return {}
    worse = extra_columns.worse_settings(runs, usable, settings)
    return {row: Exclusion(usable.at[row, "run_id"], ExclusionKind.WORSE_SETTING, why) for row, why in worse.items()}


def _curves_of(source: Source, table: pd.DataFrame, convention: Convention) -> pd.DataFrame | None:
    """The evaluations of the runs of `table`, with their size, budget, seed and FLOPs in the same convention."""
    if source.curves is None or source.curves.empty or table.empty:
        return None
    known = table[["run_id", "size", "params", "budget", "seed", "width"]]
    columns = ["run_id", "steps", "tokens", "flops_6nd", "flops_counted", convention.loss]
    curves = source.curves[columns].merge(known, on="run_id")
    curves["tokens"] = curves["tokens"].astype(float)
    counted = convention.flops == "flops_counted"
    curves["flops"] = curves["flops_counted"].astype(float) if counted else 6 * curves["params"] * curves["tokens"]
    curves = curves.rename(columns={convention.loss: "loss"}).drop(columns=["flops_6nd", "flops_counted"])
    return curves[curves["tokens"] > 0].sort_values(["run_id", "tokens"]).reset_index(drop=True)
