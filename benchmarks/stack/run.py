"""The run: first the check that all contestants agree; then, width after width, all are built and timed in turns."""

import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from benchmarks.common import Clocked, interleaved
from benchmarks.stack.contestants import (
    BF16,
    COMPILED,
    ENSEMBLE,
    JAX_LOOP,
    LANES,
    PEAK,
    PEAK_BF16,
    PEAK_EACH,
    PEAK_TF32,
    PEAK_TORCH,
    PEAKS,
    PROCESSES,
    PRODUCTS,
    SMALL_BATCH,
    TF32,
    TORCH,
    TURBANET,
    VSWEEP,
    Entry,
    Lane,
)
from benchmarks.stack.problem import Problem
from benchmarks.stack.worker import Built, Learned, ProcessTeam, Team, WorkerFailed

AGREE_WIDTH = 16  # several heads, and still quick
AGREE_STEPS, AGREE_HORIZON, AGREE_MODELS = 20, 40, 2
AGREE_WITHIN = 1e-3
AGREEING = (VSWEEP, JAX_LOOP, TORCH, COMPILED, ENSEMBLE, TURBANET)
EVERYWHERE = (VSWEEP, JAX_LOOP, TORCH, COMPILED, PRODUCTS, *PEAKS)  # also at widths that are there for the goals alone
FULL_SLOTS = 6  # into which five doubling budgets of three seeds pack, on one device


@dataclass(frozen=True)
class Settings:
    """What is measured, where and how long."""

    platform: str  # cpu or gpu
    cores: int
    widths: tuple[int, ...]
    kinds: tuple[str, ...]
    stack_sizes: tuple[int, ...]  # of vsweep
    stack_widths: tuple[int, ...]  # where all of them are measured; elsewhere the reference, and `EVERYWHERE`
    reference: int  # models of the stack to which the others are compared
    rounds: int
    target_s: float  # of one measurement
    minutes: float  # after which no further width begins
    concurrent: bool = False  # contestants compile at the same time
    problem: Problem = field(default_factory=lambda: Problem(width=0))

    def entries(self, width: int) -> list[Entry]:
        """Everybody at one width."""
        sizes = self.stack_sizes if width in self.stack_widths else (self.reference,)
        found = []
        for kind in self.kinds:
            if width not in self.stack_widths and kind not in EVERYWHERE:
                continue
            lane = LANES[kind]
            counts = {VSWEEP: sizes, SMALL_BATCH: (FULL_SLOTS,)}.get(kind, (self.reference if lane.stacked else 1,))
            found += [
                Entry(kind, count, f"{lane.label}, K = {count}" if lane.stacked else lane.label) for count in counts
            ]
        return found


CPU = Settings(
    platform="cpu",
    cores=1,
    widths=(4, 8, 12, 16, 24, 32, 48, 64, 128, 256),
    kinds=(*AGREEING, PROCESSES, PRODUCTS, PEAK, PEAK_EACH, PEAK_TORCH),
    stack_sizes=(1, 8, 30),
    stack_widths=(8, 16, 32, 64, 128, 256),
    reference=8,
    rounds=5,
    target_s=3.0,  # less would measure how a chunk begins, which a sweep does once a second
    minutes=60.0,
)
GPU = Settings(
    platform="gpu",
    cores=1,
    widths=(64, 16, 256, 8, 32, 128),  # the most telling first, should the time end
    kinds=(*AGREEING, PROCESSES, TF32, BF16, SMALL_BATCH, PEAK, PEAK_TF32, PEAK_BF16),
    stack_sizes=(1, 15),
    stack_widths=(64, 16, 256, 8, 32, 128),
    reference=15,
    rounds=3,
    target_s=0.3,
    minutes=6.5,
    concurrent=True,
    problem=Problem(width=0, peak_side=8192),
)


@dataclass(frozen=True)
class Measured:
    """One contestant at one width."""

    width: int
    entry: Entry
    built: Built | None = None
    seconds: tuple[float, ...] = ()  # a step, one a round
    note: str = ""


@dataclass(frozen=True)
class Agreement:
    """What the first models of each contestant have learned in the same steps, dropout off."""

    width: int
    learned: dict[str, Learned]  # by label

    @property
    def differences(self) -> dict[str, float]:
        """The largest relative difference to vsweep's loss of the same model, before the steps or after them."""
        ours = self.learned[LANES[VSWEEP].label]
        return {label: _difference(theirs, ours) for label, theirs in self.learned.items()}

    @property
    def complaints(self) -> list[str]:
        far = [
            f"{label}: losses differ from vsweep's by {difference:.2g} of them, more than {AGREE_WITHIN:g}"
            for label, difference in self.differences.items()
            if not difference <= AGREE_WITHIN
        ]
        idle = [
            f"{label}: has not learned, its loss went from {before:.4g} to {after:.4g}"
            for label, theirs in self.learned.items()
            for before, after in zip(theirs.before, theirs.after, strict=True)
            if not after < before
        ]
        return far + idle


def _difference(theirs: Learned, ours: Learned) -> float:
    """The largest one relative to ours, of the models that both have; a NaN is the largest of all."""
    pairs = [*zip(theirs.before, ours.before, strict=False), *zip(theirs.after, ours.after, strict=False)]
    return float(np.max([abs(loss / mine - 1) for loss, mine in pairs]))


@dataclass
class Run:
    """What a run has found."""

    settings: Settings
    agreement: Agreement | None = None
    measured: list[Measured] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)  # label -> why
    failures: list[str] = field(default_factory=list)
    unmeasured_widths: tuple[int, ...] = ()
    minutes: float = 0.0

    @property
    def device(self) -> str:
        """What JAX calls the device."""
        return next((m.built.device for m in self.measured if m.built and LANES[m.entry.kind].package == "jax"), "cpu")


def run(settings: Settings, team_of: Callable[[Lane, str, int], Team] = ProcessTeam) -> Run:
    """Everything that `settings` asks for; contestants that are not installed are named and left out."""
    begin = time.monotonic()
    found = Run(settings)
    found.absent = {LANES[kind].label: why for kind in settings.kinds if (why := LANES[kind].missing())}
    present = [kind for kind in settings.kinds if LANES[kind].label not in found.absent]
    with _teams(present, settings, team_of) as teams:
        found.agreement = _agree(teams, settings, found.failures)
        _say(f"losses compared after {(time.monotonic() - begin) / 60:.1f} minutes")
        for index, width in enumerate(settings.widths):
            if time.monotonic() - begin > 60 * settings.minutes:
                found.unmeasured_widths = settings.widths[index:]
                break
            found.measured += _measure_width(teams, width, settings, found.failures)
            _say(f"width {width}: done after {(time.monotonic() - begin) / 60:.1f} minutes")
    found.minutes = (time.monotonic() - begin) / 60
    return found


@contextmanager
def _teams(kinds: Sequence[str], settings: Settings, team_of) -> Iterator[dict[str, Team]]:
    teams: dict[str, Team] = {}
    try:
        for kind in kinds:
            teams[kind] = team_of(LANES[kind], settings.platform, settings.cores)
        yield teams
    finally:
        for team in teams.values():
            team.close()


def _agree(teams: dict[str, Team], settings: Settings, failures: list[str]) -> Agreement | None:
    """At the width nearest to 16; None if vsweep does not take part, for then there is nothing to agree with."""
    width = min(settings.widths, key=lambda width: abs(width - AGREE_WIDTH))
    problem = replace(settings.problem, width=width, dropout=0.0, horizon=AGREE_HORIZON)
    learned = {}
    kinds = [kind for kind in AGREEING if kind in teams]
    for wave in [kinds] if settings.concurrent else [[kind] for kind in kinds]:
        for kind in wave:
            teams[kind].ask("losses_around", problem, AGREE_MODELS if LANES[kind].stacked else 1, AGREE_STEPS)
        for kind in wave:
            with _leaving_if_it_fails(teams, kind, failures):
                learned[LANES[kind].label] = teams[kind].answers()[0]
    return Agreement(width, learned) if LANES[VSWEEP].label in learned else None


def _measure_width(teams: dict[str, Team], width: int, settings: Settings, failures: list[str]) -> list[Measured]:
    problem = settings.problem.at(width)
    entries = [entry for entry in settings.entries(width) if entry.kind in teams]
    built = _build(teams, entries, problem, settings.concurrent, failures)
    clocked = {
        entry.label: Clocked(partial(teams[entry.kind].train, entry.label), one.step_s, one.quantum)
        for entry, one in built.items()
        if not one.refused
    }
    seconds = interleaved(clocked, settings.rounds, settings.target_s)
    for team in teams.values():
        team.call("drop")
    return [
        Measured(width, entry, built.get(entry), tuple(seconds.get(entry.label, ())), _note(built.get(entry)))
        for entry in entries
    ]


def _note(built: Built | None) -> str:
    return "failed" if built is None else built.refused


def _build(teams, entries: list[Entry], problem: Problem, concurrent: bool, failures: list[str]) -> dict[Entry, Built]:
    """In waves of one contestant a lane where they may compile at the same time, else one by one."""
    built = {}
    for wave in _waves(entries) if concurrent else [[entry] for entry in entries]:
        asked = [entry for entry in wave if entry.kind in teams]
        for entry in asked:
            teams[entry.kind].ask("build", entry.label, problem, entry.models)
        for entry in asked:
            with _leaving_if_it_fails(teams, entry.kind, failures):
                built[entry] = teams[entry.kind].built()
                _say(f"width {problem.width}: {entry.label} is ready, {built[entry].compile_s:.0f} s to compile")
    return {entry: one for entry, one in built.items() if entry.kind in teams}


def _waves(entries: list[Entry]) -> list[list[Entry]]:
    """The first entry of each kind, then the second of each, and so on."""
    by_kind: dict[str, list[Entry]] = {}
    for entry in entries:
        by_kind.setdefault(entry.kind, []).append(entry)
    return [[entry for entry in wave if entry] for wave in itertools.zip_longest(*by_kind.values())]


@contextmanager
def _leaving_if_it_fails(teams: dict[str, Team], kind: str, failures: list[str]) -> Iterator[None]:
    """A lane whose worker fails is named and takes no further part; the others go on."""
    try:
        yield
    except WorkerFailed as error:
        failures.append(f"{LANES[kind].label}: {error}")
        teams.pop(kind).close()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
