"""docs/config.md is the table of fields, and the table is whole."""

import dataclasses
from pathlib import Path

import pytest

from vsweep.config import document, fields, sweep_config
from vsweep.schema import AXES, RUN_COLUMNS

PAGE = Path(__file__).parents[3] / "docs" / "config.md"


def test_the_page_of_fields_is_up_to_date():
    message = "run: python -m vsweep.config.document > docs/config.md"
    assert PAGE.read_text(encoding="utf-8") == document.markdown(), message


def test_every_field_is_on_the_page_and_in_the_help():
    page, text = document.markdown(), document.help_text()
    for field in fields.FIELDS:
        assert f"| `{field.name}` | `{field.default}` | " in page
        assert f"{'*' if field.swept else ' '} {field.path} " in text


@pytest.mark.parametrize("field", fields.FIELDS, ids=[field.path for field in fields.FIELDS])
def test_every_row_of_the_table_is_whole(field):
    assert field.meaning
    assert sweep_config.value_problem(field, field.default, field.path) is None
    assert getattr(sweep_config.CLASSES[field.section](), field.name) == field.default


def test_fields_have_one_place_and_axes_one_name():
    paths = [field.path for field in fields.FIELDS]
    assert len(set(paths)) == len(paths)
    assert all(len(fields.paths_of(axis)) == 1 for axis in AXES)
    for section, kind in sweep_config.CLASSES.items():
        assert [field.name for field in dataclasses.fields(kind)] == list(fields.of_section(section))


def test_the_columns_of_runs_say_what_the_table_says():
    for axis in AXES:
        assert RUN_COLUMNS[axis] == (fields.SWEPT[axis].unit, fields.SWEPT[axis].meaning)
