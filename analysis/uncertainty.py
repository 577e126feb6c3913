"""How far an exponent may move: over seeds, over resampled cells, over resampled points.

Runs of one seed share initial weights and the order of the data, so a seed is one block. Three seeds have ten distinct
resamples: with so few the range of the fits to each seed is given, and called a spread. A resample of cells answers
another question: how much the law hangs on the choice of the grid. Each range says which of them it is.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.points import Points

MIN_POINTS_FOR_INTERVAL = 20
MIN_SEEDS_FOR_BLOCKS = 6
QUANTILES = (0.025, 0.975)
SEED_FITS, SEED_BLOCKS, CELLS, POINTS = "fits to single seeds", "resampled seeds", "resampled cells", "resampled points"

Estimate = Callable[[Points], dict[str, float] | None]
Refit = Callable[[np.ndarray], list[dict[str, float] | None]]


@dataclass(frozen=True)
class Range:
    """`low` and `high` of one quantity."""

    low: float
    high: float


@dataclass(frozen=True)
class Uncertainty:
    """Ranges by quantity. `form` is `min..max` or `95 % interval`; `failed` counts resamples whose fit was refused."""

    kind: str
    form: str
    ranges: dict[str, Range]
    fits: int
    failed: int


def assess(
    points: Points, estimate: Estimate, *, bootstrap: int, refit: Refit | None = None
) -> tuple[Uncertainty, ...]:
    """All the ranges that these points allow: per seed, by seed blocks, by cells (or points, where seeds are unknown).

    Args:
      estimate: fits the points and returns its quantities, or None where the fit is refused.
      bootstrap: number of resamples; 0 gives the fits to single seeds only.
      refit: does the same for weights [r, rows of the table] at once. Only methods that have it are resampled by
        cells, for a missing cell tears a hole into an IsoFLOP grid or an envelope.
    """
    found = []
    seeds = points.seeds
    rng = np.random.default_rng(0)
    if len(seeds) > 1:
        found.append(_summary(SEED_FITS, [estimate(points.of_seed(seed)) for seed in seeds], interval=False))
    if bootstrap and len(seeds) >= MIN_SEEDS_FOR_BLOCKS:
        block = points.table.groupby("seed").ngroup().to_numpy()
        draws = rng.integers(len(seeds), size=(bootstrap, len(seeds)))
        fits = refit(_weights(draws, block)) if refit else _seed_fits(points, estimate, draws)
        found.append(_summary(SEED_BLOCKS, fits, interval=len(seeds) >= MIN_POINTS_FOR_INTERVAL))
    if bootstrap and (refit or not seeds):
        cell = _cell_of_row(points)
        count = int(cell.max()) + 1
        draws = rng.integers(count, size=(bootstrap, count))
        fits = refit(_weights(draws, cell)) if refit else _row_fits(points, estimate, draws)
        found.append(_summary(CELLS if seeds else POINTS, fits, interval=count >= MIN_POINTS_FOR_INTERVAL))
    return tuple(entry for entry in found if entry is not None)


def _weights(draws: np.ndarray, group: np.ndarray) -> np.ndarray:
    """[r, rows]: how often each row's group was drawn, from draws [r, groups] of group numbers."""
    counts = np.stack([np.bincount(draw, minlength=draws.shape[1]) for draw in draws])
    return counts[:, group]


def _summary(kind: str, fits: list[dict | None], *, interval: bool) -> Uncertainty | None:
    good = [fit for fit in fits if fit is not None]
    if len(good) < 2:
        return None
    quantiles = QUANTILES if interval else (0, 1)
    values = pd.DataFrame(good)
    ranges = {name: Range(*map(float, np.quantile(values[name], quantiles))) for name in values}
    form = "95 % interval" if interval else "min..max"
    return Uncertainty(kind, form, ranges, len(good), len(fits) - len(good))


def _cell_of_row(points: Points) -> np.ndarray:
    """The number of each row's cell; without seeds every row is a cell of its own."""
    if not points.seeds:
        return np.arange(len(points.table))
    return points.table.groupby(["size", "budget"]).ngroup().to_numpy()


def _seed_fits(points: Points, estimate: Estimate, draws: np.ndarray) -> list[dict | None]:
    blocks = [points.of_seed(seed) for seed in points.seeds]
    return [estimate(_concatenate(points, [blocks[i] for i in draw])) for draw in draws]


def _row_fits(points: Points, estimate: Estimate, draws: np.ndarray) -> list[dict | None]:
    resamples = (points.table.iloc[draw].reset_index(drop=True) for draw in draws)
    return [estimate(Points(points.convention, resample)) for resample in resamples]


def _concatenate(points: Points, blocks: list[Points]) -> Points:
    table = pd.concat([block.table for block in blocks], ignore_index=True)
    curves = None if points.curves is None else pd.concat([block.curves for block in blocks], ignore_index=True)
    return Points(points.convention, table, (), curves)
