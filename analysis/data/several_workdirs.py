"""Several work directories as one source: sweeps of one task, whose runs are fitted together.

A run is known by its axes and by the settings of its sweep that no column of runs.csv holds. The same run in two
directories is counted once. What else differs is refused where losses cannot be compared, and named where they can.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from vsweep import schema
from vsweep.analysis.data.language import Language
from vsweep.analysis.data.source import Source, seed_blocks
from vsweep.analysis.tables.foreign_tables import BadTable

WORKDIR = "workdir"  # a column of the runs, which --by and --where know
CONFIG, LARGEST_CONFIG = "config.json", 10_000_000  # bytes
# Of a config: names and axes, which runs.csv has, and what decides how the work is done but not what comes out.
NOT_COMPARED = {"name", "sweep"}
OF_THE_WORK = {"max_epochs", "devices", "checkpoint_minutes", "max_wall_hours", "slots", "chunk_steps", "share_trunks"}
SAME_FLOOR = 1e-6  # nats/token
LONGEST_NAME = 100  # letters of a folder
NAMED = 4  # runs that a sentence names
PROGRESS = (schema.QUEUED, schema.RUNNING, schema.DIVERGED, schema.FINISHED)  # which copy of a run is kept: the last


def together(sources: Sequence[Source]) -> Source:
    """The runs, curves and times of several loaded work directories, with sentences on what differs between them.

    A run id that stands in several directories gets the name of its directory before it. The runs have one column more,
    `workdir`.

    Raises:
      BadTable: a directory is given twice, or tasks, task options or floors differ. The message names every conflict.
    """
    names = short_names([source.path for source in sources])
    configs = [_config(source.path) for source in sources]
    _refuse_conflicts(sources, names, configs)
    hidden = [_hidden(config) for config in configs]
    runs = pd.concat(
        [
            source.runs.assign(**{WORKDIR: name, "hidden": json.dumps(options, sort_keys=True), "from": at})
            for at, (source, name, options) in enumerate(zip(sources, names, hidden, strict=True))
        ],
        ignore_index=True,
    )
    runs, notes = _each_once(runs)
    ids = _unique_ids(runs)
    curves = _curves(sources, runs, ids)
    runs = runs.assign(run_id=ids, stack=runs[WORKDIR] + "/" + runs["stack"].astype(str))
    runs = runs.drop(columns=["hidden", "from"]).reset_index(drop=True)
    runs["seed_block"] = seed_blocks(runs)
    without = [name for name, source in zip(names, sources, strict=True) if source.curves is None]
    notes += [f"No curves are in {', '.join(without)}."] if without and curves is not None else []
    notes.insert(0, f"{len(sources)} work directories are fitted together: {', '.join(names)}.")
    return replace(
        sources[0],
        path=Path(" + ".join(name.replace("/", "-") for name in names)),
        runs=runs,
        curves=curves,
        times=_times(sources, names),
        notes=(*notes, *_other_notes(sources, names, configs)),
        language=_language(sources),
        samples=(),  # the best run of a size is another one now
        warnings=(*_warnings(names, hidden), *_of_texts(sources)),
    )


def _language(sources: Sequence[Source]) -> Language | None:
    """That of all, None where their texts differ: one level would be shown for both."""
    first = sources[0].language
    return first if all(source.language == first for source in sources) else None


def _of_texts(sources: Sequence[Source]) -> list[str]:
    texts = [source.language for source in sources]
    if _language(sources) is not None or not any(texts):
        return []
    return ["Their texts differ (task.json), so no levels and no bits per byte are shown."]


def beside(paths: Sequence[Path]) -> tuple[str, str]:
    """What the analysis of `a` and `b`, which lie beside each other, is called: a folder `a+b`, a title `a + b`.

    Raises:
      ValueError: they do not lie beside each other, so that no place is the natural one.
    """
    parents = {path.absolute().parent for path in paths}
    if len(parents) > 1:
        raise ValueError("out: the sources do not lie beside each other - say where to write with --out")
    names = short_names(paths)
    return "+".join(names)[:LONGEST_NAME], " + ".join(names)


def short_names(paths: Sequence[Path]) -> list[str]:
    """The names of the folders, or as much of their paths as tells them apart.

    Raises:
      BadTable: a directory is given twice.
    """
    whole = [path.resolve() for path in paths]
    twice = [str(path) for path, one in zip(paths, whole, strict=True) if whole.count(one) > 1]
    if twice:
        raise BadTable(f"{twice[0]}: this work directory is given twice")
    names = [path.name for path in whole]
    if len(set(names)) == len(names):
        return names
    common = os.path.commonpath(whole)
    return [path.relative_to(common).as_posix() for path in whole]


# What differs


def _config(folder: Path) -> dict | None:
    """The config of a sweep, None where there is none that can be read: its tables may stand alone."""
    path = folder / CONFIG
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_CONFIG:
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _refuse_conflicts(sources: Sequence[Source], names: Sequence[str], configs: Sequence[dict | None]) -> None:
    tasks = [", ".join(sorted(map(str, source.runs["task"].dropna().unique()))) for source in sources]
    problems = [_conflict("task", names, tasks)] if len(set(tasks)) > 1 else []
    if not problems:
        options = [_flat(config["task"], "task") if config and "task" in config else None for config in configs]
        problems = [
            _conflict(key, [name for name, one in known], [one.get(key) for _, one in known])
            for known in [[(name, one) for name, one in zip(names, options, strict=True) if one is not None]]
            for key in sorted({key for _, one in known for key in one})
            if len({_text(one.get(key)) for _, one in known}) > 1
        ]
    floors = [source.runs["floor"].dropna().astype(float) for source in sources]
    middles = [float(floor.median()) if len(floor) else np.nan for floor in floors]
    if not problems and np.nanmax(middles, initial=-np.inf) - np.nanmin(middles, initial=np.inf) > SAME_FLOOR:
        problems.append(_conflict("the floor of the task, nats/token", names, [f"{middle:.6g}" for middle in middles]))
    if problems:
        raise BadTable(f"these sweeps cannot be fitted together, their losses differ in kind: {'; '.join(problems)}")


def _conflict(what: str, names: Sequence[str], values: Sequence[object]) -> str:
    return f"{what} is {', '.join(f'{_text(v)} in {name}' for name, v in zip(names, values, strict=True))}"


def _text(value: object) -> str:
    return "not set" if value is None else str(value)


def _flat(value: object, at: str) -> dict[str, object]:
    if isinstance(value, Mapping):
        return {key: leaf for name, one in value.items() for key, leaf in _flat(one, f"{at}.{name}").items()}
    return {at: value}


def _hidden(config: dict | None) -> dict[str, object]:
    """The settings of a sweep that change its runs and that no column of runs.csv holds."""
    if config is None:
        return {}
    flat = {
        key: leaf
        for section, values in config.items()
        if section not in (*NOT_COMPARED, "task")
        for key, leaf in _flat(values, section).items()
    }
    return {key: leaf for key, leaf in flat.items() if key.rpartition(".")[2] not in {*schema.AXES, *OF_THE_WORK}}


def _warnings(names: Sequence[str], hidden: Sequence[dict]) -> list[str]:
    known = [(name, options) for name, options in zip(names, hidden, strict=True) if options]
    keys = sorted({key for _, options in known for key in options})
    differing = [
        _conflict(key, [name for name, _ in known], [options.get(key) for _, options in known])
        for key in keys
        if len({_text(options.get(key)) for _, options in known}) > 1
    ]
    if not differing:
        return []
    return [
        f"These sweeps differ in what no column of runs.csv holds: {'; '.join(differing)}. Their runs are fitted "
        f"together all the same. Give each sweep a law of its own with --by {WORKDIR}."
    ]


def _other_notes(sources: Sequence[Source], names: Sequence[str], configs: Sequence[dict | None]) -> list[str]:
    notes = []
    unknown = [name for name, config in zip(names, configs, strict=True) if config is None]
    if unknown:
        notes.append(f"Task options were not compared, because no {CONFIG} can be read in {', '.join(unknown)}.")
    for column, what in (("versions", "Versions"), ("matmul_precision", "Precisions of matmul")):
        values = [", ".join(sorted(map(str, source.runs[column].dropna().unique()))) for source in sources]
        if len(set(values)) > 1:
            notes.append(f"{what} differ: {_conflict(column, names, values)}.")
    return notes


# Runs, curves and times


def _each_once(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Every run once: of one in several directories the copy that got furthest, of equal ones the first.

    Only a repeat in another directory counts: one sweep never holds a run twice.
    """
    axes = [name for name in ("task", *schema.AXES) if name in runs]
    key = runs.groupby([*axes, "hidden"], dropna=False, sort=False).ngroup()
    order = runs.assign(
        key=key, rank=runs["status"].map(PROGRESS.index).fillna(-1), seen=runs["tokens"].astype(float).fillna(0)
    ).sort_values(["rank", "seen", "from"], ascending=[False, False, True], kind="stable")
    first = order.groupby("key", sort=False)["from"].transform("first")
    again = runs.index[(order["from"] != first).sort_index()]
    if not len(again):
        return runs, []
    dropped, kept = runs.loc[again], runs.drop(index=again)
    named = ", ".join(f"{row[WORKDIR]}/{row['run_id']}" for _, row in dropped.head(NAMED).iterrows())
    more = f" and {len(dropped) - NAMED} more" if len(dropped) > NAMED else ""
    note = f"Counted once, because the same run is in another directory: {named}{more}."
    apart = _apart(dropped.assign(key=key), kept.assign(key=key))
    if apart > 0:
        note += f" The losses of such copies differ by up to {apart:.2g} nats/token; the copy that got furthest counts."
    return kept, [note]


def _apart(dropped: pd.DataFrame, kept: pd.DataFrame) -> float:
    """The largest difference in val_loss between copies of a run of which both have finished."""
    both = dropped.merge(kept, on="key", suffixes=("", "_kept"))
    done = (both["status"] == schema.FINISHED) & (both["status_kept"] == schema.FINISHED)
    off = (both["val_loss"].astype(float) - both["val_loss_kept"].astype(float))[done].abs()
    return float(off.max()) if off.notna().any() else 0.0


def _unique_ids(runs: pd.DataFrame) -> pd.Series:
    twice = runs["run_id"].duplicated(keep=False)
    return runs["run_id"].where(~twice, runs[WORKDIR] + "/" + runs["run_id"])


def _curves(sources: Sequence[Source], runs: pd.DataFrame, ids: pd.Series) -> pd.DataFrame | None:
    """The curves of the runs that are kept, under their new ids; None where no directory has any."""
    new = pd.DataFrame({"from": runs["from"], "run_id": runs["run_id"], "new": ids})
    parts = [
        source.curves.merge(new[new["from"] == at].drop(columns="from"), on="run_id")
        for at, source in enumerate(sources)
        if source.curves is not None
    ]
    if not parts:
        return None
    curves = pd.concat(parts, ignore_index=True)
    return curves.assign(run_id=curves["new"]).drop(columns="new")


def _times(sources: Sequence[Source], names: Sequence[str]) -> pd.DataFrame | None:
    parts = [
        source.times.assign(stack=name + "/" + source.times["stack"].astype(str))
        for source, name in zip(sources, names, strict=True)
        if source.times is not None
    ]
    return pd.concat(parts, ignore_index=True) if parts else None
