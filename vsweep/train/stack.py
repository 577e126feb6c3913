"""A stack of runs, trained simultaneously: the one place that lifts with `vmap`.

Every array of a `StackState` carries a leading axis K, the slots. The slots are sharded over the mesh with `shard_map`:
automatic sharding put an all-reduce into a vmapped loop, `shard_map` puts none. Shapes in names: K slots, C steps of
a chunk, B batch, S tokens of a sequence, N held-out examples of one evaluation.
"""

import concurrent.futures
import dataclasses
import functools
import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from vsweep.host import devices
from vsweep.models import accounting
from vsweep.plan.grid import Run
from vsweep.train import train_step
from vsweep.train.objective.gradient_noise import GradientStatistics
from vsweep.train.train_step import ExampleLosses, Hyper, Recipe, RunState

StackState = RunState  # with a leading axis K on every array
SLOTS = P(devices.SLOTS_AXIS)


@dataclasses.dataclass(frozen=True)
class StackShape:
    """The sizes that fix a stack's programs."""

    slots: int
    one_by_one: bool  # a device trains its slots one after the other in each step, and evaluates in pieces of a batch
    batch_size: int
    sequence_length: int
    chunk_steps: int
    held_out_examples: int
    evaluation_examples: int  # examples of one evaluation; divides held_out_examples
    token_dtype: str = "uint8"

    @property
    def chunk(self) -> tuple[int, int, int, int]:
        """[C, K, B, S]: the tokens that the devices are sent with a chunk."""
        return (self.chunk_steps, self.slots, self.batch_size, self.sequence_length)


class Evaluation(NamedTuple):
    """What one evaluation of a stack returns: nothing in it is overwritten when training goes on."""

    losses: ExampleLosses  # [K, N]
    train_loss_K: jax.Array
    diverged_at_step_K: jax.Array
    sound_K: jax.Array  # bool, whether every number of the parameters and the optimizer's state is finite
    gradients: GradientStatistics | None = None  # [K], where they are measured


class StackPrograms:
    """The compiled programs of one stack: enter, train and evaluate, one each.

    `compile_s` is the time it took to compile them (or to load them from the compile cache).
    """

    def __init__(self, recipe: Recipe, shape: StackShape, mesh: Mesh):
        self.mesh = mesh
        self.shape = shape
        started = time.perf_counter()
        lowering = Lowering(recipe, shape, mesh)
        self.state_struct = lowering.state_struct
        with concurrent.futures.ThreadPoolExecutor() as pool:  # XLA compiles outside Python's lock; the longest first
            programs = (lowering.train, lowering.enter, lowering.evaluate)
            compiling = [pool.submit(lower().compile) for lower in programs]
        self.train_chunk, self.enter, self.evaluate = (program.result() for program in compiling)
        self.compile_s = time.perf_counter() - started

    def empty_state(self) -> StackState:
        """K empty slots: zeros, and a horizon of 0."""
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), self.state_struct)
        return jax.device_put(zeros, devices.over_slots(self.mesh))

    @property
    def run_struct(self) -> RunState:
        """What one run is, out of its slot."""
        one = jax.tree.map(lambda leaf: _array(leaf.shape[1:], leaf.dtype), self.state_struct)
        return _struct(one, devices.replicated(self.mesh))

    def put(self, state: StackState, runs: dict[int, RunState]) -> StackState:
        """`state` with each of `runs`, on the host, in its slot.

        By way of the host, so that no program needs to send anything from one device to another.
        """

        def with_rows(leaf, *rows):
            leaf = np.array(leaf)
            leaf[list(runs)] = rows
            return leaf

        return jax.device_put(
            jax.tree.map(with_rows, jax.device_get(state), *runs.values()), devices.over_slots(self.mesh)
        )


@dataclasses.dataclass(frozen=True)
class Lowering:
    """The programs of one stack as XLA gets them. The devices of `mesh` need not exist to compile for them."""

    recipe: Recipe
    shape: StackShape
    mesh: Mesh

    @functools.cached_property
    def state_struct(self) -> StackState:
        """Shapes and shardings of the state, the donated argument of `enter` and `train`."""
        state = jax.eval_shape(
            functools.partial(_init_stack, self.recipe), _abstract_hyper(self.recipe, self.shape.slots)
        )
        return _struct(state, devices.over_slots(self.mesh))

    def enter(self) -> jax.stages.Lowered:
        """(state, hyper_K, enters_K) -> state with a fresh run in each slot where `enters_K`."""
        lifted = self._lift(functools.partial(_enter, self.recipe), in_specs=(SLOTS, SLOTS, SLOTS))
        hyper, enters = _abstract_hyper(self.recipe, self.shape.slots), _array((self.shape.slots,), bool)
        sharded = _struct((hyper, enters), devices.over_slots(self.mesh))
        return jax.jit(lifted, donate_argnums=0).lower(self.state_struct, *sharded)

    def train(self) -> jax.stages.Lowered:
        """(state, tokens_CxKxBxS, count) -> (state, step_K) after `count` steps of the chunk.

        `step_K` is a copy that outlives the donated state: waiting for it is waiting for the chunk.
        """
        shape = self.shape
        specs = (SLOTS, P(None, devices.SLOTS_AXIS), P())
        lifted = self._lift(functools.partial(_train_chunk, self.recipe, shape.one_by_one), in_specs=specs)
        tokens = _struct(_array(shape.chunk, shape.token_dtype), devices.over_slots(self.mesh, axis=1))
        steps = _struct(_array((), np.int32), devices.replicated(self.mesh))
        return jax.jit(lifted, donate_argnums=0).lower(self.state_struct, tokens, steps)

    def evaluate(self) -> jax.stages.Lowered:
        """(state, tokens, answer, first, due_K) -> Evaluation on the held-out examples from `first`; 0 if not due."""
        shape, recipe = self.shape, self.recipe
        evaluate = functools.partial(_evaluate_due, recipe, shape.evaluation_examples, _piece(recipe, shape))
        lifted = self._lift(evaluate, in_specs=(SLOTS, P(), P(), P(), SLOTS))
        tokens = _array((shape.held_out_examples, shape.sequence_length), shape.token_dtype)
        answer = _array((shape.held_out_examples, shape.sequence_length - 1), bool)
        held_out = _struct((tokens, answer, _array((), np.int32)), devices.replicated(self.mesh))
        due = _struct(_array((shape.slots,), bool), devices.over_slots(self.mesh))
        return jax.jit(lifted).lower(self.state_struct, *held_out, due)

    def _lift(self, function, in_specs):
        return jax.shard_map(function, mesh=self.mesh, in_specs=in_specs, out_specs=SLOTS, check_vma=False)


def hyper_of(runs: Sequence[Run | None], options: tuple[str, ...] | None = None) -> Hyper:
    """The stacked fields of the runs, one a slot, as [K] arrays; None is an empty slot.

    `options` are the optional axes of the sweep. They need to be given only where all slots are empty.
    """
    if options is None:
        options = next((tuple(dict(run.options)) for run in runs if run is not None), ())

    def column(name, dtype):
        return np.array([0 if run is None else getattr(run, name) for run in runs], dtype)

    optional = {
        name: np.array([0 if run is None else dict(run.options)[name] for run in runs], np.float32) for name in options
    }
    return train_step.hyper_with(options)(
        **optional,
        horizon=column("steps", np.int32),
        init_seed=column("init_seed", np.int32),
        dropout_seed=column("dropout_seed", np.int32),
        lr=column("lr", np.float32),
        weight_decay=column("weight_decay", np.float32),
        warmup_steps=column("warmup_steps", np.int32),
        decay_start=column("decay_start", np.int32),
        dropout=column("dropout", np.float32),
        clip=np.where(column("clip", np.float32) == 0, np.float32(np.inf), column("clip", np.float32)),
    )


def fork(state: StackState, slot: int, branch: Run) -> RunState:
    """A copy on the host of the run in `slot` of a state on the host, to go on as `branch`."""
    hyper = jax.tree.map(lambda column: column[0], hyper_of([branch]))
    return jax.tree.map(lambda leaf: np.array(leaf[slot]), state)._replace(hyper=hyper)


def _init_stack(recipe: Recipe, hyper_K: Hyper) -> StackState:
    return jax.vmap(functools.partial(train_step.init_run, recipe))(hyper_K)


def _enter(recipe: Recipe, state: StackState, hyper_K: Hyper, enters_K) -> StackState:
    def choose(fresh, old):
        return jnp.where(enters_K.reshape(-1, *[1] * (old.ndim - 1)), fresh, old)

    return jax.tree.map(choose, _init_stack(recipe, hyper_K), state)


def _train_chunk(recipe: Recipe, one_by_one: bool, state: StackState, tokens_CxKxBxS, count):
    step = functools.partial(train_step.train_step, recipe)

    def body(index, state):
        slots = (state, tokens_CxKxBxS[index])
        return jax.lax.map(lambda slot: step(*slot), slots) if one_by_one else jax.vmap(step)(*slots)

    state = jax.lax.fori_loop(0, count, body, state)
    return state, state.step


def _piece(recipe: Recipe, shape: StackShape) -> int:
    """Examples that an evaluation takes at once: a divisor of their number; all, where their logits are few."""
    examples, positions = shape.evaluation_examples, shape.sequence_length - 1
    if shape.one_by_one and not recipe.piece:
        return math.gcd(shape.batch_size, examples)
    whole = accounting.logits_chunk(examples * positions, recipe.model.shape.vocabulary) is None
    if whole and not shape.one_by_one:
        return examples
    most = recipe.piece if shape.one_by_one else shape.batch_size
    return next(size for size in range(min(most, examples), 0, -1) if examples % size == 0)


def _evaluate_due(
    recipe: Recipe, size: int, piece: int, state: StackState, tokens_NxS, answer_NxL, first, due_K
) -> Evaluation:
    """Slot after slot, for under `vmap` a slot that is not due would cost as much as one that is; `piece` by piece."""
    parts = [
        jax.lax.dynamic_slice_in_dim(array, first, size).reshape(-1, piece, array.shape[1])
        for array in (tokens_NxS, answer_NxL)
    ]

    def due_slot(params):
        losses = jax.lax.map(lambda part: train_step.evaluate(recipe, params, *part), parts)
        return jax.tree.map(lambda leaf: leaf.reshape(size), losses)

    def not_due(params):
        metrics = tuple(jnp.zeros(size) for _ in recipe.metrics)
        return ExampleLosses(jnp.zeros(size), jnp.zeros(size), jnp.zeros(size, bool), metrics)

    def one_slot(slot):
        params, due = slot
        return jax.lax.cond(due, due_slot, not_due, params)

    losses = jax.lax.map(one_slot, (state.params, due_K))
    sound_K, gradients = _is_sound((state.params, state.opt_state)), getattr(state, "gradients", None)
    return Evaluation(losses, state.train_loss, state.diverged_at_step, sound_K, gradients)


def _is_sound(arrays) -> jax.Array:
    """bool [K]. An infinite second moment stops a run and leaves no trace in its losses: all arrays are looked at."""
    finite = [jnp.isfinite(leaf).reshape(leaf.shape[0], -1).all(axis=1) for leaf in jax.tree.leaves(arrays)]
    return jnp.stack(finite).all(axis=0)


def _abstract_hyper(recipe: Recipe, slots: int) -> Hyper:
    columns = hyper_of([None] * slots, recipe.options)
    return jax.tree.map(lambda column: _array(column.shape, column.dtype), columns)


def _array(shape, dtype) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def _struct(tree, sharding):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)
