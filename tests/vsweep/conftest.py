"""A sweep small enough to be trained many times, and one finished copy of it."""

import pytest

from tests.vsweep import small
from vsweep import devices


@pytest.fixture(scope="session")
def mesh():
    return devices.slots_mesh()


@pytest.fixture(scope="session")
def finished_sweep(tmp_path_factory):
    """The work directory of an uninterrupted small sweep."""
    workdir = tmp_path_factory.mktemp("finished")
    small.train(small.config(), workdir)
    return workdir
