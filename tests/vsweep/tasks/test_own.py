"""A user's own task, optimizer and metrics, from a folder beside a config: trained, resumed, analysed, generated."""

import json
import sys
import types

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from absl import flags as absl_flags
from absl.testing import flagsaver

import vsweep
from tests.vsweep import small
from vsweep.analysis import pipeline
from vsweep.cli import flags
from vsweep.config import sweep_config
from vsweep.config.problems import ConfigError
from vsweep.generate import greedy
from vsweep.tables import read_curves, read_runs
from vsweep.tasks import base

OWN = '''
import dataclasses
import numpy as np
import optax
from vsweep.tasks.base import HeldOut

@dataclasses.dataclass(frozen=True)
class Options:
    length: int = 6
    symbols: int = 5
    seed: int = 0

def rows(options, count, stream):
    """Numbers, and the same numbers once more."""
    rng = np.random.default_rng([options.seed, stream])
    first = rng.integers(1, options.symbols, size=(count, options.length // 2))
    return np.concatenate([first, first], axis=1)

def right_at_the_end(logits, labels):
    return logits[:, -1].argmax(axis=-1) == labels[:, -1]

class Copying:
    Options = Options
    metrics = {"last_right": right_at_the_end}
    may_repeat = True

    def __init__(self, options):
        self.vocabulary = options.symbols
        self.sequence_length = options.length
        self.train_tokens_NxS = rows(options, 400, 0)
        self.held_out = rows(options, 64, 1)
        self.more_held_out = {"other": HeldOut(rows(options, 64, 2))}

class Leaking(Copying):
    may_repeat = False

class Short(Copying):
    def __init__(self, options):
        super().__init__(options)
        self.held_out = self.held_out[:10]

class Wrong(Copying):
    def __init__(self, options):
        super().__init__(options)
        self.vocabulary = "five"

def signs(learning_rate, *, decay=0.9):
    return optax.chain(optax.scale_by_lion(b1=decay), optax.scale_by_learning_rate(learning_rate))
'''

STUDY = """
from ml_collections import ConfigDict
from vsweep.config import default_dict

def get_config():
    config = ConfigDict(default_dict())
    config.task.name = "mine:Copying"
    config.task.length = 8
    config.optimizer.name = "mine:signs"
    return config
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with `mine.py` in it, which is on sys.path."""
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("mine", None)


def config_of(task: str = "Copying", **options) -> dict:
    values = small.config(sweep={"budget": [400, 800], "seed": [0, 1]}, model={"width": 4, "dropout": 0.0})
    values["task"] = {"name": f"mine:{task}", **options}
    values["optimizer"] = {"name": "mine:signs", "lr": 0.01, "weight_decay": 0.0}
    return values


def test_a_users_task_and_optimizer_train_resume_and_are_analysed(folder):
    values = config_of(symbols=7)
    small.train(values, folder / "whole")
    runs, curves = read_runs(folder / "whole"), read_curves(folder / "whole")
    own = ["val_loss_other", "val_loss_other_se", "metric_last_right", "metric_last_right_se"]
    assert list(runs.columns)[-4:] == list(curves.columns)[-4:] == own
    assert runs[own].notna().all().all()
    assert runs["metric_last_right"].between(0, 1).all()
    assert not np.allclose(runs["val_loss"], runs["val_loss_other"])
    assert np.allclose(runs["val_loss"], runs["val_loss_other"], atol=0.3)
    assert runs[["floor", "excess_loss", "answer_loss", "exact_match"]].isna().all().all()
    assert (runs["task"] == "mine:Copying").all()

    small.train(values, folder / "cut", progress=small.StopAfter(2))
    assert set(read_runs(folder / "cut")["status"]) != {"finished"}
    small.train(values, folder / "cut")
    assert (folder / "cut" / "curves.csv").read_bytes() == (folder / "whole" / "curves.csv").read_bytes()

    pipeline.analyse(folder / "whole", folder / "out", bootstrap=0)
    assert list(json.loads((folder / "out" / "fits.json").read_text())["losses"]) == ["val_loss"]

    run = vsweep.load_run(folder / "whole", runs["run_id"][0])
    decoded = greedy(run.model, run.params, [run.task.encode("1 2 3")], length=6, pad=max(run.task.pad, 0))
    assert run.task.decode(list(decoded[0])).startswith("1 2 3 ")
    with pytest.raises(ValueError, match="numbers below 7"):
        run.task.encode("1 9")


@pytest.mark.parametrize("changed", ["data", "optimizer", "comment"])
def test_a_resume_notices_other_data_and_another_optimizer(folder, changed):
    task, config = described(config_of())
    before = sweep_config.fingerprint(config, task.digest)
    edits = {
        "data": ("400, 0", "400, 5"),
        "optimizer": ("b1=decay", "b1=decay / 2"),
        "comment": ("def rows", "# more\ndef rows"),
    }
    (folder / "mine.py").write_text(OWN.replace(*edits[changed]))
    sys.modules.pop("mine")
    sweep_config.registry._options.cache_clear()
    task, config = described(config_of())
    assert (sweep_config.fingerprint(config, task.digest) == before) == (changed == "comment")


def described(values: dict):
    planned = small.sweep(values)
    return planned.task, planned.config


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"name": "no_such_module:Task"}, ["task.name: cannot import no_such_module"]),
        ({"name": "mine:Copyin"}, ["mine has no Copyin", "did you mean Copying?"]),
        ({"name": "mine:signs"}, ["mine:signs is no class"]),
        ({"name": "mine:Copying", "lenght": 8}, ["task.lenght: unknown field", "did you mean length?"]),
        ({"name": "mine:Copying", "length": "long"}, ["task.length: not a valid value", "an integer"]),
        ({"name": "mine:Copying", "digits": 2}, ["task.digits: not an option of mine:Copying"]),
        ({"name": "markov", "order": 9}, ["task.order: not a valid value - got 9; allowed: an integer from 1 to 3"]),
    ],
)
def test_mistakes_are_told_in_one_list(folder, task, words):
    values = {**config_of(), "task": task, "optimizer": {"name": "mine:sings"}}
    with pytest.raises(ConfigError) as caught:
        vsweep.plan_sweep(values, folder / "none")
    assert all(word in str(caught.value) for word in [*words, "optimizer.name: mine has no sings"]), str(caught.value)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("Leaking", "training examples that are held out too"),
        ("Short", "too few held-out examples for train.final_examples - got 10; allowed: 64"),
        ("Wrong", "task.name: vocabulary of mine:Wrong is wrong"),
    ],
)
def test_wrong_examples_are_refused_before_training(folder, task, words):
    with pytest.raises(ConfigError, match=words):
        small.train(config_of(task), folder / "none")
    assert not (folder / "none").exists()


def test_a_config_file_finds_code_beside_it_and_options_on_the_command_line(folder, monkeypatch):
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(folder)])
    (folder / "study.py").write_text(STUDY)
    import vsweep.cli.train  # noqa: F401, defines the flags

    words = ["--config.task.symbols=9", "--config.sweep.decay=0.5,0.9", "--config.task.seed=3"]
    with flagsaver.flagsaver():
        flags.parse_flags(["launch.py", f"--config={folder / 'study.py'}", *words])
        parsed = sweep_config.from_dict(absl_flags.FLAGS["config"].value)
    absl_flags.FLAGS.unparse_flags()
    sys.modules.pop("config_config", None)  # ml_collections loads the next config file into the same module
    assert (parsed.task.length, parsed.task.symbols, parsed.task.seed) == (8, 9, 3)
    assert parsed.axis("decay") == (0.5, 0.9)


def test_a_set_option_of_another_task_is_not_dropped_silently():
    values = sweep_config.default_dict()
    values["task"]["name"] = "markov"
    assert sweep_config.from_dict(values).task.symbols == 8
    values["task"]["digits"].set(3)  # the default, but set
    with pytest.raises(ConfigError, match=r"task.digits: not an option of markov"):
        sweep_config.from_dict(values)


@pytest.mark.parametrize(("vocabulary", "kind"), [(2, "uint8"), (256, "uint8"), (257, "uint16"), (65_537, "int32")])
def test_tokens_take_the_smallest_type(vocabulary, kind):
    assert base.token_dtype(vocabulary) == kind


def test_a_vocabulary_above_a_byte_trains(folder):
    small.train(config_of(symbols=300), folder / "wide")
    assert (pd.read_csv(folder / "wide" / "runs.csv")["status"] == "finished").all()


@pytest.mark.parametrize("kind", [list, np.array, jnp.array, np.uint8])
def test_whole_numbers_of_any_library_are_tokens(kind):
    own = types.SimpleNamespace(vocabulary=5, sequence_length=6, encode=lambda text: kind([1, 4]))
    assert base.CompletedTask("mine", own).encode("x") == [1, 4]


@pytest.mark.parametrize("given", [[1, 7], [-1], [0.5], "ab", ["1"], 3.5, None])
def test_what_a_users_encode_gives_must_be_tokens(given):
    own = types.SimpleNamespace(vocabulary=5, sequence_length=6, encode=lambda text: given)
    with pytest.raises(ValueError, match=r"encode gives .* which is no token; allowed: whole numbers from 0 to 4"):
        base.CompletedTask("mine", own).encode("x")
