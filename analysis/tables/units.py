"""Units of N, D, C and the loss: what a column's name says, and what its magnitude cannot be.

A unit in the name is believed and converted, with a note. A magnitude alone is never converted: N = 20 may mean 20
million, and only the owner of the table knows. Such a table is refused, with the option that answers the question.
"""

import re
from dataclasses import dataclass

import numpy as np

THOUSAND, MILLION, BILLION, TRILLION = 1e3, 1e6, 1e9, 1e12
PF_DAY = 8.64e19  # FLOP: 1e15 per second for a day (Kaplan et al. 2020)

COUNTS = {
    **dict.fromkeys(("k", "thousand", "thousands"), THOUSAND),
    **dict.fromkeys(("m", "mil", "mln", "mm", "million", "millions"), MILLION),
    **dict.fromkeys(("b", "g", "bn", "bln", "billion", "billions"), BILLION),
    **dict.fromkeys(("t", "trillion", "trillions"), TRILLION),
}
PREFIXES = {"k": 1e3, "kilo": 1e3, "m": 1e6, "mega": 1e6, "g": 1e9, "giga": 1e9, "t": 1e12, "tera": 1e12}
PREFIXES |= {"p": 1e15, "peta": 1e15, "e": 1e18, "exa": 1e18, "z": 1e21, "zetta": 1e21, "y": 1e24, "yotta": 1e24}
FLOP_WORDS = {f"{prefix}{word}": factor for prefix, factor in PREFIXES.items() for word in ("flop", "flops")}
DAYS = {
    "pfdays",
    "pfday",
    "pfsdays",
    "pfsday",
    "petaflopdays",
    "petaflopsdays",
    "petaflopsday",
    "pflopdays",
    "pflopsdays",
}
NO_FLOP = {"gpuhours", "gpuhour", "gpuh", "gpudays", "acceleratorhours", "tpuhours", "h100hours", "a100hours"}

NATS, BITS_PER_BYTE, BITS_PER_TOKEN, PERPLEXITY = "nats/token", "bits/byte", "bits/token", "perplexity"
LOSS_UNITS = (NATS, BITS_PER_BYTE, BITS_PER_TOKEN, PERPLEXITY)
LOSS_WORDS = {
    **dict.fromkeys(("bpb", "bpc", "bitsperbyte", "bitsperchar", "bitspercharacter"), BITS_PER_BYTE),
    **dict.fromkeys(("bitspertoken", "bpt"), BITS_PER_TOKEN),
    **dict.fromkeys(("ppl", "perplexity"), PERPLEXITY),
    **dict.fromkeys(("nats", "natspertoken"), NATS),
}
LARGEST_LOSS = 12.0  # nats per token: ln of a vocabulary of 160,000

LEAST_COUNT = 1e3  # parameters or tokens of the largest run, below which the unit is in doubt
RATIOS = (1e-2, 1e6)  # of D over N in the median run
COMPUTE = (0.1, 10.0)  # of C over 6ND in the median run


@dataclass(frozen=True)
class Named:
    """What a column's name says: its letters without the unit, and the factor that gives plain counts or FLOP."""

    base: str
    factor: float
    text: str  # such as `millions`, for a note


def words_of(name: str) -> list[str]:
    """The words of a column's name in small letters: `trainTokens (B)` -> train, tokens, b."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", str(name))
    return [word.casefold() for word in re.split(r"[^A-Za-z0-9]+", spaced) if word]


def from_name(name: str) -> Named | None:
    """The unit in a column's name; None where it has none.

    `params_M` is (params, 1e6); `total_gflops` is (totalflops, 1e9); `pf_days` is (compute, 8.64e19).
    """
    words = words_of(name)
    joined = "".join(words)
    for days in sorted(DAYS, key=len, reverse=True):
        if joined.endswith(days):
            return Named(joined.removesuffix(days).removesuffix("compute") + "compute", PF_DAY, "PF-days")
    for at, word in enumerate(words):
        if word in FLOP_WORDS:
            base = "".join([*words[:at], "flops", *words[at + 1 :]])
            return Named(base, FLOP_WORDS[word], f"units of {FLOP_WORDS[word]:.0e} FLOP")
    if len(words) > 1 and words[-1] in COUNTS:
        factor = COUNTS[words[-1]]
        return Named("".join(words[:-1]), factor, COUNT_NAMES[factor])
    return None


COUNT_NAMES = {THOUSAND: "thousands", MILLION: "millions", BILLION: "billions", TRILLION: "trillions"}


def is_time(name: str) -> bool:
    """Whether a column counts hours of devices, which are FLOP only at a known speed."""
    return "".join(words_of(name)) in NO_FLOP


def loss_unit(name: str) -> str | None:
    """The unit of a loss by its column's name; None where the name has none."""
    words = words_of(name)
    joined = "".join(words)
    found = [unit for word, unit in LOSS_WORDS.items() if word in words or joined.endswith(word)]
    return found[0] if found else None


@dataclass(frozen=True)
class Doubt:
    """A magnitude that cannot be meant: what is seen, and the factor by quantity that would mend it, if one would."""

    text: str
    factors: dict[str, float]


def doubts(values: dict[str, np.ndarray]) -> list[Doubt]:
    """What is implausible about columns N, D (counts) and C (FLOP), each [n]; empty where nothing is.

    Small models pass: 988 parameters and 125,000 tokens are no reason to ask, as long as the largest run has more than
    a thousand of each.
    """
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        return _doubts_about_counts(values)


def _doubts_about_counts(values: dict[str, np.ndarray]) -> list[Doubt]:
    small = {name: values[name].max() for name in "ND" if name in values and values[name].max() < LEAST_COUNT}
    if small:
        seen = " and ".join(f"the largest {name} is {value:.4g}" for name, value in small.items())
        return [Doubt(f"{seen}, which is no count of {' or '.join(WHAT[name] for name in small)}", _counts(values))]
    if {"N", "D"} <= set(values):
        ratio = float(np.median(values["D"] / values["N"]))
        if not RATIOS[0] <= ratio <= RATIOS[1]:
            return [Doubt(f"D / N is {ratio:.3g} in the median row", _counts(values))]
    return _doubts_about_compute(values)


WHAT = {"N": "parameters", "D": "tokens"}


def _doubts_about_compute(values: dict[str, np.ndarray]) -> list[Doubt]:
    if not {"N", "D", "C"} <= set(values):
        if "C" in values and ({"N", "D"} & set(values)):
            return _doubts_about_third(values)
        return []
    ratio = values["C"] / (6.0 * values["N"] * values["D"])
    middle = float(np.median(ratio))
    if COMPUTE[0] <= middle <= COMPUTE[1]:
        return []
    seen = f"C / (6 N D) is {middle:.3g} in the median row"
    if not 0 < middle < np.inf:
        return [Doubt(seen, {})]
    power = 10.0 ** round(-np.log10(middle))
    steady = np.ptp(np.log10(ratio)) < 1
    return [Doubt(seen, {"C": power} if steady else {})]


def _doubts_about_third(values: dict[str, np.ndarray]) -> list[Doubt]:
    """Of C and one of N and D: the third follows, and must be a plausible count beside the other."""
    name = "N" if "N" in values else "D"
    third = values["C"] / (6.0 * values[name])
    tokens_per_param = third / values[name] if name == "N" else values[name] / third
    middle, other = float(np.median(tokens_per_param)), "D" if name == "N" else "N"
    if RATIOS[0] <= middle <= RATIOS[1] and third.max() >= LEAST_COUNT:
        return []
    seen = f"C / 6{name} gives {other} = {np.median(third):.3g}, D / N = {middle:.3g}, in the median row"
    # A C that is too small by some factor makes D = C / 6N too small by it, and N = C / 6D too.
    scale = 1.0 if name == "N" else -1.0
    fitting = [power for power in (1e3, 1e6, 1e9, 1e12, 1e15) if 1 <= middle * power**scale <= 1e3]
    return [Doubt(seen, {"C": fitting[0]} if len(fitting) == 1 else {})]


def _counts(values: dict[str, np.ndarray]) -> dict[str, float]:
    """The factors of a thousand, a million or a billion that make N and D plausible together; empty where none do.

    Plausible: at least 10,000 parameters, and a median of 1 to 1,000 tokens per parameter, closest to 20.
    """
    if not {"N", "D"} <= set(values):
        return {}
    params, tokens = float(np.median(values["N"])), float(np.median(values["D"]))
    scales = (1.0, THOUSAND, MILLION, BILLION, TRILLION)
    fitting = [
        (abs(np.log(tokens * d / (params * n) / 20)), n, d)
        for n in scales
        for d in scales
        if params * n >= 1e4 and params * n <= 1e13 and 1 <= tokens * d / (params * n) <= 1e3
    ]
    # Of equally good pairs the usual one: millions of parameters and billions of tokens.
    if not fitting:
        return {}
    best = min(fitting, key=lambda one: (one[1] != MILLION, round(one[0], 6)))
    return {name: factor for name, factor in zip("ND", best[1:], strict=True) if factor != 1.0}
