"""How much work the devices get at once, so that a stop comes in time, and how long a stop will take.

All of it is measured in the session itself. It only splits the work: no result depends on it.
"""

import contextlib
import time
from collections.abc import Iterator

CHUNKS_IN_FLIGHT = 2
AT_ONCE_S = 1.0  # what one dispatch may take, unless a single step or pass takes longer


class Pace:
    """Of one stack. A pass is the evaluation of one slot on each device, on the examples of one dispatch."""

    def __init__(self, save_s: float):
        """`save_s` is what a save is expected to take before one has been measured."""
        self._save_s = save_s
        self._longest_save_s: float | None = None
        self._saving_since: float | None = None
        self._step_s: float | None = None
        self._pass_s: float | None = None

    @property
    def steps(self) -> int:
        """That one dispatch may hold; one until it is known what a step takes."""
        return _how_many(self._step_s)

    @property
    def passes(self) -> int:
        """That one dispatch may hold."""
        return _how_many(self._pass_s)

    @property
    def chunks_in_flight(self) -> int:
        """The host keeps ahead of the devices, but not where a stop would have to wait for it."""
        return CHUNKS_IN_FLIGHT if self._step_s is not None and self._step_s < AT_ONCE_S else 1

    def is_long(self, passes: int) -> bool:
        """Whether a stop should not wait for an evaluation of so many passes."""
        return passes > self.passes

    def trained(self, steps: int, seconds: float) -> None:
        self._step_s = seconds / steps

    def evaluated(self, passes: int, seconds: float) -> None:
        if passes:
            self._pass_s = seconds / passes

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """A save takes place inside; in whatever thread."""
        started = self._saving_since = time.perf_counter()
        yield
        self._longest_save_s = max(self._longest_save_s or 0.0, time.perf_counter() - started)
        self._saving_since = None

    def stop_s(self) -> float:
        """How long it takes until everything is saved: what is in flight, the save under way, and one more."""
        unit_s = max(AT_ONCE_S, self._step_s or 0.0, self._pass_s or 0.0)
        since, save_s = self._saving_since, self._longest_save_s or self._save_s
        under_way_s = 0.0 if since is None else max(0.0, save_s - (time.perf_counter() - since))
        return self.chunks_in_flight * unit_s + under_way_s + save_s


def _how_many(seconds: float | None) -> int:
    return 1 if seconds is None else max(1, int(AT_ONCE_S / max(seconds, 1e-9)))
