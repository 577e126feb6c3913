"""Work directories with planted curves: tables, a plan and live.json as a training sweep leaves them."""

import json
import math
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from vsweep.schema import CURVE_COLUMNS, CURVES_FILE, LIVE_FILE, RUN_COLUMNS, RUNS_FILE

STEPS, GRID = 1000, (10, 30, 100, 300, 600, 1000)
SEEDS, NOISE = 3, 0.01


@dataclass
class Planted:
    """Widths x 3 seeds of one budget: the last width stands at step 300, with `off` of log loss on its first run."""

    off: float = 0.0
    widths: tuple[int, ...] = (4, 8, 16)
    name: str = "w{width}-s{seed}"
    title: str = "planted"


def write(workdir: Path, planted: Planted | None = None) -> Path:
    """Writes the files; returns `workdir`."""
    planted = planted or Planted()
    workdir.mkdir(parents=True, exist_ok=True)
    random, runs, curves, stacks = np.random.default_rng(0), [], [], []
    for width in planted.widths:
        last = width == planted.widths[-1]
        names = [planted.name.format(width=width, seed=seed) for seed in range(SEEDS)]
        stacks.append(
            {"name": f"w{width}", "slots": SEEDS, "entries": [[n, i, 0, STEPS, 0, None] for i, n in enumerate(names)]}
        )
        for seed, run_id in enumerate(names):
            grid = [step for step in GRID if not last or step <= 300]
            losses = [math.exp(random.normal(0, NOISE)) * 3 * step**-0.2 * width**-0.1 for step in grid]
            if last and seed == 0:
                losses = [loss * math.exp(planted.off) for loss in losses]
            runs.append(_run(run_id, width, seed, grid[-1], losses[-1], "running" if last else "finished"))
            curves += [_point(run_id, step, loss) for step, loss in zip(grid, losses, strict=True)]
    pd.DataFrame(runs, columns=list(RUN_COLUMNS)).to_csv(workdir / RUNS_FILE, index=False)
    pd.DataFrame(curves, columns=list(CURVE_COLUMNS)).to_csv(workdir / CURVES_FILE, index=False)
    (workdir / "plan.json").write_text(json.dumps({"environments": [], "stacks": stacks}))
    (workdir / "config.json").write_text(json.dumps({"name": planted.title}))
    return workdir


def write_live(workdir: Path, **values) -> None:
    """live.json of a training process that is this one."""
    usual = {"pid": os.getpid(), "host": socket.gethostname(), "time": time.time(), "doing": "training"}
    usual |= {"stack": "w16", "step": 400, "steps": STEPS, "batch_size": 8, "points": {}, "diverged": {}}
    numbers = {"done": 0.8, "runs": "6 of 9", "tokens_per_s": 1e4, "eta_s": 60.0}
    (workdir / LIVE_FILE).write_text(json.dumps({**usual, **numbers, **values}))


def _run(run_id: str, width: int, seed: int, steps: int, loss: float, status: str) -> dict:
    row = {"run_id": run_id, "stack": f"w{width}", "task": "addition", "width": width, "seed": seed, "batch_size": 8}
    row |= {"budget": 8 * STEPS, "tokens": 8 * steps, "steps": steps, "params": 100 * width, "status": status}
    return {**row, "params_non_embedding": 90 * width, "excess_loss": loss, "val_loss": loss + 1, "wall_s": 1.0}


def _point(run_id: str, step: int, loss: float) -> dict:
    losses = {"train_loss": loss + 1, "val_loss": loss + 1, "excess_loss": loss, "answer_loss": loss}
    return {"run_id": run_id, "steps": step, "tokens": 8 * step, "eval_examples": 64, **losses}
