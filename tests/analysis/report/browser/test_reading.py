"""The page for every reader: screen readers, paper, phones, and browsers without scripts."""

import pytest

import vsweep


def opened_wide(page) -> None:
    """Everything that is folded is open, and every figure drawn."""
    page.evaluate("document.querySelectorAll('details').forEach((folded) => (folded.open = true))")
    for figure in page.locator(".is-live").all():
        figure.scroll_into_view_if_needed()
        figure.locator(".chart svg").first.wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(open_page, report, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    shown = open_page(report.path, color_scheme=scheme)
    opened_wide(shown.page)
    found = axe.Axe().run(shown.page).response["violations"]
    assert [(entry["impact"], entry["id"], entry["nodes"][0]["html"][:200]) for entry in found] == []


def test_paper_holds_every_loss_and_the_static_figures(opened):
    opened.figure("loss_curves")
    opened.page.emulate_media(media="print")
    assert opened.page.locator("#figure-loss_curves .still").is_visible()
    assert not opened.page.locator("#figure-loss_curves .live").is_visible()
    for loss in ("excess_loss", "answer_loss", "val_loss"):
        row = opened.page.locator("#definitions td", has_text=loss).first
        assert row.is_visible()
    by_loss = opened.page.locator("#law h3", has_text="By val_loss")
    assert by_loss.is_visible()
    assert not opened.page.locator("nav.contents").is_visible()


def test_a_phone_scrolls_in_one_direction(open_page, report):
    shown = open_page(report.path)
    shown.page.set_viewport_size({"width": 390, "height": 844})
    opened_wide(shown.page)
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_without_scripts_the_static_page_stands(open_page, report):
    shown = open_page(report.path, java_script_enabled=False)
    assert shown.page.locator("#figure-loss_curves .still svg").is_visible()
    assert shown.page.locator("#play noscript").is_visible()
    assert not shown.page.locator("#figure-anchors").is_visible()


def test_the_first_screen_holds_the_answer(opened):
    for part in (".headline", ".badge", ".numbers div >> nth=3"):
        box = opened.page.locator(part).bounding_box()
        assert box["y"] + box["height"] < 900


def test_dark_figures_are_light_on_dark(open_page, report):
    shown = open_page(report.path, color_scheme="dark")
    colours = "(of) => [...document.querySelectorAll(of)].map((part) => getComputedStyle(part).fill)"
    back = shown.page.evaluate("getComputedStyle(document.body).backgroundColor")
    fills = shown.page.evaluate(colours, "#figure-optimal_params .plot path")
    assert "rgb(255, 255, 255)" not in fills
    assert back in fills


def test_contents_lead_to_their_sections(opened):
    links = opened.page.locator("nav.contents a").all()
    targets = [link.get_attribute("href") for link in links]
    assert all(opened.page.locator(target).count() == 1 for target in targets)
    links[-1].click()
    assert opened.page.url.endswith(targets[-1])


def test_a_notebook_shows_the_page_and_one_figure(open_page, report, tmp_path):
    for name, figure in (("whole", None), ("one", "anchors")):
        path = tmp_path / f"{name}.html"
        path.write_text(
            f"<!doctype html><body>{vsweep.show(report.path, figure)._repr_html_()}</body>", encoding="utf-8"
        )
        shown = open_page(path)
        frame = shown.page.frame_locator("iframe")
        frame.locator(".chart svg").first.wait_for()
        assert frame.locator("nav.contents").count() == (0 if figure else 1)
        assert frame.locator("figure[id]").count() > 5 or figure
        if figure is None:
            frame.locator("nav.contents a").last.click()
            assert frame.locator("#definitions").is_visible()
        assert shown.said == []
        assert shown.page.frames[1].url == "about:srcdoc"
