"""The numbers of all groups beside each other, and whether the exponents of each pair differ.

The interval of a difference follows from the intervals of both exponents by the method of variance estimates recovery
(Zou and Donner 2008, Stat. Med. 27, 1693): distances to the ends are added in squares. So it includes what seeds add to
each of them, and it holds for every approach. Runs of two groups count as independent.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vsweep.analysis.approaches import parametric
from vsweep.analysis.approaches.optimal_path import PathFit
from vsweep.analysis.compare import comparison
from vsweep.analysis.compare.comparison import Comparison
from vsweep.analysis.data.source import Refusal
from vsweep.analysis.groups.splitting import Group
from vsweep.analysis.result import Result
from vsweep.analysis.sections import law, optimum
from vsweep.analysis.sections.base import LossStudy
from vsweep.analysis.uncertainty import approach_intervals, verdicts
from vsweep.analysis.uncertainty.approach import Approach, assessed
from vsweep.analysis.uncertainty.estimates import quantities
from vsweep.analysis.uncertainty.intervals import SEED_FITS, Range

NUMBERS = ("a", "b", "E", "alpha", "beta", "loss")
DIFFER, AGREE, CANNOT_TELL, UNKNOWN = "differ", "agree", "cannot be told apart", "unknown"
MOST_COMPARED = 6  # pairs whose laws are also compared as `compare` does it, which takes seconds for each


@dataclass(frozen=True)
class Number:
    """One number of an approach and its range over resamples, None where there is none; `form` says what it is."""

    value: float
    range: Range | None = None
    form: str = ""


@dataclass(frozen=True)
class Row:
    """One approach in one group: its numbers by name (`NUMBERS`, those that it has), or why it was refused."""

    group: str
    method: str
    label: str
    numbers: dict[str, Number]
    refused: str | None = None


@dataclass(frozen=True)
class Difference:
    """Exponent `a` of the second group less that of the first, by one approach; `outcome` is one of the four above."""

    first: str
    second: str
    method: str
    value: float | None
    range: Range | None
    outcome: str
    reason: str = ""


@dataclass(frozen=True)
class SideBySide:
    """All groups by their first loss. `flops` is the compute of every `loss` in `rows`, None where none is in common.

    `comparisons` holds by pair of groups what `compare` says of them.
    """

    loss: str
    loss_unit: str
    flops: float | None
    studies: dict[str, LossStudy]
    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]
    comparisons: dict[tuple[str, str], Comparison | Refusal]


def side_by_side(analysed: Sequence[tuple[Group, Result]], *, bootstrap: int) -> SideBySide:
    """Every number of the table of groups, from the analysis of each group."""
    studies = {group.name: result.studies[0] for group, result in analysed}
    first = next(iter(studies.values()))
    flops = common_flops(list(studies.values()))
    rows = [
        _row(name, study, approach, flops, bootstrap)
        for name, study in studies.items()
        for approach in optimum.approaches(study)
    ]
    pairs = list(itertools.combinations(studies, 2))
    differences = [
        difference((one, studies[one]), (other, studies[other]), at)
        for one, other in pairs
        for at in range(len(optimum.approaches(first)))
    ]
    few = pairs if len(pairs) <= MOST_COMPARED and bootstrap >= comparison.MIN_RESAMPLES else []
    compared = {pair: _compared(pair, studies, bootstrap) for pair in few}
    unit = first.source.loss_unit
    return SideBySide(first.loss, unit, flops, studies, tuple(rows), tuple(differences), compared)


def _compared(pair: tuple[str, str], studies: dict[str, LossStudy], bootstrap: int) -> Comparison | Refusal:
    """What `compare` says of two groups; it is not asked about a law that its runs do not show."""
    unshown = [name for name in pair if _not_shown(studies[name])]
    if unshown:
        return Refusal(comparison.METHOD, f"the runs of {' and '.join(unshown)} do not show their law")
    return comparison.compare(*(studies[name].points for name in pair), bootstrap=bootstrap, names=pair)


def common_flops(studies: Sequence[LossStudy]) -> float | None:
    """The largest compute that every group has runs at or beyond, None where their ranges do not all meet."""
    ranges = [study.points.column("flops") for study in studies if not study.empty]
    if not ranges:
        return None
    low, high = max(flops.min() for flops in ranges), min(flops.max() for flops in ranges)
    return float(high) if low <= high else None


def _row(name: str, study: LossStudy, approach: Approach, flops: float | None, bootstrap: int) -> Row:
    if approach.refused:
        return Row(name, approach.method, approach.label, {}, approach.result.reason)
    found = {key: _number(approach, key) for key in NUMBERS if key in approach.quantities}
    if flops is not None:
        found["loss"] = _loss_at(study, approach, flops, bootstrap)
    return Row(name, approach.method, approach.label, found)


def _number(approach: Approach, name: str) -> Number:
    known = [entry for entry in assessed(approach, name) if entry.kind != SEED_FITS]
    value = float(approach.quantities[name])
    return Number(value, known[-1].ranges[name], known[-1].form) if known else Number(value)


def _loss_at(study: LossStudy, approach: Approach, flops: float, bootstrap: int) -> Number:
    """The loss of the best run with `flops` FLOP, with its range."""
    estimate = quantities(study.points, approach.result, flops)
    if not bootstrap:
        return Number(estimate["loss_opt"])
    if isinstance(approach.result, PathFit):
        fitted = study.result(law.SECTION).result
        known = approach_intervals.of_path(study.points, approach.result, estimate, fitted, bootstrap, flops)
    else:
        known, _ = approach_intervals.of_law(study.points, approach.result, estimate, bootstrap, flops)
    if known is None or "loss_opt" not in known.ranges:
        return Number(estimate["loss_opt"])
    return Number(estimate["loss_opt"], known.ranges["loss_opt"], known.form)


# Pairs


def difference(first: tuple[str, LossStudy], second: tuple[str, LossStudy], at: int) -> Difference:
    """The difference in `a` by approach number `at`. Groups agree only where the range lies within `optimum.CLOSE`."""
    names = (first[0], second[0])
    pair = tuple(optimum.approaches(study)[at] for _, study in (first, second))
    method = pair[0].method
    refused = [name for name, approach in zip(names, pair, strict=True) if approach.refused]
    if refused:
        return Difference(*names, method, None, None, UNKNOWN, f"it was refused for {' and '.join(refused)}")
    numbers = [_number(approach, "a") for approach in pair]
    value = numbers[1].value - numbers[0].value
    if method == parametric.METHOD and (unshown := [name for name, study in (first, second) if _not_shown(study)]):
        return Difference(*names, method, value, None, UNKNOWN, f"the runs of {' and '.join(unshown)} do not show it")
    if any(number.range is None for number in numbers):
        return Difference(*names, method, value, None, UNKNOWN, "not both exponents have an interval")
    range_ = _range_of_difference(*numbers)
    return Difference(*names, method, value, range_, _outcome(range_))


def _not_shown(study: LossStudy) -> bool:
    return law.standing(study).verdict == verdicts.NOT_SHOWN


def _range_of_difference(first: Number, second: Number) -> Range:
    value = second.value - first.value
    down = np.hypot(max(0.0, second.value - second.range.low), max(0.0, first.range.high - first.value))
    up = np.hypot(max(0.0, second.range.high - second.value), max(0.0, first.value - first.range.low))
    return Range(float(value - down), float(value + up))


def _outcome(range_: Range) -> str:
    if range_.low > 0 or range_.high < 0:
        return DIFFER
    return AGREE if range_.low > -optimum.CLOSE and range_.high < optimum.CLOSE else CANNOT_TELL
