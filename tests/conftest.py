"""Every test runs on two CPU devices, with one compile cache for all of them; the longest files begin first.

Compiling as users do takes five times as long as training what tests train. Where no test is about what the compiler
makes of a program, it therefore optimizes nothing: `QUICK`. Tests of bits in a stack ask for `users_compiler`, and
those that are slow all compile as users do.
"""

import gc
import os
import signal
from pathlib import Path

import pytest

CACHE = Path(__file__).parents[1] / ".cache" / "jax"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, here and in every program that a test starts

QUICK = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
AS_USERS = {"xla_backend_optimization_level": 3, "xla_cpu_use_fusion_emitters": True}  # XLA's defaults

# A worker takes file after file. One that takes long and comes last would leave the other workers idle.
LONGEST = (
    *("test_killed", "test_stack", "test_every_pair", "test_sweep", "test_trunks", "test_extend", "test_by_name"),
    *("test_models", "test_analyse", "test_families", "test_own_folder", "test_numbers", "test_reading"),
    *("test_large_tables", "test_tutorial", "test_benchmarks_stack", "test_first_screen", "test_launch", "test_groups"),
)


def pytest_configure(config):
    if config.option.markexpr == "not slow":
        os.environ.setdefault("XLA_FLAGS", QUICK)  # before JAX is imported; programs that tests start inherit it
    gc.set_threshold(100_000, 20, 50)  # traced programs and tables are many objects, and few of them are garbage


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture(scope="session", autouse=True)
def one_process():
    """As on a machine with one core: studies in other processes are the same to the last bit, and take seconds more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "cpu_count", lambda: 1)
        yield


@pytest.fixture
def several_processes(monkeypatch) -> None:
    """An analysis studies its losses in other processes, as it does where there are several cores."""
    monkeypatch.setattr(os, "cpu_count", lambda: 3)


@pytest.fixture(scope="module")
def users_compiler():
    """What is lowered and compiled meanwhile is optimized as it is for users; gives the `compiler_options` of that."""
    import jax  # the analysis is tested without it

    compile_quickly = jax.stages.Lowered.compile

    def compile_as_users_do(lowered, compiler_options=None, **keywords):
        return compile_quickly(lowered, {**AS_USERS, **(compiler_options or {})}, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax.stages.Lowered, "compile", compile_as_users_do)
        yield AS_USERS
