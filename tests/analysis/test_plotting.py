"""What all figures share: names of files that any text may become."""

from vsweep.analysis.plotting import LONGEST_FILE, file_parts


def test_names_become_short_and_distinct_parts():
    names = ["lr", "a/lr", "a.lr", "../../lr", "???", 300 * "x" + "/lr"]
    parts = file_parts(names)
    assert list(parts.values()) == ["lr", "a_lr", "2_a_lr", "3_lr", "4_", LONGEST_FILE * "x"]
