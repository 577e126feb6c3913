"""Numbers as words, and text and tables for a terminal."""

import numpy as np
import pytest

from tests.analysis import hostile
from vsweep.analysis import formatting
from vsweep.analysis.formatting import WIDTH, blocks, columns, facts, prose

NAMES = (*hostile.TEXTS, "[red]danger[/red]", ":smile:", "\x1b[31mred\x07")


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (formatting.metric(999.9), "1k"),
        (formatting.metric(7e10), "70B"),
        (formatting.amount(2e17), "2.00e17"),
        (formatting.scientific(1.3e19), "1.30e19"),
        (formatting.scientific(np.inf), "never"),
        (formatting.nats(0.00123456), "0.0012"),
        (formatting.share(0.1414), "14.1 %"),
        (formatting.share(0.25, digits=None), "25 %"),
        (formatting.share(-np.inf), "unbounded"),
        (formatting.signed_percent(0.0125), "+1.25 %"),
        (formatting.percent(np.log(1.02)), "2 %"),
        (formatting.percent(np.log(2)), "a factor of 2.00"),
        (formatting.count(1, "run"), "1 run"),
        (formatting.from_to(0.48, 0.551, "{:.2f}".format), "0.48 to 0.55"),
    ],
)
def test_numbers_are_written_as_words(written, wanted):
    assert written == wanted


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_are_text_in_a_terminal(name, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    text = blocks([name, facts([(name, name)])], [columns((name, "N"), [(name, "1")]), prose(name)])
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    assert text.startswith(formatting.printable(name))
    assert "".join(formatting.printable(name).split()) in "".join(text.split())


def test_lines_fit_and_values_stay_whole():
    value = "0.5183\n(-0.3742 to +0.3154)"
    long = "a name of many words " * 5
    text = blocks([columns(("", long, long, "x"), [("alpha", value, value, value)]), prose(20 * "costs 10 % ")])
    assert max(map(len, text.splitlines())) <= WIDTH
    assert text.count("(-0.3742 to +0.3154)") == 3
    assert text.count("10 %") == 20


def test_wide_values_are_never_cropped():
    values = [f"{number}{'.' * 30}end" for number in range(5)]
    text = blocks([columns([100 * "name", *"abcd"], [values])])
    assert all(value in text for value in values)
