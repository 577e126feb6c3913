"""A sweep that was designed, from its config to the analysis."""

import json

import numpy as np
import pytest

import vsweep
from tests.vsweep import small
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import select
from vsweep.analysis.data.source import Convention
from vsweep.config.problems import ConfigError
from vsweep.storage.workdir import WorkDir
from vsweep.tables import read_runs

SWEEP = {"width": [4], "seed": [0, 1], "flops": [2e6, 5e6], "beta1": ["1 - 4 * lr"], "budget": []}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("designed")
    values = small.config(optimizer={"lr": "0.1 / width", "warmup_steps": "round(0.1 * steps)"}, sweep=SWEEP)
    small.train(values, folder)
    return folder


def test_runs_have_the_compute_and_the_resolved_values(home):
    runs = read_runs(home)
    assert list(runs["run_id"]) == [f"w4-c{c}-s{seed}-beta1_0.9" for c in ("2e6", "5e6") for seed in (0, 1)]
    assert list(runs.columns[-2:]) == ["beta1", "isoflop"]
    assert np.allclose(runs["lr"], 0.1 / runs["width"])
    assert (runs["warmup_steps"] == (0.1 * runs["steps"]).round()).all()
    of_a_batch = 6 * runs["params"] * runs["tokens"] / runs["steps"]
    assert (abs(runs["flops_6nd"] - runs["isoflop"]) <= of_a_batch).all()


def test_the_analysis_groups_runs_by_the_compute_of_their_design(home):
    source = load(home)
    assert source.warnings == ()
    assert "beta1" in source.settings
    assert "isoflop" not in source.settings
    table = select(source, Convention(loss="excess_loss", flops="flops_6nd")).table
    assert sorted(table["isoflop"]) == [2e6, 2e6, 5e6, 5e6]
    assert "isoflop" not in select(source, Convention(loss="excess_loss", flops="flops_counted")).table


def test_the_same_sweep_goes_on_and_another_design_is_refused(home):
    stored = json.loads((home / "config.json").read_text())
    assert stored["optimizer"]["lr"] == "0.1 / width"
    assert stored["sweep"]["flops"] == [2e6, 5e6]
    assert vsweep.plan_sweep(WorkDir(home).read_config(), home).runs == 4
    other = {**stored, "optimizer": {**stored["optimizer"], "lr": "0.2 / width"}}
    with pytest.raises(ConfigError, match=r"optimizer\.lr: the work directory has '0.1 / width'"):
        vsweep.plan_sweep(other, home)
