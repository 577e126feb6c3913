"""The best design for a compute: a search over a small set of IsoFLOP designs and grids of sizes and budgets.

Every candidate costs the same, 6ND over all its runs. It must have its optima inside: each IsoFLOP level, or the
middle budget of a grid, has the assumed compute-optimal size between its sizes. A run far from the optimum says much
about a law that holds everywhere, and no law does, so runs beyond `FARTHEST` are not proposed.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vsweep.analysis.designer.assumption import Assumption
from vsweep.analysis.designer.precision import CannotTell, Precision, by_information
from vsweep.analysis.designer.runs import Runs

ISOFLOP, GRID = "isoflop", "grid"
KINDS = (ISOFLOP, GRID)
LEVELS, SIZES, SEEDS = (3, 4, 5, 6), (4, 5, 6, 8), (2,)  # tried unless they are given
SPANS = (10.0, 30.0, 100.0, 300.0)  # of the compute, or of the budgets, from the first level to the last
REACHES = (4.0, 8.0, np.inf)  # times the optimum of its level, or its inverse: farther sizes are left out of a level
LEAST_SIZES = 3  # of a level: a valley has two sides
ENDS = 8  # sizes tried as the smallest and as the largest
REACH = 64.0  # of these about the centre, as a factor
INSIDE = 1.5  # the assumed optimum lies so many times above the smallest size and below the largest
SCALES, USED = 96, 0.9  # tried for a design, and the least share of the compute that it uses
FARTHEST = 32.0  # times the compute-optimal size for the compute of a run, or its inverse


@dataclass(frozen=True)
class Size:
    """A width that the model may have, and its N by the convention of the assumption."""

    width: int
    params: float


@dataclass(frozen=True)
class Request:
    """What is asked for. A field that is None is searched; `least_flops` is the compute of the smallest level.

    Tokens come in whole batches of `batch_tokens`, between `least_tokens` and `most_tokens` a run. With `target_flops`
    the interval of the loss forecast there is minimised, else that of a.
    """

    flops: float
    sizes: tuple[Size, ...]
    centre: float  # N about which sizes are tried
    batch_tokens: float
    least_tokens: float
    most_tokens: float = np.inf
    levels: int | None = None
    number_of_sizes: int | None = None
    seeds: int | None = None
    least_flops: float | None = None
    target_flops: float | None = None
    kind: str | None = None

    def score(self, found: Precision) -> float:
        """What is minimised."""
        return found.a if self.target_flops is None else found.forecast(self.target_flops)


@dataclass(frozen=True)
class Choices:
    """What was chosen of what was tried; `span` is 0 where it follows from the smallest level."""

    kind: str
    levels: int
    sizes: int
    seeds: int
    span: float
    reach: float
    smallest: int  # width
    largest: int


@dataclass(frozen=True)
class Candidate:
    """A design: `levels` are computes in FLOP of an IsoFLOP design, and budgets in tokens of a grid.

    Runs whose tokens per parameter lie outside `bounds` are left out; empty: none are.
    """

    choices: Choices
    widths: tuple[int, ...]
    levels: tuple[float, ...]
    bounds: tuple[float, ...]
    runs: Runs
    precision: Precision
    score: float


@dataclass(frozen=True)
class NoDesign:
    """Why there is none."""

    reason: str


@dataclass(frozen=True)
class Found:
    """The best candidate of the kind that was asked for, and all candidates of both kinds."""

    best: Candidate
    candidates: tuple[Candidate, ...]

    def otherwise(self, name: str) -> dict[object, float]:
        """Value of the choice `name` -> the lowest score with that value, among those of the same kind."""
        scores: dict[object, float] = {}
        for candidate in self.candidates:
            if name != "kind" and candidate.choices.kind != self.best.choices.kind:
                continue
            value = getattr(candidate.choices, name)
            scores[value] = min(candidate.score, scores.get(value, np.inf))
        return dict(sorted(scores.items()))


def search(request: Request, assumption: Assumption) -> Found | NoDesign:
    """The candidate with the lowest score, or why there is no design that costs so much and can be trained."""
    tried, feasible, found = 0, 0, []
    for choices, sizes in _choices(request):
        tried += 1
        design = _design(choices, sizes, request, assumption)
        if design is None:
            continue
        feasible += 1
        levels, bounds, runs = design
        precision = by_information(runs, assumption)
        if isinstance(precision, CannotTell):
            continue
        widths = tuple(size.width for size in sizes)
        found.append(Candidate(choices, widths, levels, bounds, runs, precision, request.score(precision)))
    wanted = [candidate for candidate in found if request.kind in (None, candidate.choices.kind)]
    if wanted:
        return Found(min(wanted, key=lambda candidate: candidate.score), tuple(found))
    return NoDesign(_why_none(tried, feasible, request))


def _why_none(tried: int, feasible: int, request: Request) -> str:
    if not tried:
        return "too few widths near the compute-optimal size: fewer sizes (--sizes), or a smaller head_dim"
    if not feasible:
        return (
            f"none of {tried} designs can be trained: their runs are shorter than {request.least_tokens:.3g} tokens, "
            "longer than the epochs allow, or have no optimum between their sizes; more --flops, or fewer --levels, "
            "--sizes and --seeds"
        )
    return f"none of {feasible} designs could tell the exponents apart at this compute: more --flops"


def _choices(request: Request) -> Iterator[tuple[Choices, tuple[Size, ...]]]:
    """Every combination that is tried, with its sizes."""
    sizes = request.sizes
    near = [at for at, size in enumerate(sizes) if 1 / REACH <= size.params / request.centre <= REACH]
    ends = _spread([sizes[at].params for at in near], min(ENDS, len(near)))
    levels, seeds = _given(request.levels, LEVELS), _given(request.seeds, SEEDS)
    for low, high in itertools.combinations(ends, 2):
        for number in _given(request.number_of_sizes, SIZES):
            at = _spread([size.params for size in sizes[near[low] : near[high] + 1]], number)
            if len(at) < number:
                continue
            chosen = tuple(sizes[near[low] + each] for each in at)
            for kind, level, seed in itertools.product(KINDS, levels, seeds):
                spans = (0.0,) if request.least_flops and kind == ISOFLOP else SPANS
                reaches = REACHES if kind == ISOFLOP else (np.inf,)
                for span, reach in itertools.product(spans, reaches):
                    yield Choices(kind, level, number, seed, span, reach, chosen[0].width, chosen[-1].width), chosen


def _given(value: int | None, tried: Sequence[int]) -> Sequence[int]:
    """What is tried: the one value that was asked for, or all."""
    return tried if value is None else (value,)


def _spread(values: Sequence[float], number: int) -> list[int]:
    """Places of `number` values that are evenly spread in log; fewer where the same would serve twice."""
    logs = np.log(values)
    wanted = np.linspace(logs[0], logs[-1], number) if len(logs) else []
    return sorted({int(np.abs(logs - each).argmin()) for each in wanted})


def _design(
    choices: Choices, sizes: Sequence[Size], request: Request, assumption: Assumption
) -> tuple[tuple[float, ...], tuple[float, ...], Runs] | None:
    """(levels, bounds, runs) of one combination; None where it cannot be trained or has no optimum inside."""
    params = np.array([size.params for size in sizes])
    levels = _scaled(choices, params, request, assumption)
    if levels is None:
        return None
    tokens, bounds = _tokens(choices, params, levels, assumption)
    trained = np.isfinite(tokens)  # [sizes, levels]
    tokens = np.round(tokens / request.batch_tokens) * request.batch_tokens
    if (
        not trained.any(axis=1).all()
        or np.nanmin(tokens) < request.least_tokens
        or np.nanmax(tokens) > request.most_tokens
    ):
        return None
    params_of_run = np.broadcast_to(params[:, None], tokens.shape)[trained]
    runs = Runs(params_of_run, tokens[trained], np.full(trained.sum(), float(choices.seeds)), choices.seeds)
    off = runs.params / assumption.law.params_opt(runs.flops_each)
    if off.max() > FARTHEST or off.min() < 1 / FARTHEST:
        return None
    if not _optimum_inside(choices, params, levels, trained, assumption):
        return None
    return tuple(map(float, levels)), tuple(map(float, bounds)), runs


def _scaled(choices: Choices, params: np.ndarray, request: Request, assumption: Assumption) -> np.ndarray | None:
    """The levels, evenly in log, with which all runs together cost as much as asked for, and not more."""
    steps, each = np.linspace(0, 1, choices.levels), request.flops / choices.seeds
    if request.least_flops and choices.kind == ISOFLOP:
        spans = np.linspace(0.0, np.log(max(1.0, each / request.least_flops)), SCALES)
        levels = request.least_flops * np.exp(spans[:, None] * steps)  # [scales, levels]
    else:
        shape = choices.span**steps
        all_runs = each / shape.sum() / (6 * params.sum() if choices.kind == GRID else len(params))
        more = len(params) / LEAST_SIZES if np.isfinite(choices.reach) else 1.0
        levels = all_runs * np.geomspace(1.0, max(1.0, more), SCALES if more > 1 else 1)[:, None] * shape
    levels = rounded_down(levels)
    tokens, _ = _tokens(choices, params, levels, assumption)
    cost = 6 * choices.seeds * np.nansum(params[:, None] * tokens, axis=(-2, -1))  # [scales]
    good = np.flatnonzero((cost <= request.flops) & (cost >= USED * request.flops))
    return levels[good[cost[good].argmax()]] if len(good) else None


def _tokens(
    choices: Choices, params: np.ndarray, levels: np.ndarray, assumption: Assumption
) -> tuple[np.ndarray, np.ndarray]:
    """D [..., sizes, levels] at levels [..., levels], NaN where a run is left out, and the bounds [..., 2] of D / N."""
    if choices.kind == GRID:
        return np.broadcast_to(levels[..., None, :], (*levels.shape[:-1], len(params), levels.shape[-1])), np.array([])
    tokens = levels[..., None, :] / (6 * params[:, None])
    if np.isinf(choices.reach):
        return tokens, np.array([])
    middle = np.sqrt(levels[..., 0] * levels[..., -1])
    ratio = assumption.law.tokens_opt(middle) / assumption.law.params_opt(middle)
    bounds = rounded_down(ratio[..., None] * np.array([choices.reach**-2, choices.reach**2]))  # D / N = C / 6 N^2
    low, high = bounds[..., 0, None, None], bounds[..., 1, None, None]
    ratios = tokens / params[:, None]
    return np.where((ratios >= low) & (ratios <= high), tokens, np.nan), bounds


def _optimum_inside(
    choices: Choices, params: np.ndarray, levels: np.ndarray, trained: np.ndarray, assumption: Assumption
) -> bool:
    """Whether the assumed optimum of each level, or of a grid's middle budget, has sizes on both sides."""
    law = assumption.law
    if choices.kind == GRID:  # the size for which the middle budget is D_opt, from equation 4 of Hoffmann et al. 2022
        middle = np.sqrt(levels[0] * levels[-1])
        best = (law.alpha * law.A / (law.beta * law.B) * middle**law.beta) ** (1 / law.alpha)
        return bool(INSIDE * params[0] <= best <= params[-1] / INSIDE)
    best = law.params_opt(levels)
    smallest = np.where(trained, params[:, None], np.inf).min(axis=0)
    largest = np.where(trained, params[:, None], 0.0).max(axis=0)
    sides = (best >= INSIDE * smallest) & (best <= largest / INSIDE) & (trained.sum(axis=0) >= LEAST_SIZES)
    return bool(sides.all())


def rounded_down(values: np.ndarray, digits: int = 3) -> np.ndarray:
    """To so many digits, never upward, so that a design costs no more than asked for."""
    units = 10.0 ** (np.floor(np.log10(values)) - digits + 1)
    return np.floor(values / units + 1e-9) * units
