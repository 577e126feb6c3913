"""The planner of the page: the same numbers and the same words as `analysis plan`."""

import json

import numpy as np
import pytest
from scipy import special

import vsweep
from tests.analysis.report.browser.test_numbers import PLAN, numbers_of
from vsweep.analysis import planner
from vsweep.analysis.approaches.parametric import Law
from vsweep.analysis.planner.saved_law import read_fits
from vsweep.analysis.planner.scarce_data import plan_scarce

FLOPS, UNIQUE = 3e12, 2e6
ALONE = """([law, flops]) => {
  const laws = module_plan.parametricLaws({ ...law, resamples: {} }, 0.9);
  return module_plan.plan(laws, { flops, reserve: 0 });
}"""
# The loss is flat at its minimum, so the search of Python and of the page end at neighbours in the last digits.
CLOSE = {"params": 1e-6, "tokens": 1e-6, "epochs": 1e-6, "loss": 1e-10, "unlimited": 1e-10, "worse": 1e-8}
QUANTILES = "(shares) => shares.map((share) => module_normal.normalQuantile(share))"


@pytest.fixture(scope="module")
def with_repeats(report, tmp_path_factory):
    """The planted report as if its runs had repeated their data: page and fits.json with a law of it."""
    folder = tmp_path_factory.mktemp("repeats")
    law = report.fits["losses"]["excess_loss"]["parametric"]
    rng, count = np.random.default_rng(0), len(law["resamples"]["alpha"])
    worth = {"R_D": (12 * np.exp(0.3 * rng.standard_normal(count))).tolist(), "R_N": [4.0] * count}
    names = ("E", "A", "B", "alpha", "beta")
    known = {**{name: law[name] for name in names}, "R_D": 12.0, "R_N": 4.0, "residual_sd_log": 0.03}
    known["resamples"] = {**law["resamples"], **worth}
    fits = json.loads(json.dumps(report.fits))
    fits["losses"]["excess_loss"]["repeated_data"] = known
    text = report.path.read_text(encoding="utf-8")
    held = numbers_of(text)
    before = json.dumps(held, ensure_ascii=False, separators=(",", ":"))
    held["studies"]["excess_loss"]["repeated_data"] = known
    assert before in text
    (folder / "report.html").write_text(text.replace(before, json.dumps(held, separators=(",", ":"))), encoding="utf-8")
    (folder / "fits.json").write_text(json.dumps(fits), encoding="utf-8")
    return folder


def test_quantiles_of_the_normal_are_exact(opened):
    shares = [1e-12, 1e-5, 0.01, 0.05, 0.0749, 0.0751, 0.3, 0.5, 0.6, 0.925, 0.95, 0.9999]
    found = opened.page.evaluate(QUANTILES, shares)
    np.testing.assert_allclose(found, special.ndtri(shares), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("loss", ["excess_loss", "val_loss"])
def test_the_range_of_a_single_run_is_pythons(opened, report, loss):
    plan = vsweep.plan_from_law(report.path.parent / "fits.json", FLOPS, loss=loss)
    found = opened.page.evaluate(PLAN, [loss, {"flops": FLOPS, "reserve": 0}])
    assert found["single_run"] == pytest.approx(plan.optimum.single_run, rel=1e-12)
    low, high = found["loss"]["low"], found["loss"]["high"]
    assert found["single_run"][0] <= low < high <= found["single_run"][1]


def test_a_single_run_without_resamples_is_pythons(opened, report):
    law = report.fits["losses"]["excess_loss"]["parametric"]
    found = opened.page.evaluate(ALONE, [law, FLOPS])
    constants = [law[name] for name in ("E", "A", "B", "alpha", "beta")]
    plan = planner.plan(Law(*constants), FLOPS, residual_sd_log=law["residual_sd_log"])
    assert found["single_run"] == pytest.approx(plan.optimum.single_run, rel=1e-12)


def test_repeated_data_is_planned_as_in_python(open_page, with_repeats):
    shown = open_page(with_repeats / "report.html")
    found = shown.page.evaluate(PLAN, ["excess_loss", {"flops": FLOPS, "reserve": 0, "unique": UNIQUE}])["scarce"]
    saved = read_fits(with_repeats / "fits.json", "excess_loss")
    scarce = plan_scarce(saved, FLOPS, UNIQUE, level=saved.level)
    assert scarce.epochs.value > 2
    for name, rel in CLOSE.items():
        for end in ("value", "low", "high"):
            assert found[name][end] == pytest.approx(getattr(getattr(scarce, name), end), rel=rel), (name, end)
    assert found["single_run"] == pytest.approx(scarce.single_run, rel=1e-10)


def test_the_page_prints_what_the_command_prints(open_page, with_repeats, capsys):
    asked = {"flops": "3e12", "served": "2e8", "tokens": "1e6", "unique": "2e6", "reserve": "0.1"}
    shown = open_page(with_repeats / "report.html")
    shown.page.locator("#figure-planner").scroll_into_view_if_needed()
    for name, value in asked.items():
        shown.page.locator(f"input[name={name}]").fill(value)
    options = ["--compute", "3e12", "--served", "2e8", "--tokens", "1e6", "--unique-tokens", "2e6", "--reserve", "0.1"]
    assert planner.main([str(with_repeats / "fits.json"), *options]) == 0
    said = capsys.readouterr().out
    rows = shown.page.locator("#figure-planner tbody tr").all()
    cells = [[cell.inner_text() for cell in row.locator("th, td").all()] for row in rows]
    assert len(cells) > 15
    for name, value, ends in cells:
        assert value in said, name
        assert ends.replace(" to ", "..") in said, name
    assert [name for name, *_ in cells].count("loss of a single run") == 2


def test_a_study_without_repeats_is_not_asked_for_them(opened):
    opened.page.locator("#figure-planner").scroll_into_view_if_needed()
    assert opened.page.locator("input[name=served]").count() == 1
    assert opened.page.locator("input[name=unique]").count() == 0
