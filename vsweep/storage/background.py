"""Writing in the background: training goes on while a checkpoint is saved, hashed and read again."""

import concurrent.futures
from collections.abc import Callable
from typing import Any, Self


class BackgroundWriter:
    """One job at a time, in one thread. Leaving it waits for the job under way; an error is raised once, never lost."""

    def __init__(self):
        self._pool = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer")
        self._job: concurrent.futures.Future | None = None

    @property
    def is_busy(self) -> bool:
        """Whether there is a job whose end has not been collected."""
        return self._job is not None

    def start(self, job: Callable[[], Any]) -> None:
        """Starts `job`; what the one before it returned must have been collected."""
        assert not self.is_busy, "the job before was not collected"
        self._job = self._pool.submit(job)

    def collect(self, *, wait: bool) -> list:
        """[what the job returned] once it has ended, else []; raises its error. With `wait`, waits for its end."""
        if self._job is None or not (wait or self._job.done()):
            return []
        job, self._job = self._job, None
        return [job.result()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self._pool.shutdown(wait=True)
        self.collect(wait=True)
