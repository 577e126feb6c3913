"""What programs are compiled for, by the device that they are for."""

from types import SimpleNamespace

import jax
import pytest

from vsweep.host import devices
from vsweep.models.target import Target


@pytest.mark.parametrize(
    ("platform", "capability", "target"),
    [
        ("gpu", "7.5", Target("cuda", 7)),
        ("gpu", "8.0", Target("cuda", 8)),
        ("gpu", "12.0", Target("cuda", 12)),
        ("gpu", "gfx90a", Target("rocm")),
        ("tpu", None, Target("tpu")),
    ],
)
def test_a_device_says_what_is_compiled_for_it(platform, capability, target):
    assert devices.target(SimpleNamespace(platform=platform, compute_capability=capability)) == target


def test_a_core_is_the_default_target():
    assert devices.target(jax.local_devices(backend="cpu")[0]) == Target()
