"""Studies of other losses in Pythons of their own: fits work on small arrays, mostly under Python's lock.

A child is told by a pipe what to study, and answers by one. (multiprocessing would run the caller's script again in
every child, or fork a process in which jax has threads.)
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from analysis.points import Convention, Source
from analysis.study import LossStudy, study_loss

CHILD = [sys.executable, "-c", "from analysis import elsewhere; elsewhere.answer()"]


@contextmanager
def studying(
    source: Source, conventions: list[Convention], bootstrap: int, processes: int
) -> Iterator[Callable[[], list[LossStudy]]]:
    """Begins to study `conventions` in that many children at once; gives a function that waits for the studies.

    With no processes the studies are made here, before it is given.
    """
    if not processes:
        studies = [study_loss(source, convention, bootstrap=bootstrap) for convention in conventions]
        yield lambda: studies
        return
    with ThreadPoolExecutor(processes) as pool:
        begun = [pool.submit(_study, source, convention, bootstrap) for convention in conventions]
        yield lambda: [study.result() for study in begun]


def _study(source: Source, convention: Convention, bootstrap: int) -> LossStudy:
    question = pickle.dumps((source, convention, bootstrap))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    done = subprocess.run(CHILD, input=question, stdout=subprocess.PIPE, env=environment, check=True)
    return pickle.loads(done.stdout)


def answer() -> None:
    """The child: studies what it is asked for on its standard input."""
    source, convention, bootstrap = pickle.load(sys.stdin.buffer)
    sys.stdout.buffer.write(pickle.dumps(study_loss(source, convention, bootstrap=bootstrap)))
