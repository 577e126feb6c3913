"""The line that shows how far an analysis is."""

import io

from rich.console import Console

from tests.analysis.planted import large_table
from vsweep import analysis
from vsweep.analysis.report import progress
from vsweep.analysis.sections import SECTIONS


def shown_on(*, terminal: bool) -> str:
    file = io.StringIO()
    with progress.shown(Console(file=file, force_terminal=terminal, width=80)) as say:
        say("The parametric law")
    return file.getvalue()


def test_a_terminal_shows_the_step():
    assert "The parametric law" in shown_on(terminal=True)


def test_a_file_shows_nothing():
    assert shown_on(terminal=False) == ""


def test_each_section_is_named_before_it_is_computed(tmp_path):
    steps = []
    analysis.analyse(large_table(4, 4, 1), tmp_path, bootstrap=0, say=steps.append)
    assert steps[0] == f"1 of {len(SECTIONS)}: Runs and seeds"
    assert [step.partition(": ")[2] for step in steps[:-1]] == [one.title for one in (*SECTIONS[1:], SECTIONS[0])]
    assert steps[-1] == "figures"
