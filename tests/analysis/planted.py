"""Work directories with known laws inside, written as a sweep writes them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from vsweep import atomic, schema, tables
from vsweep.analysis.approaches.parametric import Law

FLOOR = 1.0299955
VOCABULARY, POSITIONS, LAYERS = 14, 12, 4
EVALUATIONS = 35
LAW = Law(E=0.0, A=40.0, B=900.0, alpha=0.5, beta=0.6)  # of the excess loss
LARGE_LAW = Law(E=1.8, A=400.0, B=2000.0, alpha=0.34, beta=0.30)  # of the loss of `large_table`
WIDTHS = (4, 8, 12, 16, 24, 32)
BUDGETS = tuple(125_000 * 2**i for i in range(5))


@dataclass(frozen=True)
class Planted:
    """What is planted: `excess(params, tokens)` in nats/token, annealed; `noise` is the sd of log loss over seeds."""

    widths: tuple[int, ...] = WIDTHS
    budgets: tuple[int, ...] = BUDGETS
    seeds: tuple[int, ...] = (0, 1, 2)
    noise: float = 0.0
    excess: Callable = LAW.loss
    answer_share: float = 0.3986
    floor: float = FLOOR
    evaluations: int = EVALUATIONS  # of each run


def large_table(sizes: int, budgets: int, seeds: int = 5, noise: float = 0.01, law: Law = LARGE_LAW) -> pd.DataFrame:
    """A table N, D, seed, loss of `sizes` x `budgets` cells that follow `law`; `noise` is the sd of log loss."""
    params, tokens = np.geomspace(1e6, 1e10, sizes).round(), np.geomspace(1e8, 1e12, budgets).round()
    axes = np.meshgrid(params, tokens, np.arange(seeds), indexing="ij")
    table = pd.DataFrame({name: axis.ravel() for name, axis in zip(("N", "D", "seed"), axes, strict=True)})
    scatter = np.exp(noise * np.random.default_rng(3).standard_normal(len(table)))
    return table.assign(seed=table["seed"].astype(int), loss=law.loss(table["N"], table["D"]) * scatter)


def broken(params: float, tokens: float) -> float:
    """Excess loss with a plateau at an answer loss of about 1.15 and a sharp fall after it, as addition has it."""
    size = params / 12_000
    tokens_to_break = 4e5 * (size**-1.8 + 0.5 * size**0.4)
    answer = 1.15 * (1 + (tokens / tokens_to_break) ** 3) ** -0.6 + 0.5 * (3e4 / tokens) ** 1.5
    return 0.3986 * answer


def params_of(width: int, embedding: bool = True) -> int:
    block = 12 * width**2 + 9 * width
    return LAYERS * block + 2 * width + (VOCABULARY + POSITIONS) * width * embedding


def write_planted(workdir: Path, planted: Planted) -> Path:
    """Writes runs.csv and curves.csv of finished runs; returns `workdir`."""
    rng = np.random.default_rng(1)
    runs, curves = [], []
    for width in planted.widths:
        for budget in planted.budgets:
            for seed in planted.seeds:
                run, curve = _run(planted, width, budget, seed, float(np.exp(planted.noise * rng.standard_normal())))
                runs.append(run)
                curves.extend(curve)
    write_runs(workdir, runs)
    atomic.write_text_atomically(workdir / schema.CURVES_FILE, tables.as_csv(curves, list(schema.CURVE_COLUMNS)))
    return workdir


def write_runs(workdir: Path, runs: list[dict]) -> None:
    atomic.write_text_atomically(workdir / schema.RUNS_FILE, tables.as_csv(runs, list(schema.RUN_COLUMNS)))


def _run(planted: Planted, width: int, budget: int, seed: int, factor: float) -> tuple[dict, list[dict]]:
    params = params_of(width)
    run = dict.fromkeys(schema.RUN_COLUMNS)
    run |= {
        "run_id": f"w{width}-b{budget}-s{seed}",
        "stack": f"w{width}",
        "task": "addition",
        "width": width,
        "layers": LAYERS,
        "head_dim": 4,
        "ff_multiple": 4,
        "tied_embeddings": True,
        "batch_size": 64,
        "schedule": "cosine",
        "precision": "float32",
        "budget": budget,
        "seed": seed,
        "lr": 5e-3,
        "weight_decay": 1e-4,
        "warmup_steps": 0,
        "dropout": 0.15,
        "clip": 1.0,
        "params": params,
        "params_non_embedding": params_of(width, embedding=False),
        "unique_tokens": budget,
        "epochs": budget / 9e6,
        "floor": planted.floor,
        "eval_examples": 10_000,
        "status": schema.FINISHED,
        "wall_s": 1.5,
        "device": "cpu x2",
        "matmul_precision": "highest",
        "versions": "vsweep 0.1.0, Python 3.11",
        "inexact_resumes": 0,
        **_measured(planted, params, budget, seed, factor * planted.excess(params, seen(budget, seed))),
    }
    run["init_seed"] = run["data_seed"] = run["dropout_seed"] = seed
    return run, [
        _evaluation(planted, run, tokens, factor) for tokens in np.geomspace(budget / 50, budget, planted.evaluations)
    ]


def seen(nominal: float, seed: int) -> int:
    """Seeds see other examples: after the same steps not quite the same tokens."""
    return int(nominal * (1 + 1e-4 * seed))


def _measured(planted: Planted, params: int, nominal: float, seed: int, excess: float) -> dict:
    answer = excess / planted.answer_share
    tokens = seen(nominal, seed)
    return {
        "tokens": tokens,
        "steps": int(nominal / 70),
        "flops_6nd": 6 * params * tokens,
        "flops_counted": (6 * params + 4_000) * tokens,
        "train_loss": planted.floor + 1.1 * excess,
        "val_loss": planted.floor + excess,
        "val_loss_se": 0.002,
        "excess_loss": excess,
        "excess_loss_se": 0.001,
        "answer_loss": answer,
        "answer_loss_se": 0.002,
        "exact_match": float(np.exp(-4 * answer)),
    }


def _evaluation(planted: Planted, run: dict, tokens: float, factor: float) -> dict:
    # Before its end a run has not annealed: up to 15 % above what a run of that budget would reach.
    unannealed = 1 + 0.15 * (1 - tokens / run["budget"])
    excess = factor * unannealed * planted.excess(run["params"], seen(tokens, run["seed"]))
    measured = _measured(planted, run["params"], tokens, run["seed"], excess)
    row = {"run_id": run["run_id"], "eval_examples": 1_000, **measured}
    return {name: row[name] for name in schema.CURVE_COLUMNS}
