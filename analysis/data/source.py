"""What was loaded, and the conventions in which it can be read: which loss, which N, which FLOPs."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from vsweep import schema
from vsweep.analysis.data.language import Language
from vsweep.analysis.data.samples import Sample
from vsweep.analysis.fitting.objective import Objective
from vsweep.analysis.tables.units import NATS

# What each loss of runs.csv means for the law. A known floor makes the law E = 0; otherwise E is fitted.
KNOWN, FREE = "known", "free"
LOSSES = {"excess_loss": KNOWN, "answer_loss": KNOWN, "val_loss": FREE, "loss": FREE}
SIZE_CONVENTIONS = ("params", "params_non_embedding")
FLOP_CONVENTIONS = ("flops_6nd", "flops_counted")
LEVEL = 0.9  # the share that intervals cover, unless the user asks for another
ISOFLOP_WINDOW = 3.0  # a parabola sees the sizes within this factor of the lowest one, and two each side at least
OWN_FLOPS = "flops_own"  # of a table whose C is not 6ND
SEED_COLUMNS = ["seed", "init_seed", "data_seed", "dropout_seed"]
SHAPE_COLUMNS = ["width", "layers", "ff_multiple", "tied_embeddings"]
# Everything else that a sweep may vary. Where one does, each cell keeps its best setting and the others are named.
SETTING_COLUMNS = [axis for axis in schema.AXES if axis not in (*SEED_COLUMNS, *SHAPE_COLUMNS, "budget")]


@dataclass(frozen=True)
class Refusal:
    """A fit that was not made. It takes the place of the fit, so that the rest of the analysis goes on."""

    method: str
    reason: str


@dataclass(frozen=True)
class Convention:
    """Which loss, which N and which FLOPs a fit uses, whether the floor E is known or free, and what is minimised.

    `given_floor` holds E of a loss without a known floor at a number, instead of fitting it. `annealed_only` says
    whether an envelope counts only the last 15 % of each run; None: where enough sizes win there. `level` is the share
    that every interval covers. An IsoFLOP parabola sees the sizes within a factor `isoflop_window` of the lowest, and
    with `isoflop_weights` its line weights each minimum by 1 / (standard error)^2. `terms` names the
    columns of a law of power terms to be fitted beside L(N, D).
    """

    loss: str
    size: str = "params"
    flops: str = "flops_6nd"
    given_floor: float | None = None
    objective: Objective = field(default_factory=Objective)
    annealed_only: bool | None = None
    level: float = LEVEL
    isoflop_window: float = ISOFLOP_WINDOW
    isoflop_weights: bool = False
    terms: tuple[str, ...] = ()

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
        level = f", {100 * self.level:g} % intervals" if self.level != LEVEL else ""
        window = f", IsoFLOP window {self.isoflop_window:g}" if self.isoflop_window != ISOFLOP_WINDOW else ""
        weights = ", weighted IsoFLOP lines" if self.isoflop_weights else ""
        return f"{self.loss}, E {self.floor}, {n}, {c}{level}{window}{weights}"


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
    variable: str = ""  # `N`, `D` or `C` of a table that has this one only, and NaN for the others
    language: Language | None = None  # of a study of text
    samples: tuple[Sample, ...] = ()  # text that its runs wrote

    @property
    def title(self) -> str:
        """Name of the work directory or of the file."""
        return self.path.resolve().name

    @property
    def losses(self) -> tuple[str, ...]:
        """The losses that can be fitted, the most telling one first."""
        if not self.is_workdir:
            return ("loss",)
        losses = ("excess_loss", "answer_loss", "val_loss")
        measured = tuple(loss for loss in losses if self.runs[loss].notna().any())  # a task may know no floor or answer
        return measured or losses

    @property
    def counts_its_own_way(self) -> bool:
        """Whether this is a table whose C is not 6ND."""
        if self.is_workdir or self.variable:
            return False
        return not np.allclose(self.runs["flops_6nd"], 6 * self.runs["params"] * self.runs["tokens"], rtol=0.01)

    def count(self, status: str) -> int:
        """How many runs have this status; those that have not started count as running."""
        counted = (status, schema.QUEUED) if status == schema.RUNNING else (status,)
        return int(self.runs["status"].isin(counted).sum())


def seed_blocks(runs: pd.DataFrame) -> pd.Series:
    """One label a block of runs that share randomness: the seed, or all four seeds where they are separate axes."""
    seeds = runs[SEED_COLUMNS].astype("Int64").astype(str)
    if len(seeds.drop_duplicates()) == seeds["seed"].nunique():
        return seeds["seed"]
    return seeds.agg("/".join, axis=1)
