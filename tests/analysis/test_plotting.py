"""What all figures share: names of files that any text may become, and what stands for few colours."""

import numpy as np

from vsweep.analysis import plotting
from vsweep.analysis.plotting import LONGEST_FILE, file_parts


def test_names_become_short_and_distinct_parts():
    names = ["lr", "a/lr", "a.lr", "../../lr", "???", 300 * "x" + "/lr"]
    parts = file_parts(names)
    assert list(parts.values()) == ["lr", "a_lr", "2_a_lr", "3_lr", "4_", LONGEST_FILE * "x"]


def test_few_colours_are_named_and_many_have_a_bar():
    for values, expected in ((np.array([1e3, 2e3]), ["2k", "1k"]), (np.geomspace(1e3, 1e6, 6), None)):
        figure, (axes,) = plotting.new_figure()
        plotting.colour_bar(figure, axes, plotting.colours(values), values, "N (parameters)")
        legend = axes.get_legend()
        assert (legend and [text.get_text() for text in legend.get_texts()]) == expected
        assert len(figure.axes) == (1 if expected else 2)
