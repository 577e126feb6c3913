"""Making a store: the same to the byte whatever happened on the way, and nothing left out without a word."""

import dataclasses
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.vsweep.corpus import small
from tests.vsweep.corpus.documents.test_hub import write_hub
from vsweep.corpus import shards, tokenise
from vsweep.corpus.split import HELD_OUT, SPLITS, TRAIN, split_of
from vsweep.corpus.state import State
from vsweep.corpus.tokenise import Note, Progress, Saved

ROOT = Path(__file__).parents[3]
TEXTS = small.texts(200)


class Killed(BaseException):
    """Stands for a process that ends here."""


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(tokenise, "BATCH_DOCUMENTS", 7)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The files of a store that nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return small.content(small.make(request(folder)).folder)


def request(folder, **options):
    first = small.write_jsonl(folder / "a.jsonl", TEXTS[:80])
    second = small.write_jsonl(folder / "b.jsonl.gz", TEXTS[80:])
    return small.request(folder, first, second, **options)


# Digests


def test_every_kind_of_file_gives_one_digest(tmp_path):
    inputs = {
        "txt": small.write_txt(tmp_path / "txt", TEXTS),
        "jsonl": small.write_jsonl(tmp_path / "a.jsonl", TEXTS),
        "gz": small.write_jsonl(tmp_path / "a.jsonl.gz", TEXTS),
        "xz": small.write_jsonl(tmp_path / "a.jsonl.xz", TEXTS),
    }
    (tmp_path / "one.txt").write_bytes("<end>".join(TEXTS).encode())
    stores = [small.make(small.request(tmp_path, path, out=f"{name}-store")) for name, path in inputs.items()]
    separated = tokenise.Request((str(tmp_path / "one.txt"),), tmp_path / "one", reading=separator("<end>"))
    stores.append(small.make(dataclasses.replace(separated, held_out_share=0.2)))
    assert len({store.digest for store in stores}) == 1


def separator(text):
    from vsweep.corpus.documents.files import Reading

    return Reading(separator=text)


@small.needs("pyarrow")
def test_a_table_gives_the_digest_of_lines(tmp_path):
    lines = small.make(small.request(tmp_path, small.write_jsonl(tmp_path / "a.jsonl", TEXTS), out="1"))
    table = small.make(small.request(tmp_path, small.write_parquet(tmp_path / "a.parquet", TEXTS), out="2"))
    assert table.digest == lines.digest


@small.needs("datasets")
def test_a_data_set_of_the_hub_gives_the_digest_of_lines(tmp_path):
    lines = small.make(small.request(tmp_path, small.write_jsonl(tmp_path / "a.jsonl", TEXTS), out="1"))
    folder = write_hub(tmp_path / "c4", TEXTS)
    events = list(tokenise.tokenise(small.request(tmp_path, f"hf:{folder}:en", out="2"), shard_bytes=small.SHARD_BYTES))
    assert events[-1].store.digest == lines.digest
    assert {event.share for event in events if isinstance(event, Progress)} == {None}


@pytest.mark.parametrize("options", [{"held_out_share": 0.4}, {"split_seed": 1}, {"max_tokens": 2000}])
def test_another_option_gives_another_digest(options, tmp_path):
    stores = [small.make(request(tmp_path, out="1")), small.make(request(tmp_path, out="2", **options))]
    assert stores[0].digest != stores[1].digest


# Kills


def saved_once(asked) -> None:
    """Runs until something is on the disk for good, and no further."""
    run = tokenise.tokenise(asked, shard_bytes=small.SHARD_BYTES)
    assert any(isinstance(event, Saved) for event in run)
    run.close()


def test_a_stop_after_each_shard_changes_no_byte(expected, tmp_path):
    asked, states = request(tmp_path), []
    for number in range(10):
        saved_once(asked)
        states.append((asked.out / "state.json").read_bytes())
        with open(asked.out / f"{SPLITS[number % 2]}.bin", "ab") as file:
            file.write(b"cut off" * number)
    assert len(set(states)) == 10
    small.make(asked)
    assert small.content(asked.out) == expected


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("owner", "name"), [(os, "replace"), (shards, "sync"), (Path, "unlink")])
def test_a_kill_at_each_disk_call_changes_no_byte(owner, name, after, tmp_path, monkeypatch):
    shard_bytes = 8 * small.SHARD_BYTES
    whole = small.content(small.make(request(tmp_path, out="whole"), shard_bytes=shard_bytes).folder)
    real, reached = getattr(owner, name), 0
    for call in range(1, 1000):
        calls = []

        def dying(*arguments, calls=calls, call=call, **options):
            calls.append(None)
            if len(calls) == call and not after:
                raise Killed
            result = real(*arguments, **options)
            if len(calls) == call:
                raise Killed
            return result

        asked = request(tmp_path, out=f"store{call}")
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, dying)
            try:
                small.make(asked, shard_bytes=shard_bytes)
                break
            except Killed:
                reached += 1
        small.make(asked, shard_bytes=shard_bytes)
        assert small.content(asked.out) == whole
    assert reached >= (1 if name == "unlink" else 6)


@pytest.mark.parametrize("saves", [1, 4])
def test_a_killed_process_leaves_a_store_to_continue(saves, expected, tmp_path):
    asked = request(tmp_path)
    program = f"""
import os, signal
from pathlib import Path
from vsweep.corpus import tokenise
tokenise.BATCH_DOCUMENTS = 7
asked = tokenise.Request({asked.inputs!r}, Path({str(asked.out)!r}), held_out_share=0.2)
saves = 0
for event in tokenise.tokenise(asked, shard_bytes={small.SHARD_BYTES}):
    saves += isinstance(event, tokenise.Saved)
    if saves == {saves}:
        os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True)
    assert ended.returncode == -signal.SIGKILL
    assert (asked.out / "state.json").exists()
    small.make(asked)
    assert small.content(asked.out) == expected


def test_a_full_disk_loses_nothing(expected, tmp_path):
    asked = request(tmp_path)
    limit = 5_000  # bytes of a file
    program = f"""
import resource
from pathlib import Path
from vsweep.corpus import tokenise
tokenise.BATCH_DOCUMENTS = 7
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
asked = tokenise.Request({asked.inputs!r}, Path({str(asked.out)!r}), held_out_share=0.2)
try:
    list(tokenise.tokenise(asked, shard_bytes={small.SHARD_BYTES}))
except tokenise.CannotWrite as error:
    print(error)
"""
    program = program.replace("tokenise.CannotWrite", "CannotWrite").replace(
        "import resource", "import resource\nfrom vsweep.atomic import CannotWrite"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "train.bin: File too large" in ended.stdout
    assert "run the same command again to go on" in ended.stdout
    small.make(asked)
    assert small.content(asked.out) == expected


@small.needs("tokenizers")
@pytest.mark.parametrize("call", [1, 2, 3, 4, 5])
def test_a_kill_around_training_a_tokenizer_changes_no_byte(call, tmp_path, monkeypatch):
    whole = small.content(small.make(request(tmp_path, out="whole", train_bpe=300)).folder)
    asked, calls, real = request(tmp_path, train_bpe=300), [], os.replace

    def dying(*arguments, **options):
        calls.append(None)
        if len(calls) == call:
            raise Killed
        return real(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", dying)
        with pytest.raises(Killed):
            small.make(asked)
    small.make(asked)
    assert small.content(asked.out) == whole


def test_a_damaged_beginning_is_refused_on_resume(tmp_path):
    asked = request(tmp_path)
    saved_once(asked)
    path = asked.out / "train.bin"
    path.write_bytes(b"x" + path.read_bytes()[1:])
    assert "train.bin, shard 0: the checksum differs" in small.refusal(lambda: small.make(asked))
    path.write_bytes(b"")
    assert "train.bin has 0 bytes of" in small.refusal(lambda: small.make(asked))


def test_a_wrong_position_would_be_seen(expected, tmp_path):
    """These comparisons can fail: a resume that skips one document gives another store."""
    asked = request(tmp_path)
    saved_once(asked)
    state = State.read(asked.out / "state.json")
    state.documents_of_source += 1
    state.write(asked.out)
    assert small.content(small.make(asked).folder)["train.bin"] != expected["train.bin"]


# The same request or none


@pytest.mark.parametrize("finished", [False, True])
def test_a_changed_corpus_is_refused(finished, expected, tmp_path):
    asked = request(tmp_path)
    small.make(asked) if finished else saved_once(asked)
    small.write_jsonl(tmp_path / "b.jsonl.gz", [*TEXTS[80:-1], "changed"])
    told = small.refusal(lambda: small.make(asked))
    assert "b.jsonl.gz was changed since" in told
    assert "--restart" in told
    small.make(asked, restart=True)
    assert small.content(asked.out) != expected
    request(tmp_path)
    small.make(asked, restart=True)
    assert small.content(asked.out) == expected


@pytest.mark.parametrize(
    ("options", "named"),
    [({"split_seed": 1}, "held_out"), ({"max_tokens": 9}, "max_tokens"), ({"held_out_share": 0.3}, "held_out")],
)
def test_other_options_are_refused(options, named, tmp_path):
    saved_once(request(tmp_path))
    assert f"its options differ - got {named}" in small.refusal(lambda: small.make(request(tmp_path, **options)))


def test_a_finished_store_is_not_made_again(tmp_path):
    store = small.make(request(tmp_path))
    (event,) = tokenise.tokenise(request(tmp_path))
    assert not event.new
    assert event.store.digest == store.digest


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    asked = request(tmp_path)
    asked.out.mkdir()
    (asked.out / "train.bin").write_text("mine")
    told = small.refusal(lambda: small.make(asked, restart=True))
    assert "a folder with other files in it" in told
    assert (asked.out / "train.bin").read_text() == "mine"


# The split


def sides(store) -> dict[str, set[str]]:
    found = {}
    for split in SPLITS:
        count = len(store.document_starts(split))
        found[split] = {store.document(split, number) for number in range(count)}
    return found


def test_no_document_lies_on_both_sides(tmp_path):
    doubled = small.write_jsonl(tmp_path / "a.jsonl", TEXTS + TEXTS[::-1])
    store = small.make(small.request(tmp_path, doubled))
    found = sides(store)
    assert found[TRAIN].isdisjoint(found[HELD_OUT])
    assert found[TRAIN] | found[HELD_OUT] == set(TEXTS)
    assert sum(facts.documents for facts in store.manifest.splits.values()) == 2 * len(TEXTS)


def test_further_documents_move_no_old_one(tmp_path):
    few = sides(small.make(small.request(tmp_path, small.write_jsonl(tmp_path / "a.jsonl", TEXTS[:90]), out="1")))
    more = sides(small.make(small.request(tmp_path, small.write_jsonl(tmp_path / "b.jsonl", TEXTS[::-1]), out="2")))
    assert few[TRAIN] < more[TRAIN]
    assert few[HELD_OUT] < more[HELD_OUT]


@small.needs("tokenizers")
def test_a_tokenizer_is_trained_without_held_out_documents(tmp_path, monkeypatch):
    seen, real = [], tokenise.bpe.train_bpe
    monkeypatch.setattr(tokenise.bpe, "train_bpe", lambda texts, ids: (seen.extend(texts), real(texts, ids))[1])
    small.make(request(tmp_path, train_bpe=300))
    assert seen == [text for text in TEXTS if split_of(text.encode(), share=0.2, seed=0) == TRAIN]


# Nothing without a word


def test_reading_stops_at_the_document_that_is_enough(tmp_path):
    whole = small.make(request(tmp_path, out="whole"))
    for wanted in (500, 2000, 5000):
        store = small.make(request(tmp_path, out=f"{wanted}", max_tokens=wanted))
        tokens = store.manifest.splits[TRAIN].tokens
        assert tokens >= wanted
        assert tokens - len(store.document(TRAIN, -1).encode()) - 1 < wanted
        np.testing.assert_array_equal(store.tokens(TRAIN), whole.tokens(TRAIN)[:tokens])


def test_empty_documents_are_counted(tmp_path):
    path = small.write_jsonl(tmp_path / "a.jsonl", ["", *TEXTS, ""])
    store = small.make(small.request(tmp_path, path))
    assert store.manifest.empty_documents == 2
    assert store.digest == small.make(request(tmp_path, out="2")).digest


def test_other_files_in_a_folder_are_reported(tmp_path):
    folder = small.write_txt(tmp_path / "folder", TEXTS)
    (folder / "paper.pdf").write_text("x")
    notes = [event.text for event in tokenise.tokenise(small.request(tmp_path, folder)) if isinstance(event, Note)]
    assert notes == ["note: 1 files are of other kinds and are not read: 1 .pdf"]


def test_half_a_character_is_refused_with_its_place(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": "\\ud800"}\n')
    told = small.refusal(lambda: small.make(small.request(tmp_path, tmp_path / "a.jsonl")))
    assert "a.jsonl, line 2: half a character, '\\ud800'" in told


def test_a_split_without_a_document_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("one document")
    told = small.refusal(lambda: small.make(small.request(tmp_path, tmp_path / "a.txt")))
    assert "no document for " in told
    assert "--separator" in told


def test_progress_ends_with_everything(tmp_path):
    events = list(tokenise.tokenise(request(tmp_path), shard_bytes=small.SHARD_BYTES))
    reports = [event for event in events if isinstance(event, Progress)]
    shares = [report.share for report in reports]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert reports[-1].documents == len(TEXTS)
    assert reports[-1].text_bytes == sum(len(text.encode()) for text in TEXTS)
    assert reports[-1].tokens == reports[-1].text_bytes + len(TEXTS)


def test_every_problem_is_told_at_once(tmp_path):
    wrong = tokenise.Request(
        ("nowhere.txt", "nobody.jsonl"), tmp_path / "store", tokenizer="gpt3", held_out_share=1.0, max_tokens=-1
    )
    told = small.refusal(lambda: small.make(wrong))
    assert [line.partition(":")[0] for line in told.splitlines()] == [
        "--held-out",
        "--max-tokens",
        "--tokenizer",
        "INPUT",
        "INPUT",
    ]
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("package", ["tiktoken", "pyarrow", "tokenizers", "datasets"])
def test_a_missing_package_is_named_with_its_command(package, tmp_path, monkeypatch):
    from vsweep.corpus import problems

    installed = importlib.util.find_spec("json")
    monkeypatch.setattr(problems.importlib.util, "find_spec", lambda name: None if name == package else installed)
    (tmp_path / "a.parquet").write_bytes(b"x")
    (tmp_path / "x.json").write_bytes(b"{}")
    asked = {
        "tiktoken": small.request(tmp_path, tmp_path / "a.parquet", tokenizer="gpt2"),
        "pyarrow": small.request(tmp_path, tmp_path / "a.parquet"),
        "tokenizers": small.request(tmp_path, tmp_path / "a.parquet", tokenizer=str(tmp_path / "x.json")),
        "datasets": small.request(tmp_path, "hf:allenai/c4:en"),
    }
    told = small.refusal(asked[package].sources)
    line = "pip install datasets" if package == "datasets" else "pip install tiktoken tokenizers pyarrow"
    assert f"needs the package {package}; allowed: {line} first" in told
