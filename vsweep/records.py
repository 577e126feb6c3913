"""The schema of `runs.csv`, `curves.csv` and `times.csv`, and atomic writing.

The tables are derived from checkpoints and can be rebuilt from them, so they are rewritten whole: a reader sees the
old file or the new one, never half of one. This module imports no jax: `analysis` reads the tables through it.
"""

import contextlib
import csv
import errno
import functools
import hashlib
import io
import json
import logging
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

RUNS_FILE = "runs.csv"
CURVES_FILE = "curves.csv"
TIMES_FILE = "times.csv"
CHECKSUMS_FILE = "tables.json"
READS = 5  # of a table that seems to be changed
TEMPORARY = ".unfinished"  # suffix of files that are being written
LEFTOVER = re.compile(rf"\..+\.\w{{8}}{re.escape(TEMPORARY)}")  # the names that tempfile makes of it
MOST_COLUMNS = 1_000  # of a table that is read
logger = logging.getLogger(__name__)

RUNNING, FINISHED, DIVERGED = "running", "finished", "diverged"

# Fields of a run that a sweep may vary. The static ones fix array shapes and programs and so split stacks; the stacked
# ones are vectors over the slots of a stack.
STATIC_FIELDS = (
    "width",
    "layers",
    "head_dim",
    "ff_multiple",
    "tied_embeddings",
    "batch_size",
    "schedule",
    "precision",
)
STACKED_FIELDS = (
    "budget",
    "seed",
    "init_seed",
    "data_seed",
    "dropout_seed",
    "lr",
    "weight_decay",
    "warmup_steps",
    "dropout",
    "clip",
    "unique_examples",
)
AXES = STATIC_FIELDS + STACKED_FIELDS

# column: (unit, meaning). One row of runs.csv is one run.
RUN_COLUMNS = {
    "run_id": ("", "name of the run, unique in the sweep and safe as a file name"),
    "stack": ("", "name of the stack (the runs of one shape) that the run belongs to"),
    "task": ("", "name of the task"),
    **{axis: ("", "field of the run; budget is the nominal number of training tokens") for axis in AXES},
    "params": ("", "N, all parameters; tied embeddings counted once"),
    "params_non_embedding": ("", "N without token and position embeddings and without an untied head (Kaplan's)"),
    "tokens": ("label tokens", "D, exact number of tokens the training loss was taken over"),
    "unique_tokens": ("label tokens", "tokens of the distinct examples the run has seen"),
    "epochs": ("", "passes over the run's unique examples"),
    "steps": ("steps", "optimizer steps taken so far; the run's horizon once it is finished"),
    "flops_6nd": ("FLOP", "C = 6 N D with N = params and D = tokens"),
    "flops_counted": ("FLOP", "C from counted matmuls, forward x 3, over all positions of the sequence"),
    "floor": ("nats/token", "exact entropy of the task's labels over all examples (E of the law)"),
    "train_loss": ("nats/token", "moving average of the training loss, dropout on"),
    "val_loss": ("nats/token", "held-out loss over all labels"),
    "val_loss_se": ("nats/token", "its standard error over held-out examples"),
    "excess_loss": ("nats/token", "val_loss minus the floor of the same held-out labels: a paired difference"),
    "excess_loss_se": ("nats/token", "its standard error over held-out examples"),
    "answer_loss": ("nats/token", "held-out loss over the answer's labels; its floor is exactly zero"),
    "answer_loss_se": ("nats/token", "its standard error over held-out examples"),
    "exact_match": ("share", "share of held-out examples whose whole answer is generated correctly"),
    "eval_examples": ("examples", "held-out examples behind these numbers"),
    "status": ("", f"{RUNNING}, {FINISHED} or {DIVERGED}"),
    "diverged_at_step": ("step", "first step with a non-finite or exploding loss; empty if there was none"),
    "wall_s": ("s", "share of the stack's train_s, by the slot-steps of the run; a branch's are those after its fork"),
    "device": ("", "device kind and number of devices"),
    "matmul_precision": ("", "jax_default_matmul_precision while training"),
    "versions": ("", "versions of vsweep, Python, jax, flax, optax and orbax"),
    "inexact_resumes": ("", "times it went on in another environment (plan.json lists them); 0: trained in one"),
}
ADDED_COLUMNS = ("inexact_resumes",)  # tables of an earlier version have no such column: empty when they are read

# One row of curves.csv is one evaluation of one run on its own log-spaced grid of steps.
CURVE_COLUMNS = {
    "run_id": ("", "the run"),
    **{
        name: RUN_COLUMNS[name]
        for name in (
            "steps",
            "tokens",
            "flops_6nd",
            "flops_counted",
            "train_loss",
            "val_loss",
            "excess_loss",
            "excess_loss_se",
            "answer_loss",
            "exact_match",
            "eval_examples",
        )
    },
}

COMPILE, TRAIN, EVALUATE, CHECKPOINT, ANALYSIS, OTHER = (
    "compile_s",
    "train_s",
    "evaluate_s",
    "checkpoint_s",
    "analysis_s",
    "other_s",
)

# One row of times.csv is one stack, over all its sessions; the columns of a row add up to its wall time. Each says what
# the training thread did or waited for: work that is hidden behind training (a checkpoint being written, the next
# programs being compiled) is in no column but train_s.
TIME_COLUMNS = {
    "stack": ("", "name of the stack"),
    COMPILE: ("s", "waiting for the stack's programs"),
    TRAIN: ("s", "training steps"),
    EVALUATE: ("s", "evaluations: from the end of a chunk to the end of those that follow it"),
    CHECKPOINT: ("s", "waiting for a checkpoint to be on disk"),
    ANALYSIS: ("s", "in the hands of the caller, who draws reports"),
    OTHER: ("s", "restoring, and preparing the next chunk while the devices had nothing left to do"),
}
ACTIVITIES = tuple(name for name in TIME_COLUMNS if name != "stack")
COLUMNS = {RUNS_FILE: RUN_COLUMNS, CURVES_FILE: CURVE_COLUMNS, TIMES_FILE: TIME_COLUMNS}


class CannotWrite(OSError):
    """The disk refused; says what, where, how much room is missing and what to do. `errno` is the cause's, if known."""

    STATUS = 74  # of the program that it ends: EX_IOERR

    def __init__(self, number: int | None, reason: str, path: Path, needed_bytes: int):
        super().__init__(number, reason, str(path))
        self.needed_bytes = needed_bytes

    def __str__(self) -> str:
        return f"cannot write {self.filename}: {self.strerror}. Nothing that was saved before is lost. {self._advice()}"

    def _advice(self) -> str:
        again = "run the same command again to go on"
        if self.errno not in FULL:
            return f"Look after the disk or its mount, then {again}."
        free_bytes = _free_bytes(Path(self.filename))
        known = f"{_megabytes(self.needed_bytes)} needed"
        if free_bytes is None or free_bytes >= self.needed_bytes:
            return f"{known}: make room there (a quota or the number of files may be the limit), then {again}."
        missing = _megabytes(self.needed_bytes - free_bytes)
        return f"{known}, {_megabytes(free_bytes)} free: make room for {missing} more at least, then {again}."


FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}  # by the file system, as mounted drives say


@contextlib.contextmanager
def writing(path: Path, needed_bytes: int = 0) -> Iterator[None]:
    """What is done inside writes `path`: an error of the disk leaves as CannotWrite, any other as it is.

    Libraries that write in C++, and shutil, hide the disk's error in the text of another one.
    """
    try:
        yield
    except CannotWrite:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        told = re.search(r"(?:os_error_code='|Errno )(\d+)", str(error))
        number = getattr(error, "errno", None) or (int(told[1]) if told else None)
        if number is None and not isinstance(error, OSError):
            raise
        reason = getattr(error, "strerror", None) or (os.strerror(number) if number else str(error))
        raise CannotWrite(number, reason, path, needed_bytes) from error


def _free_bytes(path: Path) -> int | None:
    """Of the disk that holds `path`, or would; None where the system cannot tell."""
    with contextlib.suppress(OSError, StopIteration):
        return shutil.disk_usage(next(folder for folder in path.absolute().parents if folder.exists())).free
    return None


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.3f} MB"


def write_text_atomically(path: Path, text: str) -> None:
    """Replaces `path` by `text` in UTF-8, as `write_bytes_atomically` does."""
    write_bytes_atomically(path, text.encode())


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """Replaces `path` in one step: temporary file, fsync, rename, fsync of the folder. Raises CannotWrite."""
    with writing(path, len(content)):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=TEMPORARY, dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                sync(file.fileno())
            chmod_if_possible(0o644, Path(temporary))
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        sync_folder(path.parent)


def remove_leftovers(folder: Path, *, older_than_s: float = 0.0) -> None:
    """Removes what killed writers left in `folder`; younger ones may belong to somebody who writes there now."""
    with writing(folder):
        for path in folder.glob(f".*{TEMPORARY}"):
            with contextlib.suppress(FileNotFoundError):  # somebody else was faster
                found = path.lstat()
                is_old = not older_than_s or time.time() - found.st_mtime > older_than_s
                if is_old and LEFTOVER.fullmatch(path.name) and stat.S_ISREG(found.st_mode):
                    path.unlink()


def sync_folder(folder: Path) -> None:
    """Makes renames inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Makes everything below `folder` survive a power cut."""
    for parent, _, files in os.walk(folder):
        for name in files:
            with open(os.path.join(parent, name), "rb") as file:
                sync(file.fileno())
        sync_folder(Path(parent))


def sync(descriptor: int) -> None:
    """fsync, or a warning, once, on a file system that has none: kills lose nothing there, a power cut may."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        warn_once("it cannot force data to the disk, so a power cut may lose the newest checkpoint")


def chmod_if_possible(mode: int, path: Path) -> bool:
    """chmod; False, and a warning, once, on a file system that has no permissions."""
    try:
        path.chmod(mode)
    except OSError as error:
        if error.errno not in {*UNSUPPORTED, errno.EPERM}:
            raise
        warn_once("permissions cannot be set, so others may be able to read the files")
        return False
    return True


@functools.cache
def warn_once(what: str) -> None:
    logger.warning("note: this file system is weaker than others: %s", what)


def write_json_atomically(path: Path, value: object) -> None:
    write_text_atomically(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_tables(workdir: Path, tables: dict[str, Sequence[dict]]) -> None:
    """Rewrites tables of a work directory, by file name, and `tables.json` with their SHA-256 before them.

    That names the old content of a table beside the new one, so a reader between two writes finds what it names.
    """
    folder = Path(workdir)
    texts = {name: as_csv(rows, COLUMNS[name]) for name, rows in tables.items()}
    known = _checksums(folder)
    now = {name: [s for s in known.get(name, []) if s == _sha256_of(folder / name)][:1] for name in texts}
    new = {name: [*now[name], _sha256(text.encode())] for name, text in texts.items()}
    write_json_atomically(folder / CHECKSUMS_FILE, {**known, **new})
    for name, text in texts.items():
        write_text_atomically(folder / name, text)


def as_csv(rows: Sequence[dict], columns: Sequence[str]) -> str:
    """A table of `rows` (dicts holding every name of `columns`); floats in full precision, None as empty."""
    return pd.DataFrame(rows, columns=list(columns)).to_csv(index=False, lineterminator="\n")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sha256_of(path: Path) -> str | None:
    with contextlib.suppress(OSError):
        return _sha256(path.read_bytes())
    return None


def _checksums(workdir: Path) -> dict[str, list[str]]:
    """Table -> the SHA-256 of its content, and of that before; empty where none are kept or the file is damaged."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = json.loads((Path(workdir) / CHECKSUMS_FILE).read_text(encoding="utf-8"))
        if isinstance(found, dict) and all(isinstance(sums, list) for sums in found.values()):
            return found
    return {}


def read_runs(workdir: Path) -> pd.DataFrame:
    return _read_table(Path(workdir) / RUNS_FILE, RUN_COLUMNS)


def read_curves(workdir: Path) -> pd.DataFrame:
    return _read_table(Path(workdir) / CURVES_FILE, CURVE_COLUMNS)


def read_times(workdir: Path) -> pd.DataFrame | None:
    """None where there is no such table: nothing but a section of the report depends on it."""
    path = Path(workdir) / TIMES_FILE
    return _read_table(path, TIME_COLUMNS) if path.exists() else None


def _read_checked(path: Path) -> bytes:
    """The content of a table that is as it was written; tried again, for a sweep may be rewriting it right now."""
    for _ in range(READS):
        content, known = path.read_bytes(), _checksums(path.parent).get(path.name)
        if not known or _sha256(content) in known:
            return content
        time.sleep(0.05)
    raise ValueError(
        f"{path}: changed or damaged since vsweep wrote it. Run the sweep's command again to rebuild it, or remove "
        f"{path.parent / CHECKSUMS_FILE} to use it as it is"
    )


def _read_table(path: Path, columns: dict) -> pd.DataFrame:
    content = _read_checked(path)
    try:
        text = content.decode()
        names = check_rows(text)
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: damaged, or no table of vsweep - {error}") from error
    missing = [name for name in columns if name not in names and name not in ADDED_COLUMNS]
    if missing:
        raise ValueError(f"{path}: not a table of this version of vsweep, these columns are missing: {missing}")
    frame = pd.read_csv(io.StringIO(text), dtype={"run_id": str, "stack": str}, low_memory=False)
    return frame.assign(**{name: None for name in ADDED_COLUMNS if name in columns and name not in frame.columns})


def check_rows(text: str) -> list[str]:
    """The column names of a CSV in which every row has a cell for each of them, and no name stands twice.

    pandas fills a row that is too short, takes the first cells of one that is too long for its name, and ends a cell at
    a NUL: a comma that got lost would shift all cells behind it.

    Raises:
      ValueError, csv.Error: it is not so; says where.
    """
    if "\0" in text:
        raise ValueError(f"line {text[: text.index(chr(0))].count(chr(10)) + 1} holds a NUL")
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    names = next(rows, [])
    if not names:
        raise ValueError("it is empty")
    if len(names) > MOST_COLUMNS:
        raise ValueError(f"it has {len(names):,} columns, and at most {MOST_COLUMNS:,} are read")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the column {twice[0]!r} stands there twice")
    for row in rows:
        if row and len(row) != len(names):
            raise ValueError(f"line {rows.line_num} has {len(row)} cells, and the header has {len(names)}")
    return names
