"""The task `text` on a corpus of a few kilobytes, made here."""

import json
import math
import shutil
import tracemalloc

import numpy as np
import pytest

import vsweep
from tests.vsweep import small
from vsweep import generate, tasks
from vsweep.config import sweep_config
from vsweep.config.problems import ConfigError
from vsweep.corpus import tokenise
from vsweep.corpus.request import Request
from vsweep.corpus.split import HELD_OUT, TRAIN
from vsweep.corpus.store import Store
from vsweep.tables import read_curves, read_runs

CONTEXT = 16
WORDS = ("the", "of", "and", "to", "in", "that", "our", "for", "is", "government", "people", "states", "peace", "law")


def texts(seed: int, count: int = 120, words: int = 40) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, words)) + f"; speech {number} of {seed}." for number in range(count)]


def write_texts(folder, seed: int = 0, **sizes):
    folder.mkdir(parents=True)
    lines = [json.dumps({"text": text}) for text in texts(seed, **sizes)]
    (folder / "speeches.jsonl").write_text("\n".join(lines))
    return folder


def make_store(folder, seed: int = 0, **sizes) -> Store:
    source = write_texts(folder.with_name(f"{folder.name}-texts"), seed, **sizes)
    *_, last = tokenise.tokenise(Request((str(source),), folder, held_out_share=0.3))
    return last.store


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return make_store(tmp_path_factory.mktemp("corpus") / "store")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("VSWEEP_CACHE", str(folder))
    return folder / "corpora"


def config_of(corpus, sweep=None, **options) -> dict:
    values = small.config(model={"width": 4, "dropout": 0.0}, optimizer={"lr": 0.05})
    values["task"] = {"name": "text", "corpus": str(corpus), "context": CONTEXT, **options}
    values["sweep"] = sweep or {"budget": [1024, 2048], "seed": [0, 1]}
    return values


def task_of(corpus, **options):
    return tasks.build(sweep_config.from_dict(config_of(corpus, **options)).task)


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("text") / "run"
    small.train(config_of(store.folder), workdir)
    return workdir


def test_each_token_is_a_label_exactly_once_an_epoch(store):
    task = task_of(store.folder)
    rows = task.rows(np.arange(task.train_examples))
    ids = store.tokens(TRAIN)
    assert rows.shape == (task.train_examples, CONTEXT + 1)
    assert np.array_equal(rows[:, 1:].ravel(), ids[1 : 1 + task.train_examples * CONTEXT])
    assert np.array_equal(rows[:, :-1].ravel(), ids[: task.train_examples * CONTEXT])
    assert len(ids) - 1 - task.train_examples * CONTEXT < CONTEXT


def test_held_out_blocks_are_all_there_and_mixed(store):
    blocks = task_of(store.folder).held_out.tokens_NxS
    whole = store.blocks(HELD_OUT, np.arange(len(blocks)), CONTEXT)
    assert len(blocks) == store.count_blocks(HELD_OUT, CONTEXT)
    assert sorted(map(bytes, np.asarray(blocks))) == sorted(map(bytes, whole))
    assert not np.array_equal(blocks[:10], whole[:10])
    assert np.array_equal(blocks[:10], blocks[:][:10])
    assert np.array_equal(blocks[:10, 1:], blocks[:10][:, 1:])


def test_a_sweep_counts_tokens_exactly_and_bits_per_byte(store, trained):
    runs, curves = read_runs(trained), read_curves(trained)
    assert (runs["status"] == "finished").all()
    assert (runs["tokens"] == runs["steps"] * 8 * CONTEXT).all()
    assert set(runs["tokens"]) == {1024, 2048}
    assert (runs["unique_tokens"] == runs["tokens"]).all()
    assert runs[["floor", "excess_loss", "answer_loss", "exact_match"]].isna().all().all()
    factor = math.log(2) * store.bytes_per_token(HELD_OUT)
    for table in (runs, curves):
        assert list(table.columns[-2:]) == ["val_bits_per_byte", "val_bits_per_byte_se"]
        np.testing.assert_allclose(table["val_bits_per_byte"], table["val_loss"] / factor)
    assert curves.groupby("run_id")["val_loss"].first().between(5, 6.5).all()  # about ln 256
    first, last = (getattr(curves.groupby("run_id")["val_loss"], name)() for name in ("first", "last"))
    assert (last < first - 0.2).all()


def test_the_work_directory_tells_the_corpus_and_its_levels(store, trained):
    told = json.loads((trained / "task.json").read_text())
    assert told["digest"] == store.digest
    assert told["levels_nats_per_token"]["bigram"] == store.ngram_nats.bigram < store.ngram_nats.unigram
    assert told["bytes_per_token"] == {"held_out": store.bytes_per_token(HELD_OUT)}


def test_a_stopped_sweep_goes_on_to_the_same_tables(store, trained, tmp_path):
    small.train(config_of(store.folder), tmp_path / "cut", progress=small.StopAfter(1))
    assert set(read_runs(tmp_path / "cut")["status"]) != {"finished"}
    moved = shutil.copytree(store.folder, tmp_path / "elsewhere")
    small.train(config_of(moved), tmp_path / "cut")  # the path may change, the content may not
    assert (tmp_path / "cut" / "curves.csv").read_bytes() == (trained / "curves.csv").read_bytes()


def test_a_changed_corpus_is_refused_on_resume(store, tmp_path):
    small.train(config_of(store.folder), tmp_path / "cut", progress=small.StopAfter(1))
    before = small.tree(tmp_path / "cut")
    other = make_store(tmp_path / "other", seed=1)
    with pytest.raises(ConfigError) as caught:
        small.train(config_of(other.folder), tmp_path / "cut")
    assert str(caught.value).startswith("task: its data are not those that this sweep began with - got sha256 ")
    assert {name: digest for name, digest in small.tree(tmp_path / "cut").items() if "checkpoints" in name} == {
        name: digest for name, digest in before.items() if "checkpoints" in name
    }


def test_a_flipped_byte_is_found_before_training(store, tmp_path):
    damaged = shutil.copytree(store.folder, tmp_path / "damaged")
    content = bytearray((damaged / "train.bin").read_bytes())
    content[1000] ^= 1
    (damaged / "train.bin").write_bytes(content)
    with pytest.raises(ConfigError, match=r"train\.bin, shard 0: the checksum differs"):
        small.train(config_of(damaged), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_fewer_unique_blocks_are_repeated(store, tmp_path):
    sweep = {"budget": [2048], "unique_examples": [16, 0]}
    small.train(config_of(store.folder, sweep), tmp_path / "run")
    runs = read_runs(tmp_path / "run").set_index("unique_examples")
    assert runs.loc[16, "epochs"] == 8
    assert runs.loc[16, "unique_tokens"] == 16 * CONTEXT
    assert runs.loc[16, "tokens"] == 2048


def test_further_held_out_sets_have_columns(store, tmp_path):
    other, raw = make_store(tmp_path / "other", seed=1), write_texts(tmp_path / "raw", seed=2)
    sets = f"news:{other.folder}, raw:{raw}"
    small.train(config_of(store.folder, {"budget": [1024]}, more_held_out=sets), tmp_path / "run")
    runs = read_runs(tmp_path / "run")
    for name in ("news", "raw"):
        assert runs[f"val_loss_{name}"].between(2, 6).all()
        assert (runs[f"val_bits_per_byte_{name}"] > runs[f"val_loss_{name}"]).all()
    assert runs["val_loss_news"][0] != runs["val_loss_raw"][0]
    assert task_of(store.folder, more_held_out=sets).digest != task_of(store.folder).digest == store.digest


def test_text_goes_to_ids_and_back(store):
    task = task_of(store.folder)
    assert task.decode(task.encode("Grüße, 世界")) == "Grüße, 世界"
    assert task.encode("") == [task.eos]
    assert task.decode([task.eos, *b"one", task.eos, *b"two"]) == "one"


def test_a_model_goes_on_beyond_its_context(trained, capsys):
    words = ["--run", "best", "--temperature", "0.5", "--length", "60", "--json", "the government of all the people"]
    assert generate.main([str(trained), *words]) == 0
    shown = capsys.readouterr()
    sample = json.loads(shown.out)
    assert sample["text"].startswith(sample["query"])
    assert len(sample["text"]) > len(sample["query"]) + 10
    assert "has 32 tokens, and the model sees the last 16 of them" in shown.err
    assert generate.main([str(trained), "--run", "best", "the government of all the people"]) == 2
    assert "--length says how many shall follow" in capsys.readouterr().err


def test_finished_runs_are_evaluated_on_texts_and_stores(store, trained, tmp_path):
    own = vsweep.evaluate_runs(trained)
    assert (own["examples"] == store.count_blocks(HELD_OUT, CONTEXT)).all()
    np.testing.assert_allclose(own["bits_per_byte"], own["loss"] / math.log(2) / store.bytes_per_token(HELD_OUT))
    again = vsweep.evaluate_runs(trained, data=store.folder)
    np.testing.assert_allclose(again["loss"], own["loss"], rtol=1e-5)
    (tmp_path / "short.txt").write_text("too short")
    (tmp_path / "new.txt").write_text(" ".join(texts(5, count=3)))
    new = vsweep.evaluate_runs(trained, "best", data=tmp_path / "new.txt")
    assert new["set"][0] == "new"
    stream = np.frombuffer((tmp_path / "new.txt").read_bytes() + b"\xff", np.uint8)
    same = vsweep.evaluate_runs(trained, "best", data=stream)
    assert same["loss"][0] == pytest.approx(new["loss"][0], rel=1e-5)
    with pytest.raises(ConfigError, match="shorter than a block"):
        vsweep.evaluate_runs(trained, "best", data=tmp_path / "short.txt")


def test_a_large_store_is_not_loaded(tmp_path):
    store = make_store(tmp_path / "large", count=400, words=2500)
    size = len(store.tokens(TRAIN))
    assert size > 3_000_000
    tracemalloc.start()
    planned = vsweep.plan_sweep(config_of(store.folder), tmp_path / "run")
    task = planned.task
    task.rows(np.arange(0, task.train_examples, 1000))
    task.held_out.first(64)
    assert (task.label_tokens, task.mean_label_tokens) == (CONTEXT, CONTEXT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size
