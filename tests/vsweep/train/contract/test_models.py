"""What holds for every built-in model in a stack: one contract. The transformer's defaults are in test_stack.py."""

import jax
import numpy as np
import pytest

from tests.vsweep import small
from vsweep.models import accounting
from vsweep.plan import cost
from vsweep.schema import RUN_COLUMNS
from vsweep.tables import read_runs

pytestmark = pytest.mark.usefixtures("users_compiler")  # a bit may depend on what the compiler makes of it
STEPS = 12
# Those that differ most from it are tried always, the others when slow.
MARKS = {name: () if name in ("moe", "gru") else pytest.mark.slow for name in small.MODELS if name != "transformer"}
NAMES = [pytest.param(name, marks=marks) for name, marks in MARKS.items()]


def config_of(name: str, **train) -> dict:
    return small.model_config(name, sweep={"budget": [1400, 2800], "seed": [0, 1]}, train=train)


def after(bench, runs: dict, steps: int = STEPS):
    bench.state, bench.runs, bench.step = bench.programs.empty_state(), [None] * bench.slots, 0
    bench.enter(runs)
    bench.train(steps)
    return bench.slot(1)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_keeps_the_contract_of_a_stack(name, mesh):
    bench = small.Bench(config_of(name), 4, mesh)
    runs = bench.sweep.stacks[0].runs
    stacked = after(bench, dict(enumerate(runs)))
    losses, alone = small.plain_run(config_of(name), runs[1], STEPS)
    assert float(stacked.train_loss) == pytest.approx(losses[-1], abs=1e-5)
    assert small.largest_difference(stacked.params, alone.params) < 1e-4

    wild = {0: small.with_fields(runs[3], lr=1e9), 1: runs[1], 2: small.with_fields(runs[2], dropout=0.5)}
    assert small.same_bits(stacked, after(bench, wild)), "a neighbour changed a bit"
    assert small.same_bits(stacked, after(bench, {1: runs[1]})), "an empty slot changed a bit"

    frozen = after(bench, {1: small.with_fields(runs[1], steps=5)}, 5)
    bench.train(5)
    assert small.same_bits(frozen, bench.slot(1))


@pytest.mark.parametrize("name", NAMES)
def test_a_model_trains_in_bfloat16(name):
    values = config_of(name, precision="bfloat16", batch_size=32)
    run = small.stacks(values)[0].runs[-1]
    losses, state = small.plain_run(values, small.with_fields(run, steps=60, dropout=0.0), 60)
    assert losses[-1] < losses[0] - 0.2
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(state.params))


def test_options_of_a_model_are_swept_as_stacks_of_their_own(tmp_path):
    values = small.model_config("moe", model={"layers": 1}, sweep={"budget": [700], "seed": [0], "experts": [2, 3]})
    stacks = small.stacks(values)
    assert {stack.name for stack in stacks} == {"experts_2", "experts_3"}
    small.train(values, tmp_path)
    runs = read_runs(tmp_path)
    assert list(runs.columns) == [*RUN_COLUMNS, "experts", "params_active", "flops_6nd_active"]
    assert set(runs["run_id"]) == {"d700-s0-experts_2", "d700-s0-experts_3"}
    for row in runs.itertuples():
        stack = next(stack for stack in stacks if stack.name == row.stack)
        shape = cost.model_shape(stack.shape, small.sweep(values).task)
        assert (row.params, row.params_active) == (accounting.params(shape), accounting.params_active(shape))
        assert row.flops_6nd_active == 6 * row.params_active * row.tokens
    assert np.all((runs["params_active"] < runs["params"]) == (runs["experts"] > 2))
    assert runs["val_loss"].nunique() == 2
