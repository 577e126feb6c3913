"""The line L(C) under the lower hull of points, and the hull itself."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.analysis.conftest import CHINCHILLA
from tests.analysis.planted import FLOOR, LAW
from vsweep.analysis.approaches import compute_frontier, envelope, lower_hull
from vsweep.analysis.data.cells import cells
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import select
from vsweep.analysis.data.source import Convention, Refusal

KAPLAN = Path(__file__).parents[2] / "data" / "kaplan_mini_curves.csv"
BATCH, CONTEXT, LAYERS, SKIPPED = 32, 1024, 12, 10


@pytest.fixture(scope="module")
def frontier() -> pd.DataFrame:
    """flops (forward only, as its author counts them) and loss of the nine main runs, after their tenth evaluation."""
    table = pd.read_csv(KAPLAN).query("series == 'main'")
    table = table[table.groupby("d_model").cumcount() >= SKIPPED]
    width = table["d_model"].astype(float)
    params = LAYERS * (12 * width**2 + 13 * width) + 2 * width  # without embeddings, with biases and norms
    per_token = 2 * params + 2 * LAYERS * CONTEXT * width
    return pd.DataFrame({"flops": per_token * BATCH * CONTEXT * table["step"], "loss": table["eval_loss"]})


def fitted(table: pd.DataFrame, **options) -> compute_frontier.ComputeLine:
    return compute_frontier.fit(table["flops"].to_numpy(), table["loss"].to_numpy(), **options)


def planted(exponent: float = 0.05, floor: float = 0.0) -> pd.DataFrame:
    flops = np.geomspace(1e15, 1e21, 30)
    return pd.DataFrame({"flops": flops, "loss": floor + (flops / 1e25) ** -exponent})


def test_published_line_joins_the_end_points(frontier):
    first, last = (np.log(frontier.sort_values("flops").iloc[i].to_numpy()) for i in (0, -1))
    slope = (last[1] - first[1]) / (last[0] - first[0])
    assert round(slope, 7) == -0.0717193
    assert round(np.exp(first[0] - first[1] / slope) / compute_frontier.PF_DAY, 1) == 66_060.5


def test_least_squares_through_vertices_differ(frontier):
    line = fitted(frontier)
    assert len(line.vertices) == 15
    assert round(-line.a, 7) == -0.0684680
    assert round(line.C0_pf_days, 1) == 134_093.7
    assert line.rms_log < 0.02
    assert line.describe() == "L(C) = (C / 1.341e+05 PF-days)^-0.0685"


def test_no_evaluation_lies_below_the_hull(frontier):
    x, y = np.log(frontier["flops"].to_numpy()), np.log(frontier["loss"].to_numpy())
    vertices = lower_hull.convex_hull(x, y)
    assert (y >= np.interp(x, x[vertices], y[vertices]) - 1e-12).all()
    assert (np.diff(np.diff(y[vertices]) / np.diff(x[vertices])) > 0).all()
    without = np.delete(vertices, 7)  # a hull that lacks one of its vertices must be seen to be wrong
    assert (y < np.interp(x, x[without], y[without]) - 1e-12).any()


def test_one_compute_has_one_vertex():
    x, y = np.array([2.0, 1.0, 1.0, 3.0, 3.0, 2.0]), np.array([1.0, 4.0, 3.0, 0.5, 0.2, 2.0])
    assert lower_hull.convex_hull(x, y).tolist() == [2, 0, 4]


def test_planted_line_is_recovered():
    table = planted()
    above = table.assign(loss=table["loss"] * 1.3)
    line = fitted(pd.concat([above, table.iloc[[0, 7, 20, 29]]]))
    assert line.a == pytest.approx(0.05, rel=1e-9)
    assert np.log10(line.C0) == pytest.approx(25)
    assert line.loss(3e18) == pytest.approx((3e18 / 1e25) ** -0.05)


def test_known_floor_straightens_the_line():
    table = planted(exponent=0.2, floor=1.03)
    straight, bent = fitted(table, floor=1.03), fitted(table)
    assert straight.a == pytest.approx(0.2)
    assert straight.rms_log < 1e-9 < 0.01 < bent.rms_log
    assert straight.loss(1e18) == pytest.approx(1.03 + (1e18 / 1e25) ** -0.2)
    assert straight.describe().startswith("L(C) = 1.03 + (C / ")


def test_failed_expensive_run_is_ignored():
    table = planted()
    failed = pd.DataFrame({"flops": [1e22, 1e23], "loss": table["loss"].iloc[-1] * np.array([1.1, 1.3])})
    assert fitted(pd.concat([table.iloc[::9], failed])).a == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("table", "floor", "reason"),
    [
        (planted(), 2.0, "10 of 30 losses are not above the floor of 2: no logarithm"),
        (planted().iloc[[0, 29]], 0.0, "the lower hull of 2 points has 2 vertices, 3 needed"),
        (planted().iloc[:0], 0.0, "no points"),
        (
            pd.DataFrame({"flops": [1e18, 2e18, 4e18], "loss": [2.0, 1.9999, 1.99981]}),
            0.0,
            "the loss hardly falls with compute: slope -6.85e-05",
        ),
    ],
)
def test_points_without_a_line_are_refused(table, floor, reason):
    found = fitted(table, floor=floor)
    assert isinstance(found, Refusal)
    assert reason in found.reason


def test_runs_give_the_exponent_of_the_optimum(planted_workdir):
    excess = compute_frontier.of_runs(select(load(planted_workdir), Convention("excess_loss")))
    assert excess.a == pytest.approx(LAW.alpha * LAW.beta / (LAW.alpha + LAW.beta), abs=0.01)
    points = select(load(planted_workdir), Convention("val_loss"))
    assert compute_frontier.of_runs(points, floor=FLOOR).a == pytest.approx(excess.a, abs=1e-6)
    assert compute_frontier.of_runs(points).a < excess.a / 2  # with the floor in it the loss seems to fall far slower


def test_curves_count_whole_or_annealed(planted_workdir):
    points = select(load(planted_workdir), Convention("excess_loss"))
    whole, annealed = envelope.curve_points(points), envelope.curve_points(points, annealed_only=True)
    budgets = np.sort(points.table["budget"].unique())
    ends = budgets[np.searchsorted(budgets, annealed["tokens"] * 0.999)]
    assert (annealed["tokens"] >= 0.849 * ends).all()
    assert len(annealed) < len(whole) / 4
    assert whole["tokens"].min() >= budgets[0]
    lines = [compute_frontier.of_curves(points, annealed_only=only) for only in (False, True)]
    for line in lines:
        assert line.a == pytest.approx(0.27, abs=0.02)


def test_table_without_curves_uses_its_runs():
    points = select(load(CHINCHILLA), Convention("loss"))
    assert compute_frontier.of_curves(points).a == compute_frontier.of_runs(points).a
    # With the floor of Besiroglu et al. the frontier falls as alpha beta / (alpha + beta) = .178 or a little faster.
    assert compute_frontier.of_runs(points, floor=1.8172).a == pytest.approx(0.19, abs=0.015)


def test_no_cell_lies_below_the_hull():
    public = select(load(CHINCHILLA), Convention("loss"))
    found = envelope.lower_hull(public)
    slope = np.diff(np.log(found["loss"])) / np.diff(np.log(found["flops"]))
    assert (slope < 0).all()
    assert (np.diff(slope) > 0).all()
    x, y = (np.log(cells(public)[name].to_numpy()) for name in ("flops", "loss"))
    inside = x <= np.log(found["flops"].max())
    assert (y[inside] >= np.interp(x[inside], np.log(found["flops"]), np.log(found["loss"])) - 1e-12).all()
