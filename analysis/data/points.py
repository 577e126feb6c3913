"""From a work directory or any table of points to one tidy form, with every run that is left out named.

The fits see a table with the columns run_id, size, params, tokens, flops, loss, seed, budget, and where they are known
isoflop (the compute of its IsoFLOP group), unique_tokens and weight: one row a finished run.
Nothing is clipped: a loss without a logarithm, a diverged run or one still in training is listed with its reason.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import pandas as pd

from vsweep import schema
from vsweep.analysis.data.source import SETTING_COLUMNS, Convention, Source
from vsweep.analysis.tables import extra_columns
from vsweep.analysis.tables.compute import group_close
from vsweep.analysis.tables.units import NATS

SLACK = 0.01  # label tokens of a batch vary
OPTIONAL_COLUMNS = ("isoflop", "unique_tokens", "weight")  # FLOP, tokens, a factor of each point's misfit


class ExclusionKind(StrEnum):
    """Why a run is excluded from a fit. The value is how sentences call a run of this kind."""

    DIVERGED = "diverged"
    RUNNING = "still running"
    NOT_FINISHED = "not finished"
    NO_LOSS = "without a recorded loss"
    NO_LOGARITHM = "loss at or below zero"
    NOT_TRAINED = "without recorded tokens or FLOP"
    NO_SIZE = "without a parameter that counts"
    WORSE_SETTING = "another setting was better"


@dataclass(frozen=True)
class Exclusion:
    """One run that a fit does not see: the kind of its exclusion, and the reason with its numbers."""

    run_id: str
    kind: ExclusionKind
    reason: str


@dataclass(frozen=True)
class Points:
    """The points of one convention. `table` holds one row a run; `curves` one row an evaluation of these runs."""

    convention: Convention
    table: pd.DataFrame
    exclusions: tuple[Exclusion, ...] = ()
    curves: pd.DataFrame | None = None
    loss_unit: str = NATS

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

    @functools.cached_property
    def by_seed(self) -> dict[object, "Points"]:
        """The runs of each seed alone, parted once: every approach is asked about each."""
        return {seed: self.of_seed(seed) for seed in self.seeds}

    def of_seed(self, seed: object) -> "Points":
        """The same convention with the runs of one seed only."""
        return self.where(self.table["seed"] == seed)

    def where(self, keep: pd.Series) -> "Points":
        """The same convention with the rows of `keep` only, and their curves."""
        table = self.table[keep]
        curves = None if self.curves is None else self.curves[self.curves["run_id"].isin(table["run_id"])]
        return replace(self, table=table, curves=curves)


def select(source: Source, convention: Convention, *, also: Iterable[str] = (), best_settings: bool = True) -> Points:
    """The finished runs that a log fit of `convention` may see; all others become exclusions with reasons.

    Args:
      also: columns of the runs that the table keeps as they are, under their own names.
      best_settings: whether each cell keeps its best setting only. Without it, no run is left out for its setting.
    """
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
    table["size"] = _sizes(source, table)
    table["width"] = runs["width"] if source.is_workdir else np.nan
    for name in ("floor", *OPTIONAL_COLUMNS) if source.is_workdir else OPTIONAL_COLUMNS:
        if name in runs:
            table[name] = runs[name].astype(float)
    table["flops"] = _flops(runs, table, convention, source.is_workdir)
    if source.is_workdir and "isoflop" in table and not _is_designed_for(table, runs):
        table = table.drop(columns="isoflop")  # its groups have equal compute by another convention only
    steps = runs["diverged_at_step"] if source.is_workdir else pd.Series(np.nan, runs.index)
    excluded = _excluded(table, convention.loss, pd.to_numeric(steps), known=bool(source.variable))
    if best_settings:
        excluded |= _worse_settings(runs, table.drop(index=list(excluded)), source.settings)
    table = table.assign(**{name: runs[name] for name in also})
    exclusions = tuple(entry for _, entry in sorted(excluded.items()))
    table = table.drop(index=list(excluded)).drop(columns="status").reset_index(drop=True)
    return Points(convention, table, exclusions, _curves_of(source, table, convention), source.loss_unit)


def _sizes(source: Source, table: pd.DataFrame) -> pd.Series | np.ndarray:
    """What parts cells beside the budget; in a table of one variable nothing does."""
    if source.variable:
        return table["budget"]
    return table["params"] if source.is_workdir else group_close(table["params"].to_numpy(float))


def _flops(runs: pd.DataFrame, table: pd.DataFrame, convention: Convention, is_workdir: bool) -> pd.Series:
    if convention.flops == "flops_counted":
        return pd.to_numeric(runs["flops_counted"])
    # The column flops_6nd of a sweep uses all parameters; with another N, C follows that N.
    return 6 * table["params"] * table["tokens"] if is_workdir else runs["flops_6nd"]


def _is_designed_for(table: pd.DataFrame, runs: pd.DataFrame) -> bool:
    """Whether finished runs cost what the design of their sweep says, within one batch and 1 %."""
    finished = runs["status"] == schema.FINISHED
    misses = (table["flops"] / table["isoflop"] - 1).abs()[finished]
    return bool((misses <= SLACK + 1 / pd.to_numeric(runs["steps"])[finished]).all())


def _excluded(
    table: pd.DataFrame, loss: str, diverged_at_step: pd.Series, *, known: bool = False
) -> dict[int, Exclusion]:
    """By row of `table`: the runs that have no loss to fit, or none with a logarithm; `known` if all were trained."""
    trained = (table["tokens"] > 0) & (table["flops"] > 0) | known
    sized = table["params"].ne(0)  # a model may have embeddings only, and NaN is a table without N
    usable = (table["status"] == schema.FINISHED) & np.isfinite(table["loss"]) & (table["loss"] > 0) & sized & trained
    found = {}
    for row, status, value in table.loc[~usable, ["status", "loss"]].itertuples():
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
        elif not sized[row]:
            found[row] = ExclusionKind.NO_SIZE, "N = 0 as it is counted here, which has no logarithm"
        else:
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
    if source.is_workdir and not counted:
        curves["flops"] = 6 * curves["params"] * curves["tokens"]  # with the N of the convention
    else:
        curves["flops"] = curves["flops_counted"].astype(float)
    curves = curves.rename(columns={convention.loss: "loss"}).drop(columns=["flops_6nd", "flops_counted"])
    return curves[curves["tokens"] > 0].sort_values(["run_id", "tokens"]).reset_index(drop=True)
