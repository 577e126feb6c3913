import dataclasses
import json

import pytest
from ml_collections import ConfigDict

from vsweep.config import fields, sweep_config
from vsweep.config.fields import AXES, FIELDS
from vsweep.config.model_options import MLPS, NORMS, POSITIONS
from vsweep.config.problems import ConfigError, Problem
from vsweep.config.sweep_config import SweepConfig, default_dict, differences, fingerprint, from_dict


def problems_of(values) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        from_dict(values)
    return caught.value.problems


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
    named = {problem.field for problem in problems_of(values)}
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
    assert str(problem).startswith("model.head_dim: not a valid value - got 0")


def test_the_error_says_all_problems_one_a_line_and_carries_the_good_rest():
    with pytest.raises(ConfigError) as caught:
        from_dict({"model": {"width": 0, "layers": 7}, "train": {"slots": "none"}})
    assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.problems]
    assert len(caught.value.problems) == 2
    assert caught.value.rest.model == sweep_config.ModelConfig(layers=7)


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
    assert [problem.field for problem in problems_of(config)] == ["optimizer.lr", "sweep.seed"]


@pytest.mark.parametrize(("given", "slots"), [(3, 3), ("3", 3), ("all", "all"), ("packed", "packed")])
def test_slots_are_a_word_or_a_number_in_a_config_file_too(given, slots):
    """A ConfigDict holds a field to the type of its default, a word here."""
    config = ConfigDict(default_dict())
    config.train.slots = given
    assert from_dict(config).train.slots == slots
    assert from_dict(config).to_dict() == from_dict({"train": {"slots": given}}).to_dict()


@pytest.mark.parametrize("given", [0, 2.5, None, True, "none", [3]])
def test_other_slots_in_a_config_file_are_named_as_any_bad_value(given):
    config = ConfigDict(default_dict())
    config.train.slots = given
    (problem,) = problems_of(config)
    assert str(problem).startswith(
        f"train.slots: not a valid value - got {given!r}; allowed: packed, all, or an integer"
    )


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
    choices = (
        not default,
        1,
        2,
        4,
        1024,
        50_000,
        0.25,
        0.5,
        0,
        *fields.SCHEDULES,
        *fields.PRECISIONS,
        "all",
        *(choice for choices in (NORMS, MLPS, POSITIONS) for choice in choices),
    )
    for value in choices:
        if value != default or type(value) is not type(default):
            try:
                changed = from_dict({section: {field: value}})
            except ConfigError:
                continue
            if changed != SweepConfig():
                return changed
    return None


OF_MUP = ("parametrization", "base_width", "base_layers")  # of which none can differ alone
ALONE = [row for row in FIELDS if row.name not in OF_MUP]


@pytest.mark.parametrize("row", ALONE, ids=[row.path for row in ALONE])
def test_every_field_that_a_result_depends_on_is_named_when_it_differs(row):
    section, field = row.section, row.name
    changed = another_value(section, field)
    if changed is None:
        assert field == "name", f"give {section}.{field} another value here"
        return
    lines = differences(SweepConfig().to_dict(), changed.to_dict())
    if field in ("checkpoint_minutes", "max_wall_hours", "max_epochs", "devices", "device_memory_gib"):
        assert lines == []
    else:
        assert [line.partition(":")[0] for line in lines] == [f"{section}.{field}"]


def test_fields_of_mup_are_named_when_they_differ():
    base = {"parametrization": "mup", "base_width": 16}
    one = from_dict({"model": base}).to_dict()
    for field, value in (("base_width", 8), ("base_layers", 2)):
        (line,) = differences(one, from_dict({"model": {**base, field: value}}).to_dict())
        assert line.partition(":")[0] == f"model.{field}"
    lines = differences(SweepConfig().to_dict(), one)
    assert [line.partition(":")[0] for line in lines] == ["model.base_width", "model.parametrization"]


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


@pytest.mark.parametrize(
    ("model", "sweep", "words"),
    [
        (
            {"name": "lstm", "head_dim": 8},
            {},
            "head_dim: has no meaning in lstm - got 8; allowed: its default, 4",
        ),
        ({"name": "moe", "experts": 2, "experts_per_token": 3}, {}, "experts_per_token: more than there are experts"),
        ({"name": "moe"}, {"experts": [2, 4], "experts_per_token": [4]}, "allowed: at most model.experts = 2"),
        ({"positions": "rotary", "width": 9, "head_dim": 3}, {}, "model.head_dim: odd, and rotary"),
        ({"experts": 2}, {}, "model.experts: not an option of transformer"),
        ({"name": "lstm"}, {"mlp": ["relu"]}, "sweep.mlp: cannot be swept"),
        ({"name": "moe"}, {"experts": ["width / 4"]}, "sweep.experts: not a valid value"),
    ],
)
def test_what_a_model_cannot_be_is_a_problem(model, sweep, words):
    with pytest.raises(ConfigError) as raised:
        from_dict({"model": model, "sweep": sweep})
    assert words in str(raised.value)


def test_options_of_the_transformer_stand_in_a_config_where_they_are_chosen():
    """A sweep that began before there were any is the same sweep, with the same fingerprint."""
    assert set(SweepConfig().to_dict()["model"]).isdisjoint(("name", "norm", "mlp", "positions", "bias", "qk_norm"))
    chosen = from_dict({"model": {"norm": "rms", "bias": False}})
    assert from_dict(chosen.to_dict()) == chosen
    assert chosen.to_dict()["model"]["bias"] is False
    lines = differences(SweepConfig().to_dict(), chosen.to_dict())
    assert lines[1] == "model.norm: the work directory has 'layer', the config has 'rms'"


def test_a_switch_or_a_word_that_nobody_set_does_not_trouble_another_model():
    config = ConfigDict(default_dict())
    config.model.name = "lstm"
    assert from_dict(config).model.residual
    config.model.bias = False
    with pytest.raises(ConfigError, match=r"model\.bias: not an option of lstm"):
        from_dict(config)


def test_memory_that_a_device_reports_leaves_old_configs_as_they_were():
    named = from_dict({"train": {"device_memory_gib": 12.0}})
    assert "device_memory_gib" not in SweepConfig().to_dict()["train"]
    assert named.to_dict()["train"]["device_memory_gib"] == 12.0
    assert fingerprint(named, "data") == fingerprint(SweepConfig(), "data")
