"""Tasks. Constructing one is cheap (it serves `--plan`); its arrays are built on first use."""

from vsweep.config.sweep_config import TaskConfig
from vsweep.tasks.base import Task


def build(config: TaskConfig) -> Task:
    """The task that a configuration names; its arrays are not built yet."""
    from vsweep.tasks.addition import Addition

    return {"addition": Addition}[config.name](config)
