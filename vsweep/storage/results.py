"""What the runs of a stack have measured so far.

Results are plain JSON, committed inside every checkpoint, so the tables can always be rebuilt.
"""

import dataclasses
import importlib.metadata
import platform

import vsweep
from vsweep.plan.grid import Stack
from vsweep.plan.packing import StackPlan
from vsweep.schema import ACTIVITIES, DIVERGED, EVALUATION_FIELDS, FINISHED, QUEUED, RUNNING
from vsweep.storage.checkpoint import CheckpointFolder, CorruptCheckpoints

VERSIONED = ("jax", "flax", "optax", "orbax-checkpoint")


@dataclasses.dataclass
class RunResults:
    """One run: its evaluations so far, each with `steps`, `train_loss` and the EVALUATION_FIELDS."""

    curve: list[dict] = dataclasses.field(default_factory=list)
    finished: bool = False
    diverged_at_step: int | None = None
    device: str = ""
    versions: str = ""
    matmul_precision: str = ""  # of its products; empty before it ended, and in checkpoints of earlier versions

    @property
    def has_ended(self) -> bool:
        """Whether it is finished or diverged."""
        return self.finished or self.diverged_at_step is not None

    @property
    def newest(self) -> dict:
        """The last evaluation, or where it diverged."""
        return self.curve[-1] if self.diverged_at_step is None else {"diverged_at_step": self.diverged_at_step}


@dataclasses.dataclass
class StackResults:
    """The runs of one stack, by run_id, and the wall time spent on them in all sessions, in seconds by activity."""

    runs: dict[str, RunResults]
    seconds: dict[str, float] = dataclasses.field(default_factory=lambda: dict.fromkeys(ACTIVITIES, 0.0))
    slot_steps: int = 0  # slot-steps trained in that time, frozen and empty slots among them
    environment: dict[str, str | int] = dataclasses.field(default_factory=dict)  # of the last session, `resume`
    moved_at: list[int] = dataclasses.field(default_factory=list)  # steps of the stack at which it was another one

    @classmethod
    def empty(cls, stack: Stack) -> "StackResults":
        """Those of a stack that has not begun."""
        return cls({run.run_id: RunResults() for run in stack.runs})

    @classmethod
    def of_checkpoint(cls, stack: Stack, folder: CheckpointFolder, step: int | None) -> "StackResults":
        """What a step knows (None: nothing yet). Raises CorruptCheckpoints if that is about other runs."""
        if step is None:
            return cls.empty(stack)
        read = cls.checked(folder.records(step))
        if read.runs.keys() != {run.run_id for run in stack.runs}:
            raise CorruptCheckpoints(
                [f"no checkpoint of {stack.name} - got step {step} of {folder.folder}, of other runs"]
            )
        return read

    @classmethod
    def from_json(cls, values: dict) -> "StackResults":
        """The results whose `to_json` this is."""
        runs = {run_id: RunResults(**run) for run_id, run in values["runs"].items()}
        later = {name: values[name] for name in ("environment", "moved_at") if name in values}
        return cls(runs, values["seconds"], values["slot_steps"], **later)

    @classmethod
    def checked(cls, values: dict) -> "StackResults":
        """As `from_json`, of a checkpoint. Raises CorruptCheckpoints for what no sweep has written."""
        try:
            read = cls.from_json(values)
            sound = read._has_types()
        except (KeyError, TypeError, AttributeError):
            sound = False
        if not sound:
            raise CorruptCheckpoints(["no checkpoint of a sweep - its results are of another kind"])
        return read

    def _has_types(self) -> bool:
        """Whether every value is of the kind that a sweep writes."""
        numbers = [*(self.seconds[name] for name in ACTIVITIES), self.slot_steps, *self.moved_at]
        for run in self.runs.values():
            measured = [point[name] for point in run.curve for name in EVALUATION_FIELDS]
            numbers += [value for value in measured if value is not None]  # None: the task does not say
            numbers += [point[name] for point in run.curve for name in ("steps", "train_loss")]
            numbers += [] if run.diverged_at_step is None else [run.diverged_at_step]
        texts = [text for run in self.runs.values() for text in (run.device, run.versions, run.matmul_precision)]
        whole = [
            self.slot_steps,
            *self.moved_at,
            *(point["steps"] for run in self.runs.values() for point in run.curve),
        ]
        return (
            all(type(number) in (int, float) for number in numbers)
            and all(type(number) is int for number in whole)
            and all(type(text) is str for text in texts)
            and all(type(run.finished) is bool for run in self.runs.values())
            and all(type(value) in (int, str) for value in self.environment.values())
            and type(devices := self.environment.get("devices", 1)) is int
            and devices > 0
        )

    def to_json(self) -> dict:
        """Plain JSON, and a copy."""
        return dataclasses.asdict(self)

    def move_to(self, environment: dict[str, str | int], moved_at: int | None) -> None:
        """The stack goes on in `environment`; `moved_at` is the checkpoint's step if that was saved in another one."""
        if moved_at is not None:
            self.moved_at.append(moved_at)
        self.environment = environment

    def inexact_resumes(self, stack_plan: StackPlan, run_id: str) -> int:
        """How often the environment changed between a run's (or its trunk's) first step and its last one."""
        entry, diverged = stack_plan.by_run[run_id], self.runs[run_id].diverged_at_step
        first = stack_plan.by_run[entry.trunk] if entry.trunk else entry
        last = entry.stop - 1 if diverged is None else stack_plan.entry_of(run_id, diverged).stack_step(diverged)
        return sum(first.start <= step <= last for step in self.moved_at)

    def status(self, stack_plan: StackPlan, run_id: str) -> str:
        """Of a run: one of `schema`'s; it is running as soon as it (or its trunk) has entered a slot."""
        run, entry = self.runs[run_id], stack_plan.by_run[run_id]
        if run.has_ended:
            return FINISHED if run.diverged_at_step is None else DIVERGED
        first = stack_plan.by_run[entry.trunk] if entry.trunk else entry
        entered = 0 < self.slot_steps >= stack_plan.slots * first.start
        return RUNNING if entered else QUEUED

    def ended_runs(self) -> int:
        """How many runs are finished or diverged."""
        return sum(run.has_ended for run in self.runs.values())


def versions() -> str:
    """Versions that a result may depend on, as `name version` pairs."""
    libraries = [f"{name} {importlib.metadata.version(name)}" for name in VERSIONED]
    return "; ".join([f"vsweep {vsweep.__version__}", f"python {platform.python_version()}", *libraries])
