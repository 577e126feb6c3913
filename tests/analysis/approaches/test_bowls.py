"""Minima of a setting in each cell: where they are found, and where they are named as none."""

import numpy as np
import pandas as pd
import pytest

from vsweep.analysis.approaches import bowls
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import select
from vsweep.analysis.data.source import Convention, Refusal

LRS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)


def found_in(frame: pd.DataFrame, setting: str, settings: list[str]):
    points = select(load(frame), Convention("loss"), also=settings, best_settings=False)
    return bowls.find(points, setting, settings)


def table(best=lambda n, d, b: 1e-3, lrs=LRS, batches=(64,), cells=((1e7, 1e9), (1e8, 1e9))) -> pd.DataFrame:
    """Parabolas in log loss about `best`, as steep as .02 per (ln lr)^2."""
    rows = [(n, d, lr, batch) for n, d in cells for lr in lrs for batch in batches]
    frame = pd.DataFrame(rows, columns=["N", "D", "lr", "batch_size"])
    off = np.log(frame["lr"]) - np.log([best(n, d, b) for n, d, _, b in rows])
    shift = 0.01 * np.log(frame["batch_size"] / 128.0) ** 2
    return frame.assign(loss=3.0 * np.exp(0.02 * off**2 + shift))


@pytest.mark.parametrize("best", [2e-4, 5.5e-4, 1e-3, 5e-3])
def test_the_lowest_point_of_a_parabola_is_found(best):
    value = np.array(LRS)
    found = bowls.lowest_point(value, 1.0 + 0.02 * np.log(value / best) ** 2)
    assert found["status"] == bowls.INTERIOR
    assert found["best"] == pytest.approx(best, rel=1e-6)
    assert found["loss"] == pytest.approx(np.e, rel=1e-9)
    assert found["curvature"] == pytest.approx(0.02, rel=1e-6)


@pytest.mark.parametrize(
    ("value", "log_loss", "status"),
    [
        ((1.0, 2.0, 4.0), (1.0, 1.1, 1.2), bowls.EDGE_SMALL),
        ((1.0, 2.0, 4.0), (1.2, 1.1, 1.0), bowls.EDGE_LARGE),
        ((0.0, 1.0, 2.0, 4.0), (1.0, 1.1, 1.2, 1.3), bowls.EDGE_ZERO),
        ((1.0, 2.0), (1.0, 1.1), bowls.TOO_FEW),
        ((1.0, 2.0, 4.0), (1.0, 1.0, 1.0), bowls.EDGE_SMALL),
    ],
)
def test_a_minimum_at_an_edge_is_named(value, log_loss, status):
    assert bowls.lowest_point(np.array(value), np.array(log_loss))["status"] == status


def test_zero_beside_a_bowl_changes_nothing():
    value = np.array(LRS)
    log_loss = 1.0 + 0.02 * np.log(value / 7e-4) ** 2
    with_zero = bowls.lowest_point(np.append(0.0, value), np.append(2.0, log_loss))
    assert with_zero == bowls.lowest_point(value, log_loss)


def test_each_cell_has_its_bowl():
    found = found_in(table(best=lambda n, d, b: 1e-3 * (n / 1e7) ** -0.5), "lr", ["lr"])
    assert found.minima["best"].to_numpy() == pytest.approx([1e-3, 1e-3 * 10**-0.5], rel=1e-6)
    assert len(found.runs) == 10


def test_a_learning_rate_has_a_bowl_for_each_batch_size():
    frame = table(best=lambda n, d, b: 1e-3 * (b / 64) ** 0.5, batches=(32, 64, 128, 256))
    found = found_in(frame, "lr", ["lr", "batch_size"])
    assert found.batch == "batch_size"
    assert len(found.minima) == 8
    np.testing.assert_allclose(found.minima["best"], 1e-3 * (found.minima["batch"] / 64) ** 0.5)


def test_a_product_design_gives_the_joint_optimum():
    """Cut at one learning rate, the bowl of the batch size would bend towards the best batch size at that rate."""
    frame = table(best=lambda n, d, b: 7e-4 * (b / 64) ** 0.5, batches=(32, 64, 128, 256, 512))
    found = found_in(frame, "batch_size", ["lr", "batch_size"])
    np.testing.assert_allclose(found.minima["best"], 128.0)
    assert len(found.runs) == 10
    assert found.notes == ("Each point of a bowl is the lowest loss over lr, interpolated in the same way.",)


def test_other_settings_are_held_at_the_best_run():
    frame = table(batches=(32, 64, 128, 256))
    one_at_a_time = frame[(frame["lr"] == 1e-3) | (frame["batch_size"] == 64)]
    found = found_in(one_at_a_time, "batch_size", ["lr", "batch_size"])
    assert set(found.minima["held"]) == {"lr = 0.001"}
    np.testing.assert_allclose(found.minima["best"], 128.0)
    assert len(found.runs) == 8


def test_settings_that_move_together_are_one_choice():
    frame = table().assign(min_lr=lambda rows: rows["lr"] / 10)
    found = found_in(frame, "lr", ["lr", "min_lr"])
    assert set(found.minima["status"]) == {bowls.INTERIOR}
    assert "In every cell min_lr moves along with lr" in found.notes[0]


def test_a_setting_that_varies_between_cells_only_is_refused():
    frame = table(lrs=(1e-3,)).assign(lr=[1e-3, 2e-3])
    assert found_in(frame, "lr", ["lr"]) == Refusal(
        "optimal lr", "no cell has two values of lr: it varies between cells only"
    )


def test_a_setting_of_words_is_refused():
    frame = table().assign(schedule=["cosine", "linear"] * 5)
    found = found_in(frame, "schedule", ["schedule"])
    assert found == Refusal("optimal schedule", "its values are no numbers, so nothing lies between them")


def test_a_setting_with_gaps_is_refused():
    frame = table().assign(warmup=[None, 100, 200, 400, 800] * 2)
    found = found_in(frame, "warmup", ["warmup"])
    assert found == Refusal("optimal warmup", "2 of 10 runs have no number that is zero or more there")
