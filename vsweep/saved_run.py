"""Finished runs of a work directory, loaded: their task, their models and their parameters."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from vsweep import tasks
from vsweep.config.problems import ConfigError, Problem, closest
from vsweep.config.sweep_config import SweepConfig
from vsweep.host import devices
from vsweep.models import by_name
from vsweep.models.base import Model, Params
from vsweep.models.params import mismatches
from vsweep.plan import cost
from vsweep.plan.grid import Stack
from vsweep.plan.packing import StackPlan
from vsweep.plan.sweep_plan import kept_runs
from vsweep.schema import FINISHED, RUNS_FILE
from vsweep.session import extend, preflight
from vsweep.storage.checkpoint import CheckpointFolder, Origin
from vsweep.storage.workdir import WorkDir, strange_problems
from vsweep.tables import read_runs
from vsweep.tasks.base import Task

BEST, LONGEST = "best", "longest"
BY_RANK = (BEST, LONGEST)  # words that mean a finished run


class SavedRun(NamedTuple):
    """`model.apply(params, tokens_BxT)` gives logits [B, T, V]; `task.encode` and `task.decode` translate text."""

    task: Task
    model: Model
    params: Params

    def arrays(self) -> dict[str, np.ndarray]:
        """Every parameter by its path in the tree, such as `attention_0.out.kernel`. Shapes are those of one model."""
        leaves = jax.tree.leaves_with_path(self.params)
        return {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf) for path, leaf in leaves}


@dataclasses.dataclass(frozen=True)
class FinishedRuns:
    """The finished runs of a work directory, which is only read. `open` makes one."""

    home: WorkDir
    config: SweepConfig
    task: Task
    stacks: dict[str, Stack]  # by name
    folders: list[CheckpointFolder]

    @classmethod
    def open(cls, workdir: str | Path) -> "FinishedRuns":
        """Raises as `load_run` does."""
        if problems := preflight.name_problems("WORKDIR", workdir):
            raise ConfigError(problems)
        home = WorkDir(Path(workdir))
        if problems := strange_problems("workdir", home.path):
            raise ConfigError(problems)
        config = home.read_config()
        task = tasks.build(config.task)
        if other_data := home.data_problems(task.digest):
            raise ConfigError(other_data)
        stored = home.read_stored()
        if stored is None:
            allowed = "a sweep that has begun; run the sweep's command again, which writes it"
            raise ConfigError([Problem("WORKDIR", "plan.json is missing", f"{home.path}", allowed)])
        folders = finished_folders(home, stored.plans, extend.fingerprints(stored, config, task))
        return cls(home, config, task, extend.stacks_of(stored, config, task), folders)

    @property
    def names(self) -> list[str]:
        """Run ids, stack after stack."""
        return [name for folder in self.folders for name in folder.names_of_all()]

    @property
    def not_kept(self) -> list[str]:
        """Ids of the runs whose parameters do not stay when they finish, by `train.keep_finished`."""
        stacks = self.stacks.values()
        return [run.run_id for of in stacks for run in of.runs if run.run_id not in kept_runs(self.config, of)]

    def choose(self, word: str) -> str:
        """The run id that `word` means: itself, or by runs.csv the `best` or the `longest` finished run.

        The best has the lowest answer loss, or where the task knows of no answers the lowest val_loss. The longest was
        trained on most tokens, and among equals is the best.

        Raises:
          ConfigError: there is no such finished run, its parameters were not kept, or there is no table to choose by.
        """
        names = self.names
        if word in names:
            return word
        if word in BY_RANK and names:
            return self._by_rank(word, names)
        if word in self.not_kept or (word in BY_RANK and self.not_kept):
            raise ConfigError([self._not_kept_problem(word, names)])
        hint, allowed = closest(word, names), ", ".join((*names, *BY_RANK) if names else ["none has finished yet"])
        raise ConfigError([Problem("--run", "no finished run of that name", repr(word), allowed, hint)])

    def _by_rank(self, word: str, names: list[str]) -> str:
        try:
            table = read_runs(self.home.path)
        except (OSError, ValueError) as error:
            raise ConfigError([Problem("--run", f"no table to choose by ({error})", word, "a run id")]) from error
        not_kept = table["run_id"].isin(self.not_kept) & (table["status"] == FINISHED)
        table = table[table["run_id"].isin(names) | not_kept]
        if table.empty:
            what = f"{RUNS_FILE} has no finished run"
            raise ConfigError([Problem("--run", what, word, "the table of this sweep, or a run id")])
        loss = "answer_loss" if table["answer_loss"].notna().any() else "val_loss"
        by, ascending = ([loss, "run_id"], True) if word == BEST else (["tokens", loss], [False, True])
        found = table.sort_values(by, ascending=ascending)["run_id"].iloc[0]
        if found not in names:
            raise ConfigError([self._not_kept_problem(f"{word}, which is {found}", names)])
        return found

    def _not_kept_problem(self, word: str, names: Sequence[str]) -> Problem:
        what = f"its parameters are not kept (train.keep_finished = {self.config.train.keep_finished!r})"
        return Problem("--run", what, word, ", ".join(names) or "nothing: this sweep keeps the parameters of no run")

    def stack_of(self, run_id: str) -> Stack:
        """The runs of the same shape. Raises ConfigError if the config has none of that name."""
        name = self._folder_of(run_id).origin.stack
        if name not in self.stacks:
            raise ConfigError(
                [Problem("--run", f"{self.home.plan_file} plans other stacks than {self.home.config_file}")]
            )
        return self.stacks[name]

    def model(self, run_id: str) -> Model:
        """Raises ConfigError where a user's own model cannot be made."""
        shape = cost.model_shape(self.stack_of(run_id).shape, self.task)
        return by_name.build(dataclasses.replace(shape, target=devices.target(jax.local_devices()[0])))

    def params(self, run_ids: Sequence[str], model: Model) -> dict[str, Params]:
        """Run id -> parameters, of runs of one model; each checkpoint is opened once. Raises ConfigError."""
        found: dict[str, Params] = {}
        for run_id in run_ids:
            if run_id not in found:
                at_once = _parameters(self._folder_of(run_id), run_id)
                found |= {name: params for name, params in at_once.items() if name in run_ids}
        for run_id, params in found.items():
            _check_params(run_id, params, model)
        return found

    def _folder_of(self, run_id: str) -> CheckpointFolder:
        return next(folder for folder in self.folders if run_id in folder.names_of_all())


def load_run(workdir: str | Path, run_id: str) -> SavedRun:
    """(task, model, params) of a finished run; `run_id` is as in runs.csv, or `best` or `longest` (`choose`).

    The work directory is only read.

    Raises:
      ConfigError: there is no such finished run (the message names those that there are), or its files are damaged.
      FileNotFoundError: `workdir` is no work directory.
    """
    finished = FinishedRuns.open(workdir)
    run_id = finished.choose(run_id)
    model = finished.model(run_id)
    return SavedRun(finished.task, model, finished.params([run_id], model)[run_id])


def finished_folders(
    home: WorkDir, plans: Sequence[StackPlan], sweep_sha256: Mapping[str, str]
) -> list[CheckpointFolder]:
    """Where the parameters of finished runs lie, a folder for each stack; `sweep_sha256`: stack -> fingerprint."""
    return [CheckpointFolder(home.finished(plan.name), Origin.by(sweep_sha256[plan.name], plan)) for plan in plans]


def _parameters(folder: CheckpointFolder, run_id: str) -> dict[str, Params]:
    """The parameters of a run and of all that finished with it. Raises ConfigError if they are damaged."""
    steps = [step for step in folder.steps() if run_id in folder.names(step)]
    good = [step for step in steps if not folder.problems(step)]
    if not good:
        problems = [problem for step in steps for problem in folder.problems(step)]
        raise ConfigError([Problem("--run", f"the parameters of {run_id} are damaged: {'; '.join(problems)}")])
    return folder.restore(good[0])


def _check_params(run_id: str, params: Params, model: Model) -> None:
    if strange := mismatches(model.specs, params):
        named = f"{'; '.join(strange[:3])}{f'; {len(strange) - 3} more' if len(strange) > 3 else ''}"
        what = f"the parameters of {run_id} are not those of its model"
        raise ConfigError([Problem("--run", what, named)])
