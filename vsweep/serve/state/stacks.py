"""The stacks of a sweep as plan.json has them: which run is in which slot, from which step of the stack on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from vsweep.serve.state.tables import Run


@dataclass(frozen=True)
class Place:
    """A run's place in its stack: its slot, from step `start` of the stack to `stop`; it came with `before` steps."""

    run_id: str
    slot: int
    start: int
    stop: int
    before: int

    @property
    def horizon(self) -> int:
        """Steps of the whole run."""
        return self.before + self.stop - self.start


@dataclass(frozen=True)
class StackShown:
    """One stack with the places of its runs."""

    name: str
    slots: int
    places: tuple[Place, ...]

    @property
    def steps(self) -> int:
        return max(place.stop for place in self.places)

    def step(self, runs: Mapping[str, Run], live: Mapping) -> int:
        """Steps of the stack that are done: live, or as many as the tables prove."""
        proven = max((self._reached(place, runs) for place in self.places), default=0)
        known = live.get("step") if live.get("stack") == self.name else None
        return min(self.steps, max(proven, known)) if isinstance(known, int) else proven

    def _reached(self, place: Place, runs: Mapping[str, Run]) -> int:
        run = runs.get(place.run_id)
        if run is None:
            return 0
        if run.has_ended and run.diverged_at is None:
            return place.stop
        return place.start + run.steps - place.before if run.steps > place.before else 0


def read(plan_json: bytes) -> list[StackShown]:
    """The stacks that are trained: not those that an extension has replaced.

    Raises ValueError for a file that no sweep has written.
    """
    try:
        plan = json.loads(plan_json)
        replaced = {name for generation in plan.get("generations", ()) for name in generation["replaced"]}
        stacks = [_stack(stack) for stack in plan["stacks"] if stack["name"] not in replaced and stack["entries"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"plan.json: damaged - {error!r}") from error
    return stacks


def _stack(values: Mapping) -> StackShown:
    places = tuple(
        Place(str(run), int(slot), int(a), int(b), int(before)) for run, slot, a, b, before, *_ in values["entries"]
    )
    return StackShown(str(values["name"]), int(values["slots"]), places)
