"""What a page says about a work directory beside its curves: progress, stacks, and the runs that look wrong."""

import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vsweep.schema import DIVERGED, FINISHED, QUEUED, RUNNING
from vsweep.serve import live_file
from vsweep.serve.state import files
from vsweep.serve.state.drift import Judged
from vsweep.serve.state.forecast import Miss
from vsweep.serve.state.stacks import StackShown
from vsweep.serve.state.tables import Run

MOST_PLACES = 600  # of one stack that are drawn
UNITS = {"excess_loss": "excess loss", "val_loss": "held-out loss"}


@dataclass
class State:
    """What the files of a work directory say; `live` is empty where nothing trains."""

    path: Path
    runs: dict[str, Run] = field(default_factory=dict)
    stacks: list[StackShown] = field(default_factory=list)
    live: dict = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Verdicts:
    """What was judged of the column `loss`; `by_law` runs had a forecast, or `why_no_law` says why not."""

    loss: str
    judged: list[Judged]
    misses: list[Miss]
    by_law: int
    why_no_law: str


def of(here: State, verdicts: Verdicts) -> dict:
    """Everything that a page shows beside the curves, as plain JSON."""
    counts, loss = Counter(run.status for run in here.runs.values()), verdicts.loss
    steps = {stack.name: stack.step(here.runs, here.live) for stack in here.stacks}
    current = next((stack for stack in here.stacks if steps[stack.name] < stack.steps), None)
    return {
        "name": here.path.absolute().name,
        "path": str(here.path),
        "title": _title(here),
        **_status(here, counts),
        "counts": {"all": len(here.runs), **{name: counts[name] for name in (FINISHED, RUNNING, QUEUED, DIVERGED)}},
        "stacks": [_stack(stack, steps[stack.name], here) for stack in here.stacks],
        "slots": _slots(current, steps, here) if current else None,
        "wrong": [*_diverged(here), *_drifting(verdicts.judged, loss), *_missed(verdicts.misses, loss)],
        "judging": _judging(verdicts),
        "loss": loss,
        "report": (stamp := files.stamp(here.path, "analysis", "report.html")) and stamp[0] // 1_000_000,
        "problems": here.problems,
    }


def _title(here: State) -> str:
    try:
        return str(json.loads(files.read(here.path, "config.json"))["name"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return here.path.absolute().name


def _status(here: State, counts: Counter) -> dict:
    live, ended = here.live, counts[FINISHED] + counts[DIVERGED]
    numbers = {name: live.get(name) for name in ("done", "eta_s", "tokens_per_s", "time")} if live else {}
    if live and live_file.is_alive(live):
        return {"doing": live["doing"], "stack": live["stack"], **numbers}
    if live:
        seen = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(live["time"]))
        return {"doing": "lost", "why": f"no sign of the training since {seen}: the same command continues it"}
    if not here.runs:
        return {"doing": "nothing yet", "why": "no tables yet: they come when training begins"}
    if ended == len(here.runs):
        return {"doing": "ended", "why": "all runs have ended"}
    return {"doing": "stopped", "why": "nothing trains here now: the same command continues it"}


def _stack(stack: StackShown, step: int, here: State) -> dict:
    members = [here.runs[place.run_id] for place in stack.places if place.run_id in here.runs]
    counts = Counter(run.status for run in members)
    return {
        "name": stack.name,
        "slots": stack.slots,
        "step": step,
        "steps": stack.steps,
        "runs": len(stack.places),
        "ended": counts[FINISHED] + counts[DIVERGED],
        "running": counts[RUNNING],
        "params": members[0].sizes["params"] if members else None,
    }


def _slots(stack: StackShown, steps: dict[str, int], here: State) -> dict:
    status = {run_id: run.status for run_id, run in here.runs.items()}
    places = [[p.slot, p.start, p.stop, p.run_id, status.get(p.run_id, QUEUED)] for p in stack.places[:MOST_PLACES]]
    left_out = max(0, len(stack.places) - MOST_PLACES)
    shown = {"stack": stack.name, "step": steps[stack.name], "steps": stack.steps, "slots": stack.slots}
    return {**shown, "places": places, "left_out": left_out}


def _diverged(here: State) -> list[dict]:
    found = [run for run in here.runs.values() if run.status == DIVERGED]
    return [{"run": run.run_id, "kind": "diverged", "text": f"diverged at step {run.diverged_at:,}"} for run in found]


def _drifting(judged: Sequence[Judged], loss: str) -> list[dict]:
    found = []
    for each in judged:
        if each.drifts:
            new = each.newest
            text = (
                f"{UNITS[loss]} {new.loss:.4g} at step {new.step:,}; {new.peers} other seeds predict "
                f"{new.expected:.4g} there: {_percent(new.off)}, and the limit is {_limit(new.limit)}"
            )
            found.append({"run": each.run_id, "kind": "off the other seeds", "text": text})
    return found


def _missed(misses: Sequence[Miss], loss: str) -> list[dict]:
    return [
        {
            "run": miss.run_id,
            "kind": "off the forecast",
            "text": f"ended at {UNITS[loss]} {miss.loss:.4g}; the law that stood before predicted "
            f"{miss.predicted:.4g}: {_percent(miss.off)}, and the limit is {_limit(miss.limit)}",
        }
        for miss in misses
    ]


def _percent(off: float) -> str:
    return f"{abs(math.expm1(off)):.1%} {'above' if off > 0 else 'below'}"


def _limit(limit: float) -> str:
    return f"{-math.expm1(-limit):.1%} below or {math.expm1(limit):.1%} above"


def _judging(verdicts: Verdicts) -> dict:
    """How many verdicts there are, and why there are no more."""
    reasons = Counter(each.why_not for each in verdicts.judged if each.why_not)
    return {
        "under_way": len(verdicts.judged),
        "compared": sum(each.newest is not None for each in verdicts.judged),
        "why_not": [[why, count] for why, count in reasons.items()],
        "by_law": verdicts.by_law,
        "why_no_law": verdicts.why_no_law,
    }
