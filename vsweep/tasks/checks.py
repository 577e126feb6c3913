"""What can be wrong with the examples of a task, told before anything is written or compiled."""

import numpy as np

from vsweep.config.problems import Problem
from vsweep.tasks.base import Task

PIECE = 2**20  # training examples looked at together: there may be 100 million, and sorting takes many copies


def problems(task: Task) -> list[Problem]:
    """Every problem of a task's arrays; none of them would stop a training, and each would make its losses wrong."""
    train, held_out = task.train_tokens_NxS, task.held_out.tokens_NxS
    found = _token_problems(train, "training examples", task) + _token_problems(held_out, "held-out examples", task)
    if len(train) != task.train_examples:
        found.append(_problem("train_examples is not their number", task.train_examples, len(train)))
    if not found:
        found = _overlap(train, held_out) + _label_problems(task)
    return found


def _problem(what: str, got: object, allowed: object) -> Problem:
    return Problem("task.name", what, str(got), str(allowed))


def _token_problems(tokens: np.ndarray, name: str, task: Task) -> list[Problem]:
    """An embedding clamps ids beyond its rows without a word, and counts negative ones from its end."""
    if not np.issubdtype(tokens.dtype, np.integer):
        return [_problem(f"{name} are not tokens", tokens.dtype, "whole numbers")]
    if tokens.ndim != 2 or tokens.shape[1] != task.sequence_length:
        return [_problem(f"{name} have a wrong shape", tokens.shape, f"[examples, {task.sequence_length}]")]
    if not len(tokens):
        return [_problem(f"no {name}", 0, "1 or more")]
    if tokens.min() < 0 or tokens.max() >= task.vocabulary:
        strange = (tokens < 0) | (tokens >= task.vocabulary)
        row = int(np.argmax(strange.any(axis=1)))
        allowed = f"0 to {task.vocabulary - 1}, where {task.pad} is padding and no label"
        got = f"{tokens[row][strange[row]][0]} in example {row}"
        return [_problem(f"{name} beyond the vocabulary", got, allowed)]
    unlabelled = (tokens[:, 1:] == task.pad).all(axis=1)
    if unlabelled.any():
        got = f"only padding in example {np.argmax(unlabelled)}"
        return [_problem(f"{name} without a label", got, "1 or more")]
    return []


def _overlap(train: np.ndarray, held_out: np.ndarray) -> list[Problem]:
    """Examples that are held out and trained on too: their loss says what was learned by heart."""
    kind = np.result_type(train, held_out)
    held_rows = _rows(held_out.astype(kind))
    pieces = np.split(train, range(PIECE, len(train), PIECE))
    both = np.concatenate([np.isin(_rows(piece.astype(kind)), held_rows) for piece in pieces])
    if not both.any():
        return []
    got = f"{both.sum():,} of {len(train):,}, the first is training example {np.argmax(both)}"
    return [_problem("training examples that are held out too", got, "none")]


def _rows(tokens: np.ndarray) -> np.ndarray:
    """[N] byte strings, one an example, which can be sorted."""
    return np.ascontiguousarray(tokens).view(f"S{tokens.shape[1] * tokens.itemsize}")[:, 0]


def _label_problems(task: Task) -> list[Problem]:
    held_out = task.held_out
    tokens = held_out.tokens_NxS
    shape = (len(tokens), tokens.shape[1] - 1)
    found = []
    if held_out.answer_NxL.shape != shape or held_out.answer_NxL.dtype != bool:
        got = f"{held_out.answer_NxL.dtype} {held_out.answer_NxL.shape}"
        found.append(_problem("answer labels of a wrong kind", got, f"bool {shape}"))
    elif (held_out.answer_NxL & (tokens[:, 1:] == task.pad)).any():
        found.append(_problem("padding among the answer labels", "True where the label is padding", "False there"))
    surprisal = held_out.surprisal_NxL
    if surprisal.shape != shape or not (np.isfinite(surprisal) & (surprisal >= 0)).all():
        got = f"{surprisal.shape} from {np.min(surprisal)} to {np.max(surprisal)}"
        found.append(_problem("surprisal of a wrong kind", got, f"{shape}, 0 or more, finite"))
    return found
