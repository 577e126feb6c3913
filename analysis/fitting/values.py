"""Checks of what a fit is given: one error that names every column and every row."""

import numpy as np

NAMED_ROWS = 8  # so many rows with a bad value are named for each column


def check_values(weight: np.ndarray, floor: float | None = None, **columns: np.ndarray) -> None:
    """Raises a ValueError that names each column [n] with a value that is not finite and positive, and its rows.

    A `weight` [n] of zero is allowed: such a point counts nothing.
    """
    lengths = {name: np.shape(values) for name, values in {**columns, "weight": weight}.items()}
    if len(set(lengths.values())) > 1 or any(len(shape) != 1 for shape in lengths.values()):
        shapes = ", ".join(f"{name} {shape}" for name, shape in lengths.items())
        raise ValueError(f"points: columns of one length are needed - got the shapes {shapes}")
    bad = [(name, "zero or negative", values <= 0, values) for name, values in columns.items()]
    bad.append(("weight", "negative", weight < 0, weight))
    problems = [
        problem
        for name, too_small, rows, values in bad
        for problem in (
            _problem(name, "not a number", np.isnan(values)),
            _problem(name, "infinite", np.isinf(values)),
            _problem(name, too_small, rows & np.isfinite(values)),
        )
        if problem
    ]
    if len(weight) and not np.any(weight):
        problems.append("weight: all are zero")
    if floor is not None and not (np.isfinite(floor) and floor >= 0):
        problems.append(f"floor: E is a loss, 0 or more - got {floor!r}")
    if problems:
        raise ValueError("; ".join(problems))


def _problem(name: str, what: str, bad: np.ndarray) -> str | None:
    rows = np.flatnonzero(bad)
    if not len(rows):
        return None
    more = f" and {len(rows) - NAMED_ROWS} more" if len(rows) > NAMED_ROWS else ""
    named = ", ".join(map(str, rows[:NAMED_ROWS]))
    return f"{name}: {what} in row{'s' if len(rows) > 1 else ''} {named}{more}"
