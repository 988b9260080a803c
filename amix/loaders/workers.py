"""Spawned workers, each with its own session: units out, summaries back, deaths noticed, errors kept whole."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any, Self

from amix.engine.errors import AmixError, ShardError
from amix.loaders.corpus import Row
from amix.loaders.stopping import STOPPING, undisturbed
from amix.loaders.unit import UnitBuilder, UnitSettings

Unit = tuple[int, list[Row]]

_FAREWELL = 10.0  # seconds that a worker has for leaving when its work is done
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class WorkerPool:
    """A few worker processes. Leaving the `with` block ends them: by an exception, whatever they were at."""

    def __init__(self, settings: UnitSettings, count: int, devices: Sequence[str] = ()) -> None:
        """Take what every worker is told; `devices` are given to the workers in turn."""
        self._settings = settings
        self._devices = devices or (settings.device,)
        self._count = count
        self._workers: dict[Connection, BaseProcess] = {}
        self._busy: dict[Connection, int] = {}

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
        # A worker inherits the block: a Ctrl-C while it is still importing would show its traceback.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            theirs.close()
        self._workers[ours] = process

    def _end(self, *, at_once: bool) -> None:
        with undisturbed():
            for connection, process in self._workers.items():
                connection.close()  # for an idle worker the end of its work
                if at_once:
                    process.kill()
            for process in self._workers.values():
                process.join(_FAREWELL)
                process.kill()
                process.join()

    def map(self, units: Iterator[Unit]) -> Iterator[dict[str, Any]]:
        """Yield the summary of each unit as it is published, in any order.

        A unit is drawn only when a worker is free, so a slow worker slows the reading down.
        Raises the worker's own AmixError, or ShardError when a worker died.
        """
        idle = list(self._workers)
        drained = False
        while True:
            while idle and not drained:
                unit = next(units, None)
                if unit is None:
                    drained = True
                    break
                connection = idle.pop()
                self._busy[connection] = unit[0]
                try:
                    connection.send(unit)
                except OSError:
                    raise self._death(connection) from None
            if not self._busy:
                return
            for ready in wait(list(self._busy)):
                assert isinstance(ready, Connection)
                try:
                    kind, *content = ready.recv()
                except (EOFError, OSError):
                    raise self._death(ready) from None
                unit_number = self._busy.pop(ready)
                if kind == "failed":
                    raise _rebuilt(unit_number, *content)
                idle.append(ready)
                yield content[0]

    def _death(self, connection: Connection) -> ShardError:
        process, unit = self._workers[connection], self._busy[connection]
        process.join(10)
        if process.exitcode == -signal.SIGTERM:
            # Who ends a whole group of processes ends this one too: its own signal, not this death, is the news.
            time.sleep(1)
        return ShardError(
            f"worker {process.pid} died with exit code {process.exitcode} at unit {unit} (a negative code is a signal; "
            "-9 is often the system out of memory). Finished shards are kept: run the same command again to go on, "
            "with fewer --workers if memory was short."
        )


def _work(connection: Connection, settings: UnitSettings) -> None:
    # Ctrl-C reaches the whole group; the parent decides what happens to its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    _end_with_parent()
    if settings.threads == 1:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
    builder: UnitBuilder | None = None
    while True:
        try:
            unit, rows = connection.recv()
        except (EOFError, OSError):
            return
        try:
            builder = builder or UnitBuilder(settings)
            connection.send(("done", builder.build(unit, rows)))
        except Exception as problem:
            connection.send(("failed", type(problem), str(problem), traceback.format_exc()))


def _end_with_parent() -> None:
    """From now on, end at once when the parent does, so that a killed run does not write beside its successor."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        os._exit(1)

    if sys.platform == "linux":
        # The kernel's way also ends a worker in the middle of a C call that lets no other thread run.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=watch, daemon=True).start()
    if wait([sentinel], 0):  # a unit that was sent before may still lie in the pipe
        os._exit(1)


def _rebuilt(unit: int, kind: type[Exception], message: str, trace: str) -> AmixError:
    error = (
        kind(message)
        if issubclass(kind, AmixError)
        else ShardError(
            f"unit {unit} failed in its worker with {kind.__name__}: {message}. Finished shards are kept; "
            "--debug shows where it happened."
        )
    )
    error.add_note(f"In the worker, at unit {unit}:\n{trace}")
    return error
