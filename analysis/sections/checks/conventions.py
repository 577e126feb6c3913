"""The same runs under every convention, and why Kaplan et al. 2020 and Hoffmann et al. 2022 disagree, on these runs.

What N counts (all parameters, or those without embeddings) and how C is counted (6ND, or every matrix product) moves
the exponent a of N_opt ~ C^a. Kaplan et al. (a = .73) left the embeddings out and read the losses of small budgets off
one long schedule; Hoffmann et al. (a = .50) counted all parameters and annealed each run to its own budget. Either
choice can be made on the runs of one sweep, one by one, as Porian et al. 2024 did with theirs. What embeddings alone do
also follows from a law in closed form (Pearce and Song 2024).
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vsweep.analysis import plotting
from vsweep.analysis.approaches import envelope, isoflop, parametric
from vsweep.analysis.approaches.parametric import Law
from vsweep.analysis.data.points import Points, select
from vsweep.analysis.data.source import FLOP_CONVENTIONS, SIZE_CONVENTIONS, Convention, Refusal, Source
from vsweep.analysis.plotting import APPROACHES, Drawing
from vsweep.analysis.sections.base import Finding, LossStudy, Section, Table, or_refused
from vsweep.analysis.uncertainty.approach import METHODS, NAMES, Fit, fit, fit_parametric
from vsweep.analysis.uncertainty.estimates import quantities

METHOD = "conventions"
ALL, WITHOUT = SIZE_CONVENTIONS
# The envelope is how Kaplan et al. read their curves; the others stand in where it has too few annealed winners.
GAP_METHODS = (envelope.METHOD, isoflop.PARABOLA, isoflop.AKIMA, parametric.METHOD)
LEVELS, PATH_LEVELS = 50, 2_000
LABELS = {ALL: "all parameters", WITHOUT: "without embeddings", "flops_6nd": "C = 6ND", "flops_counted": "C counted"}


@dataclass(frozen=True)
class Row:
    """The exponents of N_opt ~ C^a and D_opt ~ C^b by one approach in one convention, or why there are none."""

    size: str
    flops: str
    method: str
    a: float | None
    b: float | None
    refusal: str | None


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


@dataclass(frozen=True)
class SideBySide:
    """Every convention of one loss, and Kaplan's way against Chinchilla's."""

    loss: str
    rows: tuple[Row, ...]
    disagreement: Disagreement | Refusal


class Conventions(Section[SideBySide]):
    """Of the first loss only, and not of a table, which has one N and one C."""

    name, title = "conventions", "Conventions side by side"

    def compute(self, study: LossStudy) -> SideBySide | Refusal:
        source, loss = study.source, study.loss
        if not (study.first and source.is_workdir):
            return Refusal(self.name, "compared for the first loss of a sweep only")
        return SideBySide(loss, tuple(side_by_side(source, loss)), disagreement(source, loss))

    def findings(self, study: LossStudy, result: SideBySide | Refusal) -> list[Finding]:
        if isinstance(result, Refusal) or isinstance(result.disagreement, Refusal):
            return []
        return [Finding(None, self.name, 20, result.disagreement.sentence)]

    def figures(self, study: LossStudy, result: SideBySide | Refusal) -> Iterator[Drawing | Refusal]:
        if isinstance(result, SideBySide):
            yield drawing(result.rows, result.disagreement)

    def tables(self, study: LossStudy, result: SideBySide | Refusal) -> list[Table]:
        return [] if isinstance(result, Refusal) else [_exponents(result)]

    def refusals(self, study: LossStudy, result: SideBySide | Refusal) -> list[Refusal]:
        return []

    def to_json_of_all(self, studies: Sequence[LossStudy]) -> dict:
        result = studies[0].result(self)
        return {"conventions": None if isinstance(result, Refusal) else _json(result)}


SECTION = Conventions()


def _json(side: SideBySide) -> dict:
    gaps = or_refused(side.disagreement)
    return {"loss": side.loss, "rows": [asdict(row) for row in side.rows], "kaplan_and_chinchilla": gaps}


def _exponents(side: SideBySide) -> Table:
    """The exponent a of every approach in every convention: one row a convention, one column an approach."""
    found = {(row.size, row.flops, row.method): row.a for row in side.rows}
    rows = tuple(
        (_way(size, flops), *(_number(found[size, flops, method]) for method in METHODS))
        for size, flops in dict.fromkeys((row.size, row.flops) for row in side.rows)
    )
    closed = getattr(side.disagreement, "embeddings", None)
    note = side.disagreement.reason if isinstance(side.disagreement, Refusal) else ""
    note = closed.sentence if isinstance(closed, Embeddings) else note
    head = ("a in", *(NAMES[method].removeprefix("the ") for method in METHODS))
    return Table("The exponent a in every convention", head, rows, note)


def _number(a: float | None) -> str:
    return "refused" if a is None else f"{a:.3f}"


# Side by side


def side_by_side(source: Source, loss: str) -> list[Row]:
    """The exponents by every approach in every convention that the source has; a table has one only."""
    sizes, flops = (SIZE_CONVENTIONS, FLOP_CONVENTIONS) if source.is_workdir else ((ALL,), FLOP_CONVENTIONS[:1])
    rows = []
    for size in sizes:
        sets = [select(source, Convention(loss, size, count)) for count in flops]
        law = fit(sets[0], parametric.METHOD)  # it sees N and D only, so that it is the same however C is counted
        for points in sets:
            for method in METHODS:
                rows.append(_row(points, method, law if method == parametric.METHOD else fit(points, method)))
    return rows


def _row(points: Points, method: str, found: Fit) -> Row:
    convention = points.convention
    if isinstance(found, Refusal):
        return Row(convention.size, convention.flops, method, None, None, found.reason)
    values = quantities(points, found)
    return Row(convention.size, convention.flops, method, values["a"], values["b"], None)


# Kaplan's way and Chinchilla's


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
                return Refusal(method, f"{LABELS[size]}, {schedule}: {fitted.reason}")
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


# Figure


def drawing(rows: Sequence[Row], found: Disagreement | Refusal) -> Drawing | Refusal:
    """The exponent a by convention and approach as dots; Kaplan's choices below, where they could be made."""
    numbers = pd.DataFrame([{"way": _way(row.size, row.flops), "method": row.method, "a": row.a} for row in rows])
    if isinstance(found, Disagreement):
        numbers = pd.concat([numbers, _ways_of(found)], ignore_index=True)
    numbers = numbers.dropna(subset="a")
    if numbers.empty:
        return Refusal(METHOD, "every approach was refused in every convention")
    figure, (axes,) = plotting.new_figure()
    ways = numbers["way"].unique().tolist()
    for method, group in numbers.groupby("method", sort=False):
        _dots(axes, method, group, ways)
    axes.set_yticks(range(len(ways)), [way.replace(", ", "\n") for way in ways])
    axes.set_ylim(len(ways) - 0.5, -0.5)
    axes.set_xlabel("a of N_opt ~ C^a")
    plotting.legend_above(figure, 2)
    text = "" if isinstance(found, Refusal) else f" {found.sentence}"
    caption = f"The exponent of the compute-optimal size on the same runs in every convention, by each approach.{text}"
    return Drawing("conventions", "Conventions side by side", caption, figure, numbers)


def _way(size: str, count: str) -> str:
    return f"{LABELS[size]}, {LABELS[count]}"


def _ways_of(found: Disagreement) -> pd.DataFrame:
    ways = {
        "all_one_schedule": f"{LABELS[ALL]}, longest runs only",
        "without_one_schedule": f"{LABELS[WITHOUT]}, longest runs only",
    }
    return pd.DataFrame(
        [
            {"way": way, "method": gap.method, "a": getattr(gap, name)}
            for name, way in ways.items()
            for gap in found.gaps
            if isinstance(gap, Gap)
        ]
    )


def _dots(axes: Axes, method: str, group: pd.DataFrame, ways: list[str]) -> None:
    """One approach; those of one convention stand one below the other, so that none hides another."""
    label, colour, marker = APPROACHES[method]
    place = group["way"].map(ways.index) + 0.16 * (METHODS.index(method) - 1.5)
    axes.scatter(group["a"], place, color=colour, marker=marker or "P", s=42, label=label, zorder=3)
