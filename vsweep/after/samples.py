"""Text that the best run of each size writes when a sweep of text has ended: samples.json, which a report shows."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from vsweep.after.sampling import Sampling, continuations
from vsweep.atomic import write_json_atomically
from vsweep.saved_run import FinishedRuns
from vsweep.schema import SAMPLES_FILE
from vsweep.storage.workdir import WorkDir
from vsweep.tables import read_runs

SAMPLING = Sampling(temperature=0.8, seed=0)
LENGTH = 200  # tokens
MOST_SIZES = 16
PATIENCE_S = 60.0  # after that no further size is begun
LEVELS = "levels_nats_per_token"  # in task.json, of text


def write(workdir: str | Path, *, patience_s: float = PATIENCE_S) -> str:
    """Writes samples.json of a sweep of text, and nothing for other tasks. Returns a note, empty where all is well.

    Each text begins as a new document does. The same runs give the same text. A file of an earlier session is
    replaced, and removed first, because the best runs may be others now.

    Raises:
      ConfigError: the work directory is damaged.
      OSError: it cannot be read or written.
      ValueError: the task encodes no text.
    """
    home = WorkDir(Path(workdir))
    if not _is_text(home):
        return ""
    (home.path / SAMPLES_FILE).unlink(missing_ok=True)
    finished, began = FinishedRuns.open(home.path), time.monotonic()
    chosen, samples = best_of_sizes(read_runs(home.path), finished.names), []
    for run in chosen.itertuples():
        if time.monotonic() - began > patience_s:
            break
        numbers = {name: float(getattr(run, name)) for name in ("params", "tokens", "val_loss")}
        samples.append({"run_id": run.run_id, **numbers, "text": _text(finished, run.run_id)})
    told = {"temperature": SAMPLING.temperature, "seed": SAMPLING.seed, "length": LENGTH, "samples": samples}
    write_json_atomically(home.path / SAMPLES_FILE, told)
    missing, not_kept = len(chosen) - len(samples), len(finished.not_kept)
    notes = [f"{patience_s:g} s were not enough for {missing} of {len(chosen)} sizes"] if missing else []
    notes += [f"parameters of {not_kept} runs are not kept, so texts are of the others"] if not_kept else []
    return f"{SAMPLES_FILE}: {'; '.join(notes)}" if notes else ""


def best_of_sizes(runs: pd.DataFrame, finished: list[str]) -> pd.DataFrame:
    """The rows of the finished runs with the lowest val_loss of their size, the largest first.

    Of more than `MOST_SIZES` sizes some are taken, evenly spread, both ends among them.
    """
    runs = runs[runs["run_id"].isin(finished) & runs["val_loss"].notna()]
    best = runs.sort_values(["val_loss", "run_id"]).groupby("params").head(1).sort_values("params", ascending=False)
    if len(best) <= MOST_SIZES:
        return best
    return best.iloc[np.linspace(0, len(best) - 1, MOST_SIZES).round().astype(int)]


def _is_text(home: WorkDir) -> bool:
    """Whether the task tells of n-gram levels, as `text` does."""
    if not home.task_file.is_file():
        return False
    facts = json.loads(home.task_file.read_text(encoding="utf-8"))
    return isinstance(facts, dict) and bool(facts.get(LEVELS))


def _text(finished: FinishedRuns, run_id: str) -> str:
    task, model = finished.task, finished.model(run_id)
    query = list(task.encode(""))
    if not query:
        raise ValueError("the task has no token with which a document begins")
    rows: Iterator = continuations(
        model,
        finished.params([run_id], model)[run_id],
        [query],
        [len(query) + LENGTH],
        SAMPLING,
        pad=max(task.pad, 0),
    )
    return task.decode(next(rows).tolist())
