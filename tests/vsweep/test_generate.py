import functools
import io
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from tests.vsweep import small
from vsweep import generate
from vsweep.config.problems import ConfigError
from vsweep.saved_run import FinishedRuns
from vsweep.tables import read_runs
from vsweep.train import train_step


@pytest.fixture(scope="module")
def loaded(finished_sweep):
    """The best-trained run of the small sweep, loaded as a user would."""
    return generate.load_run(finished_sweep, "d2.8k-s0")


def test_a_loaded_run_is_the_run_that_was_trained(loaded, finished_sweep):
    task, _, params = loaded
    held_out = task.held_out
    recipe = small.recipe(small.config())
    evaluate = jax.jit(functools.partial(train_step.evaluate, recipe))
    losses = evaluate(params, held_out.tokens_NxS[:64], held_out.answer_NxL[:64])
    labels = (held_out.tokens_NxS[:64, 1:] != task.pad).sum()
    recorded = read_runs(finished_sweep).set_index("run_id").loc["d2.8k-s0"]
    assert float(losses.loss_N.sum()) / labels == pytest.approx(recorded["val_loss"], rel=1e-5)
    assert float(losses.exact_N.mean()) == recorded["exact_match"]


def test_greedy_decoding_is_exact_where_every_answer_label_is_the_argmax_of_the_forced_pass(loaded):
    """What evaluation relies on, checked on a few hundred pairs; a trained-enough model would leave few wrong ones, so
    the model's own answers are made the truth for every other pair."""
    task, model, params = loaded
    tokens = task.held_out.tokens_NxS[:300].astype(np.int32)
    starts = [list(row).index(11) + 1 for row in tokens]
    queries = [row[:start].tolist() for row, start in zip(tokens, starts, strict=True)]
    decoded = generate.greedy(model, params, queries, length=task.sequence_length, pad=task.pad)
    tokens[::2] = decoded[::2]
    ended = [end_after(row, start, task.eos) for row, start in zip(tokens, starts, strict=True)]
    answer = np.zeros((300, task.sequence_length - 1), bool)
    for row, (start, end) in enumerate(zip(starts, ended, strict=True)):
        answer[row, start - 1 : end - 1] = True
    recipe = small.recipe(small.config())
    exact = jax.jit(lambda p, t, a: train_step.evaluate(recipe, p, t, a).exact_N)(params, tokens, answer)
    generated = [np.array_equal(a[s:e], b[s:e]) for a, b, s, e in zip(decoded, tokens, starts, ended, strict=True)]
    assert np.array_equal(exact, generated)
    assert 0 < sum(generated) < 300


def end_after(row, start: int, eos: int) -> int:
    """Index after the EOS that follows `start`, or the end of the row."""
    stops = [i for i in range(start, len(row)) if row[i] == eos]
    return stops[0] + 1 if stops else len(row)


def test_generation_sees_nothing_but_the_query(loaded):
    task, model, params = loaded
    query = task.encode("12+34=")
    short = generate.greedy(model, params, [query], length=task.sequence_length, pad=task.pad)
    beside_others = generate.greedy(
        model, params, [query, task.encode("99+99=")], length=task.sequence_length, pad=task.pad
    )
    assert np.array_equal(short[0], beside_others[0])
    assert short[0][: len(query)].tolist() == query


def test_the_command_answers_with_one_line_a_query(finished_sweep):
    command = [sys.executable, "-m", "vsweep.generate", str(finished_sweep), "--run", "d2.8k-s0", "12+34=", "7+8"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("12+34=")
    assert lines[1].startswith("7+8=")


def test_an_unknown_run_is_answered_with_the_closest_and_all_finished_ones(finished_sweep):
    with pytest.raises(ConfigError, match=r"d2\.9k-s0.*d700-s0.*did you mean d2\.8k-s0"):
        generate.load_run(finished_sweep, "d2.9k-s0")


@pytest.mark.parametrize(
    "text",
    ["[" * 200_000, "[]", "null", "{", "\xff", '{"model": 3}', '{"sweep": {"width": {"a": 1}}}', '{"name": null}'],
)
def test_an_odd_config_is_answered_with_its_problems(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        generate.load_run(tmp_path, "d700-s0")
    assert all(problem.allowed and "\n" not in str(problem) for problem in caught.value.problems)


def test_a_folder_that_is_no_work_directory_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="not a work directory"):
        generate.load_run(tmp_path, "d700-s0")


class Input(io.TextIOWrapper):
    """Standard input with some bytes in it."""

    def __init__(self, content: bytes, *, terminal: bool = False):
        super().__init__(io.BytesIO(content), encoding="utf-8")
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def run(capsys, finished_sweep, *words, status=0):
    """(Lines of standard output, what was said on standard error) of the command."""
    assert generate.main([str(finished_sweep), *words]) == status
    shown = capsys.readouterr()
    return shown.out.splitlines(), shown.err


def test_samples_come_as_json_and_are_the_same_again(finished_sweep, capsys):
    words = ["--run", "best", "--temperature", "1", "--top-k", "5", "--samples", "3", "--json", "1+2", "3+4"]
    lines, _ = run(capsys, finished_sweep, *words)
    samples = [json.loads(line) for line in lines]
    assert [(sample["query"], sample["sample"]) for sample in samples] == [
        (q, n) for q in ("1+2", "3+4") for n in range(3)
    ]
    assert all(sample["text"].startswith(f"{sample['query']}=") for sample in samples)
    assert len({sample["text"] for sample in samples}) > 2
    assert run(capsys, finished_sweep, *words)[0] == lines
    assert run(capsys, finished_sweep, *words, "--seed", "1")[0] != lines


def test_best_and_longest_are_chosen_by_the_table(finished_sweep):
    runs = read_runs(finished_sweep)
    opened = FinishedRuns.open(finished_sweep)
    assert opened.choose("best") == runs.loc[runs["answer_loss"].idxmin(), "run_id"]
    longest = runs[runs["tokens"] == runs["tokens"].max()]
    assert opened.choose("longest") == longest.loc[longest["answer_loss"].idxmin(), "run_id"]


def test_prompts_come_from_files_and_pipes(finished_sweep, tmp_path, capsys, monkeypatch):
    (tmp_path / "queries.txt").write_text("1+2\n3+4\n")
    words = ["--run", "d2.8k-s0", "--prompts", str(tmp_path / "queries.txt")]
    from_file, _ = run(capsys, finished_sweep, *words, "5+6")
    monkeypatch.setattr(sys, "stdin", Input(b"5+6\r\n1+2\n3+4"))
    from_pipe, _ = run(capsys, finished_sweep, "--run", "d2.8k-s0")
    assert from_file == from_pipe
    assert [line.partition("=")[0] for line in from_file] == ["5+6", "1+2", "3+4"]


def test_bad_lines_are_told_in_one_list_and_nothing_is_answered(finished_sweep, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Input(b"1+2\nfive\n\n100+1\n"))
    lines, said = run(capsys, finished_sweep, "--run", "d2.8k-s0", status=2)
    assert lines == []
    assert [line.partition(":")[0] for line in said.splitlines()] == [f"standard input, line {n}" for n in (2, 3, 4)]


def test_a_terminal_is_asked_until_it_ends(finished_sweep, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Input(b"1+2\nfive\n3+4\n", terminal=True))
    lines, said = run(capsys, finished_sweep, "--run", "d2.8k-s0")
    assert [line.partition("=")[0] for line in lines] == ["1+2", "3+4"]
    assert said.startswith("write it like 123+456; Ctrl-D ends")
    assert "not a sum of two numbers: 'five'" in said


def test_length_is_what_follows_the_query(finished_sweep, capsys):
    lines, said = run(capsys, finished_sweep, "--run", "d2.8k-s0", "--length", "1", "12+34")
    assert lines[0].startswith("12+34=")
    assert len(lines[0]) <= 7
    assert said == ""


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        (["--temperature", "-1", "--samples", "0", "--length", "0"], ["--temperature", "--samples", "--length"]),
        (["--temperature", "nan"], ["--temperature"]),
        (["--top-k", "3", "--samples", "2", "--seed", "0"], ["--top-k", "--samples", "--seed"]),
        (["--temperature", "1", "--top-k", "15"], ["--top-k"]),
        (["--prompts", "no/such/file"], ["[Errno 2] No such file or directory"]),
    ],
)
def test_options_that_cannot_be_meant_are_told(finished_sweep, capsys, words, fields):
    lines, said = run(capsys, finished_sweep, "--run", "d2.8k-s0", *words, "1+2", status=2)
    assert lines == []
    assert [line.partition(":")[0] for line in said.splitlines()] == fields
