from pathlib import Path

import pytest

from vsweep.analysis import commands, option_help
from vsweep.analysis.checking import command as checking
from vsweep.analysis.compare import command as compare
from vsweep.analysis.planner import command as planner
from vsweep.cli.designing import options as designing

DOCS = Path(__file__).parents[2] / "docs"
ELSEWHERE = {"design": "designing.md"}  # than analysis.md
PARSERS = {
    "analyse": commands._analyse_parser,
    "plan": planner._parser,
    "compare": compare._parser,
    "check": checking._parser,
    "table": commands._table_parser,
    "design": designing.parser,
}


@pytest.mark.parametrize("word", PARSERS)
def test_the_document_shows_every_option(word):
    table = option_help.table(PARSERS[word]())
    document = DOCS / ELSEWHERE.get(word, "analysis.md")
    assert table in document.read_text(encoding="utf-8"), table


@pytest.mark.parametrize("word", PARSERS)
def test_help_has_an_example_of_each_option(word):
    parser = PARSERS[word]()
    text = " ".join(parser.format_help().split())
    for action in parser._actions:
        if action.option_strings and action.dest != "help":
            assert f"example: {option_help.example(parser.prog, action)}" in text


def test_examples_of_unknown_options_are_missing():
    options = {
        option for parser in PARSERS.values() for action in parser()._actions for option in action.option_strings
    }
    assert {name.split()[-1] for name in option_help.EXAMPLES} <= options
