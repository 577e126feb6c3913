"""The tables of a sweep that was extended: two more columns, stacks of other names, and the same numbers."""

import shutil

import pandas as pd
import pytest

from tests.analysis.planted import Planted, write_planted
from vsweep.analysis import sections
from vsweep.analysis.data import loading
from vsweep.analysis.data.source import Convention
from vsweep.analysis.report import fits_json
from vsweep.analysis.sections import study_loss
from vsweep.schema import RUNS_FILE


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    planted = Planted(widths=(8, 16, 32), budgets=(20_000, 60_000, 180_000), noise=0.02)
    return write_planted(tmp_path_factory.mktemp("fresh") / "sweep", planted)


@pytest.fixture
def extended(fresh, tmp_path):
    """As if its last seed had come later, without a config.json that a reader could ask."""
    workdir = shutil.copytree(fresh, tmp_path / "sweep")
    runs = pd.read_csv(workdir / RUNS_FILE)
    later = runs["seed"] == runs["seed"].max()
    runs.loc[later, "stack"] += "+2"
    runs.assign(generation=1 + later, in_config=1).to_csv(workdir / RUNS_FILE, index=False)
    return workdir


def take_out_a_seed(workdir) -> None:
    runs = pd.read_csv(workdir / RUNS_FILE)
    runs.assign(in_config=(runs["seed"] > 0).astype(int)).to_csv(workdir / RUNS_FILE, index=False)


def fits_of(workdir) -> dict:
    """What fits.json would say of one loss; nothing is drawn."""
    source = loading.load(workdir, final_only=True)
    studies = [study_loss(source, Convention("excess_loss"), bootstrap=0)]
    return fits_json.to_json(source, studies, sections.findings(studies), ())


def test_the_fits_are_those_of_a_fresh_sweep(fresh, extended):
    expected = fits_of(fresh)
    assert expected["losses"]["excess_loss"]["parametric"]["a"] > 0
    assert expected["exponents"]
    assert fits_of(extended) == expected


def test_how_a_run_came_into_the_sweep_is_no_setting(extended):
    source = loading.load(extended)
    assert not {"generation", "in_config"} & set(source.settings)
    assert source.warnings == ()


def test_runs_that_the_config_has_no_more_are_told_and_can_be_left_out(extended):
    take_out_a_seed(extended)
    (warning,) = loading.load(extended).warnings
    assert warning.startswith("9 of 27 runs are no longer in the sweep's config (in_config is 0); the fits have them")
    kept = loading.load(extended, where=["in_config=1"])
    assert len(kept.runs) == 18
    assert kept.warnings == ()
