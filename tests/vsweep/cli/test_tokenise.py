"""`vsweep tokenise` as a person types it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.vsweep.corpus import small
from vsweep.cli import tokenise as command
from vsweep.corpus.store import Store
from vsweep.corpus.tokenise import Progress

ROOT = Path(__file__).parents[3]


def run(*arguments):
    return command.main([str(one) for one in arguments])


def test_a_folder_becomes_a_store(tmp_path, capsys):
    folder = small.write_txt(tmp_path / "texts", small.texts())
    assert run(folder, "--out", tmp_path / "store") == 0
    said = capsys.readouterr().out
    store = Store.open(tmp_path / "store")
    facts = store.manifest.splits["train"]
    assert f"training  {facts.documents} documents, {facts.tokens:,} tokens" in said
    assert f"digest    {store.digest}" in said
    assert "unigram" in said
    assert run(folder, "--out", tmp_path / "store") == 0
    assert "complete already" in capsys.readouterr().out


def test_a_mistake_is_status_2_and_leaves_nothing(tmp_path, capsys):
    assert run(tmp_path / "nowhere", "--tokenizer", "gpt3", "--out", tmp_path / "store") == 2
    said = capsys.readouterr().err
    assert said.startswith("--tokenizer: no such tokenizer - got gpt3")
    assert "INPUT: no such file or folder" in said
    assert not (tmp_path / "store").exists()


def test_options_reach_the_store(tmp_path):
    (tmp_path / "a.txt").write_bytes("\n\n".join(small.texts()).encode())
    options = ("--separator", r"\n\n", "--held-out", "0.3", "--split-seed", "5", "--max-tokens", "1e3")
    assert run(tmp_path / "a.txt", *options, "--out", tmp_path / "store") == 0
    manifest = Store.open(tmp_path / "store").manifest
    assert manifest.asked["reading"]["separator"] == "\n\n"
    assert (manifest.held_out_share, manifest.split_seed, manifest.asked["max_tokens"]) == (0.3, 5, 1000)


def test_a_bad_number_is_a_usage_error(tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        run("x.txt", "--max-tokens", "1.5", "--out", tmp_path)
    assert left.value.code == 2
    assert "--max-tokens" in capsys.readouterr().err


def test_speed_and_the_time_left_are_told(monkeypatch):
    clock = iter([0.0, 10.0, 14.0])
    monkeypatch.setattr(command.time, "monotonic", lambda: next(clock))
    speed = command.Speed()
    assert speed.status(Progress(10, 0, 1_000_000, 0.1)) == "10 documents, 1 MB of text, 10%"
    told = speed.status(Progress(30, 0, 9_000_000, 0.3))
    assert told == "30 documents, 9 MB of text, 30%, 2.0 MB/s, 14 s to go"


def test_an_unknown_amount_has_no_time_left(monkeypatch):
    clock = iter([0.0, 10.0, 14.0])
    monkeypatch.setattr(command.time, "monotonic", lambda: next(clock))
    speed = command.Speed()
    speed.status(Progress(10, 0, 0, None))
    assert speed.status(Progress(30, 0, 4_000_000, None)) == "30 documents, 4 MB of text, 1.0 MB/s"


def test_a_signal_leaves_a_store_to_continue(tmp_path):
    path = small.write_jsonl(tmp_path / "a.jsonl", small.texts(20_000))
    slow = f"""
import sys, time
from vsweep.cli.main import main
from vsweep.corpus import tokenise
from vsweep.corpus.tokenizers import ByteTokenizer
real = ByteTokenizer.encode_batch
ByteTokenizer.encode_batch = lambda self, texts: (time.sleep(0.2), real(self, texts))[1]
main(["tokenise", {str(path)!r}, "--out", {str(tmp_path / "store")!r}])
"""
    with subprocess.Popen([sys.executable, "-c", slow], cwd=ROOT, stderr=subprocess.PIPE, text=True) as running:
        while not (tmp_path / "store" / "train.bin").exists():
            time.sleep(0.05)
            assert running.poll() is None
        running.send_signal(signal.SIGTERM)
        _, said = running.communicate(timeout=20)
    assert running.returncode == 75
    assert said == "SIGTERM received: run the same command again to go on\n"
    assert run(path, "--out", tmp_path / "store") == 0


def test_two_processes_do_not_share_a_store(tmp_path, capsys):
    from vsweep.storage.lock import locked

    path = small.write_jsonl(tmp_path / "a.jsonl", small.texts())
    with locked(tmp_path / "store"):
        assert run(path, "--out", tmp_path / "store") == 2
    assert f"is in use by process {os.getpid()}" in capsys.readouterr().err
