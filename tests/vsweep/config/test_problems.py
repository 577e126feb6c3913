"""What a config may hold that cannot be trained: each fault is one problem, named with all others at once."""

import contextlib
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vsweep import small
from vsweep.config import fields
from vsweep.config.fields import AXES
from vsweep.config.problems import ConfigError, Problem
from vsweep.config.sweep_config import from_dict
from vsweep.host.hardware import Hardware
from vsweep.plan.sweep_plan import build_plan
from vsweep.session import preflight
from vsweep.tasks import build
from vsweep.train.stack import hyper_of

FORM = re.compile(r"[\w.]+: .+ - got .+; allowed: [^;]+(; did you mean [\w.,]+\?)?")

# Values of an axis that are different, and one and the same run.
TWICE = {
    "lr": "(0.001, 0.00100000000001), to the programs (0.0010000000474974513, 0.0010000000474974513)",
    "dropout": "(0.15, 0.149), to the programs (0.1484375, 0.1484375)",
}

# (what is changed in a good config, the field that must be named, what was got, the word that must be suggested)
CONFIGS = [
    ({"modle": {}}, "modle", "{}", "model"),
    ({"model": {"widht": 4}}, "model.widht", "4", "width"),
    ({"optimizer": {"learning_rate": 1e-3}}, "optimizer.learning_rate", "0.001", None),
    ({"sweep": {"widht": [4]}}, "sweep.widht", "[4]", "width"),
    ({"sweep": {"digits": [2]}}, "sweep.digits", "[2]", None),
    ({"sweep": {"momentum": [0.5]}}, "sweep.momentum", "[0.5]", None),
    ({"optimizer": {"momentum": 0.5}}, "optimizer.momentum", "0.5", None),
    ({"optimizer": {"name": "sgd", "beta1": 0.5}}, "optimizer.beta1", "0.5", None),
    ({"optimizer": {"name": "sgd", "momentun": 0.5}}, "optimizer.momentun", "0.5", "momentum"),
    ({"optimizer": {"name": "sgd", "momentum": 1.5}}, "optimizer.momentum", "1.5", None),
    ({"optimizer": {"name": "sgd:"}}, "optimizer.name", "'sgd:'", "sgd"),
    ({"sweep": {"width": ["range(4,20,4)"]}}, "sweep.width", "'range(4,20,4)'", "4,8,12,16"),
    ({"sweep": {"width": ["range(4,4)"]}}, "sweep.width", "'range(4,4)'", None),
    ({"sweep": {"width": ["range(0)x"]}}, "sweep.width", "'range(0)x'", None),
    ({"lr": 0.1}, "lr", "0.1", "optimizer.lr"),
    ({"train": {"clip": 1.0}}, "train.clip", "1.0", "optimizer.clip"),
    ({"model": 3}, "model", "3", None),
    ({"sweep": 3}, "sweep", "3", None),
    ({"model": {"width": True}}, "model.width", "True", None),
    ({"model": {"width": 8.5}}, "model.width", "8.5", None),
    ({"model": {"width": "16"}}, "model.width", "'16'", None),
    ({"model": {"width": None}}, "model.width", "None", None),
    ({"model": {"layers": 0}}, "model.layers", "0", None),
    ({"model": {"layers": -2}}, "model.layers", "-2", None),
    ({"model": {"tied_embeddings": 1}}, "model.tied_embeddings", "1", None),
    ({"model": {"dropout": 1.0}}, "model.dropout", "1.0", None),
    ({"model": {"dropout": -0.1}}, "model.dropout", "-0.1", None),
    ({"model": {"width": 10}}, "model.head_dim", "head_dim 4 at width 10", None),
    ({"sweep": {"width": [4, 6]}}, "model.head_dim", "head_dim 4 at width 6", None),
    ({"sweep": {"head_dim": [2, 3]}}, "model.head_dim", "head_dim 3 at width 4", None),
    ({"model": {"width": 4_000_000}}, "model.width", "width 4000000, layers 1, batch_size 8", None),
    ({"optimizer": {"lr": 0}}, "optimizer.lr", "0", None),
    ({"optimizer": {"lr": -1e-3}}, "optimizer.lr", "-0.001", None),
    ({"optimizer": {"lr": math.nan}}, "optimizer.lr", "nan", None),
    ({"optimizer": {"lr": math.inf}}, "optimizer.lr", "inf", None),
    ({"optimizer": {"lr": "5e-3"}}, "optimizer.lr", "'5e-3'", None),
    ({"optimizer": {"lr": True}}, "optimizer.lr", "True", None),
    ({"sweep": {"lr": [1e-3, math.nan]}}, "sweep.lr", "nan", None),
    ({"optimizer": {"clip": math.inf}}, "optimizer.clip", "inf", None),
    ({"optimizer": {"clip": -1.0}}, "optimizer.clip", "-1.0", None),
    ({"optimizer": {"clip": math.nan}}, "optimizer.clip", "nan", None),
    ({"optimizer": {"beta2": 1.0}}, "optimizer.beta2", "1.0", None),
    ({"optimizer": {"final_lr_fraction": 1.5}}, "optimizer.final_lr_fraction", "1.5", None),
    ({"optimizer": {"cooldown_fraction": 0}}, "optimizer.cooldown_fraction", "0", None),
    ({"optimizer": {"cooldown_fraction": 1.01}}, "optimizer.cooldown_fraction", "1.01", None),
    ({"optimizer": {"warmup_steps": 12}}, "warmup_steps", "12", None),
    ({"train": {"share_trunks": 1}}, "train.share_trunks", "1", None),
    ({"optimizer": {"name": "adamm"}}, "optimizer.name", "'adamm'", "adam"),
    ({"optimizer": {"schedule": "cosin"}}, "optimizer.schedule", "'cosin'", "cosine"),
    ({"sweep": {"schedule": ["cosine", "lin"]}}, "sweep.schedule", "'lin'", "linear"),
    ({"task": {"name": "additon"}}, "task.name", "'additon'", "addition"),
    ({"task": {"digits": 5}}, "task.digits", "5", None),
    ({"task": {"validation_examples": 5050}}, "task.validation_examples", "5050", None),
    ({"task": {"validation_examples": 10**6}}, "task.validation_examples", "1000000", None),
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
    ({"train": {"devices": 99}}, "train.devices", "99", None),
    ({"train": {"chunk_steps": 10**9}}, "train.chunk_steps", "1000000000", None),
    ({"train": {"checkpoint_minutes": 0}}, "train.checkpoint_minutes", "0", None),
    ({"train": {"checkpoint_minutes": math.inf}}, "train.checkpoint_minutes", "inf", None),
    ({"train": {"max_wall_hours": math.inf}}, "train.max_wall_hours", "inf", None),
    ({"train": {"max_wall_hours": math.nan}}, "train.max_wall_hours", "nan", None),
    ({"train": {"curve_points": 1}}, "train.curve_points", "1", None),
    ({"train": {"final_examples": 100}}, "train.final_examples", "100 and 32", None),
    ({"train": {"final_examples": 3200}}, "train.final_examples", "3200", None),
    ({"train": {"unique_examples": 10**6}}, "unique_examples", "1000000", None),
    ({"train": {"max_epochs": 0.03}}, "budget", "2,800, 0.0373 epochs of 9,009 examples", None),
    ({"sweep": {"width": [[]]}}, "sweep.width", "[]", None),
    ({"sweep": {"seed": [0, 1, 0]}}, "sweep.seed", "(0, 1, 0)", None),
    ({"sweep": {"lr": [1, 1.0]}}, "sweep.lr", "(1, 1.0)", None),
    ({"sweep": {"budget": [1e6, 1_000_000]}}, "sweep.budget", "(1000000.0, 1000000)", None),
    ({"sweep": {"budget": [math.inf]}}, "sweep.budget", "inf", None),
    ({"sweep": {"budget": [2_000_000, 1_000_000]}}, "sweep.budget", "(2000000, 1000000)", None),
    ({"sweep": {"budget": [0, 700]}}, "sweep.budget", "0", None),
    ({"sweep": {"budget": [-700, 700]}}, "sweep.budget", "-700", None),
    ({"sweep": {"budget": [20, 700]}}, "budget", "20", None),
    ({"sweep": {"seed": [0, 0.5]}}, "sweep.seed", "0.5", None),
    ({"sweep": {"seed": ["a"]}}, "sweep.seed", "'a'", None),
    ({"sweep": {"seed": "all"}}, "sweep.seed", "'all'", None),
    ({"sweep": {"seed": [False]}}, "sweep.seed", "False", None),
    ({"sweep": {"seed": [-1]}}, "sweep.seed", "-1", None),
    ({"sweep": {"dropout": [0.1, 1.0]}}, "sweep.dropout", "1.0", None),
    ({"optimizer": {"lr": 1e-46}}, "optimizer.lr", "1e-46, there 0.0", None),
    ({"optimizer": {"lr": 1e-40}}, "optimizer.lr", "1e-40, there 0.0", None),
    ({"optimizer": {"lr": 1e300}}, "optimizer.lr", "1e+300, there inf", None),
    ({"optimizer": {"lr": 10**39}}, "optimizer.lr", f"{10**39}, there inf", None),
    ({"optimizer": {"weight_decay": 1e300}}, "optimizer.weight_decay", "1e+300, there inf", None),
    ({"optimizer": {"weight_decay": -1e-46}}, "optimizer.weight_decay", "-1e-46", None),
    ({"optimizer": {"clip": 1e-46}}, "optimizer.clip", "1e-46, there 0.0", None),
    ({"optimizer": {"clip": 1e-40}}, "optimizer.clip", "1e-40, there 0.0", None),
    ({"optimizer": {"clip": 3.5e38}}, "optimizer.clip", "3.5e+38, there inf", None),
    ({"optimizer": {"beta1": 0.99999999}}, "optimizer.beta1", "0.99999999, there 1.0", None),
    ({"optimizer": {"beta2": 0.99999999}}, "optimizer.beta2", "0.99999999, there 1.0", None),
    ({"optimizer": {"epsilon": 1e-46}}, "optimizer.epsilon", "1e-46, there 0.0", None),
    ({"sweep": {"clip": [0, 1e-39]}}, "sweep.clip", "1e-39, there 0.0", None),
    ({"sweep": {"lr": [1e-3, 1.00000000001e-3]}}, "sweep.lr", TWICE["lr"], None),
    ({"sweep": {"weight_decay": [0, 1e-46]}}, "sweep.weight_decay", "(0, 1e-46), to the programs (0.0, 0.0)", None),
    ({"sweep": {"dropout": [0.15, 0.149]}}, "sweep.dropout", TWICE["dropout"], None),
    ({"name": "a/b"}, "name", "'a/b'", None),
    ({"name": "../up"}, "name", "'../up'", None),
    ({"name": "up..up"}, "name", "'up..up'", None),
    ({"name": ".hidden"}, "name", "'.hidden'", None),
    ({"name": "<b>"}, "name", "'<b>'", None),
    ({"name": "line\n"}, "name", "'line\\n'", None),
    ({"name": ""}, "name", "''", None),
    ({"name": 3}, "name", "3", None),
]


def changed(values: dict) -> dict:
    """A good config with these fields of its sections replaced, by anything."""
    good = small.config()
    merged = {
        section: {**good[section], **fields} if isinstance(fields, dict) and section in good else fields
        for section, fields in values.items()
    }
    return {**good, **merged}


@pytest.mark.parametrize(("values", "field", "got", "suggestion"), CONFIGS, ids=[f"{c[1]}={c[2]!r}" for c in CONFIGS])
def test_a_bad_value_is_one_problem_that_says_field_got_allowed_and_the_closest_name(
    values, field, got, suggestion, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with small.compilations() as compiled, pytest.raises(ConfigError) as caught:
        small.train(changed(values), None)
    (problem,) = caught.value.problems
    assert FORM.fullmatch(str(problem)), problem
    assert (problem.field, problem.got, problem.hint) == (field, got, suggestion or "")
    assert problem.allowed
    assert (small.tree(tmp_path), compiled) == ({}, [])


def test_a_budget_below_one_batch_says_to_how_many_steps_it_is_rounded():
    for budget, steps in ((20, "0 steps"), (60, "1 step")):
        with pytest.raises(ConfigError, match=f"budget: below one batch, rounded to {steps} - got {budget}; "):
            preflight.prepare(changed({"sweep": {"budget": [budget, 700]}}))


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(0, 64),
    st.floats(),
    st.sampled_from([0, -1, 1, 2**31 - 1, 2**31, 10**400, 1e308, 0.5, *fields.SCHEDULES, *fields.PRECISIONS]),
    st.text(max_size=8),
    st.lists(st.integers(-1, 9), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
FIELDS = [(field.section, field.name) for field in fields.FIELDS] + [(section, "junk") for section in fields.SECTIONS]
FIELDS += [("sweep", axis) for axis in AXES]
# These have to fit each other, so that one may be named for the other, and none where another is wrong by itself.
FITTING = {"width", "head_dim", "final_examples", "curve_examples", "validation_examples", "digits"}


def problems_of(values: dict) -> list[Problem]:
    problems: list[Problem] = []
    try:
        from_dict(values)
    except ConfigError as error:
        problems = error.problems
    assert all(FORM.fullmatch(str(problem)) for problem in problems), problems
    return problems


@settings(deadline=None, max_examples=250, derandomize=True)
@given(where=st.sampled_from(FIELDS), value=ANYTHING)
def test_any_value_of_any_field_is_taken_as_it_is_or_named(where, value):
    section, field = where
    values = changed({section: {field: value}})
    found = {problem.field for problem in problems_of(values)}
    if found:
        related = {name for name in found if name.rpartition(".")[2] in FITTING}
        assert f"{section}.{field}" in found or (field in FITTING and found == related)
    elif section != "sweep":
        text_number = field == "slots" and isinstance(value, str) and value.isdigit()
        assert getattr(getattr(from_dict(values), section), field) == (int(value) if text_number else value)


# What AdamW, clipping and dropout need of the numbers that the programs get, said of float32.
SOUND = {
    "lr": lambda held: 0 < held < np.inf,
    "weight_decay": lambda held: 0 <= held < np.inf,
    "clip": lambda held: 0 <= held < np.inf,
    "dropout": lambda held: 0 <= held < 1,
    "final_lr_fraction": lambda held: 0 <= held <= 1,
    "beta1": lambda held: 0 <= held < 1,
    "beta2": lambda held: 0 <= held < 1,
    "epsilon": lambda held: 0 < held < np.inf,
}
AT_THE_EDGES = st.one_of(
    st.floats(),
    st.floats(0, 1e-36),
    st.floats(1 - 2**-22, 1),
    st.floats(1e38, 1e39),
    st.sampled_from([0, 1, 2**-126, 2**-127, 2**-149, 2**-150, 1 - 2**-24, 1 - 2**-25, 1 - 2**-26]),
)


def flushed(value: float) -> np.float32:
    """`value` as XLA computes with it: float32, without subnormal numbers."""
    with np.errstate(over="ignore"):
        held = np.float32(value)
    return held if abs(held) >= np.finfo(np.float32).tiny else np.float32(0)


@settings(deadline=None, max_examples=400, derandomize=True)
@given(field=st.sampled_from(sorted(SOUND)), value=AT_THE_EDGES)
def test_a_number_that_is_taken_is_sound_in_float32_and_one_that_is_refused_is_not(field, value):
    section = "model" if field == "dropout" else "optimizer"
    problems = problems_of(changed({section: {field: value}}))
    sound = SOUND[field](np.float64(value)) and SOUND[field](flushed(value))
    turned_off = field == "clip" and flushed(value) == 0 != value
    assert bool(problems) == (not sound or turned_off or (field == "dropout" and value >= 0.99))


def test_no_clip_but_0_reaches_the_programs_as_no_clipping():
    sweep = {"clip": [0, 2**-126, 1e-30, 1.0, 3e38]}
    runs = small.stacks(small.config(sweep={**sweep, "budget": [700], "seed": [0]}))[0].runs
    assert np.isinf(hyper_of(runs).clip).tolist() == [True, False, False, False, False]


@settings(deadline=None, max_examples=150, derandomize=True)
@given(faults=st.dictionaries(st.sampled_from(FIELDS), ANYTHING, min_size=2, max_size=8))
def test_what_is_named_alone_is_named_among_others_too(faults):
    values: dict = {}
    for (section, field), value in faults.items():
        values.setdefault(section, {})[field] = value
    together = problems_of(changed(values))
    for (section, field), value in faults.items():
        alone = [p for p in problems_of(changed({section: {field: value}})) if p.field == f"{section}.{field}"]
        is_option = field in fields.of_section(section) and fields.of_section(section)[field].of
        judged = not is_option or (section, "name") not in faults
        assert set(alone) <= set(together) or field in FITTING or not judged


@settings(deadline=None, max_examples=150, derandomize=True)
@given(where=st.sampled_from([where for where in FIELDS if where[1] != "digits"]), value=ANYTHING)
def test_whatever_a_config_holds_there_is_a_plan_or_a_list_of_problems(where, value):
    section, field = where
    with contextlib.suppress(ConfigError):
        parsed = from_dict(changed({section: {field: value}}))
        sweep = build_plan(parsed, build(parsed.task), Hardware("cpu", 2, 2**33))
        assert sweep.runs >= 1
        assert all(math.isfinite(cost.train_s) for cost in sweep.estimates)
