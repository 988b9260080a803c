"""Spawned workers, each with its own session: units out, summaries back, deaths noticed, errors kept whole."""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from multiprocessing.process import BaseProcess
from typing import Self

from amix.engine.base.errors import ShardError
from amix.engine.base.processes import become_worker, start_worker
from amix.engine.base.stopping import undisturbed
from amix.loaders.precompute.progress import UnitSummary
from amix.loaders.precompute.scheduler.worker import Failure, tokenizer_environment
from amix.loaders.precompute.unit import Unit, UnitBuilder, UnitSettings

_FAREWELL = 10.0  # seconds that a worker has to end when its work is done
_LOOK = 0.2  # seconds; how often a worker that waits for work looks whether it should end


class WorkerPool:
    """A few worker processes. Leaving the `with` block ends them; with an exception, in the middle of their work."""

    def __init__(self, settings: UnitSettings, count: int, devices: Sequence[str] = ()) -> None:
        """Take what every worker is told; `devices` are given to the workers in turn."""
        self._settings = settings
        self._devices = devices or (settings.device,)
        self._count = count
        self._workers: dict[Connection, BaseProcess] = {}
        self._busy: dict[Connection, deque[int]] = {}  # at most two units each, in the order they were given

    def __enter__(self) -> Self:
        # Spawned, never forked: a session made before a fork hangs, and threads do not survive one.
        context = multiprocessing.get_context("spawn")
        try:
            for number in range(self._count):
                with undisturbed():
                    self._start(context, number)
        except BaseException:
            self._end(at_once=True)
            raise
        return self

    def __exit__(self, problem: type[BaseException] | None, *_: object) -> None:
        self._end(at_once=problem is not None)

    def _start(self, context: SpawnContext, number: int) -> None:
        ours, theirs = context.Pipe()
        settings = replace(self._settings, device=self._devices[number % len(self._devices)])
        process = context.Process(
            target=_work, args=(theirs, settings), name=f"amix-worker-{number}", daemon=True
        )
        try:
            start_worker(process)
        finally:
            theirs.close()
        self._workers[ours] = process

    def _end(self, *, at_once: bool) -> None:
        with undisturbed():
            for connection, process in self._workers.items():
                connection.close()  # ends a worker that waits for work
                if at_once:
                    process.kill()
            for process in self._workers.values():
                process.join(_FAREWELL)
                process.kill()
                process.join()

    def map(self, units: Iterator[Unit]) -> Iterator[UnitSummary]:
        """Yield the summary of each unit as it is published, in any order.

        The next unit is read only when a worker is done, or nearly done, with its last, so that slow workers slow down
        the reading.
        Raises the worker's own AmixError, or ShardError when a worker died.
        """
        ready = list(self._workers)
        drained = False
        while True:
            while ready and not drained:
                unit = next(units, None)
                if unit is None:
                    drained = True
                    break
                connection = ready.pop()
                self._busy.setdefault(connection, deque()).append(unit[0])
                try:
                    connection.send(unit)
                except OSError:
                    raise self._death(connection) from None
            if not self._busy:
                return
            for sender in wait(list(self._busy)):
                assert isinstance(sender, Connection)
                try:
                    kind, *content = sender.recv()
                except (EOFError, OSError):
                    raise self._death(sender) from None
                if kind == "ask":
                    ready.append(sender)
                    continue
                unit_number = self._busy[sender].popleft()
                if not self._busy[sender]:
                    del self._busy[sender]
                if kind == "failed":
                    raise content[0].error(f"unit {unit_number}")
                yield content[0]

    def _death(self, connection: Connection) -> ShardError:
        process, unit = self._workers[connection], self._busy[connection][0]
        process.join(10)
        if process.exitcode in (-signal.SIGTERM, -signal.SIGHUP):
            # A signal to a whole group of processes reaches this one too, and its message is the better one.
            time.sleep(1)
        return ShardError(
            f"worker {process.pid} died with exit code {process.exitcode} at unit {unit} (a negative code is a signal; "
            "-9 is often the system out of memory). Finished shards are kept: run the same command again to go on, "
            "with fewer --workers if memory was short."
        )


class _Inbox:
    """The units that the parent sends, one at a time, to a thread that may be told to stop waiting."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._closed = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Unit:
        try:
            while not self._connection.poll(_LOOK):
                if self._closed:
                    raise StopIteration
            unit: Unit = self._connection.recv()
        except (EOFError, OSError):
            raise StopIteration from None
        return unit

    def close(self) -> None:
        self._closed = True


def _work(connection: Connection, settings: UnitSettings) -> None:
    become_worker()
    os.environ.update(tokenizer_environment(settings.device, settings.threads))
    one_at_a_time = threading.Lock()  # requests and summaries come from different threads

    def send(*message: object) -> None:
        with one_at_a_time:
            connection.send(message)

    try:
        for summary in UnitBuilder(settings).build(_Inbox(connection), lambda: send("ask")):
            send("done", summary)
    except Exception as problem:
        send("failed", Failure.of(problem))
