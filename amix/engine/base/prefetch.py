"""An iterator that works ahead in a thread of its own, a limited number of items."""

import queue
import threading
import time
from collections.abc import Generator, Iterator
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")


class _End:
    """What the thread sends last: the source is exhausted, or has raised `problem`."""

    def __init__(self, problem: BaseException | None) -> None:
        self.problem = problem


class Prefetched(Generic[Item]):
    """Iterate over `source`, which runs in a thread at most `depth` items ahead.

    The source stops when the consumer is slow, instead of filling memory. Errors of the source are raised here.
    Leaving the `with` block stops the thread after its current item. A source that is a generator is closed in the
    thread that ran it, so that stages inside it have ended when this one has.
    waited: seconds that the consumer has waited so far.
    """

    def __init__(self, source: Iterator[Item], depth: int) -> None:
        self._source = source
        self._queue: queue.Queue[Item | _End] = queue.Queue(depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.waited = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        while self._thread.is_alive():  # it may be waiting for room
            try:
                self._queue.get_nowait()
            except queue.Empty:
                self._thread.join(0.01)

    def __iter__(self) -> Iterator[Item]:
        while True:
            began = time.perf_counter()
            item = self._queue.get()
            self.waited += time.perf_counter() - began
            if isinstance(item, _End):
                if item.problem is not None:
                    raise item.problem
                return
            yield item

    def _run(self) -> None:
        problem: BaseException | None = None
        try:
            for item in self._source:
                self._queue.put(item)
                if self._stopped.is_set():
                    if isinstance(self._source, Generator):
                        self._source.close()
                    return
        except BaseException as error:  # all of them, or the consumer would wait for ever
            problem = error
        self._queue.put(_End(problem))
