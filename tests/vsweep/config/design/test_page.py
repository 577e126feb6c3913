"""Every example of docs/config.md is a design that can be planned."""

import shlex

import pytest
from absl import flags as absl_flags
from ml_collections import ConfigDict

from tests.vsweep import small
from vsweep import tasks
from vsweep.cli import (
    command_line,
    train,  # noqa: F401, defines the flags
)
from vsweep.config import default_dict, sweep_config
from vsweep.config.design import page
from vsweep.config.design.options import DESIGN_FIELDS
from vsweep.plan import grid


def start() -> ConfigDict:
    config = ConfigDict(default_dict())
    for section in ("task", "model", "train"):
        config[section].update(small.config()[section])
    config.model.layers = 4
    return config


def planned(config) -> list[grid.Run]:
    parsed = sweep_config.from_dict(config)
    return [run for stack in grid.build_stacks(parsed, tasks.build(parsed.task)) for run in stack.runs]


@pytest.mark.parametrize("example", page.EXAMPLES, ids=[example.title for example in page.EXAMPLES])
def test_the_lines_of_an_example_are_a_design(example):
    config = start()
    exec(example.code, {"config": config})
    assert len(planned(config)) > 1


@pytest.mark.parametrize("example", page.EXAMPLES, ids=[example.title for example in page.EXAMPLES])
def test_the_flags_of_an_example_are_a_design(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_runs.csv").write_text("width,lr,budget\n4,0.1,1000\n8,0.1 / width,2000\n")
    absl_flags.FLAGS.mark_as_parsed()
    try:
        line = command_line.read(shlex.split(example.flags))
    finally:
        absl_flags.FLAGS.unparse_flags()
    assert not line.problems
    config = start()
    config.sweep.width = (4, 8, 16) if "runs_csv" not in example.flags else ()
    config.sweep.layers = (1, 2, 3) if "paired" in example.flags else ()
    config.sweep.lr = (0.1, 0.2, 0.3) if "paired" in example.flags else ()
    assert len(planned(command_line.with_overrides(config, line.overrides))) > 1


def test_every_option_of_a_design_is_in_an_example():
    texts = " ".join(example.code + example.flags for example in page.EXAMPLES)
    for field in DESIGN_FIELDS:
        assert field.name in texts or field.name == "random_seed"
