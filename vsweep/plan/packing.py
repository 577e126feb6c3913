"""Runs into slots: which run trains in which slot from which step of the stack on.

Under `vmap` a frozen slot still costs its compute, so a freed slot takes the next run, longest first. Runs that differ
in nothing but their budget, and are the same until their cooldowns, share a trunk: the longest of them. Every other one
is a branch: a copy of the trunk's state at the branch's own fork step, which waits for a free slot to cool down in. (If
it had to go on at once, it would need a slot that is idle most of the time.)
"""

import dataclasses
import functools
import heapq
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from vsweep.config.field import INT32_MAX
from vsweep.plan.grid import Run


@dataclasses.dataclass(frozen=True)
class Entry:
    """A run in its slot from stack step `start` to `stop`; a branch took its first `fork_step` steps as its trunk.

    One without a trunk and with a `fork_step` took those in an earlier generation of the sweep, whose state was kept.
    """

    run_id: str
    slot: int
    start: int
    stop: int
    fork_step: int = 0
    trunk: str | None = None  # run_id

    @property
    def is_continued(self) -> bool:
        """Whether it goes on from a kept state of another stack."""
        return self.fork_step > 0 and self.trunk is None

    @property
    def horizon(self) -> int:
        return self.fork_step + self.stop - self.start

    def run_step(self, step: int) -> int:
        """The run's own step at stack step `step`, in its slot."""
        return self.fork_step + step - self.start

    def stack_step(self, run_step: int) -> int:
        return self.start + run_step - self.fork_step


@dataclasses.dataclass(frozen=True)
class StackPlan:
    """The schedule of one stack."""

    name: str
    slots: int
    entries: tuple[Entry, ...]
    piece: int = 0  # examples that a step takes at once; 0: the whole batch

    @property
    def steps(self) -> int:
        return max(entry.stop for entry in self.entries)

    @property
    def boundaries(self) -> list[int]:
        """Steps of the stack at which at least one run reaches its budget."""
        return sorted({entry.stop for entry in self.entries})

    @property
    def trained_steps(self) -> int:
        """Slot-steps in which a run trains; those of a trunk count once."""
        return sum(entry.stop - entry.start for entry in self.entries)

    @property
    def wasted_share(self) -> float:
        """Share of slot-steps in which no run trains."""
        return 1.0 - self.trained_steps / (self.slots * self.steps)

    @functools.cached_property
    def by_run(self) -> dict[str, Entry]:
        return {entry.run_id: entry for entry in self.entries}

    def entries_at(self, step: int) -> list[Entry | None]:
        """The entry that trains in each slot from stack step `step` on; None where the slot is empty or done."""
        slots: list[Entry | None] = [None] * self.slots
        for entry in self.entries:
            if entry.start <= step < entry.stop:
                slots[entry.slot] = entry
        return slots

    def entry_of(self, run_id: str, run_step: int) -> Entry:
        """Where a run takes its `run_step`-th step: in its own slot, or before its fork in its trunk's."""
        entry = self.by_run[run_id]
        return self.by_run[entry.trunk] if entry.trunk and run_step <= entry.fork_step else entry

    def first_step(self, run_id: str) -> int:
        """The run's own step at which it, or its trunk, begins in this stack: 0, but from a kept state."""
        entry = self.by_run[run_id]
        return (self.by_run[entry.trunk] if entry.trunk else entry).fork_step

    @property
    def continued(self) -> list[Entry]:
        """Runs that go on from kept states: they are there from step 0 on."""
        return [entry for entry in self.entries if entry.is_continued]

    @functools.cached_property
    def forks(self) -> dict[int, list[Entry]]:
        """Stack step -> the branches that leave their trunks there."""
        forks: dict[int, list[Entry]] = {}
        for entry in self.entries:
            if entry.trunk:
                forks.setdefault(self.by_run[entry.trunk].stack_step(entry.fork_step), []).append(entry)
        return forks

    def waiting_at(self, step: int) -> list[Entry]:
        """Who has a state when the stack stands at `step`, and no slot yet: branches, and runs that were kept."""
        branches = [entry for fork, here in self.forks.items() for entry in here if fork <= step < entry.start]
        return [*branches, *(entry for entry in self.continued if step < entry.start)]

    @property
    def most_waiting(self) -> int:
        """Of branches between their trunks and their slots, at any step: at one where it has grown, a fork."""
        coming = ((step, len(branches)) for step, branches in self.forks.items())
        kept = [(-1, len(self.continued))] if self.continued else []  # before those of step 0 are gone
        going = ((entry.start, -1) for entry in self.entries if entry.fork_step)
        changes = sorted([*kept, *coming, *going])  # who goes on at once is gone before others come
        return max(itertools.accumulate((change for _, change in changes), initial=0))

    def to_dict(self) -> dict:
        """Whole batches are not named: plans had none before there were pieces."""
        entries = [dataclasses.astuple(entry) for entry in self.entries]
        piece = {"piece": self.piece} if self.piece else {}
        return {"name": self.name, "slots": self.slots, "entries": entries, **piece}

    @classmethod
    def from_dict(cls, values: dict) -> "StackPlan":
        """Raises KeyError, TypeError or ValueError for what is no plan that a stack could follow."""
        entries = tuple(Entry(*entry) for entry in values["entries"])
        plan = cls(values["name"], values["slots"], entries, values.get("piece", 0))
        if not plan._has_types() or not plan._is_consistent():
            raise ValueError(f"stack {str(plan.name)[:50]!r}: not a plan that can be followed")
        return plan

    def _has_types(self) -> bool:
        numbers = [self.slots, self.piece, *(n for e in self.entries for n in (e.slot, e.start, e.stop, e.fork_step))]
        names = [self.name, *(entry.run_id for entry in self.entries)]
        return (
            all(type(number) is int and 0 <= number <= INT32_MAX for number in numbers)
            and all(type(name) is str for name in names)
            and all(entry.trunk is None or type(entry.trunk) is str for entry in self.entries)
        )

    def _is_consistent(self) -> bool:
        """Each run once, in a slot that there is and that nobody else has, and each branch after its trunk's fork."""
        in_order = sorted(self.entries, key=lambda entry: (entry.slot, entry.start))
        return (
            bool(self.entries)
            and len(self.by_run) == len(self.entries)
            and all(entry.slot < self.slots and entry.start < entry.stop for entry in self.entries)
            and all(a.slot < b.slot or a.stop <= b.start for a, b in itertools.pairwise(in_order))
            and all(self._forks_in_time(entry) for entry in self.entries)
        )

    def _forks_in_time(self, entry: Entry) -> bool:
        trunk = self.by_run.get(entry.trunk)
        if trunk is None:
            return entry.trunk is None
        in_time = trunk.fork_step < entry.fork_step < trunk.horizon and trunk.stack_step(entry.fork_step) <= entry.start
        return in_time and not trunk.trunk


class Job(NamedTuple):
    """What goes into a slot: a run, or the rest of one that forked or was kept. Jobs sort longest first."""

    order: tuple[int, int]  # (minus its steps, place among the runs)
    run: Run
    fork_step: int
    trunk: str | None


@dataclasses.dataclass(frozen=True)
class Jobs:
    """All jobs of a stack."""

    ready: tuple[Job, ...]  # can begin at step 0; a heap
    branches: dict[str, list[Job]]  # run_id of the trunk -> the jobs that leave it

    @classmethod
    def of(cls, runs: Sequence[Run], *, share_trunks: bool, kept: Mapping[str, int] | None = None) -> "Jobs":
        """The jobs of `runs`, one each; with `share_trunks` a branch has only the steps after its fork.

        `kept`: run_id -> the step from which that run, which is no branch, goes on.
        """
        trunk_of = trunks(runs) if share_trunks else {}
        ready, branches = [], {}
        for index, run in enumerate(runs):
            trunk = trunk_of.get(run.run_id)
            fork_step = run.decay_start if trunk else (kept or {}).get(run.run_id, 0)
            job = Job((fork_step - run.steps, index), run, fork_step, trunk)
            (branches.setdefault(trunk, []) if trunk else ready).append(job)
        heapq.heapify(ready)
        return cls(tuple(ready), branches)

    @functools.cached_property
    def steps(self) -> int:
        """Slot-steps that all of them need."""
        return sum(-job.order[0] for jobs in (self.ready, *self.branches.values()) for job in jobs)

    @functools.cached_property
    def longest(self) -> int:
        """Steps before which no stack can end."""
        return max(-job.order[0] for job in self.ready)

    def least_steps(self, slots: int) -> int:
        """Steps that a stack of so many slots needs at least, however well they are packed."""
        return max(self.longest, -(-self.steps // slots))


def pack(
    runs: Sequence[Run], slots: int, devices: int, *, share_trunks: bool, kept: Mapping[str, int] | None = None
) -> tuple[Entry, ...]:
    """Of what can begin, the longest goes into the slot that is free first; empty slots fill device after device.

    A branch can begin when its trunk has come to the fork; a slot for which there is nothing yet waits for that.
    """
    jobs = Jobs.of(runs, share_trunks=share_trunks, kept=kept)
    return tuple(
        Entry(job.run.run_id, slot, start, stop, job.fork_step, job.trunk)
        for job, slot, start, stop in _schedule(jobs, slots, devices)
    )


def packed_steps(jobs: Jobs, slots: int, devices: int) -> int:
    """Steps that the stack takes when `pack` has packed it."""
    if not jobs.branches:  # which of several free slots a run takes changes nothing then
        free = [0] * (slots // devices * devices)
        for job in sorted(jobs.ready):
            heapq.heapreplace(free, free[0] - job.order[0])
        return max(free)
    return max(stop for *_, stop in _schedule(jobs, slots, devices))


def _schedule(jobs: Jobs, slots: int, devices: int) -> Iterator[tuple[Job, int, int, int]]:
    """(job, slot, start, stop), in the order in which they begin."""
    ready, free = list(jobs.ready), _empty_slots(slots // devices, devices)
    later: list[tuple[int, Job]] = []  # (stack step of the fork, branch)
    while ready or later:
        start, position, slot = heapq.heappop(free)
        while later and later[0][0] <= start:
            heapq.heappush(ready, heapq.heappop(later)[1])
        if not ready:
            heapq.heappush(free, (later[0][0], position, slot))
            continue
        job = heapq.heappop(ready)
        stop = start - job.order[0]
        yield job, slot, start, stop
        heapq.heappush(free, (stop, position, slot))
        for branch in jobs.branches.get(job.run.run_id, ()):
            heapq.heappush(later, (start + branch.fork_step - job.fork_step, branch))


def trunks(runs: Sequence[Run]) -> dict[str, str]:
    """run_id of each branch -> that of its trunk: the longest of the runs that differ in nothing but their budget."""
    groups: dict[Run, list[Run]] = {}
    for run in runs:
        if run.cooldown_steps and run.decay_start > 0:
            but_for_budget = dataclasses.replace(run, run_id="", budget=0, steps=0, cooldown_steps=0)
            groups.setdefault(but_for_budget, []).append(run)
    longest = [(max(group, key=lambda run: run.steps), group) for group in groups.values()]
    return {run.run_id: trunk.run_id for trunk, group in longest for run in group if run is not trunk}


def _empty_slots(local: int, devices: int) -> list[tuple[int, int, int]]:
    """(step from which it is free, place in the order of filling, slot): the first of every device, then the second."""
    places = ((index, device) for index in range(local) for device in range(devices))
    return [(0, position, device * local + index) for position, (index, device) in enumerate(places)]
