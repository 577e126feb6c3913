"""What can be wrong with the examples of a task, told before anything is written or compiled."""

import numpy as np

from vsweep.tasks.base import Task

PIECE = 2**20  # training examples looked at together: there may be 100 million, and sorting takes many copies


def problems(task: Task) -> list[str]:
    """Every problem of a task's arrays; none of them would stop a training, and each would make its losses wrong."""
    train, held_out = task.train_tokens_NxS, task.held_out.tokens_NxS
    found = _token_problems(train, "training examples", task) + _token_problems(held_out, "held-out examples", task)
    if len(train) != task.train_examples:
        found.append(f"train_examples is not their number - got {task.train_examples}; allowed: {len(train)}")
    if not found:
        found = _overlap(train, held_out) + _label_problems(task)
    return [f"task.name: {problem}" for problem in found]


def _token_problems(tokens: np.ndarray, name: str, task: Task) -> list[str]:
    """An embedding clamps ids beyond its rows without a word, and counts negative ones from its end."""
    if not np.issubdtype(tokens.dtype, np.integer):
        return [f"{name} are not tokens - got {tokens.dtype}; allowed: whole numbers"]
    if tokens.ndim != 2 or tokens.shape[1] != task.sequence_length:
        return [f"{name} have a wrong shape - got {tokens.shape}; allowed: [examples, {task.sequence_length}]"]
    if not len(tokens):
        return [f"no {name} - got 0; allowed: 1 or more"]
    if tokens.min() < 0 or tokens.max() >= task.vocabulary:
        strange = (tokens < 0) | (tokens >= task.vocabulary)
        row = int(np.argmax(strange.any(axis=1)))
        allowed = f"0 to {task.vocabulary - 1}, where {task.pad} is padding and no label"
        return [
            f"{name} beyond the vocabulary - got {tokens[row][strange[row]][0]} in example {row}; allowed: {allowed}"
        ]
    unlabelled = (tokens[:, 1:] == task.pad).all(axis=1)
    if unlabelled.any():
        return [f"{name} without a label - got only padding in example {np.argmax(unlabelled)}; allowed: 1 or more"]
    return []


def _overlap(train: np.ndarray, held_out: np.ndarray) -> list[str]:
    """Examples that are held out and trained on too: their loss says what was learned by heart."""
    kind = np.result_type(train, held_out)
    held_rows = _rows(held_out.astype(kind))
    pieces = np.split(train, range(PIECE, len(train), PIECE))
    both = np.concatenate([np.isin(_rows(piece.astype(kind)), held_rows) for piece in pieces])
    if not both.any():
        return []
    got = f"{both.sum():,} of {len(train):,}, the first is training example {np.argmax(both)}"
    return [f"training examples that are held out too - got {got}; allowed: none"]


def _rows(tokens: np.ndarray) -> np.ndarray:
    """[N] byte strings, one an example, which can be sorted."""
    return np.ascontiguousarray(tokens).view(f"S{tokens.shape[1] * tokens.itemsize}")[:, 0]


def _label_problems(task: Task) -> list[str]:
    held_out = task.held_out
    tokens = held_out.tokens_NxS
    shape = (len(tokens), tokens.shape[1] - 1)
    found = []
    if held_out.answer_NxL.shape != shape or held_out.answer_NxL.dtype != bool:
        got = f"{held_out.answer_NxL.dtype} {held_out.answer_NxL.shape}"
        found.append(f"answer labels of a wrong kind - got {got}; allowed: bool {shape}")
    elif (held_out.answer_NxL & (tokens[:, 1:] == task.pad)).any():
        found.append("padding among the answer labels - got True where the label is padding; allowed: False there")
    surprisal = held_out.surprisal_NxL
    if surprisal.shape != shape or not (np.isfinite(surprisal) & (surprisal >= 0)).all():
        got = f"{surprisal.shape} from {np.min(surprisal)} to {np.max(surprisal)}"
        found.append(f"surprisal of a wrong kind - got {got}; allowed: {shape}, 0 or more, finite")
    return found
