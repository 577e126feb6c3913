"""The (N, D) design as a picture of letters: log N to the right, log D upward, lines of equal compute 6ND across.

Only ASCII, so that it reads the same in a pipe, in a log and on any terminal.
"""

import numpy as np

from vsweep.analysis.approaches.parametric import Law
from vsweep.analysis.designer.runs import Runs
from vsweep.analysis.formatting import amount

HEIGHT, WIDEST, NARROWEST = 15, 72, 20  # of the field, in letters
LEFT, RIGHT = 8, 6  # columns for the labels of D, and of the compute that ends at the right
MOST_LINES = 7  # of equal compute
EMPTY, EQUAL_COMPUTE, OPTIMUM, MANY = " ", ".", "~", "#"
MOST_COUNTED = 9


def draw(runs: Runs, width: int, law: Law | None = None) -> list[str]:
    """The picture as lines of at most `width` letters (but never below `NARROWEST` for the field), with its legend.

    A digit is how many runs there are, dots join equal 6ND, and `~` is where `law` has its compute-optimal runs.
    """
    field = _Field.around(runs, max(NARROWEST, min(WIDEST, width - LEFT - RIGHT - 2)))
    above, below, right = _draw_compute(field)
    if law is not None:
        _draw_optimum(field, law)
    _draw_runs(field, runs)
    lines = ["D, tokens".rjust(LEFT) + f"   (dots: equal 6ND, FLOP; digits: runs{'; ~ optimum' if law else ''})"]
    lines.append(" " * (LEFT + 1) + above)
    rows = zip(_d_labels(field), field.rows, right, strict=True)
    lines += [f"{label:>{LEFT}}|{row} {flops}" for label, row, flops in rows]
    lines.append(" " * LEFT + "+" + "-" * field.width)
    lines += [" " * (LEFT + 1) + below, " " * (LEFT + 1) + _n_labels(field)]
    return [line.rstrip() for line in lines if line.strip()]


class _Field:
    """Letters [height][width] over a range of log N and log D."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], width: int):
        self.x, self.y, self.width = x, y, width
        self.letters = [[EMPTY] * width for _ in range(HEIGHT)]

    @classmethod
    def around(cls, runs: Runs, width: int) -> "_Field":
        ends = []
        for values, letters in ((runs.params, width), (runs.tokens, HEIGHT)):
            low, high = float(np.log(values.min())), float(np.log(values.max()))
            margin = max((high - low) / (letters - 3), 0.05)  # a letter at either end
            ends.append((low - margin, high + margin))
        return cls(*ends, width)

    @property
    def rows(self) -> list[str]:
        return ["".join(row) for row in self.letters]

    def column(self, x: float) -> int:
        return round((x - self.x[0]) / (self.x[1] - self.x[0]) * (self.width - 1))

    def row(self, y: float) -> int:
        return HEIGHT - 1 - round((y - self.y[0]) / (self.y[1] - self.y[0]) * (HEIGHT - 1))

    def log_n(self, column: int) -> float:
        return self.x[0] + column / (self.width - 1) * (self.x[1] - self.x[0])

    def put(self, column: int, row: int, letter: str) -> None:
        if 0 <= column < self.width and 0 <= row < HEIGHT:
            self.letters[row][column] = letter


def compute_levels(low: float, high: float) -> list[float]:
    """Round amounts of compute (FLOP) between two, at most `MOST_LINES`: powers of ten, or fewer of them."""
    first, last = int(np.ceil(np.log10(low))), int(np.floor(np.log10(high)))
    step = max(1, -(-(last - first + 1) // MOST_LINES))
    return [10.0**power for power in range(first, last + 1, step)]


def _draw_compute(field: _Field) -> tuple[str, str, list[str]]:
    """Draws the lines; returns their labels in a line above the field, in one below it, and beside each row."""
    low, high = (6 * np.exp(field.x[at] + field.y[at]) for at in (0, 1))
    above, below, right = [EMPTY] * field.width, [EMPTY] * field.width, [""] * HEIGHT
    for flops in compute_levels(low, high):
        total, label = float(np.log(flops / 6)), flops_label(flops)
        for column in range(field.width):
            field.put(column, field.row(total - field.log_n(column)), EQUAL_COMPUTE)
        enters, leaves = field.column(total - field.y[1]), field.row(total - field.x[1])
        if enters >= 0:
            _write(above, enters, label)
        elif leaves < HEIGHT:
            right[max(0, leaves)] = label
        else:
            _write(below, field.column(total - field.y[0]), label)
    return "".join(above), "".join(below), right


def flops_label(flops: float) -> str:
    """A power of ten, such as 1e14."""
    return f"1e{round(np.log10(flops))}"


def _write(line: list[str], at: int, text: str) -> None:
    """Writes text into the line at a place, shifted to fit; where another stands, it is left out."""
    at = max(0, min(at, len(line) - len(text)))
    if all(letter == EMPTY for letter in line[max(0, at - 1) : at + len(text) + 1]):
        line[at : at + len(text)] = text


def _draw_optimum(field: _Field, law: Law) -> None:
    """D that is compute-optimal for each N: from equation 4 of Hoffmann et al. 2022, D^beta ~ N^alpha."""
    for column in range(field.width):
        log_d = (np.log(law.beta * law.B / (law.alpha * law.A)) + law.alpha * field.log_n(column)) / law.beta
        field.put(column, field.row(float(log_d)), OPTIMUM)


def _draw_runs(field: _Field, runs: Runs) -> None:
    counts: dict[tuple[int, int], float] = {}
    for params, tokens, count in zip(np.log(runs.params), np.log(runs.tokens), runs.counts, strict=True):
        at = field.column(params), field.row(tokens)
        counts[at] = counts.get(at, 0) + count
    for at, count in counts.items():
        field.put(*at, str(round(count)) if round(count) <= MOST_COUNTED else MANY)


def _d_labels(field: _Field) -> list[str]:
    labels = [""] * HEIGHT
    for row in range(1, HEIGHT, (HEIGHT - 2) // 4 or 1):
        log_d = field.y[0] + (HEIGHT - 1 - row) / (HEIGHT - 1) * (field.y[1] - field.y[0])
        labels[row] = amount(float(np.exp(log_d)))
    return labels


def _n_labels(field: _Field) -> str:
    line = [EMPTY] * field.width
    title = "N, parameters"
    _write(line, field.width - len(title), title)
    for column in range(1, field.width - len(title) - 2, 12):
        _write(line, column, amount(float(np.exp(field.log_n(column)))))
    return "".join(line)
