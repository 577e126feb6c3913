"""A sweep small enough to be trained many times, and one finished copy of it."""

import jax
import pytest

from tests.vsweep import small
from vsweep.host import devices
from vsweep.train import timing
from vsweep.train.events import Compiling, Interrupted, Planned


@pytest.fixture(scope="session")
def mesh():
    return devices.slots_mesh()


@pytest.fixture(scope="session")
def finished_sweep(tmp_path_factory):
    """The work directory of an uninterrupted small sweep."""
    workdir = tmp_path_factory.mktemp("finished")
    small.train(small.config(), workdir)
    return workdir


@pytest.fixture(scope="session")
def interrupted_sweep(tmp_path_factory):
    """A work directory whose first session ended after its first chunk."""
    workdir = tmp_path_factory.mktemp("interrupted")
    events = small.train(small.config(), workdir, progress=small.StopAfter(1))
    assert [type(event) for event in events] == [Planned, Compiling, Interrupted]
    return workdir


@pytest.fixture
def jax_setting():
    """A function that gives a setting of JAX's another value until the end of the test."""
    before = {}

    def change(name: str, value) -> None:
        before.setdefault(name, jax.config.values[name])
        jax.config.update(name, value)

    yield change
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    """A dispatch is as long as the config says, however slow the machine: tests stop at chunks that they can name."""
    monkeypatch.setattr(timing, "AT_ONCE_S", 3600.0)
