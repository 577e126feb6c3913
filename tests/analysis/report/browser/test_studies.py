"""Live figures of studies that are no grid of N and D: bowls, seeds, one variable, and runs without a law."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.analysis.planted import LARGE_LAW, Planted, write_planted
from tests.analysis.report.browser.test_live import dots
from tests.analysis.report.browser.test_numbers import numbers_of
from vsweep import analysis

LAW_AND_BAND = """(grid) => {
  const { one_variable: law, convention } = module_study.study.studies.loss;
  const { lossAt, bandOf } = module_one_variable;
  return [grid.map((x) => lossAt(law, x)), bandOf(law, grid, convention.level)];
}"""
RATES = (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)


@dataclass(frozen=True)
class Study:
    """A report of a table, with the runs and the files beside it."""

    path: Path
    runs: pd.DataFrame
    fits: dict

    def numbers(self, name: str) -> pd.DataFrame:
        """What stands beside a static figure."""
        return pd.read_csv(self.path.parent / "figures" / f"{name}.csv")

    @property
    def held(self) -> dict:
        """The numbers of the page."""
        return numbers_of(self.path.read_text(encoding="utf-8"))


def studied(table: pd.DataFrame | Path, out: Path, bootstrap: int = 0) -> Study:
    result = analysis.analyse(table, out, bootstrap=bootstrap)
    return Study(result.report, result.runs, json.loads(result.fits.read_text(encoding="utf-8")))


def grid(sizes: int, budgets: int) -> pd.DataFrame:
    axes = np.meshgrid(np.geomspace(1e6, 1e8, sizes).round(), np.geomspace(1e8, 1e10, budgets).round())
    size, tokens = (axis.ravel() for axis in axes)
    return pd.DataFrame({"N": size, "D": tokens, "loss": LARGE_LAW.loss(size, tokens)})


@pytest.fixture(scope="module")
def bowls(tmp_path_factory) -> Study:
    """3 x 2 cells with a bowl each; the best rate falls with N, and lies at the edge for the largest."""
    table = grid(3, 2)
    best = 1e-3 * (table["N"] / 1e8) ** -0.35
    swept = [table.assign(lr=lr, loss=table["loss"] * np.exp(0.1 * np.log(lr / best) ** 2)) for lr in RATES]
    return studied(pd.concat(swept, ignore_index=True), tmp_path_factory.mktemp("bowls"))


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> Study:
    """2 budgets of one size, 16 seeds each."""
    planted = Planted(widths=(16,), budgets=(500_000, 1_000_000), seeds=tuple(range(16)), noise=0.2)
    workdir = write_planted(tmp_path_factory.mktemp("seeds") / "planted", planted)
    return studied(workdir, workdir / "analysis")


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Study:
    """12 sizes, 2 seeds each, in bits per byte and with nothing but N."""
    size = np.repeat(np.geomspace(1e6, 1e9, 12).round(), 2)
    scatter = np.exp(0.004 * np.random.default_rng(0).standard_normal(size.size))
    table = pd.DataFrame({"N": size, "val_bpb": (0.6 + 60 / size**0.3) * scatter, "seed": [0, 1] * 12})
    return studied(table, tmp_path_factory.mktemp("one"), bootstrap=40)


def rows_of_csv(shown, figure) -> list[dict]:
    with shown.page.expect_download() as saved:
        figure.locator('[data-save="csv"]').click()
    with open(saved.value.path(), encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# Bowls


def test_bowls_hold_the_numbers_of_their_files(bowls):
    of_page, of_file = bowls.held["studies"]["loss"], bowls.fits["losses"]["loss"]
    assert of_page["hyperparameters"] == of_file["hyperparameters"]
    numbers = bowls.numbers("bowls_lr").query("kind == 'run'")
    points = of_page["bowls"]["lr"]
    ids = bowls.held["runs"]["run_id"]
    assert [ids[row] for row in points["run"]] == list(numbers["run_id"].astype(str))
    for name in ("value", "loss", "size", "budget"):
        assert points[name] == pytest.approx(numbers[name].tolist(), rel=1e-15), name
    assert bowls.held["runs"]["lr"] == bowls.runs["lr"].tolist()


def test_a_bowl_is_a_panel_a_budget(open_page, bowls):
    shown = open_page(bowls.path)
    figure = shown.figure("bowls_lr")
    assert figure.locator(".chart svg").count() == 2
    assert dots(figure) == len(bowls.runs)
    stars = bowls.fits["losses"]["loss"]["hyperparameters"]["lr"]["optima"]
    assert sum(row["status"] == "interior" for row in stars) < len(stars) == 6
    figure.locator('[data-control="budget"]').select_option(index=1)
    assert figure.locator(".chart svg").count() == 1
    assert dots(figure) == len(bowls.runs) // 2
    assert shown.said == []


def test_a_click_on_a_bowl_pins_its_run(open_page, bowls):
    shown = open_page(bowls.path)
    figure = shown.figure("bowls_lr")
    shown.point_at(figure.locator(".chart svg").first.locator("g circle").first, click=True)
    name = shown.page.locator(".card b").inner_text()
    run = bowls.runs.set_index(bowls.runs["run_id"].astype(str)).loc[name]
    assert f"lr = {run.lr:g}" in figure.locator("g[aria-label=tip], g").filter(has_text="lr =").first.text_content()
    assert shown.page.locator(".card dd[title]").all_inner_texts()
    assert str(run.lr) in [box.get_attribute("title") for box in shown.page.locator(".card dd[title]").all()]
    assert shown.page.locator("tr.is-pinned button").text_content() == name


def test_bowls_hide_sizes_and_change_axes(open_page, bowls):
    shown = open_page(bowls.path)
    figure = shown.figure("bowls_lr")
    figure.locator("[data-size]").first.click()
    shown.wait_for_dots("bowls_lr", len(bowls.runs) * 2 // 3)
    before = figure.locator(".chart svg").first.inner_html()
    for control in ("xlog", "ylog", "relative", "whole"):
        figure.locator(f'[data-control="{control}"]').click()
        after = figure.locator(".chart svg").first.inner_html()
        assert after != before or control == "whole", control
        before = after
    rows = rows_of_csv(shown, figure)
    assert {float(row["lr"]) for row in rows} == set(RATES)
    known = dict(zip(bowls.runs["run_id"].astype(str), bowls.runs["loss"], strict=True))
    assert all(float(row["loss"]) == known[row["id"]] for row in rows)


def test_a_file_of_panels_holds_them_all(open_page, bowls):
    shown = open_page(bowls.path)
    figure = shown.figure("bowls_lr")
    with shown.page.expect_download() as saved:
        figure.locator('[data-save="svg"]').click()
    text = Path(saved.value.path()).read_text(encoding="utf-8")
    assert text.count("<circle") >= len(bowls.runs)
    assert "--mark:" in text


# Seeds


def test_seeds_lead_with_their_intervals(open_page, seeds):
    shown = open_page(seeds.path)
    figure = shown.figure("seed_spread_excess_loss")
    assert shown.page.locator("#summary #figure-seed_spread_excess_loss").count() == 1
    assert dots(figure) == 32
    of_file = seeds.fits["losses"]["excess_loss"]["seed_spread"]
    assert seeds.held["studies"]["excess_loss"]["seed_spread"] == of_file
    for cell in of_file:
        losses = seeds.runs.query("budget == @cell['budget']")["excess_loss"]
        assert cell["median"] == pytest.approx(losses.median(), rel=1e-12)
        assert cell["mean_low"] < np.exp(np.log(losses).mean()) < cell["mean_high"]
        mean = f"{cell['mean']:.4g}"
        assert f"mean {float(mean)}" in figure.locator(".chart svg").text_content()
    assert shown.said == []


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says():
    """Over many studies of 8 seeds the known mean lies inside 90 % of the intervals."""
    from vsweep.analysis.data.loading import load
    from vsweep.analysis.data.source import Convention
    from vsweep.analysis.sections.base import begin
    from vsweep.analysis.sections.runs import SOME_CELLS, seed_spread_json

    rng, inside, asked = np.random.default_rng(0), 0, 0
    for _ in range(20):
        tokens = np.repeat(np.geomspace(1e8, 1e9, SOME_CELLS).round(), 8)
        loss = 3 * np.exp(0.1 * rng.standard_normal(tokens.size))
        table = pd.DataFrame({"N": 1e6, "D": tokens, "loss": loss, "seed": np.tile(range(8), SOME_CELLS)})
        cells = seed_spread_json(begin(load(table), Convention("loss"), bootstrap=0))
        inside += sum(cell["mean_low"] <= 3 <= cell["mean_high"] for cell in cells)
        asked += len(cells)
    assert asked == 240
    assert 0.84 < inside / asked < 0.95


def test_seeds_are_pinned_and_cells_hidden(open_page, seeds):
    shown = open_page(seeds.path)
    figure = shown.figure("seed_spread_excess_loss")
    shown.point_at(figure.locator(".chart svg circle").first, click=True)
    assert shown.page.locator(".card b").inner_text() in set(seeds.runs["run_id"])
    figure.locator('[data-control="as"]').select_option("shares")
    figure.locator("[data-key]").first.click()
    rows = rows_of_csv(shown, figure)
    assert len(rows) == 16
    numbers = seeds.numbers("seed_spread_excess_loss")
    assert {float(row["loss"]) for row in rows} <= set(numbers["loss"])


def test_without_a_law_no_lesson_is_shown(open_page, seeds):
    shown = open_page(seeds.path)
    assert seeds.fits["losses"]["excess_loss"]["parametric"]["refused"]
    assert shown.page.locator("[data-live]").count() == 0
    folded = shown.page.locator("details#play")
    folded.locator("summary").click()
    assert seeds.fits["losses"]["excess_loss"]["parametric"]["refused"] in folded.inner_text()


# One variable


def test_one_variable_holds_the_numbers_of_its_files(open_page, one):
    of_page, of_file = one.held["studies"]["loss"], one.fits["losses"]["loss"]
    for key in ("one_variable", "standing", "convention"):
        assert of_page[key] == of_file[key], key
    numbers = one.numbers("one_variable").query("kind == 'law'")
    shown = open_page(one.path)
    losses, band = shown.page.evaluate(LAW_AND_BAND, numbers["x"].tolist())
    np.testing.assert_allclose(losses, numbers["loss"], rtol=1e-12)
    for end in ("low", "high"):
        np.testing.assert_allclose([point[end] for point in band], numbers[end], rtol=1e-12)


def test_one_variable_draws_its_law_in_its_unit(open_page, one):
    shown = open_page(one.path)
    figure = shown.figure("one_variable")
    assert "loss (bits/byte)" in figure.locator(".chart svg").text_content()
    assert "nats" not in one.path.read_text(encoding="utf-8").split('<script type="application/json"')[0]
    assert dots(figure) >= len(one.runs)
    for what in ("above", "residual"):
        figure.locator('[data-control="show"]').select_option(what)
        assert dots(figure) > 0
    figure.locator('[data-key="runs"]').click()
    assert dots(shown.figure("one_variable")) == 0
    assert shown.page.locator("#figure-exponent .answer").count() == 1
    assert shown.page.locator("#planner").count() == 0
    assert shown.said == []


def test_a_run_of_one_variable_is_pinned(open_page, one):
    shown = open_page(one.path)
    figure = shown.figure("one_variable")
    shown.point_at(figure.locator(".chart svg circle").first, click=True)
    name = shown.page.locator(".card b").inner_text()
    row = one.runs.set_index(one.runs["run_id"].astype(str)).loc[name]
    tip = figure.locator("g").filter(has_text="law =").first.text_content()
    assert "N = 1.000e6" in tip
    assert row.params == 1e6
    assert str(row.loss) in [box.get_attribute("title") for box in shown.page.locator(".card dd[title]").all()]


def test_a_refused_law_of_one_variable_leaves_no_figure(open_page, tmp_path):
    study = studied(pd.DataFrame({"N": [1e6, 2e6, 4e6], "loss": [3.0, 2.9, 2.8]}), tmp_path)
    shown = open_page(study.path)
    shown.page.locator("html[data-ready]").wait_for(state="attached")
    assert shown.page.locator("figure").count() == 0
    shown.page.locator("details#play summary").click()
    assert "3 distinct N, 4 are needed" in shown.page.locator("details#play").text_content()
    assert shown.said == []


@pytest.mark.parametrize("name", ["bowls", "seeds", "one"])
def test_axe_and_a_phone_find_nothing(open_page, request, name):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    from tests.analysis.report.browser.test_reading import opened_wide

    shown = open_page(request.getfixturevalue(name).path, color_scheme="dark")
    shown.page.set_viewport_size({"width": 390, "height": 844})
    opened_wide(shown.page)
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= 390
    found = axe.Axe().run(shown.page).response["violations"]
    assert [(entry["impact"], entry["id"], entry["nodes"][0]["html"][:200]) for entry in found] == []
