"""Worker processes of this machine. The parent reads the corpus, once and in order."""

import contextlib
import itertools
import logging
import math
from collections.abc import Generator, Iterator, Sequence
from typing import Self

from amix.engine.base.devices import cuda_index
from amix.engine.base.errors import DeviceError
from amix.engine.base.gpu import free_bytes
from amix.engine.base.machine import available_cores, available_memory
from amix.engine.extractor.folder import Extractor
from amix.engine.extractor.runner import SMALLER
from amix.engine.extractor.session import open_session
from amix.loaders.precompute.batching import gpu_bytes
from amix.loaders.precompute.environment import environment
from amix.loaders.precompute.progress import UnitSummary
from amix.loaders.precompute.scheduler.interface import Computing, Work
from amix.loaders.precompute.scheduler.pool import WorkerPool
from amix.loaders.precompute.sizing import graph_bytes, sensible_workers, worker_bytes
from amix.loaders.precompute.unit import Unit, UnitSettings

_LOG = logging.getLogger(__name__)


class LocalScheduler:
    """Computes units in processes of this machine. devices: which the workers take in turn."""

    def __init__(self, computing: Computing, devices: Sequence[str]) -> None:
        self._computing = computing
        self._devices = devices

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: every crew has ended."""

    def environment(self) -> dict[str, str]:
        """Return this machine's."""
        return environment(self._computing.backend, self._devices, self._computing.budget)

    def require_devices(self) -> None:
        """Open a session on each device, and look whether there is room for the workers."""
        workers = self._computing.workers or len(self._devices)
        require_devices(self._computing, self._devices, math.ceil(workers / len(self._devices)))

    @contextlib.contextmanager
    def crew(self, work: Work) -> Iterator["_LocalCrew"]:
        """Return the workers, with the first units read: no more of them start than there is work for."""
        given = self._computing
        cores = available_cores()
        if self._devices == ("cpu",):
            workers = given.workers or _auto_workers(cores, given.extractor)
        else:  # each further worker on the same GPU needs its own CUDA context
            workers = given.workers or len(self._devices)
        with contextlib.closing(_pending(work)) as units:
            first = list(itertools.islice(units, workers))
            threads = max(1, cores // max(1, len(first)))
            yield _LocalCrew(first, units, threads, self._devices)


class _LocalCrew:
    def __init__(
        self, first: Sequence[Unit], units: Iterator[Unit], threads: int, devices: Sequence[str]
    ) -> None:
        self.workers = len(first)
        self.threads = threads
        self._units = itertools.chain(first, units)
        self._devices = devices

    def map(self, settings: UnitSettings) -> Generator[UnitSummary, None, None]:
        """Yield summaries of published units."""
        with WorkerPool(settings, self.workers, self._devices) as pool:
            yield from pool.map(self._units)


def require_devices(computing: Computing, devices: Sequence[str], share: int) -> None:
    """Open a session on each device, and look whether there is room for `share` workers on each.

    No smaller batches are tried, since they must not depend on the card. Raises DeviceError, or ExtractorError.
    """
    for device in devices:
        # Each worker opens its own.
        open_session(computing.extractor.folder, device=device, threads=1, backend=computing.backend)
    need = gpu_bytes(computing.extractor, computing.budget, computing.max_length, computing.backend)
    require_room(need, computing.max_length, devices, share)


def require_room(need: int, max_length: int, devices: Sequence[str], share: int) -> None:
    """Refuse a GPU whose free memory is less than `share` workers need, each `need` bytes. Raises DeviceError."""
    for device in devices:
        number = cuda_index(device)
        free = None if number is None else free_bytes(number)
        if free is not None and free < share * need:
            each = f" in each of {share} workers" if share > 1 else ""
            raise DeviceError(
                f"{device} has {free / 1e9:.1f} GB free, and texts of up to {max_length} tokens need about "
                f"{need / 1e9:.1f} GB{each}. {SMALLER}"
            )


def _auto_workers(cores: int, extractor: Extractor) -> int:
    memory, graph = available_memory(), graph_bytes(extractor)
    workers = sensible_workers(cores, memory, graph)
    if workers < cores:
        assert memory is not None
        _LOG.warning(
            f"{workers} of {cores} cores get a worker: {memory / 1e9:.1f} GB of memory are free, and each takes about "
            f"{worker_bytes(graph) / 1e9:.1f} GB. Set --workers N to use another number."
        )
    return workers


def _pending(work: Work) -> Generator[Unit, None, None]:
    """Yield (unit, rows) of the units that are not done, reading the corpus once."""
    first = next(unit for unit in itertools.count() if unit not in work.done)
    # Closed with this generator: a stream that is still open when the interpreter ends may abort it.
    with contextlib.closing(work.corpus.rows(first * work.size)) as stream:
        for unit, rows in itertools.groupby(stream, key=lambda row: row.number // work.size):
            if unit not in work.done:
                yield unit, list(rows)
