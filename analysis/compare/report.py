"""A comparison in words, as a table, as a figure and as a file for other programs.

compare.json, schema 1: names, convention, points (runs used of each set), laws {E, A, B, alpha, beta} of each set,
quantities (first, second and difference, second minus first, each with its range), relative (gamma of the second over
that of the first, less one), multiplier {flops, value, low, high, slope, slope_range}, held, margin, verdict, form,
pairing, resamples, failed, sentences. Losses in nats/token, compute in FLOP; a number that is not finite is null.
"""

from dataclasses import asdict

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vsweep.analysis import plotting
from vsweep.analysis.compare import comparison, paired_bootstrap
from vsweep.analysis.compare.comparison import Comparison, Verdict
from vsweep.analysis.data.cells import cells
from vsweep.analysis.formatting import count
from vsweep.analysis.plotting import FLOP_LABELS, LOSS_LABELS, Drawing
from vsweep.analysis.report.fits_json import finite
from vsweep.analysis.uncertainty.intervals import Range

SMALLEST_FACTOR = 1.1  # of more data: less is not worth a sentence
STYLES = ((plotting.BLUE, "o", "-"), (plotting.RED, "s", "--"))


def table(found: Comparison) -> str:
    """Both laws and their differences as lines of text."""
    first, second = (f"{name} ({found.form})" for name in found.names)
    lines = [("", first, second, "difference")]
    for row in found.quantities:
        ranges = (row.first_range, row.second_range, row.difference_range)
        values = (row.first, row.second, row.difference)
        signs = ("", "", "+")
        lines.append((row.name, *(_with_range(*cell) for cell in zip(values, ranges, signs, strict=True))))
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _with_range(value: float, range_: Range, sign: str = "") -> str:
    return f"{value:{sign}.4f} ({range_.low:{sign}.4f} to {range_.high:{sign}.4f})"


def sentences(found: Comparison) -> list[str]:
    """The verdict first, then what stands behind it."""
    return [
        f"{_capital(found.verdict.outcome)}: {_reason(found)}",
        _about_multiplier(found),
        _about_held(found),
        *_about_others(found),
        _about_resamples(found),
    ]


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _reason(found: Comparison) -> str:
    first, second = found.names
    gamma = found.quantity("gamma")
    middle = found.multiplier.middle
    by = f"{_percent(found.relative)} ({found.form}: {_percents(found.relative_range)})"
    times = f"{_times(found.multiplier.value[middle])} ({found.form}: {_from_to(found, middle)})"
    margin = f"the margin of {100 * found.margin:g} %"
    needs = f"{second} needs {times} times the compute of {first} for the same loss"
    match found.verdict.outcome:
        case comparison.MOVES:
            above = " above E" if any(law.E for law in found.laws) else ""
            falls = (
                f"the loss{above} of {first} falls as C^-{gamma.first:.4f}, that of {second} as C^-{gamma.second:.4f}"
            )
            return f"at the compute-optimum {falls}, an exponent that differs by {by}."
        case comparison.CONSTANT:
            return f"{needs}, and the exponents differ by {by}, less than {margin}."
        case comparison.NO_DIFFERENCE:
            return f"the exponents differ by {by}, less than {margin}, and {needs}: one to within a quarter."
        case _:
            return f"{_open(found, by, times, margin)} {_settled(found)}"


def _open(found: Comparison, by: str, times: str, margin: str) -> str:
    """What the runs leave open, and why."""
    match found.verdict.open:
        case paired_bootstrap.RELATIVE:
            return f"the exponents differ by {by}, a range that holds zero and is wider than {margin}."
        case paired_bootstrap.SLOPE:
            slope = f"{found.multiplier.slope:+.3f} ({_range(found.multiplier.slope_range)})"
            return f"the compute multiplier moves as C^{slope}, a range wider than {margin}."
        case _:
            return (
                f"the exponents are equal to within {margin}, but the compute multiplier is {times}, a range that "
                "holds one and is wider than 0.8 to 1.25."
            )


def _settled(found: Comparison) -> str:
    """How much more data would about do; a range narrows as one over the square root of the data."""
    verdict = found.verdict
    if verdict.more is None:
        return "How many more runs would settle it cannot be said: the range has no end."
    runs = min(len(points.table) for points in found.points)
    factor = max(verdict.more, SMALLEST_FACTOR)
    more = f"{factor:.2g} times as many cells ({_round_up(factor * runs)} runs a set in place of {runs})"
    return f"If the estimate is right, about {more} would settle it{_by_seeds(verdict, factor, found)}."


def _by_seeds(verdict: Verdict, factor: float, found: Comparison) -> str:
    """How many seeds a cell would do instead: they shrink their own share of the variance and no other."""
    if verdict.seed_share is None:
        return ""
    rest = 1 / factor - (1 - verdict.seed_share)
    if rest <= 0:
        return f"; more seeds alone would not, for they make {verdict.seed_share:.0%} of the variance only"
    seeds = min(len(points.seeds) for points in found.points)
    return f", or about {int(np.ceil(seeds * verdict.seed_share / rest))} seeds in place of {seeds}"


def _round_up(number: float) -> int:
    """To two digits, for it is no more than a guess."""
    unit = 10 ** max(0, int(np.floor(np.log10(number))) - 1)
    return int(np.ceil(number / unit - 1e-9) * unit)


def _about_multiplier(found: Comparison) -> str:
    first, second = found.names
    multiplier = found.multiplier
    parts = [
        f"{_times(multiplier.value[at])} ({_from_to(found, at)}) at {multiplier.flops[at]:.2g} FLOP"
        for at in (0, multiplier.middle, len(multiplier.flops) - 1)
    ]
    return (
        f"For the loss that {first} reaches, {second} needs as many times the compute: {', '.join(parts)}. This "
        f"multiplier moves as C^{multiplier.slope:+.3f} ({_range(multiplier.slope_range)})."
    )


def _about_held(found: Comparison) -> str:
    first, second = found.names
    rise = found.held.rise
    size = f"{100 * rise:.2g} %" if rise < 1 else f"a factor of {1 + rise:.3g}"
    return (
        f"With the exponents of {first} held, the misfit of {second} rises by {size}; were they the same, "
        f"{found.held.by_chance:.0%} of rises would be as large by chance."
    )


def _about_others(found: Comparison) -> list[str]:
    """The exponents that differ though that of the loss does not. One in ten does so by chance."""
    if found.verdict.outcome == comparison.MOVES:
        return []
    rows = [found.quantity(name) for name in ("alpha", "beta", "a")]
    apart = [row for row in rows if row.difference_range.low > 0 or row.difference_range.high < 0]
    parts = ", ".join(f"{row.name} by {_with_range(row.difference, row.difference_range, '+')}" for row in apart)
    return [f"Taken one by one, other exponents differ: {parts}."] if apart else []


def _about_resamples(found: Comparison) -> str:
    failed = f" ({found.failed} more had no law)" if found.failed else ""
    runs = " and ".join(count(len(points.table), "run") for points in found.points)
    form = "from the lowest to the highest" if found.form == "min..max" else f"the {found.form}"
    return (
        f"Ranges are {form} of {found.resamples} resamples{failed}, {found.pairing}. {_capital(runs)}; "
        f"{found.points[0].convention.describe()}."
    )


def _percent(share: float) -> str:
    return f"{100 * share:+.1f} %"


def _percents(range_: Range) -> str:
    return f"{_percent(range_.low)} to {_percent(range_.high)}"


def _range(range_: Range) -> str:
    return f"{range_.low:+.3f} to {range_.high:+.3f}"


def _from_to(found: Comparison, at: int) -> str:
    return f"{_times(found.multiplier.low[at])} to {_times(found.multiplier.high[at])}"


def _times(multiplier: float) -> str:
    return f"{multiplier:.3g}" if np.isfinite(multiplier) else "infinity"


# Files


def to_json(found: Comparison) -> dict:
    """The content of compare.json."""
    plain = {name: getattr(found, name) for name in ("names", "form", "pairing", "resamples", "failed", "margin")}
    nested = {name: asdict(getattr(found, name)) for name in ("relative_range", "multiplier", "held", "verdict")}
    content = {
        "schema": 1,
        **plain,
        "convention": found.points[0].convention.describe(),
        "points": [len(points.table) for points in found.points],
        "laws": [asdict(law) for law in found.laws],
        "quantities": [asdict(quantity) for quantity in found.quantities],
        "relative": found.relative,
        **nested,
        "sentences": sentences(found),
    }
    return finite(content)


def drawing(found: Comparison) -> Drawing:
    """Left the finished runs and both frontiers, right the compute multiplier with its range."""
    figure, (left, right) = plotting.new_figure(2)
    numbers = [_draw_set(left, found, at) for at in range(2)]
    convention = found.points[0].convention
    plotting.log_axis(left, "x", FLOP_LABELS[convention.flops])
    plotting.log_axis(left, "y", LOSS_LABELS[convention.loss])
    numbers.append(_draw_multiplier(right, found))
    plotting.log_axis(right, "x", FLOP_LABELS[convention.flops])
    plotting.log_axis(right, "y", f"compute of {found.names[1]} / {found.names[0]}")
    plotting.legend_above(figure, 3)
    caption = (
        f"{_capital(found.verdict.outcome)}. Left: finished runs (mean over seeds) and the loss of each law on its "
        f"compute-optimal path. Right: how much compute {found.names[1]} needs over {found.names[0]} for the same loss "
        f"({found.form}); a level line is a constant, a sloping one another exponent."
    )
    return Drawing("compare", "Slope or intercept", caption, figure, pd.concat(numbers, ignore_index=True))


def _draw_set(axes: Axes, found: Comparison, at: int) -> pd.DataFrame:
    colour, marker, line = STYLES[at]
    name, points, law = found.names[at], found.points[at], found.laws[at]
    runs = cells(points)
    axes.scatter(runs["flops"], runs["loss"], s=16, marker=marker, facecolor="none", edgecolor=colour, alpha=0.7)
    flops = np.geomspace(runs["flops"].min(), runs["flops"].max(), 60)
    loss = law.E + paired_bootstrap.frontier_excess(law, points, flops)
    gamma = (found.quantity("gamma").first, found.quantity("gamma").second)[at]
    axes.plot(flops, loss, color=colour, ls=line, lw=2, label=f"{name}: falls as C^-{gamma:.3f}")
    blocks = [
        runs[["flops", "loss"]].assign(kind="runs"),
        pd.DataFrame({"flops": flops, "loss": loss, "kind": "frontier"}),
    ]
    return pd.concat(blocks).assign(set=name)


def _draw_multiplier(axes: Axes, found: Comparison) -> pd.DataFrame:
    multiplier = found.multiplier
    shown = np.isfinite(multiplier.value)
    axes.axhline(1, color="#999999", lw=1)
    if shown.any():
        top = 2 * multiplier.value[shown].max()
        ends = [np.minimum(end, top) for end in (multiplier.low, multiplier.high)]
        axes.fill_between(multiplier.flops, *ends, color=plotting.GREEN, alpha=0.25, lw=0, label=found.form)
        axes.plot(
            multiplier.flops[shown], multiplier.value[shown], color=plotting.GREEN, lw=2, label="compute multiplier"
        )
    columns = {name: getattr(multiplier, name) for name in ("flops", "value", "low", "high")}
    return pd.DataFrame(columns).rename(columns={"value": "multiplier"}).assign(kind="multiplier")
