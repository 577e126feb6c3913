import numpy as np
import pandas as pd
import pytest

import vsweep
from tests.vsweep import small
from vsweep import evaluate
from vsweep.after import evaluation
from vsweep.config.problems import ConfigError
from vsweep.saved_run import FinishedRuns
from vsweep.tables import read_runs
from vsweep.tasks.base import HeldOut

METRICS = """
def last_label_right(logits, labels):
    return logits[:, -1].argmax(axis=-1) == labels[:, -1]

def one_number(logits, labels):
    return logits.mean()

def failing(logits, labels):
    return logits @ labels
"""


@pytest.fixture(scope="module")
def task(finished_sweep):
    return FinishedRuns.open(finished_sweep).task


@pytest.fixture(scope="module")
def whole(finished_sweep):
    """The table of all runs on the task's own held-out set."""
    return vsweep.evaluate_runs(finished_sweep)


def test_the_examples_of_the_sweep_give_its_own_losses(finished_sweep, task):
    table = vsweep.evaluate_runs(finished_sweep, data=task.held_out.tokens_NxS[:64]).set_index("run_id")
    recorded = read_runs(finished_sweep).set_index("run_id")
    assert set(table.index) == set(recorded.index)
    names = {"loss": "val_loss", "loss_se": "val_loss_se", "answer_loss": "answer_loss", "exact_match": "exact_match"}
    for name, column in names.items():
        np.testing.assert_allclose(table[name], recorded.loc[table.index, column], rtol=2e-5)
    assert (table["examples"] == 64).all()
    assert "excess_loss" not in table  # nobody knows the surprisal of these labels


def test_the_task_s_own_set_is_taken_whole(finished_sweep, whole):
    notes = []
    again = vsweep.evaluate_runs(finished_sweep, ["d2.8k-s1", "best"], say=notes.append)
    assert (whole["examples"] == 500).all()
    assert notes == [
        "note: all held-out examples of the task; val_loss of runs.csv was measured on the first 64 of these 500"
    ]
    assert again["run_id"][0] == "d2.8k-s1"
    both = whole.set_index("run_id").loc[again["run_id"]].reset_index()
    pd.testing.assert_frame_equal(again, both, rtol=1e-5)
    assert list(whole.columns[:5]) == ["run_id", "set", "examples", "loss", "loss_se"]
    assert whole["excess_loss"].notna().all()


def test_pieces_and_groups_change_nothing(finished_sweep, whole, monkeypatch):
    monkeypatch.setattr(evaluation, "_sizes", lambda model, runs, examples: (4, 150))
    done = []
    pd.testing.assert_frame_equal(vsweep.evaluate_runs(finished_sweep, progress=done.append), whole, rtol=1e-5)
    assert done[-1].examples == done[-1].total == 6 * 500


def test_one_program_serves_all_runs_of_a_shape(finished_sweep, whole):
    with small.compilations() as compiled:
        vsweep.evaluate_runs(finished_sweep)
    assert len(compiled) == 1


def test_the_work_directory_stays_as_it_is(finished_sweep, tmp_path, capsys):
    before = small.tree(finished_sweep)
    assert evaluate.main([str(finished_sweep), "--runs", "best", "--out", str(tmp_path / "new.csv")]) == 0
    assert small.tree(finished_sweep) == before
    table = pd.read_csv(tmp_path / "new.csv")
    assert len(table) == 1
    assert capsys.readouterr().out == f"{tmp_path / 'new.csv'}: 1 rows of 1 runs\n"


def test_lines_of_text_are_examples_with_their_answers(finished_sweep, task, tmp_path):
    (tmp_path / "sums.txt").write_text("1+2=3\n12+34=46\n99+99=198\n")
    table = vsweep.evaluate_runs(finished_sweep, "best", data=tmp_path / "sums.txt")
    tokens = [task.example(text) for text in ("1+2=3", "12+34=46", "99+99=198")]
    padded = np.array([row + [task.pad] * (10 - len(row)) for row in tokens])
    again = vsweep.evaluate_runs(finished_sweep, "best", data={"sums": padded})
    pd.testing.assert_frame_equal(table, again)
    assert table["examples"][0] == 3
    assert table["answer_loss"].notna().all()


def test_several_sets_and_answers_of_an_npz(finished_sweep, task, tmp_path):
    tokens, answer = task.held_out.tokens_NxS[:20], task.held_out.answer_NxL[:20]
    np.savez(tmp_path / "two.npz", plain=tokens, other=tokens[:, :-1][tokens[:, -1] == task.pad], plain_answer=answer)
    table = vsweep.evaluate_runs(finished_sweep, "best", data=tmp_path / "two.npz").set_index("set")
    assert set(table.index) == {"plain", "other"}
    assert table["examples"]["plain"] == 20
    last = np.zeros_like(answer)
    last[:, 5] = tokens[:, 6] != task.pad
    other = vsweep.evaluate_runs(finished_sweep, "best", data=HeldOut(tokens, None, last))
    assert other["loss"][0] == table["loss"]["plain"]
    assert other["answer_loss"][0] != table["answer_loss"]["plain"]


def test_a_metric_is_a_function_in_a_user_s_file(finished_sweep, tmp_path, monkeypatch):
    (tmp_path / "my_measures.py").write_text(METRICS)
    monkeypatch.syspath_prepend(str(tmp_path))
    table = vsweep.evaluate_runs(finished_sweep, metrics=["my_measures:last_label_right"])
    assert table["metric_last_label_right"].between(0, 1).all()
    assert "metric_last_label_right_se" in table
    wrong = ["my_measures:one_number", "my_measures:failing", "my_measures:last_label_wrong", "nothing"]
    with pytest.raises(ConfigError) as caught:
        vsweep.evaluate_runs(finished_sweep, ["d2.9k-s0"], metrics=wrong, data="no/such.npy")
    assert [problem.field for problem in caught.value.problems] == ["--run", *["--metric"] * 4, "--data"]
    assert "did you mean last_label_right?" in str(caught.value)


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (np.zeros((3, 11), int), r"wrong shape - got \(3, 11\); allowed: \[examples, up to 10\]"),
        (np.zeros(40, int), r"wrong shape"),
        (np.zeros((3, 10)), r"no tokens - got float64"),
        (np.full((3, 10), 14), r"beyond the vocabulary - got 14; allowed: 0 to 13"),
        (np.full((3, 10), -1), r"got -1"),
        (np.full((3, 10), 12), r"without a label - got example 0"),
        (HeldOut(np.zeros(10, int)), r"wrong shape - got \(10,\)"),
        (HeldOut(np.zeros((3, 10), int), np.zeros((3, 8))), r"surprisal of data has a wrong shape - got \(3, 8\)"),
        (HeldOut(np.zeros((3, 10), int), None, np.ones((3, 8), bool)), r"data_answer is of a wrong kind"),
    ],
)
def test_wrong_tokens_are_refused(finished_sweep, tokens, words):
    with pytest.raises(ConfigError, match=words):
        vsweep.evaluate_runs(finished_sweep, "best", data=tokens)


def test_wrong_files_are_told_by_the_command(finished_sweep, tmp_path, capsys):
    (tmp_path / "sums.txt").write_text("1+2\n12+34=46\n99+999=198\n")
    (tmp_path / "no.npy").write_text("text")
    for words, lines in (
        (
            ["--data", str(tmp_path / "sums.txt")],
            ["line 1: not a sum with its answer", "line 3: an operand is too large"],
        ),
        (["--data", str(tmp_path / "no.npy")], ["cannot be read"]),
        (["--data", str(tmp_path)], ["not data for this task"]),
        (["--out", str(finished_sweep / "runs.csv")], ["a table of the sweep itself"]),
        (["--out", "table.txt"], ["not a table"]),
    ):
        assert evaluate.main([str(finished_sweep), *words]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert all(line in said.err for line in lines), said.err
        assert len(said.err.splitlines()) == len(lines)
