import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.vsweep import small
from vsweep.host import devices
from vsweep.train import train_step
from vsweep.train.stack import hyper_of
from vsweep.train.train_step import NEVER

pytestmark = pytest.mark.usefixtures("users_compiler")  # a bit may depend on what the compiler makes of it
STEPS = 60
CONFIG = small.config(
    model={"width": 8}, sweep={"budget": [3500, 7000, 14000], "seed": [0, 1, 2]}, train={"batch_size": 8}
)


@pytest.fixture(scope="module")
def runs():
    """Nine runs: three budgets (about 60, 121 and 241 steps) of three seeds."""
    return small.stacks(CONFIG)[0].runs


@pytest.fixture(scope="module")
def one_device():
    return devices.slots_mesh(1)


@pytest.fixture(scope="module")
def plain_run(runs):
    """What a plain loop over one model gives: the step unbatched, on its own, with losses after every step."""
    recipe, task = small.recipe(CONFIG), small.sweep(CONFIG).task
    step = jax.jit(functools.partial(train_step.train_step, recipe))
    run = runs[4]
    init = jax.jit(functools.partial(train_step.init_run, recipe))
    state = init(jax.tree.map(lambda column: column[0], hyper_of([run])))
    losses = []
    for index in range(STEPS):
        examples = small.examples_of(run, task, index * 8, 8)
        state = step(state, task.train_tokens_NxS[examples])
        losses.append(float(state.train_loss))
    return losses, jax.device_get(state)


@pytest.mark.parametrize(("slots", "one_by_one"), [(1, False), (2, False), (3, False), (8, True)])
def test_a_run_in_a_stack_equals_the_same_run_in_a_plain_loop(slots, one_by_one, runs, mesh, one_device, plain_run):
    losses, plain = plain_run
    bench = small.Bench(CONFIG, slots, mesh if slots % 2 == 0 else one_device, one_by_one=one_by_one)
    place = slots // 2
    neighbours = [run for run in runs if run is not runs[4]]
    bench.enter({slot: runs[4] if slot == place else neighbours[slot] for slot in range(slots)})
    for expected in losses[:2]:
        bench.train(1)
        assert float(bench.slot(place).train_loss) == pytest.approx(expected, abs=1e-5)
    bench.train(STEPS - 2)
    stacked = bench.slot(place)
    assert float(stacked.train_loss) == pytest.approx(losses[-1], abs=1e-5)
    assert small.largest_difference(stacked.params, plain.params) < 1e-4
    assert int(stacked.step) == int(plain.step) == STEPS


@pytest.fixture(scope="module")
def bench(mesh):
    """One stack of four slots; each test enters its own runs, which replaces whatever was there."""
    return small.Bench(CONFIG, 4, mesh)


def after(bench, runs: dict, steps: int, slot: int, poisoned: int | None = None):
    bench.state, bench.runs, bench.step = bench.programs.empty_state(), [None] * bench.slots, 0
    bench.enter(runs)
    if poisoned is not None:
        bench.poison(poisoned)
    bench.train(steps)
    return bench.slot(slot)


def test_neighbours_change_not_one_bit(bench, runs):
    """Other data, seeds, budgets, hyperparameters and divergence beside a run, and empty slots."""
    me = runs[4]
    calm = after(bench, {0: runs[0], 1: me, 2: runs[8], 3: runs[2]}, 40, slot=1)
    wild = {0: small.with_fields(runs[7], lr=1e9), 1: me, 2: small.with_fields(runs[1], dropout=0.5, clip=0.01)}
    assert small.same_bits(calm, after(bench, wild, 40, slot=1))
    assert small.same_bits(calm, after(bench, {1: me}, 40, slot=1))
    assert small.same_bits(calm, after(bench, {**wild, 3: runs[2]}, 40, slot=1, poisoned=0))
    assert not small.same_bits(calm, after(bench, {1: small.with_fields(me, data_seed=7)}, 40, slot=1))


def test_its_place_in_the_stack_changes_not_one_bit(bench, runs):
    assert small.same_bits(after(bench, {1: runs[4]}, 30, slot=1), after(bench, {0: runs[1], 2: runs[4]}, 30, slot=2))


@pytest.mark.parametrize("slot", [0, 1, 2, 3])
def test_divergence_in_any_slot_is_marked_there_and_nowhere_else(bench, runs, slot):
    quartet = dict(enumerate(runs[3:7]))
    after(bench, {**quartet, slot: small.with_fields(runs[0], lr=1e9)}, 20, slot=slot)
    exploded = jax.device_get(bench.state.diverged_at_step)
    after(bench, quartet, 20, slot=slot, poisoned=slot)
    poisoned = jax.device_get(bench.state.diverged_at_step)
    for marks in (exploded, poisoned):
        assert marks[slot] != NEVER
        assert np.all(np.delete(marks, slot) == NEVER)


def spoil(state, part: str, slot: int, value: float):
    """A state on the host with `value` in every number of a part of one slot."""

    def spoilt(tree):
        return jax.tree.map(lambda leaf: with_value(leaf, slot, value), tree)

    if part == "params":
        return state._replace(params=spoilt(state.params))
    moments = {"first moments": "mu", "second moments": "nu"}[part]

    def in_adam(node):
        return node._replace(**{moments: spoilt(getattr(node, moments))}) if hasattr(node, moments) else node

    return state._replace(opt_state=jax.tree.map(in_adam, state.opt_state, is_leaf=lambda node: hasattr(node, moments)))


def with_value(leaf, slot: int, value: float):
    changed = np.array(leaf)
    changed[slot] = value
    return changed


@pytest.mark.parametrize("slot", [0, 1, 2, 3])
@pytest.mark.parametrize("part", ["params", "first moments", "second moments"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_in_one_slot_ends_that_run_and_touches_no_other(bench, runs, slot, part, value):
    quartet = dict(enumerate(runs[3:7]))
    after(bench, quartet, 5, slot=slot)
    before = jax.tree.map(np.array, bench.state)
    bench.train(10)
    calm = [bench.slot(place) for place in range(4)]
    bench.step, bench.state = 5, jax.device_put(spoil(before, part, slot, value), devices.over_slots(bench.mesh))
    bench.train(10)
    for place in set(range(4)) - {slot}:
        assert small.same_bits(bench.slot(place), calm[place])
        assert bench.slot(place).diverged_at_step == NEVER
    evaluation = bench.evaluate([True] * 4)
    assert evaluation.sound_K.tolist() == [place != slot for place in range(4)]
    if (part, value) != ("second moments", np.inf):
        assert bench.slot(slot).diverged_at_step in (5, 6)
        assert np.isfinite(bench.slot(slot).train_loss)


@pytest.fixture(scope="module")
def bench_with_harmed_gradients(mesh):
    """Its gradients are whole, but not those of runs with a certain dropout seed: HARMS says what they are times."""

    @jax.custom_vjp
    def harmed(params, factor):
        return params

    harmed.defvjp(
        lambda params, factor: (params, factor),
        lambda factor, grads: (jax.tree.map(lambda leaf: leaf * factor, grads), None),
    )
    whole = train_step._training_loss

    def loss(recipe, params, state, tokens):
        factor = jnp.float32(1.0)
        for seed, value in HARMS.items():
            factor = jnp.where(state.hyper.dropout_seed == seed, value, factor)
        return whole(recipe, harmed(params, factor), state, tokens)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(train_step, "_training_loss", loss)
        return small.Bench(CONFIG, 4, mesh)


HARMS = {1001: np.nan, 1002: np.inf, 1003: 1e30}


@pytest.mark.parametrize("slot", [0, 1, 2, 3])
@pytest.mark.parametrize("seed", HARMS)
def test_a_gradient_that_is_not_finite_ends_that_run_before_its_update_and_touches_no_other(
    bench_with_harmed_gradients, runs, slot, seed
):
    """The loss of that step is finite: it is the gradient that is seen."""
    bench, quartet = bench_with_harmed_gradients, dict(enumerate(runs[3:7]))
    after(bench, quartet, 10, slot=slot)
    calm = [bench.slot(place) for place in range(4)]
    after(bench, {**quartet, slot: small.with_fields(runs[0], dropout_seed=seed)}, 10, slot=slot)
    for place in set(range(4)) - {slot}:
        assert small.same_bits(bench.slot(place), calm[place])
    ended = bench.slot(slot)
    assert (ended.diverged_at_step, ended.step) == (0, 0)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((ended.params, ended.opt_state)))


def test_a_frozen_slot_does_not_change_by_one_bit_while_others_go_on(bench, runs):
    short, long = small.with_fields(runs[0], steps=10), runs[8]
    after(bench, {0: short, 3: long}, 10, slot=0)
    at_horizon, under_way = bench.slot(0), bench.slot(3)
    bench.train(30)
    assert small.same_bits(bench.slot(0), at_horizon)
    assert not small.same_bits(bench.slot(3).params, under_way.params)


def test_a_run_that_enters_a_freed_slot_equals_the_same_run_started_at_step_0(bench, runs):
    first, second = small.with_fields(runs[0], steps=15), runs[4]
    from_start = after(bench, {2: second}, 40, slot=2)
    after(bench, {2: first, 0: runs[8]}, 15, slot=2)
    bench.enter({2: second})
    bench.train(40)
    assert small.same_bits(bench.slot(2), from_start)
    assert int(bench.slot(0).step) == 55


def test_evaluation_measures_the_slots_that_are_due_and_skips_the_others(bench, runs):
    after(bench, {0: runs[0], 1: runs[4]}, 5, slot=0)
    evaluation = bench.evaluate([False, True, False, False])
    recipe, (tokens, answer) = small.recipe(CONFIG), bench.held_out
    evaluate = jax.jit(functools.partial(train_step.evaluate, recipe))
    expected = evaluate(bench.slot(1).params, tokens[:32], answer[:32])
    assert np.allclose(evaluation.losses.loss_N[1], expected.loss_N, rtol=1e-5)
    assert np.all(np.delete(evaluation.losses.loss_N, 1, axis=0) == 0)


def test_two_devices_need_no_collective(bench):
    programs = [bench.programs.train_chunk, bench.programs.evaluate, bench.programs.enter]
    for program in programs:
        text = program.as_text()
        assert "num_partitions=2" in text
        for collective in ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter"):
            assert collective not in text


def test_two_devices_with_all_slots_at_once_give_what_one_gives_slot_by_slot(bench, runs, one_device):
    quartet = dict(enumerate(runs[2:6]))
    two = after(bench, quartet, 20, slot=3)
    alone = small.Bench(CONFIG, 4, one_device, one_by_one=True)
    one = after(alone, quartet, 20, slot=3)
    assert float(two.train_loss) == pytest.approx(float(one.train_loss), abs=1e-5)
    assert small.largest_difference(two.params, one.params) < 1e-4
    whole, in_pieces = (stack.evaluate([False, False, False, True]).losses for stack in (bench, alone))
    assert np.allclose(whole.loss_N[3], in_pieces.loss_N[3], atol=1e-3)
    assert np.all(in_pieces.loss_N[3] > 0)
