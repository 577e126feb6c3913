"""The bar in a notebook, on a display of its own."""

import sys
from types import ModuleType

import pytest

from vsweep.host import notebook
from vsweep.host.progress import SilentProgress


class Shown(list):
    """What the bar has shown; takes the place of IPython's display."""

    def update(self, content: str) -> None:
        self.append(content)


@pytest.fixture
def shown(monkeypatch) -> Shown:
    bars = Shown()
    module = ModuleType("IPython.display")
    module.HTML, module.display = str, lambda content, display_id: bars
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(notebook, "Console", lambda: type("Here", (), {"is_jupyter": True}))
    return bars


def test_away_from_a_notebook_nothing_is_shown():
    assert type(notebook.progress_here()) is SilentProgress


def test_the_bar_shows_share_runs_and_time(shown):
    bar = notebook.progress_here()
    bar.compiling("w<8>")
    bar.update("w<8>", done=1.0, runs="3 of 12", tokens_per_s=5e4, eta_s=30.0)
    assert "w&lt;8&gt;: compiling" in shown[0]
    assert 'value="1.0000"' in shown[-1]
    assert "3 of 12 runs done, 50,000 tokens/s, 30 s to go" in shown[-1]


def test_the_bar_is_redrawn_seldom(shown):
    bar = notebook.progress_here()
    for _ in range(100):
        bar.update("w8", done=0.5, runs="1 of 2", tokens_per_s=1.0, eta_s=1.0)
    assert len(shown) < 3
