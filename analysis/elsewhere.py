"""Studies of other losses in Pythons of their own: fits work on small arrays, mostly under Python's lock.

A child is told by a pipe what to study, and answers by one, in JSON. (multiprocessing would run the caller's script
again in every child, or fork a process in which jax has threads; and it pickles.)
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from json import JSONDecodeError

from analysis import exact_json
from analysis.points import Convention, Source
from analysis.study import LossStudy, study_loss

CHILD = [sys.executable, "-P", "-c", "from analysis import elsewhere; elsewhere.answer()"]


class Children:
    """The processes at work. Once it is closed they are ended, and so is any that starts later."""

    def __init__(self):
        self._lock = threading.Lock()
        self._started: list[subprocess.Popen] = []
        self._closed = False

    def ask(self, question: str) -> str:
        """What a child answers. Raises CalledProcessError if it fails, or was ended."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        # A session of its own: Ctrl-C on a terminal is for this program, which ends its children itself.
        with subprocess.Popen(CHILD, **pipes, env=environment, text=True, start_new_session=True) as child:
            with self._lock:
                self._started.append(child)
                if self._closed:
                    child.kill()
            answered, _ = child.communicate(question)
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, CHILD)
        return answered

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for child in self._started:
                child.kill()


@contextmanager
def studying(
    source: Source, conventions: list[Convention], bootstrap: int, processes: int
) -> Iterator[Callable[[], list[LossStudy]]]:
    """Begins to study `conventions` in that many children at once; gives a function that waits for the studies.

    With no processes the studies are made here, before it is given. Left by an error, it ends the children.
    """
    if not processes:
        studies = [study_loss(source, convention, bootstrap=bootstrap) for convention in conventions]
        yield lambda: studies
        return
    children = Children()
    with ThreadPoolExecutor(processes) as pool:
        begun = [pool.submit(_study, children, source, convention, bootstrap) for convention in conventions]
        try:
            yield lambda: [study.result() for study in begun]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            children.close()


def _study(children: Children, source: Source, convention: Convention, bootstrap: int) -> LossStudy:
    return exact_json.loads(children.ask(exact_json.dumps((source, convention, bootstrap))))


def answer() -> None:
    """The child: studies what it is asked for on its standard input."""
    try:
        source, convention, bootstrap = exact_json.loads(sys.stdin.read())
        print(exact_json.dumps(study_loss(source, convention, bootstrap=bootstrap)), end="", flush=True)
    except (JSONDecodeError, BrokenPipeError):
        os._exit(1)  # whoever asks was killed, in the middle of the question or before the answer: nobody listens
