"""The critical batch size, and the compute C_min that the same losses would have cost at batches far below it.

Runs of one model at several batch sizes B reach a loss L after S steps and E = B S tokens, with
(S / S_min - 1) (E / E_min - 1) = 1 (McCandlish et al. 2018, eq. 2.11; Kaplan et al. 2020, section 5.1), which is
E = E_min + S_min B. So B_crit(L) = E_min / S_min, taken to follow B* / L^(1 / alpha_B) (Kaplan, eq. 5.3), and
C_min = C / (1 + B / B_crit(L)) (eq. 5.5). B_crit is taken to depend on the loss alone, and not on the size.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression, minimize_scalar

from vsweep.analysis.approaches import compute_frontier
from vsweep.analysis.approaches.compute_frontier import ComputeLine
from vsweep.analysis.data.source import Refusal

METHOD = "c_min"
COLUMNS = ("run_id", "steps", "tokens", "loss")  # of an evaluation
LEVELS = 8
MIN_LEVELS = 3  # to fit B_crit(L) to
MIN_BATCHES = 4  # two parameters a level, and a rival with two
SEARCHED = 100.0  # how far outside the batch sizes a B_crit is sought
BEYOND = 3.0  # how far outside one may lie: further, the curves are straight for all of them
CLOSER = 1.5  # how many times closer than a power of B the equation must be
MOST_MISFIT_LOG = 0.1  # of E: beyond, the equation does not describe the curves
FIRST_SHARE = 1 / 100  # of a run's tokens, before which no level is sought: the warmup
RESAMPLES = 200
MOST_FAILED = 0.25  # of the resamples: beyond, the runs cannot tell


@dataclass(frozen=True)
class CriticalBatch:
    """B_crit(L) = B_star / L^(1 / alpha_B), in tokens, L in nats per token.

    `levels` has a row a loss: loss, S_min (steps), E_min (tokens), B_crit (tokens), batches (how many reach it).
    `misfit_log` is the root-mean-square distance of log E from the equation, `rival_log` that from E ~ B^p.
    """

    B_star: float
    alpha_B: float
    levels: pd.DataFrame
    batches: tuple[float, ...]
    misfit_log: float
    rival_log: float

    def at(self, loss: np.ndarray) -> np.ndarray:
        """B_crit [m] in tokens at losses [m]."""
        return self.B_star * np.asarray(loss, float) ** (-1 / self.alpha_B)

    def c_min(self, flops: np.ndarray, loss: np.ndarray, batch_tokens: np.ndarray) -> np.ndarray:
        """C_min [m] in FLOP of points [m] that spent `flops` at batches of `batch_tokens`."""
        return np.asarray(flops, float) / (1 + np.asarray(batch_tokens, float) / self.at(loss))


@dataclass(frozen=True)
class MinimalCompute:
    """The line under all loss curves against C_min. `curves` has the columns c_min and batch_tokens too.

    `low` and `high` bound the slope -a over resamples of whole runs, of the batch sizes and of the curves.
    """

    critical: CriticalBatch
    curves: pd.DataFrame
    line: ComputeLine
    low: float
    high: float
    resamples: int


def fit(curves: pd.DataFrame) -> CriticalBatch | Refusal:
    """B_crit(L) from runs of one model that differ in their batch size alone.

    Args:
      curves: the columns `COLUMNS`, a row an evaluation; the batch of a run is tokens / steps.
    """
    return _of_runs(_runs(curves))


def _runs(curves: pd.DataFrame) -> list["_Run"]:
    return [_Run.of(run) for _, run in curves.groupby("run_id")]


def _of_runs(runs: list["_Run"]) -> CriticalBatch | Refusal:
    sizes = {run.batch_name for run in runs}
    if len(sizes) < MIN_BATCHES:
        return Refusal(METHOD, f"{_count(len(sizes))} at one model size; {MIN_BATCHES} are needed")
    levels = _levels(runs)
    if levels is None:
        return Refusal(METHOD, f"no loss is reached at {MIN_BATCHES} batch sizes after the warmup")
    fits = [_Level.of(loss, runs) for loss in levels]
    misfit, rival = (float(np.sqrt(np.mean([getattr(f, name) for f in fits]))) for name in ("misfit", "rival"))
    if misfit > MOST_MISFIT_LOG:
        return Refusal(METHOD, f"steps against tokens miss the equation of a critical batch by {100 * misfit:.0f} %")
    known = [f for f in fits if f.known]
    if len(known) < MIN_LEVELS:
        why = f"B_crit lies among the batch sizes at {len(known)} of {len(fits)} losses; {MIN_LEVELS} are needed"
        return Refusal(METHOD, why)
    if rival < CLOSER * misfit:
        return Refusal(METHOD, "cannot tell: tokens as a power of the batch size fit nearly as well")
    table = pd.DataFrame([f.row() for f in known])
    weights = [f.weight for f in known]
    slope, intercept = np.polyfit(np.log(table["loss"]), np.log(table["B_crit"]), 1, w=weights)
    if slope >= 0:
        return Refusal(METHOD, "cannot tell: B_crit does not grow as the loss falls")
    batches = tuple(sorted({run.batch for run in runs}))
    return CriticalBatch(float(np.exp(intercept)), float(-1 / slope), table, batches, misfit, rival)


def minimal_compute(
    curves: pd.DataFrame, used: pd.Series, study: pd.DataFrame, *, level: float = 0.9, resamples: int = RESAMPLES
) -> MinimalCompute | Refusal:
    """The line under loss curves against C_min.

    Args:
      curves: `COLUMNS` and flops, a row an evaluation of all sizes; `used` says which rows the line is fitted to.
      study: `COLUMNS`, of runs of one size at several batch sizes.
      level: the share that the interval covers.
      resamples: of whole runs, for the interval.
    """
    critical = fit(study)
    if isinstance(critical, Refusal):
        return critical
    whole = _with_c_min(curves, critical)
    line = compute_frontier.fit(whole.loc[used, "c_min"], whole.loc[used, "loss"])
    if isinstance(line, Refusal):
        return Refusal(METHOD, line.reason)
    slopes = list(_resampled_slopes(curves[used], study, resamples))
    failed = sum(slope is None for slope in slopes)
    if not slopes or failed > MOST_FAILED * len(slopes):
        return Refusal(METHOD, f"cannot tell: {failed} of {len(slopes)} resamples of whole runs have no B_crit or line")
    bounds = np.quantile([slope for slope in slopes if slope is not None], [0.5 - level / 2, 0.5 + level / 2])
    return MinimalCompute(critical, whole, line, *map(float, bounds), len(slopes) - failed)


def _with_c_min(curves: pd.DataFrame, critical: CriticalBatch) -> pd.DataFrame:
    batch = curves["tokens"] / curves["steps"]
    return curves.assign(batch_tokens=batch, c_min=critical.c_min(curves["flops"], curves["loss"], batch))


def _count(batches: int) -> str:
    return "batch sizes do not vary" if batches < 2 else f"{batches} batch sizes"


@dataclass(frozen=True)
class _Run:
    """The falling part of a curve: log steps at log losses, rising for `np.interp`."""

    batch: float
    log_loss: np.ndarray
    log_steps: np.ndarray

    @classmethod
    def of(cls, run: pd.DataFrame) -> "_Run":
        run = run[run["tokens"] > FIRST_SHARE * run["tokens"].max()].sort_values("steps")
        falling = isotonic_regression(np.log(run["loss"].to_numpy(float)), increasing=False).x
        log_loss, first = np.unique(falling, return_index=True)  # of equal ones the one that came first
        batch = float(run["tokens"].iloc[-1] / run["steps"].iloc[-1])
        return cls(batch, log_loss, np.log(run["steps"].to_numpy(float)[first]))

    @property
    def batch_name(self) -> str:
        """Label tokens of a batch may vary by less than a hundredth."""
        return f"{self.batch:.2g}"

    def reaches(self, loss: float) -> bool:
        """Whether a loss lies on the curve."""
        return bool(self.log_loss[0] <= np.log(loss) <= self.log_loss[-1])

    def steepness(self, loss: float) -> float:
        """How much log loss falls with log steps around a loss, over a tenth of the curve because of noise."""
        reach = 0.05 * (self.log_loss[-1] - self.log_loss[0])
        ends = np.clip(np.log(loss) + np.array([-reach, reach]), self.log_loss[0], self.log_loss[-1])
        steps = np.interp(ends, self.log_loss, self.log_steps)
        return float((ends[1] - ends[0]) / max(steps[0] - steps[1], 1e-9))

    def tokens_to(self, loss: float) -> float:
        """E: tokens after which the loss was reached."""
        return self.batch * float(np.exp(np.interp(np.log(loss), self.log_loss, self.log_steps)))


def _levels(runs: list[_Run]) -> np.ndarray | None:
    """Losses [LEVELS], log-spaced, which enough batch sizes reach; None where there are none."""
    by_batch: dict[str, list[_Run]] = {}
    for run in runs:
        by_batch.setdefault(run.batch_name, []).append(run)
    ends = sorted(min(run.log_loss[0] for run in of) for of in by_batch.values())
    starts = sorted((max(run.log_loss[-1] for run in of) for of in by_batch.values()), reverse=True)
    low, high = ends[MIN_BATCHES - 1], starts[MIN_BATCHES - 1]
    levels = np.exp(np.linspace(low, high, LEVELS + 2)[1:-1]) if low < high else np.zeros(0)
    enough = [len({run.batch_name for run in runs if run.reaches(loss)}) >= MIN_BATCHES for loss in levels]
    return levels[enough] if any(enough) else None


@dataclass(frozen=True)
class _Level:
    """What runs that reach a loss say: E = S_min (B_crit + B), and E ~ B^p; mean squared distances of log E."""

    loss: float
    s_min: float
    b_crit: float
    batches: int
    misfit: float
    rival: float
    known: bool
    weight: float  # the steepness of the curves: where they are flat, noise moves the steps most

    @classmethod
    def of(cls, loss: float, runs: list[_Run]) -> "_Level":
        reached = [run for run in runs if run.reaches(loss)]
        batch = np.array([run.batch for run in reached])
        log_e = np.log([run.tokens_to(loss) for run in reached])

        def spread(log_b: float) -> float:
            return float(np.var(log_e - np.log(batch + np.exp(log_b))))

        bounds = np.log(batch.min() / SEARCHED), np.log(batch.max() * SEARCHED)
        found = minimize_scalar(spread, bounds=bounds, method="bounded", options={"xatol": 1e-6})
        b_crit = float(np.exp(found.x))
        s_min = float(np.exp(np.mean(log_e - np.log(batch + b_crit))))
        power = np.polyval(np.polyfit(np.log(batch), log_e, 1), np.log(batch))
        rival = float(np.mean((log_e - power) ** 2))
        inside = batch.min() / BEYOND < b_crit < batch.max() * BEYOND
        weight = float(np.mean([run.steepness(loss) for run in reached]))
        return cls(loss, s_min, b_crit, len(set(batch)), float(found.fun), rival, inside, weight)

    def row(self) -> dict[str, float]:
        """Of the table of levels."""
        e_min = self.s_min * self.b_crit
        return {
            "loss": self.loss,
            "S_min": self.s_min,
            "E_min": e_min,
            "B_crit": self.b_crit,
            "batches": self.batches,
        }


def _resampled_slopes(curves: pd.DataFrame, study: pd.DataFrame, resamples: int) -> Iterator[float | None]:
    """Slopes -a from whole runs, drawn with replacement; None where a draw has no B_crit or no line."""
    rng = np.random.default_rng(0)
    runs = _runs(study)
    table = curves.assign(batch=curves["tokens"] / curves["steps"])
    points = [of[["flops", "loss", "batch"]].to_numpy(float).T for _, of in table.groupby("run_id")]
    for _ in range(resamples):
        drawn = rng.choice(len(runs), len(runs))
        while len({runs[at].batch_name for at in drawn}) < MIN_BATCHES:  # says nothing of the others
            drawn = rng.choice(len(runs), len(runs))
        critical = _of_runs([runs[at] for at in drawn])
        if isinstance(critical, Refusal):
            yield None
            continue
        chosen = np.unique(rng.integers(len(points), size=len(points)))  # a curve twice is the same hull
        flops, loss, batch = np.concatenate([points[at] for at in chosen], axis=1)
        line = compute_frontier.fit(critical.c_min(flops, loss, batch), loss)
        yield None if isinstance(line, Refusal) else -line.a
