"""A worker on a node of the cluster: it has a session of its own, and reads the rows of its units itself.

It does not import torch, and it never sees the rows of other units, where the corpus can be entered at a row.
"""

import os
import platform
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Self

import ray

import amix
from amix.engine.base.errors import StorageError
from amix.engine.extractor.folder import open_extractor
from amix.loaders.corpus import Corpus
from amix.loaders.corpus.ranges import RangeReader
from amix.loaders.precompute.environment import environment
from amix.loaders.precompute.progress import UnitSummary
from amix.loaders.precompute.scheduler.interface import Computing
from amix.loaders.precompute.scheduler.local import require_devices
from amix.loaders.precompute.scheduler.worker import Failure, tokenizer_environment
from amix.loaders.precompute.unit import Unit, UnitBuilder, UnitSettings


class Word(Enum):
    """What a worker says while it works on a unit, besides its summary or a failure."""

    NEXT = "the session is nearly done: now is the time to give me the next unit"
    PAST_END = "the corpus has no such rows"


Answer = Word | UnitSummary | Failure


@dataclass(frozen=True, kw_only=True)
class Greeting:
    """What a node says of itself before it gets units. name: for people.  node: Ray's id of it."""

    name: str
    node: str
    amix: str
    fingerprint: str
    environment: dict[str, str]


@dataclass
class _Job:
    """A unit from when it was given until its outcome is known."""

    nearly: "Future[None]" = field(default_factory=Future)
    outcome: "Future[Answer]" = field(default_factory=Future)

    def end(self, answer: Answer) -> None:
        if not self.nearly.done():
            self.nearly.set_result(None)
        self.outcome.set_result(answer)


class PrecomputeWorker:
    """Builds shards; one session each. Its methods are called by the driver, two at a time at most."""

    def __init__(self, size: int) -> None:
        """Take how many rows a unit has. The first call has to be `greet`."""
        self._size = size
        self._pipeline: _Pipeline | None = None
        self._lock = threading.Lock()

    def greet(self, settings: UnitSettings, corpus: Corpus) -> Greeting | Failure:
        """Take what to build with. Return what this node computes with, when it can see all that it needs."""
        os.environ.update(tokenizer_environment(settings.device, settings.threads))
        self._settings, self._corpus, given = settings, corpus, settings
        try:
            if isinstance(given.out, Path) and not given.out.is_dir():
                raise StorageError(
                    f"{given.out}: there is no such folder. OUT must be on a file system that all nodes share."
                )
            corpus.require_unchanged()
            fingerprint = open_extractor(given.extractor).fingerprint
            found = environment(given.backend, (given.device,), given.budget)
        except Exception as problem:
            return Failure.of(problem)
        node = ray.get_runtime_context().get_node_id()
        return Greeting(
            name=platform.node(), node=node, amix=amix.__version__, fingerprint=fingerprint, environment=found
        )

    def build(self, unit: int) -> Iterator[Answer]:
        """Yield NEXT when another unit is wanted, then what became of this one."""
        with self._lock:
            if self._pipeline is None or not self._pipeline.is_alive:  # the last one ended with a failure
                self._pipeline = _Pipeline(self._settings, self._corpus, self._size)
            job = self._pipeline.add(unit)
        job.nearly.result()
        yield Word.NEXT
        yield job.outcome.result()


class _Pipeline:
    """A UnitBuilder in a thread, and the units that it has. It ends with the first failure."""

    def __init__(self, settings: UnitSettings, corpus: Corpus, size: int) -> None:
        self._settings = settings
        self._inbox = _Inbox(corpus, size, lambda unit: self._end(unit, Word.PAST_END))
        self._jobs: OrderedDict[int, _Job] = OrderedDict()
        self._lock = threading.Lock()
        self.is_alive = True
        threading.Thread(target=self._run, name="units", daemon=True).start()

    def add(self, unit: int) -> _Job:
        job = _Job()
        with self._lock:
            if self.is_alive:
                self._jobs[unit] = job
                self._inbox.put(unit)
            else:  # since the caller looked
                job.end(self._failure)
        return job

    def _run(self) -> None:
        try:
            for summary in UnitBuilder(self._settings).build(self._inbox, self._ask):
                self._end(summary.unit, summary)
        except Exception as problem:
            with self._lock:
                self.is_alive = False
                self._failure = Failure.of(problem)
                for job in self._jobs.values():
                    job.end(self._failure)
        finally:
            self._inbox.reader.close()

    def _ask(self) -> None:
        with self._lock:
            job = next((job for job in self._jobs.values() if not job.nearly.done()), None)
            if job is not None:
                job.nearly.set_result(None)

    def _end(self, unit: int, answer: Answer) -> None:
        with self._lock:
            self._jobs.pop(unit).end(answer)


class _Inbox:
    """The numbers of units as they come, and the rows of each."""

    def __init__(self, corpus: Corpus, size: int, past_end: Callable[[int], None]) -> None:
        self.reader = RangeReader(corpus)
        self._size = size
        self._past_end = past_end
        self._numbers: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def put(self, unit: int) -> None:
        self._numbers.put(unit)

    def close(self) -> None:
        self._numbers.put(None)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Unit:
        while (unit := self._numbers.get()) is not None:
            rows = self.reader.read(unit * self._size, (unit + 1) * self._size)
            if rows:
                return unit, rows
            self._past_end(unit)
        raise StopIteration


def probe(computing: Computing, device: str, share: int) -> dict[str, str] | Failure:
    """Return what decides the last bits of relevance on the node where this runs, when it can open a session."""
    try:
        require_devices(computing, (device,), share)
        return environment(computing.backend, (device,), computing.budget)
    except Exception as problem:
        return Failure.of(problem)
