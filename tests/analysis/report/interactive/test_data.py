"""What the page holds of large studies, and what it says of the rest."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from vsweep.analysis.data.loading import load
from vsweep.analysis.data.source import Convention
from vsweep.analysis.report.interactive import data
from vsweep.analysis.sections.base import begin


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    sizes, tokens = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e6, 1e8, 4), np.geomspace(1e8, 1e10, 4)))
    return pd.DataFrame({"N": sizes, "D": tokens, "loss": 2 + 400 / sizes**0.3 + 900 / tokens**0.3})


def test_many_curves_are_thinned_and_the_page_says_so(table, monkeypatch):
    source = load(table)
    curve = {"run_id": np.repeat(source.runs["run_id"], 10), "tokens": np.tile(np.arange(1, 11), 16), "loss": 2.5}
    source = type(source)(source.path, False, source.runs, pd.DataFrame(curve))
    whole, said = data._curves(source, ["loss"])
    assert (len(whole["run"]), said) == (160, "")
    monkeypatch.setattr(data, "MOST_CURVE_POINTS", 50)
    some, said = data._curves(source, ["loss"])
    assert len(some["run"]) == 40
    assert said == "The page holds the loss curves of 4 of 16 runs. curves.csv has all."


def test_a_table_of_one_variable_holds_that_one():
    source = load(pd.DataFrame({"N": np.geomspace(1e6, 1e8, 8), "loss": np.linspace(3, 2, 8)}))
    held = data.content(source, [begin(source, Convention("loss"), bootstrap=0)])
    assert held["variable"] == "N"
    assert held["runs"]["params"] == source.runs["params"].tolist()
    assert not {"tokens", "flops_6nd", "budget"} & held["runs"].keys()
    assert "one_variable" in held["studies"]["loss"]


def test_figures_that_play_with_a_law_need_one(table):
    for kept, lessons in ((table, data.OF_A_LAW), (table[table["N"] == table["N"].min()], ())):
        source = load(kept.reset_index(drop=True))
        assert data.lessons([begin(source, Convention("loss"), bootstrap=0)]) == lessons


@pytest.mark.parametrize(("least", "offered"), [(0, 1), (1, 2)])
def test_a_size_without_a_logarithm_is_no_choice(table, least, offered):
    source = load(table)
    runs = source.runs.assign(params_non_embedding=np.arange(least, least + len(source.runs)))
    held = data._size_labels(replace(source, runs=runs), "params")
    assert list(held) == ["params", "params_non_embedding"][:offered]


def test_a_table_names_the_compute_it_was_read_with(table):
    source = load(table)
    held = data.content(source, [begin(source, Convention("loss"), bootstrap=0)])
    assert held["flops"] == {"flops_6nd": "C = 6ND (FLOP)"}
    assert held["runs"]["run_id"][0] == source.runs["run_id"].iloc[0]
    assert held["runs"]["loss"] == source.runs["loss"].tolist()
