"""What a number of heads and muP demand of the rest of a config, and what they leave as it was."""

import json

import numpy as np
import pytest

from tests.vsweep import small
from vsweep import tables, tasks
from vsweep.config import sweep_config
from vsweep.config.problems import ConfigError
from vsweep.plan import cost, grid
from vsweep.train.sweep import plan_sweep

MUP = {"parametrization": "mup", "base_width": 4}


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"model": {"heads": 3}}, [("model.heads", "3 heads at width 4")]),
        ({"model": {"heads": 2}, "sweep": {"width": [4, 7]}}, [("model.heads", "2 heads at width 7")]),
        ({"model": {"heads": 2, "head_dim": 2}}, [("model.head_dim", "head_dim 2 and 2 heads")]),
        ({"model": {"heads": 4, "positions": "rotary"}}, [("model.head_dim", "1")]),
        ({"model": {"parametrization": "mup"}}, [("model.base_width", "0")]),
        ({"model": {"base_width": 4, "base_layers": 2}}, [("model.base_width", "4"), ("model.base_layers", "2")]),
        ({"model": MUP, "optimizer": {"name": "adam"}}, [("optimizer.weight_decay", "0.0001")]),
        ({"model": MUP, "optimizer": {"name": "optax:sgd"}}, [("optimizer.name", "optax:sgd")]),
        (
            {
                "model": MUP,
                "optimizer": {"name": "adam", "weight_decay": 0.0},
                "sweep": {"random": {"weight_decay": (1e-5, 1e-2, "log")}, "random_points": 2},
            },
            [("optimizer.weight_decay", "0.01")],
        ),
        ({"model": {**MUP, "head_dim": "width // 2"}, "sweep": {"width": [4, 8]}}, [("model.head_dim", "2, 4")]),
        (
            {"model": MUP, "sweep": {"width": [4, 8], "head_dim": [2, 4], "paired": [["width", "head_dim"]]}},
            [("model.head_dim", "2, 4")],
        ),
        ({"model": {**MUP, "name": "moe"}}, [("model.parametrization", "'mup'"), ("model.base_width", "4")]),
    ],
)
def test_each_contradiction_is_told(sections, told):
    with pytest.raises(ConfigError) as caught:
        sweep_config.from_dict(small.config(**sections))
    assert [(problem.field, problem.got) for problem in caught.value.problems] == told


@pytest.mark.parametrize(
    ("model", "sweep"),
    [
        (MUP, {"width": [4, 8], "head_dim": [2, 4]}),
        ({"head_dim": "width // 2"}, {"width": [4, 8]}),
        ({**MUP, "name": "lstm"}, {"width": [4, 8]}),
    ],
)
def test_head_dims_that_muP_can_scale_are_left_alone(model, sweep):
    sweep_config.from_dict(small.config(model=model, sweep=sweep))


def test_a_missing_base_width_is_told_with_what_else_is_wrong(tmp_path):
    values = small.config(model={"parametrization": "mup"}, optimizer={"lr": "width - 4"})
    with pytest.raises(ConfigError) as caught:
        plan_sweep(values, tmp_path / "new")
    assert {problem.field for problem in caught.value.problems} == {"model.base_width", "optimizer.lr"}


def test_explicit_runs_may_name_the_parametrization(tmp_path):
    runs = tmp_path / "runs.csv"
    runs.write_text("width,parametrization,budget\n4,standard,700\n8,mup,700\n")
    values = small.config(model={"base_width": 4})
    config = sweep_config.from_dict({**values, "sweep": {"runs_csv": str(runs)}})
    assert len(grid.shapes(config)) == 2


def test_a_number_of_heads_gives_them_their_size_at_every_width():
    config = sweep_config.from_dict(small.config(model={"heads": 2}, sweep={"width": [4, 6, 16]}))
    task = tasks.build(config.task)
    shapes = [cost.model_shape(shape, task) for shape in grid.shapes(config)]
    assert [(shape.heads, shape.head_dim) for shape in shapes] == [(2, 2), (2, 3), (2, 8)]


def test_configs_without_them_are_what_they_were():
    written = json.dumps(sweep_config.from_dict(small.config()).to_dict())
    assert not any(name in written for name in ("heads", "parametrization", "base_width", "base_layers"))


def test_a_sweep_of_both_parametrizations_trains_alike_at_the_base_width(tmp_path):
    """And at no other: each is a stack of its own, with a column that says which."""
    values = small.config(model={"base_width": 4, "heads": 2}, optimizer={"weight_decay": 0.1})
    values["sweep"] = {"width": [4, 8], "parametrization": ["standard", "mup"], "budget": [700]}
    small.train(values, tmp_path)
    runs = tables.read_runs(tmp_path).set_index(["width", "parametrization"])
    assert list(runs["head_dim"]) == [2, 2, 4, 4]
    losses = runs["val_loss"].to_dict()
    assert losses[4, "mup"] == losses[4, "standard"]
    assert losses[8, "mup"] != losses[8, "standard"]
    assert np.isfinite(runs["val_loss"]).all()
