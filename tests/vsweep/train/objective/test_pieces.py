"""A batch that a step takes piece by piece: what it learns is what it would learn of the whole, but for rounding."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vsweep
from tests.vsweep import small
from vsweep.config.problems import ConfigError
from vsweep.models.dropout import Dropout, Piece
from vsweep.plan.packing import StackPlan
from vsweep.storage.workdir import WorkDir
from vsweep.tables import read_runs
from vsweep.train import train_step
from vsweep.train.events import Compiling, Finished, Interrupted
from vsweep.train.stack import hyper_of

BATCH = 48
# So large a batch that the plan takes it in pieces even of a tiny model; 6 and 12 steps.
LARGE = small.config(
    train={"batch_size": 12_288, "chunk_steps": 2}, sweep={"budget": [400_000, 800_000], "seed": [0, 1]}
)


@functools.cache
def stepped(dropout: float, piece: int):
    """(loss, gradient) of the first step of a run: Adam's first moments are a tenth of its gradient."""
    values = small.config(model={"width": 8, "dropout": dropout}, train={"batch_size": BATCH}, optimizer={"clip": 0.0})
    recipe = dataclasses.replace(small.recipe(values), piece=piece)
    run, task = small.stacks(values)[0].runs[0], small.sweep(values).task
    state = jax.jit(functools.partial(train_step.init_run, recipe))(jax.tree.map(lambda each: each[0], hyper_of([run])))
    step = jax.jit(functools.partial(train_step.train_step, recipe))
    after = jax.device_get(step(state, task.train_tokens_NxS[small.examples_of(run, task, 0, BATCH)]))
    moments = [leaf for leaf in jax.tree.leaves(after.opt_state, is_leaf=_is_adam) if _is_adam(leaf)]
    return float(after.train_loss), jax.tree.map(lambda leaf: 10.0 * leaf, moments[0].mu)


def _is_adam(node) -> bool:
    return hasattr(node, "mu")


@pytest.mark.parametrize("dropout", [0.0, 0.15])
def test_pieces_have_the_loss_and_gradient_of_the_whole(dropout):
    loss, gradient = stepped(dropout, piece=0)
    in_pieces, gradient_in_pieces = stepped(dropout, piece=16)
    assert in_pieces == pytest.approx(loss, rel=1e-6)
    assert small.largest_difference(gradient, gradient_in_pieces) < 1e-6
    assert max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(gradient)) > 0.01


def test_pieces_with_other_dropout_would_be_seen():
    """What the test above would find if each piece drew masks of its own."""
    loss, _ = stepped(0.15, piece=0)
    without, _ = stepped(0.0, piece=16)
    assert abs(loss - without) > 1e-4


@pytest.mark.parametrize("shape", [(2, 3, 5), (4, 8, 7)])
def test_a_piece_draws_what_its_batch_draws_there(shape):
    branches, width, positions = shape
    key, batch = jax.random.key(3), 24
    whole = Dropout.draw(key, 0.15, (branches, width, positions * batch)).draws_RxWxN
    for index, here in enumerate(np.split(np.asarray(whole).reshape(*shape, batch), 3, axis=-1)):
        part = Dropout.draw(key, 0.15, (branches, width, positions * 8), Piece(jnp.int32(index), 8, 3)).draws_RxWxN
        assert np.array_equal(part, here.reshape(branches, width, -1))


def losses(workdir) -> dict:
    runs = read_runs(workdir)
    return dict(zip(runs.run_id, runs.val_loss, strict=True))


@pytest.fixture(scope="module")
def in_pieces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pieces")
    small.train(LARGE, folder)
    return folder


def test_a_stopped_sweep_goes_on_with_the_pieces_of_its_plan(in_pieces, tmp_path):
    (plan,), _ = WorkDir(in_pieces).read_plan()
    assert 0 < plan.piece < 12_288
    assert isinstance(small.train(LARGE, tmp_path, progress=small.StopAfter(2))[-1], Interrupted)
    assert isinstance(small.train(LARGE, tmp_path)[-1], Finished)
    assert losses(tmp_path) == losses(in_pieces)


def begun_with(piece: int, workdir) -> None:
    """A sweep that has begun, and trained nothing, with another piece in its plan; 0: as before there were any."""
    events = vsweep.run_sweep(LARGE, workdir)
    small.skip_to(events, Compiling)
    events.close()
    home = WorkDir(workdir)
    (plan,), environments = home.read_plan()
    home.write_plan([dataclasses.replace(plan, piece=piece)], environments)


def test_an_old_plan_goes_on_with_whole_batches(in_pieces, tmp_path):
    """Bit for bit, stopped or not, and also where its file is lost."""
    for name in ("once", "stopped"):
        begun_with(0, tmp_path / name)
    small.train(LARGE, tmp_path / "once")
    assert isinstance(small.train(LARGE, tmp_path / "stopped", progress=small.StopAfter(2))[-1], Interrupted)
    (tmp_path / "stopped" / "plan.json").unlink()
    small.train(LARGE, tmp_path / "stopped")
    assert losses(tmp_path / "once") == losses(tmp_path / "stopped")
    assert losses(tmp_path / "once") == pytest.approx(losses(in_pieces), rel=1e-2)
    assert losses(tmp_path / "once") != losses(in_pieces)
    (plan,), _ = WorkDir(tmp_path / "stopped").read_plan()
    assert "piece" not in plan.to_dict()


def test_a_plan_names_its_piece_and_reads_it_back(in_pieces):
    (plan,), _ = WorkDir(in_pieces).read_plan()
    assert plan.to_dict()["piece"] == plan.piece
    assert StackPlan.from_dict(plan.to_dict()) == plan


def test_a_plan_with_pieces_of_no_batch_is_refused(tmp_path):
    begun_with(5000, tmp_path)
    with pytest.raises(ConfigError, match="has pieces of no batch; allowed: a good copy"):
        small.train(LARGE, tmp_path)


@pytest.mark.parametrize("one_by_one", [False, True])
def test_neighbours_change_not_one_bit_in_pieces(one_by_one, mesh):
    values = small.config(model={"dropout": 0.15})
    runs = small.stacks(values)[0].runs
    bench = small.Bench(values, 4, mesh, one_by_one=one_by_one, piece=4)

    def after(entering: dict, slot: int):
        bench.state, bench.runs, bench.step = bench.programs.empty_state(), [None] * 4, 0
        bench.enter(entering)
        bench.train(20)
        return bench.slot(slot)

    wild = {0: small.with_fields(runs[0], lr=1e9), 1: runs[1], 2: runs[3], 3: runs[4]}
    assert small.same_bits(after({1: runs[1]}, 1), after(wild, 1))
    assert small.same_bits(after({2: runs[1]}, 2), after({1: runs[1], 3: runs[0]}, 1))
