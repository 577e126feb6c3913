"""Every test runs on two CPU devices, with one compile cache for all of them; the longest files begin first."""

import os
import signal
from pathlib import Path

CACHE = Path(__file__).parents[1] / ".cache" / "jax"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, here and in every program that a test starts

# A worker takes file after file. One that takes long and comes last would leave the other workers idle.
LONGEST = (
    *("test_killed", "test_trunks", "test_by_name", "test_sweep", "test_benchmarks_stack", "test_stack"),
    *("test_analyse", "test_large_tables", "test_own", "test_groups"),
)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))
