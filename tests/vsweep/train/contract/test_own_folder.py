"""A task, a model, an optimizer and a metric in a user's folder, from training to the report, by the commands."""

import signal
import subprocess
import sys

import pytest
from ml_collections import ConfigDict

import vsweep
from tests.vsweep import killing, small
from vsweep import evaluate, generate, schema
from vsweep.config import default_dict
from vsweep.config.problems import ConfigError
from vsweep.tables import read_runs

MINE = '''
import dataclasses

import jax.numpy as jnp
import numpy as np
import optax

from vsweep.models.params import ParamSpec, Role
from vsweep.tasks.base import HeldOut


@dataclasses.dataclass(frozen=True)
class Options:
    letters: int = 4


class Echo:
    """Letters, and the same once more."""

    Options = Options
    may_repeat = True

    def __init__(self, options):
        self.vocabulary, self.sequence_length = options.letters, 6
        self.train_tokens_NxS = self.draw(400, 0)
        self.held_out = HeldOut(self.draw(64, 1))
        self.metrics = {"last_accuracy": last_right}

    def draw(self, count, stream):
        first = np.random.default_rng([7, stream]).integers(self.vocabulary, size=(count, 3))
        return np.concatenate([first, first], axis=1)

    def encode(self, text):
        return ["abcdefgh".index(letter) for letter in text]

    def decode(self, tokens):
        return "".join("abcdefgh"[token] for token in tokens)


def last_right(logits, labels):
    return logits[:, -1].argmax(axis=-1) == labels[:, -1]


def first_right(logits, labels):
    return logits[:, 2].argmax(axis=-1) == labels[:, 2]


def three_back(shape, *, gain=1.0):
    """Logits from the token two positions back, which is what follows in the second half."""
    specs = {
        "embed": ParamSpec((shape.vocabulary, shape.width), Role.EMBEDDING, 1.0),
        "hidden": ParamSpec((shape.width, shape.width), Role.HIDDEN, 0.5),
        "head": ParamSpec((shape.width, shape.vocabulary), Role.OUTPUT, 0.5),
    }

    def apply(params, tokens_BxT, *, dropout_key=None, dropout=0.0):
        x_BxTxW = params["embed"][jnp.pad(tokens_BxT, ((0, 0), (2, 0)))[:, : tokens_BxT.shape[1]]]
        return gain * x_BxTxW @ params["hidden"] @ params["head"]

    return specs, apply


def signs(learning_rate, *, decay=0.9):
    return optax.chain(optax.scale_by_lion(b1=decay), optax.scale_by_learning_rate(learning_rate))
'''
CONFIG = """
from ml_collections import ConfigDict

from vsweep.config import default_dict


def get_config():
    config = ConfigDict(default_dict())
    config.task.name = "mine:Echo"
    config.model.name = "mine:three_back"
    config.model.dropout = 0.0
    config.optimizer.name = "mine:signs"
    config.optimizer.lr = 0.01
    config.train.batch_size = 8
    config.train.curve_examples = 32
    config.train.final_examples = 64
    config.train.chunk_steps = 8
    config.sweep.width = (4, 8)
    config.sweep.budget = (800, 1600, 3200)
    config.sweep.decay = (0.5, 0.9)
    return config
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "study.py").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("mine", None)


def launched(folder, workdir: str, point: str = "nowhere", call: int = 0) -> subprocess.CompletedProcess:
    """The command of this study, in a process that may kill itself."""
    program = [sys.executable, "-m", "tests.vsweep.kill_at", str(folder / "steps"), point, str(call)]
    program += [f"--config={folder}/study.py", f"--workdir={folder / workdir}"]
    return subprocess.run(program, cwd=killing.ROOT, capture_output=True, text=True, check=False)


def test_all_of_ones_own_is_killed_resumed_generates_is_evaluated_and_reported(folder, capsys):
    assert launched(folder, "cut", "in the middle of a chunk", 4).returncode == -signal.SIGKILL
    ended = launched(folder, "cut")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    names = {}
    exec(CONFIG, names)
    small.train(names["get_config"](), folder / "whole")
    assert killing.same_sweep(folder / "cut", folder / "whole")

    runs = read_runs(folder / "cut")
    assert set(runs["status"]) == {schema.FINISHED}
    assert set(runs["decay"]) == {0.5, 0.9}
    assert set(runs["params"]) == {3 * 4 * 4, 2 * 8 * 4 + 8 * 8}
    assert runs["metric_last_accuracy"].max() > 0.9 > runs["metric_last_accuracy"].min()
    report = (folder / "cut" / "analysis" / "report.html").read_text()
    assert "metric_last_accuracy" in report

    assert generate.main([str(folder / "cut"), "--run", "longest", "bad"]) == 0
    assert capsys.readouterr().out == "badbad\n"
    found = folder / "found.csv"
    arguments = [str(folder / "cut"), "--runs", "longest", "--metric", "mine:first_right", "--out", str(found)]
    assert evaluate.main(arguments) == 0
    assert "metric_first_right" in found.read_text().splitlines()[0]


def test_what_is_wrong_with_ones_own_comes_in_one_list(folder):
    config = ConfigDict(default_dict())
    config.task.name = "mine:Ecco"
    config.model.name = "mine:three_back"
    config.optimizer.name = "no_such_module:signs"
    values = config.to_dict()
    values["model"]["gian"] = 2.0
    with pytest.raises(ConfigError) as caught:
        vsweep.plan_sweep(values, folder / "plan")
    told = str(caught.value)
    assert "task.name: mine has no Ecco" in told
    assert "did you mean Echo?" in told
    assert "optimizer.name: cannot import no_such_module" in told
    assert "model.gian: unknown field" in told
    assert "did you mean gain?" in told
