"""The page in a real browser: it draws, follows the training, keeps quiet, and runs no name of a table."""

from pathlib import Path

import pytest

from tests.analysis.report.browser.conftest import browser
from tests.vsweep.serve import planted
from tests.vsweep.serve.planted import Planted

__all__ = ["browser"]

HOSTILE = "</script><img src=x onerror=document.title='run'><b>{width}-{seed}"
WAIT_MS = 60_000


@pytest.fixture
def look(browser, serve):
    """Opens the page of work directories; gives the page, what its console said, and whom it asked."""
    contexts = []

    def opened(*workdirs: Path, **options):
        served = serve(*workdirs)
        contexts.append(browser.new_context(**options))
        page, said, asked = contexts[-1].new_page(), [], set()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.add(request.url))
        page.goto(f"http://127.0.0.1:{served.port}/{served.token}/", wait_until="domcontentloaded")
        page.locator(".chart svg").first.wait_for(timeout=WAIT_MS)
        home = f"http://127.0.0.1:{served.port}/{served.token}/"
        return page, said, lambda: {url for url in asked if not url.startswith((home, "data:"))}

    yield opened
    for context in contexts:
        context.close()


def test_the_page_follows_the_training(look, tmp_path):
    workdir = planted.write(tmp_path / "sweep", Planted(off=0.3))
    (workdir / "analysis").mkdir()
    (workdir / "analysis" / "report.html").write_text("<!doctype html><title>r</title><p>the report<script>1</script>")
    page, said, elsewhere = look(workdir)
    assert page.locator(".wrong tbody tr").first.text_content().startswith("w16-s0off the other seeds")
    assert page.locator(".curve").count() == 9
    assert page.frame_locator("iframe").locator("p").text_content(timeout=WAIT_MS) == "the report1"
    planted.write_live(workdir, step=777)
    page.locator(".stacks", has_text="777 of 1,000").wait_for(timeout=WAIT_MS)
    assert page.locator(".badge").text_content() == "training"
    assert (said, elsewhere()) == ([], set())


def test_names_of_tables_run_nothing(look, tmp_path):
    page, said, elsewhere = look(planted.write(tmp_path / "hostile", Planted(off=0.3, name=HOSTILE, title=HOSTILE)))
    assert page.locator("h1").text_content() == HOSTILE
    assert page.locator("img, b").count() == 0
    assert page.title().startswith(HOSTILE)
    assert (said, elsewhere()) == ([], set())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_whole(look, workdir, tmp_path, scheme):
    other = planted.write(tmp_path / "other")
    page, said, _ = look(workdir, other, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page.locator(".sweep").nth(1).wait_for(timeout=WAIT_MS)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(look, tmp_path, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    workdir, other = planted.write(tmp_path / "sweep", Planted(off=0.3)), planted.write(tmp_path / "other")
    planted.write_live(workdir)
    page, said, _ = look(workdir, other, color_scheme=scheme)
    page.locator(".sweep").nth(1).wait_for(timeout=WAIT_MS)
    found = axe.Axe().run(page).response["violations"]
    assert [(entry["impact"], entry["id"], entry["nodes"][0]["html"][:200]) for entry in found] == []
    assert said == []
