"""Mixtures: the order of a run that sees several sources, each by a share of its examples.

A source is a named range of a task's examples; a filter makes a source, and so does another corpus. Positions of a run
come in cycles of 1,024. In each cycle a source has a whole number of places, drawn with a key of (data seed, cycle):
place j of a source that has n lies anywhere in the stretch from j / n to (j + 1) / n of the cycle. So the order is
random, and after any number of examples a source is off its share by fewer than one more than there are sources. Inside
a source the order is that of `data_order`, with its own epochs. All of it is a pure function of the position.
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from vsweep.config.problems import ConfigError, Problem, closest
from vsweep.tasks import data_order

CYCLE = 1024
MOST_SOURCES = 16
FIELD = "train.mixture"
FORM = "name:share,name:share with shares above 0 that sum to 1"
NAME = r"[A-Za-z]\w*"
ROUNDING = 2 / CYCLE  # that a sum of shares may be off 1, as that of .333 three times
KEY = 0x6D6978  # beside (data seed, cycle): the epochs have the keys (data seed, epoch)


@dataclasses.dataclass(frozen=True)
class Part:
    """What a run sees of one source: `share` of 1,024 positions, and `unique` distinct examples of `examples`."""

    source: str
    share: int
    examples: range
    unique: int


@dataclasses.dataclass(frozen=True)
class Mixture:
    """The sources of a run, sorted by name. `text` is what the config calls it: two texts may mean the same."""

    parts: tuple[Part, ...]
    text: str = dataclasses.field(default="", compare=False)
    name: str = dataclasses.field(default="", compare=False)  # in run ids

    @property
    def unique(self) -> int:
        """Distinct examples of all sources."""
        return sum(part.unique for part in self.parts)

    def limited(self, unique: int) -> "Mixture":
        """With `unique` distinct examples in all, by source in proportion to the shares: all are repeated equally.

        As many as there are means all of each source. Raises ConfigError where a source has too few or would get none.
        """
        if unique == self.unique:
            return self
        counts = apportion([part.share for part in self.parts], unique).tolist()
        problems = [
            Problem(
                "unique_examples",
                f"more than source {part.source} has",
                f"{unique:,}, of which {count:,} by its share",
                f"at most {len(part.examples) * CYCLE // part.share:,}",
            )
            for part, count in zip(self.parts, counts, strict=True)
            if count > len(part.examples)
        ]
        problems += [
            Problem(
                "unique_examples",
                f"none of source {part.source} by its share",
                f"{unique:,}",
                f"at least {-(-CYCLE // part.share):,}",
            )
            for part, count in zip(self.parts, counts, strict=True)
            if not count
        ]
        if problems:
            raise ConfigError(problems)
        limited = [dataclasses.replace(part, unique=n) for part, n in zip(self.parts, counts, strict=True)]
        return dataclasses.replace(self, parts=tuple(limited))

    def examples(self, data_seed: int, first: int, count: int) -> np.ndarray:
        """int64 [count]: the training examples at positions first .. first + count of the run's order."""
        found = np.empty(count, np.int64)
        sources = self._sources(data_seed, first, count)
        for number, (part, begin) in enumerate(zip(self.parts, self.places(data_seed, first), strict=True)):
            here = sources == number
            order = (data_seed, part.unique, len(part.examples))
            found[here] = data_order.examples(*order, begin, int(here.sum()))
            found[here] += part.examples.start  # in int64: a source may begin far beyond the others
        return found

    def places(self, data_seed: int, position: int) -> list[int]:
        """Examples of each source among the first `position` of the run's order."""
        cycle, rest = divmod(position, CYCLE)
        begun = self._sources(data_seed, cycle * CYCLE, rest)
        return [cycle * part.share + int((begun == number).sum()) for number, part in enumerate(self.parts)]

    def token_counts(self, label_tokens: int | np.ndarray, data_seed: int, positions: list[int]) -> list[int]:
        """As `data_order.token_counts`."""
        if isinstance(label_tokens, int):
            return [position * label_tokens for position in positions]
        counts, tokens, done = [], 0, 0
        for position in positions:
            seen = self.examples(data_seed, done, position - done)
            tokens += int(label_tokens[seen].sum(dtype=np.int64))
            counts.append(tokens)
            done = position
        return counts

    def unique_tokens(self, label_tokens: int | np.ndarray, data_seed: int, position: int) -> int:
        """Label tokens of the distinct examples among the first `position`."""
        tokens = 0
        for part, place in zip(self.parts, self.places(data_seed, position), strict=True):
            seen = min(place, part.unique)
            if isinstance(label_tokens, int):
                tokens += seen * label_tokens
            else:
                examples = data_order.examples(data_seed, part.unique, len(part.examples), 0, seen)
                tokens += int(label_tokens[part.examples.start + examples].sum(dtype=np.int64))
        return tokens

    def epochs(self, positions: int) -> dict[str, float]:
        """Source -> passes over its unique examples in a run of so many examples."""
        return {part.source: positions * part.share / CYCLE / part.unique for part in self.parts}

    def _sources(self, data_seed: int, first: int, count: int) -> np.ndarray:
        """int8 [count]: the number of the part at each of the positions from `first`."""
        cycles = range(first // CYCLE, -(-(first + count) // CYCLE))
        drawn = [_draw(data_seed, cycle, [part.share for part in self.parts]) for cycle in cycles]
        begin = first % CYCLE
        return np.concatenate(drawn)[begin : begin + count] if count else np.zeros(0, np.int8)


def _draw(data_seed: int, cycle: int, shares: Sequence[int]) -> np.ndarray:
    """int8 [1024]: the number of the source at each position of a cycle."""
    rng = np.random.default_rng([data_seed, cycle, KEY])
    when = np.concatenate([(np.arange(share) + rng.random(share)) / share for share in shares])
    return np.repeat(np.arange(len(shares), dtype=np.int8), shares)[np.argsort(when, kind="stable")]


def apportion(shares: Sequence[float], total: int) -> np.ndarray:
    """int64 [n]: `total` in whole parts as near to the shares as can be, by the largest remainders."""
    exact = np.asarray(shares, float) / math.fsum(shares) * total
    parts = np.floor(exact).astype(np.int64)
    most = np.argsort(parts - exact, kind="stable")[: total - int(parts.sum())]
    parts[most] += 1
    return parts


def read(text: str, sources: Mapping[str, range], *, field: str = FIELD) -> Mixture:
    """The mixture that `name:share,name:share` means, of all examples of its sources.

    Raises:
      ConfigError: every problem, about `field`.
    """
    shares, problems = _shares(text, field)
    for name in (name for name in shares if name not in sources):
        allowed = ", ".join(sources) or "a task with sources, such as text with task.sources"
        problems.append(Problem(field, f"no source {name}", repr(text), allowed, closest(name, list(sources))))
    if not problems:
        problems = _overlaps({name: sources[name] for name in shares}, text, field)
    names = sorted(shares)
    counts = [] if problems else apportion([shares[name] for name in names], CYCLE).tolist()
    for name in (name for name, count in zip(names, counts, strict=False) if not count):
        problems.append(Problem(field, f"the share of {name} is too small", repr(text), f"from 1/{CYCLE}"))
    if problems:
        raise ConfigError(problems)
    parts = [Part(name, count, sources[name], len(sources[name])) for name, count in zip(names, counts, strict=True)]
    shown = "_".join(f"{name}{shares[name]:.4g}" for name in names)
    return Mixture(tuple(parts), text, shown)


def _shares(text: str, field: str) -> tuple[dict[str, float], list[Problem]]:
    """Source -> share as written, and what is wrong with that whatever the task."""
    shares: dict[str, float] = {}
    problems = []
    for part in (part.strip() for part in text.split(",")):
        name, _, share = (each.strip() for each in part.partition(":"))
        if not re.fullmatch(NAME, name) or not re.fullmatch(r"\d*\.?\d+(e-?\d+)?", share) or not float(share) > 0:
            problems.append(Problem(field, "not a name and a share above 0", repr(part), FORM))
        elif name in shares:
            problems.append(Problem(field, f"two shares of {name}", repr(text), "each source once"))
        else:
            shares[name] = float(share)
    if len(shares) > MOST_SOURCES:
        problems.append(Problem(field, "too many sources", str(len(shares)), f"at most {MOST_SOURCES}"))
    total = math.fsum(shares.values())
    if not problems and abs(total - 1) > ROUNDING:
        problems.append(Problem(field, f"the shares sum to {total:.6g}", repr(text), FORM))
    return shares, problems


def _overlaps(ranges: Mapping[str, range], text: str, field: str) -> list[Problem]:
    """Sources of one mixture that have examples in common, so that nobody could count the distinct ones."""
    ordered = sorted(ranges, key=lambda name: ranges[name].start)
    return [
        Problem(field, f"{one} and {next_one} have examples in common", repr(text), "sources without common examples")
        for one, next_one in itertools.pairwise(ordered)
        if ranges[next_one].start < ranges[one].stop
    ]
