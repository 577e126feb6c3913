"""What holds for every optimizer, built in or a user's own: one contract."""

import functools
import sys

import jax
import numpy as np
import optax
import pytest

from tests.vsweep import small
from vsweep.analysis.data import loading
from vsweep.config import fields
from vsweep.config.problems import ConfigError
from vsweep.config.sweep_config import class_of, from_dict
from vsweep.models.params import ParamSpec, Role
from vsweep.optim import built_in, by_name
from vsweep.plan import cost
from vsweep.schema import RUN_COLUMNS
from vsweep.tables import read_runs
from vsweep.train import train_step
from vsweep.train.stack import hyper_of

OWN = '''
import optax

def rms(learning_rate, *, decay=0.9, offset=1e-8, centred=False):
    """RMSProp; no weight decay of its own."""
    return optax.rmsprop(learning_rate, decay=decay, eps=offset, centered=centred)

def wrong_shape(learning_rate, *, size=0.5):
    return optax.stateless(lambda updates, params: {})

def fails(learning_rate, *, decay=0.9):
    return optax.sgd(learning_rate) if decay > 0.5 else None

def needs_more(learning_rate, decay):
    return optax.sgd(learning_rate)

number = 3
'''
AXES = {  # an axis of each optimizer, with values that differ
    "adamw": {"beta2": [0.9, 0.99]},
    "adam": {"beta1": [0.5, 0.9]},
    "sgd": {"momentum": [0.0, 0.9]},
    "lion": {"beta1": [0.5, 0.9]},
    "muon": {"momentum": [0.5, 0.9]},
    "adafactor": {"decay_rate": [0.5, 0.9]},
    "own_optimizers:rms": {"decay": [0.5, 0.9]},
}
STEPS = 12


@pytest.fixture(scope="module", autouse=True)
def own_optimizers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_optimizers.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder
    sys.modules.pop("own_optimizers", None)


def config_of(name: str) -> dict:
    lr = {"sgd": 0.1, "lion": 1e-3}.get(name, 5e-3)
    optimizer = {"name": name, "lr": lr, "weight_decay": 0.01}
    return small.config(optimizer=optimizer, sweep={"budget": [1400], "seed": [0, 1], **AXES[name]})


# adamw is in test_stack.py. The two that differ most from it are tried always, the others when slow.
MARKS = {name: () if name in ("lion", "muon") else pytest.mark.slow for name in AXES if name != "adamw"}


@pytest.fixture(scope="module", params=[pytest.param(name, marks=marks) for name, marks in MARKS.items()])
def bench(request, mesh, users_compiler):
    return small.Bench(config_of(request.param), 4, mesh)


def after(bench, runs: dict, steps: int = STEPS):
    bench.state, bench.runs, bench.step = bench.programs.empty_state(), [None] * bench.slots, 0
    bench.enter(runs)
    bench.train(steps)
    return bench.slot(1)


def test_every_optimizer_keeps_the_contract(bench):
    runs = bench.sweep.stacks[0].runs
    assert len(runs) == 4
    stacked = after(bench, dict(enumerate(runs)))
    recipe = small.recipe(config_of(bench.sweep.config.optimizer.name))
    losses, alone = plain_loop(recipe, bench, runs[1])
    assert losses[-1] < losses[0]
    assert float(stacked.train_loss) == pytest.approx(losses[-1], abs=1e-5)
    assert small.largest_difference(stacked.params, alone.params) < 1e-4

    wild = {0: small.with_fields(runs[3], lr=1e9), 1: runs[1]}
    assert small.same_bits(stacked, after(bench, wild)), "a neighbour changed a bit"
    assert not small.same_bits(stacked.params, bench.slot(0).params)

    settings = [bench.slot(slot) for slot in (1,)] + [after(bench, {1: run}) for run in runs if run is not runs[1]]
    assert len({float(state.train_loss) for state in settings}) == 4, "an axis changes nothing"


def plain_loop(recipe, bench, run):
    step = jax.jit(functools.partial(train_step.train_step, recipe))
    state = train_step.init_run(recipe, jax.tree.map(lambda column: column[0], hyper_of([run])))
    losses = []
    for index in range(STEPS):
        seen = small.examples_of(run, bench.task, index * bench.batch_size, bench.batch_size)
        state = step(state, bench.task.train_tokens_NxS[seen])
        losses.append(float(state.train_loss))
    return losses, jax.device_get(state)


def test_a_frozen_slot_stays_bit_equal(bench):
    run = small.with_fields(bench.sweep.stacks[0].runs[1], steps=5)
    frozen = after(bench, {1: run}, 5)
    bench.train(5)
    assert small.same_bits(frozen, bench.slot(1))
    assert int(frozen.step) == 5


@pytest.mark.parametrize("name", AXES)
def test_the_memory_of_a_state_is_counted(name):
    planned = small.sweep(config_of(name))
    stack, recipe = planned.stacks[0], small.recipe(config_of(name))
    state = jax.eval_shape(
        functools.partial(train_step.init_run, recipe), jax.tree.map(lambda c: c[0], hyper_of([stack.runs[0]]))
    )
    kept = sum(leaf.size for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim)
    assert cost.moments(stack.shape, planned.task, planned.config) == kept


def test_less_state_is_less_memory():
    sizes = {name: small.sweep(config_of(name)).estimates[0].memory_bytes for name in ("adamw", "sgd", "muon")}
    assert sizes["sgd"] < sizes["muon"] < sizes["adamw"]


@pytest.mark.parametrize("name", fields.OPTIMIZERS[1:])
def test_options_of_the_table_are_those_of_the_function(name):
    options = by_name.options_of(class_of("optimizer", fields.of_section("optimizer", name).values())(name=name))
    specs = {"a": ParamSpec((3, 2), Role.HIDDEN), "b": ParamSpec((3,), Role.BIAS)}
    optimizer = by_name.build(name, specs, options, lr=0.1, weight_decay=0.0, clip=1.0)
    params = {"a": np.ones((3, 2), np.float32), "b": np.ones(3, np.float32)}
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    assert all((updates[part] < 0).all() for part in params)


def test_muon_makes_matrices_orthogonal_and_leaves_the_rest_to_adamw():
    specs = {"a": ParamSpec((6, 4), Role.HIDDEN), "e": ParamSpec((6, 4), Role.EMBEDDING)}
    params = {name: np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32) for name in specs}
    options = {"momentum": 0.9, "nesterov": False, "newton_schulz_steps": 12, "beta1": 0.9, "beta2": 0.99}
    optimizer = built_in.muon(1.0, 0.0, specs=specs, epsilon=1e-8, **options)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    sizes = np.linalg.svd(updates["a"], compute_uv=False) / (0.2 * 6**0.5)
    assert np.all((sizes > 0.6) & (sizes < 1.3))
    adamw = optax.adamw(1.0, b1=0.9, b2=0.99, weight_decay=0.0)
    expected, _ = adamw.update({"e": params["e"]}, adamw.init({"e": params["e"]}), {"e": params["e"]})
    assert np.allclose(updates["e"], expected["e"], atol=1e-6)


def test_a_users_optimizer_without_decay_gets_a_decoupled_one():
    specs, params = {"a": ParamSpec((3,), Role.BIAS)}, {"a": np.ones(3, np.float32)}
    decayed = by_name.build("optax:sgd", specs, {}, lr=0.5, weight_decay=0.1, clip=1.0)
    zeros = {"a": np.zeros(3, np.float32)}
    updates, _ = decayed.update(zeros, decayed.init(params), params)
    assert np.allclose(updates["a"], -0.05)


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        ({"name": "no_such_module:make"}, ["optimizer.name: cannot import no_such_module", "PYTHONPATH"]),
        ({"name": "own_optimizers:rmz"}, ["own_optimizers has no rmz", "did you mean rms?"]),
        ({"name": "own_optimizers:number"}, ["cannot be called"]),
        ({"name": "own_optimizers:needs_more"}, ["the argument decay", "has no default"]),
        ({"name": "own_optimizers:rms", "decai": 0.5}, ["optimizer.decai", "did you mean decay?"]),
        ({"name": "own_optimizers:rms", "decay": "much"}, ["optimizer.decay", "a finite number"]),
        ({"name": "own_optimizers:rms", "beta1": 0.5}, ["optimizer.beta1: not an option of own_optimizers:rms"]),
    ],
)
def test_a_wrong_optimizer_of_ones_own_is_a_problem(optimizer, words):
    with pytest.raises(ConfigError) as caught:
        from_dict({"optimizer": optimizer, "model": {"layers": 0}})
    assert "model.layers" in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize("name", ["wrong_shape", "fails"])
def test_an_optimizer_that_fails_is_a_problem_of_the_plan(name):
    with pytest.raises(ConfigError, match=f"own_optimizers:{name} (cannot be traced|gives updates)"):
        small.sweep(small.config(optimizer={"name": f"own_optimizers:{name}"}))


def test_a_swept_option_has_a_column_and_a_part_in_the_run_id(tmp_path):
    values = config_of("own_optimizers:rms")
    values["model"]["width"] = 4
    small.train(values, tmp_path / "sweep")
    runs = read_runs(tmp_path / "sweep")
    assert list(runs.columns) == [*RUN_COLUMNS, "decay"]
    assert set(runs["decay"]) == {0.5, 0.9}
    assert "d1.4k-s0-decay_0.5" in set(runs["run_id"])
    assert loading.load(tmp_path / "sweep").settings[-1] == "decay"
    assert resumed(values, tmp_path / "cut") == (tmp_path / "sweep" / "curves.csv").read_bytes()

    (tmp_path / "sweep" / "config.json").rename(tmp_path / "config.json")
    assert "decay" not in loading.load(tmp_path / "sweep").settings


def resumed(values: dict, workdir) -> bytes:
    """curves.csv of a sweep that was stopped in the middle and continued."""
    small.train(values, workdir, progress=small.StopAfter(2))
    assert set(read_runs(workdir)["status"]) != {"finished"}
    small.train(values, workdir)
    return (workdir / "curves.csv").read_bytes()
