"""A load that lasts: small sweeps that are killed, stopped and given full or broken disks at random, until time is up.

    python -m tests.slow.harness.soak --minutes 30

Each sweep is harmed again and again, run to its end by the same command, and compared with one that nothing disturbed.
Every round does the same to a process of its own and inside this process, whose memory must stay flat. Prints what it
did as JSON; exit status 1 if anything was lost, different, torn or unexplained.
"""

import argparse
import collections
import ctypes
import dataclasses
import errno
import gc
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NoReturn

from tests.slow.harness import bad_disk
from tests.vsweep import killing, small
from vsweep.atomic import CannotWrite
from vsweep.host.interruption import EXIT_STATUS

HARMS = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "two SIGTERM", "full disk", "broken disk", "SIGKILL while it writes")
STREAMS = ("dead reader", "dead reader, then SIGINT", "closed streams, then SIGTERM", "full stream, then SIGHUP")
MEDDLINGS = ("checkpoints are a link", "checkpoints of another sweep")
REDIRECTED = {"closed streams": "<&- >&- 2>&-", "full stream": "> /dev/full 2>&1"}
VALUES = small.config(sweep={"budget": [700, 1400], "seed": [0]})
DISK_CALLS = 600  # about what the smoke sweep makes
WARM_ROUNDS = 5  # before memory is judged: every program compiled, every library loaded
MEMORY_GROWTH = 1.1  # from the first warm round to the last


@dataclasses.dataclass
class Outcome:
    """What the rounds have shown so far."""

    seed: int
    rounds: int = 0
    sessions: int = 0
    finished: int = 0
    harms: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    reads: int = 0
    violations: list[str] = dataclasses.field(default_factory=list)
    resident_mb: list[float] = dataclasses.field(default_factory=list)  # of this process, after each round
    in_use_mb: list[float] = dataclasses.field(default_factory=list)  # without what malloc keeps of what was freed

    def look_at_memory(self) -> None:
        gc.collect()
        self.resident_mb.append(resident_mb())
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        self.in_use_mb.append(resident_mb())

    def judge_memory(self) -> None:
        warm = self.in_use_mb[WARM_ROUNDS:]
        if warm and warm[-1] > MEMORY_GROWTH * warm[0]:
            self.violations.append(f"memory in use grew from {warm[0]} to {warm[-1]} MB")

    def to_json(self) -> dict:
        return {**vars(self), "harms": dict(self.harms)}


def harmed(workdir: Path, harm: str, seconds: float, library: Path, rng: random.Random) -> tuple[int, str]:
    """One session of the smoke sweep under a harm: its exit status, and what it said."""
    error = {"full disk": errno.ENOSPC, "broken disk": errno.EIO, "SIGKILL while it writes": bad_disk.KILL}.get(harm)
    environment = None
    if error is not None:
        call = rng.randrange(1, DISK_CALLS)
        environment = bad_disk.environment(library, workdir, call, error, lasts=error == errno.ENOSPC)
    process = subprocess.Popen(
        killing.command(workdir), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    for _ in range(2 if harm.startswith("two") else harm.startswith("SIG") and error is None):
        time.sleep(rng.uniform(0, seconds))
        process.send_signal(signal.Signals[harm.removeprefix("two ")])
    output, _ = process.communicate()
    return process.returncode, output


def without_streams(workdir: Path, harm: str, seconds: float, rng: random.Random) -> tuple[int, str]:
    """One session that cannot write what it has to say, and may get a signal then; nobody hears what it said."""
    stream, _, number = harm.partition(", then ")
    shell = ["bash", "-c", f'exec "$@" {REDIRECTED.get(stream, "2>&1")}', "bash", *killing.command(workdir)]
    with subprocess.Popen(shell, stdout=subprocess.PIPE) as process:
        time.sleep(rng.uniform(0, seconds / 2))
        process.stdout.close()
        if number:
            time.sleep(rng.uniform(0, seconds / 2))
            process.send_signal(signal.Signals[number])
    return process.returncode, ""


def meddled(workdir: Path, harm: str, other: Path, rng: random.Random, outcome: Outcome) -> None:
    """One session beside checkpoints that are none of its own: it must be refused and touch nothing. All is undone.

    `other` is a finished sweep with another learning rate.
    """
    places = [path for path in sorted(workdir.glob("stacks/*/checkpoints")) if any(path.glob("*.manifest.json"))]
    if not places:
        return
    place, kept = rng.choice(places), workdir.parent / "kept"
    place.rename(kept)
    if harm == "checkpoints are a link":
        (kept / "2024").mkdir()
        place.symlink_to(kept)
    else:
        shutil.copytree(other / place.relative_to(workdir), place)
    before = small.tree(workdir), small.tree(kept)
    session = subprocess.run(killing.command(workdir), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    after = small.tree(workdir), small.tree(kept)
    if session.returncode != 2 or "Traceback" in session.stdout or _but_for_lock(before) != _but_for_lock(after):
        outcome.violations.append(f"round {outcome.rounds}: {harm}: {session.returncode}: {session.stdout[-2000:]}")
    place.unlink() if place.is_symlink() else shutil.rmtree(place)
    shutil.rmtree(kept / "2024", ignore_errors=True)
    kept.rename(place)
    outcome.harms[harm] += 1
    outcome.sessions += 1


def _but_for_lock(trees: tuple[dict, ...]) -> list[dict]:
    return [{name: digest for name, digest in tree.items() if name != "lock"} for tree in trees]


def allowed(harm: str) -> set[int]:
    """Exit statuses that a harm may lead to; 0 always, for it may come too late."""
    if harm in STREAMS:
        return {0, *(allowed(harm.partition(", then ")[2]) if ", then " in harm else ())}
    if harm.endswith("disk"):
        return {0, CannotWrite.STATUS}
    if harm.startswith("SIGKILL"):
        return {0, -signal.SIGKILL}
    number = signal.Signals[harm.removeprefix("two ")]
    return {0, EXIT_STATUS, -number}  # before and after training a signal ends the program as it does any other


def sweep_in_processes(folder: Path, expected: Path, seconds: float, library: Path, rng, outcome: Outcome) -> None:
    workdir = folder / "work"
    meddling = rng.choice(MEDDLINGS)
    with killing.reading(workdir) as reads:
        for harm in rng.choices(HARMS + STREAMS, k=rng.randint(1, 4)):
            if harm in STREAMS:
                status, output = without_streams(workdir, harm, seconds, rng)
            else:
                status, output = harmed(workdir, harm, seconds, library, rng)
            outcome.harms[harm] += 1
            outcome.sessions += 1
            unexplained = status not in allowed(harm) or ("Traceback" in output and not harm.endswith("SIGINT"))
            if unexplained:
                outcome.violations.append(f"round {outcome.rounds}: {harm}: status {status}: {output[-2000:]}")
            if workdir.exists():
                killing.check_reports(workdir)
        meddled(workdir, meddling, folder / "other", rng, outcome)
        killing.finish(workdir)
    outcome.sessions += 1
    outcome.reads += reads.whole
    outcome.violations += [f"round {outcome.rounds}: torn: {torn}" for torn in reads.torn]
    conclude(workdir, expected, outcome)


def sweep_in_this_process(folder: Path, expected: Path, rng: random.Random, outcome: Outcome) -> None:
    """Interrupted after some chunks, then on a disk that fails, then to its end."""
    workdir = folder / "here"
    small.train(VALUES, workdir, progress=small.StopAfter(rng.randint(1, 6)))
    try:
        with small.FailingDisk(rng.randint(1, 60), rng.choice([errno.ENOSPC, errno.EIO]), lasting=True):
            small.train(VALUES, workdir)
    except CannotWrite:
        outcome.harms["disk fails in this process"] += 1
    killing.check_reports(workdir)
    small.train(VALUES, workdir)
    outcome.sessions += 3
    conclude(workdir, expected, outcome)


def conclude(workdir: Path, expected: Path, outcome: Outcome) -> None:
    outcome.finished += 1
    if not killing.same_sweep(workdir, expected):
        outcome.violations.append(f"round {outcome.rounds}: {workdir.name} differs from the uninterrupted sweep")
    shutil.rmtree(workdir)


def resident_mb() -> float:
    """Of this process, now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def soak(minutes: float, folder: Path, seed: int) -> Outcome:
    rng, outcome, library = random.Random(seed), Outcome(seed), bad_disk.compiled(folder)
    ends = time.monotonic() + 60 * minutes
    small.train(VALUES, folder / "expected-here")
    began = time.monotonic()
    killing.finish(folder / "expected")
    seconds = time.monotonic() - began
    killing.finish(folder / "other", Path("/dev/null"), "--config.optimizer.lr=0.001")
    while time.monotonic() < ends:
        outcome.rounds += 1
        sweep_in_processes(folder, folder / "expected", seconds, library, rng, outcome)
        sweep_in_this_process(folder, folder / "expected-here", rng, outcome)
        outcome.look_at_memory()
    outcome.judge_memory()
    return outcome


def main() -> NoReturn:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=None, help="of the harms; their moments differ all the same")
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        outcome = soak(options.minutes, Path(folder), seed)
    print(json.dumps(outcome.to_json(), indent=2), flush=True)
    os._exit(1 if outcome.violations else 0)  # threads of saves that failed may wait for each other, minutes long


if __name__ == "__main__":
    main()
