"""What a sweep reports to its caller. `run_sweep` yields these; match them by class."""

import dataclasses
from pathlib import Path

from vsweep.config.problems import Problem
from vsweep.plan.sweep_plan import SweepPlan
from vsweep.session.extend import Extension


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """Something worth acting on, in the sweep of `workdir`."""

    workdir: Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planned(Event):
    """The first event: what would be trained. Nothing has been touched; going on starts the training."""

    plan: SweepPlan
    wall_problems: tuple[Problem, ...] = ()  # of a wall limit in which nothing could be gained
    extension: Extension | None = None  # what changes in a sweep that is extended


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compiling(Event):
    """The programs of a stack are needed next: compiled now, or already on the way."""

    stack: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recorded(Event):
    """The tables are up to date. The rows are those that are new since the event before.

    `run_rows`: rows of runs.csv (name of a column -> value), of runs that have ended. `curve_rows`: rows of
    curves.csv, one for each evaluation. Units: `vsweep.schema`.
    """

    runs: int  # of the sweep
    runs_ended: int  # finished or diverged
    run_rows: tuple[dict, ...]
    curve_rows: tuple[dict, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Boundary(Recorded):
    """At least one run of `stack` has ended at `step`; its parameters and a checkpoint are on disk."""

    stack: str
    step: int
    steps: int  # of the stack
    left_s: float  # estimated seconds until all runs have ended

    @property
    def ends_stack(self) -> bool:
        """Whether the stack has no steps left."""
        return self.step == self.steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interrupted(Recorded):
    """The last event of a sweep that was stopped: everything is saved, and the same call resumes it."""

    stack: str
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finished(Recorded):
    """The last event of a sweep whose runs have all ended."""
