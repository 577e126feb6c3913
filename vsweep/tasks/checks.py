"""What can be wrong with the examples of a task, told before anything is written or compiled."""

import re
from collections.abc import Iterator

import numpy as np

from vsweep.config.problems import Problem
from vsweep.tasks.base import NO_PAD, HeldOut, Task, numbers_of, pieces_of, token_dtype

SAMPLE = 1024  # examples that are looked at of a task that checks the others itself


def problems(task: Task, final_examples: int = 0) -> list[Problem]:
    """Every problem of a task's examples; none of them would stop a training, and each would make its losses wrong.

    `final_examples` are taken of each held-out set. Training examples are looked at in pieces. A task may bring
    `problems() -> list[str]` of its own, one line a problem: then all but a sample is left to that, because looking at
    terabytes, or for each held-out example among them, is no work for the start of every sweep.
    """
    try:
        checks_itself = hasattr(_own(task), "problems")
        own = [Problem("task.name", str(line)) for line in _own(task).problems()] if checks_itself else []
        more = {f"held-out set {name!r}": held_out for name, held_out in task.more_held_out.items()}
        sets = {"held-out examples": task.held_out, **more}
        found = own + _training_problems(task, sampled=checks_itself)
    except Exception as error:  # a user's code may raise anything
        return [
            _problem(f"its examples cannot be made ({type(error).__name__}: {error})", task.name, "a task that can")
        ]
    for name, each in sets.items():
        looked_at = each.first(final_examples or SAMPLE) if checks_itself else each
        found += _token_problems(looked_at.tokens_NxS, name, task)
        if len(each.tokens_NxS) < final_examples:
            found.append(_problem(f"too few {name} for train.final_examples", len(each.tokens_NxS), final_examples))
    found += _column_problems(task)
    if not found:
        found = [] if checks_itself or _repeats(task) else _overlap(task, task.held_out.tokens_NxS)
        for each in sets.values():
            found += _label_problems(each, task.pad, final_examples or SAMPLE if checks_itself else None)
    return found


def _own(task: Task):
    """What the user wrote, if it is a user's."""
    return getattr(task, "own", task)


def _repeats(task: Task) -> bool:
    """A source that draws each example afresh may draw one twice: that is no leak."""
    return getattr(_own(task), "may_repeat", False)


def _training_problems(task: Task, *, sampled: bool) -> list[Problem]:
    """The first problem of the training examples, of all or of a sample from first to last; and of their counts."""
    name, own = "training examples", _own(task)
    there_are = None
    if not hasattr(own, "rows"):
        train = np.asarray(own.train_tokens_NxS)
        if found := _kind_problems(train, name, task):
            return found
        there_are = len(train)
    counts = _count_problems(task, there_are)
    if task.train_examples < 1:
        return counts
    for examples, tokens in _sample(task) if sampled else _pieces(task):
        found = _token_problems(tokens, name, task, examples)
        if found := found or ([] if counts else _label_count_problems(task, examples, tokens)):
            return [*found, *counts]
    return counts


def _pieces(task: Task) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(numbers [n], tokens [n, S]) of all training examples, as the task itself gives them."""
    own = _own(task)
    for examples in (piece for numbers in numbers_of(task) for piece in pieces_of(numbers, task)):
        part = slice(examples[0], examples[-1] + 1)
        yield examples, np.asarray(own.rows(examples) if hasattr(own, "rows") else own.train_tokens_NxS[part])


def _sample(task: Task) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """As `_pieces`, of some examples from the first to the last, and of each source beyond them."""
    own = _own(task)
    for numbers in numbers_of(task):
        wanted = min(SAMPLE, len(numbers))
        examples = np.unique(np.linspace(numbers.start, numbers.stop - 1, wanted).astype(np.int64))
        yield examples, np.asarray(own.rows(examples) if hasattr(own, "rows") else own.train_tokens_NxS[examples])


def _count_problems(task: Task, there_are: int | None) -> list[Problem]:
    """Of the numbers that a task says of its training examples; None: nobody knows better."""
    found, label_tokens = [], getattr(_own(task), "label_tokens", None)
    if there_are is not None and there_are != task.train_examples:
        found.append(_problem("train_examples is not their number", task.train_examples, there_are))
    elif task.train_examples < 1:
        found.append(_problem("no training examples", task.train_examples, "1 or more"))
    if label_tokens is None or isinstance(label_tokens, int | np.integer):
        return found
    kind, shape = np.asarray(label_tokens).dtype, np.shape(label_tokens)
    if shape != (task.train_examples,) or not np.issubdtype(kind, np.integer):
        allowed = f"a whole number, or one for each of {task.train_examples} examples"
        found.append(_problem("label_tokens of a wrong kind", f"{kind} {shape}", allowed))
    return found


def _label_count_problems(task: Task, examples: np.ndarray, tokens: np.ndarray) -> list[Problem]:
    """Where a task says other numbers of labels than its examples have: D would be wrong."""
    said = getattr(_own(task), "label_tokens", None)
    if said is None:
        return []
    counted = (tokens[:, 1:] != task.pad).sum(axis=1)
    said = np.broadcast_to(said if isinstance(said, int | np.integer) else np.asarray(said)[examples], counted.shape)
    wrong = np.flatnonzero(said != counted)
    if not len(wrong):
        return []
    first = wrong[0]
    got = f"{said[first]} of training example {examples[first]}"
    return [_problem("label_tokens is not the number of labels", got, counted[first])]


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


def _kind_problems(tokens: np.ndarray, name: str, task: Task) -> list[Problem]:
    if not np.issubdtype(tokens.dtype, np.integer):
        return [_problem(f"{name} are not tokens", tokens.dtype, "whole numbers")]
    if tokens.ndim != 2 or tokens.shape[1] != task.sequence_length:
        return [_problem(f"{name} have a wrong shape", tokens.shape, f"[examples, {task.sequence_length}]")]
    return [] if len(tokens) else [_problem(f"no {name}", 0, "1 or more")]


def _token_problems(tokens: np.ndarray, name: str, task: Task, examples: np.ndarray | None = None) -> list[Problem]:
    """An embedding clamps ids beyond its rows without a word, and counts negative ones from its end.

    `examples` are the numbers of the rows, unless they are 0, 1, 2, ...
    """
    if found := _kind_problems(tokens, name, task):
        return found
    examples = np.arange(len(tokens)) if examples is None else examples
    if tokens.min() < 0 or tokens.max() >= task.vocabulary:
        strange = (tokens < 0) | (tokens >= task.vocabulary)
        row = int(np.argmax(strange.any(axis=1)))
        padding = "" if task.pad == NO_PAD else f", where {task.pad} is padding and no label"
        allowed = f"0 to {task.vocabulary - 1}{padding}"
        got = f"{tokens[row][strange[row]][0]} in example {examples[row]}"
        return [_problem(f"{name} beyond the vocabulary", got, allowed)]
    unlabelled = (tokens[:, 1:] == task.pad).all(axis=1)
    if unlabelled.any():
        got = f"only padding in example {examples[np.argmax(unlabelled)]}"
        return [_problem(f"{name} without a label", got, "1 or more")]
    return []


def _overlap(task: Task, held_out: np.ndarray) -> list[Problem]:
    """Examples that are held out and trained on too: their loss says what was learned by heart."""
    kind = token_dtype(task.vocabulary)
    held_rows = np.unique(_rows(held_out.astype(kind)))
    count, first = 0, None
    for examples, tokens in _pieces(task):
        rows = _rows(tokens.astype(kind))
        both = held_rows[np.minimum(np.searchsorted(held_rows, rows), len(held_rows) - 1)] == rows
        count += int(both.sum())
        first = examples[np.argmax(both)] if first is None and both.any() else first
    if not count:
        return []
    got = f"{count:,} of {task.train_examples:,}, the first is training example {first}"
    return [_problem("training examples that are held out too", got, "none")]


def _rows(tokens: np.ndarray) -> np.ndarray:
    """[N] byte strings, one an example, which can be sorted."""
    return np.ascontiguousarray(tokens).view(f"S{tokens.shape[1] * tokens.itemsize}")[:, 0]


def _label_problems(held_out: HeldOut, pad: int, most: int | None) -> list[Problem]:
    """Of the columns beside the tokens: their shapes, and the values of the first `most` examples (None: of all)."""
    tokens, answer, surprisal = held_out.tokens_NxS, held_out.answer_NxL, held_out.surprisal_NxL
    shape = (len(tokens), tokens.shape[1] - 1)
    found = []
    if answer is not None and (answer.shape != shape or answer.dtype != bool):
        found.append(_problem("answer labels of a wrong kind", f"{answer.dtype} {answer.shape}", f"bool {shape}"))
    elif answer is not None and (answer[:most] & (tokens[:most, 1:] == pad)).any():
        found.append(_problem("padding among the answer labels", "True where the label is padding", "False there"))
    if surprisal is not None and (surprisal.shape != shape or not _are_surprisals(surprisal[:most])):
        got = f"{surprisal.shape} from {np.min(surprisal)} to {np.max(surprisal)}"
        found.append(_problem("surprisal of a wrong kind", got, f"{shape}, 0 or more, finite"))
    return found


def _are_surprisals(values: np.ndarray) -> bool:
    return bool((np.isfinite(values) & (values >= 0)).all())
