"""The lower convex hull of points in a plane: the chords that no point lies below."""

import numpy as np


def convex_hull(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Indices of the vertices of the lower hull, by rising `x` [n] (Andrew's monotone chain); one point an x.

    Points on a chord are no vertices.
    """
    order = np.argsort(x, kind="stable").tolist()
    xs, ys = np.asarray(x, float).tolist(), np.asarray(y, float).tolist()  # lists: numpy's scalars are slow one by one
    hull: list[int] = []
    for point in order:
        if hull and xs[hull[-1]] == xs[point]:
            if ys[point] >= ys[hull[-1]]:
                continue
            hull.pop()
        while len(hull) > 1 and _turns_up(xs, ys, hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return np.array(hull, int)


def _turns_up(x: list[float], y: list[float], before: int, middle: int, after: int) -> bool:
    """Whether `middle` lies on or above the chord, so that it is no vertex of the lower hull."""
    return (x[middle] - x[before]) * (y[after] - y[before]) <= (y[middle] - y[before]) * (x[after] - x[before])


def falling(vertices: np.ndarray, y: np.ndarray, rise: float = 0.0) -> np.ndarray:
    """The `vertices` up to the lowest one, and behind it those that lie above it by no more than `rise`."""
    bottom = int(y[vertices].argmin())
    return vertices[: int(np.flatnonzero(y[vertices] <= y[vertices[bottom]] + rise)[-1]) + 1]
