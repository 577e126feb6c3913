"""The reading side: blocks, documents, and files that were changed."""

import numpy as np
import pytest

from tests.vsweep.corpus import small
from vsweep.corpus.split import HELD_OUT, SPLITS, TRAIN, split_of
from vsweep.corpus.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return small.make(small.request(folder, small.write_jsonl(folder / "a.jsonl", small.texts())))


def test_ids_are_the_documents_with_an_end_each(store):
    for split in SPLITS:
        texts = [text for text in small.texts() if split_of(text.encode(), share=0.2, seed=0) == split]
        expected = b"".join(text.encode() + b"\xff" for text in texts)
        assert store.tokens(split).tobytes() == expected
        assert [store.document(split, number) for number in range(len(texts))] == texts
        assert store.manifest.splits[split].documents == len(texts) == len(store.document_starts(split))
        without_ends = len(expected) - len(texts)
        assert store.bytes_per_token(split) == pytest.approx(without_ends / len(expected))
    assert store.tokens(TRAIN).dtype == np.uint8


@pytest.mark.parametrize("length", [1, 7, 64])
def test_each_id_is_a_label_once(store, length):
    count = store.count_blocks(TRAIN, length)
    blocks = store.blocks(TRAIN, np.arange(count), length)
    assert blocks.shape == (count, length + 1)
    np.testing.assert_array_equal(blocks[:, 1:].ravel(), store.tokens(TRAIN)[1 : count * length + 1])
    np.testing.assert_array_equal(blocks[:, :-1].ravel(), store.tokens(TRAIN)[: count * length])
    assert len(store.tokens(TRAIN)) - 1 - count * length < length


def test_blocks_keep_the_shape_of_their_indices(store):
    indices = np.array([[3, 0, 3], [1, 2, 0]])
    blocks = store.blocks(TRAIN, indices, 16)
    assert blocks.shape == (2, 3, 17)
    np.testing.assert_array_equal(blocks[0, 1], store.block(TRAIN, 0, 16))
    np.testing.assert_array_equal(blocks[1, 1], store.block(TRAIN, 2, 16))


def test_a_block_that_is_not_there_is_an_error(store):
    count = store.count_blocks(TRAIN, 16)
    for index in (-1, count):
        with pytest.raises(IndexError, match=f"blocks of train are 0 to {count - 1}"):
            store.block(TRAIN, index, 16)


def test_a_document_that_is_not_there_is_an_error(store):
    count = len(store.document_starts(TRAIN))
    assert store.document(TRAIN, -1) == store.document(TRAIN, count - 1)
    with pytest.raises(IndexError):
        store.document(TRAIN, count)


def test_ids_cannot_be_written(store):
    with pytest.raises(ValueError, match="read-only"):
        store.tokens(TRAIN)[0] = 1


def test_levels_fall_with_what_is_known(store):
    levels = store.ngram_nats
    assert levels.uniform == pytest.approx(np.log(256))
    assert levels.uniform > levels.unigram > levels.bigram > 0


def copy_of(store, folder):
    for name, content in small.content(store.folder).items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("name", ["train.bin", "held_out.bin", "manifest.json"])
def test_one_flipped_byte_is_refused(store, name, tmp_path):
    path = copy_of(store, tmp_path) / name
    whole = path.read_bytes()
    assert Store.open(tmp_path).digest == store.digest
    for place in np.linspace(0, len(whole) - 2, 40).astype(int):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert name in small.refusal(lambda: Store.open(tmp_path))


def test_the_damaged_shard_is_named(store, tmp_path):
    path = copy_of(store, tmp_path) / "train.bin"
    content = bytearray(path.read_bytes())
    content[2 * small.SHARD_BYTES] ^= 1
    path.write_bytes(content)
    assert "train.bin, shard 2: the checksum differs" in small.refusal(lambda: Store.open(tmp_path))


@pytest.mark.parametrize("cut", [lambda content: content[:-1], lambda content: content + b"x"])
def test_another_length_is_refused(store, cut, tmp_path):
    path = copy_of(store, tmp_path) / "train.bin"
    path.write_bytes(cut(path.read_bytes()))
    assert "missing or has another length" in small.refusal(lambda: Store.open(tmp_path, verify=False))


def test_a_folder_without_a_store_is_refused(tmp_path):
    assert "no store of a corpus" in small.refusal(lambda: Store.open(tmp_path))
    (tmp_path / "state.json").write_text("{}")
    assert "tokenising has not ended here" in small.refusal(lambda: Store.open(tmp_path))


@small.needs("tokenizers")
def test_a_changed_tokenizer_is_refused(tmp_path):
    path = small.write_jsonl(tmp_path / "a.jsonl", small.texts())
    store = small.make(small.request(tmp_path, path, train_bpe=300))
    assert store.document(HELD_OUT, 0) in small.texts()
    file = store.folder / "tokenizer.json"
    file.write_bytes(file.read_bytes().replace(b"<|endoftext|>", b"<|endoftexts|>"))
    assert "tokenizer.json is missing or was changed" in small.refusal(lambda: Store.open(store.folder))
