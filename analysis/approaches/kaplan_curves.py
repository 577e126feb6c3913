"""Loss curves as Kaplan et al. 2020 read them: the line under them, its rivals, and the kink of each curve.

Here N leaves the embeddings out, C = 6 N D, and the loss has no floor (E = 0). The line under the curves is fitted to
the vertices of their lower hull. A line through two corners, which many lessons draw, has the noise of two points.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vsweep.analysis.approaches import compute_frontier
from vsweep.analysis.approaches.compute_frontier import PF_DAY, ComputeLine
from vsweep.analysis.approaches.critical_batch import MinimalCompute
from vsweep.analysis.data.source import Refusal
from vsweep.analysis.fitting.breaks import NEGLIGIBLE_LOG, Curve, OneVariableLaw, judge
from vsweep.analysis.fitting.one_variable import Broken, PowerOffset

COLUMNS = ("run_id", "size", "params", "tokens", "flops", "loss")
RESAMPLES = 200
MIN_RUNS = 5  # below, a resample of whole curves says nothing
FIRST_SHARE = 1 / 30  # of a run's tokens, before which the line does not look: the first learning of single tokens
WARMUP_SHARE = 1 / 100  # of a run's tokens, before which no kink is sought
CLOSER = 2.0  # how many times closer a law with a break must be
# L(C) of Kaplan et al. 2020 for WebText2 and GPT-2's tokens, C without embeddings in PF-days.
PUBLISHED_BEST_BATCH = (2.3e8, 0.050)  # figure 1: C at a batch far below the critical one
PUBLISHED_EQUAL_BATCH = (1.6e7, 0.057)  # table 5, "naive": C as spent, all runs at one batch size


@dataclass(frozen=True)
class Corners:
    """L = (C / C0)^-a through the point of least compute and the point of most compute."""

    a: float
    C0: float

    def loss(self, flops: np.ndarray) -> np.ndarray:
        """L(C) [m] in nats/token at `flops` [m]."""
        return np.power(np.asarray(flops, float) / self.C0, -self.a)


@dataclass(frozen=True)
class Kink:
    """Where one curve of loss against tokens breaks: log-log slopes -`before` and -`after`, the break in `tokens`.

    The curve is b x^-before (1 + (x / tokens)^(1 / f))^(-(after - before) f), `bend` being f: a kink for a small one.
    `loss` is that of the curve at the break. `shown` is whether a power law with an offset misses the curve by more
    than half a percent, and by twice as much as one with a break. A curve that only bends towards a floor has two
    slopes as well, but no kink.
    """

    run_id: str
    size: float
    tokens: float
    loss: float
    before: float
    after: float
    b: float
    bend: float
    shown: bool

    def curve(self, tokens: np.ndarray) -> np.ndarray:
        """The broken power law at `tokens` [m], in nats/token."""
        passed = np.logaddexp(0, np.log(tokens / self.tokens) / self.bend)
        return self.b * tokens**-self.before * np.exp(-(self.after - self.before) * self.bend * passed)

    def slopes(self, tokens: np.ndarray) -> np.ndarray:
        """The two straight lines of a log-log figure, which meet at the break, at `tokens` [m]."""
        slope = np.where(tokens < self.tokens, self.before, self.after)
        return self.b * self.tokens**-self.before * (tokens / self.tokens) ** -slope


@dataclass(frozen=True)
class KaplanCurves:
    """What the loss curves [evaluations] say in Kaplan's reading. `curves` has `COLUMNS`; `used` of them are fitted.

    `low` and `high` bound the slope -a over resamples of whole curves, None where there are too few of them.
    """

    curves: pd.DataFrame
    used: pd.Series
    line: ComputeLine
    corners: Corners
    low: float | None
    high: float | None
    resamples: int
    kinks: tuple[Kink, ...]
    minimal: MinimalCompute | Refusal | None = None  # the same line against C_min; None: nobody asked

    @property
    def shown_kinks(self) -> list[Kink]:
        """The kinks that a forecast confirms."""
        return [kink for kink in self.kinks if kink.shown]


def fit(curves: pd.DataFrame, used: pd.Series | None = None, *, level: float = 0.9) -> KaplanCurves | Refusal:
    """The line under loss curves, its interval, and the kinks.

    Args:
      curves: the columns `COLUMNS`, a row an evaluation: `params` without embeddings, `flops` in FLOP, loss in nats.
      used: which rows the line is fitted to; by default those after the first thirtieth of each run.
      level: the share that the interval covers.
    """
    curves = curves.sort_values(["size", "run_id", "tokens"], kind="stable")
    after_warmup = _after(WARMUP_SHARE, curves) if used is None else used.reindex(curves.index)
    used = _after(FIRST_SHARE, curves) if used is None else used.reindex(curves.index)
    fitted = curves[used]
    line = compute_frontier.fit(fitted["flops"].to_numpy(), fitted["loss"].to_numpy())
    if isinstance(line, Refusal):
        return line
    slopes = np.array(list(_resampled_slopes(fitted)))
    bounds = np.quantile(slopes, [0.5 - level / 2, 0.5 + level / 2]) if len(slopes) else (None, None)
    return KaplanCurves(curves, used, line, _corners(fitted), *bounds, len(slopes), tuple(_kinks(curves[after_warmup])))


def _after(share: float, curves: pd.DataFrame) -> pd.Series:
    return curves["tokens"] > share * curves.groupby("run_id")["tokens"].transform("max")


def _corners(fitted: pd.DataFrame) -> Corners:
    """The highest loss at the least compute, and the lowest loss at the most."""
    ordered = fitted.sort_values(["flops", "loss"], ascending=[True, False])
    (first_c, first_l), (last_c, last_l) = np.log(ordered[["flops", "loss"]].iloc[[0, -1]].to_numpy(float))
    a = -(last_l - first_l) / (last_c - first_c)
    return Corners(float(a), float(np.exp(first_c + first_l / a)))


def _resampled_slopes(fitted: pd.DataFrame) -> Iterator[float]:
    """Slopes -a of the line under whole curves, drawn with replacement. The same draws every time."""
    runs = [run[["flops", "loss"]].to_numpy(float) for _, run in fitted.groupby("run_id")]
    if len(runs) < MIN_RUNS:
        return
    rng = np.random.default_rng(0)
    for _ in range(RESAMPLES):
        drawn = np.unique(rng.integers(len(runs), size=len(runs)))  # a curve twice is the same hull
        flops, loss = np.concatenate([runs[at] for at in drawn]).T
        line = compute_frontier.fit(flops, loss)
        if not isinstance(line, Refusal):
            yield -line.a


def _kinks(fitted: pd.DataFrame) -> Iterator[Kink]:
    """Of the longest run of each size; E = 0, so that slopes are those which a log-log figure shows."""
    runs = [_longest(of_size) for _, of_size in fitted.groupby("size")]
    curves = [Curve.of(run["tokens"].to_numpy(float), run["loss"].to_numpy(float)) for run in runs]
    without_offset, with_offset = judge(curves, floor=0.0), judge(curves)
    for run, curve, laws, rivals in zip(runs, curves, without_offset, with_offset, strict=True):
        values = next(law for law in laws if law.law == Broken.name).values
        if not values or not curve.x.min() < values["d1"] < curve.x.max():
            continue
        at = float(np.exp(np.interp(np.log(values["d1"]), np.log(curve.x), np.log(curve.loss))))
        run_id, size = run["run_id"].iloc[0], float(run["size"].iloc[0])
        form = values["c0"], values["c0"] + values["c1"], values["b"], values["f1"]
        yield Kink(run_id, size, values["d1"], at, *form, shown=_breaks(rivals))


def _breaks(rivals: Sequence[OneVariableLaw]) -> bool:
    power, broken = (next(law for law in rivals if law.law == form.name) for form in (PowerOffset, Broken))
    if not (power.fitted and broken.fitted):
        return False
    return power.scatter_log > max(NEGLIGIBLE_LOG, CLOSER * broken.scatter_log)


def _longest(of_size: pd.DataFrame) -> pd.DataFrame:
    """The run with the most tokens; of several the first by name."""
    last = of_size.groupby("run_id")["tokens"].max()
    return of_size[of_size["run_id"] == last.idxmax()]


def published(flops: np.ndarray, law: tuple[float, float]) -> np.ndarray:
    """L(C) [m] of one of the two published lines at `flops` [m], in nats per token of GPT-2."""
    scale, exponent = law
    return np.power(np.asarray(flops, float) / (scale * PF_DAY), -exponent)
