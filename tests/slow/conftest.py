"""The fixtures of tests/vsweep, here too."""

from tests.vsweep.conftest import finished_sweep, interrupted_sweep

__all__ = ["finished_sweep", "interrupted_sweep"]
