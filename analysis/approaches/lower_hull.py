"""The lower convex hull of points in a plane: the chords that no point lies below."""

import numpy as np

MANY_POINTS, STRETCHES = 2_000, 200
TOUCHES = 1e-9  # of the span of y: what lies above a chord by rounding only is not set aside


def convex_hull(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Indices of the vertices of the lower hull, by rising `x` [n] (Andrew's monotone chain); one point an x.

    Points on a chord are no vertices.
    """
    order = np.argsort(x, kind="stable")
    if len(order) > MANY_POINTS:
        order = order[_near_the_hull(x[order], y[order])]
    order = order.tolist()
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


def _near_the_hull(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[n] which points, by rising `x`, may be vertices: those that do not lie above a hull of some of them.

    The chain goes point by point in Python. Of many points nearly all lie above the hull of the lowest of each stretch.
    """
    starts = np.linspace(0, len(x), STRETCHES, endpoint=False).astype(int)
    lowest = [first + int(part.argmin()) for first, part in zip(starts, np.split(y, starts[1:]), strict=True)]
    some = np.unique([0, *lowest, len(x) - 1])
    vertices = some[convex_hull(x[some], y[some])]
    above = y - np.interp(x, x[vertices], y[vertices])
    return above <= TOUCHES * max(float(np.ptp(y)), np.finfo(float).tiny)


def _turns_up(x: list[float], y: list[float], before: int, middle: int, after: int) -> bool:
    """Whether `middle` lies on or above the chord, so that it is no vertex of the lower hull."""
    return (x[middle] - x[before]) * (y[after] - y[before]) <= (y[middle] - y[before]) * (x[after] - x[before])


def falling(vertices: np.ndarray, y: np.ndarray, rise: float = 0.0) -> np.ndarray:
    """The `vertices` up to the lowest one, and behind it those that lie above it by no more than `rise`."""
    bottom = int(y[vertices].argmin())
    return vertices[: int(np.flatnonzero(y[vertices] <= y[vertices[bottom]] + rise)[-1]) + 1]
