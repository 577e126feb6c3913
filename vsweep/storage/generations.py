"""What plan.json keeps of a sweep that was extended: its generations, one for each config that it has had."""

import dataclasses
from collections.abc import Sequence

from vsweep.config import registry, sweep_config
from vsweep.config.field import Field
from vsweep.config.fields import SECTIONS
from vsweep.config.sweep_config import SweepConfig
from vsweep.plan.packing import StackPlan


@dataclasses.dataclass(frozen=True)
class Generation:
    """One config of an extended sweep, and what came with it."""

    config: dict  # as config.json holds it
    fingerprint: str  # of the config and the task's data
    environment: dict[str, str | int]  # in which it began
    time: str  # when, ISO 8601, UTC
    stacks: tuple[str, ...]  # that came with it
    replaced: tuple[str, ...] = ()  # stacks of earlier generations that had not begun: their runs are in these stacks
    environments_before: int = 0  # of those that plan.json lists, how many were there before

    def to_dict(self) -> dict:
        return {**dataclasses.asdict(self), "stacks": list(self.stacks), "replaced": list(self.replaced)}

    @classmethod
    def from_dict(cls, values: dict) -> "Generation":
        """Raises KeyError, TypeError or ValueError for what no sweep has written."""
        read = cls(**{**values, "stacks": tuple(values["stacks"]), "replaced": tuple(values["replaced"])})
        texts = (read.fingerprint, read.time, *read.stacks, *read.replaced)
        objects = (read.config, read.environment)
        if not all(type(text) is str for text in texts) or not all(isinstance(each, dict) for each in objects):
            raise TypeError("generations: values of another kind")
        if type(read.environments_before) is not int or read.environments_before < 0:
            raise ValueError("generations: no number of environments")
        return read


@dataclasses.dataclass(frozen=True)
class StoredPlan:
    """The content of plan.json."""

    plans: list[StackPlan]
    environments: list[dict]
    generations: list[Generation]  # empty where the sweep was never extended

    def as_of(self, config: dict) -> "StoredPlan":
        """What counts when config.json holds `config`: the generations up to the last one of that config.

        Raises ValueError where none is of that config, or a stack is of none.
        """
        if not self.generations:
            return self
        alike = [not sweep_config.differences(each.config, config) for each in self.generations]
        if not any(alike):
            raise ValueError("config.json is of none of its generations")
        count = len(alike) - alike[::-1].index(True)
        counted, later = self.generations[:count], self.generations[count:]
        replaced = {name for each in counted for name in each.replaced}
        names = [name for each in counted for name in each.stacks if name not in replaced]
        by_name = {plan.name: plan for plan in self.plans}
        environments = self.environments[: later[0].environments_before] if later else self.environments
        if not set(names) <= by_name.keys() or not environments:
            raise ValueError("generations: a stack has no plan")
        return StoredPlan([by_name[name] for name in names], environments, counted)

    def plans_of(self, number: int) -> list[StackPlan]:
        """Those of generation `number`, from 1."""
        return [plan for plan in self.plans if plan.name in self.generations[number - 1].stacks]


def not_of_axes(config: SweepConfig, changed: Sequence[str]) -> list[str]:
    """Of the lines of `sweep_config.differences`, those about what is no value of an axis."""
    axes = {field.path for section in SECTIONS for field in fields_of(config, section) if field.swept}
    return [line for line in changed if not line.startswith("sweep.") and line.partition(":")[0] not in axes]


def fields_of(config: SweepConfig, section: str) -> list[Field]:
    """The fields of a section, with the options of the config's task, model or optimizer."""
    return list(registry.known_fields(section, getattr(getattr(config, section), "name", None)).values())
