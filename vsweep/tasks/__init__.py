"""Tasks. Constructing one is cheap (it serves `--plan`); its arrays are built on first use."""

import re
from typing import Any

from vsweep.config import registry
from vsweep.config.problems import ConfigError, Problem
from vsweep.config.sweep_config import TaskConfig
from vsweep.tasks import mixture
from vsweep.tasks.base import CompletedTask, Task


def build(config: TaskConfig, *, planning: bool = False) -> Task:
    """The task that a configuration names, built in or by import path. Its arrays are not built yet.

    `planning`: only its numbers are needed. A class with `expected(options)` may then give a task that has no data,
    or None, and then the task itself is made.

    Raises:
      ConfigError: a user's own task cannot be made.
    """
    from vsweep.tasks.addition import Addition

    if config.name == "addition":
        return Addition(config)
    try:
        kind = registry.attribute("task", registry.BUILT_IN_TASKS.get(config.name, config.name))
    except registry.CannotLoad as error:  # a config read in another folder
        raise ConfigError([error.problem]) from error
    options = {name: value for name, value in vars(config).items() if name != "name"}
    try:
        own = _own(kind, options, planning=planning)
        task = CompletedTask(config.name, own)
        _touch(task)
    except ConfigError:  # it says already what is wrong
        raise
    except Exception as error:  # a user's code may raise anything
        raise ConfigError(
            [Problem("task.name", f"{config.name} cannot be made ({registry.in_short(error)})")]
        ) from error
    return task


def _own(kind: Any, options: dict[str, Any], *, planning: bool) -> Any:
    if not hasattr(kind, "Options"):
        return kind()
    given = kind.Options(**options)
    expected = kind.expected(given) if planning and hasattr(kind, "expected") else None
    return kind(given) if expected is None else expected


def _touch(task: Task) -> tuple[Any, ...]:
    """Whatever a plan asks of a task, so that a mistake in it is found here."""
    problems = [
        Problem("task.name", f"{name} of {task.name} is wrong", repr(value), "an integer from 2")
        for name, value in (("vocabulary", task.vocabulary), ("sequence_length", task.sequence_length))
        if not isinstance(value, int) or value < 2
    ]
    if not problems and task.train_examples < 1:
        problems = [
            Problem("task.name", f"{task.name} has no training examples", str(task.train_examples), "1 or more")
        ]
    if problems := problems or _source_problems(task):
        raise ConfigError(problems)
    return (task.train_examples, task.mean_label_tokens, task.floor)


def _source_problems(task: CompletedTask) -> list[Problem]:
    """Of the ranges of examples that are sources."""
    found = []
    for name, numbers in task.sources.items():
        of = f"source {name} of {task.name}"
        if not re.fullmatch(mixture.NAME, str(name)):
            found.append(Problem("task.name", f"{of} has a bad name", repr(name), "letters, digits and _"))
        if not isinstance(numbers, range) or numbers.step != 1 or not numbers or numbers.start < 0:
            found.append(Problem("task.name", f"{of} is no set of examples", repr(numbers), "range(first, end)"))
        elif numbers.stop > task.train_examples and not task.has_rows:
            got, allowed = repr(numbers), f"up to {task.train_examples}, the number of examples, or a task with rows"
            found.append(Problem("task.name", f"{of} has examples that there are not", got, allowed))
        elif numbers.stop > task.train_examples and not isinstance(task.label_tokens, int):
            allowed = f"up to {task.train_examples}, or label_tokens that are the same for all"
            found.append(Problem("task.name", f"{of} has examples without label_tokens", repr(numbers), allowed))
    return found
