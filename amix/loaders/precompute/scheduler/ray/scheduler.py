"""A cluster of Ray as the place where units are computed: how it is reached, and how many workers it gets."""

import contextlib
import hashlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, Self

import ray
from ray.exceptions import RayError

from amix.engine.base.errors import DeviceError, ShardError, UsageError
from amix.loaders.precompute.progress import UnitSummary
from amix.loaders.precompute.scheduler.interface import Computing, Work
from amix.loaders.precompute.scheduler.ray.actor import probe
from amix.loaders.precompute.scheduler.ray.dispatch import (
    NAMESPACE,
    SILENCE,
    Dispatch,
    in_one_line,
    say_that_there_is_no_room,
)
from amix.loaders.precompute.scheduler.ray.sizing import Share, share_of
from amix.loaders.precompute.scheduler.worker import Failure
from amix.loaders.precompute.sizing import graph_bytes, worker_bytes
from amix.loaders.precompute.unit import UnitSettings

_PATIENCE = 10.0  # seconds to reach a cluster by its address


class RayScheduler:
    """Computes units in actors, one session each. Placing, restarting and scaling are left to Ray."""

    def __init__(self, computing: Computing, devices: Sequence[str], address: str | None) -> None:
        """Take what to compute with, and where the cluster is: None = the one that this machine belongs to."""
        self._computing = computing
        (self._device,) = devices
        self._address = address or "auto"
        self._disconnect = contextlib.ExitStack()

    def __enter__(self) -> Self:
        if not ray.is_initialized():
            with _handlers_kept():
                self._connect()
            self._disconnect.callback(ray.shutdown)
        return self

    def __exit__(self, *_: object) -> None:
        self._disconnect.close()

    def environment(self) -> dict[str, str]:
        """Return that of the first node with room, where a session is opened for it."""
        share = self._share(self._computing.workers or 1)
        needs = self._needs(share)
        task = ray.remote(probe).options(name="probe", **needs)
        answer = task.remote(self._computing, self._device, share.of_a_gpu)
        if not ray.wait([answer], timeout=SILENCE)[0]:
            say_that_there_is_no_room(needs)
        try:
            found = ray.get(answer)
        except RayError as problem:
            raise ShardError(
                f"a node of the cluster cannot run amix ({in_one_line(problem)}). amix has to be installed on every "
                "node, in the same version as here."
            ) from problem
        if isinstance(found, Failure):
            raise found.error("a session", "This was found on a node of the cluster.")
        environment: dict[str, str] = found
        return environment

    def require_devices(self) -> None:
        """Do nothing: what `environment` returns was found with a session on the device."""

    @contextlib.contextmanager
    def crew(self, work: Work) -> Iterator["_RayCrew"]:
        """Return the workers: as many as were asked for, or as have room now."""
        share = self._share(self._computing.workers)
        rows = work.corpus.row_count
        units = None if rows is None else max(1, -(-rows // work.size) - len(work.done))
        workers = share.workers if units is None else min(share.workers, units)
        yield _RayCrew(work, workers, share.threads, self._needs(share))

    def _connect(self) -> None:
        os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "1")  # tries; by default minutes pass
        try:
            host, _, port = self._address.rpartition(":")
            if host and port.isdigit():
                socket.create_connection((host, int(port)), _PATIENCE).close()
            ray.init(
                self._address,
                namespace=NAMESPACE,
                log_to_driver=False,  # it would print what workers log on our standard output
                logging_level=logging.ERROR,
            )
        except (OSError, RuntimeError, ValueError) as problem:
            raise UsageError(
                f"--address {self._address}: no Ray cluster can be reached there ({in_one_line(problem)}). Start one "
                "with 'ray start --head', or name one with --address HOST:PORT."
            ) from None

    def _share(self, workers: int | None) -> Share:
        share = share_of(ray.nodes(), workers, on_gpu=self._device != "cpu", memory=self._memory())
        if share.workers == 0:
            what = "CPU" if self._device == "cpu" else "GPU"
            raise DeviceError(
                f"no node of the cluster has a {what} and {self._memory() / 1e9:.1f} GB of memory. Where the cluster "
                "grows on demand, say with --workers N how many workers it is to have."
            )
        return share

    def _memory(self) -> int:
        return worker_bytes(graph_bytes(self._computing.extractor))

    def _needs(self, share: Share) -> dict[str, Any]:  # Any: each option has a type of its own
        gpus = {} if self._device == "cpu" else {"num_gpus": share.gpus}
        return {"num_cpus": share.threads, "memory": self._memory(), "scheduling_strategy": "SPREAD", **gpus}


class _RayCrew:
    def __init__(self, work: Work, workers: int, threads: int, needs: Mapping[str, Any]) -> None:
        self.workers = workers
        self.threads = threads
        self._work = work
        self._options = {
            **needs,
            "namespace": NAMESPACE,
            "max_restarts": -1,  # nodes come and go; a unit that ends its worker again and again stops the run
            "max_task_retries": 0,  # a unit is tried again somewhere else
            "max_concurrency": 3,  # two units, and a greeting
        }

    def map(self, settings: UnitSettings) -> Generator[UnitSummary, None, None]:
        """Yield summaries of published units."""
        out = str(settings.out)
        digest = hashlib.sha256(out.encode()).hexdigest()[:8]
        # Of OUT, so that a run finds the workers of one that was killed.
        run = f"precompute {out.rstrip('/').rpartition('/')[2]} {digest}"
        names = [f"{run}, worker {number}" for number in range(self.workers)]
        yield from Dispatch(self._work, settings, names, self._options).run()


@contextlib.contextmanager
def _handlers_kept() -> Iterator[None]:
    """Keep what SIGTERM does, which Ray changes when it connects."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
