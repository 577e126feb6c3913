"""What can be wrong with the examples of a task, told before anything is written or compiled."""

import re

import numpy as np

from vsweep.config.problems import Problem
from vsweep.tasks.base import NO_PAD, HeldOut, Task

PIECE = 2**20  # training examples looked at together: there may be 100 million, and sorting takes many copies


def problems(task: Task, final_examples: int = 0) -> list[Problem]:
    """Every problem of a task's arrays; none of them would stop a training, and each would make its losses wrong.

    `final_examples` are taken of each held-out set.
    """
    try:
        train, held_out = task.train_tokens_NxS, task.held_out.tokens_NxS
        more = {f"held-out set {name!r}": held_out for name, held_out in task.more_held_out.items()}
        sets = {"held-out examples": task.held_out, **more}
    except Exception as error:  # a user's code may raise anything
        return [
            _problem(f"its examples cannot be made ({type(error).__name__}: {error})", task.name, "a task that can")
        ]
    found = _token_problems(train, "training examples", task)
    for name, each in sets.items():
        found += _token_problems(each.tokens_NxS, name, task)
        if len(each.tokens_NxS) < final_examples:
            found.append(_problem(f"too few {name} for train.final_examples", len(each.tokens_NxS), final_examples))
    found += _column_problems(task)
    if len(train) != task.train_examples:
        found.append(_problem("train_examples is not their number", task.train_examples, len(train)))
    if not found:
        found = [] if _repeats(task) else _overlap(train, held_out)
        for each in sets.values():
            found += _label_problems(each, task.pad)
    return found


def _repeats(task: Task) -> bool:
    """A source that draws each example afresh may draw one twice: that is no leak."""
    own = getattr(task, "own", task)
    return getattr(own, "may_repeat", False)


def _column_problems(task: Task) -> list[Problem]:
    names = [*task.more_held_out, *task.metrics]
    bad = [name for name in names if not re.fullmatch(r"[A-Za-z]\w*", str(name))]
    return (
        [_problem("names of metrics or held-out sets", ", ".join(map(str, bad)), "letters, digits and _")]
        if bad
        else []
    )


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
        padding = "" if task.pad == NO_PAD else f", where {task.pad} is padding and no label"
        allowed = f"0 to {task.vocabulary - 1}{padding}"
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


def _label_problems(held_out: HeldOut, pad: int) -> list[Problem]:
    tokens, answer, surprisal = held_out.tokens_NxS, held_out.answer_NxL, held_out.surprisal_NxL
    shape = (len(tokens), tokens.shape[1] - 1)
    found = []
    if answer is not None and (answer.shape != shape or answer.dtype != bool):
        found.append(_problem("answer labels of a wrong kind", f"{answer.dtype} {answer.shape}", f"bool {shape}"))
    elif answer is not None and (answer & (tokens[:, 1:] == pad)).any():
        found.append(_problem("padding among the answer labels", "True where the label is padding", "False there"))
    if surprisal is not None and (surprisal.shape != shape or not (np.isfinite(surprisal) & (surprisal >= 0)).all()):
        got = f"{surprisal.shape} from {np.min(surprisal)} to {np.max(surprisal)}"
        found.append(_problem("surprisal of a wrong kind", got, f"{shape}, 0 or more, finite"))
    return found
