import pandas as pd
import pytest

from tests.analysis.planted import Planted, write_planted
from vsweep import atomic, schema, tables
from vsweep.analysis import sections
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.source import Convention
from vsweep.analysis.report import page, timing
from vsweep.analysis.sections.base import HEADLINE, Finding, begin


def table(**stacks: dict[str, float]) -> pd.DataFrame:
    none = dict.fromkeys(schema.ACTIVITIES, 0.0)
    return pd.DataFrame([{"stack": name, **none, **seconds} for name, seconds in stacks.items()])


TIMES = table(w4={"compile_s": 10.0, "train_s": 80.0}, w8={"train_s": 109.5, "other_s": 0.5}, w16={})


def test_rows_add_up_without_waiting_stacks():
    rows = timing.rows(TIMES)
    assert [row[:4] for row in rows] == [
        ["w4", "90.0", "10.0", "80.0"],
        ["w8", "110.0", "0.0", "109.5"],
        ["all", "200.0", "10.0", "189.5"],
    ]


def test_the_sentence_names_the_largest_share_first():
    assert timing.sentence(TIMES).startswith("Of 200 s of wall time: train 95%, compile 5%. ")
    assert timing.sentence(table(w4={})) == "No time has been recorded yet."


@pytest.mark.parametrize("recorded", [True, False])
def test_the_report_shows_times_where_recorded(recorded, tmp_path, monkeypatch):
    workdir = write_planted(tmp_path, Planted(widths=(4,), budgets=(125_000,)))
    if recorded:
        atomic.write_text_atomically(
            workdir / schema.TIMES_FILE, tables.as_csv(TIMES.to_dict("records"), schema.TIME_COLUMNS)
        )
    monkeypatch.setattr(sections, "SECTIONS", ())
    study = begin(load(workdir), Convention("excess_loss"), bootstrap=0)
    shown = page.render(study.source, [study], [Finding(None, "none", HEADLINE, "nothing")], {}, [])
    assert ("Where the time went" in shown) == recorded
    assert ("<td>109.5</td>" in shown) == recorded
