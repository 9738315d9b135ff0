"""Read traces side by side, in processes; their columns come back through shared memory.

Threads would not do: between two calls of numpy a reader runs Python, and only one thread at a time can.
"""

from __future__ import annotations

import io
import mmap
import multiprocessing
import os
import pickle
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

import numpy as np

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Arrays begin at multiples of this many bytes, as those that numpy makes.
_ALIGNMENT = 64


def can_share() -> bool:
    """Whether `apart` can work here: it needs forks, and memory without a name (Linux).

    A daemonic process of multiprocessing, as a pool's workers are, may have no children.
    """
    on_this_system = hasattr(os, "fork") and hasattr(os, "memfd_create")
    return on_this_system and not multiprocessing.current_process().daemon


def apart(work: Callable[[Item], Result], items: Sequence[Item], processes: int) -> Iterator[Result]:
    """Yield what `work` makes of each item, in order: the first is made in this process, the others in forks of it.

    Args:
        work: Returns and raises what can be pickled.
        items: At least one.
        processes: How many run at once, this one included.

    Raises:
        Exception: Whatever `work` raises, when its result would be next.
        MemoryError: A fork was killed.
    """
    others = iter(items[1:])
    running = deque(_Fork(work, item) for item in islice(others, processes - 1))
    try:
        first = work(items[0])
        running.extend(_Fork(work, item) for item in islice(others, 1))
        yield first
        while running:
            result = running[0].result()
            running.popleft().end()
            running.extend(_Fork(work, item) for item in islice(others, 1))
            yield result
    finally:
        for fork in running:
            fork.end()


class _Fork(Generic[Item, Result]):
    """A process that does some work and hands over its result."""

    def __init__(self, work: Callable[[Item], Result], item: Item) -> None:
        self._memory = os.memfd_create("tracediff")
        self._receiver, sender = multiprocessing.Pipe(duplex=False)
        # Whoever started this process will end it; a daemon ends with it in any case.
        self._process = multiprocessing.get_context("fork").Process(
            target=_hand_over, args=(work, item, sender, self._memory), daemon=True
        )
        self._process.start()
        sender.close()

    def result(self) -> Result:
        """Wait for the result; what `work` raised is raised here."""
        try:
            pickled, places = self._receiver.recv()
        except EOFError:
            self._process.join()
            if self._process.exitcode == -signal.SIGKILL:
                raise MemoryError from None  # what Linux does where there is no more
            raise RuntimeError(f"a process ended with exit code {self._process.exitcode}") from None
        length = places[-1][1] if places else 0
        whole = memoryview(mmap.mmap(self._memory, length, access=mmap.ACCESS_COPY) if length else b"")
        result = pickle.loads(pickled, buffers=[whole[start:end] for start, end in places])
        if isinstance(result, Exception):
            raise result
        found: Result = result
        return found

    def end(self) -> None:
        """End the process, whatever it does; what it handed over stays."""
        self._process.kill()
        self._process.join()
        self._receiver.close()
        os.close(self._memory)


def _hand_over(work: Callable[[Item], Result], item: Item, sender: Connection, memory: int) -> None:
    """Do the work; write the arrays of its result to `memory`, and send the rest with their places."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the process that started this one, and that ends it
    result: Result | Exception
    try:
        result = work(item)
    except Exception as error:
        error.add_note(traceback.format_exc())  # it is raised again where this one's frames are not
        result = error
    arrays: list[pickle.PickleBuffer] = []
    pickled = _pickled(result, arrays.append)
    places: list[tuple[int, int]] = []
    end = 0
    with open(memory, "wb", closefd=False) as file:
        for array in arrays:
            start = -(-end // _ALIGNMENT) * _ALIGNMENT
            file.seek(start)
            end = start + file.write(array.raw())
            places.append((start, end))
    os.ftruncate(memory, end)  # an empty array writes nothing, wherever it begins
    sender.send((pickled, places))


def _pickled(result: object, keep: Callable[[pickle.PickleBuffer], None]) -> bytes:
    """Pickle all but the content of arrays, which is given to `keep`."""
    whole = io.BytesIO()
    _Pickler(whole, protocol=5, buffer_callback=keep).dump(result)
    return whole.getvalue()


class _Pickler(pickle.Pickler):
    """Keeps columns that hold one value, which take no memory, as they are."""

    def reducer_override(self, value: Any) -> Any:
        """Return how an object is made again."""
        if isinstance(value, np.ndarray) and value.ndim == 1 and value.strides == (0,) and len(value):
            return np.broadcast_to, (value[0], value.shape)
        return NotImplemented
