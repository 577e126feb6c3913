"""Greedy decoding from the query alone, with any finished run of a work directory.

python -m vsweep.generate WORKDIR --run RUN_ID "123+456="
"""

from vsweep.host import startup

if __name__ == "__main__":
    startup.begin()

import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

try:
    import jax
except ValueError as error:  # so jax answers an environment variable that it cannot read
    if __name__ != "__main__":
        raise
    print(f"environment: {error}", file=sys.stderr)
    sys.exit(2)
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging

from vsweep import tasks
from vsweep.config import sweep_config
from vsweep.config.problems import ConfigError, closest
from vsweep.host import devices
from vsweep.models import transformer
from vsweep.models.base import Model
from vsweep.models.params import mismatches
from vsweep.plan import cost, grid
from vsweep.plan.packing import StackPlan
from vsweep.session import preflight
from vsweep.storage.checkpoint import CheckpointFolder, Origin
from vsweep.storage.workdir import WorkDir, strange_problems
from vsweep.tasks.base import Task

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
    if problems := preflight.name_problems("WORKDIR", workdir):
        raise ConfigError(problems)
    home = WorkDir(workdir)
    if problems := strange_problems("workdir", home.path):
        raise ConfigError(problems)
    config = home.read_config()
    task = tasks.build(config.task)
    stored = home.read_plan()
    if stored is None:
        advice = "run the sweep's command again, which writes it anew"
        raise ConfigError(
            [f"WORKDIR: plan.json is missing - got {home.path}; allowed: a sweep that has begun; {advice}"]
        )
    plans, _ = stored
    stacks = {stack.name: stack for stack in grid.build_stacks(config, task)}
    folders = finished_folders(home, plans, sweep_config.fingerprint(config, task.digest))
    found = next((folder for folder in folders if run_id in folder.names_of_all()), None)
    if found is None:
        names = [name for folder in folders for name in folder.names_of_all()]
        hint = closest(run_id, names)
        raise ConfigError([f"--run: no finished run of that name - got {run_id!r}; allowed: {', '.join(names)}{hint}"])
    if found.origin.stack not in stacks:
        raise ConfigError([f"--run: {home.plan_file} plans other stacks than {home.config_file}"])
    model = transformer.build(cost.model_shape(stacks[found.origin.stack].shape, task))
    return task, model, _parameters(found, run_id, model)


def finished_folders(home: WorkDir, plans: Sequence[StackPlan], sweep_sha256: str) -> list[CheckpointFolder]:
    """The folders of finished parameters of a sweep, one a stack, in the order of `plans`; some may not exist yet."""
    return [
        CheckpointFolder(home.finished(sweep_plan.name), Origin.by(sweep_sha256, sweep_plan)) for sweep_plan in plans
    ]


def _parameters(folder: CheckpointFolder, run_id: str, model: Model) -> dict:
    """Raises ConfigError if they are damaged, or are not those of this model."""
    steps = [step for step in folder.steps() if run_id in folder.names(step)]
    good = [step for step in steps if not folder.problems(step)]
    if not good:
        problems = [problem for step in steps for problem in folder.problems(step)]
        raise ConfigError([f"--run: the parameters of {run_id} are damaged: {'; '.join(problems)}"])
    params = folder.restore(good[0])[run_id]
    if strange := mismatches(model.specs, params):
        named = f"{'; '.join(strange[:3])}{f'; {len(strange) - 3} more' if len(strange) > 3 else ''}"
        raise ConfigError([f"--run: the parameters of {run_id} are not those of its model - {named}"])
    return params


def _fail(reason: object) -> NoReturn:
    print(reason, file=sys.stderr)
    sys.exit(2)


def main(arguments: list[str]) -> None:
    """Prints a line for each query. Ends with exit code 2 and the reason if a run or a query is not usable."""
    if len(arguments) < 3 or RUN.value is None:
        _fail('usage: python -m vsweep.generate WORKDIR --run RUN_ID "123+456=" ["7+8=" ...]')
    workdir, queries = Path(arguments[1]), arguments[2:]
    logging.set_verbosity(logging.WARNING)  # orbax tells every step it takes
    devices.use_cpu_cores_as_devices()
    if problems := devices.setting_problems():
        _fail("\n".join(problems))
    try:
        task, model, params = load_run(workdir, RUN.value)
        encoded = [task.encode(query) for query in queries]
    except (ConfigError, FileNotFoundError, ValueError) as error:
        _fail(error)
    for row in greedy(model, params, encoded, length=task.sequence_length, pad=task.pad):
        print(task.decode(list(row)))


if __name__ == "__main__":
    app.run(main)
