"""What the runs of a stack have measured so far, and the rows of the tables made from it.

Results are plain JSON, committed inside every checkpoint, so the tables can always be rebuilt. Tokens are not counted
on the device: a run's data order is a pure function, and so is the exact number of its tokens.
"""

import dataclasses
import importlib.metadata
import platform

import vsweep
from vsweep import accounting, order
from vsweep.checkpoint import CheckpointFolder, CorruptCheckpoints
from vsweep.grid import Run, Stack
from vsweep.metrics import EVALUATION_FIELDS
from vsweep.packing import StackPlan
from vsweep.plan import SweepPlan, evaluation_steps, model_shape
from vsweep.records import ACTIVITIES, CURVE_COLUMNS, DIVERGED, FINISHED, RUN_COLUMNS, RUNNING, TRAIN

VERSIONED = ("jax", "flax", "optax", "orbax-checkpoint")


@dataclasses.dataclass
class RunResults:
    """One run: its evaluations so far, each with `steps`, `train_loss` and the EVALUATION_FIELDS."""

    curve: list[dict] = dataclasses.field(default_factory=list)
    finished: bool = False
    diverged_at_step: int | None = None
    device: str = ""
    versions: str = ""

    @property
    def status(self) -> str:
        if self.diverged_at_step is not None:
            return DIVERGED
        return FINISHED if self.finished else RUNNING


@dataclasses.dataclass
class StackResults:
    """The runs of one stack, by run_id, and the wall time spent on them in all sessions."""

    runs: dict[str, RunResults]
    seconds: dict[str, float] = dataclasses.field(default_factory=lambda: dict.fromkeys(ACTIVITIES, 0.0))
    slot_steps: int = 0  # slot-steps trained in that time, frozen and empty slots among them
    environment: dict[str, str | int] = dataclasses.field(default_factory=dict)  # of the last session, `resume`
    moved_at: list[int] = dataclasses.field(default_factory=list)  # steps of the stack at which it was another one

    @classmethod
    def empty(cls, stack: Stack) -> "StackResults":
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
            numbers += [point[name] for point in run.curve for name in ("steps", "train_loss", *EVALUATION_FIELDS)]
            numbers += [] if run.diverged_at_step is None else [run.diverged_at_step]
        texts = [text for run in self.runs.values() for text in (run.device, run.versions)]
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

    def ended_runs(self) -> int:
        return sum(run.status != RUNNING for run in self.runs.values())


def versions() -> str:
    """Versions that a result may depend on, as `name version` pairs."""
    libraries = [f"{name} {importlib.metadata.version(name)}" for name in VERSIONED]
    return "; ".join([f"vsweep {vsweep.__version__}", f"python {platform.python_version()}", *libraries])


class TokenCounter:
    """Exact tokens of runs from their data order; kept, for runs of one data seed share them across shapes."""

    def __init__(self, sweep: SweepPlan):
        self._label_tokens = (sweep.task.train_tokens_NxS[:, 1:] != sweep.task.pad).sum(axis=1)
        self._smallest_horizon = sweep.smallest_horizon
        self._curve_points = sweep.config.train.curve_points
        self._kept: dict[tuple, dict[int, int]] = {}
        self._epoch_tokens: dict[tuple[int, int], int] = {}

    def by_step(self, run: Run) -> dict[int, int]:
        """Step -> label tokens trained on, at 0 and at every evaluation step of the run."""
        key = (run.data_seed, run.unique_examples, run.shape.batch_size, run.steps)
        if key not in self._kept:
            steps = [0, *evaluation_steps(run.steps, self._smallest_horizon, self._curve_points)]
            counts = self._count(run, [step * run.shape.batch_size for step in steps])
            self._kept[key] = dict(zip(steps, counts, strict=True))
        return self._kept[key]

    def unique(self, run: Run, step: int) -> int:
        """Label tokens of the distinct examples seen after `step`, one of `by_step`'s."""
        if step * run.shape.batch_size <= run.unique_examples:
            return self.by_step(run)[step]
        key = (run.data_seed, run.unique_examples)
        if key not in self._epoch_tokens:
            self._epoch_tokens[key] = self._count(run, [run.unique_examples])[0]
        return self._epoch_tokens[key]

    def _count(self, run: Run, positions: list[int]) -> list[int]:
        return order.token_counts(self._label_tokens, run.data_seed, run.unique_examples, positions)


def run_rows(sweep: SweepPlan, stack: Stack, results: StackResults, counter: TokenCounter) -> list[dict]:
    """Rows of runs.csv; metrics are empty until a run is finished."""
    return [_run_row(sweep, stack, run, results, counter) for run in stack.runs]


def curve_rows(sweep: SweepPlan, stack: Stack, results: StackResults, counter: TokenCounter) -> list[dict]:
    """Rows of curves.csv: every evaluation of every run."""
    rows = []
    for run in stack.runs:
        tokens = counter.by_step(run)
        for point in results.runs[run.run_id].curve:
            values = {**point, **_compute(sweep, run, point["steps"], tokens[point["steps"]])}
            rows.append({"run_id": run.run_id, **{name: values[name] for name in CURVE_COLUMNS if name != "run_id"}})
    return rows


def time_row(stack: Stack, results: StackResults) -> dict:
    """A row of times.csv."""
    return {"stack": stack.name, **{name: round(results.seconds[name], 3) for name in ACTIVITIES}}


def _run_row(sweep: SweepPlan, stack: Stack, run: Run, results: StackResults, counter: TokenCounter) -> dict:
    result = results.runs[run.run_id]
    last = result.curve[-1] if result.curve else {}
    steps = last.get("steps", 0)
    own_steps = max(0, steps - sweep.plan_of(stack).by_run[run.run_id].fork_step)
    tokens = counter.by_step(run)
    examples = steps * run.shape.batch_size
    shape = model_shape(run.shape, sweep.task)
    metrics = last if result.status == FINISHED else {}
    row = {
        **run.fields(),
        "run_id": run.run_id,
        "stack": stack.name,
        "task": sweep.task.name,
        "params": accounting.params(shape),
        "params_non_embedding": accounting.params_non_embedding(shape),
        **_compute(sweep, run, steps, tokens[steps]),
        "unique_tokens": counter.unique(run, steps),
        "epochs": examples / run.unique_examples,
        "floor": sweep.task.floor,
        "train_loss": metrics.get("train_loss"),
        **{name: metrics.get(name) for name in EVALUATION_FIELDS},
        "status": result.status,
        "diverged_at_step": result.diverged_at_step,
        "wall_s": round(results.seconds[TRAIN] * own_steps / results.slot_steps, 3) if results.slot_steps else 0.0,
        "device": result.device,
        "matmul_precision": sweep.config.train.matmul_precision,
        "versions": result.versions,
        "inexact_resumes": results.inexact_resumes(sweep.plan_of(stack), run.run_id),
    }
    return {name: row[name] for name in RUN_COLUMNS}


def _compute(sweep: SweepPlan, run: Run, steps: int, tokens: int) -> dict:
    shape = model_shape(run.shape, sweep.task)
    examples = steps * run.shape.batch_size
    return {
        "steps": steps,
        "tokens": tokens,
        "flops_6nd": accounting.flops_6nd(shape, tokens),
        "flops_counted": accounting.flops_counted_per_example(shape) * examples,
    }
