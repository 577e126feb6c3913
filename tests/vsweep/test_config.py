import dataclasses
import json
import math
import re

import pytest
from ml_collections import ConfigDict

from vsweep import config as config_lib
from vsweep.config import RULES, ConfigError, SweepConfig, default_dict, differences, from_dict
from vsweep.records import AXES

FORM = re.compile(r"[\w.]+: .+ - got .+; allowed: [^;]+(; did you mean \w+\?)?")

# (config, the field that must be named, what was got, the word that must be suggested)
BAD = [
    ({"modle": {}}, "modle", "{}", "model"),
    ({"model": {"widht": 4}}, "model.widht", "4", "width"),
    ({"optimizer": {"learning_rate": 1e-3}}, "optimizer.learning_rate", "0.001", None),
    ({"sweep": {"widht": [4]}}, "sweep.widht", "[4]", "width"),
    ({"sweep": {"final_lr_fraction": [0.1]}}, "sweep.final_lr_fraction", "[0.1]", None),
    ({"train": {"clip": 1.0}}, "train.clip", "1.0", None),
    ({"model": 3}, "model", "3", None),
    ({"sweep": 3}, "sweep", "3", None),
    ({"model": {"width": True}}, "model.width", "True", None),
    ({"model": {"width": 8.5}}, "model.width", "8.5", None),
    ({"model": {"width": "16"}}, "model.width", "'16'", None),
    ({"model": {"width": None}}, "model.width", "None", None),
    ({"model": {"layers": 0}}, "model.layers", "0", None),
    ({"model": {"tied_embeddings": 1}}, "model.tied_embeddings", "1", None),
    ({"model": {"dropout": 1.0}}, "model.dropout", "1.0", None),
    ({"model": {"dropout": -0.1}}, "model.dropout", "-0.1", None),
    ({"model": {"width": 10}}, "model.head_dim", "head_dim 4 at width 10", None),
    ({"sweep": {"width": [4, 6]}}, "model.head_dim", "head_dim 4 at width 6", None),
    ({"sweep": {"head_dim": [8, 5]}}, "model.head_dim", "head_dim 5 at width 16", None),
    ({"optimizer": {"lr": 0}}, "optimizer.lr", "0", None),
    ({"optimizer": {"lr": -1e-3}}, "optimizer.lr", "-0.001", None),
    ({"optimizer": {"lr": math.nan}}, "optimizer.lr", "nan", None),
    ({"optimizer": {"lr": math.inf}}, "optimizer.lr", "inf", None),
    ({"optimizer": {"lr": "5e-3"}}, "optimizer.lr", "'5e-3'", None),
    ({"optimizer": {"lr": True}}, "optimizer.lr", "True", None),
    ({"optimizer": {"clip": math.inf}}, "optimizer.clip", "inf", None),
    ({"optimizer": {"clip": -1.0}}, "optimizer.clip", "-1.0", None),
    ({"optimizer": {"clip": math.nan}}, "optimizer.clip", "nan", None),
    ({"optimizer": {"beta2": 1.0}}, "optimizer.beta2", "1.0", None),
    ({"optimizer": {"final_lr_fraction": 1.5}}, "optimizer.final_lr_fraction", "1.5", None),
    ({"optimizer": {"cooldown_fraction": 0}}, "optimizer.cooldown_fraction", "0", None),
    ({"optimizer": {"cooldown_fraction": 1.01}}, "optimizer.cooldown_fraction", "1.01", None),
    ({"train": {"share_trunks": 1}}, "train.share_trunks", "1", None),
    ({"optimizer": {"name": "adam"}}, "optimizer.name", "'adam'", "adamw"),
    ({"optimizer": {"schedule": "cosin"}}, "optimizer.schedule", "'cosin'", "cosine"),
    ({"sweep": {"schedule": ["cosine", "lin"]}}, "sweep.schedule", "'lin'", "linear"),
    ({"task": {"name": "additon"}}, "task.name", "'additon'", "addition"),
    ({"task": {"digits": 5}}, "task.digits", "5", None),
    ({"task": {"validation_examples": 500_500}}, "task.validation_examples", "500500", None),
    ({"train": {"precision": "bfloat"}}, "train.precision", "'bfloat'", "bfloat16"),
    ({"train": {"init_seed": 1.5}}, "train.init_seed", "1.5", None),
    ({"train": {"init_seed": None}}, "train.init_seed", "None", None),
    ({"sweep": {"data_seed": [-2, 0]}}, "sweep.data_seed", "-2", None),
    ({"train": {"batch_size": 2**40}}, "train.batch_size", str(2**40), None),
    ({"train": {"slots": 0}}, "train.slots", "0", None),
    ({"train": {"slots": "0"}}, "train.slots", "'0'", None),
    ({"train": {"slots": "²"}}, "train.slots", "'²'", None),
    ({"train": {"slots": -2}}, "train.slots", "-2", None),
    ({"train": {"slots": "paked"}}, "train.slots", "'paked'", "packed"),
    ({"train": {"slots": True}}, "train.slots", "True", None),
    ({"train": {"checkpoint_minutes": 0}}, "train.checkpoint_minutes", "0", None),
    ({"train": {"checkpoint_minutes": math.inf}}, "train.checkpoint_minutes", "inf", None),
    ({"train": {"max_wall_hours": math.inf}}, "train.max_wall_hours", "inf", None),
    ({"train": {"max_wall_hours": math.nan}}, "train.max_wall_hours", "nan", None),
    ({"train": {"curve_points": 1}}, "train.curve_points", "1", None),
    ({"train": {"final_examples": 1000}}, "train.final_examples", "1000 and 512", None),
    ({"train": {"final_examples": 512 * 200}}, "train.final_examples", "102400", None),
    ({"sweep": {"width": [[]]}}, "sweep.width", "[]", None),
    ({"sweep": {"seed": [0, 1, 0]}}, "sweep.seed", "(0, 1, 0)", None),
    ({"sweep": {"lr": [1, 1.0]}}, "sweep.lr", "(1, 1.0)", None),
    ({"sweep": {"budget": [1e6, 1_000_000]}}, "sweep.budget", "(1000000.0, 1000000)", None),
    ({"sweep": {"budget": [math.inf]}}, "sweep.budget", "inf", None),
    ({"sweep": {"budget": [2_000_000, 1_000_000]}}, "sweep.budget", "(2000000, 1000000)", None),
    ({"sweep": {"seed": [0, 0.5]}}, "sweep.seed", "0.5", None),
    ({"sweep": {"seed": ["a"]}}, "sweep.seed", "'a'", None),
    ({"sweep": {"seed": "all"}}, "sweep.seed", "'all'", None),
    ({"sweep": {"seed": [False]}}, "sweep.seed", "False", None),
    ({"sweep": {"seed": [-1]}}, "sweep.seed", "-1", None),
    ({"sweep": {"dropout": [0.1, 1.0]}}, "sweep.dropout", "1.0", None),
    ({"name": "a/b"}, "name", "'a/b'", None),
    ({"name": "../up"}, "name", "'../up'", None),
    ({"name": "up..up"}, "name", "'up..up'", None),
    ({"name": ".hidden"}, "name", "'.hidden'", None),
    ({"name": "line\n"}, "name", "'line\\n'", None),
    ({"name": ""}, "name", "''", None),
    ({"name": 3}, "name", "3", None),
]


def problems_of(values) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        from_dict(values)
    return caught.value.problems


@pytest.mark.parametrize(("values", "field", "got", "suggestion"), BAD, ids=[f"{b[1]}={b[2]!r}" for b in BAD])
def test_a_bad_value_is_one_problem_that_says_field_got_allowed_and_the_closest_name(values, field, got, suggestion):
    (problem,) = problems_of(values)
    assert FORM.fullmatch(problem), problem
    assert problem.startswith(f"{field}: ")
    assert f" - got {got}; allowed: " in problem
    assert problem.endswith(f"; did you mean {suggestion}?") if suggestion else "did you mean" not in problem


def test_every_problem_is_reported_at_once():
    values = {
        "name": "a/b",
        "modle": {},
        "task": {"digits": 9},
        "model": {"widht": 4, "dropout": 2.0},
        "optimizer": {"lr": -1.0, "schedule": "cosin"},
        "train": {"final_examples": 700},
        "sweep": {"seed": [0, 0], "width": [10], "tokens": [1]},
    }
    named = {problem.partition(":")[0] for problem in problems_of(values)}
    assert named == {
        "name",
        "modle",
        "task.digits",
        "model.widht",
        "model.dropout",
        "optimizer.lr",
        "optimizer.schedule",
        "train.final_examples",
        "sweep.seed",
        "sweep.tokens",
        "model.head_dim",
    }


def test_a_field_that_is_named_once_is_not_named_again_for_what_follows_from_it():
    (problem,) = problems_of({"model": {"head_dim": 0, "width": 10}})
    assert problem.startswith("model.head_dim: not a valid value - got 0")


def test_the_error_says_all_problems_one_a_line_and_carries_the_good_rest():
    with pytest.raises(ConfigError) as caught:
        from_dict({"model": {"width": 0, "layers": 7}, "train": {"slots": "none"}})
    assert str(caught.value).splitlines() == caught.value.problems
    assert len(caught.value.problems) == 2
    assert caught.value.rest.model == config_lib.ModelConfig(layers=7)


def test_a_config_dict_and_a_mapping_and_json_give_the_same_sweep():
    config = ConfigDict(default_dict())
    config.name = "study"
    config.model.layers = 2
    config.sweep.width = (4, 8)
    config.sweep.lr = (1e-3, 5e-3)
    mapping = {"name": "study", "model": {"layers": 2}, "sweep": {"width": [4, 8], "lr": [1e-3, 5e-3]}}
    parsed = from_dict(mapping)
    assert parsed == from_dict(config)
    assert parsed == from_dict(json.loads(json.dumps(parsed.to_dict())))
    assert parsed.model.layers == 2
    assert parsed.axis("width") == (4, 8)
    assert parsed.axis("budget") == (parsed.train.budget,)


def test_a_config_dict_with_problems_names_them_too():
    config = ConfigDict(default_dict())
    config.optimizer.lr = -5.0
    config.sweep.seed = (0, 0)
    assert [problem.partition(":")[0] for problem in problems_of(config)] == ["optimizer.lr", "sweep.seed"]


def test_nothing_given_means_every_default_and_no_axis():
    assert from_dict({}) == from_dict(default_dict()) == SweepConfig()
    assert from_dict({"model": {}, "sweep": {"seed": [], "width": None}}) == SweepConfig()


@pytest.mark.parametrize(
    ("axis", "given", "values"),
    [
        ("width", [8, 4, 16], (8, 4, 16)),
        ("budget", [1_000_000], (1_000_000,)),
        ("budget", [5e5, 1e6], (500_000, 1_000_000)),
        ("budget", (1, 2, 2**31 - 1), (1, 2, 2**31 - 1)),
        ("seed", 7, (7,)),
        ("seed", [], ()),
        ("lr", [1, 0.1], (1.0, 0.1)),
        ("dropout", [0, 0.5], (0.0, 0.5)),
        ("clip", [0, 1], (0.0, 1.0)),
        ("schedule", "linear", ("linear",)),
        ("schedule", "cosine,linear", ("cosine", "linear")),
        ("schedule", ["cosine, linear", "constant"], ("cosine", "linear", "constant")),
        ("init_seed", [-1, 0, 1], (-1, 0, 1)),
        ("tied_embeddings", [True, False], (True, False)),
    ],
)
def test_good_values_of_an_axis_are_kept_in_their_order(axis, given, values):
    axes = dict(from_dict({"sweep": {axis: given}}).axes)
    assert axes.get(axis, ()) == values
    assert [type(value) for value in axes.get(axis, ())] == [type(value) for value in values]


def test_axes_stand_in_one_order_however_they_were_written():
    forth = from_dict({"sweep": {"width": [4], "budget": [100], "seed": [0]}})
    back = from_dict({"sweep": {"seed": [0], "budget": [100], "width": [4]}})
    assert forth == back
    assert [axis for axis, _ in back.axes] == [axis for axis in AXES if axis in ("width", "budget", "seed")]


def test_a_number_of_slots_may_come_from_the_command_line_as_text():
    assert from_dict({"train": {"slots": "4"}}) == from_dict({"train": {"slots": 4}})


def another_value(section: str, field: str):
    """A config in which only this field differs from its default, or None if it has no other value."""
    default = getattr(getattr(SweepConfig(), section), field)
    choices = (not default, 1, 2, 4, 1024, 50_000, 0.25, 0.5, 0, *config_lib.SCHEDULES, *config_lib.PRECISIONS, "all")
    for value in choices:
        if value != default or type(value) is not type(default):
            try:
                changed = from_dict({section: {field: value}})
            except ConfigError:
                continue
            if changed != SweepConfig():
                return changed
    return None


FIELDS = [(section, field, rule) for section, rules in RULES.items() for field, rule in rules.items()]


@pytest.mark.parametrize(
    ("section", "field", "rule"), FIELDS, ids=[f"{section}.{field}" for section, field, _ in FIELDS]
)
def test_every_field_that_a_result_depends_on_is_named_when_it_differs(section, field, rule):
    changed = another_value(section, field)
    if changed is None:
        assert field == "name", f"give {section}.{field} another value here"
        return
    lines = differences(SweepConfig().to_dict(), changed.to_dict())
    if field in ("checkpoint_minutes", "max_wall_hours", "devices"):
        assert lines == []
    else:
        assert [line.partition(":")[0] for line in lines] == [f"{section}.{field}"]


def test_the_values_of_an_axis_are_named_when_they_differ():
    one, other = from_dict({"sweep": {"seed": [0, 1]}}), from_dict({"sweep": {"seed": [0, 2]}})
    (line,) = differences(one.to_dict(), other.to_dict())
    assert line == "sweep.seed: the work directory has [0, 1], the config has [0, 2]"


def test_differences_name_every_field_of_both_sides():
    old = from_dict({"optimizer": {"lr": 1e-3}, "sweep": {"width": [4]}}).to_dict()
    new = from_dict({"model": {"layers": 2}, "sweep": {"seed": [1]}}).to_dict()
    named = [line.partition(":")[0] for line in differences(old, new)]
    assert named == ["model.layers", "optimizer.lr", "sweep.seed", "sweep.width"]
    assert differences(old, json.loads(json.dumps(old))) == []


def test_a_validated_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        from_dict({}).train.batch_size = 3
