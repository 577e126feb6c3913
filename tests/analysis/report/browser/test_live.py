"""Live figures, tables and the pinned run, by what a reader sees and does."""

import csv

import pytest

from tests.analysis import hostile
from tests.analysis.test_analyse import write_named
from vsweep import analysis, tables
from vsweep.analysis.sections.base import MOST_ROWS

FIGURES = (
    "loss_curves",
    "isoflop_valleys",
    "loss_and_match",
    "law_measured",
    "exponent",
    "anchors",
    "split",
    "recipes",
)


def dots(figure) -> int:
    """How many of its runs a figure shows."""
    return figure.locator(".chart svg g circle").count()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_figure_draws_without_a_word(open_page, report, scheme):
    shown = open_page(report.path, color_scheme=scheme)
    for name in FIGURES:
        assert shown.figure(name).locator(".chart svg path, .chart svg circle").count() > 1, name
    assert shown.said == []
    assert [address.partition("#")[0] for address in shown.asked] == [report.path.as_uri()]


def test_a_pointer_shows_a_run_and_its_values(opened, report):
    figure = opened.figure("loss_curves")
    opened.point_at(figure.locator(".chart svg circle").last)
    tip = figure.locator("g[aria-label=tip]").text_content()
    name = next(run for run in report.runs["run_id"] if run in tip)
    row = report.runs.set_index("run_id").loc[name]
    assert f"loss = {float(f'{row.excess_loss:.5g}'):g}" in tip
    assert f"N = {row.params}" in tip


def test_a_click_pins_a_run_everywhere(opened, report):
    figure = opened.figure("loss_curves")
    opened.point_at(figure.locator(".chart svg circle").last, click=True)
    name = opened.page.locator(".card b").inner_text()
    assert name in set(report.runs["run_id"])
    assert f"run={name}" in opened.page.url
    assert opened.page.locator("tr.is-pinned button").get_attribute("aria-pressed") == "true"
    shown = opened.page.locator(".card dd[title]")
    values = {str(value) for value in report.runs.set_index("run_id").loc[name]}
    of_card = [shown.nth(at).get_attribute("title") for at in range(shown.count())]
    assert all(text in values or f"{text}.0" in values for text in of_card)
    opened.page.get_by_role("button", name="Unpin").click()
    assert opened.page.locator(".card").is_hidden()


def test_a_link_opens_the_page_as_it_was(open_page, report):
    name = report.runs["run_id"].iloc[-1]
    shown = open_page(report.path, f"#at=figure-anchors&loss=val_loss&run={name}")
    assert shown.page.locator(".card b").inner_text() == name
    assert shown.page.locator('[data-picker="loss"]').first.input_value() == "val_loss"
    assert shown.page.evaluate("scrollY") > 1000


def test_pickers_change_every_figure(opened):
    figure = opened.figure("loss_curves")
    opened.choose("loss", "val_loss")
    assert "validation loss" in figure.locator(".chart svg").text_content()
    assert "validation loss" in opened.figure("law_measured").locator(".chart svg").text_content()
    opened.choose("size", "params_non_embedding")
    opened.figure("loss_curves").get_by_text("in the convention of fits.json").wait_for()


def test_a_size_can_be_hidden(opened):
    figure = opened.figure("loss_curves")
    before = dots(figure)
    button = figure.locator("[data-size]").last
    button.click()
    figure.locator("[data-size][aria-pressed=false]").wait_for()
    assert dots(opened.figure("loss_curves")) < before
    figure.locator("[data-size]").last.click()
    opened.wait_for_dots("loss_curves", before)


def test_axes_switch_between_linear_and_log(opened):
    figure = opened.figure("loss_curves")
    drawn = figure.locator(".chart svg").inner_html()
    figure.locator('[data-control="xlog"]').click()
    assert figure.locator('[data-control="xlog"]').get_attribute("aria-pressed") == "false"
    assert figure.locator(".chart svg").inner_html() != drawn


@pytest.mark.parametrize(("low", "high"), [(0.3, 1.2), (7e7, 4e11), (0.61, 0.68), (1e-4, 3e2), (1e18, 2e22)])
def test_marks_of_a_log_axis_are_few_and_labelled(opened, low, high):
    for most in (3, 6, 10):
        marks = opened.page.evaluate("(of) => module_axes.marks(...of)", [low, high, most])
        assert 2 <= len(marks) <= most, marks
        assert all(low <= mark <= high for mark in marks)
        assert marks == sorted(marks)


def test_no_label_of_an_axis_is_left_out(opened):
    figure = opened.figure("loss_curves")
    texts = figure.locator(".chart svg g text").evaluate_all("(texts) => texts.map((text) => text.textContent)")
    assert len(texts) > 8
    assert all(texts)
    assert any("×10" in text or text.startswith("10") for text in texts)


def test_files_hold_what_is_shown(opened, report):
    figure = opened.figure("loss_curves")
    with opened.page.expect_download() as saved:
        figure.locator('[data-save="csv"]').click()
    with open(saved.value.path(), encoding="utf-8", newline="") as file:
        rows = {row["id"]: float(row["loss"]) for row in csv.DictReader(file)}
    assert rows == dict(zip(report.runs["run_id"], report.runs["excess_loss"], strict=True))
    with opened.page.expect_download() as saved:
        figure.locator('[data-save="svg"]').click()
    assert saved.value.suggested_filename == "loss_curves.svg"


def test_the_table_of_runs_sorts_and_filters(opened, report):
    page = opened.page
    page.locator("#runs-list > summary").click()
    table = page.locator("#runs-list table")
    table.get_by_role("button", name="val_loss").click()
    first = table.locator("tbody tr").first.locator("button").inner_text()
    assert first == report.runs.loc[report.runs["val_loss"].idxmin(), "run_id"]
    page.locator("#runs-list input[type=search]").fill("params > 10000")
    kept = int((report.runs["params"] > 10_000).sum())
    assert page.locator("#runs-list output").inner_text() == f"{kept} of {len(report.runs)} rows"
    assert table.locator("tbody tr:visible").count() == kept
    assert len(report.runs) <= MOST_ROWS


def test_names_of_runs_run_nothing(open_page, tmp_path):
    workdir = write_named(tmp_path / "named", hostile.TEXTS)
    names = list(tables.read_runs(workdir)["run_id"])
    shown = open_page(analysis.analyse(workdir, bootstrap=0).report)
    for name in ("loss_curves", "loss_and_match"):
        shown.figure(name)
    shown.page.locator("#runs-list > summary").click()
    shown.page.locator("#runs-list tbody button").nth(1).click()
    assert shown.page.locator(".card b").text_content() in names
    assert shown.page.title() == "named - scaling law"
    assert shown.said == []
    assert len(shown.asked) == 1


def test_a_drag_keeps_its_runs_everywhere(opened, report):
    figure = opened.figure("loss_curves")
    box = figure.locator(".chart svg").bounding_box()
    whole = dots(figure)
    opened.page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 5)
    opened.page.mouse.down()
    opened.page.mouse.move(box["x"] + box["width"] - 5, box["y"] + box["height"] - 5, steps=4)
    opened.page.mouse.up()
    kept = int(figure.locator(".all-runs").inner_text().split()[0])
    assert 0 < kept < len(report.runs)
    assert dots(figure) < whole
    opened.wait_for_dots("law_measured", kept)
    opened.page.locator("#runs-list > summary").click()
    assert opened.page.locator("#runs-list tbody tr:visible").count() == kept
    assert opened.page.locator(".card").is_hidden()
    opened.figure("loss_curves").locator(".all-runs").click()
    opened.wait_for_dots("loss_curves", whole)
