"""Work directories of text with a known law inside: tables, task.json and, if asked, samples.json."""

import json
from pathlib import Path

import pandas as pd

from tests.analysis.planted import FLOOR, LAW, Planted, write_planted
from vsweep import schema

UNIGRAM, BIGRAM, BYTES_PER_TOKEN = 2.0, 1.6, 2.0
FACTS = {
    "tokenizer": "json",
    "vocabulary": 1024,
    "tokens": {"train": 9_000_000, "held_out": 100_000},
    "bytes_per_token": {"held_out": BYTES_PER_TOKEN},
    "levels_nats_per_token": {"unigram": UNIGRAM, "bigram": BIGRAM},
}
NOT_OF_TEXT = ("floor", "excess_loss", "excess_loss_se", "answer_loss", "answer_loss_se", "exact_match")


def planted_loss(params: float, tokens: float) -> float:
    """The val_loss that the runs have, in nats per token."""
    return FLOOR + LAW.loss(params, tokens)


def write_text_study(workdir: Path, planted: Planted | None = None, facts: dict | None = None) -> Path:
    """Writes the tables of a sweep of text, which knows no floor and no answers, and its task.json."""
    write_planted(workdir, planted or Planted())
    for name in (schema.RUNS_FILE, schema.CURVES_FILE):
        table = pd.read_csv(workdir / name)
        table[[column for column in NOT_OF_TEXT if column in table]] = None
        table.to_csv(workdir / name, index=False)
    (workdir / "task.json").write_text(json.dumps(FACTS if facts is None else facts), encoding="utf-8")
    return workdir


def write_samples(workdir: Path, *texts: str) -> None:
    """samples.json with a text for each size, the smallest first."""
    entries = [
        {"run_id": f"w{at}", "params": 1000.0 * (at + 1), "tokens": 2e6, "val_loss": 2.0 - 0.1 * at, "text": text}
        for at, text in enumerate(texts)
    ]
    told = {"temperature": 0.8, "seed": 0, "length": 200, "samples": entries}
    (workdir / "samples.json").write_text(json.dumps(told), encoding="utf-8")
