"""Accuracy from the loss and directly: planted curves are recovered, and a better way is only called so if it is."""

import numpy as np
import pandas as pd
import pytest

from vsweep.analysis.approaches import downstream
from vsweep.analysis.approaches.downstream import DIRECT, FORMS, TWO_STEPS, Downstream, fit_form, predict, sigmoid
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import select
from vsweep.analysis.data.source import Convention, Refusal
from vsweep.analysis.tables.extra_columns import Metric

TRUTH = {"floor": 0.25, "ceiling": 0.85, "middle": 3.0, "slope": 4.0}


def ladder(noise: float = 0.003, seeds: int = 1) -> pd.DataFrame:
    """5 sizes x 5 budgets with Chinchilla-like losses from 4.9 to 2.4."""
    rng = np.random.default_rng(0)
    grid = [(n, d, s) for n in np.geomspace(2e7, 2e9, 6) for d in np.geomspace(4e8, 4e10, 6) for s in range(seeds)]
    frame = pd.DataFrame(grid, columns=["N", "D", "seed"])
    loss = 1.8 + 480 * frame["N"] ** -0.35 + 2100 * frame["D"] ** -0.37
    return frame.assign(loss=loss * np.exp(noise * rng.standard_normal(len(frame))))


def of_sigmoid(loss: np.ndarray) -> np.ndarray:
    return sigmoid({"loss": np.asarray(loss)}, **TRUTH)


def predicted(frame: pd.DataFrame, accuracy: np.ndarray) -> Downstream | Refusal:
    points = select(load(frame), Convention("loss"))
    return predict(points, Metric("acc", np.asarray(accuracy, float)))


def test_a_planted_sigmoid_is_recovered():
    loss = np.linspace(2.2, 4.5, 40)
    columns = {"loss": loss, "params": loss, "tokens": loss, "flops": loss}
    assert fit_form(FORMS[0], columns, of_sigmoid(loss)) == pytest.approx(TRUTH, rel=1e-3)


@pytest.mark.parametrize("form", FORMS, ids=[form.name for form in FORMS])
def test_each_form_recovers_its_own_curve(form):
    table = ladder(noise=0.0)
    columns = {"loss": table["loss"], "params": table["N"], "tokens": table["D"], "flops": 6 * table["N"] * table["D"]}
    columns = {name: column.to_numpy(float) for name, column in columns.items()}
    fixed = {name: low for name, (low, high) in form.bounds(columns).items() if low == high}
    planted = {**TRUTH, "e": 0.1, "k": 0.3, "gamma": 0.3, "A": 0.2, "B": 0.2, "alpha": 0.4, "beta": 0.3}
    planted = {name: planted[name] for name in form.bounds(columns) if name not in fixed} | fixed
    accuracy = form.of(columns, **planted)
    fitted = fit_form(form, columns, accuracy)
    np.testing.assert_allclose(form.of(columns, **fitted), accuracy, atol=1e-4)


def test_two_steps_predict_a_planted_sigmoid():
    frame = ladder()
    made = predicted(frame, of_sigmoid(frame["loss"]))
    assert made.better == TWO_STEPS
    assert made.best(TWO_STEPS).name == "sigmoid of the loss"
    assert made.best(TWO_STEPS).error < 0.01
    assert made.best(TWO_STEPS).constants == pytest.approx(TRUTH, rel=0.1)
    assert made.link_error < 0.005
    assert len(made.cells) == 6  # more have the compute of the cut
    assert made.cells["flops"].min() > made.cut_flops


def test_a_direct_law_predicts_better_where_it_is_planted():
    frame = ladder(noise=0.02)
    error = 0.05 + 0.5 * (frame["N"] * frame["D"] / 8e15) ** -0.2
    made = predicted(frame, 1 - error)
    assert made.better == DIRECT
    assert made.best(DIRECT).error < 1e-3


def test_neither_is_better_within_the_scatter():
    frame = ladder(seeds=2)
    accuracy = np.clip(of_sigmoid(frame["loss"]) + 0.2 * np.random.default_rng(2).standard_normal(len(frame)), 0, 1)
    made = predicted(frame, accuracy)
    assert made.better is None
    assert made.noise == pytest.approx(0.2 / np.sqrt(2), rel=0.4)
    assert made.scatter >= made.noise


def test_no_rise_below_the_cut_gives_no_forecast():
    frame = ladder(noise=0.0)
    made = predicted(frame, 1 / (1 + np.exp(100 * (frame["loss"] - 2.33))))
    assert made.no_forecast.startswith("below the compute cut: it stays between ")
    assert made.ways == ()
    assert made.better is None
    assert made.sigmoid["middle"] == pytest.approx(2.33, abs=0.02)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([0, 1] * 18, "all 36 values are 0 or 1: these are single answers and no rates"),
        ([0.25] * 36, "all 36 values are 0.25"),
        ([np.nan] * 36, "no finished run has a value"),
        (np.linspace(0.25, 0.26, 36), "it stays between 0.25 and 0.26, so there is no rise to fit"),
    ],
)
def test_values_without_a_curve_are_refused(values, reason):
    assert predicted(ladder(), values) == Refusal("downstream acc", reason)


def test_few_cells_are_refused():
    frame = ladder().head(5)
    refused = predicted(frame, of_sigmoid(frame["loss"]))
    assert refused == Refusal("downstream acc", "5 cells, and 6 are needed")


def test_runs_without_a_value_are_counted():
    frame = ladder()
    made = predicted(frame, np.where(np.arange(len(frame)) < 4, np.nan, of_sigmoid(frame["loss"])))
    assert made.notes == ("4 of 36 runs have no acc and are not used here.",)
    assert len(made.runs) == 32


def test_a_fifth_of_the_cells_is_held_out_whole():
    frame = ladder(seeds=2).assign(D=lambda rows: rows["D"] * (1 + 1e-4 * rows["seed"]) * rows["N"] ** 0.01)
    made = predicted(frame, of_sigmoid(frame["loss"]))
    assert 6 <= len(made.cells) <= np.ceil(downstream.HELD_OUT_SHARE * 36)
    assert set(made.cells["seeds"]) == {2}
    assert made.runs["held_out"].sum() == 2 * len(made.cells)


def test_an_isoflop_group_is_held_out_whole():
    grid = [(n, c / (6 * n)) for c in (1e18, 1e19, 1e20) for n in np.geomspace(1e8, 1e9, 7)]
    frame = pd.DataFrame(grid, columns=["N", "D"])
    frame["loss"] = 1.8 + 480 * frame["N"] ** -0.35 + 2100 * frame["D"] ** -0.37
    made = predicted(frame, of_sigmoid(frame["loss"]))
    assert len(made.cells) == 7
    assert made.cut_flops == pytest.approx(1e19)


def test_one_compute_gives_no_forecast():
    frame = pd.DataFrame({"N": np.geomspace(1e7, 1e9, 8)}).assign(D=lambda rows: 1e19 / 6 / rows["N"])
    frame["loss"] = 1.8 + 480 * frame["N"] ** -0.35 + 2100 * frame["D"] ** -0.37
    assert predicted(frame, of_sigmoid(frame["loss"])).no_forecast == "all runs have the same compute"
