"""A whole sweep: its plan, its stacks one after the other, its tables.

`run_sweep` is a generator of events; it knows nothing of flags, figures or fits. `loop.py` trains each stack.
"""

from collections.abc import Generator, Iterator, Mapping
from pathlib import Path

from vsweep.atomic import remove_leftovers, writing
from vsweep.config.problems import ConfigError
from vsweep.config.sweep_config import SweepConfig
from vsweep.host import devices, notebook
from vsweep.host.interruption import Interruption
from vsweep.host.progress import SilentProgress
from vsweep.models import accounting
from vsweep.plan.cost import model_shape, moments
from vsweep.plan.grid import Stack
from vsweep.plan.packing import StackPlan
from vsweep.plan.sweep_plan import SweepPlan
from vsweep.schema import ANALYSIS, COMPILE, OTHER
from vsweep.session import preflight, resume
from vsweep.session.extend import keep_states
from vsweep.session.resume import Start
from vsweep.storage.lock import locked
from vsweep.storage.workdir import WorkDir
from vsweep.tasks import checks
from vsweep.train.compiling import StackCompiler, stacks_ahead
from vsweep.train.dispatcher import DeviceData, Dispatcher
from vsweep.train.events import Event, Planned
from vsweep.train.loop import train_stack
from vsweep.train.recorder import StackRecorder, SweepRecorder
from vsweep.train.timing import Pace


def plan_sweep(
    config: SweepConfig | Mapping,
    workdir: str | Path | None = None,
    *,
    resume_from: str | Path | None = None,
    allow_inexact_resume: bool = False,
    extend: bool = False,
) -> SweepPlan:
    """What `run_sweep` would do on this machine, by the plan stored in `workdir` if the sweep has begun there.

    Touches nothing; raises ConfigError with every problem, among them a wall limit in which nothing could be gained.
    """
    ready = preflight.prepare(
        config, workdir, resume_from=resume_from, allow_inexact_resume=allow_inexact_resume, extend=extend
    )
    if problems := preflight.wall_problems(ready):
        raise ConfigError(problems)
    return ready.sweep


def run_sweep(
    config: SweepConfig | Mapping,
    workdir: str | Path | None = None,
    *,
    resume_from: str | Path | None = None,
    allow_inexact_resume: bool = False,
    extend: bool = False,
    progress: SilentProgress | None = None,
) -> Iterator[Event]:
    """Trains every run of `config` (a SweepConfig, ConfigDict or mapping) in `workdir`, or goes on where it stopped.

    Yields the events of `vsweep.train.events`: Planned before anything is touched, Compiling for each stack that has
    steps left, Boundary whenever runs have ended, and last Finished or Interrupted. At each of these the tables in
    `workdir` are up to date.

    Args:
      config: what to train.
      workdir: where; `runs/<name of the config>` unless it is given.
      resume_from: another work directory, which is verified and copied first, and only read.
      allow_inexact_resume: go on with other versions or devices than those it began with (`vsweep.session.resume`).
      extend: add the runs of other values of axes to the sweep in `workdir` (`vsweep.session.extend`): what has ended
        stays as it is. Without it a config that differs is refused.
      progress: what shows how far it is; nothing by default.

    SIGTERM, SIGINT and max_wall_hours end it with a checkpoint and Interrupted.

    Raises:
      ConfigError: every problem of the config, the place and the machine, before anything is written.
      CannotWrite: a disk that takes no more.
    """
    ready = preflight.prepare(
        config, workdir, resume_from=resume_from, allow_inexact_resume=allow_inexact_resume, extend=extend
    )
    config, task, home = ready.sweep.config, ready.sweep.task, ready.home
    problems = tuple(preflight.wall_problems(ready))
    yield Planned(workdir=home.path, plan=ready.sweep, wall_problems=problems, extension=ready.extension)
    if problems := checks.problems(
        task, config.train.final_examples
    ):  # here and not in the plan, which builds no examples
        raise ConfigError(problems)
    progress = progress or notebook.progress_here()
    with locked(home.path, progress.say) as lock:
        with Interruption(config.train.max_wall_hours) as interruption:
            _take(home, config, resume_from, extend=extend)
            begin = resume.confirm(ready.start, home, allow_inexact=allow_inexact_resume)
            for line in filter(None, (lock.note, *begin.messages)):
                progress.say(line)
            recorder = SweepRecorder(begin.sweep, home, lock, progress)
            store_plan(begin, home)
            interrupted = yield from train_sweep(begin, recorder, progress, interruption)
        if not interrupted:
            yield recorder.finished()  # signals are the caller's again: an analysis may be stopped
            recorder.analysed()


def train_sweep(
    begin: Start, recorder: SweepRecorder, progress: SilentProgress, interruption: Interruption
) -> Generator[Event, None, bool]:
    """Trains the stacks that have steps left, one after the other, smallest first; returns whether it was interrupted.

    Then its last event is Interrupted.
    """
    with writing(recorder.home.compile_cache):
        devices.use_compile_cache(recorder.home.compile_cache.absolute())
    sweep, mesh, left, data = begin.sweep, begin.mesh, recorder.stacks_left(), None
    platform = mesh.devices.flat[0].platform
    ahead = stacks_ahead(platform, devices.usable_cores(), devices.host_memory_bytes())
    with StackCompiler(sweep, mesh, ahead=ahead) as compiler:
        for place, index in enumerate(left):
            stack, stack_plan = sweep.stacks[index], sweep.plans[index]
            recorder.clock.start(stack_plan, recorder.results)
            if reason := interruption.should_stop():
                yield recorder.interrupted(stack, reason)
                return True
            data = data or DeviceData.put(sweep.task, sweep.config.train.final_examples, mesh)
            pace = Pace(_save_s(sweep, stack, stack_plan))
            of_stack = StackRecorder(recorder, index, data.counts, pace, data.more_counts)
            of_stack.lap(OTHER)
            progress.compiling(stack.name)
            yield recorder.compiling(stack)
            of_stack.lap(ANALYSIS)
            compiler.announce([sweep.stacks[each] for each in left[place:]])
            dispatcher = _compile_and_begin(begin, of_stack, data, compiler, interruption)
            for step in train_stack(dispatcher, of_stack, interruption):
                yield recorder.boundary(stack_plan, step)
                of_stack.lap(ANALYSIS)
            if not dispatcher.done:
                yield recorder.interrupted(stack, interruption.should_stop())
                return True
            recorder.results[index] = of_stack.results
    recorder.write_tables()
    return False


def _compile_and_begin(
    begin: Start, recorder: StackRecorder, data: DeviceData, compiler: StackCompiler, interruption: Interruption
) -> Dispatcher:
    """Waits for the programs of a stack, and puts its last checkpoint, or its first runs, on the devices."""
    stack, stack_plan = begin.sweep.stacks[recorder.index], recorder.plan
    programs = compiler.programs(stack, stack_plan)
    recorder.lap(COMPILE)
    recorder.start_clock(0.0 if compiler.ahead else programs.compile_s)
    sweep = begin.sweep.part_with(stack.name)
    dispatcher = Dispatcher(sweep, stack, stack_plan, begin.mesh, data, programs, recorder.pace, interruption)
    dispatcher.begin(recorder.begun_at, recorder.checkpoints, recorder.kept)
    return dispatcher


def _save_s(sweep: SweepPlan, stack: Stack, stack_plan: StackPlan) -> float:
    """What a save of the stack is expected to take, in seconds."""
    config = sweep.part_with(stack.name).config
    shape, kept = model_shape(stack.shape, sweep.task), moments(stack.shape, sweep.task, config)
    return preflight.save_seconds(accounting.checkpoint_bytes(shape, stack_plan.slots, kept))


def store_plan(begin: Start, home: WorkDir) -> None:
    """Config first, so that a plan never stands without the config it was made for.

    An extension ends with its config, which is what makes it count: a kill before that leaves the sweep as it was.
    """
    if begin.extension is not None:
        keep_states(home, begin.sweep, begin.extension)
        plans = {plan.name: plan for plan in (*begin.extension.as_stored, *begin.sweep.plans)}
        home.write_plan(tuple(plans.values()), begin.environments, begin.generations)
    elif begin.found.config is not None:  # nothing of it was trained: another sweep begins
        home.remove_plan()
    home.write_config(begin.sweep.config)
    home.write_plan(begin.sweep.plans, begin.environments, begin.generations)
    if facts := begin.sweep.task.facts:
        home.write_task(facts, begin.sweep.task.digest)


def _take(home: WorkDir, config: SweepConfig, resume_from: str | Path | None, *, extend: bool) -> None:
    """Makes a place that is held now ready for this sweep. Raises ConfigError if another one has begun there."""
    if problems := home.problems(config, extend=extend):  # again: that may have been meanwhile
        raise ConfigError(problems)
    for folder in (home.path, *home.path.glob("stacks/*/*/")):  # not analysis/: somebody else may be writing
        remove_leftovers(folder)
    home.remove_copy_mark()
    if resume_from is not None:
        home.copy_from(Path(resume_from))
