"""Contestants in processes of their own, driven over a pipe: threads, memory and environment of one touch no other.

A `Team` is the workers of one lane: one, or one a core that begin together. Seconds of a team are those from the first
worker's start to the last one's end, by a clock that all processes share.
"""

import contextlib
import gc
import multiprocessing
import os
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks.stack.contestants import LANES, Lane, environment, pin
from benchmarks.stack.problem import Problem

PROCESSES_ON_GPU = 8


class WorkerFailed(Exception):
    """A contestant raised; the message is its traceback."""


@dataclass(frozen=True)
class Built:
    """A contestant that has been built and warmed up."""

    models: int
    quantum: int
    compile_s: float  # from nothing to the first steps, less the same steps again
    step_s: float
    flops: float  # of a step, where the contestant counts them itself
    device: str
    refused: str = ""  # why it does not take part after all


@dataclass(frozen=True)
class Learned:
    """Held-out losses of some models, nats a label token, before and after some steps."""

    before: list[float]
    after: list[float]


class Worker:
    """The contestants of one lane, by name; used in a process of its own, or directly by a test."""

    def __init__(self, kind: str, cores: int):
        self.lane = LANES[kind]
        self.cores = cores
        self.contestants: dict[str, object] = {}

    def build(self, name: str, problem: Problem, models: int) -> Built:
        problem = self.lane.problem(problem)
        _ = problem.label_tokens  # the data are made before the clock starts
        begin = time.monotonic()
        try:
            contestant = self.lane.build(problem, models, self.cores)
        except MemoryError as error:
            return Built(models, 1, 0.0, 0.0, 0.0, self.device(), refused=str(error))
        contestant.train(contestant.quantum)
        first = time.monotonic()
        contestant.train(contestant.quantum)
        again_s = time.monotonic() - first
        self.contestants[name] = contestant
        compile_s = max(0.0, first - begin - again_s)
        step_s, flops = again_s / contestant.quantum, getattr(contestant, "flops", 0.0)
        return Built(contestant.models, contestant.quantum, compile_s, step_s, flops, self.device())

    def train(self, name: str, steps: int) -> tuple[float, float]:
        """(begin, end) on the clock of the machine."""
        begin = time.monotonic()
        self.contestants[name].train(steps)
        return begin, time.monotonic()

    def losses_around(self, problem: Problem, models: int, steps: int) -> Learned:
        """Held-out losses of new models, before and after `steps` steps."""
        contestant = self.lane.build(self.lane.problem(problem), models, self.cores)
        before = contestant.held_out_losses()
        contestant.train(steps)
        return Learned(before, contestant.held_out_losses())

    def drop(self) -> None:
        """Forgets all contestants."""
        self.contestants.clear()
        gc.collect()

    def device(self) -> str:
        if self.lane.package == "torch":
            import torch

            return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        import jax

        return jax.devices()[0].device_kind


def serve(pipe, kind: str, cores: int, pinned_to: int | None) -> None:
    """The loop of a worker process: (method, arguments) in, (result, traceback) out, until None comes."""
    if pinned_to is not None:
        pin(pinned_to)
    worker = Worker(kind, cores)
    while (message := pipe.recv()) is not None:
        method, arguments = message
        try:
            pipe.send((getattr(worker, method)(*arguments), None))
        except Exception:  # whatever it is, the other contestants go on and the table names it
            pipe.send((None, traceback.format_exc()))


class Team:
    """What is done with the workers of one lane, wherever they are."""

    def ask(self, method: str, *arguments) -> None:
        """Sends a request that `answers` waits for."""
        raise NotImplementedError

    def answers(self) -> list:
        """What each worker returned. Raises WorkerFailed if one of them failed."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def call(self, method: str, *arguments) -> list:
        self.ask(method, *arguments)
        return self.answers()

    def built(self) -> Built:
        """The answer to `build`: the models of all workers, the slowest times."""
        found: list[Built] = self.answers()
        return Built(
            models=sum(one.models for one in found),
            quantum=found[0].quantum,
            compile_s=max(one.compile_s for one in found),
            step_s=max(one.step_s for one in found),
            flops=sum(one.flops for one in found),
            device=found[0].device,
            refused=found[0].refused,
        )

    def train(self, name: str, steps: int) -> float:
        """Seconds that `steps` steps took."""
        times = self.call("train", name, steps)
        return max(end for _, end in times) - min(begin for begin, _ in times)


class ProcessTeam(Team):
    """Worker processes; they end with `close`, or with this process."""

    def __init__(self, lane: Lane, platform: str, cores: int):
        context = multiprocessing.get_context("spawn")
        pinned = process_cores(lane, platform, cores)
        self.lane = lane
        self.pipes, self.processes = [], []
        with _environment(environment(lane, platform, cores)):
            for core in pinned:
                ours, theirs = context.Pipe()
                process = context.Process(target=serve, args=(theirs, lane.kind, cores, core), daemon=True)
                process.start()
                theirs.close()
                self.pipes.append(ours)
                self.processes.append(process)

    def ask(self, method: str, *arguments) -> None:
        for pipe in self.pipes:
            pipe.send((method, arguments))

    def answers(self) -> list:
        try:
            replies = [pipe.recv() for pipe in self.pipes]
        except EOFError:
            raise WorkerFailed(f"the process of {self.lane.label} died") from None
        for _, error in replies:
            if error:
                raise WorkerFailed(error)
        return [result for result, _ in replies]

    def close(self) -> None:
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            with contextlib.suppress(OSError):  # it may have died
                pipe.send(None)
            process.join(timeout=10)
            if process.is_alive():
                process.kill()


def process_cores(lane: Lane, platform: str, cores: int) -> list[int | None]:
    """The core of each worker of a lane; None: any. A GPU's memory holds only so many processes."""
    if not lane.processes:
        return [None]
    return list(range(cores if platform == "cpu" else min(cores, PROCESSES_ON_GPU)))


class LocalTeam(Team):
    """One worker in this process: its environment is what it is."""

    def __init__(self, lane: Lane, _platform: str, cores: int):
        self.lane = lane
        self.worker = Worker(lane.kind, cores)
        self.found: list = []

    def ask(self, method: str, *arguments) -> None:
        self.found = [getattr(self.worker, method)(*arguments)]

    def answers(self) -> list:
        return self.found

    def close(self) -> None:
        self.worker.drop()


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for the processes that are started inside."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
