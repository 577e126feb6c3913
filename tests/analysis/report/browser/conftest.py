"""One headless Chromium for all tests, and pages of planted sweeps.

A machine without Chromium or playwright skips these tests. With VSWEEP_BROWSER=required, as in CI, it fails instead.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest

from tests.analysis.planted import Planted, write_planted
from vsweep import analysis, tables

PATIENCE_MS = 15_000  # for what should be there at once; a busy machine draws in seconds
NAMES = ("chromium", "chromium-browser", "google-chrome")


def without(reason: str) -> None:
    """Skips, or fails where a browser was promised."""
    if os.environ.get("VSWEEP_BROWSER") == "required":
        pytest.fail(f"VSWEEP_BROWSER=required, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="module")  # for playwright leaves an event loop running, which other tests must not meet
def browser() -> Iterator:
    program = next((path for name in NAMES if (path := shutil.which(name))), None)
    if program is None:
        without(f"no browser here: looked for {', '.join(NAMES)}")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        without("no playwright here: pip install -r requirements-dev.txt")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@dataclass(frozen=True)
class Report:
    """A report on disk with the tables that it was made from."""

    path: Path
    runs: pd.DataFrame
    curves: pd.DataFrame
    fits: dict


@pytest.fixture(scope="session")
def report(tmp_path_factory) -> Report:
    """30 cells with 3 seeds, a known law and 2 % scatter."""
    workdir = write_planted(tmp_path_factory.mktemp("shown") / "planted", Planted(noise=0.02))
    result = analysis.analyse(workdir, bootstrap=40)
    fits = json.loads(result.fits.read_text(encoding="utf-8"))
    return Report(result.report, tables.read_runs(workdir), tables.read_curves(workdir), fits)


@dataclass
class Opened:
    """A page with what it said on its console, and every address that it asked for."""

    page: object
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def choose(self, picker: str, value: str) -> None:
        """Another loss, N or C, in the first figure that offers it."""
        self.page.locator(f'[data-picker="{picker}"]').first.select_option(value)

    def figure(self, name: str) -> object:
        """A figure, scrolled into view and drawn."""
        found = self.page.locator(f"#figure-{name}")
        found.scroll_into_view_if_needed()
        found.locator(".chart svg").first.wait_for()
        return found

    def wait_for_dots(self, name: str, count: int) -> None:
        """Until a figure in view shows so many runs: it is drawn again when it is seen again."""
        from playwright.sync_api import expect

        expect(self.figure(name).locator(".chart svg g circle")).to_have_count(count, timeout=PATIENCE_MS)

    def point_at(self, mark: object, *, click: bool = False) -> None:
        """Moves the pointer to the middle of a mark, and clicks there."""
        mark.scroll_into_view_if_needed()
        box = mark.bounding_box()
        place = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        self.page.mouse.move(*place)
        if click:
            self.page.mouse.click(*place)


@pytest.fixture
def open_page(browser) -> Iterator[Callable[..., Opened]]:
    """Opens a file in a context of its own; options are those of `browser.new_context`."""
    contexts = []

    def opened(path: Path, address: str = "", **options) -> Opened:
        contexts.append(browser.new_context(viewport={"width": 1280, "height": 900}, **options))
        contexts[-1].set_default_timeout(PATIENCE_MS)
        shown = Opened(contexts[-1].new_page())
        shown.page.on("console", lambda message: shown.said.append(message.text))
        shown.page.on("pageerror", lambda error: shown.said.append(str(error)))
        shown.page.on("request", lambda request: shown.asked.append(request.url))
        shown.page.goto(f"{path.as_uri()}{address}")
        return shown

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture
def opened(open_page, report) -> Opened:
    """The planted report, ready."""
    return open_page(report.path)
