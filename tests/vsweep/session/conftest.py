"""Work directories that a session finds: of a sweep that was stopped, or made by hand."""

import shutil

import numpy as np
import pytest

from tests.vsweep import small
from vsweep import tasks
from vsweep.config import sweep_config
from vsweep.host import devices
from vsweep.host.progress import SilentProgress
from vsweep.models import accounting
from vsweep.plan import sweep_plan
from vsweep.plan.cost import model_shape
from vsweep.session import resume
from vsweep.storage import checkpoint
from vsweep.storage.workdir import WorkDir


class Told(SilentProgress):
    """A display that keeps what it is told; it may also stop the sweep like small.StopAfter."""

    def __init__(self):
        self.lines = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def workdir(interrupted_sweep, tmp_path):
    return shutil.copytree(interrupted_sweep, tmp_path / "copy")


def contents(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def too_little_memory_for_the_plan(monkeypatch, plan) -> None:
    """One model fits, the slots of the stored plan do not."""
    sweep = small.sweep(small.config())
    per_slot = accounting.slot_bytes(model_shape(sweep.stacks[0].shape, sweep.task), 8)
    assert plan.slots == 4
    monkeypatch.setattr(devices, "memory_bytes", lambda mesh: int(1.5 * per_slot))


def begun(home: WorkDir, values: dict, device_count: int, steps: dict[str, int]) -> resume.Start:
    """A sweep planned for `device_count` devices whose stacks have come to `steps`."""
    parsed = sweep_config.from_dict(values)
    task = tasks.build(parsed.task)
    mesh = devices.slots_mesh(device_count)
    sweep = sweep_plan.build_plan(parsed, task, devices.hardware(mesh))
    home.write_plan(sweep.plans, [resume.environment(sweep.hardware)])
    for plan in sweep.plans:
        if plan.name in steps:
            checkpoint.to_resume(home, sweep, plan).save(steps[plan.name], {"x": np.zeros(1)}, {})
    return resume.Start(sweep, mesh, ())


def started(home: WorkDir, values: dict, **keywords) -> resume.Start:
    parsed = sweep_config.from_dict(values)
    return resume.start(parsed, tasks.build(parsed.task), home, **keywords)
