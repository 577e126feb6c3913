"""What comes with the package is what its README says."""

import hashlib

import pytest

from vsweep.config.problems import ConfigError
from vsweep.corpus.bundled import BUNDLED
from vsweep.corpus.documents.files import FileSource, Reading


def test_speeches_are_those_of_their_readme():
    path = BUNDLED["speeches"]
    stated = (path.parent / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(path.read_bytes()).hexdigest() in stated
    texts = [document.text for document in FileSource(path, path.name, Reading()).documents()]
    assert len(texts) == 233
    assert "233 State of the Union" in stated
    assert sum(len(text.encode()) for text in texts) // 100_000 == 107
    assert texts[0].startswith("Fellow-Citizens of the Senate")


def test_a_damaged_archive_is_refused(tmp_path):
    damaged = tmp_path / "a.jsonl.xz"
    damaged.write_bytes(BUNDLED["speeches"].read_bytes()[:100_000])
    with pytest.raises(ConfigError, match="is damaged"):
        list(FileSource(damaged, damaged.name, Reading()).documents())
