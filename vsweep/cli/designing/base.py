"""What a design is made for: the task, model and batch of a config, and the sizes that the model may have."""

import dataclasses
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vsweep import tasks
from vsweep.analysis.designer.search import Size
from vsweep.cli.designing.options import Options
from vsweep.config import default_dict, sweep_config
from vsweep.config.problems import ConfigError, Problem
from vsweep.config.sweep_config import SweepConfig
from vsweep.host import devices
from vsweep.host.hardware import Hardware
from vsweep.models import accounting
from vsweep.plan.grid import shapes
from vsweep.plan.shape import model_shape
from vsweep.tasks.base import NO_PAD, HeldOut, Task

LEAST_STEPS = 100  # of a run; and twice its warmup
WIDEST = 16_384
WIDTHS = 160  # that are tried, evenly in log
COUNTS = {"params": accounting.params, "params_non_embedding": accounting.params_non_embedding}


@dataclasses.dataclass(frozen=True)
class CountedTask:
    """A task of which only the numbers are known that a plan asks for."""

    vocabulary: int
    sequence_length: int
    name: str = "counted"
    pad: int = NO_PAD
    eos: int | None = None
    floor: float | None = None
    train_examples: int = 2**31 - 1
    digest: str = ""
    more_held_out: Mapping[str, HeldOut] = dataclasses.field(default_factory=dict)
    sources: Mapping[str, range] = dataclasses.field(default_factory=dict)
    metrics: Mapping = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def mean_label_tokens(self) -> float:
        return float(self.sequence_length - 1)


@dataclasses.dataclass(frozen=True)
class Base:
    """A config without a sweep, its task, and the machine."""

    config: SweepConfig
    task: Task
    hardware: Hardware
    of: str  # what it was taken from

    @property
    def batch_tokens(self) -> float:
        """Label tokens of a step."""
        return self.config.train.batch_size * self.task.mean_label_tokens

    @property
    def least_tokens(self) -> float:
        """Of a run that trains at all."""
        warmup = self.config.optimizer.warmup_steps
        steps = max(LEAST_STEPS, 2 * warmup if isinstance(warmup, int) else 0)  # else a formula, judged by the plan
        return steps * self.batch_tokens

    @property
    def epoch_tokens(self) -> float:
        """Label tokens of all training examples."""
        unique = self.config.train.unique_examples
        return (
            unique if isinstance(unique, int) and unique else self.task.train_examples
        ) * self.task.mean_label_tokens

    @property
    def most_tokens(self) -> float:
        """That train.max_epochs allows."""
        epochs = self.config.train.max_epochs
        return epochs * self.epoch_tokens if epochs else np.inf

    def sizes(self, flops: float, size: str) -> tuple[Size, ...]:
        """Widths that are multiples of head_dim, up to one that costs `flops` in the shortest run alone."""
        head_dim = self.config.model.head_dim
        heads = np.unique(np.geomspace(1, WIDEST // head_dim, WIDTHS).round().astype(int))
        found = []
        for width in (head_dim * heads).tolist():
            params = COUNTS[size](self.model(width))
            if 6 * params * self.least_tokens > flops:
                break
            found.append(Size(width, float(params)))
        return tuple(found)

    def model(self, width: int):
        """The model's shape at a width."""
        return model_shape(shapes(self.with_sweep({"width": [width]}))[0], self.task)

    def with_sweep(self, sweep: Mapping, name: str | None = None) -> SweepConfig:
        """The config with a sweep. Raises ConfigError with every problem."""
        values = self.config.to_dict()
        return sweep_config.from_dict({**values, "name": name or self.config.name, "sweep": dict(sweep)})


def of_options(options: Options) -> Base:
    """What the command line names: a config, the numbers of a task, or the defaults.

    Raises:
      ConfigError: no such config, or one that is wrong.
    """
    if options.config:
        config = from_file(options.config)
        return Base(config, tasks.build(config.task), hardware(config), options.config)
    config = sweep_config.from_dict(default_dict())
    if options.vocabulary:
        task = CountedTask(options.vocabulary, options.positions + 1)
        of = f"vocabulary {options.vocabulary}, {options.positions} positions, and the defaults of vsweep"
        return Base(config, task, hardware(config), of)
    return Base(config, tasks.build(config.task), hardware(config), f"the defaults of vsweep, task {config.task.name}")


def hardware(config: SweepConfig) -> Hardware:
    """Of this machine, with the memory that the config says, if it does."""
    devices.use_cpu_cores_as_devices()
    return devices.hardware(devices.slots_mesh(0), config.train.device_memory_gib)


def from_file(name: str) -> SweepConfig:
    """The config of `markov`, `markov:smoke` or `configs/mine.py:variant`, without its sweep."""
    from vsweep.cli.main import config_flag

    try:
        file, colon, variant = config_flag(name).removeprefix("--config=").partition(":")
    except ValueError as error:
        raise ConfigError([Problem("--config", str(error))]) from None
    folder = str(Path(file).absolute().parent)
    if folder not in sys.path:  # a user's own task stands beside the config
        sys.path.append(folder)
    try:
        get_config = runpy.run_path(file)["get_config"]
        values = (get_config(variant) if colon else get_config()).to_dict()
    except Exception as error:  # a config file is the user's code and may raise anything
        allowed = "a file with get_config(), such as configs/addition.py:laptop"
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ConfigError([Problem("--config", told, repr(name), allowed)]) from None
    return sweep_config.from_dict({**values, "sweep": {}})
