"""A runner in three stages: a batch is copied to a device, run there, and its answer copied back.

Axes: B batch, H heads, T tokens.
"""

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

from amix.engine.base.prefetch import Prefetched
from amix.engine.extractor.runner import Answer, Inputs, Relevance, Tag, out_of_memory

Ready = TypeVar("Ready")  # inputs on their way to the device
Done = TypeVar("Done")  # an output on its way back

_Shape = tuple[int, ...]  # of a batch, (B, T)


class _Ran(NamedTuple, Generic[Done]):
    """A batch that has been run."""

    shape: _Shape
    done: Done
    seconds: float
    cpu_seconds: float


class StagedRunner(ABC, Generic[Ready, Done]):
    """Runs one batch after the other, or as a pipeline three at once.

    Each stage of the pipeline has a thread of its own, at most a batch ahead of the next. So the device does not wait
    for copies, nor for who makes batches and takes answers.
    """

    def __init__(self, index: int) -> None:
        """Take the number of the GPU, for messages."""
        self._index = index

    @abstractmethod
    def _upload(self, inputs: Inputs) -> Ready:
        """Start to copy inputs to the device."""

    @abstractmethod
    def _run(self, ready: Ready) -> Done:
        """Run a batch, and start to copy its output back; return when it has been run."""

    @abstractmethod
    def _fetch(self, done: Done) -> Relevance:
        """Return an output when it is there, as an array that nothing writes to later."""

    def __call__(self, inputs: Inputs) -> Relevance:
        """Return relevance (B, H, T) of (B, T) inputs, as an array that no later run writes to."""
        shape = inputs["input_ids"].shape
        with self._memory_errors(shape):
            return self._fetch(self._run(self._upload(inputs)))

    def stream(self, batches: Iterator[tuple[Tag, Inputs | None]]) -> Iterator[Answer[Tag]]:
        """Yield an answer for each batch, in order (see `runner.Pipeline`)."""
        with (
            Prefetched(self._uploaded(batches), depth=1) as ready,
            Prefetched(self._all_run(ready), depth=1) as done,
        ):
            for tag, ran in done:
                if ran is None:
                    yield Answer(tag, None)
                    continue
                with self._memory_errors(ran.shape):
                    relevance_BHT = self._fetch(ran.done)
                yield Answer(tag, relevance_BHT, ran.seconds, ran.cpu_seconds)

    def _uploaded(
        self, batches: Iterator[tuple[Tag, Inputs | None]]
    ) -> Iterator[tuple[Tag, tuple[_Shape, Ready] | None]]:
        for tag, inputs in batches:
            if inputs is None:
                yield tag, None
                continue
            shape = inputs["input_ids"].shape
            with self._memory_errors(shape):
                ready = self._upload(inputs)
            yield tag, (shape, ready)

    def _all_run(
        self, batches: Prefetched[tuple[Tag, tuple[_Shape, Ready] | None]]
    ) -> Iterator[tuple[Tag, _Ran[Done] | None]]:
        for tag, batch in batches:
            if batch is None:
                yield tag, None
                continue
            shape, ready = batch
            began, cpu_began = time.perf_counter(), time.thread_time()
            with self._memory_errors(shape):
                done = self._run(ready)
            yield tag, _Ran(shape, done, time.perf_counter() - began, time.thread_time() - cpu_began)

    @contextlib.contextmanager
    def _memory_errors(self, shape: _Shape) -> Iterator[None]:
        """Say in a sentence that there is no memory left, which every library says in its own way."""
        try:
            yield
        except Exception as problem:  # their exceptions share no base class
            error = out_of_memory(self._index, shape, problem)
            if error is None:
                raise
            raise error from problem
