"""Tiny sweeps and stacks for tests: one layer, one-digit and two-digit operands, seconds to train."""

import contextlib
import copy
import dataclasses
import functools
import hashlib
import io
import itertools
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

import vsweep
from vsweep import tasks
from vsweep.config import sweep_config
from vsweep.host import devices, hardware
from vsweep.host.progress import SilentProgress
from vsweep.models import by_name
from vsweep.plan import cost, grid, sweep_plan
from vsweep.plan.table import show_plan
from vsweep.storage.checkpoint import CheckpointFolder, Origin
from vsweep.storage.workdir import WorkDir
from vsweep.tables import read_runs
from vsweep.tasks import data_order
from vsweep.train import train_step
from vsweep.train.stack import StackPrograms, StackShape, hyper_of
from vsweep.train.train_step import Recipe, RunState

SMALL = {
    "name": "small",
    "task": {"digits": 2, "validation_examples": 500},
    "model": {"width": 4, "layers": 1},
    "optimizer": {},
    "train": {"batch_size": 8, "curve_examples": 32, "final_examples": 64, "curve_points": 4, "chunk_steps": 16},
    "sweep": {"budget": [700, 1400, 2800], "seed": [0, 1]},
}


def config(**sections) -> dict:
    """SMALL with fields of its sections replaced: `config(train={"slots": 2}, sweep={"seed": [0]})`."""
    values = copy.deepcopy(SMALL)
    for section, fields in sections.items():
        values[section].update(fields)
    return values


def text_config(folder: Path) -> dict:
    """Of a tiny sweep of text: two budgets of one size. Writes its texts into `folder` if they are not there."""
    lines = [json.dumps({"text": f"speech {number}: peace and law, law and peace. " * 8}) for number in range(80)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "speeches.jsonl").write_text("\n".join(lines))
    values = config(model={"dropout": 0.0}, optimizer={"lr": 0.02})
    values["task"] = {"name": "text", "corpus": str(folder), "context": 16}
    values["sweep"] = {"budget": [1024, 2048], "seed": [0]}
    return values


def train(values: dict, workdir: Path, **keywords) -> list:
    return list(vsweep.run_sweep(values, workdir, **keywords))


def skip_to(events: Iterator, kind: type):
    """The next event of that class; the sweep has not gone on behind it."""
    return next(event for event in events if isinstance(event, kind))


def tree(folder: Path) -> dict[str, str]:
    """Everything below a folder: path -> SHA-256 of the file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


def shown(sweep: sweep_plan.SweepPlan) -> str:
    """What `--plan` prints."""
    console = Console(file=io.StringIO(), width=132)
    show_plan(sweep, console)
    return console.file.getvalue()


class StopAfter(SilentProgress):
    """A display that sends SIGTERM to its own process after some chunks: an interruption at a known place."""

    def __init__(self, chunks: int):
        self.left = chunks

    def update(self, stack: str, **status) -> None:
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGTERM)


class FailingDisk:
    """While it is entered, the `call`-th of Python's own calls that write to a disk fails, or all from there on."""

    CALLS = ("fsync", "replace", "rename", "mkdir")

    def __init__(self, call: int, error: int, *, lasting: bool):
        self.error = error
        self._fails = (lambda number: number >= call) if lasting else (lambda number: number == call)
        self._number = itertools.count(1)
        self.failed = False  # yet
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> "FailingDisk":
        for name in self.CALLS:
            self._patch.setattr(os, name, functools.partial(self._call, getattr(os, name)))
        return self

    def __exit__(self, *_) -> None:
        self._patch.undo()

    def _call(self, original, *arguments, **keywords):
        if self._fails(next(self._number)):
            self.failed = True
            raise OSError(self.error, os.strerror(self.error))
        return original(*arguments, **keywords)


def recorded(patch: pytest.MonkeyPatch, *functions: tuple[object, str]) -> list[str]:
    """A list that gets the name of each of these functions (owner, name) whenever it is called."""
    calls = []
    for owner, name in functions:
        patch.setattr(owner, name, _telling(calls, getattr(owner, name), name))
    return calls


def _telling(calls: list[str], original, name: str):
    def telling(*arguments, **keywords):
        calls.append(name)
        return original(*arguments, **keywords)

    return telling


@contextlib.contextmanager
def compilations():
    """A list that gets an item for each program compiled inside."""
    compiled = []

    def count(event, duration, **keywords):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(keywords)

    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        yield compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(count)


def sweep(values: dict, device_count: int = 2) -> sweep_plan.SweepPlan:
    parsed = sweep_config.from_dict(values)
    return sweep_plan.build_plan(parsed, tasks.build(parsed.task), hardware.Hardware("cpu", device_count, 2**33))


def stacks(values: dict) -> tuple[grid.Stack, ...]:
    return sweep(values).stacks


def recipe(values: dict) -> Recipe:
    planned = sweep(values)
    stack = planned.stacks[0]
    return Recipe(
        model=by_name.build(cost.model_shape(stack.shape, planned.task)),
        optimizer=planned.config.optimizer,
        schedule=stack.shape.schedule,
        pad=planned.task.pad,
        use_dropout=any(run.dropout > 0 for run in stack.runs),
        metrics=tuple(planned.task.metrics.values()),
        options=planned.config.stacked_axes,
        gradient_statistics=planned.config.train.gradient_statistics,
    )


class Bench:
    """A stack on a bench: runs put into slots by hand and stepped, without the trainer."""

    chunk_steps = 64

    def __init__(self, values: dict, slots: int, mesh, *, one_by_one: bool = False, piece: int = 0):
        self.sweep = sweep(values)
        self.task = self.sweep.task
        self.mesh = mesh
        self.slots = slots
        train = self.sweep.config.train
        self.batch_size = train.batch_size
        held_out = self.task.held_out
        shape = StackShape(
            slots=slots,
            one_by_one=one_by_one,
            batch_size=train.batch_size,
            sequence_length=self.task.sequence_length,
            chunk_steps=self.chunk_steps,
            held_out_examples=64,
            evaluation_examples=32,
        )
        self.programs = StackPrograms(dataclasses.replace(recipe(values), piece=piece), shape, mesh)
        self.held_out = (held_out.tokens_NxS[:64], held_out.answer_NxL[:64])
        self.state = self.programs.empty_state()
        self.runs: list[grid.Run | None] = [None] * slots
        self.started = [0] * slots
        self.step = 0

    def enter(self, runs: dict[int, grid.Run]) -> None:
        """Puts each run into its slot at this step."""
        for slot, run in runs.items():
            self.runs[slot], self.started[slot] = run, self.step
        hyper_K = hyper_of([runs.get(slot) for slot in range(self.slots)], self.sweep.config.stacked_axes)
        enters_K = np.array([slot in runs for slot in range(self.slots)])
        self.state = self.programs.enter(
            self.state, *jax.device_put((hyper_K, enters_K), devices.over_slots(self.mesh))
        )

    def train(self, steps: int) -> None:
        tokens_CxKxBxS = np.zeros(self.programs.shape.chunk, self.programs.shape.token_dtype)
        for slot, run in enumerate(self.runs):
            if run is not None:
                first = (self.step - self.started[slot]) * self.batch_size
                seen = examples_of(run, self.task, first, steps * self.batch_size)
                tokens_CxKxBxS[:steps, slot] = self.task.rows(seen.reshape(steps, self.batch_size))
        arguments = (
            jax.device_put(tokens_CxKxBxS, devices.over_slots(self.mesh, axis=1)),
            jax.device_put(np.int32(steps), devices.replicated(self.mesh)),
        )
        self.state, _ = self.programs.train_chunk(self.state, *arguments)
        self.step += steps

    def evaluate(self, due: list[bool]):
        everywhere = devices.replicated(self.mesh)
        tokens, answer, first = jax.device_put((*self.held_out, np.int32(0)), everywhere)
        due_K = jax.device_put(np.array(due), devices.over_slots(self.mesh))
        return jax.device_get(self.programs.evaluate(self.state, tokens, answer, first, due_K))

    def slot(self, index: int):
        """Everything in one slot, on the host."""
        return jax.tree.map(lambda leaf: leaf[index], jax.device_get(self.state))

    def poison(self, slot: int) -> None:
        """Puts a NaN into every parameter of a slot."""
        params = jax.tree.map(lambda leaf: leaf.at[slot].set(np.nan), self.state.params)
        self.state = jax.device_put(self.state._replace(params=params), devices.over_slots(self.mesh))


def examples_of(run: grid.Run, task, first: int, count: int) -> np.ndarray:
    return data_order.examples(run.data_seed, run.unique_examples, task.train_examples, first, count)


def with_fields(run: grid.Run, **fields) -> grid.Run:
    return dataclasses.replace(run, **fields)


def same_bits(one, other) -> bool:
    """Whether two trees hold the same arrays, bit for bit."""
    leaves, others = jax.tree.leaves(one), jax.tree.leaves(other)
    return len(leaves) == len(others) and all(
        np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in zip(leaves, others, strict=True)
    )


def largest_difference(one, other) -> float:
    gaps = jax.tree.map(lambda a, b: float(np.max(np.abs(np.asarray(a, float) - np.asarray(b, float)))), one, other)
    return max(jax.tree.leaves(gaps))


def begun_with(workdir: Path, **entries) -> None:
    """Changes the environments in which a work directory says that its sweep has trained."""
    home = WorkDir(workdir)
    plans, environments = home.read_plan()
    home.write_plan(plans, [{**environment, **entries} for environment in environments])


def checkpoints_of(workdir: Path, stack: str = "all") -> CheckpointFolder:
    """The checkpoints of a stack, to which a test may add one as the sweep itself would."""
    folder = CheckpointFolder(Path(workdir) / "stacks" / stack / "checkpoints")
    return CheckpointFolder(folder.folder, Origin(**folder.origin_of(folder.latest())))


def finished_params(workdir: Path) -> dict:
    """run_id -> parameters of every finished run under a work directory."""
    found = {}
    for finished in sorted((Path(workdir) / "stacks").glob("*/finished")):
        folder = CheckpointFolder(finished)
        for step in folder.steps():
            found.update(folder.restore(step))
    return found


def fingerprint(workdir: Path) -> dict[str, str]:
    """SHA-256 of all that a sweep has found: tables (but for times), finished parameters, and the last state of each
    stack with its optimizer's."""
    hashes = {"curves.csv": hashlib.sha256((Path(workdir) / "curves.csv").read_bytes()).hexdigest()}
    runs = read_runs(workdir).drop(columns="wall_s")
    hashes["runs.csv"] = hashlib.sha256(runs.to_csv(index=False).encode()).hexdigest()
    for folder in sorted((Path(workdir) / "stacks").glob("*/*")):
        kept = CheckpointFolder(folder)
        for step in kept.steps() if folder.name == "finished" else kept.steps()[-1:]:
            for path, leaf in jax.tree.leaves_with_path(kept.restore(step)):
                name = f"{folder.relative_to(workdir)}/{step}{jax.tree_util.keystr(path)}"
                hashes[name] = hashlib.sha256(np.ascontiguousarray(leaf).tobytes()).hexdigest()
    return hashes


def differing(workdir: Path, expected: Path) -> list[str]:
    """What two sweeps do not have in common, by the names of `fingerprint`."""
    found, wanted = fingerprint(workdir), fingerprint(expected)
    return sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))


MODELS = {  # a tiny one of each built-in model, and of the transformer's options
    "transformer": {"name": "transformer"},
    "rms-swiglu-rotary": {"norm": "rms", "mlp": "swiglu", "positions": "rotary", "bias": False, "qk_norm": True},
    "relu-none": {"mlp": "relu", "positions": "none"},
    "moe": {"name": "moe", "experts": 3, "experts_per_token": 2, "shared_expert": True},
    "moe-places": {"name": "moe", "experts": 3, "experts_per_token": 1, "capacity_factor": 0.7},
    "lstm": {"name": "lstm"},
    "gru": {"name": "gru", "residual": False},
    "mlp": {"name": "mlp", "window": 3},
}


def model_config(name: str, /, **sections) -> dict:
    """`config` with one of MODELS: two layers of width 8."""
    values = config(**sections)
    values["model"] = {"width": 8, "layers": 2, **MODELS[name], **sections.get("model", {})}
    return values


def plain_run(values: dict, run: grid.Run, steps: int) -> tuple[list[float], RunState]:
    """(moving average of the loss after each step, state): a plain loop over one model, unbatched."""
    made, task, batch_size = recipe(values), sweep(values).task, run.shape.batch_size
    step = jax.jit(functools.partial(train_step.train_step, made))
    init = jax.jit(functools.partial(train_step.init_run, made))
    state = init(jax.tree.map(lambda column: column[0], hyper_of([run])))
    losses = []
    for index in range(steps):
        state = step(state, task.train_tokens_NxS[examples_of(run, task, index * batch_size, batch_size)])
        losses.append(float(state.train_loss))
    return losses, jax.device_get(state)
