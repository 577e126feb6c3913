"""A comparison in words, as a table, as a figure and as a file for other programs.

compare.json, schema 1: names, convention, points (runs used of each set), laws {E, A, B, alpha, beta} of each set,
quantities (first, second and difference, second minus first, each with its range), relative (gamma of the second over
that of the first, less one), multiplier {flops, value, low, high, slope, slope_range}, held, margin, verdict, form,
pairing, resamples, failed, sentences. Losses in `loss_unit`, compute in FLOP; a number that is not finite is null.
"""

from dataclasses import asdict

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from rich.console import RenderableType

from vsweep.analysis import plotting
from vsweep.analysis.compare import paired_bootstrap, verdict
from vsweep.analysis.compare.comparison import Comparison
from vsweep.analysis.data.cells import cells
from vsweep.analysis.formatting import columns, count, finite, from_to, share, signed_percent
from vsweep.analysis.plotting import FLOP_LABELS, Drawing
from vsweep.analysis.uncertainty.intervals import Range

SMALLEST_FACTOR = 1.1  # of more data: less is not worth naming
STYLES = ((plotting.BLUE, "o", "-"), (plotting.RED, "s", "--"))


def table(comparison: Comparison) -> RenderableType:
    """Both laws and their differences, each number with its range on a second line."""
    header = ("", *(f"{name}\n({comparison.form})" for name in comparison.names), "difference")
    rows = [
        (
            row.name,
            _with_range(row.first, row.first_range, "\n"),
            _with_range(row.second, row.second_range, "\n"),
            _with_range(row.difference, row.difference_range, "\n", sign="+"),
        )
        for row in comparison.quantities
    ]
    return columns(header, rows)


def _with_range(value: float, range_: Range, gap: str = " ", sign: str = "") -> str:
    def form(number: float) -> str:
        return f"{number:{sign}.4f}"

    return f"{form(value)}{gap}({from_to(range_.low, range_.high, form)})"


def sentences(comparison: Comparison) -> list[str]:
    """The verdict first, then what stands behind it."""
    return [
        f"{_capital(comparison.verdict.outcome)}: {_reason(comparison)}",
        _about_multiplier(comparison),
        _about_held(comparison),
        *_about_others(comparison),
        _about_resamples(comparison),
    ]


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _reason(comparison: Comparison) -> str:
    first, second = comparison.names
    gamma = comparison.quantity("gamma")
    relative = comparison.relative_range
    by = f"{_percent(comparison.relative)} ({comparison.form}: {from_to(relative.low, relative.high, _percent)})"
    times = _multiplier_text(comparison, comparison.multiplier.middle, f"{comparison.form}: ")
    margin = f"the margin of {share(comparison.margin, digits=None)}"
    needs = f"{second} needs {times} times the compute of {first} for the same loss"
    match comparison.verdict.outcome:
        case verdict.MOVES:
            above = " above E" if any(law.E for law in comparison.laws) else ""
            falls = f"of {first} falls as C^-{gamma.first:.4f}, that of {second} as C^-{gamma.second:.4f}"
            return f"at the compute-optimum the loss{above} {falls}. The exponents differ by {by}."
        case verdict.CONSTANT:
            return f"{needs}. The exponents differ by {by}, less than {margin}."
        case verdict.NO_DIFFERENCE:
            return f"the exponents differ by {by}, less than {margin}. {needs}, which is one to within a quarter."
        case _:
            return f"{_open(comparison, by, times, margin)} {_settled(comparison)}"


def _open(comparison: Comparison, by: str, times: str, margin: str) -> str:
    """What the runs leave open, and why."""
    match comparison.verdict.open:
        case paired_bootstrap.RELATIVE:
            return f"the exponents differ by {by}, a range that holds zero and is wider than {margin}."
        case paired_bootstrap.SLOPE:
            return f"the compute multiplier moves as C^{_slope_text(comparison)}, a range wider than {margin}."
        case _:
            return (
                f"the exponents are equal to within {margin}, but the compute multiplier is {times}, a range that "
                "holds one and is wider than 0.8 to 1.25."
            )


def _settled(comparison: Comparison) -> str:
    """How much more data would about do; a range narrows as one over the square root of the data."""
    more = comparison.verdict.more
    if more is None:
        return "How many more runs would settle it cannot be said, because the range has no end."
    runs = min(len(points.table) for points in comparison.points)
    factor = max(more, SMALLEST_FACTOR)
    # Two digits, because it is no more than a guess.
    unit = 10 ** max(0, int(np.floor(np.log10(factor * runs))) - 1)
    needed = int(np.ceil(factor * runs / unit - 1e-9) * unit)
    more_cells = f"{factor:.2g} times as many cells ({needed} runs a set instead of {runs})"
    return f"If the estimate is right, about {more_cells} would settle it{_by_seeds(comparison, factor)}."


def _by_seeds(comparison: Comparison, factor: float) -> str:
    """How many seeds a cell would do instead: they shrink their own share of the variance and no other."""
    seed_share = comparison.verdict.seed_share
    if seed_share is None:
        return ""
    rest = 1 / factor - (1 - seed_share)
    if rest <= 0:
        return f". More seeds alone would not, because they cause only {share(seed_share, digits=0)} of the variance"
    seeds = min(len(points.seeds) for points in comparison.points)
    return f", or about {int(np.ceil(seeds * seed_share / rest))} seeds instead of {seeds}"


def _about_multiplier(comparison: Comparison) -> str:
    first, second = comparison.names
    multiplier = comparison.multiplier
    parts = [
        f"{_multiplier_text(comparison, at)} at {multiplier.flops[at]:.2g} FLOP"
        for at in (0, multiplier.middle, len(multiplier.flops) - 1)
    ]
    return (
        f"For the loss that {first} reaches, {second} needs this many times the compute: {', '.join(parts)}. The "
        f"multiplier moves as C^{_slope_text(comparison)}."
    )


def _about_held(comparison: Comparison) -> str:
    first, second = comparison.names
    rise, by_chance = comparison.held.rise, share(comparison.held.by_chance, digits=0)
    size = f"{100 * rise:.2g} %" if rise < 1 else f"a factor of {1 + rise:.3g}"
    return (
        f"With the exponents of {first} held, the misfit of {second} rises by {size}. If the exponents were equal, "
        f"{by_chance} of rises would be as large by chance."
    )


def _about_others(comparison: Comparison) -> list[str]:
    """The exponents that differ though that of the loss does not. One in ten does so by chance."""
    if comparison.verdict.outcome == verdict.MOVES:
        return []
    rows = [comparison.quantity(name) for name in ("alpha", "beta", "a")]
    apart = [row for row in rows if row.difference_range.low > 0 or row.difference_range.high < 0]
    parts = ", ".join(f"{row.name} by {_with_range(row.difference, row.difference_range, sign='+')}" for row in apart)
    return [f"Taken one by one, other exponents differ: {parts}."] if apart else []


def _about_resamples(comparison: Comparison) -> str:
    failed = f" ({comparison.failed} more had no law)" if comparison.failed else ""
    runs = " and ".join(count(len(points.table), "run") for points in comparison.points)
    form = "from the lowest to the highest" if comparison.form == "min..max" else f"the {comparison.form}"
    return (
        f"Ranges are {form} of {comparison.resamples} resamples{failed}, {comparison.pairing}. {_capital(runs)}; "
        f"{comparison.points[0].convention.describe()}."
    )


def _percent(relative: float) -> str:
    return signed_percent(relative, digits=1)


def _multiplier_text(comparison: Comparison, at: int, of: str = "") -> str:
    """The compute multiplier at one level with its range; `of` says in words what the range is."""
    multiplier = comparison.multiplier
    return f"{_factor(multiplier.value[at])} ({of}{from_to(multiplier.low[at], multiplier.high[at], _factor)})"


def _factor(multiplier: float) -> str:
    return f"{multiplier:.3g}" if np.isfinite(multiplier) else "infinity"


def _slope_text(comparison: Comparison) -> str:
    def form(slope: float) -> str:
        return f"{slope:+.3f}"

    ends = comparison.multiplier.slope_range
    return f"{form(comparison.multiplier.slope)} ({from_to(ends.low, ends.high, form)})"


# Files


def to_json(comparison: Comparison) -> dict:
    """The content of compare.json."""
    plain = {name: getattr(comparison, name) for name in ("names", "form", "pairing", "resamples", "failed", "margin")}
    nested = {name: asdict(getattr(comparison, name)) for name in ("relative_range", "multiplier", "held", "verdict")}
    content = {
        "schema": 1,
        **plain,
        "convention": comparison.points[0].convention.describe(),
        "loss_unit": comparison.points[0].loss_unit,
        "points": [len(points.table) for points in comparison.points],
        "laws": [asdict(law) for law in comparison.laws],
        "quantities": [asdict(quantity) for quantity in comparison.quantities],
        "relative": comparison.relative,
        **nested,
        "sentences": sentences(comparison),
    }
    return finite(content)


def drawing(comparison: Comparison) -> Drawing:
    """Left the finished runs and both frontiers, right the compute multiplier with its range."""
    first, second = comparison.names
    figure, (left, right) = plotting.new_figure(2)
    numbers = [_draw_set(left, comparison, at) for at in range(2)]
    convention = comparison.points[0].convention
    plotting.log_axis(left, "x", FLOP_LABELS[convention.flops])
    plotting.log_axis(left, "y", plotting.loss_label(convention.loss, comparison.points[0].loss_unit))
    numbers.append(_draw_multiplier(right, comparison))
    plotting.log_axis(right, "x", FLOP_LABELS[convention.flops])
    plotting.log_axis(right, "y", f"compute of {second} / {first}")
    plotting.legend_above(figure, 3)
    caption = (
        f"{_capital(comparison.verdict.outcome)}. Left: finished runs (mean over seeds) and the loss of each law on "
        f"its compute-optimal path. Right: how much compute {second} needs over {first} for the same loss "
        f"({comparison.form}). A level line means that only a constant differs, a sloping one that exponents differ."
    )
    return Drawing("compare", "Slope or intercept", caption, figure, pd.concat(numbers, ignore_index=True))


def _draw_set(axes: Axes, comparison: Comparison, at: int) -> pd.DataFrame:
    colour, marker, line = STYLES[at]
    name, points, law = comparison.names[at], comparison.points[at], comparison.laws[at]
    runs = cells(points)
    axes.scatter(runs["flops"], runs["loss"], s=16, marker=marker, facecolor="none", edgecolor=colour, alpha=0.7)
    flops = np.geomspace(runs["flops"].min(), runs["flops"].max(), 60)
    loss = law.E + paired_bootstrap.frontier_excess(law, points, flops)
    gamma = (comparison.quantity("gamma").first, comparison.quantity("gamma").second)[at]
    axes.plot(flops, loss, color=colour, ls=line, lw=2, label=f"{name}: falls as C^-{gamma:.3f}")
    blocks = [
        runs[["flops", "loss"]].assign(kind="runs"),
        pd.DataFrame({"flops": flops, "loss": loss, "kind": "frontier"}),
    ]
    return pd.concat(blocks).assign(set=name)


def _draw_multiplier(axes: Axes, comparison: Comparison) -> pd.DataFrame:
    multiplier = comparison.multiplier
    shown = np.isfinite(multiplier.value)
    axes.axhline(1, color="#999999", lw=1)
    if shown.any():
        top = 2 * multiplier.value[shown].max()
        ends = [np.minimum(end, top) for end in (multiplier.low, multiplier.high)]
        axes.fill_between(multiplier.flops, *ends, color=plotting.GREEN, alpha=0.25, lw=0, label=comparison.form)
        axes.plot(
            multiplier.flops[shown], multiplier.value[shown], color=plotting.GREEN, lw=2, label="compute multiplier"
        )
    columns = {name: getattr(multiplier, name) for name in ("flops", "value", "low", "high")}
    return pd.DataFrame(columns).rename(columns={"value": "multiplier"}).assign(kind="multiplier")
