"""Two sets of runs resampled together, and every number that is compared between their laws.

Two sets of one grid err alike: the law misses the same cells, and runs of one seed share their data. So both get the
same resamples wherever their cells, or seeds, have the same names, and what they share cancels in a difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from vsweep.analysis.approaches import parametric
from vsweep.analysis.approaches.parametric import Law, ParametricFit
from vsweep.analysis.data.points import Points
from vsweep.analysis.uncertainty import bootstrap
from vsweep.analysis.uncertainty.estimates import optimal_sizes, path_exponents

SHARED = 0.5  # of all cells: where fewer are in both sets, the sets are drawn apart
REACH, REACH_LEVELS = 1e4, 61  # how far beyond the common compute a multiplier is looked for, and in how many steps
COMPARED = ("E", "alpha", "beta", "a", "gamma")
RELATIVE, SLOPE = "relative", "slope"


@dataclass(frozen=True)
class Pair:
    """Two sets with the fits to all of their runs, and the compute [m] (FLOP, rising) at which they are compared.

    `keys` name the cell of each row, `by` says what these names are made of; None where too few are in both sets.
    """

    points: tuple[Points, Points]
    fits: tuple[ParametricFit, ParametricFit]
    flops: np.ndarray
    keys: tuple[pd.Series, pd.Series]
    by: str | None

    @classmethod
    def of(cls, points: tuple[Points, Points], fits: tuple[ParametricFit, ParametricFit], flops: np.ndarray) -> "Pair":
        """Pairs cells by (N, D) or by (width, D) where at least half of them are in both sets; else not at all."""
        for columns, by in ((["size", "budget"], "(N, D)"), (["width", "budget"], "(width, D)")):
            keys = tuple(_names(one, columns) for one in points)
            if all(_one_name_a_cell(one, key) for one, key in zip(points, keys, strict=True)):
                first, second = (set(key) for key in keys)
                if len(first & second) >= SHARED * len(first | second):
                    return cls(points, fits, flops, keys, by)
        return cls(points, fits, flops, tuple(_names(one, ["size", "budget"]) for one in points), None)

    @property
    def floor_free(self) -> bool:
        """Whether E is fitted."""
        return self.fits[0].floor_free

    @property
    def compared(self) -> tuple[str, ...]:
        """The names of the numbers that are compared."""
        return COMPARED if self.floor_free else COMPARED[1:]

    @property
    def seeds(self) -> int:
        """How many seeds the set with fewer of them has."""
        return min(len(points.seeds) for points in self.points)

    @property
    def cells(self) -> int:
        """How many cells the set with fewer of them has."""
        return min(key.nunique() for key in self.keys)

    @property
    def same_seeds(self) -> bool:
        """Whether both sets have the same seeds, so that runs of one seed are drawn together."""
        first, second = (points.seeds for points in self.points)
        return bool(first) and first == second

    def laws(self) -> tuple[Law, Law]:
        """The fits to all runs as arrays [1]."""
        return tuple(Law(*(np.atleast_1d(value) for value in vars(fit.law).values())) for fit in self.fits)


def _names(points: Points, columns: list[str]) -> pd.Series:
    names = points.table[columns].astype(float).map(lambda value: f"{value:.6g}").agg("/".join, axis=1)
    # Without seeds every row is a cell of its own, as in `resampling`.
    return names if points.seeds else names + "#" + names.groupby(names).cumcount().astype(str)


def _one_name_a_cell(points: Points, names: pd.Series) -> bool:
    """Whether no two sizes go by one name, as they may where sizes are named by their width, or have none."""
    return bool(points.table["size"].groupby(names.str.partition("#")[0]).nunique().eq(1).all())


# Resamples


def resampled_laws(pair: Pair, kind: str, count: int) -> tuple[Law, Law]:
    """The laws [k] of those of `count` resamples of one kind (see `resampling`) for which both sets have a law."""
    refits = [
        parametric.refit(*points.law_columns, points.weights * weight, fit)
        for points, weight, fit in zip(pair.points, draws(pair, kind, count), pair.fits, strict=True)
    ]
    _, *at = np.intersect1d(refits[0].rows, refits[1].rows, return_indices=True)
    return tuple(
        Law(*(np.broadcast_to(value, len(refit.rows))[rows] for value in vars(refit.law).values()))
        for refit, rows in zip(refits, at, strict=True)
    )


def draws(pair: Pair, kind: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each resample holds each row of either set: two arrays [count, rows]."""
    if kind == bootstrap.WITHIN:
        first, second = (bootstrap.weights(points, kind, count) for points in pair.points)
        # Equal tables get equal draws. Others are drawn by the same random numbers, which shuffling takes apart.
        return first, second if _same_rows(pair) else np.random.default_rng(1).permutation(second)
    seeds = [points.table["seed"].astype(str) for points in pair.points]
    groups = {
        bootstrap.CELLS: pair.keys,
        bootstrap.SEEDS: seeds,
        bootstrap.RUNS: [key + " " + seed for key, seed in zip(pair.keys, seeds, strict=True)],
    }[kind]
    together = pair.same_seeds if kind == bootstrap.SEEDS else pair.by is not None
    rng = np.random.default_rng(0)
    if together:
        return _counts(rng, groups, count)
    return tuple(_counts(rng, [group], count)[0] for group in groups)


def _same_rows(pair: Pair) -> bool:
    first, second = (
        list(zip(key, p.table["seed"], strict=True)) for key, p in zip(pair.keys, pair.points, strict=True)
    )
    return pair.by is not None and first == second


def _counts(rng: np.random.Generator, groups: Sequence[pd.Series], count: int) -> tuple[np.ndarray, ...]:
    """As many groups as there are, drawn from all of them: how often each row [count, rows] of each set is drawn."""
    codes, names = pd.factorize(pd.concat(groups, ignore_index=True))
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=count).astype(float)
    return tuple(drawn[:, part] for part in np.split(codes, np.cumsum([len(group) for group in groups])[:-1]))


# Numbers


def compared_numbers(pair: Pair, laws: tuple[Law, Law]) -> pd.DataFrame:
    """Every number that is compared between laws [r]: one row a pair of laws.

    Columns: `first NAME`, `second NAME` and `difference NAME` for the names compared; `relative`, gamma of the second
    over that of the first, less one; `log multiplier 0` and on, one a compute; and `slope`, their slope in log C.
    """
    columns = {}
    first, second = (law_numbers(law, points, pair.flops) for law, points in zip(laws, pair.points, strict=True))
    for name in pair.compared:
        columns |= {f"first {name}": first[name], f"second {name}": second[name]}
        columns[difference(name)] = second[name] - first[name]
    columns[RELATIVE] = second["gamma"] / first["gamma"] - 1
    log_multiplier = _log_multiplier(pair, laws)
    with np.errstate(invalid="ignore"):  # infinite at both ends: then there is no slope, and no bound on it
        slope = (log_multiplier[:, -1] - log_multiplier[:, 0]) / np.log(pair.flops[-1] / pair.flops[0])
    columns[SLOPE] = np.where(np.isnan(slope), np.inf, slope)
    columns |= {level(at): log_multiplier[:, at] for at in range(len(pair.flops))}
    return pd.DataFrame(columns)


def difference(name: str) -> str:
    """The column of the second's `name` minus the first's."""
    return f"difference {name}"


def level(at: int) -> str:
    """The column of the log multiplier at the compute number `at`."""
    return f"log multiplier {at}"


def law_numbers(law: Law, points: Points, flops: np.ndarray) -> dict[str, np.ndarray]:
    """E, alpha, beta, a and gamma [r]; gamma in closed form for C = 6ND, else the slope of log excess over `flops`."""
    if points.convention.flops == "flops_6nd":
        gamma = law.alpha * law.beta / (law.alpha + law.beta)
    else:
        x = np.log(flops / np.sqrt(flops[0] * flops[-1]))
        gamma = -(np.log(frontier_excess(law, points, flops)) @ x) / (x @ x)
    return {"E": law.E, "alpha": law.alpha, "beta": law.beta, "a": path_exponents(law, points)[0], "gamma": gamma}


def frontier_excess(law: Law, points: Points, flops: np.ndarray) -> np.ndarray:
    """Loss minus E [..., m] of the law on its compute-optimal path at `flops` [m], in the convention of `points`."""
    return replace(law.along(), E=0.0).loss(*optimal_sizes(law, points, flops))


def _log_multiplier(pair: Pair, laws: tuple[Law, Law]) -> np.ndarray:
    """[r, m] log of the second's compute over the first's, for the first's loss at `pair.flops`."""
    first, second = laws
    excess = frontier_excess(first, pair.points[0], pair.flops) + (first.E - second.E)[:, None]
    reach = np.geomspace(pair.flops[0] / REACH, pair.flops[-1] * REACH, REACH_LEVELS)
    # Log excess against log C is a line, or nearly one where FLOPs are counted: interpolation is as good as exact.
    curves = -np.log(frontier_excess(second, pair.points[1], reach))
    with np.errstate(invalid="ignore", divide="ignore"):
        wanted = np.where(excess > 0, -np.log(excess), np.inf)
    needed = [np.interp(x, y, np.log(reach), left=-np.inf, right=np.inf) for x, y in zip(wanted, curves, strict=True)]
    return np.stack(needed) - np.log(pair.flops)
