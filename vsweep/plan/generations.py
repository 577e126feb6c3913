"""The plan of a sweep that was extended: each generation has the runs that came with its config.

A run is the same run whatever it is called: its name depends on which axes a config sweeps. Stacks of a later
generation are their own, even of a shape that there is: nothing that was planned before is ever planned again.
"""

import dataclasses
from collections.abc import Hashable, Iterable, Mapping, Sequence

from vsweep.config import sweep_config
from vsweep.config.field import OPTIONAL
from vsweep.config.problems import ConfigError
from vsweep.config.sweep_config import SweepConfig
from vsweep.host.hardware import Hardware
from vsweep.plan import sweep_plan
from vsweep.plan.grid import Run, Stack, build_stacks
from vsweep.plan.packing import StackPlan, trunks
from vsweep.plan.slots import plan_stack
from vsweep.plan.sweep_plan import SweepPlan
from vsweep.tasks.base import Task

MARK = "+"  # between a name and its generation; no name of a run or a stack has it by itself


def identity(run: Run, config: SweepConfig) -> Hashable:
    """What a run of `config` is, whatever it is called: equal for the same run of another config.

    Its shape tells the options of its model, swept or not.
    """
    options = {**sweep_config.optional_values(config, (OPTIONAL,)), **dict(run.options)}
    options.pop("mixture", None)  # the run has it, whoever gave it
    return dataclasses.replace(run, run_id="", isoflop=None, options=tuple(sorted(options.items())), model_options=())


def identities(config: SweepConfig, task: Task) -> dict[Hashable, Run]:
    """All runs of a config, in its order."""
    return {identity(run, config): run for stack in build_stacks(config, task) for run in stack.runs}


def of_plans(config: SweepConfig, number: int, plans: Sequence[StackPlan], task: Task) -> tuple[Stack, ...]:
    """The stacks of generation `number`, as stored plans name their runs; without those that the config has not."""
    by_name = {stack.name: stack for stack in build_stacks(config, task)}
    stacks = []
    for plan in plans:
        if base := by_name.get(plan.name.removesuffix(f"{MARK}{number}")):
            names = {run: (run.run_id, f"{run.run_id}{MARK}{number}") for run in base.runs}
            pairs = [(run, name) for run in base.runs for name in names[run] if name in plan.by_run]
            runs = tuple(dataclasses.replace(run, run_id=name) for run, name in pairs)
            stacks.append(Stack(plan.name, base.shape, runs))
    return tuple(stacks)


def new_stacks(
    config: SweepConfig, number: int, earlier: Iterable[SweepPlan], taken: set[str], task: Task
) -> tuple[Stack, ...]:
    """The stacks of generation `number`: the runs of its config that no earlier generation has.

    `taken` are names of stacks that may not be used again, beside those of `earlier`.
    """
    earlier = tuple(earlier)
    there = {identity(run, part.config) for part in earlier for stack in part.stacks for run in stack.runs}
    run_ids = {run.run_id for part in earlier for stack in part.stacks for run in stack.runs}
    names = taken | {stack.name for part in earlier for stack in part.stacks}
    stacks = []
    for stack in build_stacks(config, task):
        runs = [run for run in stack.runs if identity(run, config) not in there]
        own = [dataclasses.replace(run, run_id=_free(run.run_id, run_ids, number)) for run in runs]
        if own:
            stacks.append(Stack(_free(stack.name, names, number), stack.shape, tuple(own)))
    return tuple(stacks)


def _free(name: str, taken: set[str], number: int) -> str:
    return f"{name}{MARK}{number}" if name in taken else name


def trunk_runs(stack: Stack) -> dict[str, int]:
    """run_id of each run that could go on from a kept state -> the last step at which that may have been taken.

    That is where its learning rate begins to fall, and before that of each of its branches.
    """
    runs = {run.run_id: run for run in stack.runs}
    branches = trunks(stack.runs)
    last = {name: run.decay_start for name, run in runs.items() if run.cooldown_steps and name not in branches}
    for branch, trunk in branches.items():
        last[trunk] = min(last[trunk], runs[branch].decay_start - 1)
    return last


def part(
    config: SweepConfig, task: Task, hardware: Hardware, stacks: tuple[Stack, ...], kept: Mapping[str, int]
) -> SweepPlan:
    """One generation, planned for `hardware`. `kept`: run_id -> the step from which that run goes on.

    Raises ConfigError for a shape that does not fit into memory.
    """
    if problems := sweep_plan.too_big_problems((stack.shape for stack in stacks), config, task, hardware):
        raise ConfigError(problems)
    plans = tuple(plan_stack(stack, config, task, hardware, kept) for stack in stacks)
    horizons = tuple(run.steps for stack in build_stacks(config, task) for run in stack.runs)
    return SweepPlan(config, task, hardware, stacks, plans, horizons=horizons)


def together(parts: Sequence[SweepPlan]) -> SweepPlan:
    """The sweep of these generations, the first one first."""
    stacks, plans = ([each for part in parts for each in getattr(part, name)] for name in ("stacks", "plans"))
    last = parts[-1]
    return SweepPlan(last.config, last.task, last.hardware, tuple(stacks), tuple(plans), generations=tuple(parts))
