"""The loop over one stack: chunk -> evaluate -> boundary -> checkpoint -> next runs into free slots.

The host keeps ahead of the devices: the dispatcher sends a chunk and all that follows it, while the recorder reads what
the chunk before has left. Checkpoints are written by a thread of their own.
"""

import collections
from collections.abc import Iterator

from vsweep.host.interruption import Interruption
from vsweep.schema import OTHER, TRAIN
from vsweep.train.dispatcher import Dispatched, Dispatcher
from vsweep.train.recorder import StackRecorder


def train_stack(dispatcher: Dispatcher, recorder: StackRecorder, interruption: Interruption) -> Iterator[int]:
    """Trains to the last step, or until a stop is asked for; then `dispatcher.done` is False.

    Yields the step of each boundary once its checkpoint and its rows are on disk, and before the next checkpoint is
    begun. What has been trained is saved when it ends. Raises CannotWrite.
    """
    with dispatcher.watcher, recorder.writer, interruption.saving(dispatcher.pace.stop_s):
        for chunk in _chunks(dispatcher, recorder, interruption):
            recorder.read(chunk)
            yield from recorder.collect(wait=chunk.snapshot is not None)
            if chunk.snapshot is not None:
                recorder.save(chunk.snapshot)
        if dispatcher.has_unsaved_steps:
            yield from recorder.collect(wait=True)
            recorder.save(dispatcher.snapshot())
        yield from recorder.collect(wait=True)


def _chunks(dispatcher: Dispatcher, recorder: StackRecorder, interruption: Interruption) -> Iterator[Dispatched]:
    """Chunks in the order in which they were sent, each as soon as enough of the next ones are in flight behind it."""
    in_flight: collections.deque[Dispatched] = collections.deque()
    while not dispatcher.done and not interruption.should_stop():
        recorder.lap(OTHER if all(chunk.is_ready() for chunk in in_flight) else TRAIN)
        in_flight.extend(dispatcher.send(recorder.train_s))
        while len(in_flight) >= dispatcher.pace.chunks_in_flight:
            yield in_flight.popleft()
    yield from in_flight
