"""The numbers of the interactive figures: one JSON in the page, the same as in runs.csv, curves.csv and fits.json.

A page of many runs does not hold everything. What it leaves out it names in `thinned`.
"""

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd

from vsweep.analysis.approaches import isoflop
from vsweep.analysis.approaches.bowls import Bowls
from vsweep.analysis.data.points import varying_settings
from vsweep.analysis.data.source import Refusal, Source
from vsweep.analysis.formatting import finite
from vsweep.analysis.plotting import FLOP_LABELS, LOSS_LABELS, SIZE_LABELS
from vsweep.analysis.sections import law, loss_curves, runs, valleys
from vsweep.analysis.sections.base import LossStudy
from vsweep.analysis.sections.further_laws import hyperparameters, one_variable, repeated
from vsweep.analysis.uncertainty.one_variable import COLUMN

MOST_CURVE_POINTS = 20_000  # rows of curves.csv in a page
RUN_COLUMNS = (
    *("params", "params_non_embedding", "budget", "tokens", "flops_6nd", "flops_counted"),
    *("seed", "exact_match"),
)
# What a script or a comment of HTML could begin with; inside a JSON text the escapes mean the same.
ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


# What the page lets one play with, by what is known of the runs.
OF_A_LAW = ("law_measured", "exponent", "anchors", "split", "recipes", "planner")
OF_ONE_VARIABLE = ("exponent",)


def content(source: Source, studies: Sequence[LossStudy]) -> dict | None:
    """The numbers of a source with a loss; None where nothing could be drawn by a script."""
    if studies[0].empty:
        return None
    losses = [study.loss for study in studies]
    convention = studies[0].convention
    curves, thinned = _curves(source, losses)
    varying = varying_settings(source.runs, source.settings)
    known = (COLUMN[source.variable], "seed") if source.variable else RUN_COLUMNS
    return {
        "unit": source.loss_unit,
        "workdir": source.is_workdir,
        "variable": source.variable,
        "losses": {loss: LOSS_LABELS[loss] for loss in losses},
        "sizes": {} if source.variable else _size_labels(source, convention.size),
        "flops": {} if source.variable else _compute_labels(source, convention.flops),
        "size": COLUMN[source.variable] if source.variable else convention.size,
        "compute": convention.flops,
        "runs": _columns(_with_seeds(source), ("run_id", "status", *known, *varying, *losses)),
        "curves": curves,
        "thinned": thinned,
        "studies": {study.loss: _of_loss(study) for study in studies},
    }


def lessons(studies: Sequence[LossStudy]) -> tuple[str, ...]:
    """The figures that play with a law; none where no loss has one, because they would be empty."""
    if studies[0].source.variable:
        fitted = not isinstance(studies[0].result(one_variable.SECTION), Refusal)
        return OF_ONE_VARIABLE if fitted else ()
    return OF_A_LAW if any(not study.result(law.SECTION).refused for study in studies) else ()


def as_json(content: dict) -> str:
    """Text that stands in a script element and stays a text there, whatever names it holds."""
    text = json.dumps(finite(content), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return "".join(ESCAPED.get(letter, letter) for letter in text) if any(map(text.count, ESCAPED)) else text


def _size_labels(source: Source, used: str) -> dict[str, str]:
    """The conventions of N that a reader may choose: the one in use, and others in which every run has a logarithm."""
    known = [name for name in SIZE_LABELS if name in source.runs]
    return {name: SIZE_LABELS[name] for name in known if name == used or (source.runs[name] > 0).all()}


def _compute_labels(source: Source, used: str) -> dict[str, str]:
    if not source.is_workdir:
        return {used: FLOP_LABELS[used]}
    return {name: FLOP_LABELS[name] for name in ("flops_6nd", "flops_counted") if name in source.runs}


def _with_seeds(source: Source) -> pd.DataFrame:
    """The runs, with the seeds of a table under the name that a sweep has."""
    runs = source.runs
    named = "seed" not in runs and "seed_block" in runs and runs["seed_block"].notna().any()
    return runs.assign(seed=runs["seed_block"]) if named else runs


def _columns(table: pd.DataFrame, names: Sequence[str]) -> dict[str, list]:
    known = [name for name in dict.fromkeys(names) if name in table]
    return {name: _plain(table[name]) for name in known}


def _plain(column: pd.Series) -> list:
    """Values as JSON has them: whole numbers without a point, and null for what is missing."""
    values = column.astype(object).where(column.notna(), None).tolist()
    whole = (float, np.floating)
    return [int(value) if isinstance(value, whole) and value.is_integer() else value for value in values]


def _curves(source: Source, losses: list[str]) -> tuple[dict | None, str]:
    """The loss curves with the row of each run; evenly chosen runs where all would be too many."""
    if source.curves is None or source.curves.empty:
        return None, ""
    table, names = source.curves, source.runs["run_id"].astype(str)
    rows = pd.Series(range(len(names)), index=names)
    keep = -(-len(table) // MOST_CURVE_POINTS)
    note = ""
    if keep > 1:
        chosen = set(names.iloc[::keep])
        table = table[table["run_id"].astype(str).isin(chosen)]
        note = f"The page holds the loss curves of {len(chosen):,} of {len(names):,} runs. curves.csv has all."
    numbers = _columns(table, ("tokens", *losses))  # along a run its compute grows as its tokens
    return {"run": rows.reindex(table["run_id"].astype(str)).tolist(), **numbers}, note


def _of_loss(study: LossStudy) -> dict:
    """The fits of one loss, as fits.json has them, and the points that they saw."""
    used = {"used": study.points.table["run_id"].tolist()}
    if study.source.variable:
        return used | one_variable.SECTION.to_json(study, study.result(one_variable.SECTION))
    fitted = law.SECTION.to_json(study, study.result(law.SECTION))
    of_runs = runs.SECTION.to_json(study, study.result(runs.SECTION))
    return {
        **used,
        **{name: of_runs[name] for name in ("convention", "range", "seed_noise_log", "floor_value")},
        "parametric": fitted["parametric"],
        "standing": fitted["standing"],
        **loss_curves.SECTION.to_json(study, study.result(loss_curves.SECTION)),
        "isoflop_parabola": valleys.SECTION.to_json(study, study.result(valleys.SECTION))["isoflop_parabola"],
        "valleys": [
            {"flops": one.flops, "params": one.params, "tokens": one.tokens, "loss": one.loss}
            for one in isoflop.valleys(study.points)
        ],
        **repeated.SECTION.to_json(study, study.result(repeated.SECTION)),
        **_seeds(study, of_runs),
        **_bowls(study),
    }


def _rows(study: LossStudy) -> pd.Series:
    """The place of each run in `runs`, by its id."""
    names = study.source.runs["run_id"].astype(str)
    return pd.Series(range(len(names)), index=names)


def _seeds(study: LossStudy, of_runs: dict) -> dict:
    """The spread of each cell with many seeds, and the places of its runs; nothing where there is no such cell."""
    if "seed_spread" not in of_runs:
        return {}
    table, rows = study.points.table, _rows(study)
    cells = of_runs["seed_spread"]
    members = [table[(table["size"] == cell["size"]) & (table["budget"] == cell["budget"])] for cell in cells]
    return {"seed_spread": cells, "seed_runs": [rows[one["run_id"]].tolist() for one in members]}


def _bowls(study: LossStudy) -> dict:
    """The law of each setting that varies, and the points of its bowls in columns; nothing where none varies.

    `run` is a point's place in `runs`, null where it is the lowest over another setting.
    """
    found = study.result(hyperparameters.SECTION)
    if not found:
        return {}
    rows, points = _rows(study), {}
    for one, part in zip(found, hyperparameters.file_parts(found), strict=True):
        if isinstance(one.bowls, Bowls):
            table = one.bowls.runs
            columns = {name: _plain(table[name]) for name in ("size", "budget", "batch", "value", "loss")}
            points[one.name] = {"figure": f"bowls_{part}", "run": _plain(rows.reindex(table["run_id"])), **columns}
    return {**hyperparameters.SECTION.to_json(study, found), "bowls": points}
