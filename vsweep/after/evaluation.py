"""Losses and metrics of finished runs on any data, without training again.

Runs of one shape are lifted by `vmap` and share one program. Shapes in names: K runs, N examples, S tokens of each.
"""

import functools
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd

from vsweep.after import sets
from vsweep.after.sets import Sets
from vsweep.config import registry
from vsweep.config.problems import ConfigError, Problem
from vsweep.host import devices, products
from vsweep.host.hardware import Hardware
from vsweep.models.base import Model
from vsweep.saved_run import FinishedRuns
from vsweep.tasks.base import HeldOut, Metric, Task, token_dtype
from vsweep.train import metrics as statistics
from vsweep.train import train_step
from vsweep.train.train_step import ExampleLosses, Recipe

NUMBERS_AT_ONCE = 2**25  # float32: logits and hidden features of one program
PARAMS_AT_ONCE = 2**27  # float32: of the runs of one program
RENAMED = {"val_loss": "loss", "val_loss_se": "loss_se", "eval_examples": "examples"}  # of EVALUATION_FIELDS
FIRST = ("run_id", "set", "examples", "loss", "loss_se")
Metrics = Mapping[str, Metric] | Sequence[str]


class Done(NamedTuple):
    """After each program of an evaluation."""

    stack: str
    examples: int  # of all runs and sets, evaluated so far
    total: int


def evaluate_runs(
    workdir: str | Path,
    runs: str | Sequence[str] | None = None,
    *,
    data: Any = None,
    metrics: Metrics = (),
    progress: Callable[[Done], None] = lambda done: None,
    say: Callable[[str], None] = lambda note: None,
) -> pd.DataFrame:
    """Evaluates finished runs of a work directory, which is only read.

    Args:
      workdir: of the sweep.
      runs: run ids, `best` or `longest`; None: every finished run.
      data: a path, an array, a HeldOut or a mapping of names to these (`vsweep.after.sets`); None: the task's own
        held-out sets, whole.
      metrics: beside those of the task, by name, or as import paths `module:function`. Each takes float32 logits
        [N, L, V] and int32 labels [N, L] and gives a number for each example [N].
      progress: called after each program; `say` with a note on what was done to the data.

    Returns:
      A row for each run and set: `run_id`, `set`, `examples`, `loss` (nats per token) and `loss_se`, its standard
      error over examples. `excess_loss`, `answer_loss` and `exact_match` are there where the data has what they need,
      and `metric_NAME` for each metric, the last four with `_se`; `bits_per_byte` for text.

    Raises:
      ConfigError: everything that is wrong with the runs, the data and the metrics.
      FileNotFoundError: `workdir` is no work directory.
    """
    finished = FinishedRuns.open(workdir)
    problems: list = []
    run_ids = _collect(problems, lambda: _run_ids(finished, runs))
    own = _collect(problems, lambda: _metrics(finished.task, metrics))
    final = finished.config.train.final_examples
    found = _collect(
        problems, lambda: sets.of_task(finished.task, final) if data is None else sets.read(finished.task, data)
    )
    if problems:
        raise ConfigError(problems)
    for note in (*_left_out(finished, runs), *found.notes):
        say(note)
    rows = list(_rows(finished, run_ids, found, own, progress))
    table = pd.DataFrame(rows)
    place = {run_id: index for index, run_id in enumerate(run_ids)}
    table = table.sort_values("run_id", key=lambda column: column.map(place), kind="stable", ignore_index=True)
    others = [name for name in table.columns if name not in FIRST and table[name].notna().any()]
    return table[[*FIRST, *others]]


def _collect(problems: list, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except ConfigError as error:
        problems += error.problems
        return None


def _run_ids(finished: FinishedRuns, runs: str | Sequence[str] | None) -> list[str]:
    names = finished.names if runs is None else [runs] if isinstance(runs, str) else list(runs)
    if not names:
        what = "no run has finished of which parameters are kept" if finished.not_kept else "no run has finished"
        raise ConfigError([Problem("--runs", what, str(finished.home.path), "finished runs")])
    problems: list = []
    found = [_collect(problems, functools.partial(finished.choose, name)) for name in names]
    if problems:
        raise ConfigError(problems)
    return list(dict.fromkeys(found))


def _left_out(finished: FinishedRuns, runs: str | Sequence[str] | None) -> list[str]:
    """That of some runs there is nothing to evaluate, where every finished run was asked for."""
    if runs is not None or not finished.not_kept:
        return []
    rule = f"train.keep_finished = {finished.config.train.keep_finished!r}"
    return [f"note: the parameters of {len(finished.not_kept)} runs are not kept ({rule}), so they are left out"]


def _metrics(task: Task, metrics: Metrics) -> dict[str, Metric]:
    """Those of the task, then the others, by name."""
    found, problems = dict(task.metrics), []
    if isinstance(metrics, Mapping):
        for name, metric in metrics.items():
            _collect(problems, functools.partial(_check_metric, task, name, metric))
        metrics, found = (), {**found, **metrics}
    for path in metrics:
        name = path.rpartition(":")[2]
        if not registry.is_import_path(path):
            problems.append(Problem("--metric", "no import path", repr(path), "module:function"))
        elif name in found:
            problems.append(Problem("--metric", "two metrics of one name", name, "another name of the function"))
        else:
            found[name] = _collect(problems, functools.partial(_load_metric, task, path))
    if problems:
        raise ConfigError(problems)
    return found


def _load_metric(task: Task, path: str) -> Metric:
    try:
        metric = registry.attribute("metric", path)
    except registry.CannotLoad as error:
        told = error.problem
        raise ConfigError([Problem("--metric", told.what, told.got, told.allowed, told.hint)]) from error
    _check_metric(task, path, metric)
    return metric


def _check_metric(task: Task, name: str, metric: Metric) -> None:
    """Raises ConfigError unless it gives a number for each of two examples; it is traced, and not run."""
    shape = (2, task.sequence_length - 1)
    allowed = "a function of logits [N, L, V] and labels [N, L] that gives a number for each example, [N]"
    logits, labels = jax.ShapeDtypeStruct((*shape, task.vocabulary), "float32"), jax.ShapeDtypeStruct(shape, "int32")
    try:
        given = jax.eval_shape(metric, logits, labels)
    except Exception as error:  # a user's code may raise anything
        what = f"{name} cannot be used ({registry.in_short(error)})"
        raise ConfigError([Problem("--metric", what, allowed=allowed)]) from error
    if getattr(given, "shape", None) != (2,):
        raise ConfigError([Problem("--metric", f"{name} gives no number for each example", str(given), allowed)])


def _rows(
    finished: FinishedRuns, run_ids: list[str], found: Sets, metrics: dict[str, Metric], progress: Callable
) -> Iterator[dict]:
    task, done = finished.task, 0
    total = len(run_ids) * sum(len(held_out.tokens_NxS) for held_out in found.by_name.values())
    counts = {name: statistics.label_counts(held_out, task.pad) for name, held_out in found.by_name.items()}
    by_stack: dict[str, list[str]] = {}
    for run_id in run_ids:
        by_stack.setdefault(finished.stack_of(run_id).name, []).append(run_id)
    device = jax.local_devices()[0]
    here = Hardware(device.device_kind, 1, 0, capability=devices.compute_capability(device))
    precision = products.asked(finished.config.train.matmul_precision, here)
    for stack, members in by_stack.items():
        programs = _Programs(finished, members, found, tuple(metrics.values()))
        for name, held_out in found.by_name.items():
            parts: dict[str, list[ExampleLosses]] = {run_id: [] for run_id in members}
            with jax.default_matmul_precision(precision):
                for run_id, losses in programs.evaluate(held_out):
                    parts[run_id].append(losses)
                    done += len(losses.loss_N)
                    progress(Done(stack, done, total))
            for run_id, losses in parts.items():
                row = {"run_id": run_id, "set": name, **_summary(losses, counts[name], metrics)}
                if name in found.bytes_per_token:
                    row["bits_per_byte"] = row["loss"] / (math.log(2) * found.bytes_per_token[name])
                yield row


class _Programs:
    """The runs of one shape, in groups that share a program."""

    def __init__(self, finished: FinishedRuns, run_ids: list[str], found: Sets, metrics: tuple[Metric, ...]):
        self.task, self.run_ids = finished.task, run_ids
        shape = finished.stack_of(run_ids[0]).shape
        model = finished.model(run_ids[0])
        shared = (model, finished.config.optimizer, shape.schedule, self.task.pad)
        recipe = Recipe(*shared, use_dropout=False, metrics=metrics)
        self.program = jax.jit(jax.vmap(functools.partial(train_step.evaluate, recipe), in_axes=(0, None, None)))
        largest = max(len(held_out.tokens_NxS) for held_out in found.by_name.values())
        self.group, self.piece = _sizes(model, len(run_ids), largest)
        params = finished.params(run_ids, model)
        self.params = [_stacked([params[run_id] for run_id in ids]) for ids in self._groups()]

    def _groups(self) -> list[list[str]]:
        """The last one is filled up with its last run, so that all have one shape."""
        cut = [self.run_ids[first : first + self.group] for first in range(0, len(self.run_ids), self.group)]
        return [[*ids, *[ids[-1]] * (self.group - len(ids))] for ids in cut]

    def evaluate(self, held_out: HeldOut) -> Iterator[tuple[str, ExampleLosses]]:
        """(Run id, losses of the next piece of the examples), on the host."""
        for ids, params_K in zip(self._groups(), self.params, strict=True):
            for first in range(0, len(held_out.tokens_NxS), self.piece):
                tokens, answer, count = self._piece(held_out, first)
                losses_KxN = jax.device_get(self.program(params_K, tokens, answer))
                for slot, run_id in enumerate(dict.fromkeys(ids)):
                    yield run_id, jax.tree.map(operator.itemgetter((slot, slice(count))), losses_KxN)

    def _piece(self, held_out: HeldOut, first: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Tokens and answer labels of `piece` examples, and how many of them are not there to fill it up."""
        part = slice(first, first + self.piece)
        tokens = np.asarray(held_out.tokens_NxS[part]).astype(token_dtype(self.task.vocabulary))
        count, missing = len(tokens), self.piece - len(tokens)
        known = held_out.answer_NxL
        answer = np.zeros((count, tokens.shape[1] - 1), bool) if known is None else known[part]
        filling = ((0, missing), (0, 0))
        return np.pad(tokens, filling, mode="edge"), np.pad(answer, filling, mode="edge"), count


def _sizes(model: Model, runs: int, examples: int) -> tuple[int, int]:
    """(runs, examples) of one program, by rough bounds on memory."""
    params = sum(int(np.prod(spec.shape)) for spec in jax.tree.leaves(model.specs))
    group = max(1, min(runs, PARAMS_AT_ONCE // params))
    of_example = model.shape.positions * max(model.shape.vocabulary, 16 * model.shape.width)
    group = max(1, min(group, NUMBERS_AT_ONCE // of_example))
    return group, max(1, min(examples, NUMBERS_AT_ONCE // (group * of_example)))


def _stacked(params: list) -> Any:
    return jax.device_put(jax.tree.map(lambda *leaves: np.stack(leaves), *params))


def _summary(parts: list[ExampleLosses], counts: statistics.LabelCounts, metrics: Mapping[str, Metric]) -> dict:
    """Column -> value; None for what the data does not know."""
    whole = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    found = statistics.summarise(whole.loss_N, whole.answer_loss_N, whole.exact_N, counts)
    found = {RENAMED.get(name, name): value for name, value in found.items()}
    for name, value_N in zip(metrics, whole.metrics, strict=True):
        found[f"metric_{name}"], found[f"metric_{name}_se"] = statistics.summarise_metric(value_N)
    return found
