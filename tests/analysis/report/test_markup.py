from pathlib import Path

from vsweep.analysis.report.markup import Markup, element, joined, page, void

from tests.analysis import hostile
from vsweep import analysis

SOURCES = Path(analysis.__file__).parent


def test_text_is_escaped_wherever_it_goes_and_elements_are_not():
    assert element("td", "<b>") == "<td>&lt;b&gt;</td>"
    assert element("td", element("b", "&")) == "<td><b>&amp;</b></td>"
    assert void("img", alt='"><b>') == '<img alt="&quot;&gt;&lt;b&gt;">'
    assert element("p", None, 3, class_="why") == '<p class="why">None3</p>'
    assert joined("<", ">", between=void("br")) == "&lt;<br>&gt;"
    assert joined("a", "b", between="<") == "a&lt;b"


def test_what_is_done_to_an_element_as_to_a_string_makes_it_text_again():
    made = element("b", "x")
    for text in (f"{made}<", made + "<", "<".join([made]), made.replace("x", "<script>"), made.upper()):
        assert type(text) is str
        assert "<b>" not in element("p", text)


def test_only_the_module_of_elements_makes_markup():
    """Text that is called markup elsewhere would be trusted without having been escaped."""
    makers = {path.name for path in SOURCES.rglob("*.py") if "Markup(" in path.read_text(encoding="utf-8")}
    assert makers == {"markup.py"}
    assert [path.name for path in SOURCES.rglob("*.py") if "<td" in path.read_text(encoding="utf-8")] == []


def test_hostile_text_adds_nothing_to_a_page():
    plain, harmed = (page(text, "p {}", element("p", text, title=text), text) for text in ("x", hostile.ALL))
    tags = [[entry[0] for entry in hostile.structure(text)] for text in (plain, harmed)]
    assert tags[0] == tags[1]
    assert isinstance(harmed, Markup)
