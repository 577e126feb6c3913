"""The numbers of the page: equal to the files beside it, and what it computes itself equal to Python's."""

import json
import re

import numpy as np
import pandas as pd
import pytest

import vsweep
from tests.analysis.planted import LARGE_LAW
from vsweep.analysis.approaches import parametric

FIT = "([points, floor]) => module_fit.fit(points, floor)"
PLAN = """([loss, asked]) => {
  const { parametric, convention, repeated_data } = module_study.study.studies[loss];
  const repeats = module_plan.repeatedLaws(repeated_data, convention.level);
  return module_plan.plan(module_plan.parametricLaws(parametric, convention.level), asked, repeats);
}"""


def grid(noise: float, repeats: int = 1) -> pd.DataFrame:
    """30 cells of one law, with scatter."""
    sizes, tokens = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e6, 1e8, 6), np.geomspace(1e8, 1e10, 5)))
    sizes, tokens = np.tile(sizes, repeats), np.tile(tokens, repeats)
    scatter = np.exp(noise * np.random.default_rng(0).standard_normal(sizes.size))
    return pd.DataFrame({"N": sizes, "D": tokens, "loss": LARGE_LAW.loss(sizes, tokens) * scatter})


def numbers_of(text: str) -> dict:
    """The JSON of a page."""
    return json.loads(re.search(r'<script type="application/json" id="study">(.*?)</script>', text)[1])


def test_the_page_holds_the_numbers_of_its_files(report):
    held = numbers_of(report.path.read_text(encoding="utf-8"))
    for name, column in held["runs"].items():
        assert column == [None if pd.isna(value) else value for value in report.runs[name]], name
    rows = dict(zip(report.runs["run_id"], range(len(report.runs)), strict=True))
    assert held["curves"]["run"] == [rows[name] for name in report.curves["run_id"]]
    for name in ("tokens", *held["losses"]):
        assert held["curves"][name] == report.curves[name].tolist()
    for loss, of_page in held["studies"].items():
        of_file = report.fits["losses"][loss]
        for key in ("parametric", "standing", "range", "convention", "envelope", "isoflop_parabola", "seed_noise_log"):
            assert of_page[key] == of_file[key], (loss, key)


@pytest.mark.parametrize(
    ("noise", "floor", "repeats"),
    [(0.0, None, 1), (1e-3, None, 1), (1e-2, None, 1), (1e-2, 1.0, 1), (1e-2, None, 20)],
)
def test_the_live_fit_equals_pythons(opened, noise, floor, repeats):
    table = grid(noise, repeats)
    expected = parametric.fit(table["N"], table["D"], table["loss"], floor=floor)
    found = opened.page.evaluate(FIT, [table.to_dict("records"), floor])
    for name in ("E", "A", "B", "alpha", "beta"):
        assert found[name] == pytest.approx(getattr(expected.law, name), rel=1e-6), name
    assert found["value"] == pytest.approx(expected.value, rel=1e-6, abs=1e-15)


def test_the_live_fit_equals_that_of_the_runs(opened, report):
    held = numbers_of(report.path.read_text(encoding="utf-8"))["studies"]
    for loss, floor in (("excess_loss", 0.0), ("val_loss", None)):
        runs = report.runs[["params", "tokens", loss]].set_axis(["N", "D", "loss"], axis=1)
        found = opened.page.evaluate(FIT, [runs.to_dict("records"), floor])
        for name in ("E", "A", "B", "alpha", "beta"):
            assert found[name] == pytest.approx(held[loss]["parametric"][name], rel=1e-6), (loss, name)


def test_a_fit_of_too_few_points_is_refused(opened):
    table = grid(0.0)
    few = opened.page.evaluate(FIT, [table[table["N"] == table["N"].min()].to_dict("records"), None])
    assert few == {"refused": "a single N: the law needs several sizes"}


@pytest.mark.parametrize("loss", ["excess_loss", "val_loss"])
def test_the_planner_equals_plan_from_law(opened, report, loss):
    asked = {"flops": 3e12, "served": 2e8, "tokens": 1e6, "reserve": 0.1}
    fits = report.path.parent / "fits.json"
    plan = vsweep.plan_from_law(
        fits, asked["flops"], loss=loss, **{k: asked[k] for k in ("served", "tokens", "reserve")}
    )
    found = opened.page.evaluate(PLAN, [loss, asked])
    reserve = next(entry for entry in plan.reserves if entry.share == 0.1)
    pairs = [(found[name], getattr(plan.optimum, name)) for name in ("params", "tokens", "tokens_per_param", "loss")]
    of_serving = ("params", "tokens", "tokens_per_param", "total_flops", "saved")
    pairs += [(found["serving"][name], getattr(plan.serving, name)) for name in of_serving]
    pairs += [(found["reserve"][name], getattr(reserve, name)) for name in ("given_up", "loss_of_rerun")]
    pairs += [(found["fixed_tokens"][name], of) for name, of in _of_data(plan).items()]
    for of_page, of_python in pairs:
        for end in ("value", "low", "high"):
            expected = getattr(of_python, end)
            assert of_page[end] == (expected if expected is None else pytest.approx(expected, rel=1e-9)), end


def _of_data(plan) -> dict:
    fixed = plan.fixed_tokens
    return {"params": fixed.largest.params, "loss": fixed.largest.loss, "floor": fixed.floor}


def test_the_planner_answers_as_one_types(opened, report):
    page = opened.page
    page.locator("#figure-planner").scroll_into_view_if_needed()
    page.locator("input[name=flops]").fill("3e12")
    plan = vsweep.plan_from_law(report.path.parent / "fits.json", 3e12)
    shown = page.locator("#figure-planner td[data-value]").first.get_attribute("data-value")
    assert float(shown) == pytest.approx(plan.optimum.params.value, rel=1e-9)
    page.locator("input[name=flops]").fill("much")
    assert "a number above 0 - got much" in page.locator('[data-answer="planner"]').inner_text()
    page.locator("input[name=flops]").fill("")
    page.locator("input[name=hours]").fill("2")
    plan = vsweep.plan_from_law(report.path.parent / "fits.json", 2 * 3600 * 1.5e14 * 0.4)
    shown = page.locator("#figure-planner td[data-value]").first.get_attribute("data-value")
    assert float(shown) == pytest.approx(plan.optimum.params.value, rel=1e-9)


def test_recipes_are_by_the_same_laws(opened):
    code = "([C]) => module_recipes.recipesOf(module_study.lawOf('excess_loss'), C, 1)"
    rows = {row["recipe"]: row for row in opened.page.evaluate(code, [1e12])}
    hoffmann = parametric.HOFFMANN
    assert rows["Hoffmann et al. 2022"]["N"] == pytest.approx(hoffmann.params_opt(1e12), rel=1e-12)
    assert rows["Kaplan et al. 2020"]["N"] == pytest.approx(1.3e9 * (1e12 / 8.64e19) ** 0.73, rel=1e-12)
    assert rows["least with serving"]["loss"] == pytest.approx(rows["the law of these runs"]["loss"], rel=1e-12)
    assert rows["least with serving"]["N"] < rows["the law of these runs"]["N"]


def test_anchors_fit_as_one_clicks(opened):
    figure = opened.figure("anchors")
    before = figure.locator(".answer").inner_text()
    assert before.startswith("By 18 anchors")
    opened.point_at(figure.locator(".chart svg circle").first, click=True)
    figure.locator(".answer", has_text="By 17 anchors").wait_for()
    figure.locator('[data-control="reveal"]').click()
    figure.locator(".answer", has_text="It misses the 13 other cells by").wait_for()


def test_an_exponent_says_what_it_buys(opened):
    figure = opened.figure("exponent")
    figure.locator("input[type=range]").fill("0.3")
    figure.locator(".answer", has_text="At this exponent ten times N takes 50 %").wait_for()


def test_a_split_off_the_optimum_gives_loss_up(opened, report):
    figure = opened.figure("split")
    figure.locator('[data-control="shift"]').fill("1")
    figure.locator(".answer", has_not_text=", 0.0 %").wait_for()
    text = figure.locator(".answer").inner_text()
    given_up = re.search(r"([\d.]+) % of the loss above the floor given up", text)[1]
    law = parametric.Law(
        *(report.fits["losses"]["excess_loss"]["parametric"][name] for name in ["E", "A", "B", "alpha", "beta"])
    )
    power = float(figure.locator('[data-control="power"]').input_value())
    best = law.params_opt(10**power)
    at, least = (law.loss(n, 10**power / 6 / n) - law.E for n in (10 * best, best))
    assert float(given_up) == pytest.approx(100 * (at / least - 1), abs=0.06)
