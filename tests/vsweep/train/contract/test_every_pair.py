"""Every built-in model with every built-in optimizer: one contract.

The whole product is slow. Always tried are each model with adamw and each optimizer with the transformer, where no
other test does: lifted as a stack lifts them, with one program each.
"""

import functools
import itertools

import jax
import numpy as np
import pytest

from tests.vsweep import small
from vsweep.config import fields
from vsweep.models import accounting
from vsweep.optim import by_name
from vsweep.plan import cost
from vsweep.tables import read_runs
from vsweep.train import train_step
from vsweep.train.stack import hyper_of
from vsweep.train.train_step import NEVER

LR = {"sgd": 0.1, "lion": 1e-3}
PAIRS = list(itertools.product(fields.MODELS, fields.OPTIMIZERS))
ELSEWHERE = ("moe", "gru", "lion", "muon")  # in test_models.py and tests/vsweep/optim
THIN = [
    (model, optimizer)
    for model, optimizer in PAIRS
    if (model == "transformer") != (optimizer == "adamw") and {model, optimizer}.isdisjoint(ELSEWHERE)
]
STEPS, PLACE = 60, 1
pytestmark = pytest.mark.usefixtures("users_compiler")  # a bit may depend on what the compiler makes of it


def config_of(model: str, optimizer: str, **train) -> dict:
    return small.model_config(
        model,
        model={"width": 4, "layers": 1},
        optimizer={"name": optimizer, "lr": LR.get(optimizer, 5e-3), "weight_decay": 0.01},
        sweep={"budget": [3500, 7000], "seed": [0, 1]},
        train={"batch_size": 8, **train},
    )


@pytest.mark.parametrize(("model", "optimizer"), THIN)
def test_a_neighbour_changes_nothing_and_divergence_stays_its_own(model, optimizer, users_compiler):
    values = config_of(model, optimizer)
    recipe, planned = small.recipe(values), small.sweep(values)
    runs = planned.stacks[0].runs
    init = jax.jit(jax.vmap(functools.partial(train_step.init_run, recipe)))
    step = jax.jit(jax.vmap(functools.partial(train_step.train_step, recipe)), compiler_options=users_compiler)

    def after(neighbour, mine, steps: int):
        state, started = init(hyper_of([neighbour, mine])), None
        for index in range(steps):
            seen = [small.examples_of(run, planned.task, 8 * index, 8) for run in (neighbour, mine)]
            state = step(state, planned.task.train_tokens_NxS[np.stack(seen)])
            started = float(state.train_loss[1]) if started is None else started
        return started, jax.device_get(state)

    first, calm = after(runs[0], runs[3], 12)
    _, beside_a_wild_one = after(small.with_fields(runs[2], lr=1e9), runs[3], 12)
    _, frozen = after(runs[2], small.with_fields(runs[3], steps=5), 12)
    _, short = after(runs[2], small.with_fields(runs[3], steps=5), 5)
    assert calm.train_loss[1] < first
    assert small.same_bits(row(calm, 1), row(beside_a_wild_one, 1))
    assert small.same_bits(row(frozen, 1), row(short, 1))
    assert int(calm.diverged_at_step[1]) == NEVER
    poisoned = jax.tree.map(lambda leaf: np.stack([np.full_like(leaf[0], np.nan), leaf[1]]), calm.params)
    seen = np.stack([small.examples_of(run, planned.task, 96, 8) for run in (runs[0], runs[3])])
    latched = step(calm._replace(params=poisoned), planned.task.train_tokens_NxS[seen])
    assert latched.diverged_at_step.tolist() == [12, NEVER]


def row(state, index: int):
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], state)


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def pair(request):
    return request.param


@pytest.fixture(scope="module")
def bench(pair, mesh):
    return small.Bench(config_of(*pair), 4, mesh)


def after(bench, runs: dict, steps: int = STEPS):
    bench.state, bench.runs, bench.step = bench.programs.empty_state(), [None] * bench.slots, 0
    bench.enter(runs)
    bench.train(steps)
    return bench.slot(PLACE)


@pytest.mark.slow
def test_a_run_in_a_stack_equals_itself_alone(pair, bench):
    runs = bench.sweep.stacks[0].runs
    losses, alone = small.plain_run(config_of(*pair), runs[PLACE], STEPS)
    after(bench, dict(enumerate(runs)), 1)
    assert float(bench.slot(PLACE).train_loss) == pytest.approx(losses[0], abs=1e-5)
    bench.train(STEPS - 1)
    stacked = bench.slot(PLACE)
    assert losses[-1] < losses[0]
    assert float(stacked.train_loss) == pytest.approx(losses[-1], abs=1e-5)
    assert small.largest_difference(stacked.params, alone.params) < 1e-3


@pytest.mark.slow
def test_neighbours_change_not_one_bit(bench):
    runs = bench.sweep.stacks[0].runs
    calm = after(bench, dict(enumerate(runs)))
    wild = {0: small.with_fields(runs[3], lr=1e9), PLACE: runs[PLACE], 2: small.with_fields(runs[2], dropout=0.5)}
    assert small.same_bits(calm, after(bench, wild)), "a neighbour changed a bit"
    assert small.same_bits(calm, after(bench, {PLACE: runs[PLACE]})), "an empty slot changed a bit"
    assert not small.same_bits(calm, after(bench, {PLACE: small.with_fields(runs[PLACE], data_seed=7)}))


@pytest.mark.slow
def test_a_frozen_slot_stays_bit_equal(bench):
    runs = bench.sweep.stacks[0].runs
    frozen = after(bench, {**dict(enumerate(runs)), PLACE: small.with_fields(runs[PLACE], steps=5)}, 5)
    bench.train(7)
    assert small.same_bits(frozen, bench.slot(PLACE))
    assert int(bench.slot(0).step) == 12


@pytest.mark.slow
def test_divergence_is_latched_in_its_own_slot(bench):
    runs = bench.sweep.stacks[0].runs
    after(bench, dict(enumerate(runs)), 5)
    bench.poison(PLACE)
    bench.train(5)
    ended = bench.slot(PLACE)
    bench.train(5)
    assert small.same_bits(ended, bench.slot(PLACE))
    assert jax.device_get(bench.state.diverged_at_step).tolist() == [NEVER, 5, NEVER, NEVER]


@pytest.mark.slow
def test_counts_are_those_of_the_arrays(pair, bench):
    stack, planned = bench.sweep.stacks[0], bench.sweep
    shape = cost.model_shape(stack.shape, planned.task)
    state = after(bench, {PLACE: stack.runs[PLACE]}, 1)
    assert accounting.params(shape) == sum(leaf.size for leaf in jax.tree.leaves(state.params))
    kept = sum(leaf.size for leaf in jax.tree.leaves(state.opt_state) if np.ndim(leaf))
    assert cost.moments(stack.shape, planned.task, planned.config) == kept
    assert by_name.options_of(planned.config.optimizer) == dict(options_of_table(pair[1]))


def options_of_table(optimizer: str):
    for name, field in fields.of_section("optimizer", optimizer).items():
        if name not in by_name.CORE:
            yield name, field.default


@pytest.mark.slow
def test_it_trains_in_bfloat16(pair):
    values = config_of(*pair, precision="bfloat16", batch_size=32)
    run = small.stacks(values)[0].runs[-1]
    losses, state = small.plain_run(values, small.with_fields(run, steps=STEPS, dropout=0.0), STEPS)
    assert losses[-1] < losses[0] - 0.05
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(state.params))


@pytest.mark.slow
def test_it_resumes_bit_for_bit(pair, tmp_path):
    values = config_of(*pair)
    small.train(values, tmp_path / "whole")
    small.train(values, tmp_path / "cut", progress=small.StopAfter(2))
    assert set(read_runs(tmp_path / "cut")["status"]) != {"finished"}
    small.train(values, tmp_path / "cut")
    assert small.differing(tmp_path / "cut", tmp_path / "whole") == []
    assert set(read_runs(tmp_path / "whole")["status"]) == {"finished"}
