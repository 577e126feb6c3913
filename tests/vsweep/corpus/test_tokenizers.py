"""Tokenizers: every text comes back, and a wrong file is refused before anything is tokenised."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.vsweep.corpus import small
from vsweep.corpus import bpe, tokenizers
from vsweep.corpus.tokenizers import ByteTokenizer, Gpt2Tokenizer, JsonTokenizer

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))  # all of Unicode but halves of characters


@pytest.fixture(scope="module")
def trained():
    pytest.importorskip("tokenizers", reason="needs the extra with tokenizers")
    return bpe.train_bpe(small.texts(), 400)


@pytest.fixture
def no_ranks(monkeypatch, tmp_path):
    """An empty cache of tiktoken, and no package that brings the ranks."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(tokenizers, "RANKS_IN_PACKAGES", {})


def come_back(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids.tolist()) == text
    assert tokenizer.eos not in ids
    assert ids.size == 0 or ids.max() < tokenizer.vocabulary
    (batched,) = tokenizer.encode_batch([text])
    np.testing.assert_array_equal(batched, ids)


@given(ANY_TEXT)
@example("\x00\U0010ffff\ufeff")
def test_any_text_comes_back_from_bytes(text):
    come_back(ByteTokenizer(), text)


@settings(deadline=None)
@given(text=ANY_TEXT)
@example(text="  <|endoftext|>\r\n\x00 ")
def test_any_text_comes_back_from_trained_pairs(trained, text):
    come_back(JsonTokenizer(trained, "trained"), text)


@small.needs("tiktoken")
@small.needs_ranks
def test_any_text_comes_back_from_gpt2():
    tokenizer = tokenizers.load("gpt2")

    @settings(deadline=None)
    @given(ANY_TEXT)
    @example("  <|endoftext|>\r\n\x00 ")
    def check(text):
        come_back(tokenizer, text)

    check()


@small.needs("tiktoken")
@small.needs_ranks
def test_gpt2_gives_the_published_ids():
    tokenizer = tokenizers.load("gpt2")
    assert tokenizer.encode("Hello world").tolist() == [15496, 995]
    assert tokenizer.encode("<|endoftext|>").tolist() == [27, 91, 437, 1659, 5239, 91, 29]
    assert tokenizer.vocabulary == 50_257


def test_wrong_ranks_are_refused_by_their_checksum():
    ranks = small.RANKS.read_bytes() if small.RANKS else b"IQ== 0\nIg== 1\n"
    flipped = bytes([ranks[0] ^ 1]) + ranks[1:]
    told = small.refusal(lambda: Gpt2Tokenizer(flipped, "my.ranks"))
    assert "--ranks: my.ranks does not hold GPT-2's ranks - got sha256 " in told
    assert hashlib.sha256(flipped).hexdigest()[:12] in told
    assert "306cd27f03c1" in told


@small.needs("tiktoken")
def test_missing_ranks_say_where_to_get_them(no_ranks):
    told = small.refusal(lambda: tokenizers.load("gpt2"))
    assert "--ranks FILE" in told
    assert "mlx-whisper==0.4.3" in told
    assert "tiktoken's cache" in told


def test_ranks_are_found_in_the_cache_of_tiktoken(no_ranks, tmp_path):
    """Its name there is the sha1 of the address from which tiktoken loads r50k_base."""
    path = tmp_path / "cache" / "0ea1e91bbb3a60f729a8dc8f777fd2fc07cd8df4"
    path.parent.mkdir()
    assert tokenizers.find_ranks() is None
    path.write_bytes(b"x")
    assert tokenizers.find_ranks() == path


def test_training_twice_gives_one_tokenizer(trained):
    assert bpe.train_bpe(small.texts(), 400) == trained
    assert JsonTokenizer(bpe.train_bpe(small.texts(), 300), "x").vocabulary == 300
    assert JsonTokenizer(trained, "x").vocabulary < 400  # there are no more pairs


def test_trained_pairs_shorten_the_text(trained):
    text = " ".join(small.texts())
    assert len(JsonTokenizer(trained, "x").encode(text)) < 0.5 * len(text.encode())


def test_the_end_of_a_document_has_a_name(trained):
    assert JsonTokenizer(trained, "x").eos == 0
    renamed = trained.replace(b"<|endoftext|>", b"<stop>")
    told = small.refusal(lambda: JsonTokenizer(renamed, "x.json"))
    assert "--eos: x.json has no such token to end a document - got none; allowed: one of <stop>" in told
    assert JsonTokenizer(renamed, "x", "<stop>").eos == 0


@small.needs("tokenizers")
def test_a_file_that_is_no_tokenizer_is_refused():
    assert "--tokenizer: x.json is no tokenizer" in small.refusal(lambda: JsonTokenizer(b"{}", "x.json"))


def test_a_tokenizer_that_loses_text_is_known(trained):
    from tokenizers import Tokenizer, normalizers

    lower = Tokenizer.from_str(trained.decode())
    lower.normalizer = normalizers.Lowercase()
    assert tokenizers.loses_text(JsonTokenizer(lower.to_str().encode(), "x"))
    assert not tokenizers.loses_text(JsonTokenizer(trained, "x"))
    assert not tokenizers.loses_text(ByteTokenizer())


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("byte", {}, "no such tokenizer - got byte; allowed: bytes, gpt2, or a file that ends in .json"),
        ("nowhere.json", {}, "no such file - got nowhere.json"),
        ("bytes", {"ranks": __file__}, "--ranks: bytes has no ranks"),
        ("bytes", {"eos": "</s>"}, "--eos: bytes has an end of its own"),
    ],
)
def test_options_that_do_not_fit_are_refused(name, options, told):
    options = {key: Path(value) if key == "ranks" else value for key, value in options.items()}
    assert told in small.refusal(lambda: tokenizers.load(name, **options))
