"""Where the time of a sweep goes, how far it is, how long it will still take, and when a report is worth its time.

Everything is measured in the session itself. It only splits the work: no result depends on it.
"""

import contextlib
import time
from collections.abc import Callable, Iterator

from vsweep.host.progress import SilentProgress
from vsweep.plan.packing import StackPlan
from vsweep.plan.sweep_plan import SweepPlan
from vsweep.storage.results import StackResults

CHUNKS_IN_FLIGHT = 2
AT_ONCE_S = 1.0  # what one dispatch may take, unless a single step or pass takes longer


class SweepClock:
    """How far the sweep is and how long it will take: the plan's estimate, scaled by what steps turned out to cost."""

    def __init__(self, sweep: SweepPlan, progress: SilentProgress):
        self.progress = progress
        self.sweep = sweep
        self.expected_s = {plan.name: cost.train_s for plan, cost in zip(sweep.plans, sweep.estimates, strict=True)}
        self.done_s = 0.0  # expected seconds of what is done
        self.measured_s = 0.0
        self.measured_expected_s = 0.0

    def start(self, stack_plan: StackPlan, stack_results: list[StackResults]) -> None:
        """This stack is next; `stack_results` are those of all stacks, kept up to date by the caller."""
        self.stack_plan = stack_plan
        self.stack_results = stack_results
        names = [plan.name for plan in self.sweep.plans]
        place = names.index(stack_plan.name)
        self.done_s = sum(self.expected_s[name] for name in names[:place])
        self.stacks_left = len(names) - place - 1

    def begin(self, step: int, compile_s: float, trained_s: float) -> None:
        """The stack starts, or goes on, at `step`; each next stack will compile for `compile_s` seconds."""
        self.step = step
        self.trained_s = trained_s
        self.compile_s = compile_s
        self.stack_s = 0.0
        self.stack_tokens = 0.0
        self.left_s = self._left_s()

    def advance(self, step: int, trained_s: float) -> None:
        """Training and evaluating for `trained_s` seconds in all sessions has brought the stack to `step`."""
        seconds, self.trained_s = trained_s - self.trained_s, trained_s
        self.measured_s += seconds
        self.measured_expected_s += self._expected(step) - self._expected(self.step)
        self.stack_s += seconds
        self.stack_tokens += (step - self.step) * self._tokens_per_step(step)
        self.step = step
        self.left_s = self._left_s()
        ended = sum(stack_results.ended_runs() for stack_results in self.stack_results)
        self.progress.update(
            self.stack_plan.name,
            done=(self.done_s + self._expected(step)) / sum(self.expected_s.values()),
            runs=f"{ended} of {self.sweep.runs}",
            tokens_per_s=self.stack_tokens / max(self.stack_s, 1e-9),
            eta_s=self.left_s,
        )

    def _left_s(self) -> float:
        """Until all runs have ended, training and compiling; without the report."""
        left = sum(self.expected_s.values()) - self.done_s - self._expected(self.step)
        scale = self.measured_s / self.measured_expected_s if self.measured_expected_s else 1.0
        return scale * left + self.compile_s * self.stacks_left

    def _expected(self, step: int) -> float:
        return self.expected_s[self.stack_plan.name] * step / self.stack_plan.steps

    def _tokens_per_step(self, step: int) -> float:
        stack = next(stack for stack in self.sweep.stacks if stack.name == self.stack_plan.name)
        active = sum(entry is not None for entry in self.stack_plan.entries_at(step - 1))
        return active * stack.shape.batch_size * self.sweep.task.mean_label_tokens


class Stopwatch:
    """Splits the wall time without gaps: what passed since the last lap goes to the activity that the lap names."""

    def __init__(self, now: Callable[[], float] = time.perf_counter):
        self._now = now
        self._last = now()

    def lap(self, seconds: dict[str, float], activity: str) -> None:
        """Adds the time since the last lap to `seconds[activity]`."""
        now = self._now()
        seconds[activity] += now - self._last
        self._last = now


class Pace:
    """How much work the devices get at once in one stack, so that a stop comes in time, and how long a stop will take.

    A pass is the evaluation of one slot on each device, on the examples of one dispatch.
    """

    def __init__(self, save_s: float):
        """`save_s` is what a save is expected to take, in seconds, before one has been measured."""
        self._save_s = save_s
        self._longest_save_s: float | None = None
        self._saving_since: float | None = None
        self._step_s: float | None = None
        self._pass_s: float | None = None

    @property
    def steps(self) -> int:
        """That one dispatch may hold; one until it is known what a step takes."""
        return _how_many(self._step_s)

    @property
    def passes(self) -> int:
        """That one dispatch may hold."""
        return _how_many(self._pass_s)

    @property
    def chunks_in_flight(self) -> int:
        """The host keeps ahead of the devices, but not where a stop would have to wait for it."""
        return CHUNKS_IN_FLIGHT if self._step_s is not None and self._step_s < AT_ONCE_S else 1

    def is_long(self, passes: int) -> bool:
        """Whether a stop should not wait for an evaluation of so many passes."""
        return passes > self.passes

    def trained(self, steps: int, seconds: float) -> None:
        """A chunk of so many steps took so long."""
        self._step_s = seconds / steps

    def evaluated(self, passes: int, seconds: float) -> None:
        """Evaluations of so many passes together took so long."""
        if passes:
            self._pass_s = seconds / passes

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """A save takes place inside; in whatever thread."""
        started = self._saving_since = time.perf_counter()
        yield
        self._longest_save_s = max(self._longest_save_s or 0.0, time.perf_counter() - started)
        self._saving_since = None

    def stop_s(self) -> float:
        """Seconds until everything is saved: what is in flight, the save under way, and one more."""
        unit_s = max(AT_ONCE_S, self._step_s or 0.0, self._pass_s or 0.0)
        since, save_s = self._saving_since, self._longest_save_s or self._save_s
        under_way_s = 0.0 if since is None else max(0.0, save_s - (time.perf_counter() - since))
        return self.chunks_in_flight * unit_s + under_way_s + save_s


class ReportPace:
    """Keeps reports to a small share of a sweep: the next one is due after 20 times what the last one took.

    None is due when the last one, of all runs, comes sooner than that.
    """

    WAIT = 20
    FIRST_S = 10.0  # what a report may take before one has been drawn

    def __init__(self, now: Callable[[], float] = time.perf_counter):
        self._now = now
        self._last = now()
        self._took_s = self.FIRST_S

    def due(self, left_s: float) -> bool:
        """Whether a report is worth its time now, `left_s` seconds before the last one."""
        return min(self._now() - self._last, left_s) >= self.WAIT * self._took_s

    def draw(self, report: Callable[[], str]) -> str:
        """Draws a report and remembers what it took."""
        started = self._now()
        drawn = report()
        self._last = self._now()
        self._took_s = self._last - started
        return drawn


def _how_many(seconds: float | None) -> int:
    return 1 if seconds is None else max(1, int(AT_ONCE_S / max(seconds, 1e-9)))
