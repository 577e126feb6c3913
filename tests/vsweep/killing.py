"""The smoke sweep in processes of its own, killed and run again; and what must be true of it then."""

import contextlib
import dataclasses
import itertools
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from tests.vsweep import kill_at, small
from vsweep import schema
from vsweep import tables as records
from vsweep.storage.checkpoint import CheckpointFolder
from vsweep.storage.workdir import WorkDir

ROOT = Path(__file__).parents[2]
RUNS = 12  # of the smoke sweep: two widths, three budgets, two seeds


def arguments(workdir: Path, *more: str) -> list[str]:
    return [f"--config={ROOT}/configs/addition.py:smoke", f"--workdir={workdir}", *more]


def command(workdir: Path, *more: str) -> list[str]:
    return [sys.executable, str(ROOT / "launch.py"), *arguments(workdir, *more)]


def start(workdir: Path, *more: str) -> subprocess.Popen:
    return subprocess.Popen(command(workdir, *more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def killed_at(point: str, call: int, workdir: Path, log: Path, *more: str) -> None:
    """Runs the sweep until it kills itself at the `call`-th time it comes to a point of `kill_at.POINTS`."""
    ended = _logged(point, call, workdir, log, *more)
    assert ended.returncode == -signal.SIGKILL, f"{point} was not reached: {ended.stdout}"


def finish(workdir: Path, log: Path = Path("/dev/null"), *more: str, drawn: bool = True) -> None:
    """The same command, undisturbed; without its report, which takes longer than the sweep, where it is not `drawn`."""
    ended = _logged(kill_at.NOWHERE if drawn else kill_at.UNDRAWN, 0, workdir, log, *more)
    assert ended.returncode == 0, ended.stdout


def _logged(point: str, call: int, workdir: Path, log: Path, *more: str) -> subprocess.CompletedProcess:
    program = [sys.executable, "-m", "tests.vsweep.kill_at", str(log), point, str(call)]
    program += arguments(workdir, *more)
    return subprocess.run(program, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def same_sweep(workdir: Path, expected: Path) -> bool:
    """Whether two sweeps left the same rows, curves, parameters and last states, bit for bit; only times may differ."""
    runs, expected_runs = (records.read_runs(place).drop(columns="wall_s") for place in (workdir, expected))
    pd.testing.assert_frame_equal(runs, expected_runs, check_exact=True)
    curves = (Path(place) / schema.CURVES_FILE for place in (workdir, expected))
    return (
        len({path.read_bytes() for path in curves}) == 1
        and small.same_bits(small.finished_params(workdir), small.finished_params(expected))
        and small.same_bits(last_states(workdir), last_states(expected))
    )


def check_reports(workdir: Path) -> None:
    """What the tables call finished is there, and there is a checkpoint that can be trusted, or none yet."""
    for checkpoints in workdir.glob("stacks/*/checkpoints"):
        CheckpointFolder(checkpoints).latest()
    if (workdir / schema.RUNS_FILE).exists():
        runs = records.read_runs(workdir)
        reported = set(runs["run_id"][runs["status"] == schema.FINISHED])
        assert reported <= {name for folder in workdir.glob("stacks/*/finished") for name in whole_names(folder)}


def whole_names(finished: Path) -> list[str]:
    """The runs whose parameters are in a folder, and as they were written."""
    folder = CheckpointFolder(finished)
    return [name for step in folder.steps() if not folder.problems(step) for name in folder.names(step)]


def last_states(workdir: Path) -> dict:
    """Folder of a stack's checkpoints -> parameters, optimizer state and counters of its last one."""
    folders = {path.parent.name: CheckpointFolder(path) for path in sorted(workdir.glob("stacks/*/checkpoints"))}
    return {name: folder.restore(folder.latest()) for name, folder in folders.items()}


def lost_segments(log: Path, workdir: Path) -> list[int]:
    """For every time a stack went on: the boundaries it had passed whose checkpoints were not there any more.

    The boundary it had just come to is not among them: its checkpoint could not even have been begun.
    """
    plans, _ = WorkDir(workdir).read_plan()
    boundaries = {plan.name: plan.boundaries for plan in plans}
    lines = [line.split() for line in log.read_text(encoding="utf-8").splitlines()]
    lost = [0]
    for (_, was_in, reached), (word, stack, begun) in itertools.pairwise(lines):
        if word == "begin" and was_in == stack:
            lost.append(sum(int(begun) < boundary < int(reached) for boundary in boundaries[stack]))
    return lost


@dataclasses.dataclass
class Reads:
    whole: int = 0
    torn: list[str] = dataclasses.field(default_factory=list)


@contextlib.contextmanager
def reading(workdir: Path) -> Iterator[Reads]:
    """Reads runs.csv and curves.csv whenever they have changed, as somebody who looks on would."""
    reads, over = Reads(), threading.Event()
    thread = threading.Thread(target=_read_on, args=(workdir, reads, over))
    thread.start()
    try:
        yield reads
    finally:
        over.set()
        thread.join()


def _read_on(workdir: Path, reads: Reads, over: threading.Event) -> None:
    seen: dict[str, tuple] = {}
    while not over.wait(0.002):
        for name in (schema.RUNS_FILE, schema.CURVES_FILE):
            with contextlib.suppress(FileNotFoundError):
                file = (workdir / name).stat()
                version = (file.st_ino, file.st_mtime_ns, file.st_size)
                if seen.get(name) != version:
                    seen[name] = version
                    _read(workdir, name, reads)


def _read(workdir: Path, name: str, reads: Reads) -> None:
    if name == schema.RUNS_FILE:
        try:
            records.read_runs(workdir)
        except ValueError as error:
            reads.torn.append(str(error))
    columns = schema.RUN_COLUMNS if name == schema.RUNS_FILE else schema.CURVE_COLUMNS
    lines = (workdir / name).read_text(encoding="utf-8").splitlines(keepends=True)
    whole = lines[:1] == [",".join(columns) + "\n"] and all(line.endswith("\n") for line in lines)
    if whole and (name != schema.RUNS_FILE or len(lines) == 1 + RUNS):
        reads.whole += 1
    else:
        reads.torn.append(f"{name}: {len(lines)} lines, {lines[-1:]}")
