"""Reads work directories again while somebody looks, and says what is new. Without a reader it does nothing."""

import contextlib
import json
import math
import threading
import time
import traceback
from collections.abc import Iterator, Sequence

from vsweep.serve.state.directory import Directory

EVERY_S = 1.0
REST = 10  # the next look waits so many times what the last one took: training has the processor


class Watcher:
    """The directories of a page, kept up to date by a thread as long as a stream is open."""

    def __init__(self, directories: Sequence[Directory]):
        self.directories = list(directories)
        self._changed = threading.Condition()
        self._readers = 0

    def start(self) -> None:
        """Begins to look, in a thread that ends with the process."""
        threading.Thread(target=self._watch, daemon=True).start()

    @contextlib.contextmanager
    def reading(self, most: int) -> Iterator[bool]:
        """Somebody reads inside; False where `most` others do already."""
        with self._changed:
            allowed = self._readers < most
            self._readers += allowed
            self._changed.notify_all()
        try:
            yield allowed
        finally:
            with self._changed:
                self._readers -= allowed

    def news(self, seen: list[int]) -> Iterator[str]:
        """Messages about directories with a version above the one in `seen`, which follows them.

        Waits for one, up to `EVERY_S` seconds.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._new(seen), timeout=EVERY_S)
            messages = []
            for place in self._new(seen):
                here = self.directories[place]
                message = {"place": place, "of": len(self.directories), "summary": here.summary}
                message["curves"] = here.curves_after(seen[place])
                messages.append(json.dumps(_finite(message), allow_nan=False))
                seen[place] = here.version
        yield from messages

    def _new(self, seen: list[int]) -> list[int]:
        return [place for place, here in enumerate(self.directories) if here.version > seen[place]]

    def _watch(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._readers)
                started = time.monotonic()
                if any([_refresh(here) for here in self.directories]):
                    self._changed.notify_all()
            time.sleep(max(EVERY_S, REST * (time.monotonic() - started)))


def _refresh(here: Directory) -> bool:
    """A mistake in this program is said where somebody can read it, and ends neither the page nor its other parts."""
    try:
        return here.refresh()
    except Exception:
        traceback.print_exc()
        return False


def _finite(value: object) -> object:
    """The same with None for what JSON has no number for."""
    if isinstance(value, dict):
        return {str(name): _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
