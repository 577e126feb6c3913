"""What programs are compiled for, by the device that they are for."""

import os
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from jax._src import compiler

from vsweep.config.problems import ConfigError
from vsweep.host import devices
from vsweep.host.hardware import Hardware
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


def mesh_of(platform: str, stats: dict | None) -> SimpleNamespace:
    """A mesh of one device that reports `stats` of its memory."""
    device = SimpleNamespace(
        platform=platform, device_kind="Some Card", compute_capability="8.6", memory_stats=lambda: stats
    )
    return SimpleNamespace(devices=np.array([device]), size=1)


@pytest.mark.parametrize("stats", [None, {}, {"bytes_in_use": 3}])
def test_memory_that_a_device_does_not_report_is_asked_for(stats):
    with pytest.raises(ConfigError, match=r"train.device_memory_gib: needed here, because Some Card does not report"):
        devices.hardware(mesh_of("gpu", stats))
    assert devices.hardware(mesh_of("gpu", stats), 12.0).memory_bytes == 12 * 2**30


def test_memory_that_a_config_names_stands_before_that_of_the_device():
    mesh = mesh_of("gpu", {"bytes_limit": 2**34})
    assert devices.hardware(mesh) == Hardware("Some Card", 1, 2**34, bfloat16=True, capability=8.6)
    assert devices.hardware(mesh, 4.0).memory_bytes == 2**32


def test_a_core_has_its_share_of_the_machine():
    assert devices.memory_bytes(mesh_of("cpu", None)) > 2**20


def test_what_autotuning_has_chosen_is_kept_beside_compiled_programs(tmp_path, jax_setting):
    jax_setting("jax_enable_compilation_cache", True)
    devices.use_compile_cache(tmp_path / "compile_cache")
    options = compiler.get_compile_options(num_replicas=1, num_partitions=1)
    kept = Path(options.executable_build_options.debug_options.xla_gpu_per_fusion_autotune_cache_dir)
    assert kept.parent == Path(jax.config.jax_compilation_cache_dir)


def test_a_container_s_limit_is_the_memory_of_the_machine():
    assert 2**28 < devices.host_memory_bytes() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_a_driver_is_named_where_the_system_tells_it(tmp_path):
    told = tmp_path / "version"
    told.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\nGCC\n")
    assert devices.driver_version(told) == "535.104.05"
    assert devices.driver_version(tmp_path / "missing") == ""


@pytest.mark.parametrize("name", ["jax-cuda12-plugin", "jax_cuda13_pjrt", "nvidia-cublas-cu12", "nvidia-cudnn"])
def test_packages_of_accelerators_are_known_by_name(name):
    assert devices.ACCELERATOR_LIBRARIES.fullmatch(name)
    assert not devices.ACCELERATOR_LIBRARIES.fullmatch(f"{name}-extra")
