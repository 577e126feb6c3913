"""What all figures share: colours, log axes with readable ticks, and saving with the numbers beside the picture.

Figures are made by the object-oriented interface on an Agg canvas: no global state, no display. Colours are viridis
for ordered quantities and Okabe and Ito's set for the approaches, which colour-blind readers can tell apart.
"""

import contextlib
import functools
import io
import itertools
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from vsweep import atomic
from vsweep.analysis.formatting import metric, printable

BLACK, ORANGE, SKY, GREEN, BLUE, RED, PINK = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
LOSS_LABELS = {
    "excess_loss": "excess loss",
    "answer_loss": "answer loss",
    "val_loss": "validation loss",
    "loss": "loss",
}
SIZE_LABELS = {"params": "N (parameters)", "params_non_embedding": "N (parameters without embeddings)"}
TOKENS_LABEL = "D (training tokens)"
FLOP_LABELS = {"flops_6nd": "C = 6ND (FLOP)", "flops_counted": "C, counted (FLOP)", "flops_own": "C (FLOP)"}
APPROACHES = {  # method: label, colour, marker
    "envelope": ("lower envelope", ORANGE, "o"),
    "isoflop_parabola": ("IsoFLOP, parabola", BLUE, "s"),
    "isoflop_akima": ("IsoFLOP, Akima", GREEN, "D"),
    "parametric": ("parametric", RED, ""),
}
LAW_STYLES = tuple(zip((RED, BLUE, GREEN, ORANGE, SKY, PINK, BLACK), "osD^vPX", strict=True))  # colour and marker
STYLE = {
    "font.size": 10,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.hashsalt": "vsweep",
}
ONE_PANEL, TWO_PANELS = (5.6, 3.9), (7.4, 3.9)  # inches: text is still readable when a column shrinks one to 3.3
DPI = 160
LONGEST_LABEL = 120  # characters of a name, which would leave no room for the figure
LONGEST_FILE = 60  # letters of a name that go into the name of a file
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes a cell of text for that begins so
MANY_MARKS = 2_000  # from here on a cloud of dots is a blot: a figure shows their density
MANY_CURVE_POINTS = 20_000  # of all curves of a figure
MANY_LINES, SOME_LINES = 30, 12  # a figure of more lines than this shows a dozen of them
FEW_COLOURS = 3  # values, up to which a legend names each
BINS = 70, 50  # of a density, across and up
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# More tick marks the fewer decades an axis spans: (decades at least, marks within a decade);
# on less than the last, evenly spaced round values.
MARKS = (
    (5, (1,)),
    (1.6, (1, 3)),
    (0.9, (1, 2, 5)),
    (0.35, (1, 1.5, 2, 3, 4, 5, 7)),
)
MOST_DECADES_OF_THREES = 3.5  # beyond, marks such as 3×10⁻⁵ run into each other


@dataclass(frozen=True)
class Drawing:
    """A finished figure, its caption, and the numbers that it shows."""

    name: str
    title: str
    caption: str
    figure: Figure
    numbers: pd.DataFrame

    @functools.cached_property
    def svg(self) -> bytes:
        """The figure as SVG, rendered once."""
        return _render(self.figure, "svg")


def loss_label(loss: str, unit: str) -> str:
    """The label of an axis of losses, with their unit."""
    return f"{LOSS_LABELS[loss]} ({unit})"


def new_figure(panels: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure with `panels` axes side by side, in the common style and without a display."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=TWO_PANELS if panels > 1 else ONE_PANEL, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, panels, squeeze=False)[0]
        if panels > 1:
            figure.get_layout_engine().set(wspace=0.06)  # between a colour bar and the label of the next panel
    return figure, list(axes)


def new_grid(panels: int, columns: int = 3) -> tuple[Figure, list[Axes]]:
    """As `new_figure`, with the panels in rows of `columns`; axes beyond `panels` are not made."""
    rows, columns = -(-panels // columns), min(panels, columns)
    with matplotlib.rc_context(STYLE):
        size = ONE_PANEL if panels == 1 else (2.5 * columns + 0.9, 2.4 * rows + 0.5)
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        return figure, [figure.add_subplot(rows, columns, at + 1) for at in range(panels)]


def file_parts(names: Sequence[str]) -> dict[str, str]:
    """By name: the letters and digits of it that a file may be called by, short and each only once."""
    parts: dict[str, str] = {}
    for at, name in enumerate(names):
        part = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:LONGEST_FILE]
        parts[name] = f"{at}_{part}" if not part or part in parts.values() else part
    return parts


def log_axis(axes: Axes, which: str, label: str, *, units: bool = False) -> None:
    """A log axis with marks that suit its range; `units` writes 20k and 3M instead of powers of ten."""
    axis = {"x": axes.xaxis, "y": axes.yaxis}[which]
    {"x": axes.set_xscale, "y": axes.set_yscale}[which]("log")
    low, high = {"x": axes.get_xlim, "y": axes.get_ylim}[which]()
    decades = np.log10(high) - np.log10(low)
    powers = not units and (high > 2e3 or low < 1e-4)
    marks = next((marks for least, marks in MARKS if decades >= least), None)
    narrow = which == "x" and len(axes.figure.axes) > 1
    if powers and decades >= MOST_DECADES_OF_THREES / (2 if narrow else 1):
        marks = (1,)
    axis.set_major_locator(
        ticker.LogLocator(subs=marks, numticks=12) if marks else ticker.MaxNLocator(4 if narrow else 6)
    )
    axis.set_minor_locator(ticker.NullLocator())
    axis.set_major_formatter(ticker.FuncFormatter(_metric if units else _power if powers else _plain))
    {"x": axes.set_xlabel, "y": axes.set_ylabel}[which](label)


def _metric(value: float, _position: int | None = None) -> str:
    return metric(value)


def _plain(value: float, _position: int | None = None) -> str:
    return f"{value:g}" if value >= 1e-4 else _power(value)


def _power(value: float, _position: int | None = None) -> str:
    # Superscript letters and not mathtext, whose parser takes half of the time of a figure.
    exponent = int(np.floor(np.log10(value) + 1e-9))
    mantissa = value / 10.0**exponent
    head = "" if abs(mantissa - 1) < 1e-6 else f"{mantissa:g}×"
    return f"{head}10{str(exponent).translate(SUPERSCRIPTS)}"


def colours(values: np.ndarray, name: str = "viridis") -> ScalarMappable:
    """Log colours over `values`; the lightest end is cut off, because it is hardly seen on white."""
    low, high = float(np.min(values)), float(np.max(values))
    if low == high:
        low, high = low / 1.5, high * 1.5
    whole = matplotlib.colormaps[name]
    cut = matplotlib.colors.LinearSegmentedColormap.from_list(name, whole(np.linspace(0, 0.9, 256)))
    return ScalarMappable(norm=LogNorm(low, high), cmap=cut)


def colour_bar(
    figure: Figure, axes: Axes | list[Axes], scale: ScalarMappable, values, label: str, *, units: bool = True
) -> None:
    """A bar for the colours of `values`; for one value a line of text, and for few a legend: a bar would say less."""
    few, name = np.unique(values), label.split(" (")[0]
    last = axes[-1] if isinstance(axes, list) else axes
    if len(few) == 1:
        last.set_title(f"{name} = {_metric(float(few[0]))}", loc="right", fontsize=9)
        return
    if len(few) <= FEW_COLOURS:
        say = _metric if units else _plain
        lines = [Line2D([], [], color=scale.to_rgba(value), lw=4, label=say(float(value))) for value in few[::-1]]
        last.legend(
            handles=lines, title=name, loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.2, frameon=False
        )
        return
    bar = figure.colorbar(scale, ax=axes, pad=0.02, aspect=30)
    log_axis(bar.ax, "y", label, units=units)
    bar.ax.grid(False)
    bar.outline.set_visible(False)


def some_of(values: np.ndarray) -> np.ndarray:
    """The distinct values, sorted; a dozen of them, evenly taken with both ends, where a figure cannot show all."""
    values = np.unique(values)
    if len(values) <= MANY_LINES:
        return values
    return values[np.unique(np.linspace(0, len(values) - 1, SOME_LINES).round().astype(int))]


def density(figure: Figure, axes: Axes, x: pd.Series, y: pd.Series) -> pd.DataFrame:
    """How many of the points [n] lie where, in bins that are even on the logs of x and (where it is positive) y.

    Returns the middles of the bins that hold points, in columns named as the series are, and their number of `points`.
    """
    edges = [_edges(values.to_numpy(float), count) for values, count in zip((x, y), BINS, strict=True)]
    points = np.histogram2d(x, y, bins=edges)[0]
    colour = colours(points[points > 0])
    shown = np.ma.masked_equal(points.T, 0)
    axes.pcolormesh(*edges, shown, cmap=colour.cmap.reversed(), norm=colour.norm, rasterized=True)
    colour.set_cmap(colour.cmap.reversed())
    colour_bar(figure, axes, colour, points[points > 0], "points")
    column, row = np.nonzero(points)
    middles = [(edge[1:] + edge[:-1]) / 2 for edge in edges]
    counts = points[column, row].astype(int)
    return pd.DataFrame({x.name: middles[0][column], y.name: middles[1][row], "points": counts})


def _edges(values: np.ndarray, count: int) -> np.ndarray:
    """[count + 1] edges of bins over all values."""
    low, high = values.min(), values.max()
    if low <= 0:
        return np.linspace(low, max(high, low + 1e-9), count + 1)
    return np.geomspace(low * (1 - 1e-9), max(high, low * (1 + 1e-9)) * (1 + 1e-9), count + 1)


def level_lines(axes: Axes, levels: Mapping[str, float]) -> None:
    """A thin horizontal line for each named level of the y axis, with its name and number for the legend."""
    for (name, level), style in zip(levels.items(), itertools.cycle((":", "--", "-."))):
        axes.axhline(level, color=BLACK, lw=0.8, ls=style, label=f"{name} level, {level:.3f}")


def legend_above(figure: Figure, columns: int) -> None:
    """A legend over the panels, where no data is."""
    figure.legend(loc="outside upper left", ncols=columns, handletextpad=0.5, frameon=False, fontsize=9)


def save(drawing: Drawing, folder: Path) -> None:
    """Writes NAME.png, NAME.svg and NAME.csv into `folder`, each in one step. Names in it are text and no more."""
    _lay_out(drawing.figure)
    atomic.write_bytes_atomically(folder / f"{drawing.name}.png", _render(drawing.figure, "png"))
    atomic.write_bytes_atomically(folder / f"{drawing.name}.svg", drawing.svg)
    table = without_formulas(drawing.numbers).to_csv(index=False, lineterminator="\n")
    atomic.write_text_atomically(folder / f"{drawing.name}.csv", table)


def save_as(drawing: Drawing, file: Path) -> None:
    """Writes the figure alone, as the ending of `file` says: .png or .svg."""
    _lay_out(drawing.figure)
    atomic.write_bytes_atomically(file, _render(drawing.figure, file.suffix.lower().lstrip(".")))


def _lay_out(figure: Figure) -> None:
    """The layout is computed once and then kept, because computing it again takes longer than drawing."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a name may hold a $
        text.set_text(printable(text.get_text())[:LONGEST_LABEL])  # XML has no place for control characters
    with _as_drawn():
        figure.get_layout_engine().execute(figure)
    figure.set_layout_engine("none")


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a ' before text that a spreadsheet would run; numbers stay numbers."""
    texts = table.select_dtypes(exclude=["number", "bool"])
    marked = texts.map(lambda cell: f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULAS) else cell)
    return table.assign(**dict(marked.items()))


@contextlib.contextmanager
def _as_drawn() -> Iterator[None]:
    """Without warnings about letters that the font lacks: the figure shows a box, and its CSV the name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        yield


def _render(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    # Without a date the same numbers give the same file.
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with matplotlib.rc_context(STYLE), _as_drawn():
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
    return buffer.getvalue()
