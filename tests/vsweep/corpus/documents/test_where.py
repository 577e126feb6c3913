"""Filters: which documents of JSON lines, tables and hub data sets are read."""

import json
import sys
import types

import pytest

from tests.vsweep.corpus import small
from vsweep.cli import tokenise
from vsweep.config.problems import ConfigError
from vsweep.corpus.bundled import BUNDLED
from vsweep.corpus.documents.files import FileSource, Reading
from vsweep.corpus.documents.hub import hub_source
from vsweep.corpus.documents.where import Condition
from vsweep.corpus.split import HELD_OUT, TRAIN
from vsweep.corpus.store import Store

ROWS = [
    {"text": "one", "lang": "en", "year": 1850},
    {"text": "zwei", "lang": "de", "year": 1950},
    {"text": "three", "lang": "en", "year": 1999},
]


def write(path, rows=ROWS):
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def kept(path, *conditions: str, skip: int = 0) -> list[str]:
    reading = Reading(where=tuple(map(Condition.read, conditions)))
    return [document.text for document in FileSource(path, path.name, reading).documents(skip)]


@pytest.mark.parametrize(
    ("conditions", "texts"),
    [
        (['lang == "en"'], ["one", "three"]),
        (['lang!="en"'], ["zwei"]),
        (["year >= 1950"], ["zwei", "three"]),
        (["year<1950.5"], ["one", "zwei"]),
        (['lang == "en"', "year > 1900"], ["three"]),
        (['lang < "e"'], ["zwei"]),
        (["year == null"], []),
        ([], ["one", "zwei", "three"]),
    ],
)
def test_only_documents_that_fulfil_all_conditions_are_read(conditions, texts, tmp_path):
    assert kept(write(tmp_path / "a.jsonl"), *conditions) == texts


def test_a_filtered_file_goes_on_after_the_kept_documents(tmp_path):
    assert kept(write(tmp_path / "a.jsonl"), 'lang == "en"', skip=1) == ["three"]


@small.needs("pyarrow")
def test_rows_of_a_table_are_filtered(tmp_path):
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    assert kept(tmp_path / "a.parquet", "year > 1900", 'lang == "en"') == ["three"]
    with pytest.raises(ConfigError, match="row 1: no field 'yaer'"):
        kept(tmp_path / "a.parquet", "yaer > 1900")


class Rows(list):
    """What the library `datasets` streams, as far as it is asked."""

    def skip(self, count: int) -> "Rows":
        return Rows(self[count:])


@pytest.mark.parametrize("skip", [0, 1, 2])
@pytest.mark.parametrize(
    ("conditions", "texts"), [(['lang == "en"'], ["one", "three"]), ([], ["one", "zwei", "three"])]
)
def test_rows_of_a_hub_data_set_are_filtered(conditions, texts, skip, tmp_path, monkeypatch):
    library = types.ModuleType("datasets")
    library.disable_progress_bars = lambda: None
    library.load_dataset = lambda *_, **__: Rows(ROWS)
    library.exceptions = types.SimpleNamespace(DatasetsError=OSError)
    monkeypatch.setitem(sys.modules, "datasets", library)
    source = hub_source(str(tmp_path), "text", tuple(map(Condition.read, conditions)))
    assert [document.text for document in source.documents(skip)] == texts[skip:]


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("yaer > 1900", "a.jsonl, line 1: no field 'yaer' - got text, lang, year"),
        ('year > "1900"', "field 'year' cannot be compared - got 1850 > \"1900\"; allowed: two numbers, or two texts"),
        ("lang < 3", "field 'lang' cannot be compared"),
    ],
)
def test_what_cannot_be_asked_of_a_document_is_refused_with_its_place(condition, told, tmp_path):
    with pytest.raises(ConfigError) as error:
        kept(write(tmp_path / "a.jsonl"), condition)
    assert told in str(error.value)


@pytest.mark.parametrize(("text", "told"), [("lang", "no condition"), ("lang == en", "en is no JSON value")])
def test_what_is_no_condition_is_refused(text, told):
    with pytest.raises(ConfigError, match=told):
        Condition.read(text)


def test_two_filters_make_two_stores_of_one_corpus(tmp_path, capsys):
    lines = [{"id": f"{year}_x", "text": f"speech {number} of {year}"} for year in (1800, 1950) for number in range(60)]
    path, stores = write(tmp_path / "all.jsonl", lines), {}
    for name, condition in (("early", 'id < "1900"'), ("late", 'id >= "1900"')):
        words = [str(path), "--where", condition, "--out", str(tmp_path / name), "--held-out", "0.3"]
        assert tokenise.main(words) == 0
        stores[name] = Store.open(tmp_path / name)
    for split in (TRAIN, HELD_OUT):
        assert b"1950" not in stores["early"].tokens(split).tobytes()
        assert b"1800" not in stores["late"].tokens(split).tobytes()
    assert stores["early"].manifest.asked["reading"]["where"][0]["value"] == "1900"
    capsys.readouterr()
    assert tokenise.main([*words[:2], 'id < "1900"', *words[3:]]) == 2  # another filter is another store


def test_a_text_file_has_no_fields_to_filter(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("text")
    assert tokenise.main([str(tmp_path / "a.txt"), "--where", "a == 1", "--out", str(tmp_path / "out")]) == 2
    assert "--where: a .txt has no fields" in capsys.readouterr().err


def test_a_store_without_conditions_is_asked_for_as_before():
    assert Reading().to_json() == {"field": "text", "separator": ""}


def test_the_bundled_speeches_are_split_by_century():
    early, late = (len(kept(BUNDLED["speeches"], condition)) for condition in ('id < "1900"', 'id >= "1900"'))
    assert early + late == 233
    assert min(early, late) > 100
