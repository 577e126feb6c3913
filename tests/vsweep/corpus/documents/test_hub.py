"""Data sets of the hub: a local folder laid out like one, and what a name means."""

import pytest

from tests.vsweep.corpus import small
from vsweep.corpus.documents.hub import HubSource, hub_source

README = """---
configs:
- config_name: en
  data_files: en/train-*.json.gz
- config_name: de
  data_files: de/train-*.json.gz
---
"""


def write_hub(folder, documents):
    """A data set as C4 is laid out: a folder for each language, lines of JSON in several files."""
    half = len(documents) // 2
    small.write_jsonl(folder / "en" / "train-00000-of-00002.json.gz", documents[:half])
    small.write_jsonl(folder / "en" / "train-00001-of-00002.json.gz", documents[half:])
    small.write_jsonl(folder / "de" / "train-00000-of-00001.json.gz", ["anders"])
    (folder / "README.md").write_text(README)
    return folder


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hf:allenai/c4:en", ("allenai/c4", "en", "")),
        ("hf:allenai/c4", ("allenai/c4", "", "")),
        ("hf:allenai/c4:en@1588ec4", ("allenai/c4", "en", "1588ec4")),
    ],
)
def test_a_name_has_a_subset_and_a_revision(text, parts):
    assert hub_source(text, "text") == HubSource(*parts, "text")


def test_a_changed_folder_has_other_facts(tmp_path):
    folder = write_hub(tmp_path / "c4", small.texts(4))
    before = hub_source(f"hf:{folder}:en", "text").facts()
    assert before["name"] == "hf:c4:en"
    small.write_jsonl(folder / "de" / "train-00000-of-00001.json.gz", ["geändert"])
    assert hub_source(f"hf:{folder}:en", "text").facts() != before


@small.needs("datasets")
def test_documents_come_in_their_order(tmp_path):
    folder = write_hub(tmp_path / "c4", small.texts(10))
    source = hub_source(f"hf:{folder}:en", "text")
    assert [document.text for document in source.documents()] == small.texts(10)
    assert [document.text for document in source.documents(skip=7)] == small.texts(10)[7:]


@small.needs("datasets")
def test_an_unknown_subset_or_field_is_refused(tmp_path):
    folder = write_hub(tmp_path / "c4", small.texts(4))
    missing = hub_source(f"hf:{folder}:fr", "text")
    assert "cannot open hf:c4:fr" in small.refusal(lambda: list(missing.documents()))
    other = hub_source(f"hf:{folder}:en", "body")
    assert "no text in column 'body' - got the columns text, url" in small.refusal(lambda: list(other.documents()))
