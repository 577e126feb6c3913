"""Other data for finished runs: token arrays and texts as held-out sets of a task, and all that is wrong with them.

Files are `.npy` (tokens), `.npz` (several sets; `NAME_answer` says which labels of the set NAME are the answer) and
`.txt` (an example a line). A task may say more of itself: `answers(tokens_NxS)` gives its answer labels,
`example(text)` the tokens of a whole example, and `evaluation_set(path)` a set of a file or folder of any kind, with
notes and its bytes of text per token.
"""

import dataclasses
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vsweep.config.problems import ConfigError, Problem
from vsweep.tasks.base import NO_PAD, HeldOut, Task, blocks_of

ANSWER = "_answer"
HELD_OUT = "held_out"  # name of a task's main set
KINDS = ".npy, .npz or .txt"
MOST_TOLD = 10  # problems of lines


@dataclasses.dataclass(frozen=True)
class Sets:
    """Held-out sets by name, and what a reader should know of how they came about."""

    by_name: dict[str, HeldOut]
    notes: tuple[str, ...] = ()
    bytes_per_token: Mapping[str, float] = dataclasses.field(default_factory=dict)  # by name, of sets of text


def of_task(task: Task, final_examples: int) -> Sets:
    """Every held-out set of the task, whole."""
    count = len(task.held_out.tokens_NxS)
    told = f"the first {final_examples:,} of these {count:,}" if count > final_examples else "the same"
    note = f"note: all held-out examples of the task; val_loss of runs.csv was measured on {told}"
    sizes = getattr(getattr(task, "own", None), "bytes_per_token", {})
    return Sets({HELD_OUT: task.held_out, **task.more_held_out}, (note,), sizes)


def read(task: Task, data: Any) -> Sets:
    """Sets from a path, an array [N, S], a HeldOut, or a mapping of names to these.

    An array without a second axis is a stream of tokens, of a task that has no padding: block i of L labels begins at
    token i L. Shorter examples of a task with padding are padded.

    Raises:
      ConfigError: everything that is wrong with them.
    """
    if isinstance(data, str | Path):
        return _of_file(task, Path(data))
    named = data if isinstance(data, Mapping) else {"data": data}
    arrays = {name: np.asarray(value) for name, value in named.items() if not isinstance(value, HeldOut)}
    given = {name: _as_array(value) for name, value in named.items() if isinstance(value, HeldOut)}
    problems = [problem for name, value in given.items() for problem in _held_out_problems(task, name, value)]
    if problems:
        raise ConfigError(problems)
    sets = _of_arrays(task, arrays, "data") if arrays or not given else Sets({})
    return Sets({**sets.by_name, **given}, sets.notes)


def _as_array(held_out: HeldOut) -> HeldOut:
    """With tokens in one array, as those of a store are not."""
    return dataclasses.replace(held_out, tokens_NxS=np.asarray(held_out.tokens_NxS))


def hook(task: Task, name: str) -> Callable | None:
    """What a task, or a user's own behind it, may bring beyond the protocol."""
    return getattr(task, name, None) or getattr(getattr(task, "own", None), name, None)


def _of_file(task: Task, path: Path) -> Sets:
    if not path.exists():
        raise ConfigError([Problem("--data", "no such file or folder", str(path))])
    if path.suffix in (".npy", ".npz"):
        return _of_arrays(task, _arrays(path), str(path))
    if whole := hook(task, "evaluation_set"):
        held_out, notes, bytes_per_token = whole(path)
        return Sets({path.stem: held_out}, tuple(notes), {path.stem: bytes_per_token})
    if path.suffix != ".txt" or not path.is_file():
        raise ConfigError([Problem("--data", "not data for this task", str(path), KINDS)])
    return _of_lines(task, path)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        loaded = np.load(path, mmap_mode="r")
        return {path.stem: loaded} if isinstance(loaded, np.ndarray) else dict(loaded.items())
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        allowed = "arrays of numbers, as numpy.save and numpy.savez write them"
        raise ConfigError([Problem("--data", "cannot be read", f"{path} ({error})", allowed)]) from error


def _of_arrays(task: Task, arrays: dict[str, np.ndarray], place: str) -> Sets:
    masks = {name.removesuffix(ANSWER): name for name in arrays if name.endswith(ANSWER)}
    masks = {of: name for of, name in masks.items() if of in arrays}
    names = [name for name in arrays if name not in masks.values()]
    notes, problems, found = [], [], {}
    if not names:
        raise ConfigError([Problem("--data", "no array", place, "tokens: whole numbers [examples, tokens]")])
    for name in names:
        tokens = arrays[name]
        if wrong := _problems(task, name, tokens):
            problems += wrong
            continue
        tokens, note = _fitted(task, name, tokens)
        notes += [note] if note else []
        answer = arrays.get(masks.get(name, ""))
        problems += _answer_problems(task, name, tokens, answer)
        found[name] = HeldOut(tokens, None, _answers(task, tokens) if answer is None else answer)
    if problems:
        raise ConfigError(problems)
    return Sets(found, tuple(notes))


def _answers(task: Task, tokens: np.ndarray) -> np.ndarray | None:
    known = hook(task, "answers")
    return known(tokens) if known else None


def _answer_problems(task: Task, name: str, tokens: np.ndarray, answer: np.ndarray | None) -> list[Problem]:
    wanted = (len(tokens), tokens.shape[1] - 1)
    if answer is None:
        return []
    where = f"{name}{ANSWER}"
    if answer.dtype != bool or answer.shape != wanted:
        return [Problem("--data", f"{where} is of a wrong kind", f"{answer.dtype} {answer.shape}", f"bool {wanted}")]
    if (answer & (tokens[:, 1:] == task.pad)).any():
        return [Problem("--data", f"{where} has padding among the answer labels", "True", "False where it is padding")]
    return [] if answer.any() else [Problem("--data", f"{where} has no answer label", "False", "True somewhere")]


def _problems(task: Task, name: str, tokens: np.ndarray) -> list[Problem]:
    """Of an array before it is cut or padded."""
    length, pads = task.sequence_length, task.pad != NO_PAD
    if not np.issubdtype(tokens.dtype, np.integer):
        return [Problem("--data", f"{name} holds no tokens", str(tokens.dtype), "whole numbers")]
    shapes = f"[examples, {'up to ' if pads else ''}{length}]" + ("" if pads else f", or a stream of {length} or more")
    is_stream = tokens.ndim == 1 and not pads and len(tokens) >= length
    shortest = 2 if pads else length
    is_table = tokens.ndim == 2 and len(tokens) > 0 and shortest <= tokens.shape[1] <= length
    if not (is_stream or is_table):
        return [Problem("--data", f"{name} has a wrong shape", str(tokens.shape), shapes)]
    least, most = int(tokens.min()), int(tokens.max())
    if least < 0 or most >= task.vocabulary:
        got = str(least if least < 0 else most)
        return [Problem("--data", f"{name} has a token beyond the vocabulary", got, f"0 to {task.vocabulary - 1}")]
    if is_table and (bare := (tokens[:, 1:] == task.pad).all(axis=1)).any():
        return [Problem("--data", f"{name} has an example without a label", f"example {np.argmax(bare)}", "1 or more")]
    return []


def _held_out_problems(task: Task, name: str, held_out: HeldOut) -> list[Problem]:
    """Of a set that is taken as it is: neither cut into blocks nor padded."""
    tokens, surprisal = held_out.tokens_NxS, held_out.surprisal_NxL
    if tokens.ndim != 2:
        return [Problem("--data", f"{name} has a wrong shape", str(tokens.shape), "[examples, tokens]")]
    if found := _problems(task, name, tokens):
        return found
    labels = (len(tokens), tokens.shape[1] - 1)
    if surprisal is not None and np.shape(surprisal) != labels:
        found.append(Problem("--data", f"surprisal of {name} has a wrong shape", str(np.shape(surprisal)), str(labels)))
    return [*found, *_answer_problems(task, name, tokens, held_out.answer_NxL)]


def _fitted(task: Task, name: str, tokens: np.ndarray) -> tuple[np.ndarray, str]:
    """[N, S], and a note about what was done for that."""
    length = task.sequence_length
    if tokens.ndim == 1:
        blocks = blocks_of(tokens, length - 1)
        rest = len(tokens) - 1 - len(blocks) * (length - 1)
        return blocks, f"note: {name}: {rest} tokens at the end are less than a block, and are left out" if rest else ""
    if tokens.shape[1] == length:
        return tokens, ""
    missing = length - tokens.shape[1]
    return np.pad(tokens, ((0, 0), (0, missing)), constant_values=task.pad), f"note: {name}: padded to {length} tokens"


def _of_lines(task: Task, path: Path) -> Sets:
    """Each line is an example: by the task's `example`, or by its `encode` and its EOS."""
    to_tokens = hook(task, "example") or (lambda text: [*task.encode(text), *([] if task.eos is None else [task.eos])])
    rows, problems, length = [], [], task.sequence_length
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError([Problem("--data", f"{path}: not UTF-8, near byte {error.start:,}")]) from error
    for number, line in enumerate(lines, 1):
        try:
            rows.append(list(to_tokens(line)))
            if not (2 if task.pad != NO_PAD else length) <= len(rows[-1]) <= length:
                raise ValueError(f"an example of {len(rows[-1])} tokens, the task's have {length}")
        except ValueError as error:
            problems.append(f"--data: {path}, line {number}: {error}")
    if len(problems) > MOST_TOLD:
        problems[MOST_TOLD:] = [f"--data: and {len(problems) - MOST_TOLD:,} more lines of {path}"]
    if problems or not rows:
        raise ConfigError(problems or [Problem("--data", "an empty file", str(path), "an example a line")])
    padded = np.array([row + [task.pad] * (length - len(row)) for row in rows], np.int32)
    return _of_arrays(task, {path.stem: padded}, str(path))
