"""A design: which sizes are trained on how many tokens, and how often."""

from dataclasses import dataclass, replace

import numpy as np

SAME = 0.02  # in log: budgets are rounded to whole batches, and compute to whole steps


@dataclass(frozen=True)
class Runs:
    """Distinct (N, D): `params`, `tokens` and `counts` [cells], how many runs each has; `seeds` of the whole design."""

    params: np.ndarray
    tokens: np.ndarray
    counts: np.ndarray
    seeds: int = 1

    @classmethod
    def of(cls, params: np.ndarray, tokens: np.ndarray, seeds: int = 1) -> "Runs":
        """Single runs [n] of N parameters and D tokens, the same ones counted together."""
        points = np.stack([np.asarray(params, float), np.asarray(tokens, float)], axis=1)
        cells, counts = np.unique(points, axis=0, return_counts=True)
        return cls(cells[:, 0], cells[:, 1], counts.astype(float), seeds)

    @property
    def flops_each(self) -> np.ndarray:
        """C = 6ND of one run of each cell [cells]."""
        return 6 * self.params * self.tokens

    @property
    def flops(self) -> float:
        """C = 6ND of all runs together."""
        return float(self.flops_each @ self.counts)

    @property
    def number(self) -> int:
        """How many runs there are."""
        return round(float(self.counts.sum()))

    @property
    def sizes(self) -> np.ndarray:
        """Distinct N, increasing."""
        return np.unique(self.params)

    @property
    def centre(self) -> tuple[float, float]:
        """The middle (N, D) of the cells on log scales: halfway between the ends of each axis."""
        return tuple(float(np.sqrt(axis.min() * axis.max())) for axis in (self.params, self.tokens))

    def plus(self, other: "Runs") -> "Runs":
        """Both together; equal cells stay apart, which changes nothing that is computed from them."""
        pairs = ((self.params, other.params), (self.tokens, other.tokens), (self.counts, other.counts))
        return Runs(*map(np.concatenate, pairs), self.seeds)

    def more_tokens(self, times: float) -> "Runs":
        """The same sizes, each run on `times` as many tokens."""
        return replace(self, tokens=self.tokens * times)

    def more_seeds(self) -> "Runs":
        """One seed more of every cell."""
        return replace(self, counts=self.counts * (self.seeds + 1) / self.seeds, seeds=self.seeds + 1)

    def one_more_size(self, *, larger: bool) -> "Runs":
        """This design and a size beyond its largest, or below its smallest, one typical step away.

        The new size has the budgets of its neighbour, or its computes in an IsoFLOP design, or its D / N.
        """
        sizes = self.sizes
        step = (sizes[-1] / sizes[0]) ** (1 / max(1, len(sizes) - 1)) if len(sizes) > 1 else 2.0
        edge = sizes[-1] if larger else sizes[0]
        size, of_edge = edge * (step if larger else 1 / step), self.params == edge
        tokens = self.tokens[of_edge] * (size / edge) ** self._exponent()
        return self.plus(Runs(np.full(len(tokens), size), tokens, self.counts[of_edge]))

    def _exponent(self) -> float:
        """How D goes with N from size to size: 0 at the same budgets, -1 at the same computes, 1 at the same D / N.

        Whichever of the three has the fewest different values in this design.
        """
        params, tokens = np.log(self.params), np.log(self.tokens)
        values = {power: np.sort(tokens - power * params) for power in (0.0, -1.0, 1.0)}
        return min(values, key=lambda power: int((np.diff(values[power]) > SAME).sum()))
