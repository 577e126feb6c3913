"""The lower hull of few and of very many points."""

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from vsweep.analysis.approaches.lower_hull import MANY_POINTS, convex_hull


def lower(x: np.ndarray, y: np.ndarray) -> set[int]:
    """The vertices of the whole hull below the chord from its first to its last point, and these two."""
    first, last = int(x.argmin()), int(x.argmax())
    chord = y[first] + (y[last] - y[first]) * (x - x[first]) / (x[last] - x[first])
    return {int(at) for at in ConvexHull(np.stack([x, y], axis=1)).vertices if y[at] < chord[at]} | {first, last}


@pytest.mark.parametrize("count", [50, 2 * MANY_POINTS])
@pytest.mark.parametrize("bend", [0.0, 1.0])
def test_the_hull_is_that_of_quickhull(count, bend):
    rng = np.random.default_rng(count)
    x = rng.uniform(0, 10, count)
    y = bend * (x - 4) ** 2 + rng.exponential(size=count)
    vertices = convex_hull(x, y)
    assert set(vertices.tolist()) == lower(x, y)
    assert (np.diff(x[vertices]) > 0).all()


def test_equal_x_of_many_points_count_once():
    x = np.repeat(np.arange(50.0), 100)
    y = (x - 20) ** 2 + np.tile(np.arange(100.0), 50)
    assert (convex_hull(x, y) == 100 * np.arange(50)).all()
