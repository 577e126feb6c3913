"""Why Kaplan et al. 2020 and Hoffmann et al. 2022 disagree, on these runs.

Kaplan et al. (a = .73) left the embeddings out and read the losses of small budgets off one long schedule; Hoffmann et
al. (a = .50) counted all parameters and annealed each run to its own budget. Either choice can be made on the runs of
one sweep, one by one, as Porian et al. 2024 did with theirs. What embeddings alone do also follows from a law in closed
form (Pearce and Song 2024).
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from vsweep.analysis.approaches import envelope, isoflop, parametric
from vsweep.analysis.approaches.parametric import Law
from vsweep.analysis.data.points import Points, select
from vsweep.analysis.data.source import SIZE_CONVENTIONS, Convention, Refusal, Source
from vsweep.analysis.plotting import APPROACHES
from vsweep.analysis.uncertainty.approach import Fit, fit, fit_parametric
from vsweep.analysis.uncertainty.estimates import quantities

METHOD = "conventions"
ALL, WITHOUT = SIZE_CONVENTIONS
SIZE_LABELS = {ALL: "all parameters", WITHOUT: "without embeddings"}
# The envelope is how Kaplan et al. read their curves; the others stand in where it has too few annealed winners.
GAP_METHODS = (envelope.METHOD, isoflop.PARABOLA, isoflop.AKIMA, parametric.METHOD)
LEVELS, PATH_LEVELS = 50, 2_000


@dataclass(frozen=True)
class Gap:
    """The exponent a by one approach in four ways: which parameters count, and whether each run annealed by itself.

    The first of each name is of N, the second of the schedule; C = 6ND with that N.
    """

    method: str
    without_one_schedule: float
    all_one_schedule: float
    without_annealed: float
    all_annealed: float

    @property
    def kaplan(self) -> float:
        return self.without_one_schedule

    @property
    def chinchilla(self) -> float:
        return self.all_annealed

    @property
    def embeddings_in_order(self) -> tuple[float, float]:
        """What counting the embeddings adds to a: as the first of the two steps, and as the second."""
        return self.all_one_schedule - self.without_one_schedule, self.all_annealed - self.without_annealed

    @property
    def annealing_in_order(self) -> tuple[float, float]:
        """What annealing each run to its own budget adds to a: as the first of the two steps, and as the second."""
        return self.without_annealed - self.without_one_schedule, self.all_annealed - self.all_one_schedule

    @property
    def by_embeddings(self) -> float:
        """What counting the embeddings adds to a, the mean over both orders of the two steps."""
        return sum(self.embeddings_in_order) / 2

    @property
    def by_annealing(self) -> float:
        """What annealing each run to its own budget adds to a, the mean over both orders of the two steps."""
        return sum(self.annealing_in_order) / 2

    @property
    def split(self) -> str:
        """How the difference divides into the two choices; no mean where the two orders differ in sign."""
        embeddings, annealing = self.embeddings_in_order, self.annealing_in_order
        if min(embeddings[0] * embeddings[1], annealing[0] * annealing[1]) >= 0:
            return (
                f"counting embeddings explains {self.by_embeddings:+.3f} and annealing {self.by_annealing:+.3f} "
                f"({APPROACHES[self.method][0]}; means over both orders)"
            )
        return (
            "no single share belongs to either choice, because its sign depends on their order: counting embeddings "
            f"explains {embeddings[0]:+.3f} and then annealing {annealing[1]:+.3f}, or annealing {annealing[0]:+.3f} "
            f"and then counting embeddings {embeddings[1]:+.3f} ({APPROACHES[self.method][0]})"
        )


@dataclass(frozen=True)
class Embeddings:
    """What leaving out the embeddings does to a by closed form: N_total = N + omega N^power, fitted to the sizes.

    `a` is of the parametric law with all parameters; `predicted` is what it implies for N without embeddings against
    6ND with that N, over the compute at which the best size is one of those trained; `fitted` is what a law fitted to
    that N says. They agree only nearly, for a power law of N_total is none of N.
    """

    omega: float
    power: float
    a: float
    predicted: float
    fitted: float

    @property
    def sentence(self) -> str:
        """What counting embeddings explains, as one sentence."""
        return (
            f"The law with all parameters has a = {self.a:.3f}; with N_total = N + {self.omega:.3g} N^{self.power:.2f} "
            f"it follows that N without embeddings grows as C^{self.predicted:.3f}, and a law fitted to that N says "
            f"{self.fitted:.3f}."
        )


@dataclass(frozen=True)
class Disagreement:
    """Kaplan's way against Chinchilla's on the same runs: one gap an approach, and the closed form."""

    gaps: tuple[Gap | Refusal, ...]
    embeddings: Embeddings | Refusal

    @property
    def gap(self) -> Gap | None:
        """By the first approach that goes all four ways."""
        return next((gap for gap in self.gaps if isinstance(gap, Gap)), None)

    @property
    def sentence(self) -> str:
        """How much of the gap comes from which choice."""
        if self.gap is None:
            return f"Kaplan's way and Chinchilla's cannot be compared on these runs: {self.gaps[0].reason}."
        gap = self.gap
        return (
            f"Kaplan's way gives a = {gap.kaplan:.3f} on these runs: N without embeddings, and the losses of small "
            f"budgets read off the longest runs. Chinchilla's way gives a = {gap.chinchilla:.3f}: all parameters, and "
            f"each run annealed by itself. Of the difference of {gap.chinchilla - gap.kaplan:+.3f}, {gap.split}."
        )


def disagreement(source: Source, loss: str) -> Disagreement | Refusal:
    """Both ways, and both ways between them, on the sizes that were trained on the longest budget."""
    if not source.is_workdir:
        return Refusal(METHOD, "a table has one N and no loss curves: neither of Kaplan's choices can be made on it")
    annealed = {size: _with_longest(select(source, Convention(loss, size))) for size in SIZE_CONVENTIONS}
    one = {size: one_schedule(points) for size, points in annealed.items()}
    for found in one.values():
        if isinstance(found, Refusal):
            return found
    gaps = tuple(_gap(annealed, one, method) for method in GAP_METHODS)
    return Disagreement(gaps, embeddings(annealed[ALL], annealed[WITHOUT]))


def _with_longest(points: Points) -> Points:
    """The sizes that have a run of the longest budget."""
    table = points.table
    longest = table.loc[table["budget"] == table["budget"].max(), "size"]
    return points.where(table["size"].isin(longest))


def one_schedule(points: Points) -> Points | Refusal:
    """The same study as if only the longest run of each size had been trained: other losses are read off its curve.

    Each (size, budget) becomes the longest run of that size, cut where the shorter one ended: not annealed there.
    """
    if points.table.empty:
        return Refusal(METHOD, "no points")
    if points.curves is None:
        return Refusal(METHOD, "no loss curves: the losses of small budgets cannot be read off the longest runs")
    if points.table["budget"].nunique() < 2:
        return Refusal(METHOD, "one budget only: nothing can be read off a longer run")
    table, curves = points.table, points.curves.query("loss > 0 and steps > 0")
    longest = table[table["budget"] == table.groupby("size")["budget"].transform("max")].drop(columns="budget")
    missing = sorted(set(longest["run_id"]) - set(curves["run_id"]))
    if missing:
        return Refusal(METHOD, f"{missing[0]} has no loss curve: no loss of a small budget can be read off it")
    cuts = longest.merge(curves.groupby(["size", "budget"])["steps"].max().rename("end").reset_index(), on="size")
    cuts["cut_id"] = cuts["run_id"] + " cut at " + cuts["budget"].map("{:g}".format)
    cuts = cuts.assign(**_at_cuts(curves, cuts))
    before = curves.drop(columns="budget").merge(cuts[["run_id", "cut_id", "budget", "end"]], on="run_id")
    before = before[before["steps"] < before["end"]]
    found = pd.concat([before, cuts.assign(steps=cuts["end"])])[[*curves.columns, "cut_id"]]
    return replace(points, table=_renamed(cuts)[table.columns], curves=_renamed(found)[curves.columns])


def _at_cuts(curves: pd.DataFrame, cuts: pd.DataFrame) -> dict[str, np.ndarray]:
    """tokens, flops and loss of each run in `cuts` at its step `end`, the loss interpolated in log-log."""
    longest = curves[curves["run_id"].isin(cuts["run_id"])].sort_values("steps")
    columns = ("steps", "tokens", "flops", "loss")
    runs = {name: {column: run[column].to_numpy() for column in columns} for name, run in longest.groupby("run_id")}
    at = [(float(end), runs[name]) for name, end in zip(cuts["run_id"], cuts["end"], strict=True)]
    found = {
        name: np.array([np.interp(end, run["steps"], run[name]) for end, run in at]) for name in ("tokens", "flops")
    }
    log_loss = [np.interp(np.log(end), np.log(run["steps"]), np.log(run["loss"])) for end, run in at]
    return {**found, "loss": np.exp(log_loss)}


def _renamed(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="run_id").rename(columns={"cut_id": "run_id"}).reset_index(drop=True)


def _gap(annealed: dict[str, Points], one: dict[str, Points], method: str) -> Gap | Refusal:
    found = {}
    for way, sets in (("one_schedule", one), ("annealed", annealed)):
        for name, size in (("without", WITHOUT), ("all", ALL)):
            fitted = _fit_way(sets[size], method, way == "annealed")
            if isinstance(fitted, Refusal):
                schedule = "each run annealed" if way == "annealed" else "one schedule"
                return Refusal(method, f"{SIZE_LABELS[size]}, {schedule}: {fitted.reason}")
            found[f"{name}_{way}"] = quantities(sets[size], fitted)["a"]
    return Gap(method, **found)


def _fit_way(points: Points, method: str, annealed: bool) -> Fit:
    # On one schedule nothing has annealed and whole curves are read; else an envelope counts annealed winners only.
    return envelope.fit(points, annealed_only=annealed) if method == envelope.METHOD else fit(points, method)


# Embeddings in closed form


def embeddings(with_all: Points, without: Points) -> Embeddings | Refusal:
    """What the law of all parameters says about N without embeddings, against what is fitted to that N."""
    laws = [fit_parametric(points) for points in (with_all, without)]
    for law in laws:
        if isinstance(law, Refusal):
            return law
    sizes = without.table[["run_id", "params"]].merge(with_all.table[["run_id", "params"]], on="run_id")
    sizes = sizes.set_axis(["run_id", "n", "total"], axis=1).drop_duplicates(["n", "total"])
    extra = sizes["total"] - sizes["n"]
    if (extra <= 0).any():
        return Refusal(METHOD, "some sizes have no embeddings to leave out")
    power, log_omega = (float(value) for value in np.polyfit(np.log(sizes["n"]), np.log(extra), 1))
    law, omega, runs = laws[0].law, np.exp(log_omega), without.column("flops")
    optimal = path_flops(law, np.sort(sizes["n"])[[0, -1]], omega, power)
    low, high = max(optimal[0], runs.min()), min(optimal[1], runs.max())
    if low >= high:
        return Refusal(METHOD, "none of the sizes is the best one at any compute of the runs")
    predicted = path_exponent(law, np.geomspace(low, high, LEVELS), omega, power)
    return Embeddings(float(omega), power, law.a, predicted, laws[1].law.a)


def path_flops(law: Law, params: np.ndarray, omega: float, power: float = 1 / 3) -> np.ndarray:
    """C = 6ND [m] at which `params` N [m] without embeddings is compute-optimal (ibid.)."""
    params = np.asarray(params, float)
    total = params + omega * params**power
    rising = params + power * omega * params**power  # N dN_total/dN
    return 6 * params * (law.beta * law.B / (law.alpha * law.A) * total ** (law.alpha + 1) / rising) ** (1 / law.beta)


def path_exponent(law: Law, flops: np.ndarray, omega: float, power: float = 1 / 3) -> float:
    """The slope of log N_opt against log C over `flops` [m], N and C without embeddings."""
    params = np.geomspace(1, 1e15, PATH_LEVELS)
    reached = np.log(path_flops(law, params, omega, power))
    return float(np.polyfit(np.log(flops), np.interp(np.log(flops), reached, np.log(params)), 1)[0])
