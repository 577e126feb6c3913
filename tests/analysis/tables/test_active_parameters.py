"""Tables of mixtures of experts: active parameters are N by default, and total ones on request."""

import numpy as np
import pandas as pd
import pytest

from vsweep.analysis.data.loading import load
from vsweep.analysis.tables.column_names import is_active

ACTIVE, TOKENS = np.array([1e8, 2e8, 4e8, 8e8]), np.array([2e9, 4e9, 8e9, 1.6e10])


def table(active: str = "active_params", total: str = "total_params", scale: float = 1.0) -> pd.DataFrame:
    columns = {total: 8 * ACTIVE / scale, active: ACTIVE / scale}
    return pd.DataFrame({**columns, "D": TOKENS, "loss": [3.0, 2.8, 2.7, 2.6]})


@pytest.mark.parametrize("name", ["active_params", "n_activated", "activated_params", "config.active_parameters"])
@pytest.mark.parametrize("total", ["total_params", "params", "n_params"])
def test_active_parameters_are_n(name, total):
    source = load(table(name, total))
    np.testing.assert_array_equal(source.runs["params"], ACTIVE)
    np.testing.assert_allclose(source.runs["flops_6nd"], 6 * ACTIVE * TOKENS)
    said = " ".join(source.notes)
    assert f"{total} was not used (--column N={total} reads it)" in said
    assert f"N is {name}: the parameters that each token meets" in said


def test_total_parameters_are_n_on_request():
    source = load(table(), columns=["N=total_params"])
    np.testing.assert_array_equal(source.runs["params"], 8 * ACTIVE)
    assert "counts experts that a token never meets (--column N=active_params does not)" in " ".join(source.notes)


def test_active_parameters_keep_their_unit():
    source = load(table("active_params_B", "total_params_B", 1e9))
    np.testing.assert_allclose(source.runs["params"], ACTIVE)
    assert "active_params_B is in billions" in " ".join(source.notes)


def test_active_parameters_alone_are_n():
    np.testing.assert_array_equal(load(table().drop(columns="total_params")).runs["params"], ACTIVE)


def test_a_column_called_n_stays_n():
    source = load(table().rename(columns={"total_params": "N"}))
    np.testing.assert_array_equal(source.runs["params"], 8 * ACTIVE)
    assert "N is N, and so is that of 6ND" in " ".join(source.notes)


@pytest.mark.parametrize("name", ["n_activated_experts", "active", "activation", "params", "inactive_params"])
def test_other_names_are_no_active_parameters(name):
    assert not is_active(name)
