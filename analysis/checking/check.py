"""Do new runs lie on the forecast? Each is judged by its distance from the law, in absolute terms.

A run within .15 nats per token is as predicted. One beyond .4 most likely has a bug, not bad luck: a wrong learning
rate, a broken data pipeline, another tokenizer. The 90 % interval beside the prediction is narrower for a good law, so
it tells how surprising a distance is; the verdict does not depend on it.

The law is of finished runs, whose learning rate has been annealed. A run under way lies above it until its end. So it
is compared with the curves of finished runs of its size at the same tokens where these are at hand, and is otherwise
not judged for lying above the law.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from vsweep import schema
from vsweep.analysis.data.source import Source
from vsweep.analysis.planner.saved_law import AXES, Extrapolation, SavedLaw
from vsweep.analysis.uncertainty.intervals import LEVEL

WITHIN, BEYOND = 0.15, 0.4  # in the unit of the loss
AS_PREDICTED, OFF, BUG = "as predicted", "off the forecast", "look for a bug"
NOT_JUDGED = "not judged"
BY_LAW, BY_CURVES = "law", "curves"
SAME_SIZE = 0.01  # in log N
QUANTILES_OF_ONE_RUN = 51  # of the scatter about each resampled law
LEAST_FOR_SCATTER = 2  # curves
SAME_FLOOR = 1e-6  # nats/token


@dataclass(frozen=True)
class Checked:
    """One new run: N, D, its loss and the predicted one with the range in which one run falls (None if unknown).

    `by` says what it was compared with, `law` or `curves`. `deviation` is actual less predicted, in the unit of the
    loss. `outside` says where the run lies beyond the fitted ones, `remark` what else must be known.
    """

    run_id: str
    status: str
    params: float
    tokens: float
    actual: float | None
    predicted: float | None
    low: float | None
    high: float | None
    deviation: float | None
    verdict: str
    by: str = BY_LAW
    outside: tuple[Extrapolation, ...] = ()
    remark: str = ""

    @property
    def inside(self) -> bool | None:
        """Whether the loss lies in the range; None where there is none, or no loss."""
        return None if self.actual is None or self.low is None else self.low <= self.actual <= self.high


@dataclass(frozen=True)
class Check:
    """All new runs, with the law and the limits by which they were judged. `notes` are sentences on how."""

    saved: SavedLaw
    runs: tuple[Checked, ...]
    within: float
    beyond: float
    notes: tuple[str, ...] = ()

    def count(self, verdict: str) -> int:
        """How many runs have this verdict."""
        return sum(run.verdict == verdict for run in self.runs)

    @property
    def passed(self) -> bool:
        """Whether no run is beyond the limit."""
        return not self.count(BUG)


def check(
    saved: SavedLaw, new: Source, *, within: float = WITHIN, beyond: float = BEYOND, curves: Source | None = None
) -> Check:
    """Every run of `new` against the law, in the order of the source.

    Args:
      within, beyond: the distances up to which a run is as predicted, and from which on to look for a bug, in the unit
        of the loss.
      curves: finished runs with their curves, for runs under way.

    Raises:
      ValueError: limits out of order, or losses that the law says nothing about.
    """
    if not 0 < within <= beyond < np.inf:
        raise ValueError(f"within, beyond: needed are 0 < within <= beyond - got {within} and {beyond}")
    loss = _loss_of(saved, new)
    if curves is not None and (not curves.is_workdir or curves.curves is None):
        raise ValueError(f"curves: {curves.path} has no curves - give a work directory with finished runs")
    runs = new.runs.assign(
        run_id=new.runs["run_id"].astype(str),
        N=new.runs[saved.size if new.is_workdir else "params"].astype(float),
        D=pd.to_numeric(new.runs["tokens"]).astype(float),
        value=pd.to_numeric(new.runs[loss]).astype(float),
    )
    judge = _Judge(saved, within, beyond)
    kind = None if curves is None else _Kind.of(curves, saved)
    latest = _latest(new, loss)
    checked = tuple(_checked(judge, kind, run, latest.get(run["run_id"])) for run in runs.to_dict("records"))
    return Check(saved, checked, within, beyond, tuple(_notes(saved, new, checked, kind)))


def _loss_of(saved: SavedLaw, new: Source) -> str:
    """The column of `new` that the law predicts."""
    if new.loss_unit != saved.loss_unit:
        raise ValueError(
            f"{new.path}: its loss is in {new.loss_unit}, and the law is in {saved.loss_unit} - say --loss-unit"
        )
    if not new.is_workdir:
        return "loss"
    if saved.loss not in new.losses:
        raise ValueError(
            f"{new.path}: the law is of the loss of a table, and a sweep has {', '.join(new.losses)} - write the one "
            "that is meant as a table (command `table`, --loss) and check that"
        )
    floor = pd.to_numeric(new.runs["floor"]).median()
    if saved.floor_value and np.isfinite(floor) and abs(floor - saved.floor_value) > SAME_FLOOR:
        raise ValueError(
            f"{new.path}: no loss can be below {floor:.6g} nats/token there, and below {saved.floor_value:.6g} for the "
            "runs of the law, so these are losses of different tasks"
        )
    return saved.loss


def _latest(new: Source, loss: str) -> dict[str, tuple[float, float]]:
    """(tokens, loss) of the last evaluation of each run that has a curve."""
    if new.curves is None:
        return {}
    curves = new.curves.assign(value=pd.to_numeric(new.curves[loss]), tokens=new.curves["tokens"].astype(float))
    curves = curves[np.isfinite(curves["value"].astype(float))].sort_values("tokens")
    last = curves.groupby(curves["run_id"].astype(str)).tail(1)
    return {str(run): (float(d), float(value)) for run, d, value in last[["run_id", "tokens", "value"]].to_numpy()}


def _checked(judge: "_Judge", kind: "_Kind | None", run: dict, latest: tuple[float, float] | None) -> Checked:
    status, (tokens, value) = run["status"], (run["D"], run["value"])
    start = (run["run_id"], status, run["N"])
    if status == schema.DIVERGED:
        nothing = (None if np.isnan(value) else value, None, None, None, None)
        return Checked(*start, tokens, *nothing, BUG, remark="it diverged")
    if status == schema.FINISHED:
        if not (np.isfinite(value) and tokens > 0):
            return Checked(*start, tokens, *[None] * 5, NOT_JUDGED, remark="no loss or no tokens are recorded")
        return judge.by_law(start, tokens, value)
    tokens, value = latest or (tokens, value)
    if not (np.isfinite(value) and tokens > 0):
        return Checked(*start, tokens, *[None] * 5, NOT_JUDGED, remark="it has no loss yet")
    if kind is not None:
        found = kind.losses_at(run["N"], run.get("budget", np.nan), tokens)
        if len(found):
            return judge.by_curves(start, tokens, value, found)
    return judge.under_way(start, tokens, value, has_curves=kind is not None)


@dataclass(frozen=True)
class _Judge:
    saved: SavedLaw
    within: float
    beyond: float

    def verdict(self, deviation: float) -> str:
        if abs(deviation) <= self.within:
            return AS_PREDICTED
        return BUG if abs(deviation) > self.beyond else OFF

    def by_law(self, start: tuple, tokens: float, actual: float) -> Checked:
        """A finished run against L(N, D)."""
        params = start[-1]
        predicted = float(self.saved.law.loss(params, tokens))
        range_ = range_of_one_run(self.saved, params, tokens) or (None, None)
        off = actual - predicted
        outside = tuple(outside_of(self.saved, start[0], params, tokens))
        return Checked(*start, tokens, actual, predicted, *range_, off, self.verdict(off), outside=outside)

    def under_way(self, start: tuple, tokens: float, actual: float, *, has_curves: bool) -> Checked:
        """A run under way against the law of annealed runs: to lie above it says nothing."""
        checked = self.by_law(start, tokens, actual)
        above = checked.deviation > self.within
        remark = "under way, and the law is of annealed runs"
        remark += "; no curve of its size reaches its tokens" if has_curves else ""
        verdict = NOT_JUDGED if above else checked.verdict
        return Checked(**{**vars(checked), "verdict": verdict, "remark": remark})

    def by_curves(self, start: tuple, tokens: float, actual: float, losses: np.ndarray) -> Checked:
        """A run under way against the losses [n] of finished runs of its size after the same tokens."""
        logs = np.log(losses)
        predicted, range_ = float(np.exp(logs.mean())), (None, None)
        if len(losses) >= LEAST_FOR_SCATTER:
            # The range of one more run of a normal sample of n (the prediction interval).
            reach = special.stdtrit(len(losses) - 1, (1 + LEVEL) / 2) * logs.std(ddof=1) * np.sqrt(1 + 1 / len(losses))
            range_ = tuple(float(predicted * np.exp(side * reach)) for side in (-1, 1))
        off = actual - predicted
        remark = f"under way, against {len(losses)} curve{'s' * (len(losses) > 1)} of finished runs"
        return Checked(*start, tokens, actual, predicted, *range_, off, self.verdict(off), BY_CURVES, (), remark)


def range_of_one_run(saved: SavedLaw, params: float, tokens: float) -> tuple[float, float] | None:
    """The 90 % range of one run: the scatter of runs about each resampled law; None where neither is known."""
    laws = saved.law if saved.resamples is None else saved.resamples
    losses = np.atleast_1d(laws.loss(params, tokens))
    if saved.residual_sd_log is None and saved.resamples is None:
        return None
    scatter = special.ndtri((np.arange(QUANTILES_OF_ONE_RUN) + 0.5) / QUANTILES_OF_ONE_RUN)
    one_run = np.exp((saved.residual_sd_log or 0.0) * scatter) * losses[:, None]
    low, high = np.quantile(one_run, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def outside_of(saved: SavedLaw, run: str, params: float, tokens: float) -> list[Extrapolation]:
    """On which of N, D and C (counted as 6ND) a run lies beyond those that the law was fitted to, and how far."""
    values = {"params": params, "tokens": tokens}
    if saved.flops == "flops_6nd":
        values["flops"] = 6 * params * tokens
    found = []
    for axis, value in values.items():
        low, high = saved.ranges.get(axis, (value, value))
        if value > high * (1 + 1e-9):
            found.append(Extrapolation(run, AXES[axis], value, high, value / high, above=True))
        elif value < low * (1 - 1e-9):
            found.append(Extrapolation(run, AXES[axis], value, low, low / value, above=False))
    return found


@dataclass(frozen=True)
class _Kind:
    """Curves of finished runs: rows of run_id, tokens, value, with N and the budget of their run."""

    curves: pd.DataFrame

    @classmethod
    def of(cls, source: Source, saved: SavedLaw) -> "_Kind":
        loss = _loss_of(saved, source)
        done = source.runs[source.runs["status"] == schema.FINISHED]
        runs = done[["run_id", "budget"]].assign(N=done[saved.size].astype(float))
        curves = source.curves[["run_id", "tokens"]].assign(value=pd.to_numeric(source.curves[loss]).astype(float))
        curves = curves.merge(runs, on="run_id")
        good = np.isfinite(curves["value"]) & (curves["value"] > 0) & (curves["tokens"] > 0)
        return cls(curves[good].sort_values("tokens"))

    def losses_at(self, params: float, budget: float, tokens: float) -> np.ndarray:
        """The losses [n] after `tokens` of the runs of this size: of its budget, or else of the next larger one.

        Curves are interpolated in log tokens and log loss. They are never continued beyond their ends.
        """
        same = self.curves[np.abs(np.log(self.curves["N"] / params)) < SAME_SIZE]
        budgets = np.unique(same["budget"].astype(float))
        fitting = budgets[budgets >= (budget if np.isfinite(budget) else tokens) * (1 - SAME_SIZE)]
        if not len(fitting):
            return np.empty(0)
        same = same[same["budget"].astype(float) == fitting[0]]
        found = []
        for _, curve in same.groupby("run_id"):
            x = np.log(curve["tokens"].to_numpy(float))
            if x[0] <= np.log(tokens) <= x[-1]:
                found.append(np.exp(np.interp(np.log(tokens), x, np.log(curve["value"].to_numpy(float)))))
        return np.array(found)


def _notes(saved: SavedLaw, new: Source, checked: tuple[Checked, ...], kind: _Kind | None) -> list[str]:
    notes = list(new.notes)
    if not new.is_workdir and saved.loss != "loss":
        notes.append(f"The law is of {saved.loss}, so the loss of the table must be that loss too.")
    if not new.is_workdir and saved.size != "params":
        notes.append("The law counts N without embeddings, so the N of the table must be counted in the same way.")
    under_way = [run for run in checked if run.status not in (schema.FINISHED, schema.DIVERGED)]
    if under_way and kind is None and any(run.predicted is not None for run in under_way):
        notes.append(
            "Runs under way are compared with L(N, D) at their present tokens. That law is of annealed runs, and a run "
            "is annealed only at its end, so one that lies above it is not judged. Give --curves WORKDIR to compare "
            "with finished runs of the same size at the same tokens."
        )
    return notes
