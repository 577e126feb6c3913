"""Greedy decoding from the query alone, with any finished run of a work directory.

python -m vsweep.generate WORKDIR --run RUN_ID "123+456="
"""

import functools
import sys
from pathlib import Path

try:
    import jax
except ValueError as error:  # so jax answers an environment variable that it cannot read
    sys.exit(f"environment: {error}")
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging

from vsweep import config as config_lib
from vsweep import devices, grid, plan, tasks
from vsweep import model as model_lib
from vsweep.checkpoint import CheckpointFolder
from vsweep.config import ConfigError
from vsweep.grid import Stack
from vsweep.model import Model
from vsweep.tasks import Task
from vsweep.workdir import WorkDir

RUN = flags.DEFINE_string("run", None, "The run_id of a finished run, as in runs.csv.")


def greedy(model: Model, params, queries: list[list[int]], *, length: int, pad: int) -> np.ndarray:
    """Continues token sequences by the most likely token, from nothing but the query.

    Returns int32 [Q, length]: each query and what follows it. Every position after the query holds padding until it
    has been decoded, and the causal mask keeps what is behind it out of sight.
    """
    tokens_QxS = np.full((len(queries), length), pad, np.int32)
    for row, query in enumerate(queries):
        tokens_QxS[row, : len(query)] = query
    starts_Q = jnp.array([len(query) for query in queries])
    return np.asarray(_decode(model, params, jnp.asarray(tokens_QxS), starts_Q))


@functools.partial(jax.jit, static_argnums=0)
def _decode(model: Model, params, tokens_QxS, starts_Q):
    def extend(position, tokens_QxS):
        logits_QxLxV = model.apply(params, tokens_QxS[:, :-1])
        likeliest_Q = jnp.argmax(logits_QxLxV[:, position - 1], axis=-1)
        chosen_Q = jnp.where(position >= starts_Q, likeliest_Q, tokens_QxS[:, position])
        return tokens_QxS.at[:, position].set(chosen_Q)

    return jax.lax.fori_loop(1, tokens_QxS.shape[1], extend, tokens_QxS)


def load_run(workdir: Path, run_id: str) -> tuple[Task, Model, dict]:
    """(task, model, parameters) of a finished run. Raises ConfigError with what can be loaded if it is not there."""
    home = WorkDir(workdir)
    config = home.read_config()
    task = tasks.build(config.task)
    stacks = grid.build_stacks(config, task)
    stack = next((s for s in stacks if any(run.run_id == run_id for run in s.runs)), None)
    found = find_finished(home, stack, run_id) if stack else None
    if found is None:
        names = [run.run_id for s in stacks for run in s.runs if find_finished(home, s, run.run_id)]
        closest = config_lib.closest(run_id, names)
        raise ConfigError(
            [f"--run: no finished run of that name - got {run_id!r}; allowed: {', '.join(names)}{closest}"]
        )
    folder, step = found
    model = model_lib.build(plan.model_shape(stack.shape, task))
    return task, model, folder.restore(step)[run_id]


def find_finished(home: WorkDir, stack: Stack, run_id: str) -> tuple[CheckpointFolder, int] | None:
    """Where the parameters of a run lie, if it has finished. Raises ConfigError if they are damaged."""
    folder = CheckpointFolder(home.finished(stack.name))
    for step in folder.steps():
        if run_id in folder.names(step):
            if problems := folder.problems(step):
                raise ConfigError([f"--run: the parameters of {run_id} are damaged: {'; '.join(problems)}"])
            return folder, step
    return None


def main(arguments: list[str]) -> None:
    if len(arguments) < 3 or RUN.value is None:
        sys.exit('usage: python -m vsweep.generate WORKDIR --run RUN_ID "123+456=" ["7+8=" ...]')
    workdir, queries = Path(arguments[1]), arguments[2:]
    logging.set_verbosity(logging.WARNING)  # orbax tells every step it takes
    devices.use_cpu_cores_as_devices()
    if problems := devices.setting_problems():
        sys.exit("\n".join(problems))
    try:
        task, model, params = load_run(workdir, RUN.value)
        encoded = [task.encode(query) for query in queries]
    except (ConfigError, FileNotFoundError, ValueError) as error:
        sys.exit(str(error))
    for row in greedy(model, params, encoded, length=task.sequence_length, pad=task.pad):
        print(task.decode(list(row)))


if __name__ == "__main__":
    app.run(main)
