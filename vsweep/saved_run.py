"""A finished run of a work directory, loaded: its task, its model and its parameters."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from vsweep import tasks
from vsweep.config.problems import ConfigError, Problem, closest
from vsweep.models import by_name
from vsweep.models.base import Model, Params
from vsweep.models.params import mismatches
from vsweep.plan import cost
from vsweep.plan.packing import StackPlan
from vsweep.session import extend, preflight
from vsweep.storage.checkpoint import CheckpointFolder, Origin
from vsweep.storage.workdir import WorkDir, strange_problems
from vsweep.tasks.base import Task


class SavedRun(NamedTuple):
    """`model.apply(params, tokens_BxT)` gives logits [B, T, V]; `task.encode` and `task.decode` translate text."""

    task: Task
    model: Model
    params: Params

    def arrays(self) -> dict[str, np.ndarray]:
        """Every parameter by its path in the tree, such as `attention_0.out.kernel`. Shapes are those of one model."""
        leaves = jax.tree.leaves_with_path(self.params)
        return {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf) for path, leaf in leaves}


def load_run(workdir: str | Path, run_id: str) -> SavedRun:
    """(task, model, params) of a finished run; `run_id` is as in runs.csv. The work directory is only read.

    Raises:
      ConfigError: there is no such finished run (the message names those that there are), or its files are damaged.
      FileNotFoundError: `workdir` is no work directory.
    """
    if problems := preflight.name_problems("WORKDIR", workdir):
        raise ConfigError(problems)
    home = WorkDir(Path(workdir))
    if problems := strange_problems("workdir", home.path):
        raise ConfigError(problems)
    config = home.read_config()
    task = tasks.build(config.task)
    stored = home.read_stored()
    if stored is None:
        allowed = "a sweep that has begun; run the sweep's command again, which writes it"
        raise ConfigError([Problem("WORKDIR", "plan.json is missing", f"{home.path}", allowed)])
    prints, stacks = extend.fingerprints(stored, config, task), extend.stacks_of(stored, config, task)
    folder = _folder_of(run_id, finished_folders(home, stored.plans, prints))
    if folder.origin.stack not in stacks:
        raise ConfigError([Problem("--run", f"{home.plan_file} plans other stacks than {home.config_file}")])
    model = by_name.build(cost.model_shape(stacks[folder.origin.stack].shape, task))
    return SavedRun(task, model, _parameters(folder, run_id, model))


def finished_folders(
    home: WorkDir, plans: Sequence[StackPlan], sweep_sha256: Mapping[str, str]
) -> list[CheckpointFolder]:
    """Where the parameters of finished runs lie, a folder for each stack; `sweep_sha256`: stack -> fingerprint."""
    return [CheckpointFolder(home.finished(plan.name), Origin.by(sweep_sha256[plan.name], plan)) for plan in plans]


def _folder_of(run_id: str, folders: list[CheckpointFolder]) -> CheckpointFolder:
    folder = next((folder for folder in folders if run_id in folder.names_of_all()), None)
    if folder is None:
        names = [name for folder in folders for name in folder.names_of_all()]
        hint = closest(run_id, names)
        raise ConfigError([Problem("--run", "no finished run of that name", repr(run_id), ", ".join(names), hint)])
    return folder


def _parameters(folder: CheckpointFolder, run_id: str, model: Model) -> Params:
    """Raises ConfigError if they are damaged, or are not those of this model."""
    steps = [step for step in folder.steps() if run_id in folder.names(step)]
    good = [step for step in steps if not folder.problems(step)]
    if not good:
        problems = [problem for step in steps for problem in folder.problems(step)]
        raise ConfigError([Problem("--run", f"the parameters of {run_id} are damaged: {'; '.join(problems)}")])
    params = folder.restore(good[0])[run_id]
    if strange := mismatches(model.specs, params):
        named = f"{'; '.join(strange[:3])}{f'; {len(strange) - 3} more' if len(strange) > 3 else ''}"
        what = f"the parameters of {run_id} are not those of its model"
        raise ConfigError([Problem("--run", what, named)])
    return params
