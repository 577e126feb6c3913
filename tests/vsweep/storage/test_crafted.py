"""Directories made to harm whoever opens them: what is read is data, and nothing of it is ever run."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.vsweep import small
from vsweep import analysis, atomic, schema, tables
from vsweep.storage import checkpoint
from vsweep.storage.checkpoint import MANIFEST, CheckpointFolder
from vsweep.storage.workdir import WorkDir, json_sha256

ROOT = Path(__file__).parents[3]
unpickled = []


def note_unpickling(event: str, arguments: tuple) -> None:
    if event == "pickle.find_class":
        unpickled.append(arguments)


sys.addaudithook(note_unpickling)


class Bomb:
    """Unpickled, it makes a folder."""

    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return os.mkdir, (self.canary,)


def bombs(canary) -> dict[str, bytes]:
    call = f"__import__('os').mkdir({str(canary)!r})"
    return {
        "pickle": pickle.dumps(Bomb(canary)),
        "yaml": f"!!python/object/apply:os.mkdir ['{canary}']\n".encode(),
        "json": json.dumps(
            {"py/reduce": [{"py/function": "os.mkdir"}, {"py/tuple": [str(canary)]}], "x": call}
        ).encode(),
    }


def sign(folder: CheckpointFolder, step: int) -> None:
    """Makes the manifest agree with what the files hold now, as whoever crafts a directory can."""
    path = folder.folder / f"{step:08d}{MANIFEST}"
    manifest = {**json.loads(path.read_text()), "sha256": checkpoint._hashes(folder.folder / f"{step:08d}")}
    del manifest["own_sha256"]
    path.write_text(json.dumps({**manifest, "own_sha256": json_sha256(manifest)}))


def test_the_bomb_goes_off_where_it_is_unpickled(tmp_path):
    """Else the tests below could not fail."""
    pickle.loads(bombs(tmp_path / "executed")["pickle"])
    assert (tmp_path / "executed").is_dir()
    assert unpickled


# In a process of its own: what a library leaves behind after such a file is nothing for other tests.
READ = """
import json, sys
from pathlib import Path
from vsweep.storage.checkpoint import CheckpointFolder
unpickled, results = [], []
sys.addaudithook(lambda event, arguments: unpickled.append(arguments) if event == "pickle.find_class" else None)
for folder in sorted(Path(sys.argv[1]).iterdir()):
    crafted, step = CheckpointFolder(folder), int(sys.argv[2])
    assert crafted.latest() == step
    for read in (crafted.records, crafted.restore):
        try:
            read(step)
            results.append("read")
        except Exception as error:  # whatever the library says of such a file, it has run nothing
            results.append(type(error).__name__)
print(json.dumps({"results": results, "unpickled": len(unpickled)}))
"""


def test_a_crafted_checkpoint_runs_nothing_whichever_file_of_it_is_the_bomb(interrupted_sweep, tmp_path):
    source = CheckpointFolder(WorkDir(interrupted_sweep).checkpoints("all"))
    step, canary = source.latest(), tmp_path / "executed"
    names = [path.relative_to(source.folder) for path in (source.folder / f"{step:08d}").rglob("*") if path.is_file()]
    assert len(names) > 5
    extra = [
        Path(f"{step:08d}") / name for name in ("arrays/aggregate", "arrays/x.pkl", "arrays/d/x.npy", "checkpoint")
    ]
    places = [*names, *extra]
    for kind, bomb in bombs(canary).items():
        for number, name in enumerate(places):
            crafted = CheckpointFolder(shutil.copytree(source.folder, tmp_path / "crafted" / f"{kind}-{number}"))
            (crafted.folder / name).write_bytes(bomb)
            sign(crafted, step)
    program = [sys.executable, "-c", READ, str(tmp_path / "crafted"), str(step)]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert len(told["results"]) == 2 * 3 * len(places)
    assert {"read"} < set(told["results"])
    assert told["unpickled"] == 0
    assert not canary.exists()


def test_a_crafted_manifest_names_no_file_outside_and_runs_nothing(interrupted_sweep, tmp_path):
    workdir = shutil.copytree(interrupted_sweep, tmp_path / "copy")
    folder = CheckpointFolder(WorkDir(workdir).checkpoints("all"))
    for path in folder.folder.glob(f"*{MANIFEST}"):
        path.write_bytes(bombs(tmp_path / "executed")["pickle"])
    unpickled.clear()
    with pytest.raises(checkpoint.CorruptCheckpoints, match="unreadable manifest"):
        small.train(small.config(), workdir)
    assert not unpickled
    assert not (tmp_path / "executed").exists()


def test_crafted_tables_run_nothing_and_their_names_are_escaped(finished_sweep, tmp_path):
    call = f"__import__('os').mkdir({str(tmp_path / 'executed')!r})"
    html = "<img src=x onerror=alert(1)>"
    texts = [call, f"=cmd|'{call}'!A1", f"@{call}", html, f"{{{{{call}}}}}", "\x1b]0;x\x07"]
    runs = tables.read_runs(finished_sweep).astype(object).to_dict("records")
    curves = tables.read_curves(finished_sweep).astype(object).to_dict("records")
    named = {run["run_id"]: text for run, text in zip(runs, texts, strict=True)}
    for run in runs:
        run |= dict.fromkeys(("run_id", "stack", "task", "device", "versions"), named[run["run_id"]])
    for row in curves:
        row["run_id"] = named[row["run_id"]]
    times = [dict.fromkeys(schema.TIME_COLUMNS, 1.0) | {"stack": text} for text in texts]
    atomic.write_text_atomically(tmp_path / "sweep" / schema.RUNS_FILE, tables.as_csv(runs, schema.RUN_COLUMNS))
    atomic.write_text_atomically(tmp_path / "sweep" / schema.CURVES_FILE, tables.as_csv(curves, schema.CURVE_COLUMNS))
    atomic.write_text_atomically(tmp_path / "sweep" / schema.TIMES_FILE, tables.as_csv(times, schema.TIME_COLUMNS))
    for name in ("config.json", "plan.json"):  # which an analysis does not read
        (tmp_path / "sweep" / name).write_text("[" * 200_000)
    unpickled.clear()
    page = analysis.analyse(tmp_path / "sweep", bootstrap=0).report.read_text(encoding="utf-8")
    assert "Where the time went" in page
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page
    for column in ("loss", "N", "D"):
        row = {"loss": "3", "N": "1e6", "D": "1e8", column: call}
        (tmp_path / "points.csv").write_text(",".join(row) + "\n" + ",".join(f'"{cell}"' for cell in row.values()))
        with pytest.raises(analysis.BadTable, match="not a number"):
            analysis.analyse(tmp_path / "points.csv", tmp_path / "out")
    np.save(tmp_path / "points.npy", np.array([Bomb(tmp_path / "executed")], dtype=object), allow_pickle=True)
    with pytest.raises(analysis.BadTable):
        analysis.analyse(tmp_path / "points.npy", tmp_path / "out")
    assert not unpickled
    assert not (tmp_path / "executed").exists()
