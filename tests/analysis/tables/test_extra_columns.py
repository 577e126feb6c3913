"""Which columns hold an accuracy, and how their values are read."""

import numpy as np
import pandas as pd
import pytest

from vsweep.analysis.data.loading import load
from vsweep.analysis.tables.extra_columns import is_metric, read_metric


@pytest.mark.parametrize(
    "name",
    [
        *("accuracy", "acc", "exact_match", "hellaswag_acc", "eval/hellaswag.acc_norm", "valAccuracy"),
        *("top-1 Acc (%)", "error", "error_rate", "top1_error", "val_acc_pct"),
    ],
)
def test_names_of_metrics_are_known(name):
    assert is_metric(name)


@pytest.mark.parametrize(
    "name",
    [
        *("loss", "val_loss", "std_error", "acc_stderr", "loss_error", "train_acc", "macc", "mean_squared_error"),
        *("matmul", "accumulation", "batch_size", "excess_loss_se"),
    ],
)
def test_other_names_are_no_metrics(name):
    assert not is_metric(name)


@pytest.mark.parametrize(
    ("name", "values", "read", "note"),
    [
        ("acc", [0.1, 0.5, 1.0], [0.1, 0.5, 1.0], None),
        ("acc", [10.0, 50.0, 90.0], [0.1, 0.5, 0.9], "acc was read as percent, because its values reach 90."),
        ("acc_pct", [0.5, 1.5], [0.005, 0.015], "acc_pct is in percent, as its name says."),
        ("error", [0.1, 0.25], [0.9, 0.75], "error holds errors: its accuracy is 1 - error."),
        ("acc", [0.1, np.nan, 0.3], [0.1, np.nan, 0.3], None),
        ("acc", ["0.1", "", "0.3"], [0.1, np.nan, 0.3], None),
    ],
)
def test_values_become_shares(name, values, read, note):
    metric = read_metric(name, pd.Series(values))
    np.testing.assert_allclose(metric.values, read)
    assert metric.notes == (() if note is None else (note,))


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("acc", [0.5, 1.2], "column acc: its values are 0.5 to 1.2"),
        ("acc", [-0.1, 0.5], "column acc: its values are -0.1 to 0.5"),
        ("acc", [50.0, 120.0], "column acc: its values are 50 to 120"),
        ("acc_pct", [0.2, 0.5], "column acc_pct: its name says percent, and its values are 0.2 to 0.5"),
        ("acc", ["0.5", "high"], "column acc: no number in 1 runs"),
        ("acc", [None, None], "column acc: no value"),
    ],
)
def test_what_is_no_share_is_refused_by_name(name, values, reason):
    with pytest.raises(ValueError, match=reason):
        read_metric(name, pd.Series(values))


def test_an_accuracy_is_not_called_unused():
    frame = pd.DataFrame({"N": [1e7, 1e8], "D": [1e9, 2e9], "loss": [3.0, 2.5], "acc": [0.2, 0.4], "note": ["a", "b"]})
    assert not any("acc" in note for note in load(frame).notes)
    assert any("note" in note for note in load(frame).notes)
