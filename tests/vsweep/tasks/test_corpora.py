import logging

import pytest

from tests.vsweep.tasks.test_text import CONTEXT, cache, config_of, make_store, task_of, texts, write_texts
from vsweep.config import sweep_config
from vsweep.config.problems import ConfigError
from vsweep.corpus.split import HELD_OUT, TRAIN
from vsweep.tasks import corpora

__all__ = ["cache"]


def test_texts_are_tokenised_once_and_that_is_said(tmp_path, cache, caplog):
    source = write_texts(tmp_path / "mine")
    first = task_of(source)
    assert "mine is tokenised (bytes) into" in caplog.text
    caplog.clear()
    kept = sorted(cache.iterdir())
    assert [folder.name.partition("-")[0] for folder in kept] == ["mine"]
    assert task_of(source).digest == first.digest
    assert (caplog.text, sorted(cache.iterdir())) == ("", kept)


def test_changed_texts_are_another_corpus(tmp_path):
    source = write_texts(tmp_path / "mine")
    before = task_of(source).digest
    (source / "more.txt").write_text("one more document")
    assert task_of(source).digest != before


def test_a_stopped_tokenising_leaves_nothing(tmp_path, cache, monkeypatch):
    source = write_texts(tmp_path / "mine")

    def stopping(request):
        yield from ()
        raise KeyboardInterrupt

    monkeypatch.setattr(corpora.tokenise, "tokenise", stopping)
    with pytest.raises(KeyboardInterrupt):
        task_of(source)
    assert list(cache.iterdir()) == []


def test_paragraphs_of_one_text_are_documents(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    (tmp_path / "book.txt").write_text("\n\n".join(texts(0)))
    store = task_of(tmp_path / "book.txt").own.store
    assert sum(store.manifest.splits[split].documents for split in (TRAIN, HELD_OUT)) == 120
    assert "A paragraph is a document (task.separator)" in caplog.text
    other = task_of(tmp_path / "book.txt", separator=r"\n").own.store
    assert other.manifest.asked["reading"]["separator"] == "\n"
    assert other.manifest.empty_documents == 119


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({"corpus": "no/such"}, ["task.corpus: no such file or folder - got 'no/such'; allowed: a store made by"]),
        ({"corpus": ""}, ["task.corpus: no such file or folder"]),
        (
            {"context": 60_000, "more_held_out": "news:no/such,news,_x:y,held_out:z"},
            [
                "task.more_held_out: not a name and a folder - got 'news'",
                "task.more_held_out: not a name and a folder - got '_x:y'",
                "task.more_held_out: not a name and a folder - got 'held_out:z'",
                "task.more_held_out: no such file or folder - got no/such",
                "task.context: longer than all of the train documents",
                "task.context: longer than all of the held_out documents",
            ],
        ),
        (
            {"tokenizer": "gpt2", "separator": "x"},
            ["task.tokenizer: the store has a tokenizer", "task.separator: the documents of a store are fixed"],
        ),
    ],
)
def test_what_is_wrong_comes_in_one_list(tmp_path, options, lines):
    store = make_store(tmp_path / "store")
    with pytest.raises(ConfigError) as caught:
        task_of(**{"corpus": store.folder, **options})
    said = str(caught.value).splitlines()
    assert len(said) == len(lines)
    assert all(line.startswith(start) for line, start in zip(said, lines, strict=True)), said


def test_wrong_texts_are_told_as_the_config_s_problem(tmp_path):
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "one.txt").write_text("only one document")
    with pytest.raises(ConfigError, match=r"task\.corpus: no document for held_out.*task\.separator = '\\n\\n'"):
        task_of(tmp_path / "few")
    (tmp_path / "few" / "two.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"task\.corpus: .*two\.txt, near byte 0: not UTF-8"):
        task_of(tmp_path / "few")
    with pytest.raises(ConfigError, match=r"task\.tokenizer: no such tokenizer - got gpt5"):
        task_of(tmp_path / "few", tokenizer="gpt5")


def test_the_path_of_a_corpus_may_change_and_nothing_else(tmp_path):
    before, after = (sweep_config.from_dict(config_of(name)).to_dict() for name in ("one", "two"))
    assert sweep_config.differences(before, after) == []
    after["task"]["context"] = CONTEXT + 1
    assert len(sweep_config.differences(before, after)) == 1
