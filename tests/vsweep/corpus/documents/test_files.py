"""Documents of files: exactly what stands in them, or a message that names the place."""

import gzip
import json

import pytest

from tests.vsweep.corpus import small
from vsweep.corpus.documents import files
from vsweep.corpus.documents.files import Reading, file_sources

TEXTS = ["a\r\nb", "  blank ends \n", "漢字 🙂 \x00", "\n\n", "last"]


def read(path, reading=Reading(), skip=0):  # noqa: B008 - frozen
    sources, _ = file_sources(path, reading)
    return [document.text for source in sources for document in source.documents(skip)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json.gz", "a.ndjson"])
def test_lines_come_back_unchanged(name, tmp_path):
    assert read(small.write_jsonl(tmp_path / name, TEXTS)) == TEXTS


def test_each_text_file_is_a_document(tmp_path):
    assert read(small.write_txt(tmp_path / "folder", TEXTS)) == TEXTS


@small.needs("pyarrow")
def test_rows_of_a_table_come_back_unchanged(tmp_path):
    assert read(small.write_parquet(tmp_path / "a.parquet", TEXTS)) == TEXTS


def test_the_first_documents_are_skipped(tmp_path):
    assert read(small.write_jsonl(tmp_path / "a.jsonl", TEXTS), skip=3) == TEXTS[3:]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1000])
def test_a_separator_works_at_any_chunk_border(chunk, tmp_path, monkeypatch):
    text = "a\n\n\nb\n\nschön\n\n\n\nz\n"
    (tmp_path / "a.txt").write_bytes(text.encode())
    monkeypatch.setattr(files, "CHUNK_BYTES", chunk)
    assert read(tmp_path / "a.txt", Reading(separator="\n\n")) == text.split("\n\n")


def test_a_packed_text_file_is_read(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("schön".encode()))
    assert read(tmp_path / "a.txt.gz") == ["schön"]


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_a_byte_order_mark_is_no_text(name, tmp_path):
    content = {"a.txt": "schön", "a.jsonl": json.dumps({"text": "schön"})}[name]
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + content.encode())
    assert read(tmp_path / name) == ["schön"]


def test_folders_are_read_in_the_order_of_paths(tmp_path):
    for name in ("b/1.txt", "a/2.txt", "a/10.txt", "c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert read(tmp_path) == ["a/10.txt", "a/2.txt", "b/1.txt", "c.txt"]


def test_other_files_of_a_folder_are_named(tmp_path):
    for name in ("a.txt", "b.pdf", ".hidden.txt"):
        (tmp_path / name).write_text(name)
    sources, others = file_sources(tmp_path, Reading())
    assert [source.name for source in sources] == ["a.txt"]
    assert {path.name for path in others} == {"b.pdf", ".hidden.txt"}


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.txt", b"abc\xff", "a.txt, near byte 3: not UTF-8; allowed: UTF-8 text; convert others first: iconv"),
        ("a.txt", b"abc\xc3", "not UTF-8"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', "a.jsonl, line 2: not UTF-8"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', "a.jsonl, line 2: not JSON"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl, line 1: not JSON"),
        ("a.jsonl", b'{"content": "a", "id": 1}\n', "no text in field 'text' - got the fields content, id"),
        ("a.jsonl", b'{"text": null}\n', "no text in field 'text'"),
        ("a.jsonl", b'["text"]\n', "no text in field 'text' - got list"),
        ("a.jsonl.gz", b"no gzip", "a.jsonl.gz is damaged"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 99, mtime=0)[:-12], "a.jsonl.gz is damaged"),
        ("a.pdf", b"x", "no file that can be read"),
    ],
)
def test_a_bad_file_is_refused_with_the_place(name, content, told, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert told in small.refusal(lambda: read(tmp_path / name))


@small.needs("pyarrow")
def test_a_bad_table_is_refused(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"no table")
    assert "is no parquet file" in small.refusal(lambda: read(tmp_path / "a.parquet"))
    small.write_parquet(tmp_path / "b.parquet", ["x"])
    reading = Reading(field="content")
    assert "no column 'content' of text - got the columns url, text" in small.refusal(
        lambda: read(tmp_path / "b.parquet", reading)
    )
    small.write_parquet(tmp_path / "c.parquet", ["x", None])
    assert "c.parquet, row 2: no text in column 'text' - got null" in small.refusal(
        lambda: read(tmp_path / "c.parquet")
    )


def test_a_missing_input_is_refused(tmp_path):
    assert "no such file or folder" in small.refusal(lambda: read(tmp_path / "nowhere"))


def test_facts_change_with_a_single_byte(tmp_path):
    path = small.write_jsonl(tmp_path / "a.jsonl", TEXTS)
    (source,), _ = file_sources(path, Reading())
    before = source.facts()
    path.write_bytes(path.read_bytes().replace(b"last", b"lost"))
    assert source.facts() != before
    assert source.facts()["bytes"] == before["bytes"]
