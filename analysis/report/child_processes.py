"""Studies of other losses in processes of their own: fits work on small arrays, mostly under Python's lock.

A pipe tells a child what to study, a line of JSON each time, and another one brings its answers. A child stays for the
next question, because loading the libraries takes it longer than many a study. (multiprocessing would run the caller's
script again in every child, or fork a process in which jax has threads; and it pickles.) A child may give no answer,
because it could not be started, was killed or failed. Then its study is made here: a machine that is short of memory
or of processes makes an analysis slower but not different. What is wrong with a study itself is raised here.
"""

import contextlib
import functools
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from json import JSONDecodeError

from vsweep.analysis.data.source import Convention, Source
from vsweep.analysis.formatting import one_line
from vsweep.analysis.report import exact_json
from vsweep.analysis.sections import study_loss
from vsweep.analysis.sections.base import LossStudy

CHILD = [sys.executable, "-P", "-c", "from vsweep.analysis.report import child_processes; child_processes.answer()"]
OUT_OF_MEMORY = {signal.SIGKILL: "was killed, most likely because memory ran out"}  # what the kernel does then
CUT_OFF = "was cut off in its answer"


class NoAnswer(Exception):
    """A child did not answer; says why in a few words."""


class Child:
    """One process, which answers one question after the other until it is killed."""

    def __init__(self):
        """Raises NoAnswer where it cannot be started."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
        pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE) | {"text": True, "errors": "replace"}
        self._open = contextlib.ExitStack()
        try:
            # A file and not a pipe, which is full when nobody reads it.
            self._complaints = self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
            # A session of its own: Ctrl-C on a terminal is for this program, which ends its children itself.
            apart = {"stderr": self._complaints, "start_new_session": True, "env": environment}
            self._process = self._open.enter_context(subprocess.Popen(CHILD, **pipes, **apart))
        except OSError as error:
            self._open.close()
            raise NoAnswer(f"could not be started ({error.strerror})") from error

    def ask(self, question: str) -> str:
        """What it answers, a line. Raises NoAnswer if it ends instead."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(question + "\n")
            self._process.stdin.flush()
            answered = self._process.stdout.readline()
            if answered.endswith("\n"):
                return answered
        status = self._process.wait()
        self._complaints.seek(0)
        raise NoAnswer(_ending(status, self._complaints.read().decode(errors="replace")))

    def kill(self) -> None:
        """Ends it; whoever waits for its answer gets none."""
        self._process.kill()

    def bury(self) -> None:
        """Waits for its end and closes its pipes; nobody may be waiting for an answer."""
        with contextlib.suppress(BrokenPipeError):  # of a question that it did not read to its end
            self._open.close()


class Children:
    """The processes at work, and those that wait for a question. Closed, they are ended, and so is any that starts."""

    def __init__(self):
        self._lock = threading.Lock()
        self._started: list[Child] = []
        self._idle: list[Child] = []
        self._closed = False

    def study(self, source: Source, convention: Convention, bootstrap: int) -> LossStudy:
        """The study that a child makes. Raises NoAnswer if it fails, was ended, or cannot be started.

        A child whose answer is none is not asked again: the answer to this question might be taken for the next one's.
        """
        with self._lock:
            child = self._idle.pop() if self._idle else None
        child = child or self._start()
        answered = child.ask(exact_json.dumps((source, convention, bootstrap)))
        try:
            study = exact_json.loads(answered)
        except JSONDecodeError as error:
            raise NoAnswer(CUT_OFF) from error
        with self._lock:
            self._idle.append(child)
        return study

    def _start(self) -> Child:
        child = Child()
        with self._lock:
            self._started.append(child)
            if self._closed:
                child.kill()
        return child

    def close(self) -> None:
        """Ends all children, and any that is still to start."""
        with self._lock:
            self._closed = True
            for child in self._started:
                child.kill()

    def bury(self) -> None:
        """Leaves nothing of them; nobody asks any more."""
        for child in self._started:
            child.bury()


def _ending(status: int, complained: str) -> str:
    """How a child ended, with the last line of its traceback if it left one."""
    if status < 0:
        return OUT_OF_MEMORY.get(-status, f"was ended by signal {-status}")
    if not status:
        return CUT_OFF
    said = [line for line in complained.splitlines() if line.strip()]
    return f"failed ({said[-1] if said else f'status {status}'})"


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
    pool = ThreadPoolExecutor(processes)
    begun = [_begin(pool, children, source, convention, bootstrap) for convention in conventions]

    @functools.cache
    def studies_of_children() -> list[LossStudy]:
        # One after the other, and not in the pool: memory is what there may be too little of.
        return [wait() for wait in begun]

    try:
        yield studies_of_children
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        children.close()
        pool.shutdown()
        children.bury()


def _begin(
    pool: ThreadPoolExecutor, children: Children, source: Source, convention: Convention, bootstrap: int
) -> Callable[[], LossStudy]:
    """Asks a child; the function that is given waits for its study, or makes it."""
    try:
        asked = pool.submit(children.study, source, convention, bootstrap)
    except RuntimeError as error:  # a system without room for another process has none for a thread either
        reason = NoAnswer(f"could not be started ({error})")
        return lambda: _here(source, convention, bootstrap, reason)

    def wait() -> LossStudy:
        try:
            return asked.result()
        except NoAnswer as error:
            return _here(source, convention, bootstrap, error)

    return wait


def _here(source: Source, convention: Convention, bootstrap: int, reason: Exception) -> LossStudy:
    message = f"analysis: the process for {convention.loss} {reason}; its study is made in this one instead"
    logging.getLogger(__name__).warning("%s", one_line(message))
    return study_loss(source, convention, bootstrap=bootstrap)


def answer() -> None:
    """The child: makes the study that each line of its standard input asks for. What else is printed is no answer."""
    try:
        with contextlib.redirect_stdout(sys.stderr) as _, open(os.dup(1), "w", encoding="utf-8") as answers:
            for line in sys.stdin:
                source, convention, bootstrap = exact_json.loads(line)
                print(exact_json.dumps(study_loss(source, convention, bootstrap=bootstrap)), file=answers, flush=True)
    except (JSONDecodeError, BrokenPipeError):
        os._exit(1)  # whoever asks was killed, in the middle of the question or before the answer: nobody listens
