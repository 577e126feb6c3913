"""vsweep's stack, driven as the trainer drives it: tokens from the host, chunk after chunk, two in flight."""

import collections
import math

import jax
import numpy as np

from benchmarks.stack.problem import FF_MULTIPLE, SPLIT_SEED, Problem
from vsweep.config import sweep_config
from vsweep.host import devices
from vsweep.models import transformer
from vsweep.plan import cost, grid
from vsweep.train.stack import StackPrograms, StackShape, hyper_of
from vsweep.train.train_step import Recipe

CHUNKS_IN_FLIGHT = 2
CHUNKS_A_MEASUREMENT = 4  # at least, where the steps allow it


class VsweepStack:
    """`models` runs of one shape, of the seeds 0, 1, 2, ...; slots are rounded up to whole devices, as in a sweep."""

    quantum = 1

    def __init__(self, problem: Problem, models: int, device_count: int = 0):
        self.problem = problem
        self.models = models
        self.mesh = devices.slots_mesh(min(models, device_count or len(jax.local_devices())))
        self.slots = -(-models // self.mesh.size) * self.mesh.size
        runs = _runs(problem, models)
        self.shape, self.hardware = runs[0].shape, devices.hardware(self.mesh)
        self.piece = cost.piece_of(self.shape, problem.task, sweep_config.SweepConfig(), self.hardware)
        self.fitting = cost.slots_that_fit(self.shape, problem.task, self.hardware, piece=self.piece)
        if self.fitting < self.slots:
            raise MemoryError(f"the plan's cut by memory is {self.fitting} slots here")
        self.chunk_steps = sweep_config.TrainConfig().chunk_steps
        self.programs = self._compile(runs)
        hyper_K = hyper_of([*runs, *[None] * (self.slots - models)])
        entering = jax.device_put((hyper_K, np.arange(self.slots) < models), devices.over_slots(self.mesh))
        self.state = self.programs.enter(self.programs.empty_state(), *entering)
        self.step = 0

    def train(self, steps: int) -> None:
        """Returns when the steps are done."""
        in_flight: collections.deque[jax.Array] = collections.deque()
        largest = min(self.chunk_steps, max(1, steps // CHUNKS_A_MEASUREMENT))
        for first in range(0, steps, largest):
            in_flight.append(self._train_chunk(min(largest, steps - first)))
            while len(in_flight) >= CHUNKS_IN_FLIGHT:
                in_flight.popleft().block_until_ready()
        jax.block_until_ready(list(in_flight))

    def held_out_losses(self) -> list[float]:
        """Nats a label token of each model, by vsweep's own evaluation."""
        task = self.problem.task
        everywhere = devices.replicated(self.mesh)
        held_out = jax.device_put((task.held_out.tokens_NxS, task.held_out.answer_NxL, np.int32(0)), everywhere)
        due_K = jax.device_put(np.ones(self.slots, bool), devices.over_slots(self.mesh))
        loss_KxN = np.asarray(self.programs.evaluate(self.state, *held_out, due_K).losses.loss_N, float)
        labels = (task.held_out.tokens_NxS[:, 1:] != task.pad).sum()
        return [float(loss) for loss in loss_KxN.sum(axis=1)[: self.models] / labels]

    def estimated_bytes(self, slots: int) -> int:
        """The plan's estimate of one device's memory for so many slots of all devices."""
        return cost.device_bytes(self.shape, self.problem.task, slots, self.hardware, piece=self.piece)

    def train_memory(self):
        """What XLA allocates for the training program, bytes of one device."""
        return self.programs.train_chunk.memory_analysis()

    def _train_chunk(self, count: int) -> jax.Array:
        tokens_CxKxBxS = np.zeros(self.programs.shape.chunk, self.programs.shape.token_dtype)
        for slot in range(self.models):
            tokens_CxKxBxS[:count, slot] = self.problem.task.rows(self.problem.examples(slot, self.step, count))
        tokens = jax.device_put(tokens_CxKxBxS, devices.over_slots(self.mesh, axis=1))
        steps = jax.device_put(np.int32(count), devices.replicated(self.mesh))
        self.state, done = self.programs.train_chunk(self.state, tokens, steps)
        self.step += count
        return done

    def _compile(self, runs: list[grid.Run]) -> StackPrograms:
        problem, task = self.problem, self.problem.task
        recipe = Recipe(
            model=transformer.build(problem.model_shape),
            optimizer=problem.optimizer,
            schedule=runs[0].shape.schedule,
            pad=task.pad,
            use_dropout=problem.dropout > 0,
            piece=self.piece,
        )
        shape = StackShape(
            slots=self.slots,
            one_by_one=cost.trains_one_by_one(self.shape, task, self.slots, self.hardware),
            batch_size=problem.batch_size,
            sequence_length=task.sequence_length,
            chunk_steps=self.chunk_steps,
            held_out_examples=problem.held_out,
            evaluation_examples=problem.held_out,
        )
        with jax.default_matmul_precision(problem.matmul_precision):
            return StackPrograms(recipe, shape, self.mesh)


def _runs(problem: Problem, models: int) -> list[grid.Run]:
    """The runs of a sweep over seeds with the problem's shape and horizon."""
    values = {
        "task": {"digits": problem.digits, "validation_examples": problem.held_out, "split_seed": SPLIT_SEED},
        "model": {
            "width": problem.width,
            "layers": problem.layers,
            "head_dim": problem.head_dim,
            "ff_multiple": FF_MULTIPLE,
            "dropout": problem.dropout,
        },
        "train": {
            "batch_size": problem.batch_size,
            "budget": math.ceil(problem.horizon * problem.label_tokens),
            "precision": problem.precision,
            "matmul_precision": problem.matmul_precision,
            "curve_examples": problem.held_out,
            "final_examples": problem.held_out,
        },
        "sweep": {"seed": list(range(models))},
    }
    return list(grid.build_stacks(sweep_config.from_dict(values), problem.task)[0].runs)
