"""Designs on the command line: what is read, and where the file of explicit runs is looked for."""

import sys

import pytest
from absl import flags as absl_flags
from absl.testing import flagsaver

from vsweep.cli import (
    flags,
    train,  # noqa: F401, defines the flags
)
from vsweep.config import sweep_config
from vsweep.config.problems import ConfigError

CONFIG = """
from ml_collections import ConfigDict
from vsweep.config import default_dict

def get_config():
    config = ConfigDict(default_dict())
    config.sweep.width = (4, 8)
    return config
"""


@pytest.fixture
def read(tmp_path, monkeypatch, capsys):
    """Words -> the config that they mean, or the problems that are told."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mine.py").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def answer(*words: str):
        try:
            with flagsaver.flagsaver():
                flags.parse_flags(["launch.py", "--config=configs/mine.py", *words])
                return sweep_config.from_dict(absl_flags.FLAGS["config"].value)
        except SystemExit:
            return capsys.readouterr().err
        except ConfigError as error:
            return str(error)
        finally:
            absl_flags.FLAGS.unparse_flags()
            sys.modules.pop("config_config", None)

    return answer


@pytest.mark.parametrize(
    ("words", "design"),
    [
        (["--config.sweep.flops=1e8,3e8"], {"flops": (1e8, 3e8)}),
        (["--config.sweep.flops", "1e8"], {"flops": (1e8,)}),
        (["--config.sweep.flops=1e8", "--config.sweep.flops_convention=counted"], {"flops_convention": "counted"}),
        (["--config.sweep.tokens_per_param=5,20"], {"tokens_per_param": (5.0, 20.0)}),
        (["--config.sweep.tokens_per_param_bounds=2,300"], {"tokens_per_param_bounds": (2.0, 300.0)}),
        (["--config.sweep.lr=0.1,0.2", "--config.sweep.paired=width,lr"], {"paired": (("width", "lr"),)}),
        (["--config.sweep.aspect_ratio=4,8"], {"aspect_ratio": (4.0, 8.0)}),
    ],
)
def test_a_design_is_read_from_a_command_line(read, words, design):
    found = read(*words).design
    assert {name: getattr(found, name) for name in design} == design


def test_the_sides_of_a_box_are_fields_of_their_own(read):
    words = ["--config.sweep.random={'clip': (0.5, 2)}", "--config.sweep.random.lr=1e-3,1e-1,log"]
    config = read(*words, "--config.sweep.random_points=4", "--config.sweep.random_seed=1")
    assert config.to_dict()["sweep"] == {
        "width": [4, 8],
        "random": {"clip": [0.5, 2.0, "linear"], "lr": [1e-3, 1e-1, "log"]},
        "random_points": 4,
        "random_seed": 1,
    }


def test_formulas_stand_in_a_section_or_are_an_axis(read):
    config = read("--config.optimizer.lr=0.3 / width", "--config.sweep.clip=1 / width,min(1, 8 / width),2")
    assert config.optimizer.lr == "0.3 / width"
    assert dict(config.axes)["clip"] == ("1 / width", "min(1, 8 / width)", 2.0)
    assert read("--config.train.budget=20 * params").train.budget == "20 * params"


def test_a_wrong_formula_is_told_with_every_other_problem(read):
    told = read("--config.optimizer.lr=0.3 / widht", "--config.model.layers=0", "--config.sweep.flops=-1")
    assert "optimizer.lr: a formula with the unknown name widht" in told
    assert "model.layers: not a valid value - got 0" in told
    assert "sweep.flops: not a valid value - got -1" in told


def test_explicit_runs_stand_beside_the_config_or_here(read, tmp_path):
    (tmp_path / "configs" / "beside.csv").write_text("lr\n0.1\n0.2\n")
    (tmp_path / "here.csv").write_text("lr\n0.3\n")
    assert read("--config.sweep.runs_csv=beside.csv").design.runs_csv == ((("lr", 0.1),), (("lr", 0.2),))
    assert read("--config.sweep.runs_csv=here.csv").design.runs_csv == ((("lr", 0.3),),)
    assert "sweep.runs_csv: cannot be read" in read("--config.sweep.runs_csv=nowhere.csv")
    (tmp_path / "configs" / "here.csv").write_text("lr\n0.4\n")
    assert "sweep.runs_csv: two files of this name" in read("--config.sweep.runs_csv=here.csv")
    assert read(f"--config.sweep.runs_csv={tmp_path}/here.csv").design.runs_csv == ((("lr", 0.3),),)


def test_a_mistyped_option_names_the_right_one(read):
    assert "did you mean tokens_per_param?" in read("--config.sweep.token_per_param=5")
    assert "did you mean flops?" in read("--config.sweep.flop=5")
