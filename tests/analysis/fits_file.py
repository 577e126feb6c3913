"""A fits.json with a known law and resamples around it, as the planner reads it."""

import json
from pathlib import Path

import numpy as np

from vsweep.analysis.approaches.parametric import HOFFMANN, Law


def scattered(law: Law, pairs: int = 60, sd: float = 0.01) -> Law:
    """Resampled laws in pairs, so that the logarithms of the constants lie evenly about those of `law`."""
    steps = sd * np.random.default_rng(0).standard_normal((5, pairs))
    steps = np.concatenate([steps, -steps], axis=1)
    constants = (law.E, law.A, law.B, law.alpha, law.beta)
    return Law(*(constant * np.exp(step) for constant, step in zip(constants, steps, strict=True)))


def content_of(law: Law = HOFFMANN) -> dict:
    """A fits.json with one refused and one fitted loss."""
    constants = {"E": law.E, "A": law.A, "B": law.B, "alpha": law.alpha, "beta": law.beta}
    resamples = {name: getattr(scattered(law), name).tolist() for name in constants}
    entry = {
        "convention": {"loss": "val_loss", "E": "free", "N": "params", "C": "flops_6nd"},
        "parametric": {**constants, "resamples": resamples, "residual_sd_log": 0.004},
        "range": {"params": [1e7, 5e7], "tokens": [1e9, 1e11], "flops": [1e17, 1e18]},
        "floor_value": None,
    }
    refused = {"convention": entry["convention"], "parametric": {"refused": "a single N"}}
    return {"schema": 1, "losses": {"excess_loss": refused, "val_loss": entry}}


def write(folder: Path, content: object) -> str:
    path = folder / "fits.json"
    path.write_text(json.dumps(content))
    return str(path)
