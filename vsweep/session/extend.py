"""More values for the axes of a sweep that has begun: which runs are new, which stay, which the config has no more.

The new runs are a generation of their own, in stacks of their own, so that nothing that is finished or under way is
touched. Stacks that have not begun are given up, and their runs are planned with the new ones.
"""

import contextlib
import dataclasses
import datetime
from collections.abc import Iterable, Mapping, Sequence

import jax

from vsweep.config import sweep_config
from vsweep.config.sweep_config import SweepConfig
from vsweep.host.hardware import Hardware
from vsweep.plan import generations, grid, sweep_plan
from vsweep.plan.grid import Run, Stack
from vsweep.plan.packing import StackPlan
from vsweep.plan.sweep_plan import SweepPlan
from vsweep.storage.checkpoint import CheckpointFolder, CorruptCheckpoints, Origin
from vsweep.storage.generations import Generation, StoredPlan
from vsweep.storage.results import StackResults
from vsweep.storage.workdir import WorkDir
from vsweep.tasks.base import Task

NAMED = 4  # runs of a line that are named


@dataclasses.dataclass(frozen=True)
class Kept:
    """A state that a new run can go on from: of `run_id`, in a slot or waiting for one, after `run_step` steps."""

    run_step: int
    run_id: str
    stack: str
    step: int  # of the stack, of its checkpoint
    slot: int | None  # None: it waits


@dataclasses.dataclass(frozen=True)
class Extension:
    """What an extension changes, by run_id."""

    number: int  # of the generation that begins
    new: tuple[str, ...]
    ended: tuple[str, ...]  # finished or diverged: stay as they are
    under_way: tuple[str, ...]  # go on as they would have
    dropped: tuple[str, ...]  # of those, the ones that the config has no more
    given_up: tuple[str, ...]  # had not begun, and the config has them no more
    kept: dict[str, Kept]  # new run -> the state that it goes on from
    from_start: tuple[str, ...]  # new runs longer than a trunk that there is, of which no such state is left
    stacks: tuple[str, ...]  # that are new
    as_stored: tuple[StackPlan, ...] = ()  # what plan.json holds now, and counts until config.json is replaced

    @property
    def lines(self) -> list[str]:
        """For a person: what happens to which runs."""
        named = f" in {_counted(len(self.stacks), 'stack')} ({_named(self.stacks)})" if self.stacks else ""
        lines = [f"extension (generation {self.number}) with {_counted(len(self.new), 'new run')}{named}"]
        lines += [f"  new: {_named(self.new)}"] if self.new else []
        lines.append(f"  stay as they are: {_counted(len(self.ended), 'run')} that ended")
        parts = (
            ("under way, go on as before", self.under_way),
            ("no longer in the config, stay in the tables with in_config = 0", self.dropped),
            ("no longer in the config and not begun, given up", self.given_up),
            ("longer than a kept trunk whose state is gone, trained from the start", self.from_start),
        )
        lines += [f"  {what}: {_counted(len(runs), 'run')} ({_named(runs)})" for what, runs in parts if runs]
        states = [f"{run} from step {kept.run_step} of {kept.run_id}" for run, kept in self.kept.items()]
        return [*lines, *([f"  go on from a kept trunk: {_named(states)}"] if states else [])]


@dataclasses.dataclass(frozen=True)
class Begun:
    """What a work directory holds of a sweep that is to be extended."""

    sweep: SweepPlan  # of all generations until now, with the stored plans
    stored: StoredPlan
    done: Mapping[str, int]  # steps of each stack


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f", ... {len(names) - NAMED} more" if len(names) > NAMED else "")


def plan_again(stored: StoredPlan, config: SweepConfig, task: Task, hardware: Hardware) -> SweepPlan:
    """The sweep of a work directory, planned for `hardware`; its runs are in the generations that they came with.

    What may change between sessions is as in `config`, which is the last generation's. Raises ConfigError.
    """
    if not stored.generations:
        return sweep_plan.build_plan(config, task, hardware)
    parts = []
    for number, (own, stacks, plans) in enumerate(parts_of(stored, config, task), 1):
        own = config if number == len(stored.generations) else own
        kept = {entry.run_id: entry.fork_step for plan in plans for entry in plan.continued}
        parts.append(generations.part(own, task, hardware, stacks, kept))
    return generations.together(parts)


def parts_of(
    stored: StoredPlan, config: SweepConfig, task: Task
) -> list[tuple[SweepConfig, tuple[Stack, ...], list[StackPlan]]]:
    """(config, stacks, stored plans) of each generation of an extended sweep."""
    parts = []
    for number, generation in enumerate(stored.generations, 1):
        own = as_in(config, sweep_config.from_dict(generation.config))
        plans = stored.plans_of(number)
        parts.append((own, generations.of_plans(own, number, plans, task), plans))
    return parts


def stacks_of(stored: StoredPlan, config: SweepConfig, task: Task) -> dict[str, Stack]:
    """The stacks of the sweep of `config`, of all its generations, by name."""
    if not stored.generations:
        return {stack.name: stack for stack in grid.build_stacks(config, task)}
    return {stack.name: stack for _, stacks, _ in parts_of(stored, config, task) for stack in stacks}


def as_in(config: SweepConfig, earlier: SweepConfig) -> SweepConfig:
    """An earlier config, with what may change between sessions as in `config`, and without a limit of epochs."""
    of_machine = ("checkpoint_minutes", "device_memory_gib", "devices", "max_wall_hours")
    now = {name: getattr(config.train, name) for name in of_machine}
    return dataclasses.replace(earlier, train=dataclasses.replace(earlier.train, **now, max_epochs=0.0))


def fingerprints(stored: StoredPlan, config: SweepConfig, task: Task) -> dict[str, str]:
    """Stack -> the fingerprint of the sweep that its checkpoints must name."""
    if not stored.generations:
        own = sweep_config.fingerprint(config, task.digest)
        return {plan.name: own for plan in stored.plans}
    prints = [sweep_config.fingerprint(sweep_config.from_dict(each.config), task.digest) for each in stored.generations]
    numbered = enumerate(prints, 1)
    return {plan.name: own for number, own in numbered for plan in stored.plans_of(number)}


def has_begun(home: WorkDir, stack: str) -> bool:
    """Whether anything was ever saved of a stack, even if it is damaged now."""
    folder = home.checkpoints(stack)
    return folder.is_dir() and any(folder.iterdir())


def first_generation(home: WorkDir, config: SweepConfig, stored: StoredPlan, task: Task) -> Generation:
    """The record of what a sweep was before it is extended for the first time."""
    began = home.config_file.stat().st_mtime
    for path in home.path.glob("stacks/**/*.json"):
        with contextlib.suppress(FileNotFoundError):  # another process may be training here
            began = min(began, path.stat().st_mtime)
    return Generation(
        config.to_dict(),
        sweep_config.fingerprint(config, task.digest),
        stored.environments[0],
        _utc(datetime.datetime.fromtimestamp(began, datetime.UTC)),
        tuple(plan.name for plan in stored.plans),
    )


def extended(
    home: WorkDir, config: SweepConfig, begun: Begun, environment: dict[str, str | int]
) -> tuple[SweepPlan, Generation, Extension]:
    """The sweep with the runs that `config` adds, the record of its new generation, and what changes.

    `begun.stored` holds a generation at least. Raises ConfigError for runs that cannot be trained.
    """
    sweep, stored, number = begun.sweep, begun.stored, len(begun.stored.generations) + 1
    given_up = {stack.name for stack in sweep.stacks if not has_begun(home, stack.name)}
    parts = [_without(part, given_up) for part in sweep.generations]
    taken = given_up | {name for each in stored.generations for name in each.stacks}  # also of stacks long given up
    stacks = generations.new_stacks(config, number, parts, taken, sweep.task)
    kept = _kept_states(home, config, begun, parts, stacks, environment) if config.train.share_trunks else {}
    steps = {run_id: state.run_step for run_id, state in kept.items()}
    new = generations.part(config, sweep.task, sweep.hardware, stacks, steps)
    record = Generation(
        config.to_dict(),
        sweep_config.fingerprint(config, sweep.task.digest),
        environment,
        _utc(datetime.datetime.now(datetime.UTC)),
        tuple(stack.name for stack in stacks),
        tuple(sorted(given_up)),
        len(stored.environments),
    )
    extension = _extension(number, home, config, begun, parts, new, kept)
    return generations.together([*parts, new]), record, extension


def _utc(time: datetime.datetime) -> str:
    return time.isoformat(timespec="seconds")


def _without(part: SweepPlan, names: set[str]) -> SweepPlan:
    pairs = [pair for pair in zip(part.stacks, part.plans, strict=True) if pair[0].name not in names]
    stacks, plans = ([pair[place] for pair in pairs] for place in (0, 1))
    return dataclasses.replace(part, stacks=tuple(stacks), plans=tuple(plans))


def _extension(
    number: int,
    home: WorkDir,
    config: SweepConfig,
    begun: Begun,
    parts: Sequence[SweepPlan],
    new: SweepPlan,
    kept: dict[str, Kept],
) -> Extension:
    wanted = set(generations.identities(config, new.task))
    stay, given_up = [], []
    left = {stack.name for part in parts for stack in part.stacks}
    dropped = []
    for part in begun.sweep.generations:
        for stack in part.stacks:
            gone = [run.run_id for run in stack.runs if generations.identity(run, part.config) not in wanted]
            (dropped if stack.name in left else given_up).extend(gone)
            stay += [run.run_id for run in stack.runs if stack.name in left]
    ended = _ended(home, begun, parts)
    runs = [run for stack in new.stacks for run in stack.runs]
    trunks = {run_id for stack in new.stacks for run_id in generations.trunk_runs(stack)}
    had_trunk = _groups((run, part.config) for part in parts for stack in part.stacks for run in stack.runs)
    return Extension(
        number,
        tuple(run.run_id for run in runs),
        tuple(run_id for run_id in stay if run_id in ended),
        tuple(run_id for run_id in stay if run_id not in ended),
        tuple(dropped),
        tuple(given_up),
        kept,
        tuple(
            run.run_id
            for run in runs
            if config.train.share_trunks
            and run.run_id in trunks - kept.keys()
            and _but_for_budget(run, config) in had_trunk
        ),
        tuple(stack.name for stack in new.stacks),
        tuple(begun.stored.plans),
    )


def _ended(home: WorkDir, begun: Begun, parts: Sequence[SweepPlan]) -> set[str]:
    """Runs that the newest checkpoints call finished or diverged."""
    ended = set()
    for part in parts:
        for stack, plan in zip(part.stacks, part.plans, strict=True):
            folder = CheckpointFolder(home.checkpoints(stack.name), Origin.of(part, plan))
            with contextlib.suppress(FileNotFoundError):
                results = StackResults.of_checkpoint(stack, folder, begun.done[stack.name] or None)
                ended |= {run_id for run_id, run in results.runs.items() if run.has_ended}
    return ended


def _groups(runs: Iterable[tuple[Run, SweepConfig]]) -> set:
    return {_but_for_budget(run, config) for run, config in runs if run.cooldown_steps}


def _but_for_budget(run: Run, config: SweepConfig) -> object:
    return generations.identity(dataclasses.replace(run, budget=0, steps=0, cooldown_steps=0), config)


def _kept_states(
    home: WorkDir,
    config: SweepConfig,
    begun: Begun,
    parts: Sequence[SweepPlan],
    stacks: Sequence[Stack],
    environment: dict[str, str | int],
) -> dict[str, Kept]:
    """New run -> the latest state of a run that differs only in its budget, from before either cools down."""
    wanted = {}
    for stack in stacks:
        last = generations.trunk_runs(stack)
        runs = (run for run in stack.runs if run.run_id in last)
        wanted |= {run.run_id: (_but_for_budget(run, config), last[run.run_id]) for run in runs}
    if not wanted:
        return {}
    found: dict[object, list[Kept]] = {}
    for part in parts:
        if part.config.optional_axes == config.optional_axes:  # else the programs are others
            for stack, plan in zip(part.stacks, part.plans, strict=True):
                _add_states(found, home, part, stack, plan, environment)
    best = {
        run_id: max((s for s in found.get(group, []) if s.run_step <= last), key=lambda s: s.run_step, default=None)
        for run_id, (group, last) in wanted.items()
    }
    return {run_id: state for run_id, state in best.items() if state is not None}


def _add_states(
    found: dict[object, list[Kept]],
    home: WorkDir,
    part: SweepPlan,
    stack: Stack,
    plan: StackPlan,
    environment: dict[str, str | int],
) -> None:
    """Adds the states in the checkpoints of a stack; none of one that was trained in another environment."""
    runs = {run.run_id: run for run in stack.runs}
    if not any(run.cooldown_steps for run in runs.values()):
        return
    folder = CheckpointFolder(home.checkpoints(stack.name), Origin.of(part, plan))
    for step in folder.steps():
        results = None
        with contextlib.suppress(FileNotFoundError):  # another process may be pruning here
            results = None if folder.problems(step) else StackResults.of_checkpoint(stack, folder, step)
        if results is None or results.moved_at or results.environment != environment:
            continue
        seated = [(entry, entry.slot, entry.run_step(step)) for entry in plan.entries_at(step) if entry]
        waiting = [(entry, None, entry.fork_step) for entry in plan.waiting_at(step)]
        for entry, slot, run_step in (*seated, *waiting):
            run = runs[entry.run_id]
            if run.cooldown_steps and 0 < run_step <= run.decay_start:
                state = Kept(run_step, run.run_id, stack.name, step, slot)
                found.setdefault(_but_for_budget(run, part.config), []).append(state)


def keep_states(home: WorkDir, sweep: SweepPlan, extension: Extension) -> None:
    """Copies the states that new runs go on from to where their stacks look for them. Raises CannotWrite."""
    for stack, plan in zip(sweep.stacks, sweep.plans, strict=True):
        own = {entry.run_id: extension.kept[entry.run_id] for entry in plan.continued if entry.run_id in extension.kept}
        if own:
            states = {run_id: _state(home, sweep, kept) for run_id, kept in own.items()}
            folder = CheckpointFolder(home.kept(stack.name), Origin.of(sweep, plan))
            folder.save(0, states, {}, names=tuple(states))


def _state(home: WorkDir, sweep: SweepPlan, kept: Kept) -> dict:
    """All of a run's state but its hyperparameters, which are those of the run that goes on."""
    folder = CheckpointFolder(home.checkpoints(kept.stack), Origin.of(sweep, _plan_named(sweep, kept.stack)))
    if problems := folder.problems(kept.step):
        raise CorruptCheckpoints([f"step {kept.step} of {folder.folder}, to go on from: {'; '.join(problems)}"])
    arrays = folder.restore(kept.step)
    slots, waiting = arrays if isinstance(arrays, list | tuple) else (arrays, {})
    state = waiting[kept.run_id] if kept.slot is None else jax.tree.map(lambda leaf: leaf[kept.slot], slots)
    return {name: leaf for name, leaf in state.items() if name != "hyper"}


def _plan_named(sweep: SweepPlan, name: str) -> StackPlan:
    return next(plan for plan in sweep.plans if plan.name == name)
