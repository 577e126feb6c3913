"""Training steps on the GPU of this machine, beside what was predicted for it.

The programs are those that a sweep would run, of `addition:full`, in the order of what they tell. Compiling takes most
of the time, so what would not be done within `LIMIT_S` is left out, and said.
"""

import dataclasses
import time
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from benchmarks.gpu_model.compiled import OPTIONS, lower, sweep_of
from vsweep.host import devices, speeds
from vsweep.train.stack import hyper_of

PROGRAMS = ((16, 15), (64, 15), (4, 15), (16, 1), (256, 15), (4, 1), (64, 1), (256, 1))  # width, slots
LIMIT_S = 480.0
TURNS, TURN_S = 3, 2.0  # the median of so many, each of whole chunks for so long
SPARE = 1.3  # times the longest program so far is what the next one may take


@dataclasses.dataclass(frozen=True)
class Step:
    """One measured program."""

    width: int
    slots: int
    measured_ms: float  # of a step
    compile_s: float


def card_here(kind: str) -> str | None:
    """The described card that a device is, by how JAX names it; None for any other."""
    match = speeds.match(kind)
    names = [name for name, option in OPTIONS.items() if option == match.card.option]
    return names[0] if names and not match.why else None


def measure(
    programs: Sequence[tuple[int, int]] = PROGRAMS, *, limit_s: float = LIMIT_S, turn_s: float = TURN_S, overrides=None
) -> Iterator[Step]:
    """Each program on the first device here, until the time is over; `overrides` as `sweep_of` takes them."""
    started, longest_s = time.perf_counter(), 0.0
    mesh = devices.slots_mesh(1)
    for width, slots in programs:
        begun = time.perf_counter()
        if begun - started + SPARE * longest_s > limit_s:
            return
        yield _measure(width, slots, mesh, turn_s, overrides)
        longest_s = max(longest_s, time.perf_counter() - begun)


def _measure(width: int, slots: int, mesh: jax.sharding.Mesh, turn_s: float, overrides) -> Step:
    sweep = sweep_of(devices.hardware(mesh), width, slots, overrides)
    begun = time.perf_counter()
    lowered = {name: lower(sweep, mesh, name) for name in ("train", "enter")}
    train, enter = (program.compile() for program in lowered.values())
    compile_s = time.perf_counter() - begun
    runs = sweep.stacks[0].runs[: sweep.plans[0].slots]
    state_struct, tokens_struct, _ = lowered["train"].in_avals[0]
    empty = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state_struct)
    over_slots = devices.over_slots(mesh)
    state = enter(*jax.device_put((empty, hyper_of(runs), np.ones(len(runs), bool)), over_slots))
    chunk = tokens_struct.shape[0]
    seen = np.arange(np.prod(tokens_struct.shape[:-1])) % sweep.task.train_examples
    tokens_CxKxBxS = sweep.task.rows(seen.reshape(tokens_struct.shape[:-1]))
    tokens = jax.device_put(tokens_CxKxBxS, devices.over_slots(mesh, axis=1))
    count = jax.device_put(np.int32(chunk), devices.replicated(mesh))
    state, done = train(state, tokens, count)
    jax.block_until_ready(done)
    each = []
    for _ in range(TURNS):
        steps, turn = 0, time.perf_counter()
        while time.perf_counter() - turn < turn_s:
            state, done = train(state, tokens, count)
            jax.block_until_ready(done)
            steps += chunk
        each.append((time.perf_counter() - turn) / steps)
    return Step(width, sweep.plans[0].slots, 1e3 * float(np.median(each)), compile_s)
