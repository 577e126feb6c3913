"""What the benchmarks share: the machine in words, interleaved measurements, result files."""

import datetime
import importlib.metadata
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vsweep import __version__
from vsweep.analysis import plotting
from vsweep.analysis.plotting import Drawing

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "benchmarks"
VERSIONED = ("jax", "jaxlib", "flax", "optax", "numpy", "torch", "turbanet")
PAUSE_S = 0.02  # between two measurements: the last one's threads stop spinning
WARM_SHARE = 0.25  # of a measurement, for the first round
LONG_S, LONG_ROUNDS = 3.0, 3


@dataclass(frozen=True)
class Clocked:
    """Something that can be timed again and again: `run(steps)` gives the seconds that `steps` more steps took."""

    run: Callable[[int], float]
    step_s: float  # expected, from warming up
    quantum: int = 1  # steps come in multiples of it


def interleaved(contestants: Mapping[str, Clocked], rounds: int, target_s: float) -> dict[str, list[float]]:
    """Seconds a step of each contestant, one measurement a round, all contestants in each round.

    A slow minute of a shared machine so falls on everybody. Each round begins with another contestant. A measurement
    takes about `target_s`, and at least one quantum of steps; where that takes longer than `LONG_S`, `LONG_ROUNDS`
    are enough. A short first round is not counted: what was warmed up while others compiled is timed afresh.
    """
    names = list(contestants)
    expected_s = {name: clocked.step_s for name, clocked in contestants.items()}
    measured: dict[str, list[float]] = {name: [] for name in names}
    for name, clocked in contestants.items():
        if clocked.step_s * clocked.quantum < target_s:
            expected_s[name] = _measure(clocked, clocked.step_s, WARM_SHARE * target_s)
    for turn in range(rounds):
        start = turn * len(names) // rounds
        for name in names[start:] + names[:start]:
            if turn < LONG_ROUNDS or expected_s[name] * contestants[name].quantum < LONG_S:
                expected_s[name] = _measure(contestants[name], expected_s[name], target_s)
                measured[name].append(expected_s[name])
    return measured


def _measure(clocked: Clocked, expected_s: float, target_s: float) -> float:
    """Seconds a step."""
    steps = clocked.quantum * max(1, round(target_s / (expected_s * clocked.quantum)))
    time.sleep(PAUSE_S)
    return clocked.run(steps) / steps


def local(train: Callable[[int], None], warm_up_steps: int = 2) -> Clocked:
    """`train(steps)`, which returns when the steps are done, as something to time in this process."""
    train(warm_up_steps)

    def run(steps: int) -> float:
        begin = time.perf_counter()
        train(steps)
        return time.perf_counter() - begin

    return Clocked(run, run(warm_up_steps) / warm_up_steps)


def median(values: list[float]) -> float:
    return float(statistics.median(values))


def machine(device: str, cores: int) -> dict:
    """What the times depend on; nothing that tells whose machine it is. `device` is the kind that JAX names."""
    return {
        "cpu": cpu_model(),
        "cores": cores,
        "device": device,
        "system": platform.system(),
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
    }


def versions(libraries: Iterable[str] = VERSIONED) -> dict[str, str]:
    found = {"python": platform.python_version(), "vsweep": __version__}
    for name in libraries:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def in_words(measured: dict) -> str:
    """The machine in one line, for the title of a figure."""
    where = f"{measured['cores']} cores of {measured['cpu']}"
    return where if measured["device"].lower() == "cpu" else f"{measured['device']}, host {where}"


def write(name: str, table: pd.DataFrame, measured: dict, figure: Drawing, folder: Path = RESULTS) -> None:
    """NAME.json, NAME.png, NAME.svg and NAME.csv, the last being the numbers of the figure."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = json.loads(table.to_json(orient="records", double_precision=10))
    (folder / f"{name}.json").write_text(json.dumps({**measured, "rows": rows}, indent=2) + "\n")
    plotting.save(figure, folder)
